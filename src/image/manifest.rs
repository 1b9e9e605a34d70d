//! Manifests: one image, or an index of several, with the bytes they came in.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::descriptor::or_default;
use super::json::{parse_object, typed};
use super::{
    Algorithm, Annotations, Descriptor, Digest, Hasher, Index, JsonError, MAX_INDEX_ENTRIES,
    MediaType,
};

/// Largest manifest in bytes; registries may refuse larger ones (distribution specification v1.1).
pub const MAX_MANIFEST_SIZE: u64 = 4 << 20;

/// Most layers an image may have; file systems mount at most 127 to 500 of them.
pub const MAX_LAYERS: usize = 1000;

/// Most places outside the registry that all blobs of a manifest may name together: a few for each layer that there may be.
const MAX_URLS: usize = 4 * MAX_LAYERS;

/// Most bytes that all annotations of a manifest may have together.
const MAX_ANNOTATIONS_SIZE: usize = 256 << 10;

/// A manifest or an index: its original bytes, their digest, and what they say.
///
/// The bytes are those that were read; only [`Manifest::from_image`] and [`Manifest::from_index`] make new
/// ones, for a document that was edited. So a manifest that isn't edited keeps its digest.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    bytes: Bytes,
    media_type: MediaType,
    digest: Digest,
    body: Body,
}

/// What a manifest describes.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// One image (or another artifact).
    Image(Box<ImageManifest>),
    /// Several manifests.
    Index(Index),
}

/// The manifest of one image: OCI image manifest v1.1 or Docker version 2, schema 2, whose shapes agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// Always 2.
    pub schema_version: u64,
    /// The document's own media type, where it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// What kind of artifact this is, if not an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<MediaType>,
    /// The image config.
    pub config: Descriptor,
    /// The layers, bottom first.
    #[serde(default, deserialize_with = "or_default")]
    pub layers: Vec<Descriptor>,
    /// The manifest that this artifact belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// What its author noted of the image.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Annotations::is_empty"
    )]
    pub annotations: Annotations,
    /// Fields that have no meaning here.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// The families of manifests that this product writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ManifestFormat {
    /// OCI image manifests and indexes.
    Oci,
    /// Docker version 2, schema 2 manifests and manifest lists.
    V2s2,
}

/// Bytes are not a manifest this product can handle.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Longer than [`MAX_MANIFEST_SIZE`].
    #[error("the manifest has {0} bytes, more than the limit of {MAX_MANIFEST_SIZE}")]
    TooLarge(usize),
    /// Not JSON, ambiguous JSON, or a field of the wrong type.
    #[error("the manifest is malformed: {0}")]
    Json(#[from] JsonError),
    /// Fields of a manifest and of an index in one document.
    #[error("the manifest is ambiguous: it has the fields of an image and of an index")]
    Ambiguous,
    /// Bytes and their declared media type disagree.
    #[error("the manifest is served as `{declared}` but is a `{actual}`")]
    TypeMismatch {
        /// The type by which the bytes were served or referred to.
        declared: MediaType,
        /// The type that the bytes show.
        actual: MediaType,
    },
    /// Docker version 2, schema 1.
    #[error("the manifest has Docker's version 2, schema 1, which is not supported")]
    Schema1,
    /// Neither a manifest nor an index.
    #[error("`{0}` is not a media type of an image manifest or index")]
    UnknownType(String),
    /// More layers, entries or annotations than the limit.
    #[error("the manifest has {count} {what}, more than the limit of {limit}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
}

/// Names that readers of manifests and indexes give a meaning to.
const FIELDS: [&str; 12] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "subject",
    "annotations",
    "manifests",
    "fsLayers",
    "history",
    "signatures",
    "name",
];

// === impl Manifest ===

impl Manifest {
    /// Reads a manifest or index.
    ///
    /// `declared` is the media type by which the bytes were served or referred to; the bytes decide, and a
    /// disagreement between known types is an error. The digest is computed with SHA-256.
    pub fn parse(bytes: Bytes, declared: Option<&MediaType>) -> Result<Self, ManifestError> {
        Self::parse_with(bytes, declared, Algorithm::Sha256)
    }

    /// As [`Manifest::parse`], with the digest computed by `algorithm`.
    pub fn parse_with(
        bytes: Bytes,
        declared: Option<&MediaType>,
        algorithm: Algorithm,
    ) -> Result<Self, ManifestError> {
        if bytes.len() as u64 > MAX_MANIFEST_SIZE {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        let object = parse_object(&bytes, &FIELDS)?;
        let media_type = media_type_of(&object, declared)?;
        let body = if media_type.is_index() {
            Body::Index(check_index(typed(object)?)?)
        } else {
            Body::Image(Box::new(check_image(typed(object)?)?))
        };
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&bytes);
        Ok(Self { bytes, media_type, digest: hasher.finish(), body })
    }

    /// Writes an edited image manifest; `media_type` becomes the document's own.
    pub fn from_image(mut image: ImageManifest, media_type: MediaType) -> Self {
        image.media_type = Some(media_type.clone());
        Self::from_body(Body::Image(Box::new(image)), media_type)
    }

    /// Writes an edited index; `media_type` becomes the document's own.
    pub fn from_index(mut index: Index, media_type: MediaType) -> Self {
        index.media_type = Some(media_type.clone());
        Self::from_body(Body::Index(index), media_type)
    }

    fn from_body(body: Body, media_type: MediaType) -> Self {
        let json = match &body {
            Body::Image(image) => serde_json::to_vec(image),
            Body::Index(index) => serde_json::to_vec(index),
        };
        // Maps with text keys and plain fields: there is nothing in them that serde_json refuses.
        let bytes = Bytes::from(json.unwrap_or_default());
        Self { digest: Digest::of(&bytes), bytes, media_type, body }
    }

    /// The bytes, as read or as written.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The media type, never unknown.
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The digest of the bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What the manifest describes.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The image, unless this is an index.
    pub fn as_image(&self) -> Option<&ImageManifest> {
        match &self.body {
            Body::Image(image) => Some(image),
            Body::Index(_) => None,
        }
    }

    /// The index, unless this is an image.
    pub fn as_index(&self) -> Option<&Index> {
        match &self.body {
            Body::Index(index) => Some(index),
            Body::Image(_) => None,
        }
    }

    /// The family of formats it belongs to.
    pub fn format(&self) -> ManifestFormat {
        let docker = [MediaType::DOCKER_MANIFEST, MediaType::DOCKER_LIST];
        if docker.contains(&self.media_type) { ManifestFormat::V2s2 } else { ManifestFormat::Oci }
    }

    /// A descriptor that points at it.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), self.digest.clone(), self.bytes.len() as u64)
    }
}

// === impl ImageManifest ===

impl ImageManifest {
    /// Whether this is a container image, with a config this product can read, and not another artifact.
    pub fn is_container_image(&self) -> bool {
        let config = &self.config.media_type;
        *config == MediaType::OCI_CONFIG || *config == MediaType::DOCKER_CONFIG
    }

    /// Every blob it names, config last.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.layers.iter().chain(std::iter::once(&self.config))
    }
}

// === impl ManifestFormat ===

impl ManifestFormat {
    /// The name on the command line and in the ImagePush object.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::V2s2 => "v2s2",
        }
    }

    /// The media type of an image's manifest.
    pub fn manifest_type(self) -> MediaType {
        match self {
            Self::Oci => MediaType::OCI_MANIFEST,
            Self::V2s2 => MediaType::DOCKER_MANIFEST,
        }
    }

    /// The media type of an index.
    pub fn index_type(self) -> MediaType {
        match self {
            Self::Oci => MediaType::OCI_INDEX,
            Self::V2s2 => MediaType::DOCKER_LIST,
        }
    }

    /// Whether a layer compressed so has a media type in this format.
    pub fn holds(self, compression: super::Compression) -> bool {
        use super::Compression::{Bzip2, Gzip, None, Xz, Zstd};
        match compression {
            None | Gzip => true,
            Zstd => self == Self::Oci,
            Bzip2 | Xz => false,
        }
    }
}

/// Decides what a document is: by its own word, else by its config, else by its fields.
fn media_type_of(
    object: &Map<String, Value>,
    declared: Option<&MediaType>,
) -> Result<MediaType, ManifestError> {
    let has = |field: &str| object.get(field).is_some_and(|value| !value.is_null());
    let image = ["config", "layers", "fsLayers", "history"].into_iter().any(has);
    if image && has("manifests") {
        return Err(ManifestError::Ambiguous);
    }
    if object.get("schemaVersion") == Some(&Value::from(1)) || has("fsLayers") {
        return Err(ManifestError::Schema1);
    }
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let own = MediaType::new(text(object.get("mediaType")));
    let known = |media_type: &MediaType| media_type.is_index() || media_type.is_image_manifest();
    let actual = if known(&own) {
        own
    } else if !own.as_str().is_empty() {
        return Err(ManifestError::UnknownType(own.as_str().escape_default().to_string()));
    } else if has("manifests") {
        match declared {
            Some(declared) if declared.is_index() => declared.clone(),
            _ => MediaType::OCI_INDEX,
        }
    } else {
        match declared {
            Some(declared) if declared.is_image_manifest() => declared.clone(),
            _ => {
                let config = text(object.get("config").and_then(|config| config.get("mediaType")));
                let docker = config == MediaType::DOCKER_CONFIG.as_str();
                if docker { MediaType::DOCKER_MANIFEST } else { MediaType::OCI_MANIFEST }
            }
        }
    };
    if actual.is_index() != has("manifests") && (image || has("manifests")) {
        return Err(ManifestError::Ambiguous);
    }
    match declared {
        Some(declared) if known(declared) && *declared != actual => {
            Err(ManifestError::TypeMismatch { declared: declared.clone(), actual })
        }
        _ => Ok(actual),
    }
}

fn check_index(index: Index) -> Result<Index, ManifestError> {
    at_most("entries", index.manifests.len(), MAX_INDEX_ENTRIES)?;
    let listed = index.manifests.iter().map(|entry| annotations_size(&entry.annotations));
    let size = annotations_size(&index.annotations) + listed.sum::<usize>();
    at_most("bytes of annotations", size, MAX_ANNOTATIONS_SIZE)?;
    at_most("`urls`", index.manifests.iter().map(|entry| entry.urls.len()).sum(), MAX_URLS)?;
    Ok(index)
}

fn check_image(image: ImageManifest) -> Result<ImageManifest, ManifestError> {
    at_most("layers", image.layers.len(), MAX_LAYERS)?;
    let blobs = image.blobs().map(|blob| annotations_size(&blob.annotations));
    let size = annotations_size(&image.annotations) + blobs.sum::<usize>();
    at_most("bytes of annotations", size, MAX_ANNOTATIONS_SIZE)?;
    at_most("`urls`", image.blobs().map(|blob| blob.urls.len()).sum(), MAX_URLS)?;
    Ok(image)
}

fn at_most(what: &'static str, count: usize, limit: usize) -> Result<(), ManifestError> {
    if count > limit { Err(ManifestError::TooMany { what, count, limit }) } else { Ok(()) }
}

fn annotations_size(annotations: &Annotations) -> usize {
    annotations.iter().map(|(key, value)| key.len() + value.len()).sum()
}

#[cfg(test)]
mod tests;
