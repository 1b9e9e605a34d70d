//! The flags of `imagepush operator` that say how the Jobs are made that pushes run in.

use clap::{Args, ValueEnum};

use super::connections::ConnectionArgs;
use crate::cli::telemetry::TraceArgs;
use crate::controller::{HostFolder, JobSettings, PodSettings};
use crate::error::{Error, Kind, Result};

/// How Jobs are made.
#[derive(Debug, Default, Args)]
pub(super) struct JobArgs {
    /// The image of this program, for Jobs. Without it, pushes that need a volume are refused
    #[arg(long, value_name = "IMAGE", env = "IMAGEPUSH_JOB_IMAGE", hide_env_values = true)]
    job_image: Option<String>,

    /// What the pods of Jobs are like, in YAML or JSON, such as `{runtimeClassName: gvisor}`
    ///
    /// Fields: resources, labels, annotations, nodeSelector, tolerations, affinity, priorityClassName, runtimeClassName,
    /// imagePullSecrets, env, volumes and volumeMounts as in a pod, and scratchSize for the most that temporary files may take.
    #[arg(
        long,
        value_name = "FIELDS",
        env = "IMAGEPUSH_JOB_POD",
        hide_env_values = true,
        value_parser = pod
    )]
    job_pod: Option<PodSettings>,

    /// A folder of nodes in which each namespace has the folder of its name for `hostPath` volumes. May be given several
    /// times; in the variable, with commas between [default: none]
    ///
    /// `NAMESPACE=FOLDER` lets one namespace have all of a folder, and `*=FOLDER` every one.
    #[arg(
        long,
        value_name = "FOLDER",
        env = "IMAGEPUSH_JOB_HOST_PATH",
        hide_env_values = true,
        value_delimiter = ','
    )]
    job_host_path: Vec<HostFolder>,

    /// Where pushes run
    #[arg(
        long,
        value_enum,
        value_name = "WHERE",
        env = "IMAGEPUSH_EXECUTOR",
        hide_env_values = true,
        default_value_t
    )]
    executor: Where,
}

/// Where pushes run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Where {
    /// In the operator, or in a Job where a volume is mounted or the object asks for it
    #[default]
    Auto,
    /// In a Job each; objects that ask for the operator are refused
    Job,
}

// === impl JobArgs ===

impl JobArgs {
    /// How Jobs are made; where their connections may lead, and where their traces go, is what is said of the operator's own.
    pub(super) fn settings(
        self,
        connections: &ConnectionArgs,
        traces: &TraceArgs,
    ) -> Result<JobSettings> {
        let Self { job_image, job_pod, job_host_path, executor } = self;
        let always = executor == Where::Job;
        if always && job_image.is_none() {
            let error = Error::new(Kind::InvalidOptions, "`--executor job` needs `--job-image`");
            return Err(error.hint("name the image that the operator itself runs from"));
        }
        Ok(JobSettings {
            image: job_image,
            arguments: [connections.arguments(), traces.arguments()].concat(),
            always,
            host_folders: job_host_path,
            pod: job_pod.unwrap_or_default(),
        })
    }
}

fn pod(text: &str) -> Result<PodSettings, String> {
    PodSettings::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_for_everything_need_an_image() {
        let (connections, traces) = (ConnectionArgs::default(), TraceArgs::default());
        let arguments = |image: Option<&str>| JobArgs {
            job_image: image.map(str::to_owned),
            executor: Where::Job,
            ..JobArgs::default()
        };
        let error = arguments(None).settings(&connections, &traces).unwrap_err();
        assert_eq!(error.to_string(), "`--executor job` needs `--job-image`");
        let settings = arguments(Some("i")).settings(&connections, &traces).unwrap();
        assert_eq!((settings.image.as_deref(), settings.always), (Some("i"), true));
    }
}
