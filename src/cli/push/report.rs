//! What a push prints when it is done, and a dry run instead of it; docs/output.md describes the documents.

use indicatif::HumanBytes;
use serde::Serialize;

use crate::cli::output::{Output, Printer};
use crate::engine::{Beside, BlobCounts, Preview, PreviewBlob, PreviewImage, Pushed};
use crate::error::Result;
use crate::image::{Digest, MediaType};
use crate::options::{CustomResources, PushOptions};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PushDocument<'a> {
    source: String,
    destination: String,
    digest: &'a Digest,
    replaced_digest: Option<&'a Digest>,
    media_type: &'a MediaType,
    size_bytes: Option<u64>,
    blobs: BlobsDocument,
    image: &'static str,
    bundle: Option<BundleDocument<'a>>,
}

/// What was decided about the custom resources.
#[derive(Serialize)]
struct BundleDocument<'a> {
    decision: &'static str,
    reason: Option<&'a str>,
    digest: Option<&'a Digest>,
    objects: Option<usize>,
    artifact: Option<&'a Digest>,
}

#[derive(Serialize)]
struct BlobsDocument {
    sent: u64,
    reused: u64,
    mounted: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PreviewDocument<'a> {
    source: String,
    destination: String,
    digest: Option<&'a Digest>,
    media_type: &'a MediaType,
    already_present: bool,
    images: Vec<PreviewImageDocument<'a>>,
    image: &'static str,
    bundle: Option<BundleDocument<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PreviewImageDocument<'a> {
    source_digest: &'a Digest,
    platform: Option<String>,
    blobs: Vec<PreviewBlobDocument<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PreviewBlobDocument<'a> {
    digest: &'a Digest,
    size_bytes: u64,
    action: &'a str,
}

/// Reports a push that is done.
pub(super) fn pushed(printer: &Printer, options: &PushOptions, pushed: &Pushed) -> Result<()> {
    match printer.output() {
        Output::Json => printer.document(&push_document(options, pushed)),
        Output::Text if printer.talks() => {
            printer.say(&summary(options, pushed));
            pushed.beside.iter().for_each(|beside| printer.say(&beside.to_string()));
            printer.data(&format!("{}\n", pushed.digest))
        }
        Output::Text => Ok(()),
    }
}

/// Reports what a push would do.
pub(super) fn preview(printer: &Printer, options: &PushOptions, preview: &Preview) -> Result<()> {
    match printer.output() {
        Output::Json => printer.document(&preview_document(options, preview)),
        Output::Text => {
            let beside = preview.beside.as_ref().map(|beside| format!("{beside}\n"));
            printer.data(&(preview_text(options, preview) + &beside.unwrap_or_default()))
        }
    }
}

fn summary(options: &PushOptions, pushed: &Pushed) -> String {
    let (source, destination) = (&options.source.reference, &options.destination.reference);
    if leaves_image(options) {
        return format!("left the image at `{destination}` as it is");
    }
    if pushed.already_present {
        return format!("`{destination}` has the image already");
    }
    let BlobCounts { sent, reused, mounted } = pushed.blobs;
    let bytes = HumanBytes(pushed.bytes_sent);
    let replaced = pushed.replaced.as_ref();
    let replaced = replaced.map(|digest| format!(", in the place of `{digest}`"));
    format!(
        "pushed `{source}` to `{destination}`{}: blobs: {sent} sent ({bytes}), {reused} reused, {mounted} mounted",
        replaced.unwrap_or_default()
    )
}

/// Whether the image is none of the push's business.
fn leaves_image(options: &PushOptions) -> bool {
    options.custom_resources == CustomResources::Only
}

/// What was decided about the image: the word for `decided`, unless nothing was to be done.
fn image(options: &PushOptions, already_present: bool, decided: &'static str) -> &'static str {
    match already_present {
        _ if leaves_image(options) => "left",
        true => "unchanged",
        false => decided,
    }
}

fn push_document<'a>(options: &PushOptions, pushed: &'a Pushed) -> PushDocument<'a> {
    let BlobCounts { sent, reused, mounted } = pushed.blobs;
    PushDocument {
        source: options.source.reference.to_string(),
        destination: options.destination.reference.to_string(),
        digest: &pushed.digest,
        replaced_digest: pushed.replaced.as_ref(),
        media_type: &pushed.media_type,
        size_bytes: pushed.size_bytes,
        blobs: BlobsDocument { sent, reused, mounted },
        image: image(options, pushed.already_present, "pushed"),
        bundle: pushed.beside.as_ref().map(bundle_document),
    }
}

fn bundle_document(beside: &Beside) -> BundleDocument<'_> {
    let Beside { decision, digest, objects, artifact } = beside;
    BundleDocument {
        decision: decision.as_str(),
        reason: decision.reason(),
        digest: digest.as_ref(),
        objects: *objects,
        artifact: artifact.as_ref(),
    }
}

fn preview_document<'a>(options: &PushOptions, preview: &'a Preview) -> PreviewDocument<'a> {
    let blob = |blob: &'a PreviewBlob| PreviewBlobDocument {
        digest: &blob.digest,
        size_bytes: blob.size_bytes,
        action: blob.action,
    };
    let of_image = |image: &'a PreviewImage| PreviewImageDocument {
        source_digest: &image.source_digest,
        platform: image.platform.as_ref().map(ToString::to_string),
        blobs: image.blobs.iter().map(blob).collect(),
    };
    PreviewDocument {
        source: options.source.reference.to_string(),
        destination: options.destination.reference.to_string(),
        digest: preview.digest.as_ref(),
        media_type: &preview.media_type,
        already_present: preview.already_present,
        images: preview.images.iter().map(of_image).collect(),
        image: image(options, preview.already_present, "push"),
        bundle: preview.beside.as_ref().map(bundle_document),
    }
}

fn preview_text(options: &PushOptions, preview: &Preview) -> String {
    let (source, destination) = (&options.source.reference, &options.destination.reference);
    if leaves_image(options) {
        return format!("would leave the image at `{destination}` as it is\n");
    }
    if preview.already_present {
        return format!("`{destination}` has the image already\n");
    }
    let digest = match &preview.digest {
        Some(digest) => digest.to_string(),
        None => "known once layers are rewritten".to_owned(),
    };
    let head = format!(
        "would push `{source}` to `{destination}`\ndigest: {digest}\nmedia type: {}\n",
        preview.media_type
    );
    preview.images.iter().fold(head, |text, image| text + &image_text(image))
}

fn image_text(image: &PreviewImage) -> String {
    let platform = image.platform.as_ref().map(|platform| format!(" for {platform}"));
    let head = format!("image {}{}\n", image.source_digest, platform.unwrap_or_default());
    image.blobs.iter().fold(head, |text, blob| {
        let PreviewBlob { digest, size_bytes, action } = blob;
        text + &format!("  {action:<10}  {digest}  {}\n", HumanBytes(*size_bytes))
    })
}
