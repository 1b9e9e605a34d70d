//! Where images live: the transports, and the contract that each of them keeps.
//!
//! A transport is a static value that parses its references. A reference opens a source or a destination. The engine
//! knows the traits of this module only; no transport knows the engine, and none knows another one: what two of
//! them share is in `local`.

mod dir;
mod docker;
mod docker_archive;
mod local;
mod oci;
mod oci_archive;
mod reference;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use reference::{names, parse, parse_destination};

use crate::access::Access;
use crate::blob::{Blob, Chunks};
use crate::error::Result;
use crate::image::{Descriptor, Digest, Manifest, ManifestFormat, MediaType};

/// Every transport, sorted by name. Help, completion, the CRD and the list in errors derive from it.
pub static TRANSPORTS: &[&dyn Transport] = &[
    &dir::Dir,
    &docker::Docker,
    &docker_archive::DockerArchive,
    &oci::Oci,
    &oci_archive::OciArchive,
];

/// A parsed reference of any transport.
pub type Reference = Arc<dyn ImageReference>;

/// A kind of place where images live.
pub trait Transport: Sync {
    /// The name before the first colon.
    fn name(&self) -> &'static str;

    /// What it is, in one line without a full stop, for help and docs.
    fn summary(&self) -> &'static str;

    /// The form of what follows the colon, such as `PATH[:NAME]`.
    fn syntax(&self) -> &'static str;

    /// Where its images are.
    fn locality(&self) -> Locality;

    /// Parses what follows the colon. Does no I/O.
    ///
    /// Errors have the kind `InvalidReference` and say what is wrong with `details`.
    fn parse(&self, details: &str) -> Result<Reference>;
}

/// Where a transport's images are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locality {
    /// Behind a network: any pod can reach them.
    Remote,
    /// On a node or a volume: only a pod there can reach them.
    NodeLocal,
}

/// The name of an image within a transport.
///
/// `Display` prints `transport:details`; parsing that gives an equal reference.
#[async_trait]
pub trait ImageReference: fmt::Display + fmt::Debug + Send + Sync {
    /// The transport that parsed it.
    fn transport(&self) -> &'static dyn Transport;

    /// The repository it names, for a registry's images.
    fn repository(&self) -> Option<&Repository> {
        None
    }

    /// The digest that it pins the image to. Such a destination takes this manifest and no other.
    fn digest(&self) -> Option<&Digest> {
        None
    }

    /// Opens it for reading. Fails with `NotFound` at the latest when the manifest is read.
    async fn source(&self, access: &Access) -> Result<Box<dyn ImageSource>>;

    /// Opens it for writing; changes nothing that a reader could see.
    async fn destination(&self, access: &Access) -> Result<Box<dyn ImageDestination>>;
}

/// A repository of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    /// Host and port as they stand in the reference; `docker.io` for Docker Hub.
    pub registry: String,
    /// The path below the host, such as `library/busybox`.
    pub path: String,
}

/// An image being read. All methods may be called at the same time.
#[async_trait]
pub trait ImageSource: Send + Sync {
    /// Reads a manifest: the one the reference names, or with `instance` that one of its index.
    ///
    /// The source need not compare digests: the engine does.
    async fn manifest(&self, instance: Option<&Descriptor>) -> Result<Manifest>;

    /// Opens a blob for reading from its first byte. The bytes are not verified: the engine does that, and reads no
    /// more than one chunk past the descriptor's size. Never fetches `urls`.
    async fn blob(&self, descriptor: &Descriptor) -> Result<Chunks>;
}

/// An image being written.
///
/// **Order.** The engine calls `current` first, then for each blob `reuse_blob` and, unless that found it, `put_blob`;
/// then `put_manifest` for the instances of an index; then `put_manifest` for the named manifest; then `commit`.
/// Blobs come in any order and at the same time; a manifest comes after everything it points to.
///
/// **Visibility.** Until `commit` (for a registry: until the named manifest is put) a reader of the name sees what was
/// there before. `commit` publishes in one step; a crash at any moment leaves the old image or the new one.
///
/// **Failure.** A method that fails may be called again with the same arguments. If a blob's stream fails,
/// `put_blob` returns that error unchanged and leaves nothing of the blob behind. Dropping a destination without `commit`
/// leaves what was there as it was, and no temporary file; upload sessions of a registry are left to expire.
///
/// **Verification.** Streams have been verified by the engine; a destination does not verify them again. What it finds
/// there already and reuses, it verifies itself.
#[async_trait]
pub trait ImageDestination: Send + Sync {
    /// What this destination can hold. Plain data; the same each time.
    fn capabilities(&self) -> Capabilities;

    /// The image that the name has there now.
    async fn current(&self) -> Result<Option<Current>>;

    /// Finds a blob that need not be sent. Idempotent.
    ///
    /// `mount_from` is a repository of the same registry that holds the blob.
    async fn reuse_blob(
        &self,
        descriptor: &Descriptor,
        mount_from: Option<&Repository>,
    ) -> Result<Option<Reused>> {
        let _ = (descriptor, mount_from);
        Ok(None)
    }

    /// Writes a blob. Writing a blob that is there already does no harm.
    async fn put_blob(&self, blob: Blob, kind: BlobKind) -> Result<()>;

    /// Writes a manifest or index. Fails with `ManifestRejected` if another format may be accepted.
    async fn put_manifest(&self, manifest: &Manifest, role: Role) -> Result<()>;

    /// Makes the image visible and durable.
    async fn commit(self: Box<Self>) -> Result<()>;
}

/// What a destination can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Formats of manifests, the preferred one first.
    pub formats: &'static [ManifestFormat],
    /// Whether it holds indexes.
    pub index: bool,
    /// Whether it holds artifacts that are not container images.
    pub artifacts: bool,
    /// The form it wants layers in.
    pub layers: LayerForm,
    /// Whether a foreign layer may stay where its `urls` point; otherwise it is copied like any other.
    pub foreign_layers: bool,
    /// What tells two of its images apart.
    pub identity: ImageIdentity,
}

/// The form in which a destination wants layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerForm {
    /// Compressed; plain layers are compressed on the way, unless the user forbids it.
    Compressed,
    /// As they come.
    AsIs,
    /// Uncompressed, always.
    Uncompressed,
}

/// What tells two images of a destination apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageIdentity {
    /// The digest of the manifest.
    Manifest,
    /// The digest of the config (the image ID): the destination makes manifests itself.
    Config,
}

/// The image that a destination's name has now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// Digest of its manifest or index.
    pub digest: Digest,
    /// Media type of its manifest or index.
    pub media_type: MediaType,
    /// Size in bytes of its manifest or index.
    pub size: u64,
    /// Digest of its config, where [`ImageIdentity::Config`] applies.
    pub config: Option<Digest>,
}

impl Current {
    /// The image with this manifest, where manifests tell images apart.
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let size = manifest.bytes().len() as u64;
        let (digest, media_type) = (manifest.digest().clone(), manifest.media_type().clone());
        Self { digest, media_type, size, config: None }
    }
}

/// How a blob came to be at the destination without being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reused {
    /// It was there.
    Present,
    /// The registry linked it from another repository.
    Mounted,
}

/// What a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobKind {
    /// The config of an image.
    Config,
    /// A layer.
    Layer,
}

/// The part a manifest plays in a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The manifest that the destination's name is to point to.
    Named,
    /// An instance of an index, reachable by its digest only.
    Instance,
}

impl fmt::Debug for dyn Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}
