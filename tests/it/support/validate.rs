//! Reads a whole layout or directory anew, with nothing of the product's own code, and hashes every byte of it.
//!
//! Panics with what is wrong. Returns what is there, so that a test can compare.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::images::digest;

/// Files of a layout beside its blobs.
const LAYOUT_FILES: [&str; 4] = ["oci-layout", "index.json", "blobs", ".imagepush.lock"];

/// Validates a layout: every blob has its digest, every image is there whole, and nothing else lies around.
/// Returns the images by name, unnamed ones by `@` and their place.
pub(crate) fn layout(path: &Path) -> BTreeMap<String, String> {
    for name in names(path) {
        assert!(LAYOUT_FILES.contains(&name.as_str()), "`{name}` does not belong into a layout");
    }
    images_of_layout(path)
}

fn images_of_layout(path: &Path) -> BTreeMap<String, String> {
    let marker = json(&path.join("oci-layout"));
    assert_eq!(marker, serde_json::json!({"imageLayoutVersion": "1.0.0"}));
    assert_eq!(names(&path.join("blobs")), ["sha256"]);
    let blobs = path.join("blobs/sha256");
    let contents: BTreeMap<String, Vec<u8>> = names(&blobs)
        .into_iter()
        .map(|name| (format!("sha256:{name}"), fs::read(blobs.join(name)).unwrap()))
        .collect();
    for (name, bytes) in &contents {
        assert_eq!(*name, digest(bytes), "a blob has another digest than its name");
    }
    let mut images = BTreeMap::new();
    for (place, entry) in list(&json(&path.join("index.json")), "manifests").iter().enumerate() {
        whole(entry, &contents, &mut BTreeSet::new());
        let name = &entry["annotations"]["org.opencontainers.image.ref.name"];
        let name = name.as_str().map_or(format!("@{place}"), ToOwned::to_owned);
        let known = images.insert(name.clone(), text(&entry["digest"]));
        assert_eq!(known, None, "two images are named `{name}`");
    }
    images
}

/// Validates what the `dir` transport writes: the flat layout and the OCI layout, with the same content, and nothing else.
/// Returns the digest of the image.
pub(crate) fn dir(path: &Path) -> String {
    let images = images_of_layout(path);
    let named: Vec<(&str, &str)> = images.iter().map(|(n, d)| (n.as_str(), d.as_str())).collect();
    let [("@0", named)] = named.as_slice() else { panic!("not one unnamed image: {images:?}") };
    let version = fs::read_to_string(path.join("version")).unwrap();
    assert_eq!(version, "Directory Transport Version: 1.1\n");

    let mut flat =
        BTreeSet::from(["version", "oci-layout", "index.json", "blobs"].map(String::from));
    for hex in names(&path.join("blobs/sha256")) {
        let blob = fs::read(path.join("blobs/sha256").join(&hex)).unwrap();
        let instance = format!("{hex}.manifest.json");
        let name = if *named == format!("sha256:{hex}") {
            "manifest.json".into()
        } else if path.join(&instance).exists() {
            instance
        } else {
            hex
        };
        assert!(fs::read(path.join(&name)).unwrap() == blob, "`{name}` and its blob differ");
        flat.insert(name);
    }
    assert_eq!(names(path).into_iter().collect::<BTreeSet<_>>(), flat);
    (*named).to_owned()
}

/// Everything below a path with what tells a changed file from an unchanged one: for tests that nothing is touched.
pub(crate) fn snapshot(path: &Path) -> BTreeMap<PathBuf, (u64, u64, i64, i64)> {
    let mut found = BTreeMap::new();
    for name in names(path) {
        let below = path.join(name);
        let metadata = below.symlink_metadata().unwrap();
        if metadata.is_dir() {
            found.extend(snapshot(&below));
        }
        let state = (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        found.insert(below, state);
    }
    found
}

/// Fails unless every file below a path can be read by all and every directory entered.
pub(crate) fn modes(path: &Path) {
    for below in snapshot(path).into_keys().chain([path.to_owned()]) {
        let metadata = below.metadata().unwrap();
        let expected = if metadata.is_dir() { 0o755 } else { 0o644 };
        assert_eq!(metadata.permissions().mode() & 0o7777, expected, "{}", below.display());
    }
}

/// The names in a directory, sorted.
pub(crate) fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Fails unless everything that a descriptor points to is there.
fn whole(descriptor: &Value, contents: &BTreeMap<String, Vec<u8>>, seen: &mut BTreeSet<String>) {
    let digest = text(&descriptor["digest"]);
    let media_type = text(&descriptor["mediaType"]);
    let foreign = media_type.contains("nondistributable") || media_type.contains("foreign");
    let Some(bytes) = contents.get(&digest) else {
        assert!(foreign, "`{digest}` ({media_type}) is missing");
        return;
    };
    assert_eq!(descriptor["size"], bytes.len(), "`{digest}` has another size");
    let manifest = ["manifest", "index"].iter().any(|word| media_type.contains(word));
    if !manifest || !seen.insert(digest) {
        return;
    }
    let document: Value = serde_json::from_slice(bytes).unwrap();
    let config = document.get("config").into_iter();
    for below in config.chain(list(&document, "layers")).chain(list(&document, "manifests")) {
        whole(below, contents, seen);
    }
}

fn list<'a>(document: &'a Value, field: &str) -> &'a [Value] {
    document.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
