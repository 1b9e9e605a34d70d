//! `imagepush push IMAGE [DESTINATION]`.
//!
//! Turns the arguments into [`PushOptions`], in one place and completely, runs the engine, and prints what it did. No choice
//! of the engine's has a default here: those are in `options`.

mod report;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use tokio_util::sync::CancellationToken;

use super::login::Person;
use super::output::{Output, Printer, Talk};
use super::registry_access::{self, DestinationRegistryArgs, RegistryArgs, SourceRegistryArgs};
use super::source_name::{self, Alternatives, SourceName};
use super::terminal::Terminal;
use super::{digest_file, progress, signals};
use crate::blob::{Codec, CodecMemory, Pace};
use crate::bundle;
use crate::error::{Error, Kind, Result, Side};
use crate::image::{Compression, ManifestFormat, Platform};
use crate::options::{
    BundleClues, CustomResources, Endpoint, Layers, Overwrites, Platforms, PushOptions, Retry,
};
use crate::transport;

/// Pushes an image to where it is wanted
///
/// Reads IMAGE and makes DESTINATION hold it. What is there already is not sent again. Prints the digest of the pushed
/// image.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each one is a flag of the command line")]
#[command(after_help = super::transports())]
pub(crate) struct PushArgs {
    /// The image to read, as `transport:details`, or a short name that registries.conf resolves
    image: String,

    /// Where to write it: `transport:details`, or a Docker name such as `registry.example.com/team/app:1.0`
    /// [default: IMAGE]
    destination: Option<String>,

    /// Push all images of an index, and the index
    #[arg(long, conflicts_with = "platform")]
    all: bool,

    /// The image to choose from an index [default: the one for this machine]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,

    /// Format of the manifest at the destination [default: that of the source, if the destination can hold it]
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    format: Option<FormatName>,

    /// Compress layers this way; layers that are compressed another way are compressed anew
    #[arg(long, value_name = "FORMAT", value_enum, conflicts_with = "disable_compression")]
    compression_format: Option<CompressionName>,

    /// How hard to compress: 1 to 9 for gzip, 1 to 20 for zstd. Without a format, it means gzip
    #[arg(
        long,
        value_name = "LEVEL",
        allow_negative_numbers = true,
        conflicts_with = "disable_compression"
    )]
    compression_level: Option<i32>,

    /// Compress no layer: those that come uncompressed stay so
    #[arg(short = 'D', long)]
    disable_compression: bool,

    /// How often a failed operation is tried again; 0 means never [default: 3]
    #[arg(long, value_name = "COUNT")]
    retry: Option<u32>,

    /// Wait this long before trying again, such as `2s` [default: half a second at first, then longer each time]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    retry_delay: Option<Duration>,

    /// Hash blobs of a local source before they are sent. Without it, a registry is left to compare what stands under its
    /// digest in a layout or directory, as it does anyway
    #[arg(long)]
    verify_source: bool,

    /// Read back what was pushed, and send again what the registry has lost: costs a request for each blob and manifest
    #[arg(long)]
    verify_after_push: bool,

    /// Fail if the destination's name has something else than this digest, or than `nothing`, right before it would be
    /// changed. An image that is there already is no failure
    #[arg(long, value_name = "DIGEST")]
    if_tag_matches: Option<Overwrites>,

    /// What happens to the custom resources that the image carries. `auto` pushes what has changed or isn't there, and reads
    /// no layer only to look for them [default: auto]
    #[arg(long, value_name = "WHAT", value_enum)]
    cr_option: Option<CrOption>,

    /// Write the digest of the pushed image to this file, after success only
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "dry_run")]
    digestfile: Option<PathBuf>,

    /// Print what would be done, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// Print no progress and no digest. Faults, a dry run's plan and JSON are printed
    #[arg(short, long)]
    quiet: bool,

    /// How the outcome is printed on standard output
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    registries: RegistryArgs,

    #[command(flatten)]
    source_registry: SourceRegistryArgs,

    #[command(flatten)]
    destination_registry: DestinationRegistryArgs,
}

/// Formats of manifests, as they are called on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatName {
    /// OCI image manifest
    Oci,
    /// Docker image manifest version 2, schema 2
    V2s2,
}

/// Compressions that layers can be written with.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum CompressionName {
    /// Every reader knows it
    Gzip,
    /// Smaller and faster; older readers don't know it
    Zstd,
}

/// What happens to custom resources, in the words of the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum CrOption {
    /// Push the image, and its custom resources beside it
    Yes,
    /// Push the image alone
    No,
    /// Push the custom resources alone; the image is at the destination
    Only,
    /// Push of both what has changed or isn't there
    Auto,
}

/// A push that was asked for: what the engine is to do, and what is to be done with the outcome.
#[derive(Debug)]
struct Request {
    options: PushOptions,
    /// What else the source's name may stand for.
    alternatives: Option<Alternatives>,
    digest_file: Option<PathBuf>,
    dry_run: bool,
}

pub(crate) async fn run(arguments: PushArgs, printer: &Printer) -> Result<()> {
    registry_access::warn(&arguments.registries, Some(&arguments.source_registry), printer);
    // A password may be asked for, and the terminal then has to be restored.
    let cancel = signals::cancel_on_signal(printer)?;
    let Request { mut options, alternatives, digest_file, dry_run } =
        arguments.request(&mut Terminal::until(&cancel))?;
    if let Some(alternatives) = alternatives {
        let (source, retry) = (options.source, options.retry);
        options.source = alternatives.choose(source, retry, &cancel, printer).await?;
    }
    if dry_run {
        return report::preview(printer, &options, &bundle::preview(&options, &cancel).await?);
    }
    push(&options, digest_file, &cancel, printer).await
}

async fn push(
    options: &PushOptions,
    digest_file: Option<PathBuf>,
    cancel: &CancellationToken,
    printer: &Printer,
) -> Result<()> {
    digest_file.as_deref().map_or(Ok(()), digest_file::check)?;
    let progress = progress::to(printer);
    let pushed = bundle::push(options, &progress, cancel).await;
    // Before anything else is said.
    printer.clear_bars();
    let pushed = pushed?;
    digest_file.map_or(Ok(()), |path| digest_file::write(&path, &pushed.digest))?;
    report::pushed(printer, options, &pushed)
}

// === impl PushArgs ===

impl PushArgs {
    /// How the outcome is printed.
    pub(crate) fn output(&self) -> (Output, Talk) {
        (self.output, if self.quiet { Talk::Nothing } else { Talk::Normal })
    }

    /// The options of the engine. Asks for what is missing of credentials.
    pub(crate) fn options(self) -> Result<PushOptions> {
        self.request(&mut Terminal::until(&CancellationToken::new())).map(|request| request.options)
    }

    fn request(self, person: &mut dyn Person) -> Result<Request> {
        let Self {
            image,
            destination,
            all,
            platform,
            format,
            compression_format,
            compression_level,
            disable_compression,
            retry,
            retry_delay,
            verify_source,
            verify_after_push,
            if_tag_matches,
            cr_option,
            digestfile,
            dry_run,
            // Whoever made the printer has asked for these two.
            quiet: _,
            output: _,
            registries,
            source_registry,
            destination_registry,
        } = self;
        if if_tag_matches.is_some() && matches!(cr_option, Some(CrOption::Only)) {
            let message = "`--cr-option only` changes no name, so that `--if-tag-matches` means nothing there";
            return Err(Error::new(Kind::InvalidOptions, message));
        }
        let SourceName { reference: source, alternatives } = SourceName::parse(&image)?;
        let destination = match (destination, &alternatives) {
            (Some(name), _) => {
                transport::parse_destination(&name).map_err(|error| error.on(Side::Destination))?
            }
            (None, None) => source.clone(),
            (None, Some(_)) => return Err(source_name::no_destination(&image)),
        };
        registry_access::of_one_source(
            &registries,
            &source_registry,
            &destination,
            alternatives.as_ref(),
        )?;
        let conf = registry_access::conf(&[&source, &destination])?;
        let (from, to) = registry_access::of_push(
            registries,
            source_registry,
            destination_registry,
            (&source, &destination),
            &conf,
            person,
        )?;
        let options = PushOptions {
            source: Endpoint { reference: source, access: from },
            destination: Endpoint { reference: destination, access: to },
            platforms: platforms(all, platform),
            format: format.map(ManifestFormat::from),
            layers: layers(disable_compression, compression_format, compression_level)?,
            retry: Retry::new(retry.unwrap_or(Retry::default().limit), retry_delay)?,
            verify_source,
            // One push has the line to itself.
            pace: Pace::default(),
            codecs: CodecMemory::default(),
            custom_resources: cr_option.map(CustomResources::from).unwrap_or_default(),
            clues: BundleClues::default(),
            verify_after_push,
            overwrites: if_tag_matches,
        };
        Ok(Request { options, alternatives, digest_file: digestfile, dry_run })
    }
}

fn platforms(all: bool, platform: Option<Platform>) -> Platforms {
    match platform {
        Some(platform) => Platforms::One(platform),
        None if all => Platforms::All,
        None => Platforms::One(Platform::of_this_machine()),
    }
}

fn layers(disabled: bool, format: Option<CompressionName>, level: Option<i32>) -> Result<Layers> {
    let format = match (format, level) {
        (None, None) if disabled => return Ok(Layers::DoNotCompress),
        (None, None) => return Ok(Layers::Keep),
        (Some(CompressionName::Zstd), _) => Compression::Zstd,
        (Some(CompressionName::Gzip) | None, _) => Compression::Gzip,
    };
    Codec::new(format, level).map(Layers::Compress)
}

impl From<CrOption> for CustomResources {
    fn from(option: CrOption) -> Self {
        match option {
            CrOption::Yes => Self::Always,
            CrOption::No => Self::Never,
            CrOption::Only => Self::Only,
            CrOption::Auto => Self::Auto,
        }
    }
}

impl From<FormatName> for ManifestFormat {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Oci => Self::Oci,
            FormatName::V2s2 => Self::V2s2,
        }
    }
}

#[cfg(test)]
mod tests;
