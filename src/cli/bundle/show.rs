//! `imagepush bundle show IMAGE`: the custom resources that an image carries.

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::ImageArgs;
use crate::cli::output::{Output, Printer};
use crate::error::Result;
use crate::image::Digest;

/// Prints them in their canonical form: sorted, quoted, without what only a server writes
///
/// Looks for what is attached to the image, else into its layers, in the folder that the label `imagepush.dev/bundle`
/// names, or `metadata`. Reads as many layers as it takes, and writes nothing.
#[derive(Debug, Args)]
#[command(after_help = crate::cli::transports())]
pub(super) struct ShowArgs {
    #[command(flatten)]
    pub(super) image: ImageArgs,
}

#[derive(Serialize)]
struct Document<'a> {
    reference: String,
    digest: &'a Digest,
    objects: Vec<&'a Map<String, Value>>,
}

pub(super) async fn run(arguments: ShowArgs, printer: &Printer) -> Result<()> {
    let (reference, bundle, _) = arguments.image.read(printer).await?;
    match printer.output() {
        Output::Json => {
            let objects = bundle.objects().iter().map(|object| &object.content).collect();
            printer.document(&Document { reference, digest: bundle.digest(), objects })
        }
        Output::Text => printer.data(bundle.yaml()),
    }
}
