//! `imagepush inspect REFERENCE`: what a name points to, without copying anything.

use clap::Args;
use indicatif::HumanBytes;
use serde::Serialize;

use super::one_image;
use super::output::{Output, Printer};
use super::registry_access::RegistryArgs;
use crate::engine::{self, Inspected};
use crate::error::{Result, printable};
use crate::image::{Body, Config, Descriptor, Digest, ImageManifest, Index, MediaType, Platform};
use crate::options::{Endpoint, Retry};

/// Shows what a name points to: digest, platform and layers of an image, or the images of an index
#[derive(Debug, Args)]
#[command(after_help = super::transports())]
pub(crate) struct InspectArgs {
    /// The image or index, as `transport:details`, or a short name that registries.conf resolves
    reference: String,

    /// How it is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    reference: String,
    digest: &'a Digest,
    media_type: &'a MediaType,
    /// Of the manifest or index itself.
    size_bytes: usize,
    #[serde(flatten)]
    content: Content<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Image { platform: Option<String>, config: Entry<'a>, layers: Vec<Entry<'a>> },
    Index { manifests: Vec<Entry<'a>> },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    digest: &'a Digest,
    media_type: &'a MediaType,
    size_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
}

pub(crate) async fn run(arguments: InspectArgs, printer: &Printer) -> Result<()> {
    // Whoever made the printer has asked for the output.
    let InspectArgs { reference, output: _, registry } = arguments;
    let (endpoint, cancel) = one_image::endpoint(&reference, registry, printer).await?;
    let inspected = engine::inspect(&endpoint, Retry::default(), &cancel).await?;
    let document = document(&endpoint, &inspected);
    match printer.output() {
        Output::Json => printer.document(&document),
        Output::Text => printer.data(&text(&document)),
    }
}

// === impl InspectArgs ===

impl InspectArgs {
    /// How it is printed.
    pub(crate) fn output(&self) -> Output {
        self.output
    }
}

fn document<'a>(endpoint: &Endpoint, inspected: &'a Inspected) -> Document<'a> {
    let Inspected { manifest, config } = inspected;
    let content = match manifest.body() {
        Body::Image(image) => image_content(image, config.as_ref()),
        Body::Index(index) => index_content(index),
    };
    Document {
        reference: endpoint.reference.to_string(),
        digest: manifest.digest(),
        media_type: manifest.media_type(),
        size_bytes: manifest.bytes().len(),
        content,
    }
}

fn image_content<'a>(image: &'a ImageManifest, config: Option<&Config>) -> Content<'a> {
    Content::Image {
        platform: config.and_then(Config::platform).as_ref().map(Platform::to_string),
        config: entry(&image.config),
        layers: image.layers.iter().map(entry).collect(),
    }
}

fn index_content(index: &Index) -> Content<'_> {
    Content::Index { manifests: index.manifests.iter().map(entry).collect() }
}

fn entry(descriptor: &Descriptor) -> Entry<'_> {
    Entry {
        digest: &descriptor.digest,
        media_type: &descriptor.media_type,
        size_bytes: descriptor.size,
        platform: descriptor.platform.as_ref().map(Platform::to_string),
    }
}

/// The document for people. What an image says of itself is not for a terminal to obey.
fn text(document: &Document<'_>) -> String {
    let Document { reference, digest, media_type, size_bytes: _, content } = document;
    let media_type = printable(media_type.as_str());
    let head =
        format!("reference:   {reference}\ndigest:      {digest}\nmedia type:  {media_type}\n");
    match content {
        Content::Image { platform, config, layers } => {
            let platform = printable(platform.as_deref().unwrap_or("not given"));
            let bytes = layers.iter().chain([config]);
            // Sizes are what a manifest claims, and add up to anything.
            let bytes = bytes.fold(0u64, |sum, entry| sum.saturating_add(entry.size_bytes));
            let head = format!(
                "{head}platform:    {platform}\nsize:        {}\nlayers:\n",
                HumanBytes(bytes)
            );
            layers.iter().fold(head, |text, layer| text + &line(layer))
        }
        Content::Index { manifests } => {
            manifests.iter().fold(head + "images:\n", |text, image| text + &line(image))
        }
    }
}

fn line(entry: &Entry<'_>) -> String {
    let Entry { digest, media_type, size_bytes, platform } = entry;
    let what = printable(platform.as_deref().unwrap_or(media_type.as_str()));
    format!("  {digest}  {:>10}  {what}\n", HumanBytes(*size_bytes).to_string())
}
