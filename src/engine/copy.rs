//! Does what the plan says: blobs, then the manifests that point to them, from the leaves to the root.
//!
//! All work runs inside the caller's task as futures, so that dropping one stops everything below it. What is asked for
//! twice is moved once, however many images share it, and the first failure ends the whole copy.

use std::convert::identity;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::FuturesUnordered;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::blob::{CopiedBlob, copy_config, copy_layer, read_config};
use super::companion::Companion;
use super::copied::Copied;
use super::copy_state::{BlobKey, CopyState};
use super::heal::{Doubt, Heals, waiting};
use super::origin::Origin;
use super::plan::{LayerAction, Plan, PlanBody, assemble_image, assemble_index, rewritten_layer};
use super::progress::{Event, Progress};
use super::retry::retry;
use crate::blob::Pace;
use crate::error::{Error, Kind, Result, Side};
use crate::image::{Config, Descriptor, Digest, ImageManifest, Manifest};
use crate::limits::PARALLEL_INSTANCES;
use crate::options::Retry;
use crate::transport::{ImageDestination, ImageSource, Repository, Role};

/// Everything one copy needs.
#[derive(Clone, Copy)]
pub(super) struct Copy<'a> {
    pub(super) source: &'a dyn ImageSource,
    pub(super) destination: &'a dyn ImageDestination,
    /// A repository on the destination's registry that has the blobs already.
    pub(super) mount_from: Option<&'a Repository>,
    /// Whether blobs are hashed that the destination compares with their digests.
    pub(super) verify_source: bool,
    pub(super) retry: Retry,
    pub(super) verify_after_push: bool,
    pub(super) pace: &'a Pace,
    pub(super) progress: &'a Arc<dyn Progress>,
    pub(super) state: &'a CopyState,
    /// What of the destination's answers about blobs is no longer believed.
    pub(super) doubt: Doubt,
    /// Who may want to see layers that are read.
    pub(super) companion: &'a dyn Companion,
    pub(super) origin: Origin<'a>,
}

// === impl Copy ===

impl Copy<'_> {
    /// Copies everything below the plan's manifest, but not that one itself: it is what is returned, for the caller to put
    /// last.
    pub(super) fn copy<'b>(&'b self, plan: &'b Plan) -> BoxFuture<'b, Result<Copied>> {
        async move {
            match (&plan.body, plan.source.as_image()) {
                (PlanBody::Image(actions), Some(image)) => {
                    self.copy_image(plan, image, actions).await
                }
                (PlanBody::Index(children), _) => self.copy_instances(plan, children).await,
                (PlanBody::Image(_), None) => {
                    Err(Error::internal("an index was planned as an image"))
                }
            }
        }
        .boxed()
    }

    async fn copy_instances(&self, plan: &Plan, children: &[Plan]) -> Result<Copied> {
        let copies: Vec<BoxFuture<'_, Result<(usize, Copied)>>> = children
            .iter()
            .enumerate()
            .map(|(n, child)| self.copy_instance(n, child).boxed())
            .collect();
        // In whatever order they end, so that the first failure is seen at once.
        let copies = stream::iter(copies).buffer_unordered(PARALLEL_INSTANCES);
        let mut numbered: Vec<(usize, Copied)> = copies.try_collect().await?;
        numbered.sort_by_key(|(n, _)| *n);
        let instances: Vec<Copied> = numbered.into_iter().map(|(_, instance)| instance).collect();
        let manifests: Vec<Manifest> =
            instances.iter().map(|instance| instance.manifest.clone()).collect();
        let index = assemble_index(plan, &manifests)?;
        Ok(Copied::index(index, instances))
    }

    async fn copy_instance(&self, n: usize, plan: &Plan) -> Result<(usize, Copied)> {
        let mut heals = Heals::default();
        loop {
            let copied = self.doubting(heals.doubt()).copy(plan).await?;
            let put = self.put_instance(&copied.manifest, heals.are_patient(&copied));
            // Variants of a platform may be one image.
            match self.state.instance(&copied.manifest).get_or_try_init(|| put).await {
                Err(error) if heals.are_due(&error) => self.state.forget(),
                put => return put.map(|&()| (n, copied)),
            }
        }
    }

    /// The same copy with more doubt.
    pub(super) fn doubting(&self, doubt: Doubt) -> Self {
        Self { doubt: self.doubt.max(doubt), ..*self }
    }

    async fn copy_image(
        &self,
        plan: &Plan,
        image: &ImageManifest,
        actions: &[LayerAction],
    ) -> Result<Copied> {
        let rewrites = !actions.iter().all(|action| action.keeps_identity());
        // The diff IDs in the config are what rewritten layers are checked against.
        let config =
            if rewrites { Some(self.config(&image.config, actions.len()).await?) } else { None };
        let bytes = config.as_ref().map(|(bytes, _)| bytes);
        let diff_ids = config.as_ref().map(|(_, config)| config.rootfs.diff_ids.as_slice());
        let copies = FuturesUnordered::new();
        let mut layers: Vec<_> = image.layers.iter().zip(actions).enumerate().collect();
        // Whoever comes first gets the first turn, and what takes longest must not come last.
        layers.sort_by_key(|(_, (layer, _))| std::cmp::Reverse(layer.size));
        for (n, (layer, action)) in layers {
            let diff_id = diff_ids.and_then(|diff_ids| diff_ids.get(n));
            copies.push(self.layer(n, layer, *action, diff_id).boxed());
        }
        copies.push(self.image_config(actions.len(), &image.config, bytes).boxed());
        let mut blobs: Vec<(usize, CopiedBlob)> = copies.try_collect().await?;
        blobs.sort_by_key(|(n, _)| *n);
        let blobs: Vec<CopiedBlob> = blobs.into_iter().map(|(_, blob)| blob).collect();
        let rewritten = rewrites.then(|| rewritten_layers(plan, actions, &blobs)).transpose()?;
        let manifest = assemble_image(plan, rewritten.as_deref())?;
        Ok(Copied::image(manifest, plan.platform.clone(), blobs))
    }

    async fn layer(
        &self,
        n: usize,
        layer: &Descriptor,
        action: LayerAction,
        diff_id: Option<&Digest>,
    ) -> Result<(usize, CopiedBlob)> {
        // What goes on as it is isn't decompressed, so nothing is claimed of what it would give.
        let diff_id = diff_id.filter(|_| !action.keeps_identity());
        let copy = copy_layer(self, layer, action, diff_id).boxed();
        Ok((n, self.once(layer, action, diff_id, copy).await?))
    }

    async fn image_config(
        &self,
        n: usize,
        config: &Descriptor,
        bytes: Option<&Bytes>,
    ) -> Result<(usize, CopiedBlob)> {
        // Whoever has read it already has it.
        let known = bytes.cloned().or_else(|| self.origin.known_config(&config.digest));
        let copy = copy_config(self, config, known.as_ref()).boxed();
        Ok((n, self.once(config, LayerAction::Keep, None, copy).await?))
    }

    async fn config(&self, descriptor: &Descriptor, layers: usize) -> Result<(Bytes, Config)> {
        let bytes = match self.origin.known_config(&descriptor.digest) {
            Some(bytes) => bytes,
            None => {
                read_config(self.source, self.retry, self.progress.as_ref(), descriptor).await?
            }
        };
        let reading = || format!("reading config `{}`", descriptor.digest);
        let config = Config::parse(&bytes)
            .map_err(|error| Error::from(error).doing(reading()).on(Side::Source))?;
        let diff_ids = config.rootfs.diff_ids.len();
        if diff_ids != layers {
            let message = format!("the image has {layers} layers, but its config lists {diff_ids}");
            return Err(Error::new(Kind::InvalidImage, message).on(Side::Source));
        }
        // Nobody unpacks by the history, and builders that squash leave one that doesn't fit.
        if let Some(told) = config.layers_in_history.filter(|told| *told != layers) {
            let config = &descriptor.digest;
            tracing::warn!(%config, layers, told, "the history of the image tells of another number of layers");
        }
        Ok((bytes, config))
    }

    /// Copies a blob unless that has been done; who comes while it is being done waits for it.
    async fn once(
        &self,
        descriptor: &Descriptor,
        action: LayerAction,
        diff_id: Option<&Digest>,
        copy: BoxFuture<'_, Result<CopiedBlob>>,
    ) -> Result<CopiedBlob> {
        let key = BlobKey {
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            action,
            diff_id: diff_id.cloned(),
            doubt: self.doubt,
        };
        self.state.blob(key).get_or_try_init(|| copy).await.cloned()
    }

    /// Reads back a manifest that was put, if that is wanted.
    pub(super) async fn verify(
        &self,
        manifest: &Manifest,
        role: Role,
        patient: bool,
    ) -> Result<()> {
        if !self.verify_after_push {
            return Ok(());
        }
        let verify = async || {
            let _turn = self.state.width.manifest().await;
            waiting(patient, self.destination.verify(manifest, role).await)
        };
        let verified = retry(self.retry, self.progress.as_ref(), verify).await;
        verified.and_then(identity).map_err(|error| {
            error.during(format!("reading back `{}`", manifest.digest())).on(Side::Destination)
        })
    }

    /// Writes the manifest of an instance, trying again where that may help.
    async fn put_instance(&self, manifest: &Manifest, patient: bool) -> Result<()> {
        let put = async || {
            let _turn = self.state.width.manifest().await;
            waiting(patient, self.destination.put_manifest(manifest, Role::Instance).await)
        };
        retry(self.retry, self.progress.as_ref(), put)
            .await
            .and_then(identity)
            .map_err(|error| while_writing(error, manifest))?;
        self.verify(manifest, Role::Instance, patient).await?;
        self.progress.event(Event::Manifest { digest: manifest.digest() });
        Ok(())
    }
}

/// What points to each layer that was rewritten.
fn rewritten_layers(
    plan: &Plan,
    actions: &[LayerAction],
    blobs: &[CopiedBlob],
) -> Result<Vec<Option<Descriptor>>> {
    let layers = actions.iter().zip(blobs).map(|(action, blob)| match action.compression() {
        Some(compression) => {
            rewritten_layer(plan.format, compression, blob.digest.clone(), blob.size).map(Some)
        }
        None => Ok(None),
    });
    layers.collect()
}

/// The error of writing a manifest.
pub(super) fn while_writing(error: Error, manifest: &Manifest) -> Error {
    error.during(format!("writing manifest `{}`", manifest.digest())).on(Side::Destination)
}
