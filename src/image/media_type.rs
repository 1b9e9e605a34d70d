//! Media types of manifests, configs and layers.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How the bytes of a layer are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compression {
    /// A plain tar stream.
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
    /// bzip2; read only, no manifest format can name it.
    Bzip2,
    /// xz; read only, no manifest format can name it.
    Xz,
}

/// A media type, as written in a manifest or a `Content-Type` header, without parameters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(Cow<'static, str>);

/// What a layer's media type says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LayerType {
    pub(super) compression: Compression,
    /// The layer may live elsewhere than in the registry (`urls`).
    pub(super) foreign: bool,
}

// === impl Compression ===

impl Compression {
    /// The name used on the command line and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }

    /// Bytes of a stream that [`Compression::detect`] needs to see.
    pub const MAGIC_LENGTH: usize = 10;

    /// Tells how a stream that starts with `head` is compressed.
    ///
    /// A tar archive starts with a name, and a name may start like a bzip2 file: there the mark of its first block,
    /// or of its end, has to follow.
    pub fn detect(head: &[u8]) -> Self {
        const MAGIC: [(&[u8], Compression); 3] = [
            (&[0x1f, 0x8b, 0x08], Compression::Gzip),
            (&[0x28, 0xb5, 0x2f, 0xfd], Compression::Zstd),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0x00], Compression::Xz),
        ];
        const BLOCK: [u8; 6] = [0x31, 0x41, 0x59, 0x26, 0x53, 0x59];
        const END: [u8; 6] = [0x17, 0x72, 0x45, 0x38, 0x50, 0x90];
        if let [b'B', b'Z', b'h', b'1'..=b'9', rest @ ..] = head
            && (rest.starts_with(&BLOCK) || rest.starts_with(&END))
        {
            return Self::Bzip2;
        }
        let found = MAGIC.iter().find(|(magic, _)| head.starts_with(magic));
        found.map_or(Self::None, |(_, compression)| *compression)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl MediaType ===

impl MediaType {
    /// OCI image manifest.
    pub const OCI_MANIFEST: Self = Self::fixed("application/vnd.oci.image.manifest.v1+json");
    /// OCI image index.
    pub const OCI_INDEX: Self = Self::fixed("application/vnd.oci.image.index.v1+json");
    /// OCI image config.
    pub const OCI_CONFIG: Self = Self::fixed("application/vnd.oci.image.config.v1+json");
    /// A config that says nothing.
    pub const OCI_EMPTY: Self = Self::fixed("application/vnd.oci.empty.v1+json");
    /// Docker image manifest version 2, schema 2.
    pub const DOCKER_MANIFEST: Self =
        Self::fixed("application/vnd.docker.distribution.manifest.v2+json");
    /// Docker manifest list.
    pub const DOCKER_LIST: Self =
        Self::fixed("application/vnd.docker.distribution.manifest.list.v2+json");
    /// Docker image config.
    pub const DOCKER_CONFIG: Self = Self::fixed("application/vnd.docker.container.image.v1+json");
    /// Docker image manifest version 2, schema 1.
    pub const DOCKER_SCHEMA1: Self =
        Self::fixed("application/vnd.docker.distribution.manifest.v1+json");
    /// The same, signed.
    pub const DOCKER_SCHEMA1_SIGNED: Self =
        Self::fixed("application/vnd.docker.distribution.manifest.v1+prettyjws");
    /// Any bytes.
    pub const OCTET_STREAM: Self = Self::fixed("application/octet-stream");

    /// One that is known when the program is built.
    pub(crate) const fn fixed(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// A media type as found in a document.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Cow::Owned(text.into()))
    }

    /// The media type of a `Content-Type` header: parameters and surrounding blanks cut off, lower case.
    pub fn from_header(value: &str) -> Self {
        Self::new(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether documents of this type list other manifests.
    pub fn is_index(&self) -> bool {
        *self == Self::OCI_INDEX || *self == Self::DOCKER_LIST
    }

    /// Whether documents of this type describe one image.
    pub fn is_image_manifest(&self) -> bool {
        *self == Self::OCI_MANIFEST || *self == Self::DOCKER_MANIFEST
    }

    /// The compression that a layer's media type names, if it is one of a layer that we know.
    pub fn layer_compression(&self) -> Option<Compression> {
        self.layer().map(|layer| layer.compression)
    }

    /// Whether this is a layer that may stay where its `urls` point (foreign, nondistributable).
    pub fn is_foreign_layer(&self) -> bool {
        self.layer().is_some_and(|layer| layer.foreign)
    }

    pub(super) fn layer(&self) -> Option<LayerType> {
        let name = self.as_str();
        let found = LAYERS
            .iter()
            .find(|(oci, docker, _)| !name.is_empty() && [*oci, *docker].contains(&name));
        found.map(|(_, _, layer)| *layer)
    }

    /// The OCI name of a layer type.
    pub(super) fn oci_layer(layer: LayerType) -> Self {
        let found = LAYERS.iter().find(|(_, _, known)| *known == layer);
        Self::fixed(found.map_or("", |(oci, _, _)| *oci))
    }

    /// The Docker name of a layer type; Docker has none for zstd.
    pub(super) fn docker_layer(layer: LayerType) -> Option<Self> {
        let found = LAYERS.iter().find(|(_, docker, known)| *known == layer && !docker.is_empty());
        found.map(|(_, docker, _)| Self::fixed(docker))
    }
}

/// Each layer type by its OCI name, its Docker name (empty: none) and its meaning.
const LAYERS: [(&str, &str, LayerType); 6] = [
    (
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar",
        LayerType { compression: Compression::None, foreign: false },
    ),
    (
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        LayerType { compression: Compression::Gzip, foreign: false },
    ),
    (
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "",
        LayerType { compression: Compression::Zstd, foreign: false },
    ),
    (
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        LayerType { compression: Compression::None, foreign: true },
    ),
    (
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        LayerType { compression: Compression::Gzip, foreign: true },
    ),
    (
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "",
        LayerType { compression: Compression::Zstd, foreign: true },
    ),
];

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_layer_type_survives_a_trip_through_its_names() {
        for (oci, docker, layer) in LAYERS {
            assert_eq!(MediaType::new(oci).layer(), Some(layer));
            assert_eq!(MediaType::oci_layer(layer).as_str(), oci);
            let expected = (!docker.is_empty()).then(|| MediaType::new(docker));
            assert_eq!(MediaType::docker_layer(layer), expected);
        }
        assert_eq!(MediaType::new("text/plain").layer_compression(), None);
        assert_eq!(MediaType::new("").layer_compression(), None);
    }

    #[test]
    fn compression_is_told_from_the_first_bytes() {
        let cases: [(&[u8], Compression); 8] = [
            (b"\x1f\x8b\x08\x00", Compression::Gzip),
            (b"\x28\xb5\x2f\xfd....", Compression::Zstd),
            (b"BZh91AY&SY", Compression::Bzip2),
            (b"BZh9\x17\x72\x45\x38\x50\x90", Compression::Bzip2),
            (b"BZh9-and-more", Compression::None),
            (b"\xfd7zXZ\x00", Compression::Xz),
            (b"", Compression::None),
            (b"\x1f\x8b", Compression::None),
        ];
        for (head, compression) in cases {
            assert_eq!(Compression::detect(head), compression);
        }
    }

    #[test]
    fn headers_lose_their_parameters() {
        let header = "Application/vnd.oci.image.index.v1+json; charset=utf-8";
        assert_eq!(MediaType::from_header(header), MediaType::OCI_INDEX);
    }
}
