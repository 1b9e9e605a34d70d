//! One image of an archive: its config, its layers, and the manifest made of them.
//!
//! Everything the listing says of the image is compared with its config before anything is read from it. A layer is
//! known by its diff ID; one that stands compressed in the archive is decompressed as it is read.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::TryStreamExt as _;
use tokio::sync::OnceCell;

use super::listing::{Item, LISTING};
use crate::blob::{Chunks, CodecMemory, decompress};
use crate::error::{Error, Kind, Result};
use crate::image::{
    Annotations, Compression, Config, Descriptor, Digest, ImageManifest, Manifest, ManifestFormat,
    MediaType,
};
use crate::limits::{MAX_CONFIG_SIZE, MAX_LAYERS};
use crate::transport::local::{Archive, Found};

/// An image whose parts have all been found.
pub(super) struct ArchivedImage {
    archive: Archive,
    config: Bytes,
    /// The member that holds the config, links followed.
    pub(super) config_member: Found,
    /// Bottom first; a diff ID may occur several times.
    pub(super) layers: Vec<ArchivedLayer>,
    manifest: OnceCell<Manifest>,
    codecs: CodecMemory,
}

/// A layer and the member that holds it.
#[derive(Clone, Debug)]
pub(super) struct ArchivedLayer {
    pub(super) diff_id: Digest,
    /// The member, links followed.
    pub(super) member: Found,
    compression: Compression,
}

// === impl ArchivedImage ===

impl ArchivedImage {
    /// Finds the parts of an image.
    pub(super) async fn open(archive: &Archive, item: &Item) -> Result<Self> {
        let missing = || archive.fault(format!("config `{}` is missing", item.config));
        let config_member = archive.find(&item.config)?.ok_or_else(missing)?;
        let config = archive.read(&item.config, MAX_CONFIG_SIZE).await?.ok_or_else(missing)?;
        check_name(archive, &item.config, &config)?;
        let parsed = Config::parse(&config).map_err(|cause| {
            archive.fault(format!("config `{}` is malformed: {cause}", item.config))
        })?;
        let layers = find_layers(archive, item, parsed.rootfs.diff_ids).await?;
        let archive = archive.clone();
        let (manifest, codecs) = (OnceCell::new(), CodecMemory::default());
        Ok(Self { archive, config, config_member, layers, manifest, codecs })
    }

    /// The config, as it stands.
    pub(super) fn config(&self) -> &Bytes {
        &self.config
    }

    /// The manifest that this image has wherever it is read: version 2, schema 2, with plain layers.
    pub(super) async fn manifest(&self) -> Result<&Manifest> {
        self.manifest.get_or_try_init(|| self.make_manifest()).await
    }

    async fn make_manifest(&self) -> Result<Manifest> {
        let layer_type = MediaType::of_layer(ManifestFormat::V2s2, Compression::None)
            .ok_or_else(|| Error::internal("plain layers have no media type"))?;
        let mut sizes = BTreeMap::new();
        for layer in &self.layers {
            if !sizes.contains_key(&layer.diff_id) {
                sizes.insert(&layer.diff_id, self.size_of(layer).await?);
            }
        }
        let describe = |layer: &ArchivedLayer| {
            let size = sizes.get(&layer.diff_id).copied().unwrap_or_default();
            Descriptor::new(layer_type.clone(), layer.diff_id.clone(), size)
        };
        let image = ImageManifest {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            config: Descriptor::of(MediaType::DOCKER_CONFIG, &self.config),
            layers: self.layers.iter().map(describe).collect(),
            subject: None,
            annotations: Annotations::new(),
            other: BTreeMap::new(),
        };
        Ok(Manifest::from_image(image, MediaType::DOCKER_MANIFEST))
    }

    /// The size of a layer's plain form. One that is compressed has to be read for it.
    async fn size_of(&self, layer: &ArchivedLayer) -> Result<u64> {
        if layer.compression == Compression::None {
            return Ok(layer.member.extent.size);
        }
        let add = |sum: u64, chunk: Bytes| async move { Ok(sum + chunk.len() as u64) };
        let size = self.chunks_of(layer).try_fold(0, add).await;
        let name = &layer.member.name;
        size.map_err(|error| error.doing(format!("decompressing layer `{name}`")))
    }

    /// The plain bytes of a layer, unless the image has none with this diff ID.
    pub(super) fn layer(&self, diff_id: &Digest) -> Option<Chunks> {
        let layer = self.layers.iter().find(|layer| layer.diff_id == *diff_id)?;
        Some(self.chunks_of(layer))
    }

    fn chunks_of(&self, layer: &ArchivedLayer) -> Chunks {
        let chunks = self.archive.chunks(layer.member.extent);
        match layer.compression {
            Compression::None => chunks,
            _ => decompress(chunks, &self.codecs),
        }
    }
}

/// A config is named by its digest in all archives we know; where that is so it must be right, since nothing else
/// vouches for its bytes.
fn check_name(archive: &Archive, name: &str, config: &[u8]) -> Result<()> {
    let last = name.rsplit('/').next().unwrap_or_default();
    let stem = last.strip_suffix(".json").unwrap_or(last);
    let actual = Digest::of(config);
    match format!("sha256:{stem}").parse::<Digest>() {
        Ok(named) if named != actual => {
            let message = format!("config `{name}` has the digest `{actual}`");
            Err(archive.fault_of(Kind::ContentMismatch, message))
        }
        _ => Ok(()),
    }
}

async fn find_layers(
    archive: &Archive,
    item: &Item,
    diff_ids: Vec<Digest>,
) -> Result<Vec<ArchivedLayer>> {
    let (listed, expected) = (item.layers.len(), diff_ids.len());
    if listed != expected {
        let message = format!(
            "the image has {listed} layers in `{LISTING}` and {expected} in config `{}`",
            item.config
        );
        return Err(archive.fault(message));
    }
    if listed > MAX_LAYERS {
        let message = format!("the image has {listed} layers, more than the limit of {MAX_LAYERS}");
        return Err(archive.fault_of(Kind::LimitExceeded, message));
    }
    let mut layers: Vec<ArchivedLayer> = Vec::with_capacity(listed);
    let mut used: BTreeMap<String, Digest> = BTreeMap::new();
    for (path, diff_id) in item.layers.iter().zip(diff_ids) {
        // The same layer twice is one, even where it stands in the archive twice.
        if let Some(known) = layers.iter().find(|layer| layer.diff_id == diff_id) {
            layers.push(known.clone());
            continue;
        }
        let missing = || archive.fault(format!("layer `{path}` is missing"));
        let member = archive.find(path)?.ok_or_else(missing)?;
        if let Some(other) = used.insert(member.name.clone(), diff_id.clone()) {
            let message =
                format!("layer `{path}` is used for two diff IDs, `{other}` and `{diff_id}`");
            return Err(archive.fault(message));
        }
        let compression = archive.compression(member.extent).await?;
        layers.push(ArchivedLayer { diff_id, member, compression });
    }
    Ok(layers)
}
