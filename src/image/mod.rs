//! The nouns of the product: digests, media types, platforms, descriptors, manifests.
//!
//! Values only. Nothing in here does I/O, waits, or knows about any other module; every type is built
//! by parsing, so that a value of it is known to be well formed. Formats follow the OCI image
//! specification v1.1 and the Docker image manifest version 2, schema 2.

mod artifact;
mod config;
mod convert;
mod descriptor;
mod digest;
mod index;
mod json;
mod manifest;
mod media_type;
mod name;
mod platform;

pub use artifact::{Artifact, EMPTY_CONFIG};
pub use config::{Config, MAX_CONFIG_SIZE};
pub use convert::{ConvertError, convert_image, convert_index};
pub use descriptor::{Descriptor, MAX_BLOB_SIZE};
pub use digest::{Algorithm, Digest, Hasher, ParseDigestError};
pub use index::{Index, IndexEntry, MAX_INDEX_ENTRIES};
pub use json::{Annotations, JsonError};
pub use manifest::{
    Body, ImageManifest, MAX_LAYERS, MAX_MANIFEST_SIZE, Manifest, ManifestError, ManifestFormat,
};
pub use media_type::{Compression, MediaType};
pub use name::{ImageName, NameError};
pub use platform::{ParsePlatformError, Platform};
