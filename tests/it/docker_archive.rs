//! The `docker-archive` transport: Docker, podman and skopeo load what is written and write what is read.

mod interop;

use std::path::Path;

use imagepush::error::Kind;

use crate::support::images::{self, Content, Form};
use crate::support::push::{options, push, run};
use crate::support::validate;

/// Names of archives below a folder: `docker-archive:FOLDER/NAME`.
fn archive(folder: &Path, details: &str) -> String {
    format!("docker-archive:{}/{details}", folder.display())
}

fn oci(folder: &Path, details: &str) -> String {
    format!("oci:{}/{details}", folder.display())
}

/// An image as a layout named `name` below a folder.
fn layout(folder: &Path, name: &str, seed: u64) -> Content {
    layout_of(folder, name, seed, [Form::Gzip, Form::Zstd, Form::Plain])
}

fn layout_of(folder: &Path, name: &str, seed: u64, forms: [Form; 3]) -> Content {
    let layers: Vec<_> =
        (0..).zip(forms).map(|(n, form)| images::layer(seed * 10 + n, 50_000, form)).collect();
    let content = Content::image("linux", "amd64", &layers);
    content.write_layout(&folder.join(name), None);
    content
}

/// The digest of an image's config: what Docker calls its ID.
fn id(content: &Content) -> String {
    content.manifest()["config"]["digest"].as_str().unwrap().to_owned()
}

/// Reads an image of an archive by pushing it into a layout, and checks that it is this one.
async fn assert_holds(folder: &Path, details: &str, content: &Content) {
    let out = tempfile::tempdir().unwrap();
    push(&archive(folder, details), &oci(out.path(), "l:x")).await.unwrap();
    let images = validate::layout(&out.path().join("l"));
    let hex = images["x"].strip_prefix("sha256:").unwrap();
    let manifest = std::fs::read(out.path().join("l/blobs/sha256").join(hex)).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["config"]["digest"], id(content));
    let diff_ids: Vec<_> = manifest["layers"].as_array().unwrap().iter().collect();
    let config = &content.blobs[&id(content)];
    let config: serde_json::Value = serde_json::from_slice(config).unwrap();
    let expected = config["rootfs"]["diff_ids"].as_array().unwrap();
    let digests: Vec<_> = diff_ids.iter().map(|layer| layer["digest"].clone()).collect();
    assert_eq!(digests, *expected);
}

#[tokio::test]
async fn a_second_push_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    layout(folder, "a", 1);
    let destination = archive(folder, "a.tar:r.io/a:1");
    assert!(!push(&oci(folder, "a"), &destination).await.unwrap().already_present);
    let before = validate::snapshot(folder);
    assert!(push(&oci(folder, "a"), &destination).await.unwrap().already_present);
    assert_eq!(validate::snapshot(folder), before);
    assert_eq!(validate::names(folder), ["a", "a.tar"]);
}

#[tokio::test]
async fn images_are_added_to_an_archive_and_replaced_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (one, two, three) =
        (layout(folder, "1", 1), layout(folder, "2", 2), layout(folder, "3", 3));
    push(&oci(folder, "1"), &archive(folder, "a.tar:r.io/a:1")).await.unwrap();
    push(&oci(folder, "2"), &archive(folder, "a.tar:r.io/b:1")).await.unwrap();
    assert_holds(folder, "a.tar:r.io/a:1", &one).await;
    push(&oci(folder, "3"), &archive(folder, "a.tar:r.io/a:1")).await.unwrap();
    assert_holds(folder, "a.tar:r.io/a:1", &three).await;
    assert_holds(folder, "a.tar:r.io/b:1", &two).await;
    assert_eq!(validate::names(folder), ["1", "2", "3", "a.tar"]);
}

#[tokio::test]
async fn a_push_that_fails_leaves_the_archive_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let good = layout(folder, "good", 1);
    let bad = layout(folder, "bad", 2);
    let digest = bad.manifest()["layers"][2]["digest"].as_str().unwrap().to_owned();
    let blob = folder.join("bad/blobs/sha256").join(digest.strip_prefix("sha256:").unwrap());
    let mut bytes = std::fs::read(&blob).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&blob, &bytes).unwrap();
    for existing in [false, true] {
        if existing {
            push(&oci(folder, "good"), &archive(folder, "a.tar:r.io/a:1")).await.unwrap();
        }
        let before = validate::snapshot(folder);
        let error =
            push(&oci(folder, "bad"), &archive(folder, "a.tar:r.io/a:1")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::ContentMismatch);
        assert_eq!(validate::snapshot(folder), before);
    }
    assert_holds(folder, "a.tar:r.io/a:1", &good).await;
}

#[tokio::test]
async fn an_index_needs_a_choice() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    images::index(1).write_layout(&folder.join("i"), None);
    let mut chosen = options(&oci(folder, "i"), &archive(folder, "a.tar:r.io/a:1"));
    let error = run(&chosen).await.unwrap_err();
    assert_eq!(error.kind(), Kind::TransportUnsupported, "{error}");
    assert_eq!(validate::names(folder), ["i"]);
    chosen.platforms = imagepush::options::Platforms::One("linux/arm64".parse().unwrap());
    run(&chosen).await.unwrap();
    let pushed = push(&archive(folder, "a.tar"), &oci(folder, "o")).await.unwrap();
    assert_eq!(pushed.manifests.len(), 1);
}

#[tokio::test]
async fn a_truncated_archive_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    layout(folder, "a", 1);
    push(&oci(folder, "a"), &archive(folder, "a.tar:r.io/a:1")).await.unwrap();
    let path = folder.join("a.tar");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1024]).unwrap();
    let error = push(&archive(folder, "a.tar"), &oci(folder, "o")).await.unwrap_err();
    let expected = format!(
        "opening `{}`: reading archive `{}`: it is truncated: it ends at byte {}, without an end marker",
        archive(folder, "a.tar"),
        path.display(),
        bytes.len() - 1024
    );
    assert!(error.to_string().ends_with(&expected), "{error}");
    assert_eq!(error.kind(), Kind::InvalidImage);
    assert_eq!(validate::names(folder), ["a", "a.tar"]);
}
