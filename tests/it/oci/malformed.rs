//! What a layout can be but should not: each gets an error that says what it is, and nothing is written.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use imagepush::access::Access;
use imagepush::error::Side;
use imagepush::transport;
use sha2::{Digest as _, Sha256};

use super::{oci, push};
use crate::support::images::{self, Content, Form, Layer};
use crate::support::validate;

/// Makes a layout, damages it, pushes it; compares the whole message, in which the folder prints as `[folder]`
/// and the digests of the layer and of the manifest as `[layer]` and `[manifest]`.
async fn check(damage: impl FnOnce(&Path), name: &str, message: &str, code: u8) {
    let folder = tempfile::tempdir().unwrap();
    let (content, layer) = content();
    let layout = folder.path().join("a");
    content.write_layout(&layout, Some("x"));
    let short = |digest: &str| digest.replace("sha256:", "");
    let (layer, manifest) = (short(&images::digest(&layer.bytes)), short(content.digest()));
    for (name, hex) in [("layer", &layer), ("manifest", &manifest)] {
        symlink(layout.join("blobs/sha256").join(hex), folder.path().join(name)).unwrap();
    }
    damage(folder.path());
    let error = push(&oci(folder.path(), &format!("a{name}")), &oci(folder.path(), "b")).await;
    let error = error.unwrap_err();
    let text = error
        .to_string()
        .replace(&folder.path().display().to_string(), "[folder]")
        .replace(&layer, "[layer]")
        .replace(&manifest, "[manifest]");
    let start = format!("pushing `oci:[folder]/a{name}` to `oci:[folder]/b`: ");
    let Some(text) = text.strip_prefix(&start) else { panic!("{text}") };
    assert_eq!((text, error.exit_code()), (message, code));
    assert_eq!(error.side().map(Side::as_str), Some("source"), "{text}");
    assert!(!folder.path().join("b").exists());
}

fn content() -> (Content, Layer) {
    let layer = images::layer(1, 5000, Form::Gzip);
    (Content::image("linux", "amd64", std::slice::from_ref(&layer)), layer)
}

fn remove(name: &'static str) -> impl Fn(&Path) {
    move |folder| {
        let path = folder.join(name);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }
}

fn write<'a>(name: &'a str, content: &'a str) -> impl Fn(&Path) + 'a {
    move |folder| fs::write(folder.join(name), content).unwrap()
}

#[tokio::test]
async fn what_is_not_a_layout() {
    let missing = "cannot open `[folder]/a`: No such file or directory (os error 2)";
    check(remove("a"), "", missing, 1).await;
    let file = |folder: &Path| {
        fs::remove_dir_all(folder.join("a")).unwrap();
        fs::write(folder.join("a"), "").unwrap();
    };
    check(file, "", "cannot open `[folder]/a`: Not a directory (os error 20)", 1).await;
    let unmarked = "`[folder]/a` is not an OCI layout: it has no `oci-layout` file";
    check(remove("a/oci-layout"), "", unmarked, 1).await;
    check(
        write("a/oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#),
        "",
        "reading layout `[folder]/a`: version `2.0.0` of the OCI layout is not supported",
        1,
    )
    .await;
    check(
        write("a/index.json", "{"),
        "",
        "reading layout `[folder]/a`: `index.json` is malformed: \
         EOF while parsing an object at line 1 column 1",
        1,
    )
    .await;
    let large = |folder: &Path| {
        let file = fs::File::create(folder.join("a/index.json")).unwrap();
        file.set_len((16 << 20) + 1).unwrap();
    };
    let limit = "`[folder]/a/index.json` has 16777217 bytes, more than the limit of 16777216";
    check(large, "", limit, 1).await;
}

#[tokio::test]
async fn an_image_that_is_not_there() {
    let none = |_: &Path| {};
    check(none, ":y", "no image in `[folder]/a` is named `y`", 1).await;
    check(none, ":@1", "`[folder]/a` holds 1 images, counted from 0, and none at 1", 1).await;
    check(remove("a/index.json"), "", "`[folder]/a` holds no image", 1).await;
    let two = |folder: &Path| {
        let (one, two) = (images::image(1), images::image(2));
        images::write_layout(&folder.join("a"), &[(&one, Some("x")), (&two, None)]);
    };
    let several = "`[folder]/a` holds 2 images and the reference names none";
    check(two, "", several, 2).await;
}

#[tokio::test]
async fn content_that_is_damaged() {
    check(
        remove("a/blobs/sha256"),
        "",
        "reading the manifest: `sha256:[manifest]` is missing from layout `[folder]/a`",
        1,
    )
    .await;
    // Found by a link, since its name is not known here.
    let manifest = |folder: &Path| folder.join("manifest").canonicalize().unwrap();
    let other = move |folder: &Path| {
        let bytes = fs::read(manifest(folder)).unwrap();
        fs::write(manifest(folder), vec![b' '; bytes.len()]).unwrap();
    };
    let (content, own) = content();
    let size = content.blobs[content.digest()].len();
    let spaces = hex::encode(Sha256::digest(vec![b' '; size]));
    let start = "reading layout `[folder]/a`: manifest `sha256:[manifest]` has";
    check(other, "", &format!("{start} the digest `sha256:{spaces}`"), 1).await;
    let cut = move |folder: &Path| fs::write(manifest(folder), "{}").unwrap();
    check(cut, "", &format!("{start} 2 bytes instead of {size}"), 1).await;
    // Not a byte of it is read, and so nothing is said of the bound on manifests.
    let grown = move |folder: &Path| fs::write(manifest(folder), vec![b' '; 5 << 20]).unwrap();
    check(grown, "", &format!("{start} 5242880 bytes instead of {size}"), 1).await;
    let blob = "reading blob `sha256:[layer]`: ";
    let layer = |rest: &str| format!("{blob}{rest}");
    let gone =
        |folder: &Path| fs::remove_file(folder.join("layer").canonicalize().unwrap()).unwrap();
    check(gone, "", &layer("`sha256:[layer]` is missing from layout `[folder]/a`"), 1).await;
    let bytes = own.bytes;
    let size = bytes.len();
    let short = bytes[1..].to_vec();
    let cut = move |folder: &Path| fs::write(folder.join("layer"), &short).unwrap();
    check(cut, "", &layer(&format!("the content has {} bytes instead of {size}", size - 1)), 1)
        .await;
    let mut flipped = bytes;
    flipped[100] ^= 1;
    let digest = images::digest(&flipped);
    let flip = move |folder: &Path| fs::write(folder.join("layer"), &flipped).unwrap();
    let other = format!("the content has the digest `{digest}` instead of `sha256:[layer]`");
    check(flip, "", &layer(&other), 1).await;
    let linked = |folder: &Path| {
        let path = folder.join("layer").canonicalize().unwrap();
        fs::remove_file(&path).unwrap();
        symlink("/etc/hostname", path).unwrap();
    };
    let link = "`[folder]/a/blobs/sha256/[layer]` is a symbolic link, not a regular file";
    check(linked, "", &layer(link), 1).await;
    let outside = |folder: &Path| {
        fs::rename(folder.join("a/blobs"), folder.join("blobs")).unwrap();
        symlink(folder.join("blobs"), folder.join("a/blobs")).unwrap();
    };
    let not_followed =
        "reading the manifest: cannot open `[folder]/a/blobs`: Not a directory (os error 20)";
    check(outside, "", not_followed, 1).await;
}

#[tokio::test]
async fn places_that_are_not_ours_stay_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    images::image(1).write_layout(&folder.join("a"), None);
    fs::create_dir_all(folder.join("full/precious")).unwrap();
    fs::write(folder.join("file"), "precious").unwrap();
    symlink("nowhere", folder.join("dangling")).unwrap();
    let before = validate::snapshot(folder);
    let cases = [
        ("full", "`[folder]/full` is neither empty nor an OCI layout; it is left as it is"),
        ("file", "cannot open `[folder]/file`: Not a directory (os error 20)"),
        ("no/b", "cannot open `[folder]/no`: No such file or directory (os error 2)"),
        ("dangling", "cannot resolve `[folder]/dangling`: No such file or directory (os error 2)"),
        ("a:@0", "`oci:[folder]/a:@0` names a place in `index.json`, which can only be read"),
    ];
    for (target, message) in cases {
        let reference = transport::parse(&oci(folder, target)).unwrap();
        let error = reference.destination(&Access::default()).await.err().unwrap();
        let text = error.to_string().replace(&folder.display().to_string(), "[folder]");
        assert_eq!(text, message);
        push(&oci(folder, "a"), &oci(folder, target)).await.unwrap_err();
        assert_eq!(validate::snapshot(folder), before, "{target}");
    }
}
