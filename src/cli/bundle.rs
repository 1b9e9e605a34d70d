//! `imagepush bundle`: the custom resources that an image carries, shown or compared with a cluster.

mod diff;
mod show;

use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;

use self::diff::DiffArgs;
use self::show::ShowArgs;
use super::one_image;
use super::output::{Output, Printer};
use super::registry_access::RegistryArgs;
use crate::bundle::{self, Bundle};
use crate::error::Result;
use crate::image::Platform;
use crate::options::{Platforms, Retry};

/// Custom resources that an image carries for the cluster that runs it
#[derive(Debug, Args)]
pub(crate) struct BundleArgs {
    #[command(subcommand)]
    command: BundleCommand,
}

#[derive(Debug, Subcommand)]
enum BundleCommand {
    Show(Box<ShowArgs>),
    Diff(Box<DiffArgs>),
}

/// An image whose custom resources are read.
#[derive(Debug, Args)]
struct ImageArgs {
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

/// Returns the exit code of a command that has reported its faults itself.
pub(crate) async fn run(arguments: BundleArgs, printer: &Printer) -> Result<u8> {
    match arguments.command {
        BundleCommand::Show(arguments) => show::run(*arguments, printer).await.map(|()| 0),
        BundleCommand::Diff(arguments) => Ok(diff::run(*arguments, printer).await),
    }
}

// === impl BundleArgs ===

impl BundleArgs {
    /// How they are printed.
    pub(crate) fn output(&self) -> Output {
        match &self.command {
            BundleCommand::Show(arguments) => arguments.image.output,
            BundleCommand::Diff(arguments) => arguments.image.output,
        }
    }
}

// === impl ImageArgs ===

impl ImageArgs {
    /// Reads the bundle; returns the image's name, too, and what signals cancel.
    async fn read(self, printer: &Printer) -> Result<(String, Bundle, CancellationToken)> {
        // Whoever made the printer has asked for the output.
        let Self { image, platform, output: _, registry } = self;
        let (endpoint, cancel) = one_image::endpoint(&image, registry, printer).await?;
        let reference = endpoint.reference.to_string();
        let platforms = Platforms::One(platform.unwrap_or_else(Platform::of_this_machine));
        let read = Box::pin(bundle::read(endpoint, platforms, Retry::default(), &cancel)).await?;
        Ok((reference, read, cancel))
    }
}
