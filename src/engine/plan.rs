//! Decides what a push has to do, without I/O.
//!
//! From the manifests at the source, what the destination can hold, and the options follow: the format of each
//! manifest, what happens to each layer, and, where no layer has to be rewritten, the very manifest that the
//! destination will get, so that an equal destination is recognised before any blob is looked at.

use crate::blob::Codec;
use crate::error::{Error, Kind, Result};
use crate::image::{
    Compression, Descriptor, Digest, ImageManifest, Manifest, ManifestFormat, MediaType, Platform,
    convert_image, convert_index,
};
use crate::options::Layers;
use crate::transport::{Capabilities, LayerForm};

/// A manifest at the source with everything below it that is to be pushed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tree {
    pub(super) manifest: Manifest,
    /// The platform that the index above names.
    pub(super) platform: Option<Platform>,
    /// Instances of an index, in its order; none for an image.
    pub(super) children: Vec<Tree>,
}

/// What a plan is made from, beside the tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wants {
    pub(super) capabilities: Capabilities,
    pub(super) layers: Layers,
    /// Whether manifests may be edited, or why not.
    pub(super) may_edit: Result<(), &'static str>,
}

/// The formats of manifests in one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FormatChoice {
    /// Each manifest keeps its own where the destination holds it.
    Keep,
    /// All are of this one.
    Convert(ManifestFormat),
}

/// What to do for one manifest and what is below it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) source: Manifest,
    pub(super) platform: Option<Platform>,
    pub(super) format: ManifestFormat,
    pub(super) body: PlanBody,
    /// The manifest that the destination gets, if that is known before any blob moves.
    pub(super) exact: Option<Manifest>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum PlanBody {
    /// An action for each layer, bottom first.
    Image(Vec<LayerAction>),
    /// A plan for each instance.
    Index(Vec<Plan>),
}

/// What happens to a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum LayerAction {
    /// It is copied as it is.
    Keep,
    /// It stays where its `urls` point.
    Leave,
    /// It is compressed, after being decompressed if it is compressed another way.
    Compress(Codec),
    /// It is decompressed.
    Decompress,
}

/// The formats to try, the best first.
///
/// `fixed` is the format the user asked for; then there is no other.
pub(super) fn format_choices(
    tree: &Tree,
    fixed: Option<ManifestFormat>,
    wants: &Wants,
) -> Result<Vec<FormatChoice>> {
    let held = wants.capabilities.formats;
    let own = tree.manifest.format();
    if let Some(format) = fixed {
        check_fixed(format, held, wants.layers)?;
        return Ok(vec![FormatChoice::Convert(format)]);
    }
    if let Err(reason) = wants.may_edit {
        if held.contains(&own) {
            return Ok(vec![FormatChoice::Keep]);
        }
        return Err(must_edit(&tree.manifest, reason));
    }
    let needed = match wants.layers {
        Layers::Compress(codec) => codec.format(),
        Layers::Keep | Layers::DoNotCompress => Compression::None,
    };
    let keep = held.contains(&own) && own.holds(needed);
    let others = held.iter().filter(|format| **format != own && format.holds(needed));
    let choices: Vec<FormatChoice> = keep
        .then_some(FormatChoice::Keep)
        .into_iter()
        .chain(others.map(|format| FormatChoice::Convert(*format)))
        .collect();
    if choices.is_empty() {
        let message =
            format!("no manifest format that the destination holds knows {needed} layers");
        return Err(Error::new(Kind::TransportUnsupported, message).hint("compress with gzip"));
    }
    Ok(choices)
}

fn check_fixed(format: ManifestFormat, held: &[ManifestFormat], layers: Layers) -> Result<()> {
    if !held.contains(&format) {
        let names: Vec<&str> = held.iter().map(|format| format.as_str()).collect();
        let message =
            format!("the destination cannot hold manifests of format `{}`", format.as_str());
        let hint = format!("leave the format out, or use {}", names.join(" or "));
        return Err(Error::new(Kind::TransportUnsupported, message).hint(hint));
    }
    match layers {
        Layers::Compress(codec) if !format.holds(codec.format()) => {
            let message = format!(
                "format `{}` has no media type for layers compressed with {}",
                format.as_str(),
                codec.format()
            );
            Err(Error::new(Kind::InvalidOptions, message)
                .hint("use format oci, or compress with gzip"))
        }
        _ => Ok(()),
    }
}

/// Plans the push of a tree in one of the [`format_choices`].
pub(super) fn plan(tree: &Tree, choice: FormatChoice, wants: &Wants) -> Result<Plan> {
    let format = target_format(&tree.manifest, choice, wants);
    let body = if let Some(image) = tree.manifest.as_image() {
        PlanBody::Image(layer_actions(image, format, wants)?)
    } else {
        let plans = tree.children.iter().map(|child| plan(child, choice, wants));
        PlanBody::Index(plans.collect::<Result<_>>()?)
    };
    let mut plan = Plan {
        source: tree.manifest.clone(),
        platform: tree.platform.clone(),
        format,
        body,
        exact: None,
    };
    check_assembly(&plan)?;
    plan.exact = exact(&plan)?;
    let edited = plan.exact.as_ref() != Some(&plan.source);
    match wants.may_edit {
        Err(reason) if edited => Err(must_edit(&plan.source, reason)),
        _ => Ok(plan),
    }
}

fn target_format(manifest: &Manifest, choice: FormatChoice, wants: &Wants) -> ManifestFormat {
    let own = manifest.format();
    match choice {
        FormatChoice::Convert(format) => format,
        FormatChoice::Keep if wants.capabilities.formats.contains(&own) => own,
        FormatChoice::Keep => wants.capabilities.formats.first().copied().unwrap_or(own),
    }
}

fn layer_actions(
    image: &ImageManifest,
    format: ManifestFormat,
    wants: &Wants,
) -> Result<Vec<LayerAction>> {
    let container = image.is_container_image();
    if !container && !wants.capabilities.artifacts {
        let kind = image.artifact_type.as_ref().unwrap_or(&image.config.media_type);
        let kind = kind.as_str().escape_default();
        let message =
            format!("the destination holds container images only, not artifacts of type `{kind}`");
        return Err(Error::new(Kind::TransportUnsupported, message));
    }
    let fixed = !container || wants.may_edit.is_err();
    let action = |layer: &Descriptor| layer_action(layer, format, wants, fixed);
    Ok(image.layers.iter().map(action).collect())
}

fn layer_action(
    layer: &Descriptor,
    format: ManifestFormat,
    wants: &Wants,
    fixed: bool,
) -> LayerAction {
    let foreign = layer.media_type.is_foreign_layer() && !layer.urls.is_empty();
    if foreign && wants.capabilities.foreign_layers {
        return LayerAction::Leave;
    }
    let Some(compression) = layer.media_type.layer_compression().filter(|_| !fixed) else {
        return LayerAction::Keep;
    };
    let plain = compression == Compression::None;
    match (wants.capabilities.layers, wants.layers) {
        (LayerForm::Uncompressed, _) if plain => LayerAction::Keep,
        (LayerForm::Uncompressed, _) => LayerAction::Decompress,
        (_, Layers::Compress(codec)) if codec.format() == compression => LayerAction::Keep,
        (_, Layers::Compress(codec)) => LayerAction::Compress(codec),
        (LayerForm::Compressed, Layers::Keep) if plain => LayerAction::Compress(Codec::DEFAULT),
        (_, Layers::DoNotCompress) if !format.holds(compression) => LayerAction::Decompress,
        _ if !format.holds(compression) => LayerAction::Compress(Codec::DEFAULT),
        _ => LayerAction::Keep,
    }
}

/// The manifest that results, if every blob keeps its identity.
fn exact(plan: &Plan) -> Result<Option<Manifest>> {
    match &plan.body {
        PlanBody::Image(actions) if actions.iter().all(|action| action.keeps_identity()) => {
            assemble_image(plan, None).map(Some)
        }
        PlanBody::Image(_) => Ok(None),
        PlanBody::Index(children) => {
            let manifests: Option<Vec<Manifest>> =
                children.iter().map(|child| child.exact.clone()).collect();
            manifests.map(|manifests| assemble_index(plan, &manifests)).transpose()
        }
    }
}

/// The image manifest for the destination. `rewritten` has, for each layer that was rewritten, its new descriptor.
pub(super) fn assemble_image(
    plan: &Plan,
    rewritten: Option<&[Option<Descriptor>]>,
) -> Result<Manifest> {
    let Some(image) = plan.source.as_image() else {
        return Err(Error::internal("an index was assembled as an image"));
    };
    let same_format = plan.format == plan.source.format();
    if rewritten.is_none() && same_format {
        return Ok(plan.source.clone());
    }
    let mut image = image.clone();
    for (layer, new) in image.layers.iter_mut().zip(rewritten.unwrap_or_default()) {
        if let Some(new) = new {
            *layer = new.clone();
        }
    }
    // In the same format, layers of kinds that nobody here knows stay as they are.
    let image = if same_format { image } else { convert_image(&image, plan.format)? };
    Ok(Manifest::from_image(image, plan.format.manifest_type()))
}

/// The descriptor of a layer that was rewritten.
pub(super) fn rewritten_layer(
    format: ManifestFormat,
    compression: Compression,
    digest: Digest,
    size: u64,
) -> Result<Descriptor> {
    let media_type = MediaType::of_layer(format, compression)
        .ok_or_else(|| Error::internal(format!("no layer can be written with {compression}")))?;
    Ok(Descriptor::new(media_type, digest, size))
}

/// Fails where the manifest could not be assembled after the layers have moved.
fn check_assembly(plan: &Plan) -> Result<()> {
    let (PlanBody::Image(actions), Some(image)) = (&plan.body, plan.source.as_image()) else {
        return Ok(());
    };
    let layers = image.layers.iter().zip(actions);
    let rewritten = layers.map(|(layer, action)| match action.compression() {
        Some(compression) => {
            rewritten_layer(plan.format, compression, layer.digest.clone(), layer.size).map(Some)
        }
        None => Ok(None),
    });
    let rewritten: Vec<Option<Descriptor>> = rewritten.collect::<Result<_>>()?;
    assemble_image(plan, Some(&rewritten)).map(|_| ())
}

/// The index for the destination, with these manifests as its instances, in the order of the plan.
pub(super) fn assemble_index(plan: &Plan, manifests: &[Manifest]) -> Result<Manifest> {
    let Some(index) = plan.source.as_index() else {
        return Err(Error::internal("an image was assembled as an index"));
    };
    if index.manifests.len() != manifests.len() {
        return Err(Error::internal("an index was assembled without all its instances"));
    }
    let mut edited = index.clone();
    // By position: the same manifest may be listed twice, for two platforms.
    for (entry, manifest) in edited.manifests.iter_mut().zip(manifests) {
        point_at(entry, manifest);
    }
    if plan.format != plan.source.format() {
        edited = convert_index(&edited, plan.format)?;
    }
    if edited == *index {
        return Ok(plan.source.clone());
    }
    Ok(Manifest::from_index(edited, plan.format.index_type()))
}

fn point_at(entry: &mut Descriptor, manifest: &Manifest) {
    if entry.digest == *manifest.digest() {
        return;
    }
    let descriptor = manifest.descriptor();
    entry.media_type = descriptor.media_type;
    entry.digest = descriptor.digest;
    entry.size = descriptor.size;
    // A copy of the old content, where the entry had one.
    entry.other.remove("data");
}

fn must_edit(manifest: &Manifest, reason: &str) -> Error {
    let message = format!("manifest `{}` would have to be edited, but {reason}", manifest.digest());
    Error::new(Kind::TransportUnsupported, message).hint(
        "name the destination by a tag, or leave format, compression and platform as they are",
    )
}

// === impl LayerAction ===

impl LayerAction {
    /// Whether the layer has the same digest afterwards.
    pub(super) fn keeps_identity(self) -> bool {
        matches!(self, Self::Keep | Self::Leave)
    }

    /// The compression that the layer gets, if it is rewritten.
    pub(super) fn compression(self) -> Option<Compression> {
        match self {
            Self::Keep | Self::Leave => None,
            Self::Compress(codec) => Some(codec.format()),
            Self::Decompress => Some(Compression::None),
        }
    }

    /// The word for it in a preview.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Leave => "leave",
            Self::Compress(_) => "compress",
            Self::Decompress => "decompress",
        }
    }
}

// === impl Plan ===

impl Plan {
    /// Every image of the plan, itself or instances, in order.
    pub(super) fn images(&self) -> Vec<(&Plan, &ImageManifest, &[LayerAction])> {
        match (&self.body, self.source.as_image()) {
            (PlanBody::Image(actions), Some(image)) => vec![(self, image, actions)],
            (PlanBody::Index(children), _) => children.iter().flat_map(Self::images).collect(),
            (PlanBody::Image(_), None) => vec![],
        }
    }
}

#[cfg(test)]
mod tests;
