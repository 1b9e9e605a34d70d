//! `imagepush bundle show IMAGE`: the custom resources that an image carries.

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Map, Value};

use super::one_image;
use super::output::{Output, Printer};
use super::registry_access::RegistryArgs;
use crate::bundle::{self, Bundle};
use crate::error::Result;
use crate::image::{Digest, Platform};
use crate::options::{Platforms, Retry};

/// Custom resources that an image carries for the cluster that runs it
#[derive(Debug, Args)]
pub(crate) struct BundleArgs {
    #[command(subcommand)]
    command: BundleCommand,
}

#[derive(Debug, Subcommand)]
enum BundleCommand {
    Show(ShowArgs),
}

/// Prints them in their canonical form: sorted, quoted, without what only a server writes
///
/// Looks for what is attached to the image, else into its layers, in the folder that the label `imagepush.dev/bundle`
/// names, or `metadata`. Reads as many layers as it takes, and writes nothing.
#[derive(Debug, Args)]
#[command(after_help = super::transports())]
struct ShowArgs {
    /// The image, as `transport:details`, or a short name that registries.conf resolves
    image: String,

    /// The image to choose from an index [default: the one for this machine]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,

    /// How they are printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Serialize)]
struct Document<'a> {
    reference: String,
    digest: &'a Digest,
    objects: Vec<&'a Map<String, Value>>,
}

pub(crate) async fn run(arguments: BundleArgs, printer: &Printer) -> Result<()> {
    match arguments.command {
        BundleCommand::Show(arguments) => show(arguments, printer).await,
    }
}

async fn show(arguments: ShowArgs, printer: &Printer) -> Result<()> {
    // Whoever made the printer has asked for the output.
    let ShowArgs { image, platform, output: _, registry } = arguments;
    let (endpoint, cancel) = one_image::endpoint(&image, registry, printer).await?;
    let reference = endpoint.reference.to_string();
    let platforms = Platforms::One(platform.unwrap_or_else(Platform::of_this_machine));
    let bundle = Box::pin(bundle::read(endpoint, platforms, Retry::default(), &cancel)).await?;
    print(printer, reference, &bundle)
}

fn print(printer: &Printer, reference: String, bundle: &Bundle) -> Result<()> {
    match printer.output() {
        Output::Json => {
            let objects = bundle.objects().iter().map(|object| &object.content).collect();
            printer.document(&Document { reference, digest: bundle.digest(), objects })
        }
        Output::Text => printer.data(bundle.yaml()),
    }
}

// === impl BundleArgs ===

impl BundleArgs {
    /// How they are printed.
    pub(crate) fn output(&self) -> Output {
        let BundleCommand::Show(arguments) = &self.command;
        arguments.output
    }
}
