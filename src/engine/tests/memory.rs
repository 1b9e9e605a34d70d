//! A transport in memory: both ends of a push, with a record of what was asked of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::transport::MemoryTransport;
use crate::access::Access;
use crate::blob::{Blob, Chunks};
use crate::error::{Error, Kind, Result};
use crate::image::{
    Annotations, Compression, Descriptor, Digest, ImageManifest, Index, Manifest, ManifestFormat,
    MediaType,
};
use crate::transport::{
    BlobKind, Capabilities, Commit, Current, Gate, ImageDestination, ImageIdentity, ImageReference,
    ImageSource, LayerForm, Repository, Reused, Role, Transport, Verifier,
};

/// Something a destination was asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Call {
    Current,
    Reuse(Digest),
    PutBlob(Digest),
    PutManifest(Digest, Role),
    Prepare,
    Commit,
}

/// A named place in memory. Clones are the same place.
#[derive(Clone)]
pub(super) struct Memory {
    name: &'static str,
    index: bool,
    pinned: Option<Digest>,
    store: Arc<Mutex<Store>>,
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a behaviour of its own")]
pub(super) struct Store {
    blobs: HashMap<Digest, Bytes>,
    manifests: HashMap<Digest, Manifest>,
    mountable: HashSet<Digest>,
    named: Option<Digest>,
    /// What the name is to point to.
    prepared: Option<Digest>,
    calls: Vec<Call>,
    failures: Option<(usize, Error)>,
    rejected: Option<ManifestFormat>,
    /// The named manifest is stored, but the answer gets lost.
    silent: bool,
    /// Blobs are kept by digest, and compared with it when they are written.
    verifies: bool,
    /// Whether that is said of each blob that is written.
    confirms: bool,
    /// Digests of the blobs that were read, in this order.
    reads: Vec<Digest>,
    cancel: Option<(usize, CancellationToken)>,
    /// The named manifest changes the name, not the commit.
    publishes_at_once: bool,
    /// Manifests that are being read or written at this moment, and the most there were.
    busy: usize,
    busiest: usize,
    /// A blob that has gone, though that is denied until it is put again.
    lost: Option<Digest>,
}

/// A manifest that is being read or written.
struct Busy(Memory);

// === impl Memory ===

impl Memory {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, index: true, pinned: None, store: Arc::default() }
    }

    /// A place that holds no index.
    pub(super) fn single(name: &'static str) -> Self {
        Self { index: false, ..Self::new(name) }
    }

    pub(super) fn pinned(&self, digest: &Digest) -> Self {
        Self { pinned: Some(digest.clone()), ..self.clone() }
    }

    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    fn busy(&self) -> Busy {
        let mut store = self.store();
        store.busy += 1;
        store.busiest = store.busiest.max(store.busy);
        Busy(self.clone())
    }

    /// Records a call; cancels or fails if the test wants that here. Waits once, so that there is an await to stop at.
    async fn called(&self, call: Call) -> Result<()> {
        let result = self.store().record(call);
        tokio::task::yield_now().await;
        result
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory:{}", self.name)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[async_trait]
impl ImageReference for Memory {
    fn transport(&self) -> &'static dyn Transport {
        &MemoryTransport
    }

    fn digest(&self) -> Option<&Digest> {
        self.pinned.as_ref()
    }

    async fn source(&self, _access: &Access) -> Result<Box<dyn ImageSource>> {
        Ok(Box::new(self.clone()))
    }

    async fn destination(&self, _access: &Access) -> Result<Box<dyn ImageDestination>> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl ImageSource for Memory {
    async fn manifest(&self, instance: Option<&Descriptor>) -> Result<Manifest> {
        let _busy = self.busy();
        tokio::task::yield_now().await;
        let store = self.store();
        let digest = instance.map(|entry| &entry.digest).or(store.named.as_ref());
        let manifest = digest.and_then(|digest| store.manifests.get(digest)).cloned();
        manifest.ok_or_else(|| Error::new(Kind::NotFound, "no such manifest"))
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<Chunks> {
        self.store().reads.push(descriptor.digest.clone());
        let bytes = self.store().blobs.get(&descriptor.digest).cloned();
        let bytes = bytes.ok_or_else(|| Error::new(Kind::NotFound, "no such blob"))?;
        Ok(stream::iter([Ok(bytes)]).boxed())
    }

    fn place_by_digest(&self, descriptor: &Descriptor) -> Option<String> {
        self.store().verifies.then(|| format!("{self}/{}", descriptor.digest))
    }
}

#[async_trait]
impl ImageDestination for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            formats: &[ManifestFormat::Oci, ManifestFormat::V2s2],
            index: self.index,
            artifacts: true,
            attachments: false,
            layers: LayerForm::Compressed,
            foreign_layers: true,
            identity: ImageIdentity::Manifest,
            verifier: self.store().verifier(),
        }
    }

    async fn current(&self) -> Result<Option<Current>> {
        self.called(Call::Current).await?;
        let store = self.store();
        let manifest = store.named.as_ref().and_then(|digest| store.manifests.get(digest));
        Ok(manifest.map(|manifest| Current {
            digest: manifest.digest().clone(),
            media_type: manifest.media_type().clone(),
            size: manifest.bytes().len() as u64,
            config: None,
        }))
    }

    async fn reuse_blob(
        &self,
        descriptor: &Descriptor,
        _mount_from: Option<&Repository>,
    ) -> Result<Option<Reused>> {
        self.called(Call::Reuse(descriptor.digest.clone())).await?;
        let store = self.store();
        if store.mountable.contains(&descriptor.digest) {
            return Ok(Some(Reused::Mounted));
        }
        Ok(store.blobs.contains_key(&descriptor.digest).then_some(Reused::Present))
    }

    async fn put_blob(&self, blob: Blob, _kind: BlobKind) -> Result<()> {
        let (chunks, identity) = blob.into_parts();
        let bytes = chunks.map_ok(|chunk| chunk.to_vec()).try_concat().await?;
        let digest = identity.settled()?.0.clone();
        self.called(Call::PutBlob(digest.clone())).await?;
        if self.store().verifies && Digest::of(&bytes) != digest {
            return Err(Error::new(Kind::ContentMismatch, "the registry answered 400"));
        }
        if self.store().confirms {
            identity.confirm();
        }
        if self.store().lost.as_ref() == Some(&digest) {
            self.store().lost = None;
        }
        self.store().blobs.insert(digest, bytes.into());
        Ok(())
    }

    async fn put_manifest(&self, manifest: &Manifest, role: Role) -> Result<()> {
        let _busy = self.busy();
        self.called(Call::PutManifest(manifest.digest().clone(), role)).await?;
        let mut store = self.store();
        if store.rejected == Some(manifest.format()) {
            return Err(Error::new(Kind::ManifestRejected, "manifest invalid"));
        }
        if role == Role::Named && store.lost.is_some() {
            return Err(Error::new(Kind::ContentMissing, "blob unknown"));
        }
        store.add_manifest(manifest);
        if role == Role::Named {
            store.prepared = Some(manifest.digest().clone());
            if store.publishes_at_once {
                store.publish();
            }
            if store.silent {
                return Err(Error::new(Kind::Timeout, "no answer within 60 s"));
            }
        }
        Ok(())
    }

    async fn put_named(&self, manifest: &Manifest, gate: &Gate) -> Result<()> {
        if !self.store().publishes_at_once {
            return self.put_manifest(manifest, Role::Named).await;
        }
        let passage = gate.pass().await?;
        let put = self.put_manifest(manifest, Role::Named).await;
        if put.as_ref().is_err_and(|error| error.kind() != Kind::Timeout) {
            passage.refused();
        }
        put
    }

    async fn prepare(self: Box<Self>) -> Result<Commit> {
        self.called(Call::Prepare).await?;
        let commit = async move {
            self.called(Call::Commit).await?;
            self.store().publish();
            Ok(())
        };
        Ok(commit.boxed())
    }
}

// === impl Busy ===

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store().busy -= 1;
    }
}

// === impl Store ===

impl Store {
    /// An image of gzip layers with these bytes; they need not be gzip as long as nobody decompresses them.
    pub(super) fn add_image(&mut self, format: ManifestFormat, layers: &[&[u8]]) -> Manifest {
        self.add(format, Compression::Gzip, layers, layers)
    }

    /// An image of uncompressed layers.
    pub(super) fn add_plain_image(&mut self, layers: &[&[u8]]) -> Manifest {
        self.add(ManifestFormat::Oci, Compression::None, layers, layers)
    }

    pub(super) fn add_plain_image_with_diff_ids(
        &mut self,
        layers: &[&[u8]],
        plain: &[&[u8]],
    ) -> Manifest {
        self.add(ManifestFormat::Oci, Compression::None, layers, plain)
    }

    fn add(
        &mut self,
        format: ManifestFormat,
        compression: Compression,
        layers: &[&[u8]],
        plain: &[&[u8]],
    ) -> Manifest {
        let config = Bytes::from(config(plain));
        self.put_blob(&config);
        let media_type = MediaType::of_layer(format, compression).unwrap();
        let layer = |bytes: &&[u8]| {
            self.put_blob(bytes);
            Descriptor::of(media_type.clone(), bytes)
        };
        let image = ImageManifest {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            config: Descriptor::of(MediaType::OCI_CONFIG, &config),
            layers: layers.iter().map(layer).collect(),
            subject: None,
            annotations: Annotations::new(),
            other: BTreeMap::new(),
        };
        let manifest = Manifest::from_image(image, format.manifest_type());
        self.add_manifest(&manifest);
        manifest
    }

    /// An index with an image for each platform, of these layers and one of its own.
    pub(super) fn add_index(&mut self, platforms: &[&str], layers: &[&[u8]]) -> Manifest {
        let mut entries = vec![];
        for platform in platforms {
            let layers: Vec<&[u8]> = layers.iter().copied().chain([platform.as_bytes()]).collect();
            let mut entry = self.add_image(ManifestFormat::Oci, &layers).descriptor();
            entry.platform = Some(platform.parse().unwrap());
            entries.push(entry);
        }
        let index = Manifest::from_index(Index::new(entries), MediaType::OCI_INDEX);
        self.add_manifest(&index);
        index
    }

    /// The same image with its manifest changed.
    pub(super) fn change_image(
        &mut self,
        manifest: &Manifest,
        change: impl FnOnce(&mut ImageManifest),
    ) -> Manifest {
        let mut image = manifest.as_image().unwrap().clone();
        change(&mut image);
        let changed = Manifest::from_image(image, manifest.media_type().clone());
        self.add_manifest(&changed);
        changed
    }

    pub(super) fn add_manifest(&mut self, manifest: &Manifest) {
        self.manifests.insert(manifest.digest().clone(), manifest.clone());
    }

    pub(super) fn name(&mut self, manifest: &Manifest) {
        self.named = Some(manifest.digest().clone());
    }

    fn publish(&mut self) {
        self.named = self.prepared.take().or(self.named.take());
    }

    pub(super) fn unname(&mut self) {
        self.named = None;
    }

    pub(super) fn named(&self) -> Option<Digest> {
        self.named.clone()
    }

    pub(super) fn put_blob(&mut self, bytes: &[u8]) {
        self.blobs.insert(Digest::of(bytes), Bytes::copy_from_slice(bytes));
    }

    pub(super) fn mountable(&mut self, bytes: &[u8]) {
        self.mountable.insert(Digest::of(bytes));
    }

    /// Gives other bytes for the digest of `right`.
    pub(super) fn corrupt(&mut self, right: &[u8], wrong: &'static [u8]) {
        self.blobs.insert(Digest::of(right), Bytes::from_static(wrong));
    }

    pub(super) fn blob(&self, digest: &Digest) -> Bytes {
        self.blobs[digest].clone()
    }

    pub(super) fn manifest(&self, digest: &Digest) -> Manifest {
        self.manifests[digest].clone()
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.clone()
    }

    /// Most manifests that were read or written at the same time.
    pub(super) fn busiest(&self) -> usize {
        self.busiest
    }

    pub(super) fn forget_calls(&mut self) {
        self.calls.clear();
    }

    /// Manifests of this format are rejected from now on.
    pub(super) fn reject(&mut self, format: ManifestFormat) {
        self.rejected = Some(format);
    }

    fn verifier(&self) -> Verifier {
        if self.verifies { Verifier::Destination } else { Verifier::Engine }
    }

    /// Keeps blobs by digest, and compares them with it when they are written.
    pub(super) fn verify(&mut self) {
        (self.verifies, self.confirms) = (true, true);
    }

    /// The same, but for saying so.
    pub(super) fn verify_silently(&mut self) {
        (self.verifies, self.confirms) = (true, false);
    }

    /// How often a blob was read.
    pub(super) fn reads_of(&self, digest: &Digest) -> usize {
        self.reads.iter().filter(|read| *read == digest).count()
    }

    /// Puts other bytes in the place of a blob's.
    pub(super) fn damage(&mut self, digest: &Digest, bytes: &'static [u8]) {
        self.blobs.insert(digest.clone(), Bytes::from_static(bytes));
    }

    /// Answers to the named manifest get lost from now on.
    pub(super) fn fall_silent(&mut self) {
        (self.silent, self.publishes_at_once) = (true, true);
    }

    /// The named manifest changes the name from now on.
    pub(super) fn publish_at_once(&mut self) {
        self.publishes_at_once = true;
    }

    /// Has a blob, by its own word only.
    pub(super) fn lose(&mut self, bytes: &[u8]) {
        self.put_blob(bytes);
        self.lost = Some(Digest::of(bytes));
    }

    /// The next calls fail.
    pub(super) fn fail_times(&mut self, times: usize, error: Error) {
        self.failures = Some((times, error));
    }

    /// Cancels the push when so many calls have been made.
    pub(super) fn cancel_after(&mut self, calls: usize, token: &CancellationToken) {
        self.cancel = Some((calls, token.clone()));
    }

    fn record(&mut self, call: Call) -> Result<()> {
        if let Some((calls, token)) = &self.cancel
            && self.calls.len() == *calls
        {
            token.cancel();
        }
        self.calls.push(call);
        match &mut self.failures {
            Some((times, error)) if *times > 0 => {
                *times -= 1;
                Err(error.clone())
            }
            _ => Ok(()),
        }
    }
}

/// The bytes of the config of an image with these uncompressed layers.
pub(super) fn config(plain: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<Digest> = plain.iter().map(|bytes| Digest::of(bytes)).collect();
    serde_json::to_vec(&serde_json::json!({"rootfs": {"diff_ids": diff_ids}})).unwrap()
}
