//! `imagepush bundle diff IMAGE`: what applying the custom resources of an image would change in a cluster.

use std::path::PathBuf;

use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::Serialize;

use super::ImageArgs;
use crate::apply::{self, Change, ChangedObject};
use crate::cli::operator::namespace;
use crate::cli::output::{Output, Printer};
use crate::error::{Error, Kind, Result};

/// The exit code where something would change.
const DIFFERENT: u8 = 1;
/// The exit code of a failure for good: 1 says something else here.
const FAILED: u8 = 2;

/// Shows what applying them to a cluster would change, field by field and without values
///
/// The API server is asked by a dry run for each object; nothing is stored. Uses the rights of your kubeconfig, and refuses
/// what the operator refuses unless it is configured otherwise. Exit codes are those of `kubectl diff`: 0 nothing would change,
/// 1 something would, more a failure (75 one that is worth trying again).
#[derive(Debug, Args)]
#[command(after_help = crate::cli::transports())]
pub(super) struct DiffArgs {
    #[command(flatten)]
    pub(super) image: ImageArgs,

    /// The kubeconfig [default: that of `KUBECONFIG`, `~/.kube/config`, or the pod's own service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The namespace they would be applied in [default: that of the kubeconfig's current context]
    #[arg(long, short, value_name = "NAMESPACE", value_parser = namespace)]
    namespace: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    reference: &'a str,
    digest: String,
    namespace: &'a str,
    different: bool,
    objects: Vec<ObjectDocument<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectDocument<'a> {
    api_version: &'a str,
    kind: &'a str,
    name: &'a str,
    change: &'static str,
    fields: Vec<String>,
    field_count: usize,
}

/// Returns the exit code; what fails has been reported.
pub(super) async fn run(arguments: DiffArgs, printer: &Printer) -> u8 {
    match diff(arguments, printer).await {
        Ok(different) => u8::from(different) * DIFFERENT,
        Err(error) => {
            printer.error(&error);
            if error.exit_code() == DIFFERENT { FAILED } else { error.exit_code() }
        }
    }
}

async fn diff(arguments: DiffArgs, printer: &Printer) -> Result<bool> {
    let DiffArgs { image, kubeconfig, namespace } = arguments;
    // A cluster that can't be reached is told before an image is read.
    let config = config(kubeconfig).await?;
    let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
    let (reference, bundle, cancel) = image.read(printer).await?;
    let client = Client::try_from(config).map_err(|cause| unusable(&cause))?;
    let differences = apply::differences(&client, &namespace, &bundle);
    let changed = cancel.run_until_cancelled(differences).await;
    let changed = changed.unwrap_or_else(|| Err(Error::cancelled()))?;
    let different = changed.iter().any(|object| object.change != Change::Unchanged);
    match printer.output() {
        Output::Json => printer.document(&Document {
            reference: &reference,
            digest: bundle.digest().to_string(),
            namespace: &namespace,
            different,
            objects: changed.iter().map(ObjectDocument::of).collect(),
        })?,
        Output::Text => printer.data(&in_words(&changed))?,
    }
    Ok(different)
}

async fn config(file: Option<PathBuf>) -> Result<Config> {
    let Some(file) = file else { return Config::infer().await.map_err(|cause| unusable(&cause)) };
    let read = Kubeconfig::read_from(&file).map_err(|cause| unusable(&cause))?;
    let options = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(read, &options).await.map_err(|cause| unusable(&cause))
}

fn unusable(cause: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::InvalidOptions, format!("the cluster's configuration can't be used: {cause}"))
        .hint("name a kubeconfig with `--kubeconfig`")
}

/// A line for each object that would change, and one for each of its fields.
fn in_words(changed: &[ChangedObject]) -> String {
    changed.iter().flat_map(lines).collect()
}

fn lines(ChangedObject { object, change }: &ChangedObject) -> Vec<String> {
    match change {
        Change::Unchanged => vec![],
        Change::Created => vec![format!("{object}: would be made\n")],
        Change::Configured { fields, count } => {
            let mut lines = vec![format!("{object}: would change\n")];
            lines.extend(fields.iter().map(|field| format!("  {field}\n")));
            if *count > fields.len() {
                lines.push(format!("  and {} more\n", count - fields.len()));
            }
            lines
        }
    }
}

// === impl ObjectDocument ===

impl<'a> ObjectDocument<'a> {
    fn of(changed: &'a ChangedObject) -> Self {
        let (change, fields, field_count) = match &changed.change {
            Change::Created => ("created", vec![], 0),
            Change::Unchanged => ("unchanged", vec![], 0),
            Change::Configured { fields, count } => {
                ("configured", fields.iter().map(ToString::to_string).collect(), *count)
            }
        };
        let crate::bundle::ObjectKey { api_version, kind, name, namespace: _ } = &changed.object;
        Self { api_version, kind, name, change, fields, field_count }
    }
}
