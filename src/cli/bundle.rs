//! `imagepush bundle show IMAGE`: the custom resources that an image carries.

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Map, Value};

use super::output::{Output, Printer};
use super::registry_access::{self, RegistryArgs};
use super::signals;
use super::source_name::SourceName;
use super::terminal::Terminal;
use crate::bundle::{self, Bundle};
use crate::error::Result;
use crate::image::{Digest, Platform};
use crate::options::{Endpoint, Platforms, Retry};

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
        BundleCommand::Show(arguments) => Box::pin(show(arguments, printer)).await,
    }
}

async fn show(arguments: ShowArgs, printer: &Printer) -> Result<()> {
    // Whoever made the printer has asked for the output.
    let ShowArgs { image, platform, output: _, registry } = arguments;
    let SourceName { reference, alternatives } = SourceName::parse(&image)?;
    registry_access::of_one_registry(&registry, alternatives.as_ref())?;
    registry_access::warn(&registry, None, printer);
    let conf = registry_access::conf(&[&reference])?;
    // A password may be asked for, and the terminal then has to be restored.
    let cancel = signals::cancel_on_signal(printer)?;
    let person = &mut Terminal::until(&cancel);
    let access = registry_access::of_image(registry, &reference, &conf, person)?;
    let mut endpoint = Endpoint { reference, access };
    if let Some(alternatives) = alternatives {
        endpoint = alternatives.choose(endpoint, Retry::default(), &cancel, printer).await?;
    }
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
