//! `imagepush apply -f FILE`: runs the ImagePush documents of a file once, without a cluster.
//!
//! All documents are read and checked before the first is run, so that nothing moves when one is wrong. They run one after
//! another, also after one has failed, and are printed with their status at the end.

mod file;

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::output::{Output, Printer, Talk};
use super::{progress, signals};
use crate::api::v1alpha1::{ImagePush, ImagePushSpec};
use crate::controller::once::Prepared;
use crate::error::{Error, Result};

/// Runs the ImagePush objects of a file once, without a cluster, and prints them with their status
///
/// Every transport can be used. Secrets that the objects name have to be in the same file; nothing else may be in it. Unlike
/// in a cluster, nothing is repeated: `runPolicy` and `interval` are checked and have no effect.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// The file, in YAML or JSON; `-` is standard input
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    filename: PathBuf,

    /// Print no progress. Faults and the objects are printed
    #[arg(short, long)]
    quiet: bool,

    /// How the objects are printed on standard output
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

/// How objects are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One document for each
    #[default]
    Yaml,
    /// One list with all of them
    Json,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    api_version: &'a str,
    kind: &'a str,
    items: &'a [ImagePush],
}

/// Returns the exit code: that of the fault that weighs most, 0 if there was none.
pub(crate) async fn run(arguments: ApplyArgs, printer: &Printer) -> Result<u8> {
    // Whoever made the printer has asked for the rest.
    let ApplyArgs { filename, quiet: _, output: _ } = arguments;
    let prepared = file::read(&filename)?;
    let cancel = signals::cancel_on_signal(printer)?;
    let mut code = 0;
    let mut objects = vec![];
    for object in prepared {
        let (object, outcome) = run_one(object, &cancel, printer).await;
        objects.push(object);
        if let Err(error) = outcome {
            printer.fault(&error);
            code = worse(code, error.exit_code());
        }
    }
    print(printer, &objects)?;
    Ok(code)
}

async fn run_one(
    prepared: Prepared,
    cancel: &CancellationToken,
    printer: &Printer,
) -> (ImagePush, Result<()>) {
    let object = prepared.object();
    let name = file::name(object);
    let ImagePushSpec { source, destination, suspend, .. } = &object.spec;
    printer.say(&if *suspend {
        format!("{name}: suspended, left out")
    } else {
        format!("{name}: from `{}` to `{}`", source.reference, destination.reference)
    });
    let progress = progress::to(printer);
    let (object, outcome) = prepared.run(&progress, cancel).await;
    printer.clear_bars();
    (object, outcome.map_err(|error| error.doing(format!("applying {name}"))))
}

/// Of two exit codes the one that weighs more: interrupted, bad usage, failed for good, worth trying again, done.
fn worse(one: u8, other: u8) -> u8 {
    let order = [130, 2, 1, 75];
    order.into_iter().find(|code| [one, other].contains(code)).unwrap_or(0)
}

fn print(printer: &Printer, objects: &[ImagePush]) -> Result<()> {
    if printer.output() == Output::Json {
        return printer.document(&List { api_version: "v1", kind: "List", items: objects });
    }
    let failed = |cause| Error::internal(format!("an object can't be written as YAML: {cause}"));
    let documents: Result<Vec<String>> =
        objects.iter().map(|object| serde_saphyr::to_string(object).map_err(failed)).collect();
    printer.data(&documents?.join("---\n"))
}

// === impl ApplyArgs ===

impl ApplyArgs {
    /// What is printed.
    pub(crate) fn output(&self) -> (Output, Talk) {
        let output = match self.output {
            Format::Yaml => Output::Text,
            Format::Json => Output::Json,
        };
        (output, if self.quiet { Talk::Nothing } else { Talk::Normal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fault_that_weighs_most_decides() {
        let cases = [
            (vec![], 0),
            (vec![75], 75),
            (vec![75, 1], 1),
            (vec![1, 75], 1),
            (vec![1, 2, 75], 2),
            (vec![75, 130, 2], 130),
        ];
        for (codes, expected) in cases {
            assert_eq!(codes.iter().copied().fold(0, worse), expected, "{codes:?}");
        }
    }
}
