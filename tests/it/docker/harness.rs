//! Opens references, and makes and moves small images.

use std::path::Path;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use imagepush::access::{
    Access, Certificates, Credential, Credentials, Secret, TlsPolicy, install_crypto_provider,
};
use imagepush::blob::{Blob, Chunks};
use imagepush::error::{Error, Result};
use imagepush::image::{Descriptor, ImageManifest, Index, Manifest, MediaType};
use imagepush::transport::{self, BlobKind, ImageDestination, ImageSource, Role};

use crate::support::canary;

/// Plain HTTP, and nobody in particular.
pub(crate) fn plain() -> Access {
    Access { tls: TlsPolicy::PlainHttp, ..Access::default() }
}

/// Plain HTTP, as somebody.
pub(crate) fn plain_as(user: &str, password: &str) -> Access {
    let credential = Credential::basic(user, Secret::new(password));
    Access { credentials: Credentials::Explicit(credential), ..plain() }
}

/// TLS under this policy, with the authorities of a directory.
pub(crate) fn tls(policy: TlsPolicy, directory: Option<&Path>) -> Access {
    let certificates = directory.map(|path| Certificates::Directory(path.to_owned()));
    Access { tls: policy, certificates: certificates.unwrap_or_default(), ..Access::default() }
}

/// Opens `docker://name` for reading.
pub(crate) async fn source(name: &str, access: &Access) -> Box<dyn ImageSource> {
    install_crypto_provider();
    let reference = transport::parse(&format!("docker://{name}")).unwrap();
    reference.source(access).await.unwrap()
}

/// Opens `docker://name` for writing.
pub(crate) async fn destination(name: &str, access: &Access) -> Box<dyn ImageDestination> {
    install_crypto_provider();
    let reference = transport::parse(&format!("docker://{name}")).unwrap();
    reference.destination(access).await.unwrap()
}

/// A small image: a config and a layer.
pub(crate) struct Image {
    pub(crate) config: Bytes,
    pub(crate) layer: Bytes,
    pub(crate) manifest: Manifest,
}

impl Image {
    /// An image whose bytes follow from `seed`.
    pub(crate) fn new(seed: &str) -> Self {
        let config = Bytes::from(format!(r#"{{"architecture":"{seed}","os":"linux"}}"#));
        let layer = Bytes::from(format!("layer of {seed}").repeat(1000));
        let image = ImageManifest {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            config: Descriptor::of(MediaType::OCI_CONFIG, &config),
            layers: vec![Descriptor::of(layer_type(), &layer)],
            subject: None,
            annotations: std::collections::BTreeMap::new(),
            other: std::collections::BTreeMap::new(),
        };
        let manifest = Manifest::from_image(image, MediaType::OCI_MANIFEST);
        Self { config, layer, manifest }
    }

    /// The descriptor of the layer.
    pub(crate) fn layer_descriptor(&self) -> Descriptor {
        Descriptor::of(layer_type(), &self.layer)
    }
}

/// An index of images.
pub(crate) fn index(images: &[&Image]) -> Manifest {
    let manifests = images.iter().map(|image| image.manifest.descriptor()).collect();
    let text = serde_json::json!({"schemaVersion": 2, "manifests": Vec::<Descriptor>::new()});
    let mut index: Index = serde_json::from_value(text).unwrap();
    index.manifests = manifests;
    Manifest::from_index(index, MediaType::OCI_INDEX)
}

fn layer_type() -> MediaType {
    MediaType::new("application/vnd.oci.image.layer.v1.tar+gzip")
}

/// A blob of known digest, in two chunks.
pub(crate) fn blob(bytes: &Bytes) -> Blob {
    let descriptor = Descriptor::of(MediaType::OCTET_STREAM, bytes);
    Blob::verified(chunks(bytes), &descriptor)
}

/// Bytes as a stream of two chunks.
pub(crate) fn chunks(bytes: &Bytes) -> Chunks {
    let (start, end) = (bytes.slice(..bytes.len() / 2), bytes.slice(bytes.len() / 2..));
    stream::iter([Ok(start), Ok(end)]).boxed()
}

/// Everything a stream holds.
pub(crate) async fn collect(chunks: Chunks) -> Result<Bytes> {
    let whole: Vec<Bytes> = chunks.try_collect().await?;
    Ok(whole.concat().into())
}

/// Writes the blobs of an image.
pub(crate) async fn put_blobs(destination: &dyn ImageDestination, image: &Image) -> Result<()> {
    destination.put_blob(blob(&image.config), BlobKind::Config).await?;
    destination.put_blob(blob(&image.layer), BlobKind::Layer).await
}

/// Writes an image under the destination's name.
pub(crate) async fn put(destination: &dyn ImageDestination, image: &Image) -> Result<()> {
    put_blobs(destination, image).await?;
    destination.put_manifest(&image.manifest, Role::Named).await
}

/// Everything that an error tells: kind, whether to try again, message and hint.
pub(crate) fn told(error: &Error) -> String {
    let hint = error.next_step().map(|hint| format!(" // {hint}")).unwrap_or_default();
    canary::none_is_in("an error", format!("{error:?}"), &[]);
    let told = format!("{} {:?}: {error}{hint}", error.kind(), error.class());
    canary::none_is_in("an error", &told, &[]);
    told
}
