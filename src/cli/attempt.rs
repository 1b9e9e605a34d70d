//! `imagepush attempt`: makes the one attempt that the pod of a Job is there for.
//!
//! The operator writes the Job and reads the report; nobody needs this by hand. Exit codes are those of `push`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tracing::Instrument as _;

use super::operator::ConnectionArgs;
use super::output::{Output, Printer, Talk};
use super::signals;
use super::telemetry::TraceArgs;
use crate::access::Network;
use crate::controller::pod;
use crate::engine::{NoProgress, Progress};
use crate::error::{Error, Result};
use crate::telemetry::Exporter;

/// Makes the push that the pod of an operator's Job is there for
///
/// The operator makes such Jobs; nobody needs this by hand. Reads what to do and the Secrets from files, pushes once, and
/// leaves a report of how that ended as the pod's termination message.
#[derive(Debug, Args)]
pub(crate) struct AttemptArgs {
    /// What to do
    #[arg(long, value_name = "FILE", default_value = pod::TASK_FILE)]
    task: PathBuf,

    /// A folder for each Secret, with a file for each of its keys
    #[arg(long, value_name = "FOLDER", default_value = pod::SECRETS_FOLDER)]
    secrets: PathBuf,

    /// A folder for each side that has a volume: `source`, `destination`
    #[arg(long, value_name = "FOLDER", default_value = pod::VOLUMES)]
    volumes: PathBuf,

    /// The most bytes that the folder for temporary files may take
    #[arg(long, value_name = "BYTES")]
    scratch: Option<u64>,

    /// Where the report is written
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    report: PathBuf,

    /// Which trace it belongs to, as W3C's Trace Context writes it; another form is ignored
    #[arg(long, value_name = "TRACEPARENT", env = "TRACEPARENT", hide_env_values = true)]
    traceparent: Option<String>,

    #[command(flatten)]
    traces: TraceArgs,

    #[command(flatten)]
    connections: ConnectionArgs,
}

pub(crate) async fn run(arguments: AttemptArgs, printer: &Printer) -> Result<()> {
    let AttemptArgs { task, secrets, volumes, scratch, report, traceparent, traces, connections } =
        arguments;
    let cancel = signals::cancel_on_signal(printer)?;
    let task = pod::read_task(&task)?;
    let network = Network::new(connections.settings());
    let progress: Arc<dyn Progress> = Arc::new(NoProgress);
    let folders = pod::Folders { secrets: &secrets, volumes: &volumes, scratch_bytes: scratch };
    let exporter = traces.start().await;
    let parent = traceparent.and_then(|text| text.parse().ok());
    let names = [
        ("k8s.namespace.name", task.namespace.clone().into()),
        ("imagepush.name", task.name.clone().into()),
    ];
    let tracer = exporter.as_ref().map(Exporter::tracer).unwrap_or_default();
    let mut attempt = tracer.begin("attempt in a pod", parent, names);
    // What a command logs by default are warnings, which are to name the trace, too.
    let span = tracing::error_span!("attempt", trace_id = attempt.place().trace_id());
    let work = pod::run(&task, folders, &network, &progress, &cancel);
    let ended = work.instrument(span).await;
    if let Err(error) = &ended.outcome {
        attempt.fail(error.kind().as_str());
    }
    drop(attempt);
    let written = std::fs::write(&report, ended.message);
    if let Some(exporter) = exporter {
        exporter.finish().await;
    }
    ended.outcome.and(written.map_err(|cause| Error::io("write", &report, &cause)))
}

// === impl AttemptArgs ===

impl AttemptArgs {
    /// What is printed: faults only.
    pub(crate) fn output() -> (Output, Talk) {
        (Output::Text, Talk::Normal)
    }
}
