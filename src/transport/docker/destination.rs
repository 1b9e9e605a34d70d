//! Writes an image to a registry.
//!
//! Blobs become visible as they arrive, though no name leads to them; the tag is written last and publishes the image in one
//! step. So nothing is left to do for the commit.

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::ready;
use reqwest::header::HeaderMap;

use super::client::Client;
use super::reference::Target;
use super::reuse::Reuse;
use super::session::Sessions;
use super::source::reading_manifest;
use super::upload::Uploads;
use super::{named, publish, readback, referrers, removal};
use crate::blob::Blob;
use crate::error::{Kind, Result};
use crate::image::{Descriptor, Digest, Manifest, ManifestFormat, MediaType};
use crate::transport::{
    BlobKind, Capabilities, Commit, Current, Gate, ImageDestination, ImageIdentity, LayerForm,
    Removed, Repository, Reused, Role, Verifier,
};

/// An image in a registry, being written.
pub(super) struct DockerDestination {
    client: Arc<Client>,
    target: Target,
    sessions: Arc<Sessions>,
    uploads: Uploads,
    reuse: Reuse,
}

// === impl DockerDestination ===

impl DockerDestination {
    /// Writes what `target` is to point to.
    pub(super) fn new(client: Client, target: Target) -> Self {
        let client = Arc::new(client);
        let sessions = Sessions::new(Arc::clone(&client));
        let uploads = Uploads::new(Arc::clone(&sessions));
        let reuse = Reuse::new(Arc::clone(&sessions));
        Self { client, target, sessions, uploads, reuse }
    }

    /// Writes a manifest, and returns what the registry says of it; see [`publish::write`].
    async fn write_manifest(
        &self,
        manifest: &Manifest,
        target: &Target,
        gate: Option<&Gate>,
    ) -> Result<Option<HeaderMap>> {
        self.heed(publish::write(&self.client, manifest, target, gate).await)
    }

    async fn put(&self, manifest: &Manifest, role: Role, gate: Option<&Gate>) -> Result<()> {
        let target = self.target_of(manifest, role);
        let entry = referrers::Entry::of_image(manifest);
        let put = async {
            match entry {
                None => self.write_manifest(manifest, &target, gate).await.map(drop),
                Some(entry) => self.put_listed(manifest, &entry, &target, gate).await,
            }
        };
        put.await.map_err(|error| {
            let repository = self.client.repository();
            error.doing(format!("writing manifest `{target}` to `docker://{repository}`"))
        })
    }

    /// Writes an image that is attached to another one, and enters it into the list of that: a registry that keeps none leaves
    /// it to its clients, whatever they write it as. A tag comes after that, so that a push which fails there is known to be
    /// unfinished.
    async fn put_listed(
        &self,
        manifest: &Manifest,
        entry: &referrers::Entry,
        target: &Target,
        gate: Option<&Gate>,
    ) -> Result<()> {
        if let Target::Digest(_) = target {
            let answered = self.write_manifest(manifest, target, gate).await?;
            let entered = entry.write(&self.client, answered.as_ref()).await;
            // Once the name has its manifest, the engine takes what may pass for a lost answer, and all is well.
            return entered.map_err(|error| if gate.is_some() { error.permanent() } else { error });
        }
        let by_digest = Target::Digest(manifest.digest().clone());
        let answered = self.write_manifest(manifest, &by_digest, None).await?;
        entry.write(&self.client, answered.as_ref()).await?;
        self.write_manifest(manifest, target, gate).await.map(drop)
    }

    fn heed<T>(&self, result: Result<T>) -> Result<T> {
        if result.as_ref().is_err_and(|error| error.kind() == Kind::ContentMissing) {
            self.reuse.doubt();
        }
        result
    }

    fn target_of(&self, manifest: &Manifest, role: Role) -> Target {
        match role {
            Role::Named => self.target.clone(),
            Role::Instance => Target::Digest(manifest.digest().clone()),
        }
    }
}

#[async_trait]
impl ImageDestination for DockerDestination {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            formats: &[ManifestFormat::Oci, ManifestFormat::V2s2],
            index: true,
            artifacts: true,
            attachments: true,
            layers: LayerForm::Compressed,
            foreign_layers: true,
            identity: ImageIdentity::Manifest,
            verifier: Verifier::Destination,
        }
    }

    async fn current(&self) -> Result<Option<Current>> {
        let current = named::look(&self.client, &self.target).await;
        if let Ok(current) = &current {
            self.reuse.set_name_absent(current.is_none());
        }
        current.map_err(|error| error.doing(reading_manifest(&self.client, &self.target)))
    }

    async fn reuse_blob(
        &self,
        descriptor: &Descriptor,
        mount_from: Option<&Repository>,
    ) -> Result<Option<Reused>> {
        let digest = &descriptor.digest;
        let found = self.reuse.find(descriptor, mount_from).await.map_err(|error| {
            let repository = self.client.repository();
            error.doing(format!("looking for blob `{digest}` in `docker://{repository}`"))
        })?;
        if found.is_some() {
            self.client.remember(digest);
        }
        Ok(found)
    }

    async fn put_blob(&self, blob: Blob, _kind: BlobKind) -> Result<()> {
        let identity = blob.identity().clone();
        self.uploads.send(blob).await?;
        if let Some((digest, _)) = identity.get() {
            self.client.remember(digest);
        }
        Ok(())
    }

    async fn put_manifest(&self, manifest: &Manifest, role: Role) -> Result<()> {
        self.put(manifest, role, None).await
    }

    async fn put_named(&self, manifest: &Manifest, gate: &Gate) -> Result<()> {
        self.put(manifest, Role::Named, Some(gate)).await
    }

    async fn attachments(
        &self,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>> {
        referrers::list(&self.client, subject, artifact_type).await
    }

    async fn put_attachment(&self, artifact: &Manifest) -> Result<()> {
        let target = Target::Digest(artifact.digest().clone());
        let put = async {
            let entry = referrers::Entry::of(artifact)?;
            let answered = self.write_manifest(artifact, &target, None).await?;
            entry.write(&self.client, answered.as_ref()).await
        };
        put.await.map_err(|error| {
            let repository = self.client.repository();
            error.doing(format!("attaching `{target}` in `docker://{repository}`"))
        })
    }

    async fn delete_attachment(&self, subject: &Digest, attachment: &Digest) -> Result<()> {
        referrers::remove(&self.client, subject, attachment).await.map_err(|error| {
            let repository = self.client.repository();
            error.doing(format!("deleting attachment `{attachment}` of `docker://{repository}`"))
        })
    }

    async fn remove(&self, expected: &Digest, gate: &Gate) -> Result<Removed> {
        removal::remove(&self.client, &self.target, expected, gate).await.map_err(|error| {
            let (target, repository) = (&self.target, self.client.repository());
            error.doing(format!("deleting tag `{target}` of `docker://{repository}`"))
        })
    }

    async fn verify(&self, manifest: &Manifest, role: Role) -> Result<()> {
        let target = self.target_of(manifest, role);
        let verified = readback::verify(&self.client, manifest, &target).await;
        self.heed(verified).map_err(|error| {
            let repository = self.client.repository();
            error.doing(format!("reading back manifest `{target}` of `docker://{repository}`"))
        })
    }

    async fn prepare(self: Box<Self>) -> Result<Commit> {
        self.sessions.close().await;
        Ok(ready(Ok(())).boxed())
    }

    async fn abandon(&self) {
        self.sessions.close().await;
    }
}
