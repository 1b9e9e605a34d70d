//! Makes OCI layouts with images of a wanted shape, without any code of the product.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Writes a layout with one image of `layers` gzip layers, each with one file of `layer_size` random bytes.
///
/// The same arguments give the same digests. Returns the digests of all blobs but the manifest.
pub(crate) fn write_layout(folder: &Path, tag: &str, layers: u64, layer_size: u64) -> Vec<String> {
    let sizes: Vec<(u64, u64)> = (1..=layers).map(|seed| (seed, layer_size)).collect();
    write_image(folder, tag, &sizes)
}

/// Writes a layout with one image whose layers have these seeds and sizes.
pub(crate) fn write_image(folder: &Path, tag: &str, layers: &[(u64, u64)]) -> Vec<String> {
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    let (manifest, blobs) = image(folder, "amd64", layers);
    finish(folder, tag, manifest);
    blobs
}

/// Writes a layout with an index of images for these architectures: each has the first layer of all, and as many of its own
/// as there are further sizes.
pub(crate) fn write_index(folder: &Path, tag: &str, architectures: &[&str], sizes: &[u64]) {
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    let (shared, own) = sizes.split_first().unwrap();
    let manifest = |(architecture, platform): (&&str, u64)| {
        let own = own.iter().zip(1..).map(|(size, n)| (platform * 1000 + n, *size));
        let layers: Vec<_> = [(1, *shared)].into_iter().chain(own).collect();
        let (mut manifest, _) = image(folder, architecture, &layers);
        manifest["platform"] = json!({"os": "linux", "architecture": architecture});
        manifest
    };
    let manifests: Vec<Value> = architectures.iter().zip(1..).map(manifest).collect();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    let index = document(folder, INDEX, &index);
    finish(folder, tag, index);
}

/// Writes everything of an image; the descriptor of its manifest, and the digests of its blobs.
fn image(folder: &Path, architecture: &str, layers: &[(u64, u64)]) -> (Value, Vec<String>) {
    let layers = layers.iter().map(|(seed, size)| layer(folder, *seed, *size));
    let (descriptors, diff_ids): (Vec<Value>, Vec<String>) = layers.unzip();
    let rootfs = json!({"type": "layers", "diff_ids": diff_ids});
    let config = json!({"architecture": architecture, "os": "linux", "rootfs": rootfs});
    let config = document(folder, CONFIG, &config);
    let digest = |it: &Value| it["digest"].as_str().unwrap().to_owned();
    let blobs = descriptors.iter().chain([&config]).map(digest).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": descriptors,
    });
    (document(folder, MANIFEST, &manifest), blobs)
}

/// Names the layout's one image or index.
fn finish(folder: &Path, tag: &str, mut entry: Value) {
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// A layer whose tar has one file; its descriptor and the digest of the tar.
fn layer(folder: &Path, seed: u64, size: u64) -> (Value, String) {
    let temporary = folder.join("layer");
    let file = Hashing::new(BufWriter::new(File::create(&temporary).unwrap()));
    // Random bytes can't be made smaller: storing them is as good as compressing.
    let mut tar = Hashing::new(GzEncoder::new(file, Compression::none()));
    write_tar(&mut tar, seed, size).unwrap();
    let (gzip, diff_id, _) = tar.finish();
    let (file, digest, length) = gzip.finish().unwrap().finish();
    file.into_inner().unwrap();
    fs::rename(&temporary, blob(folder, &digest)).unwrap();
    let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
    (json!({"mediaType": media_type, "digest": digest, "size": length}), diff_id)
}

/// A tar with one file of pseudo-random bytes.
fn write_tar(out: &mut impl Write, seed: u64, size: u64) -> io::Result<()> {
    let mut header = [0; 512];
    let name = format!("file-{seed}");
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.write_all(&header)?;

    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut block = vec![0; 64 << 10];
    let mut left = usize::try_from(size).unwrap();
    while left > 0 {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let part = left.min(block.len());
        out.write_all(&block[..part])?;
        left -= part;
    }
    let padding = (512 - usize::try_from(size % 512).unwrap()) % 512;
    out.write_all(&vec![0; padding + 1024])
}

/// Writes a JSON document as a blob; its descriptor.
fn document(folder: &Path, media_type: &str, value: &Value) -> Value {
    let bytes = value.to_string();
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
    fs::write(blob(folder, &digest), &bytes).unwrap();
    json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
}

fn blob(folder: &Path, digest: &str) -> std::path::PathBuf {
    folder.join("blobs").join(digest.replace(':', "/"))
}

/// Hashes and counts what is written.
struct Hashing<W> {
    inner: W,
    state: Sha256,
    length: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, state: Sha256::new(), length: 0 }
    }

    /// What was written to, the digest and the number of bytes.
    fn finish(self) -> (W, String, u64) {
        let digest = format!("sha256:{}", hex::encode(self.state.finalize()));
        (self.inner, digest, self.length)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.state.update(&bytes[..written]);
        self.length += u64::try_from(written).unwrap();
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
