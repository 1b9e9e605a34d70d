//! Conversion between OCI and Docker (version 2, schema 2) manifests.
//!
//! Only media types change; the config keeps its bytes in both directions, and with them the image its
//! ID. Docker's manifests have no annotations, so these are dropped on the way there.

use super::media_type::LayerType;
use super::{
    Annotations, Compression, Descriptor, ImageManifest, Index, ManifestFormat, MediaType,
};

/// An image can't be expressed in the wanted format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// Not a container image: its config is of another kind.
    #[error("an artifact of type `{0}` cannot be converted, only container images can")]
    Artifact(String),
    /// A layer's media type is not known.
    #[error("a layer of media type `{0}` cannot be converted")]
    Layer(String),
    /// Docker's format has no media type for this compression.
    #[error("format `v2s2` has no media type for layers compressed with {0}")]
    Compression(Compression),
    /// An index lists something other than image manifests.
    #[error("an index entry of media type `{0}` cannot be converted")]
    Entry(String),
}

/// The manifest in `format`, which may be the one it has.
///
/// Shapes of the layers stay: a layer whose compression the format can't name is an error.
pub fn convert_image(
    image: &ImageManifest,
    format: ManifestFormat,
) -> Result<ImageManifest, ConvertError> {
    if !image.is_container_image() {
        let kind = image.artifact_type.as_ref().unwrap_or(&image.config.media_type);
        return Err(ConvertError::Artifact(kind.as_str().escape_default().to_string()));
    }
    let mut converted = image.clone();
    converted.media_type = Some(format.manifest_type());
    converted.config.media_type = match format {
        ManifestFormat::Oci => MediaType::OCI_CONFIG,
        ManifestFormat::V2s2 => MediaType::DOCKER_CONFIG,
    };
    for layer in &mut converted.layers {
        layer.media_type = layer_type(&layer.media_type, format)?;
    }
    if format == ManifestFormat::V2s2 {
        drop_oci_fields(&mut converted);
    }
    Ok(converted)
}

/// The index in `format`, with entries as given: their descriptors must already be of that format.
pub fn convert_index(index: &Index, format: ManifestFormat) -> Result<Index, ConvertError> {
    let mut converted = index.clone();
    converted.media_type = Some(format.index_type());
    for entry in &mut converted.manifests {
        if entry.media_type != format.manifest_type() {
            let kind = entry.media_type.as_str().escape_default().to_string();
            return Err(ConvertError::Entry(kind));
        }
        if format == ManifestFormat::V2s2 {
            plain(entry);
        }
    }
    if format == ManifestFormat::V2s2 {
        converted.annotations = Annotations::new();
        converted.other.clear();
    }
    Ok(converted)
}

/// The name in `format` of a layer type in any format.
fn layer_type(media_type: &MediaType, format: ManifestFormat) -> Result<MediaType, ConvertError> {
    let Some(layer) = media_type.layer() else {
        return Err(ConvertError::Layer(media_type.as_str().escape_default().to_string()));
    };
    match format {
        ManifestFormat::Oci => Ok(MediaType::oci_layer(layer)),
        ManifestFormat::V2s2 => {
            MediaType::docker_layer(layer).ok_or(ConvertError::Compression(layer.compression))
        }
    }
}

/// The layer type of `format` for a layer that is written anew, compressed by `compression`.
fn rewritten_layer(format: ManifestFormat, compression: Compression) -> Option<MediaType> {
    let layer = LayerType { compression, foreign: false };
    match format {
        ManifestFormat::Oci if format.holds(compression) => Some(MediaType::oci_layer(layer)),
        ManifestFormat::Oci => None,
        ManifestFormat::V2s2 => MediaType::docker_layer(layer),
    }
}

impl MediaType {
    /// The media type, in `format`, of a layer compressed by `compression`; `None` where there is no such type.
    pub fn of_layer(format: ManifestFormat, compression: Compression) -> Option<Self> {
        rewritten_layer(format, compression)
    }
}

fn drop_oci_fields(image: &mut ImageManifest) {
    image.annotations = Annotations::new();
    image.artifact_type = None;
    image.subject = None;
    image.other.clear();
    plain(&mut image.config);
    image.layers.iter_mut().for_each(plain);
}

fn plain(descriptor: &mut Descriptor) {
    descriptor.annotations = Annotations::new();
    descriptor.other.clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn image(format: ManifestFormat, layers: &[Compression]) -> ImageManifest {
        let layer = |compression: &Compression| {
            let media_type = MediaType::of_layer(format, *compression).unwrap();
            Descriptor::of(media_type, compression.as_str().as_bytes())
        };
        let config = match format {
            ManifestFormat::Oci => MediaType::OCI_CONFIG,
            ManifestFormat::V2s2 => MediaType::DOCKER_CONFIG,
        };
        ImageManifest {
            schema_version: 2,
            media_type: Some(format.manifest_type()),
            artifact_type: None,
            config: Descriptor::of(config, b"{}"),
            layers: layers.iter().map(layer).collect(),
            subject: None,
            annotations: Annotations::new(),
            other: BTreeMap::new(),
        }
    }

    const LAYERS: [Compression; 2] = [Compression::Gzip, Compression::None];

    #[test]
    fn both_directions_change_media_types_only() {
        let oci = image(ManifestFormat::Oci, &LAYERS);
        let docker = image(ManifestFormat::V2s2, &LAYERS);
        assert_eq!(convert_image(&oci, ManifestFormat::V2s2), Ok(docker.clone()));
        assert_eq!(convert_image(&docker, ManifestFormat::Oci), Ok(oci.clone()));
        assert_eq!(convert_image(&oci, ManifestFormat::Oci), Ok(oci));
    }

    #[test]
    fn docker_manifests_carry_no_annotations() {
        let mut oci = image(ManifestFormat::Oci, &LAYERS);
        oci.annotations.insert("a".into(), "b".into());
        oci.layers[0].annotations.insert("a".into(), "b".into());
        let docker = image(ManifestFormat::V2s2, &LAYERS);
        assert_eq!(convert_image(&oci, ManifestFormat::V2s2), Ok(docker));
    }

    #[test]
    fn what_a_format_cannot_express_is_an_error() {
        let zstd = image(ManifestFormat::Oci, &[Compression::Zstd]);
        let mut artifact = image(ManifestFormat::Oci, &[]);
        artifact.config.media_type = MediaType::new("application/vnd.cncf.helm.config.v1+json");
        let mut odd = image(ManifestFormat::Oci, &[Compression::Gzip]);
        odd.layers[0].media_type = MediaType::new("text/plain");
        let cases = [
            (zstd, "format `v2s2` has no media type for layers compressed with zstd"),
            (
                artifact,
                "an artifact of type `application/vnd.cncf.helm.config.v1+json` cannot be converted, only container images can",
            ),
            (odd, "a layer of media type `text/plain` cannot be converted"),
        ];
        for (image, message) in cases {
            let error = convert_image(&image, ManifestFormat::V2s2).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn an_index_converts_once_its_entries_have() {
        let entry = |format: ManifestFormat| {
            let mut entry = Descriptor::of(format.manifest_type(), b"manifest");
            entry.platform = Some("linux/arm64".parse().unwrap());
            entry
        };
        let oci = Index::new(vec![entry(ManifestFormat::Oci)]);
        let mut docker = Index::new(vec![entry(ManifestFormat::V2s2)]);
        docker.media_type = Some(MediaType::DOCKER_LIST);
        assert_eq!(convert_index(&docker, ManifestFormat::V2s2), Ok(docker.clone()));
        assert_eq!(
            convert_index(&oci, ManifestFormat::V2s2).unwrap_err().to_string(),
            "an index entry of media type `application/vnd.oci.image.manifest.v1+json` cannot be converted"
        );
    }
}
