//! Artifacts: manifests of what is no image but belongs to one (OCI image specification v1.1, "Guidelines for
//! Artifact Usage").

use std::collections::BTreeMap;

use super::{Annotations, Descriptor, ImageManifest, Manifest, MediaType};

/// The content of a config that says nothing; its blob has to be written like any other.
pub const EMPTY_CONFIG: &[u8] = b"{}";

/// An artifact that belongs to another manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    /// What kind of artifact it is.
    pub artifact_type: MediaType,
    /// The manifest it belongs to.
    pub subject: Descriptor,
    /// Its content.
    pub layers: Vec<Descriptor>,
    /// What its author notes of it; listings of attachments repeat them.
    pub annotations: Annotations,
}

// === impl Artifact ===

impl Artifact {
    /// Its manifest. The same artifact has the same bytes each time, and so the same digest.
    pub fn into_manifest(self) -> Manifest {
        let Self { artifact_type, subject, layers, annotations } = self;
        let image = ImageManifest {
            schema_version: 2,
            media_type: None,
            artifact_type: Some(artifact_type),
            config: Descriptor::of(MediaType::OCI_EMPTY, EMPTY_CONFIG),
            layers,
            subject: Some(subject),
            annotations,
            other: BTreeMap::new(),
        };
        Manifest::from_image(image, MediaType::OCI_MANIFEST)
    }
}

// === impl ImageManifest ===

impl ImageManifest {
    /// What kind of artifact this is; without a type of its own it has that of its config.
    pub fn kind(&self) -> &MediaType {
        self.artifact_type.as_ref().unwrap_or(&self.config.media_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_has_one_manifest() {
        let subject = Descriptor::of(MediaType::OCI_MANIFEST, b"subject");
        let layer = Descriptor::of(MediaType::new("application/yaml"), b"layer");
        let artifact = Artifact {
            artifact_type: MediaType::new("application/x.test"),
            subject: subject.clone(),
            layers: vec![layer.clone()],
            annotations: Annotations::from([("a".into(), "b".into())]),
        };
        let manifest = artifact.into_manifest();
        let expected = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/x.test","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}},"layers":[{{"mediaType":"application/yaml","digest":"{}","size":5}}],"subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":7}},"annotations":{{"a":"b"}}}}"#,
            layer.digest, subject.digest
        );
        assert_eq!(std::str::from_utf8(manifest.bytes()).unwrap(), expected);
        let read = Manifest::parse(manifest.bytes().clone(), None).unwrap();
        assert_eq!(read, manifest);
        assert_eq!(read.as_image().unwrap().kind().as_str(), "application/x.test");
    }
}
