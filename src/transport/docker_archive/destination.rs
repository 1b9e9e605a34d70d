//! Writes an image into a Docker archive: a new one, or one that holds other images.
//!
//! Layers go into a file beside the archive as they come. At commit the images that stay are copied there too, under
//! a lock and from the archive as it is then; the listing comes last, and one rename publishes it all.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt as _, TryStreamExt as _};
use tokio::sync::Mutex;

use super::image::ArchivedImage;
use super::legacy;
use super::listing::{self, Item, LISTING};
use super::name::TaggedName;
use super::reference::Selector;
use super::source::read_listing;
use crate::blob::{Blob, Chunks, Identity};
use crate::error::{Error, Kind, Result};
use crate::image::{Config, Descriptor, Digest, ImageManifest, Manifest, ManifestFormat};
use crate::limits::{MAX_ARCHIVE_MANIFEST, MAX_CONFIG_SIZE};
use crate::transport::local::{Archive, ArchiveTarget, TarWriter, UserPath};
use crate::transport::{
    BlobKind, Capabilities, Commit, Current, ImageDestination, ImageIdentity, LayerForm,
    Repository, Reused, Role, Verifier,
};

/// An image being written.
pub(super) struct DockerArchiveDestination {
    name: Option<TaggedName>,
    target: ArchiveTarget,
    /// What the archive held when it was opened.
    existing: Holdings,
    pending: Mutex<Pending>,
}

/// The images of an archive.
#[derive(Default)]
struct Holdings {
    items: Vec<Item>,
    /// One for each item.
    images: Vec<ArchivedImage>,
}

/// Small parts, written at commit in the order that readers of old expect.
#[derive(Default)]
struct Pending {
    configs: BTreeMap<Digest, Bytes>,
    image: Option<ImageManifest>,
}

/// Permission bits of the files in the archive; what `docker save` and containers/image have.
const MODE: u32 = 0o444;

// === impl DockerArchiveDestination ===

impl DockerArchiveDestination {
    /// Looks at what is there. A file that isn't a Docker archive is refused.
    pub(super) async fn open(path: UserPath, name: Option<TaggedName>) -> Result<Self> {
        let target = ArchiveTarget::new(path, MODE);
        let existing = match target.existing().await {
            Ok(Some(archive)) => Holdings::read(&archive).await,
            Ok(None) => Ok(Holdings::default()),
            Err(error) => Err(error),
        };
        let existing = existing.map_err(|error| target.not_ours(error, "a Docker archive"))?;
        Ok(Self { name, target, existing, pending: Mutex::default() })
    }

    /// The image whose place the new one takes.
    fn replaced(&self) -> Option<&ArchivedImage> {
        let selector = self.name.clone().map(Selector::Name);
        let chosen = listing::choose(&self.existing.items, selector.as_ref()).ok()?;
        self.existing.images.get(chosen)
    }

    /// Writes what is missing of the new image, and returns its entry of the listing.
    async fn finish_image(&self, writer: &TarWriter, pending: &Pending) -> Result<Item> {
        let never_came = |digest| Error::internal(format!("blob `{digest}` was never written"));
        let image = pending
            .image
            .as_ref()
            .ok_or_else(|| Error::internal("commit came before the named manifest"))?;
        let digest = &image.config.digest;
        let config = pending.configs.get(digest).ok_or_else(|| never_came(digest))?;
        writer.bytes(&config_member(digest), config.clone()).await?;
        for layer in &image.layers {
            if !writer.has(&layer_member(&layer.digest)).await {
                return Err(never_came(&layer.digest));
            }
        }
        Ok(Item {
            config: config_member(digest),
            tags: self.name.iter().map(TaggedName::to_string).collect(),
            layers: image.layers.iter().map(|layer| layer_member(&layer.digest)).collect(),
            other: BTreeMap::new(),
        })
    }
}

#[async_trait]
impl ImageDestination for DockerArchiveDestination {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            formats: &[ManifestFormat::V2s2],
            index: false,
            artifacts: false,
            attachments: false,
            layers: LayerForm::Uncompressed,
            foreign_layers: false,
            identity: ImageIdentity::Config,
            verifier: Verifier::Engine,
        }
    }

    async fn current(&self) -> Result<Option<Current>> {
        let Some(image) = self.replaced() else { return Ok(None) };
        let manifest = image.manifest().await?;
        Ok(Some(Current {
            digest: manifest.digest().clone(),
            media_type: manifest.media_type().clone(),
            size: manifest.bytes().len() as u64,
            config: Some(Digest::of(image.config())),
        }))
    }

    async fn reuse_blob(
        &self,
        descriptor: &Descriptor,
        _mount_from: Option<&Repository>,
    ) -> Result<Option<Reused>> {
        let digest = &descriptor.digest;
        let images = &self.existing.images;
        if let Some(image) = images.iter().find(|image| Digest::of(image.config()) == *digest) {
            let config = image.config().clone();
            self.pending.lock().await.configs.insert(digest.clone(), config);
            return Ok(Some(Reused::Present));
        }
        let Some(chunks) = images.iter().find_map(|image| image.layer(digest)) else {
            return Ok(None);
        };
        self.target.reuse(descriptor, chunks, layer_member).await
    }

    async fn put_blob(&self, blob: Blob, kind: BlobKind) -> Result<()> {
        if kind == BlobKind::Layer {
            return self.target.put(blob, layer_member).await;
        }
        let (chunks, identity) = blob.into_parts();
        let (digest, config) = collect(chunks, &identity).await?;
        self.pending.lock().await.configs.insert(digest, config);
        Ok(())
    }

    async fn put_manifest(&self, manifest: &Manifest, role: Role) -> Result<()> {
        let image = match (manifest.as_image(), role) {
            (Some(image), Role::Named) if manifest.format() == ManifestFormat::V2s2 => image,
            _ => {
                let message = format!("a Docker archive holds no `{}`", manifest.media_type());
                return Err(Error::new(Kind::ManifestRejected, message));
            }
        };
        let mut pending = self.pending.lock().await;
        let Some(config) = pending.configs.get(&image.config.digest) else {
            let message = format!("config `{}` came after its manifest", image.config.digest);
            return Err(Error::internal(message));
        };
        check_layers(image, &Config::parse(config)?)?;
        pending.image = Some(image.clone());
        Ok(())
    }

    async fn prepare(self: Box<Self>) -> Result<Commit> {
        let pending = std::mem::take(&mut *self.pending.lock().await);
        let writer = self.target.writer().await?;
        let new = self.finish_image(writer, &pending).await?;
        let held = self.target.hold().await?;
        let existing = match held.archive() {
            Some(archive) => Holdings::read(archive)
                .await
                .map_err(|error| self.target.not_ours(error, "a Docker archive"))?,
            None => Holdings::default(),
        };
        let config = new.config.clone();
        let is_same = |index: usize, _: &Item| {
            existing
                .images
                .get(index)
                .is_some_and(|image| config_member(&Digest::of(image.config())) == config)
        };
        let items = existing.with_resolved_names();
        let items = listing::merge(items, new, self.name.as_ref(), is_same);
        existing.copy_kept(writer, held.archive(), &items).await?;
        let new_config = pending.image.as_ref().map(|image| &image.config.digest);
        let new_config = new_config.and_then(|digest| pending.configs.get(digest));
        write_listings(writer, &items, &existing, new_config).await?;
        Ok(self.target.finish(held).await?.publish().boxed())
    }
}

// === impl Holdings ===

impl Holdings {
    async fn read(archive: &Archive) -> Result<Self> {
        let items = read_listing(archive).await?;
        let mut images = Vec::with_capacity(items.len());
        for item in &items {
            images.push(ArchivedImage::open(archive, item).await?);
        }
        Ok(Self { items, images })
    }

    /// The listing with the members that links lead to in place of the links, which are not copied.
    fn with_resolved_names(&self) -> Vec<Item> {
        let resolved = |(item, image): (&Item, &ArchivedImage)| Item {
            config: image.config_member.name.clone(),
            layers: image.layers.iter().map(|layer| layer.member.name.clone()).collect(),
            ..item.clone()
        };
        self.items.iter().zip(&self.images).map(resolved).collect()
    }

    /// Copies the members of the images that stay.
    async fn copy_kept(
        &self,
        writer: &TarWriter,
        archive: Option<&Archive>,
        items: &[Item],
    ) -> Result<()> {
        let Some(archive) = archive else { return Ok(()) };
        let named = items.iter().flat_map(|item| item.layers.iter().chain([&item.config]));
        let named: BTreeSet<&String> = named.collect();
        for image in &self.images {
            let layers = image.layers.iter().map(|layer| &layer.member);
            for member in layers.chain([&image.config_member]) {
                if named.contains(&member.name) && !writer.has(&member.name).await {
                    let chunks = archive.chunks(member.extent);
                    writer.file(&member.name, member.extent.size, chunks).await?;
                }
            }
        }
        Ok(())
    }

    /// The config of a listed image that stays.
    fn config_of(&self, item: &Item) -> Option<&Bytes> {
        let image = self.images.iter().find(|image| image.config_member.name == item.config)?;
        Some(image.config())
    }
}

/// Writes what is made of the listed images: the legacy folders, `manifest.json` and `repositories`.
async fn write_listings(
    writer: &TarWriter,
    items: &[Item],
    existing: &Holdings,
    new_config: Option<&Bytes>,
) -> Result<()> {
    let mut tops = Vec::new();
    for item in items {
        let own = new_config.filter(|config| config_member(&Digest::of(config)) == item.config);
        let config = own.or_else(|| existing.config_of(item));
        let config = config.ok_or_else(|| Error::internal("a listed image has no config"))?;
        let layers = legacy::layers(config, &Config::parse(config)?.rootfs.diff_ids)?;
        for (layer, member) in layers.iter().zip(&item.layers) {
            let id = &layer.id;
            writer.symlink(&format!("{id}/layer.tar"), &format!("../{member}")).await?;
            writer.bytes(&format!("{id}/VERSION"), Bytes::from_static(b"1.0")).await?;
            let json = Bytes::from(layer.json.clone());
            writer.bytes(&format!("{id}/json"), json).await?;
        }
        let names = item.names().map_err(Error::internal)?;
        let top = layers.last().map(|layer| layer.id.clone());
        tops.extend(
            top.into_iter()
                .flat_map(|top| names.iter().cloned().map(move |name| (name, top.clone()))),
        );
    }
    let listing = serde_json::to_vec(items)
        .map_err(|cause| Error::internal(format!("the listing cannot be written: {cause}")))?;
    if listing.len() as u64 > MAX_ARCHIVE_MANIFEST {
        let message = format!(
            "`{LISTING}` would have {} bytes, more than the limit of {MAX_ARCHIVE_MANIFEST}",
            listing.len()
        );
        return Err(Error::new(Kind::LimitExceeded, message)
            .hint("push into another archive: this one holds too many images"));
    }
    writer.bytes(LISTING, listing.into()).await?;
    writer.bytes("repositories", legacy::repositories(&tops).into()).await
}

/// Readers know layers by the config's diff IDs only.
fn check_layers(image: &ImageManifest, config: &Config) -> Result<()> {
    let (layers, diff_ids) = (&image.layers, &config.rootfs.diff_ids);
    let fault = |message| Err(Error::new(Kind::InvalidImage, message));
    if layers.len() != diff_ids.len() {
        let (listed, expected) = (layers.len(), diff_ids.len());
        return fault(format!("the manifest has {listed} layers and the config {expected}"));
    }
    match layers.iter().zip(diff_ids).find(|(layer, diff_id)| layer.digest != **diff_id) {
        Some((layer, diff_id)) => {
            let digest = &layer.digest;
            fault(format!("layer `{digest}` is not the one the config names, `{diff_id}`"))
        }
        None => Ok(()),
    }
}

async fn collect(mut chunks: Chunks, identity: &Identity) -> Result<(Digest, Bytes)> {
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.try_next().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > MAX_CONFIG_SIZE {
            let message = format!("the config has more than {MAX_CONFIG_SIZE} bytes");
            return Err(Error::new(Kind::LimitExceeded, message));
        }
    }
    let (digest, _) = identity.settled()?;
    Ok((digest.clone(), bytes.into()))
}

fn layer_member(diff_id: &Digest) -> String {
    format!("{}.tar", diff_id.hex())
}

fn config_member(digest: &Digest) -> String {
    format!("{}.json", digest.hex())
}
