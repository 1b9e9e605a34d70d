//! The `oci` transport: what is written is a whole layout, whatever happens, and other tools agree.

mod interop;
mod malformed;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use imagepush::access::Access;
use imagepush::blob::Blob;
use imagepush::error::{Error, Kind};
use imagepush::image::{Descriptor, MediaType};
use imagepush::transport::{self, BlobKind, Role};

use crate::support::images::{self, Content, Form, Layer};
use crate::support::push::{halfway, options, push, run};
use crate::support::validate;

/// Names of layouts below a folder: `oci:FOLDER/NAME`.
fn oci(folder: &Path, details: &str) -> String {
    format!("oci:{}/{details}", folder.display())
}

fn every_kind_of_image() -> Vec<(&'static str, Content)> {
    let empty = Layer::of(&images::tar(&[]), Form::Gzip);
    let layers =
        |form| [images::layer(1, 4000, form), images::layer(2, 300_000, form), empty.clone()];
    let here = images::layer(3, 100, Form::Gzip);
    let elsewhere = images::layer(4, 100, Form::Gzip).foreign("https://example.com/layer");
    vec![
        ("image", images::image(1)),
        ("plain", Content::image("linux", "amd64", &layers(Form::Plain))),
        ("zstd", Content::image("linux", "amd64", &layers(Form::Zstd))),
        ("no layers", Content::image("linux", "amd64", &[])),
        ("index", images::index(20)),
        ("artifact", images::artifact(30)),
        ("foreign", Content::image("windows", "amd64", &[here, elsewhere])),
    ]
}

#[tokio::test]
async fn every_kind_of_image_keeps_its_digest() {
    for (kind, content) in every_kind_of_image() {
        let folder = tempfile::tempdir().unwrap();
        content.write_layout(&folder.path().join("a"), None);
        let pushed = push(&oci(folder.path(), "a"), &oci(folder.path(), "b:x/y:1")).await;
        let pushed = pushed.unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(pushed.digest.to_string(), content.digest(), "{kind}");
        let images = validate::layout(&folder.path().join("b"));
        assert_eq!(images, [("x/y:1".to_owned(), content.digest().to_owned())].into(), "{kind}");
        validate::modes(&folder.path().join("b"));
        assert_eq!(validate::names(folder.path()), ["a", "b"], "{kind}");
    }
}

#[tokio::test]
async fn a_second_push_touches_nothing() {
    for content in [images::image(1), images::index(2)] {
        let folder = tempfile::tempdir().unwrap();
        content.write_layout(&folder.path().join("a"), None);
        let (source, destination) = (oci(folder.path(), "a"), oci(folder.path(), "b:x"));
        assert!(!push(&source, &destination).await.unwrap().already_present);
        let before = validate::snapshot(&folder.path().join("b"));
        assert!(push(&source, &destination).await.unwrap().already_present);
        assert_eq!(validate::snapshot(&folder.path().join("b")), before);
    }
}

#[tokio::test]
async fn images_share_a_layout_and_its_blobs() {
    let folder = tempfile::tempdir().unwrap();
    let shared = images::layer(1, 50_000, Form::Gzip);
    let one = Content::image("linux", "amd64", std::slice::from_ref(&shared));
    let two = Content::image("linux", "amd64", &[shared, images::layer(2, 10, Form::Gzip)]);
    one.write_layout(&folder.path().join("one"), None);
    two.write_layout(&folder.path().join("two"), None);
    push(&oci(folder.path(), "one"), &oci(folder.path(), "l:x")).await.unwrap();
    let pushed = push(&oci(folder.path(), "two"), &oci(folder.path(), "l:y")).await.unwrap();
    assert_eq!((pushed.blobs.sent, pushed.blobs.reused), (2, 1));
    // The name moves, and the image that had it stays.
    push(&oci(folder.path(), "two"), &oci(folder.path(), "l:x")).await.unwrap();
    let expected = [("@0", &one), ("x", &two), ("y", &two)];
    let expected = expected.map(|(name, it)| (name.to_owned(), it.digest().to_owned()));
    assert_eq!(validate::layout(&folder.path().join("l")), expected.into());
}

#[tokio::test]
async fn damaged_blobs_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let layers = [images::layer(1, 50_000, Form::Gzip), images::layer(2, 10, Form::Gzip)];
    let one = Content::image("linux", "amd64", &layers[..1]);
    let two = Content::image("linux", "amd64", &layers);
    one.write_layout(&folder.path().join("one"), None);
    two.write_layout(&folder.path().join("two"), None);
    let damages: [fn(&Path); 4] = [
        |blob| fs::write(blob, "").unwrap(),
        |blob| {
            let mut bytes = fs::read(blob).unwrap();
            bytes[20_000] ^= 1;
            fs::write(blob, bytes).unwrap();
        },
        |blob| fs::remove_file(blob).unwrap(),
        |blob| {
            fs::remove_file(blob).unwrap();
            std::os::unix::fs::symlink("/etc/hostname", blob).unwrap();
        },
    ];
    let target = folder.path().join("l");
    for damage in damages {
        push(&oci(folder.path(), "one"), &oci(folder.path(), "l:x")).await.unwrap();
        let hex = images::digest(&layers[0].bytes).replace("sha256:", "");
        damage(&target.join("blobs/sha256").join(hex));
        push(&oci(folder.path(), "two"), &oci(folder.path(), "l:x")).await.unwrap();
        validate::layout(&target);
        fs::remove_dir_all(&target).unwrap();
    }
    // A push of what seems to be in place notices a file that a power failure left empty.
    push(&oci(folder.path(), "one"), &oci(folder.path(), "l:x")).await.unwrap();
    let hex = images::digest(&layers[0].bytes).replace("sha256:", "");
    damages[0](&target.join("blobs/sha256").join(hex));
    push(&oci(folder.path(), "one"), &oci(folder.path(), "l:x")).await.unwrap();
    validate::layout(&target);
}

#[test]
fn eight_processes_lose_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let contents: Vec<Content> = (0..8).map(|n| images::image(n / 2)).collect();
    for (n, content) in contents.iter().enumerate() {
        content.write_layout(&folder.path().join(format!("source-{n}")), None);
    }
    let existing = images::image(100);
    existing.write_layout(&folder.path().join("existing"), Some("old"));
    for target in ["absent", "existing"] {
        let push = |n: usize| {
            let (source, name) = (format!("source-{n}"), format!("{target}:tag-{n}"));
            let mut command = Command::new(env!("CARGO_BIN_EXE_imagepush"));
            command.args(["push", &oci(folder.path(), &source), &oci(folder.path(), &name)]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let processes: Vec<_> = (0..contents.len()).map(push).collect();
        for mut process in processes {
            assert!(process.wait().unwrap().success());
        }
        let mut expected: Vec<(String, String)> = (0..)
            .zip(&contents)
            .map(|(n, content): (usize, _)| (format!("tag-{n}"), content.digest().to_owned()))
            .collect();
        if target == "existing" {
            expected.push(("old".into(), existing.digest().into()));
        }
        let images = validate::layout(&folder.path().join(target));
        assert_eq!(images, expected.into_iter().collect(), "{target}");
    }
}

#[tokio::test]
async fn what_is_not_committed_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    images::image(1).write_layout(&folder.path().join("existing"), Some("x"));
    fs::create_dir(folder.path().join("empty")).unwrap();
    let before = validate::snapshot(folder.path());
    let paths = |snapshot: std::collections::BTreeMap<_, _>| -> Vec<std::path::PathBuf> {
        snapshot.into_keys().collect()
    };
    for target in ["absent:x", "empty:x", "existing:x", "existing"] {
        let reference = oci(folder.path(), target);
        let (destination, manifest) = halfway(&reference).await;
        drop(destination);
        assert_eq!(paths(validate::snapshot(folder.path())), paths(before.clone()), "{target}");

        let (destination, _) = halfway(&reference).await;
        destination.put_manifest(&manifest, Role::Named).await.unwrap();
        // Nobody sees it yet.
        let index = fs::read(folder.path().join("existing/index.json")).unwrap();
        assert!(!String::from_utf8(index).unwrap().contains(manifest.digest().hex()));
        drop(destination);
        assert_eq!(paths(validate::snapshot(folder.path())), paths(before.clone()), "{target}");
    }

    let (destination, manifest) = halfway(&oci(folder.path(), "empty")).await;
    destination.put_manifest(&manifest, Role::Named).await.unwrap();
    destination.commit().await.unwrap();
    assert_eq!(validate::layout(&folder.path().join("empty")).len(), 1);
}

#[tokio::test]
async fn a_broken_stream_leaves_nothing_and_can_be_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let reference = transport::parse(&oci(folder.path(), "l:x")).unwrap();
    let destination = reference.destination(&Access::default()).await.unwrap();
    let whole = images::random(1, 600_000);
    let descriptor = Descriptor::of(MediaType::OCTET_STREAM, &whole);
    let first = Bytes::copy_from_slice(&whole[..300_000]);
    let broken = Error::new(Kind::NetworkError, "the connection broke");
    let broken = stream::iter([Ok(first.clone()), Err(broken)]).boxed();
    let error = destination
        .put_blob(Blob::verified(broken, &descriptor), BlobKind::Layer)
        .await
        .unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.kind()),
        ("the connection broke", Kind::NetworkError)
    );
    // The same of a source that sends other bytes than it should.
    let short = stream::iter([Ok(first)]).boxed();
    let blob = Blob::verified(short, &descriptor);
    let error = destination.put_blob(blob, BlobKind::Layer).await.unwrap_err();
    assert_eq!(error.to_string(), "the content has 300000 bytes instead of 600000");
    let files = validate::snapshot(folder.path());
    let files: Vec<_> = files.keys().filter(|path| path.is_file()).collect();
    assert_eq!(files, [] as [&std::path::PathBuf; 0]);

    let blob = Blob::verified(stream::iter([Ok(Bytes::from(whole))]).boxed(), &descriptor);
    destination.put_blob(blob, BlobKind::Layer).await.unwrap();
}

#[tokio::test]
async fn a_docker_image_becomes_an_oci_image() {
    let folder = tempfile::tempdir().unwrap();
    let layers = [images::layer(1, 5000, Form::Gzip)];
    let content = Content::docker_image("linux", "amd64", &layers);
    content.write_layout(&folder.path().join("a"), None);
    let pushed = run(&options(&oci(folder.path(), "a"), &oci(folder.path(), "b"))).await.unwrap();
    assert_eq!(pushed.media_type, MediaType::OCI_MANIFEST);
    let expected = Content::image("linux", "amd64", &layers);
    assert_eq!(pushed.source.digest.to_string(), content.digest());
    let written = validate::layout(&folder.path().join("b"))["@0"].clone();
    let manifest = fs::read(folder.path().join("b/blobs/sha256").join(&written[7..])).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["layers"], expected.manifest()["layers"]);
}
