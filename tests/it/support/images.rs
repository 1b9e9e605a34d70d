//! Makes images, with nothing of the product's own code: what it reads must not depend on what it writes.
//!
//! Content is random but for its seed, so that images differ and a failure can be had again. An image is held in
//! memory, and is written down as an OCI layout.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const FOREIGN_LAYER: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
const CREATED: &str = "2024-01-02T03:04:05Z";
const NAME: &str = "org.opencontainers.image.ref.name";

/// An image, an index or an artifact with everything it points to.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// Configs, layers and manifests by digest.
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    /// Points to the manifest or index.
    pub(crate) descriptor: Value,
}

/// A layer: a tar archive with its form.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) media_type: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) diff_id: String,
    urls: Vec<String>,
}

/// How a layer is compressed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    Plain,
    Gzip,
    Zstd,
    /// Zstd with a window of this size, as a power of two.
    ZstdWindow(u32),
}

/// `sha256:…` of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Bytes that don't compress, the same for the same seed.
pub(crate) fn random(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A tar archive of regular files.
pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in files {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        let fields =
            [(100, "0000644\0"), (108, "0000000\0"), (116, "0000000\0"), (136, "00000000000\0")];
        for (at, text) in fields {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// A layer with one random file of `length` bytes.
pub(crate) fn layer(seed: u64, length: usize, form: Form) -> Layer {
    let name = format!("file-{seed}");
    Layer::of(&tar(&[(&name, &random(seed, length))]), form)
}

/// An image of one platform, `linux/amd64`, with two gzip layers.
pub(crate) fn image(seed: u64) -> Content {
    let layers = [layer(seed, 3000, Form::Gzip), layer(seed + 1000, 70_000, Form::Gzip)];
    Content::image("linux", "amd64", &layers)
}

/// An index of images for three platforms that share a layer.
pub(crate) fn index(seed: u64) -> Content {
    let shared = layer(seed, 5000, Form::Gzip);
    let platforms = [("linux", "amd64"), ("linux", "arm64"), ("linux", "s390x")];
    let images = platforms.iter().zip(1..).map(|((os, architecture), n)| {
        let own = layer(seed + n, 2000, Form::Gzip);
        let image = Content::image(os, architecture, &[shared.clone(), own]);
        (json!({"os": os, "architecture": architecture}), image)
    });
    Content::index(images.collect())
}

/// An artifact that is no container image.
pub(crate) fn artifact(seed: u64) -> Content {
    let mut content = Content::empty();
    let config = content.add("application/vnd.oci.empty.v1+json", b"{}");
    let layer = content.add("application/yaml", &random(seed, 300));
    content.finish(OCI_MANIFEST, &json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.example.thing",
        "config": config, "layers": [layer], "annotations": {"org.example.seed": seed.to_string()},
    }))
}

/// As a tool writes it that is told to look back far, and doesn't know how much will come.
fn zstd_with_window(tar: &[u8], log: u32) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(log).unwrap();
    encoder.write_all(tar).unwrap();
    encoder.finish().unwrap()
}

// === impl Layer ===

impl Layer {
    /// A layer of this tar archive.
    pub(crate) fn of(tar: &[u8], form: Form) -> Self {
        let (suffix, bytes) = match form {
            Form::Plain => ("", tar.to_vec()),
            Form::Gzip => ("+gzip", gzip(tar)),
            Form::Zstd => ("+zstd", zstd::encode_all(tar, 3).unwrap()),
            Form::ZstdWindow(log) => ("+zstd", zstd_with_window(tar, log)),
        };
        Self { media_type: format!("{LAYER}{suffix}"), bytes, diff_id: digest(tar), urls: vec![] }
    }

    /// The same, kept elsewhere: the image is written without its bytes.
    pub(crate) fn foreign(mut self, url: &str) -> Self {
        self.media_type = FOREIGN_LAYER.into();
        self.urls = vec![url.into()];
        self
    }
}

// === impl Content ===

impl Content {
    fn empty() -> Self {
        Self { blobs: BTreeMap::new(), descriptor: Value::Null }
    }

    /// An OCI image of these layers.
    pub(crate) fn image(os: &str, architecture: &str, layers: &[Layer]) -> Self {
        let mut content = Self::empty();
        let config = content.add(OCI_CONFIG, &config(os, architecture, layers));
        let layers: Vec<Value> = layers.iter().map(|layer| content.add_layer(layer)).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers,
        });
        content.finish(OCI_MANIFEST, &manifest)
    }

    /// An OCI image that says this of itself wherever it can.
    pub(crate) fn image_saying(os: &str, architecture: &str, layers: &[Layer], what: &str) -> Self {
        let mut said: Value = serde_json::from_slice(&config(os, architecture, layers)).unwrap();
        said["author"] = json!(what);
        said["config"] = json!({
            "User": what, "WorkingDir": what, "Env": [what], "Cmd": [what], "Entrypoint": [what],
            "Labels": {what: what}, "Volumes": {what: {}}, "StopSignal": what,
        });
        let mut content = Self::empty();
        let config = content.add(OCI_CONFIG, said.to_string().as_bytes());
        let layers: Vec<Value> = layers.iter().map(|layer| content.add_layer(layer)).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers,
            "annotations": {what: what},
        });
        content.finish(OCI_MANIFEST, &manifest)
    }

    /// An OCI image with this config.
    fn image_with_config(said: &Value, layers: &[Layer]) -> Self {
        let mut content = Self::empty();
        let config = content.add(OCI_CONFIG, said.to_string().as_bytes());
        let layers: Vec<Value> = layers.iter().map(|layer| content.add_layer(layer)).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers,
        });
        content.finish(OCI_MANIFEST, &manifest)
    }

    /// An OCI image whose history has this many steps that made a layer, and one that made none.
    pub(crate) fn image_with_history(layers: &[Layer], steps: usize) -> Self {
        let mut said: Value = serde_json::from_slice(&config("linux", "amd64", layers)).unwrap();
        let steps = (0..steps).map(|_| json!({"created_by": "a test"}));
        said["history"] = steps.chain([json!({"empty_layer": true})]).collect();
        Self::image_with_config(&said, layers)
    }

    /// An OCI image with these labels.
    pub(crate) fn labelled_image(
        os: &str,
        architecture: &str,
        layers: &[Layer],
        labels: &[(&str, &str)],
    ) -> Self {
        let mut said: Value = serde_json::from_slice(&config(os, architecture, layers)).unwrap();
        said["config"]["Labels"] = labels.iter().copied().collect();
        Self::image_with_config(&said, layers)
    }

    /// The same image in Docker's format; its layers must be gzip.
    pub(crate) fn docker_image(os: &str, architecture: &str, layers: &[Layer]) -> Self {
        let mut content = Self::empty();
        let config = content.add(DOCKER_CONFIG, &config(os, architecture, layers));
        let add = |layer: &Layer| content.add(DOCKER_LAYER, &layer.bytes);
        let layers: Vec<Value> = layers.iter().map(add).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": layers,
        });
        content.finish(DOCKER_MANIFEST, &manifest)
    }

    /// An OCI index of these images with their platforms.
    pub(crate) fn index(images: Vec<(Value, Self)>) -> Self {
        let mut content = Self::empty();
        let mut manifests = Vec::new();
        for (platform, image) in images {
            let mut entry = image.descriptor;
            entry["platform"] = platform;
            manifests.push(entry);
            content.blobs.extend(image.blobs);
        }
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
        content.finish(OCI_INDEX, &index)
    }

    fn add(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        self.blobs.insert(digest, bytes.to_vec());
        descriptor
    }

    fn add_layer(&mut self, layer: &Layer) -> Value {
        let mut descriptor = self.add(&layer.media_type, &layer.bytes);
        if !layer.urls.is_empty() {
            self.blobs.remove(&digest(&layer.bytes));
            descriptor["urls"] = json!(layer.urls);
        }
        descriptor
    }

    fn finish(mut self, media_type: &str, document: &Value) -> Self {
        self.descriptor = self.add(media_type, document.to_string().as_bytes());
        self
    }

    /// The digest of the manifest or index.
    pub(crate) fn digest(&self) -> &str {
        self.descriptor["digest"].as_str().unwrap()
    }

    /// The manifest or index.
    pub(crate) fn manifest(&self) -> Value {
        serde_json::from_slice(&self.blobs[self.digest()]).unwrap()
    }

    /// The same image with an annotation of its manifest.
    pub(crate) fn annotated(mut self, key: &str, value: &str) -> Self {
        let mut manifest = self.manifest();
        manifest["annotations"][key] = value.into();
        let replaced = self.digest().to_owned();
        self.blobs.remove(&replaced);
        self.finish(OCI_MANIFEST, &manifest)
    }

    /// Writes the one image of a new layout.
    pub(crate) fn write_layout(&self, path: &Path, name: Option<&str>) {
        write_layout(path, &[(self, name)]);
    }
}

/// Writes a layout with these images.
pub(crate) fn write_layout(path: &Path, images: &[(&Content, Option<&str>)]) {
    let blobs = path.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let mut entries = Vec::new();
    for (content, name) in images {
        for (digest, bytes) in &content.blobs {
            fs::write(blobs.join(digest.strip_prefix("sha256:").unwrap()), bytes).unwrap();
        }
        let mut entry = content.descriptor.clone();
        if let Some(name) = name {
            entry["annotations"] = json!({NAME: name});
        }
        entries.push(entry);
    }
    let index = json!({"schemaVersion": 2, "manifests": entries});
    fs::write(path.join("index.json"), index.to_string()).unwrap();
    fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
}

fn config(os: &str, architecture: &str, layers: &[Layer]) -> Vec<u8> {
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    let history: Vec<Value> =
        layers.iter().map(|_| json!({"created": CREATED, "created_by": "a test"})).collect();
    let config = json!({
        "created": CREATED, "os": os, "architecture": architecture,
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history,
    });
    config.to_string().into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
