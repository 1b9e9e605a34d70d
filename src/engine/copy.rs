//! Does what the plan says: blobs, then the manifests that point to them, from the leaves to the root.
//!
//! All work runs inside the caller's task as futures, so that dropping one stops everything below it. A blob of one digest
//! is moved once however many images share it, and a failure ends the whole copy.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{BoxFuture, FutureExt as _, try_join_all};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::{OnceCell, Semaphore};

use super::blob::{CopiedBlob, copy_config, copy_layer, read_config};
use super::plan::{LayerAction, Plan, PlanBody, assemble_image, assemble_index};
use super::progress::{BlobOutcome, Event, Progress};
use super::retry::retry;
use super::{BlobCounts, Pushed, PushedManifest};
use crate::error::{Error, Kind, Result, Side};
use crate::image::{Config, Descriptor, Digest, Manifest};
use crate::limits::{PARALLEL_BLOBS, PARALLEL_INSTANCES, PARALLEL_SMALL_BLOBS, SMALL_BLOB};
use crate::options::Retry;
use crate::transport::{ImageDestination, ImageSource, Repository, Role};

/// Everything one copy needs.
pub(super) struct Copy<'a> {
    pub(super) source: &'a dyn ImageSource,
    pub(super) destination: &'a dyn ImageDestination,
    /// A repository on the destination's registry that has the blobs already.
    pub(super) mount_from: Option<&'a Repository>,
    pub(super) retry: Retry,
    pub(super) progress: &'a Arc<dyn Progress>,
    pub(super) state: &'a CopyState,
}

/// What one copy has done so far. Shared by its attempts with different formats.
pub(super) struct CopyState {
    permits: Semaphore,
    blobs: Mutex<HashMap<(Digest, LayerAction), OnceBlob>>,
    manifests: Mutex<Vec<PushedManifest>>,
}

/// A blob that is copied once; who comes while it is being copied waits for it.
type OnceBlob = Arc<OnceCell<CopiedBlob>>;

/// Permits in all; a small blob takes one, a large one so many that [`PARALLEL_BLOBS`] of them fit.
const PERMITS: u32 = 32;
const _: () = assert!(PERMITS as usize == PARALLEL_SMALL_BLOBS);

// === impl Copy ===

impl Copy<'_> {
    /// Copies everything below and including the plan's manifest, but not that one under the destination's name: that
    /// is what is returned, for the caller to put last.
    pub(super) async fn copy(&self, plan: &Plan) -> Result<Manifest> {
        lock(&self.state.manifests).clear();
        self.copy_below(plan).await
    }

    fn copy_below<'b>(&'b self, plan: &'b Plan) -> BoxFuture<'b, Result<Manifest>> {
        async move {
            match &plan.body {
                PlanBody::Image(actions) => self.copy_image(plan, actions).await,
                PlanBody::Index(children) => self.copy_instances(plan, children).await,
            }
        }
        .boxed()
    }

    async fn copy_instances(&self, plan: &Plan, children: &[Plan]) -> Result<Manifest> {
        let copies: Vec<BoxFuture<'_, Result<Manifest>>> =
            children.iter().map(|child| self.copy_instance(child).boxed()).collect();
        let manifests: Vec<Manifest> =
            stream::iter(copies).buffered(PARALLEL_INSTANCES).try_collect().await?;
        assemble_index(plan, &manifests)
    }

    async fn copy_instance(&self, plan: &Plan) -> Result<Manifest> {
        let manifest = self.copy_below(plan).await?;
        self.put_manifest(&manifest, Role::Instance).await?;
        Ok(manifest)
    }

    async fn copy_image(&self, plan: &Plan, actions: &[LayerAction]) -> Result<Manifest> {
        let Some(image) = plan.source.as_image() else {
            return Err(Error::internal("an index was copied as an image"));
        };
        let rewrites = !actions.iter().all(|action| action.keeps_identity());
        // The diff IDs in the config are what rewritten layers are checked against.
        let config =
            if rewrites { Some(self.config(&image.config, actions.len()).await?) } else { None };
        let diff_ids = config.as_ref().map(|(_, config)| config.rootfs.diff_ids.as_slice());
        let mut copies = Vec::with_capacity(actions.len());
        for (n, (layer, action)) in image.layers.iter().zip(actions).enumerate() {
            let diff_id = diff_ids.and_then(|diff_ids| diff_ids.get(n));
            let copy = copy_layer(self, layer, *action, diff_id).boxed();
            copies.push(self.once(layer, *action, copy));
        }
        let bytes = config.as_ref().map(|(bytes, _)| bytes);
        let copy = copy_config(self, &image.config, bytes).boxed();
        let config_copy = self.once(&image.config, LayerAction::Keep, copy);
        let (layers, _) = futures::try_join!(try_join_all(copies), config_copy)?;
        let rewritten: Vec<Option<Descriptor>> =
            layers.into_iter().map(|blob| blob.rewritten).collect();
        let manifest = assemble_image(plan, rewrites.then_some(rewritten.as_slice()))?;
        self.note(plan, &manifest);
        Ok(manifest)
    }

    async fn config(
        &self,
        descriptor: &Descriptor,
        layers: usize,
    ) -> Result<(bytes::Bytes, Config)> {
        let bytes =
            read_config(self.source, self.retry, self.progress.as_ref(), descriptor).await?;
        let reading = || format!("reading config `{}`", descriptor.digest);
        let config = Config::parse(&bytes)
            .map_err(|error| Error::from(error).doing(reading()).on(Side::Source))?;
        let diff_ids = config.rootfs.diff_ids.len();
        if diff_ids != layers {
            let message = format!("the image has {layers} layers, but its config lists {diff_ids}");
            return Err(Error::new(Kind::InvalidImage, message).on(Side::Source));
        }
        Ok((bytes, config))
    }

    /// Copies a blob unless that has been done; who comes while it is being done waits for it.
    async fn once(
        &self,
        descriptor: &Descriptor,
        action: LayerAction,
        copy: BoxFuture<'_, Result<CopiedBlob>>,
    ) -> Result<CopiedBlob> {
        let key = (descriptor.digest.clone(), action);
        let cell = Arc::clone(lock(&self.state.blobs).entry(key).or_default());
        let copied = cell.get_or_try_init(|| async {
            let _permits = self.state.permits.acquire_many(cost(descriptor.size)).await;
            copy.await
        });
        copied.await.cloned()
    }

    /// Writes a manifest, trying again where that may help.
    pub(super) async fn put_manifest(&self, manifest: &Manifest, role: Role) -> Result<()> {
        retry(self.retry, self.progress.as_ref(), || self.destination.put_manifest(manifest, role))
            .await
            .map_err(|error| {
                let doing = format!("writing manifest `{}`", manifest.digest());
                error.during(doing).on(Side::Destination)
            })?;
        self.progress.event(Event::Manifest { digest: manifest.digest() });
        Ok(())
    }

    fn note(&self, plan: &Plan, manifest: &Manifest) {
        lock(&self.state.manifests).push(PushedManifest {
            digest: manifest.digest().clone(),
            platform: plan.platform.clone(),
            size_bytes: manifest.bytes().len() as u64,
        });
    }

    /// The result, once `named` is at the destination.
    pub(super) fn pushed(&self, source_digest: Digest, plan: &Plan, named: &Manifest) -> Pushed {
        let mut counts = BlobCounts::default();
        let (mut bytes_sent, mut size) = (0, named.bytes().len() as u64);
        let mut seen = HashSet::new();
        for blob in lock(&self.state.blobs).values().filter_map(|cell| cell.get()) {
            match blob.outcome {
                BlobOutcome::Sent => counts.sent += 1,
                BlobOutcome::Reused => counts.reused += 1,
                BlobOutcome::Mounted => counts.mounted += 1,
                BlobOutcome::Left => continue,
            }
            if blob.outcome == BlobOutcome::Sent {
                bytes_sent += blob.size;
            }
            if seen.insert(blob.digest.clone()) {
                size += blob.size;
            }
        }
        let mut manifests = lock(&self.state.manifests).clone();
        let order: Vec<_> =
            plan.images().iter().map(|(image, ..)| image.platform.clone()).collect();
        manifests.sort_by_key(|manifest| order.iter().position(|own| *own == manifest.platform));
        if named.as_index().is_some() {
            size += manifests.iter().map(|manifest| manifest.size_bytes).sum::<u64>();
        }
        Pushed {
            source_digest,
            digest: named.digest().clone(),
            media_type: named.media_type().clone(),
            size_bytes: Some(size),
            manifests,
            blobs: counts,
            bytes_sent,
            already_present: false,
        }
    }
}

// === impl CopyState ===

impl CopyState {
    pub(super) fn new() -> Self {
        Self {
            permits: Semaphore::new(PERMITS as usize),
            blobs: Mutex::default(),
            manifests: Mutex::default(),
        }
    }
}

fn cost(size: u64) -> u32 {
    if size <= SMALL_BLOB { 1 } else { PERMITS / u32::try_from(PARALLEL_BLOBS).unwrap_or(1) }
}

/// Nothing panics while holding one of these locks; if something did, the data is still whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
