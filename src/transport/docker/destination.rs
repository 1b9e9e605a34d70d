//! Writes an image to a registry.
//!
//! Blobs become visible as they arrive, though no name leads to them; the tag is written last and publishes the image in one
//! step. So `commit` has nothing left to do.

use std::sync::Arc;

use async_trait::async_trait;
use oci_client::errors::OciErrorCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};

use super::client::{Call, Client};
use super::error::{Refusal, unexpected};
use super::presence::{agrees, content_digest, content_length};
use super::reference::Target;
use super::referrers;
use super::reuse::Reuse;
use super::session::Sessions;
use super::source::{ask_manifest, get_manifest, media_type, reading_manifest};
use super::upload::Uploads;
use crate::blob::Blob;
use crate::error::{Error, Kind, Result};
use crate::image::{Descriptor, Digest, Manifest, ManifestFormat, MediaType};
use crate::transport::{
    BlobKind, Capabilities, Current, ImageDestination, ImageIdentity, LayerForm, Repository,
    Reused, Role, Verifier,
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

    /// Writes a manifest, and returns what the registry says of it beside the status.
    async fn write_manifest(&self, manifest: &Manifest, target: &Target) -> Result<HeaderMap> {
        if let Some(pinned) = target.digest().filter(|pinned| *pinned != manifest.digest()) {
            let message = format!("the manifest is `{}` and not `{pinned}`", manifest.digest());
            return Err(Error::new(Kind::ContentMismatch, message)
                .hint("name a tag, or copy the image without changing it"));
        }
        let mut call =
            Call::new(Method::PUT, self.client.url(&["manifests", &target.to_string()])?);
        let media_type = HeaderValue::from_str(manifest.media_type().as_str())
            .map_err(|_| Error::internal("a media type is not fit for a header"))?;
        call.headers = HeaderMap::from_iter([(CONTENT_TYPE, media_type)]);
        call.body = manifest.bytes().clone();
        let response = self.client.send(&call).await?;
        match response.status() {
            StatusCode::CREATED => {
                agrees(response.headers(), manifest.digest())?;
                Ok(response.headers().clone())
            }
            status if status.is_success() => {
                self.confirm(target, manifest, status).await?;
                Ok(HeaderMap::new())
            }
            _ => Err(self.rejection(self.client.read_refusal(response).await)),
        }
    }

    /// Something answered that may not be a registry; asks it for what it should have now.
    async fn confirm(
        &self,
        target: &Target,
        manifest: &Manifest,
        status: StatusCode,
    ) -> Result<()> {
        match self.look(target).await {
            Ok(Some(current)) if current.digest == *manifest.digest() => Ok(()),
            _ => Err(unexpected(status)),
        }
    }

    /// The error for a manifest that was not taken. Another format may be, if it is this one that is refused.
    fn rejection(&self, refusal: Refusal) -> Error {
        use OciErrorCode::{ManifestInvalid, TagInvalid, Unsupported};
        let code = matches!(refusal.code(), Some(ManifestInvalid | TagInvalid | Unsupported));
        let by_code = code && refusal.status.is_client_error();
        if by_code || refusal.status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            return Error::new(Kind::ManifestRejected, refusal.words())
                .hint("choose another format with `--format`");
        }
        self.client.explain(refusal)
    }

    async fn look(&self, target: &Target) -> Result<Option<Current>> {
        let response = ask_manifest(&self.client, Method::HEAD, target).await?;
        match response.status().as_u16() {
            200 => match described(&response) {
                Some(current) => Ok(Some(current)),
                None => self.read(target).await,
            },
            404 => Ok(None),
            405 | 501 => self.read(target).await,
            _ => Err(self.client.refusal(response).await),
        }
    }

    /// What the name has, from the manifest itself.
    async fn read(&self, target: &Target) -> Result<Option<Current>> {
        match get_manifest(&self.client, target).await {
            Ok(manifest) => Ok(Some(Current {
                digest: manifest.digest().clone(),
                media_type: manifest.media_type().clone(),
                size: manifest.bytes().len() as u64,
                config: None,
            })),
            // What can't be read is not our image, and is about to be replaced.
            Err(error)
                if [Kind::NotFound, Kind::InvalidImage, Kind::TransportUnsupported]
                    .contains(&error.kind()) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// What the head of an answer tells of a manifest, if it tells all.
fn described(response: &Response) -> Option<Current> {
    Some(Current {
        digest: content_digest(response.headers())?,
        media_type: media_type(response)?,
        size: content_length(response.headers())?,
        config: None,
    })
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
        let current = self.look(&self.target).await;
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
        self.reuse.find(descriptor, mount_from).await.map_err(|error| {
            let (digest, repository) = (&descriptor.digest, self.client.repository());
            error.doing(format!("looking for blob `{digest}` in `docker://{repository}`"))
        })
    }

    async fn put_blob(&self, blob: Blob, _kind: BlobKind) -> Result<()> {
        self.uploads.send(blob).await
    }

    async fn put_manifest(&self, manifest: &Manifest, role: Role) -> Result<()> {
        let target = match role {
            Role::Named => self.target.clone(),
            Role::Instance => Target::Digest(manifest.digest().clone()),
        };
        self.write_manifest(manifest, &target).await.map(|_| ()).map_err(|error| {
            let repository = self.client.repository();
            error.doing(format!("writing manifest `{target}` to `docker://{repository}`"))
        })
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
            let headers = self.write_manifest(artifact, &target).await?;
            entry.write(&self.client, &headers).await
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

    async fn commit(self: Box<Self>) -> Result<()> {
        self.sessions.close().await;
        Ok(())
    }

    async fn abandon(&self) {
        self.sessions.close().await;
    }
}
