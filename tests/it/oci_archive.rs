//! The `oci-archive` transport: one file, old or new, that other tools agree on.

mod interop;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use imagepush::engine::{self, NoProgress, Progress};
use imagepush::error::Kind;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::support::images::{self, Content};
use crate::support::push::{options, push};
use crate::support::{tools, validate};

/// Names of archives below a folder: `oci-archive:FOLDER/NAME`.
fn archive(folder: &Path, details: &str) -> String {
    format!("oci-archive:{}/{details}", folder.display())
}

fn oci(folder: &Path, details: &str) -> String {
    format!("oci:{}/{details}", folder.display())
}

/// Unpacks an archive of ours, checks every byte of it, and returns its images by name.
fn validated(path: &Path) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().to_str().unwrap();
    tools::run("tar", &["-C", into, "-xf", path.to_str().unwrap()]);
    validate::layout(folder.path())
}

fn named(name: &str, content: &Content) -> (String, String) {
    (name.to_owned(), content.digest().to_owned())
}

#[tokio::test]
async fn every_kind_of_image_keeps_its_digest() {
    for content in [images::image(1), images::index(2), images::artifact(3)] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        content.write_layout(&folder.join("a"), None);
        push(&oci(folder, "a"), &archive(folder, "a.tar:x/y:1")).await.unwrap();
        assert_eq!(validated(&folder.join("a.tar")), [named("x/y:1", &content)].into());
        let before = validate::snapshot(folder);
        let again = push(&oci(folder, "a"), &archive(folder, "a.tar:x/y:1")).await.unwrap();
        assert!(again.already_present);
        assert_eq!(validate::snapshot(folder), before);
        push(&archive(folder, "a.tar"), &oci(folder, "b:x")).await.unwrap();
        assert_eq!(validate::layout(&folder.join("b")), [named("x", &content)].into());
        assert_eq!(validate::names(folder), ["a", "a.tar", "b"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_push_that_waits_for_another_one_can_be_called_off() {
    for transport in ["oci-archive", "docker-archive"] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        images::image(1).write_layout(&folder.join("1"), None);
        images::image(2).write_layout(&folder.join("2"), None);
        let to = |name: &str| format!("{transport}:{}/a.tar:x/y:{name}", folder.display());
        push(&oci(folder, "1"), &to("1")).await.unwrap();
        let before = validate::snapshot(folder);
        let other = std::fs::File::open(folder.join("a.tar")).unwrap();
        other.lock().unwrap();

        let (options, cancel) = (options(&oci(folder, "2"), &to("2")), CancellationToken::new());
        let progress: Arc<dyn Progress> = Arc::new(NoProgress);
        let start = Instant::now();
        let cancelling = async {
            // By then it waits for nothing else.
            sleep(Duration::from_secs(30)).await;
            cancel.cancel();
        };
        let (pushed, ()) = tokio::join!(engine::push(&options, &progress, &cancel), cancelling);
        let took = start.elapsed().as_secs();
        assert_eq!((pushed.unwrap_err().kind(), took), (Kind::Cancelled, 30), "{transport}");
        assert_eq!(validate::snapshot(folder), before, "{transport}");
    }
}

#[tokio::test]
async fn other_named_images_stay() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (one, two, three) = (images::image(1), images::index(2), images::image(3));
    for (name, content) in [("1", &one), ("2", &two), ("3", &three)] {
        content.write_layout(&folder.join(name), None);
    }
    push(&oci(folder, "1"), &archive(folder, "a.tar:one")).await.unwrap();
    push(&oci(folder, "2"), &archive(folder, "a.tar:two")).await.unwrap();
    push(&oci(folder, "3"), &archive(folder, "a.tar:one")).await.unwrap();
    let images = validated(&folder.join("a.tar"));
    assert_eq!(images, [named("one", &three), named("two", &two)].into());
    let error = push(&archive(folder, "a.tar"), &oci(folder, "b")).await.unwrap_err();
    let path = folder.join("a.tar");
    let expected = format!("`{}` holds 2 images and the reference names none", path.display());
    assert!(error.to_string().ends_with(&expected), "{error}");
    assert_eq!(error.exit_code(), 2);
}

#[tokio::test]
async fn a_push_that_fails_leaves_the_archive_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (good, bad) = (images::image(1), images::image(2));
    good.write_layout(&folder.join("good"), None);
    bad.write_layout(&folder.join("bad"), None);
    let digest = bad.manifest()["layers"][1]["digest"].as_str().unwrap().to_owned();
    let blob = folder.join("bad/blobs/sha256").join(digest.strip_prefix("sha256:").unwrap());
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes.truncate(bytes.len() / 2);
    std::fs::write(&blob, &bytes).unwrap();
    for existing in [false, true] {
        if existing {
            push(&oci(folder, "good"), &archive(folder, "a.tar:x")).await.unwrap();
        }
        let before = validate::snapshot(folder);
        let error = push(&oci(folder, "bad"), &archive(folder, "a.tar:x")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::ContentMismatch, "{error}");
        assert_eq!(validate::snapshot(folder), before);
    }
    assert_eq!(validated(&folder.join("a.tar")), [named("x", &good)].into());
}

#[tokio::test]
async fn archives_that_are_not_whole_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    images::image(1).write_layout(&folder.join("a"), None);
    push(&oci(folder, "a"), &archive(folder, "a.tar:x")).await.unwrap();
    let path = folder.join("a.tar");
    let whole = std::fs::read(&path).unwrap();
    let length = whole.len() - 1024;
    let truncated = format!("it is truncated: it ends at byte {length}, without an end marker");
    let cases: [(&[u8], &str); 2] =
        [(&whole[..length], &truncated), (b"no archive", "it is not a tar archive")];
    for (bytes, cause) in cases {
        std::fs::write(&path, bytes).unwrap();
        let reading = format!("reading archive `{}`: {cause}", path.display());
        let error = push(&archive(folder, "a.tar:x"), &oci(folder, "b")).await.unwrap_err();
        assert!(error.to_string().ends_with(&reading), "{error}");
        assert_eq!(error.kind(), Kind::InvalidImage);
        let error = push(&oci(folder, "a"), &archive(folder, "a.tar:x")).await.unwrap_err();
        let refused = format!("`{}` is there and is not an OCI archive: {reading}", path.display());
        assert!(error.to_string().ends_with(&refused), "{error}");
        assert_eq!(error.kind(), Kind::DestinationExists);
        assert!(std::fs::read(&path).unwrap() == bytes);
        assert_eq!(validate::names(folder), ["a", "a.tar"]);
    }
}
