//! Where images live: the transports, and the contract that each of them keeps.
//!
//! A transport is a static value that parses its references. A reference opens a source or a destination. The engine
//! knows the traits of this module only; no transport knows the engine, and none knows another one: what two of
//! them share is in `local`.

mod dir;
mod docker;
mod docker_archive;
mod gate;
mod local;
mod oci;
mod oci_archive;
mod reference;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;

pub use gate::{Gate, Passage, StillWanted, Wanted};
pub use reference::{names, parse, parse_destination};

use crate::access::Access;
use crate::blob::{Blob, Chunks};
use crate::error::{Error, Kind, Result};
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
    /// The source need not compare digests: the engine does. Of an instance, what comes from a network is read up to the
    /// descriptor's size only.
    async fn manifest(&self, instance: Option<&Descriptor>) -> Result<Manifest>;

    /// Digest of the manifest that the reference names, found out at the least cost. Nobody has verified it.
    async fn digest(&self) -> Result<Digest> {
        Ok(self.manifest(None).await?.digest().clone())
    }

    /// Opens a blob for reading from its first byte. The bytes are not verified: the engine does that, and reads no
    /// more than one chunk past the descriptor's size. Fetches `urls` only where access says so of their host.
    async fn blob(&self, descriptor: &Descriptor) -> Result<Chunks>;

    /// Lists what is attached to a manifest, as [`ImageDestination::attachments`] does.
    async fn attachments(
        &self,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>> {
        let _ = (subject, artifact_type);
        Err(no_attachments())
    }

    /// The same by one question; nothing where that takes another one.
    async fn attachments_at_once(
        &self,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
    ) -> Result<Option<Vec<Descriptor>>> {
        self.attachments(subject, artifact_type).await.map(Some)
    }

    /// Reads the manifest of an attachment that was listed, and makes sure that it is that one. Its blobs are read
    /// like any others.
    async fn attachment(&self, listed: &Descriptor) -> Result<Manifest> {
        let manifest = self.manifest(Some(listed)).await?;
        let found = manifest.descriptor();
        if (&found.digest, found.size) != (&listed.digest, listed.size) {
            let message = format!(
                "the attachment is `{}` of {} bytes instead of `{}` of {}",
                found.digest, found.size, listed.digest, listed.size
            );
            return Err(Error::new(Kind::ContentMismatch, message));
        }
        Ok(manifest)
    }

    /// The repository of a registry that manifests are read from by now, wherever the reference's own name leads.
    fn repository(&self) -> Option<Repository> {
        None
    }

    /// The place of a blob, for a store that keeps each one under the name of its digest.
    ///
    /// The engine leaves verifying such a blob to a destination that compares digests itself, and names the place to the
    /// user if the content turns out to be other than its name. Whatever the source gives as a blob's bytes without having
    /// found it by its digest, it has no place for.
    fn place_by_digest(&self, descriptor: &Descriptor) -> Option<String> {
        let _ = descriptor;
        None
    }

    /// Told that a blob read from here is not what its descriptor says. Returns whether asking for it again reads another
    /// copy, so that trying again may help.
    fn distrust(&self, descriptor: &Descriptor) -> bool {
        let _ = descriptor;
        false
    }
}

/// The step that makes an image visible and durable. It waits for nothing but the disk, and is to be let come to its end
/// once it has begun.
pub type Commit = BoxFuture<'static, Result<()>>;

/// An image being written.
///
/// **Order.** The engine calls `current` first, then for each blob `reuse_blob` and, unless that found it, `put_blob`;
/// then `put_manifest` for the instances of an index; then `put_named` for the named manifest; then `prepare`, and what that
/// returns.
/// Blobs come in any order and at the same time; a manifest comes after everything it points to. Where reading back is wanted,
/// `verify` follows each manifest that was put, the named one too. If that or a manifest fails with `ContentMissing`, blobs are
/// looked for or put anew and their manifests put again, even after the named manifest was put; the same happens with other
/// manifests after one that was rejected.
///
/// **Visibility.** Until the [`Commit`] (for a registry: until the named manifest is put) a reader of the name sees what was
/// there before. It publishes in one step; a crash at any moment leaves the old image or the new one. The step that
/// publishes passes the [`Gate`]: in `put_named`, or, if nothing passed it there, by the engine right before the [`Commit`].
///
/// **Failure.** A method that fails may be called again with the same arguments. If a blob's stream fails,
/// `put_blob` returns that error unchanged and shows nothing of the blob. What was begun may be kept for another attempt at the
/// same blob. An error that [wants sending again](Error::wants_sending_again) asks for that attempt at once. Dropping a destination without `commit`
/// leaves what was there as it was, and no temporary file; upload sessions of a registry are cancelled as far as time allows, which
/// `abandon` waits for.
///
/// **Verification.** Streams have been verified by the engine; a destination does not verify them again. What it finds
/// there already and reuses, it verifies itself. A destination with [`Verifier::Destination`] may be given streams of which
/// only the size has been checked: it fails with `ContentMismatch` where the digest is another one, and
/// [confirms](crate::blob::Identity::confirm) a blob's identity where it is known to have compared it. What it leaves
/// unconfirmed, the engine hashes.
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

    /// Writes a manifest or index. Fails with `ManifestRejected` if another format may be accepted, and with
    /// `ContentMissing` if something that it points to is gone again: blobs are then to be reused or put anew.
    async fn put_manifest(&self, manifest: &Manifest, role: Role) -> Result<()>;

    /// Writes the manifest that the name is to point to, as `put_manifest` does. Where the name changes with it, it passes
    /// the gate right before the exchange that does that, with everything waited for: then the engine lets that exchange come
    /// to its end, while all else can be interrupted.
    async fn put_named(&self, manifest: &Manifest, gate: &Gate) -> Result<()> {
        let _ = gate;
        self.put_manifest(manifest, Role::Named).await
    }

    /// Lists what is attached to the manifest of this digest: artifacts that name it as their `subject`, such as
    /// signatures. With `artifact_type`, those of this kind only.
    ///
    /// Each descriptor has the artifact's type and annotations, as far as the place tells them. There is nothing in
    /// the list if the subject has no attachments, or isn't there. What the list says is not verified; whoever reads
    /// an attachment does that. Fails with `LimitExceeded` rather than leaving some out, and with
    /// `TransportUnsupported` where [`Capabilities::attachments`] is false.
    async fn attachments(
        &self,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>> {
        let _ = (subject, artifact_type);
        Err(no_attachments())
    }

    /// Attaches an artifact to the manifest that it names as its `subject`.
    ///
    /// Comes after everything that the artifact points to, and, so that it never belongs to nothing, after its subject.
    /// Visible at the latest with `commit`. Idempotent. What others attach at the same time stays; a failure may leave
    /// the artifact there without being listed, until the same is put again.
    async fn put_attachment(&self, artifact: &Manifest) -> Result<()> {
        let _ = artifact;
        Err(no_attachments())
    }

    /// Takes an attachment off a manifest. Idempotent; its blobs are left to the place's own cleaning.
    ///
    /// It is off the list before it is deleted, so that no list names what isn't there. Where a list is kept and nothing
    /// can be deleted, it is only taken off the list.
    async fn delete_attachment(&self, subject: &Digest, attachment: &Digest) -> Result<()> {
        let _ = (subject, attachment);
        Err(no_attachments())
    }

    /// Takes the name away if it points to this digest, and nothing else: what it points to and other names of it stay.
    /// Idempotent.
    ///
    /// The exchange by which the name goes passes `gate`.
    async fn remove(&self, expected: &Digest, gate: &Gate) -> Result<Removed> {
        let _ = (expected, gate);
        Ok(Removed::Unsupported)
    }

    /// Reads back a manifest that was put, and asks for each blob it points to. Fails with `ContentMissing` for what is
    /// gone, with `ContentMismatch` for what is another. Destinations that write on their own have nothing to add.
    async fn verify(&self, manifest: &Manifest, role: Role) -> Result<()> {
        let _ = (manifest, role);
        Ok(())
    }

    /// Does all that takes time before the image becomes visible, such as waiting for other writers and copying what stays of
    /// an archive, and returns the step that makes it so. May be dropped at any moment, as a [`Commit`] may that hasn't begun.
    async fn prepare(self: Box<Self>) -> Result<Commit>;

    /// Makes the image visible and durable, without asking anybody in between.
    async fn commit(self: Box<Self>) -> Result<()> {
        self.prepare().await?.await
    }

    /// Lets go of what was begun and won't be ended, when a push has failed. Never takes long; its own failures are of no
    /// interest beside the push's.
    async fn abandon(&self) {}
}

/// What a destination can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each answers a question of its own")]
pub struct Capabilities {
    /// Formats of manifests, the preferred one first.
    pub formats: &'static [ManifestFormat],
    /// Whether it holds indexes.
    pub index: bool,
    /// Whether it holds artifacts that are not container images.
    pub artifacts: bool,
    /// Whether artifacts can be attached to what it holds.
    pub attachments: bool,
    /// The form it wants layers in.
    pub layers: LayerForm,
    /// Whether a foreign layer may stay where its `urls` point; otherwise it is copied like any other.
    pub foreign_layers: bool,
    /// What tells two of its images apart.
    pub identity: ImageIdentity,
    /// Who compares a blob with its digest before it counts as written.
    pub verifier: Verifier,
}

/// Who compares a blob with its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verifier {
    /// The engine has to, while the bytes flow.
    Engine,
    /// The destination does by itself.
    Destination,
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

/// What became of a name that was to be taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It is gone.
    Done,
    /// It was not there.
    Absent,
    /// It points to this instead, and stays.
    Changed(Digest),
    /// The place can't take a single name away; it stays.
    Unsupported,
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

fn no_attachments() -> Error {
    let message = "nothing can be attached to an image in a place of this kind";
    Error::new(Kind::TransportUnsupported, message).hint("push to a registry, with `docker://`")
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
