//! Reads an image from a registry.

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};

use super::body;
use super::call::Call;
use super::client::Client;
use super::download;
use super::foreign;
use super::named;
use super::reference::Target;
use super::referrers;
use crate::blob::Chunks;
use crate::error::{Error, Kind, Result};
use crate::image::{Algorithm, Descriptor, Digest, MAX_MANIFEST_SIZE, Manifest, MediaType};
use crate::transport::{ImageSource, Repository};

/// The manifests that we can read, for `Accept`.
const ACCEPTED: [MediaType; 4] = [
    MediaType::OCI_MANIFEST,
    MediaType::OCI_INDEX,
    MediaType::DOCKER_MANIFEST,
    MediaType::DOCKER_LIST,
];

/// An image in a registry, being read.
pub(super) struct DockerSource {
    client: Arc<Client>,
    target: Target,
}

// === impl DockerSource ===

impl DockerSource {
    /// Reads what `target` points to.
    pub(super) fn new(client: Client, target: Target) -> Self {
        Self { client: Arc::new(client), target }
    }

    /// Opens a blob that the registry itself has.
    pub(super) async fn own_blob(&self, descriptor: &Descriptor) -> Result<Chunks> {
        let opened = download::blob(&self.client, descriptor).await;
        opened.map_err(|error| self.reading(error, descriptor))
    }

    /// Opens a foreign layer that neither this registry has nor any other place of the image.
    pub(super) async fn foreign_blob(&self, layer: &Descriptor, absent: Error) -> Result<Chunks> {
        foreign::blob(&self.client, layer, absent).await
    }

    fn reading(&self, error: Error, descriptor: &Descriptor) -> Error {
        let (digest, repository) = (&descriptor.digest, self.client.repository());
        error.doing(format!("reading blob `{digest}` of `docker://{repository}`"))
    }
}

#[async_trait]
impl ImageSource for DockerSource {
    async fn manifest(&self, instance: Option<&Descriptor>) -> Result<Manifest> {
        let (target, manifest) = match instance {
            Some(instance) => {
                let target = Target::Digest(instance.digest.clone());
                (target, get_instance(&self.client, instance).await)
            }
            None => (self.target.clone(), get_manifest(&self.client, &self.target).await),
        };
        manifest.map_err(|error| error.doing(reading_manifest(&self.client, &target)))
    }

    async fn digest(&self) -> Result<Digest> {
        let found = named::look(&self.client, &self.target).await.and_then(|found| {
            found.ok_or_else(|| Error::new(Kind::NotFound, "the registry has no such manifest"))
        });
        let current =
            found.map_err(|error| error.doing(reading_manifest(&self.client, &self.target)));
        current.map(|current| current.digest)
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<Chunks> {
        let opened = match download::blob(&self.client, descriptor).await {
            Err(absent) => foreign::blob(&self.client, descriptor, absent).await,
            opened => opened,
        };
        opened.map_err(|error| self.reading(error, descriptor))
    }

    fn repository(&self) -> Option<Repository> {
        Some(self.client.repository().clone())
    }

    async fn attachments(
        &self,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>> {
        referrers::list(&self.client, subject, artifact_type).await
    }

    async fn attachments_at_once(
        &self,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
    ) -> Result<Option<Vec<Descriptor>>> {
        referrers::list_kept(&self.client, subject, artifact_type).await
    }
}

/// Reads a manifest. The digest that the registry says it has is not looked at: it is computed.
pub(super) async fn get_manifest(client: &Client, target: &Target) -> Result<Manifest> {
    let response = open_manifest(client, target).await?;
    let declared = media_type(&response);
    let algorithm = target.digest().map_or(Algorithm::Sha256, Digest::algorithm);
    let bytes = body::read(response, MAX_MANIFEST_SIZE, "manifest").await?;
    Ok(Manifest::parse_with(bytes, declared.as_ref(), algorithm)?)
}

/// Reads a manifest that an index lists. Many are read at the same time, so none of them gets more memory than its entry says.
async fn get_instance(client: &Client, entry: &Descriptor) -> Result<Manifest> {
    let response = open_manifest(client, &Target::Digest(entry.digest.clone())).await?;
    let declared = media_type(&response);
    let size = entry.size.min(MAX_MANIFEST_SIZE);
    let bytes = body::read_up_to(response, size).await?.ok_or_else(|| {
        let message = format!("the content has more than {size} bytes");
        Error::new(Kind::ContentMismatch, message)
    })?;
    Ok(Manifest::parse_with(bytes, declared.as_ref(), entry.digest.algorithm())?)
}

async fn open_manifest(client: &Client, target: &Target) -> Result<Response> {
    let response = ask_manifest(client, Method::GET, target).await?;
    if response.status() == StatusCode::OK {
        return Ok(response);
    }
    Err(client.refusal(response).await)
}

/// Asks for a manifest by GET or HEAD.
pub(super) async fn ask_manifest(
    client: &Client,
    method: Method,
    target: &Target,
) -> Result<Response> {
    let mut call = Call::new(method, client.url(&["manifests", &target.to_string()])?);
    // What is at the destination decides about writing there; nobody else may say it. A source may stand elsewhere:
    // registry.k8s.io redirects manifests, too.
    call.at_home = client.writes();
    call.headers = HeaderMap::new();
    for accepted in ACCEPTED {
        if let Ok(value) = HeaderValue::from_str(accepted.as_str()) {
            call.headers.append(ACCEPT, value);
        }
    }
    client.download(call).await
}

/// The media type that an answer declares.
pub(super) fn media_type(response: &Response) -> Option<MediaType> {
    let value = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    Some(MediaType::from_header(value))
}

/// What we are doing, for errors about a manifest.
pub(super) fn reading_manifest(client: &Client, target: &Target) -> String {
    format!("reading manifest `{target}` of `docker://{}`", client.repository())
}
