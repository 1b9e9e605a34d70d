//! The `dir` transport: one directory that is the flat layout and an OCI layout at once, replaced in one step.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use imagepush::access::Access;
use imagepush::transport::{self, Role};

use crate::support::images::{self, Content, Form};
use crate::support::push::{halfway, push};
use crate::support::{tools, validate};

fn named(transport: &str, folder: &Path, name: &str) -> String {
    format!("{transport}:{}/{name}", folder.display())
}

fn hex(digest: &str) -> String {
    digest.replace("sha256:", "")
}

/// An image of layers with these seeds.
fn of_layers(seeds: &[u64]) -> Content {
    let layers: Vec<_> = seeds.iter().map(|n| images::layer(*n, 20_000, Form::Gzip)).collect();
    Content::image("linux", "amd64", &layers)
}

#[tokio::test]
async fn every_kind_of_image_keeps_its_digest() {
    let layers = |form| [images::layer(1, 4000, form), images::layer(2, 300_000, form)];
    let cases = [
        ("image", images::image(1)),
        ("plain", Content::image("linux", "amd64", &layers(Form::Plain))),
        ("zstd", Content::image("linux", "amd64", &layers(Form::Zstd))),
        ("no layers", Content::image("linux", "amd64", &[])),
        ("docker", Content::docker_image("linux", "amd64", &layers(Form::Gzip))),
        ("index", images::index(20)),
        ("artifact", images::artifact(30)),
    ];
    for (kind, content) in cases {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        content.write_layout(&folder.join("a"), None);
        let pushed = push(&named("oci", folder, "a"), &named("dir", folder, "b")).await;
        let pushed = pushed.unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(pushed.digest.to_string(), content.digest(), "{kind}");
        assert_eq!(validate::dir(&folder.join("b")), content.digest(), "{kind}");
        validate::modes(&folder.join("b"));

        push(&named("dir", folder, "b"), &named("dir", folder, "c")).await.unwrap();
        assert_eq!(validate::dir(&folder.join("c")), content.digest(), "{kind}");
        assert_eq!(validate::names(folder), ["a", "b", "c"], "{kind}");
    }
}

#[tokio::test]
async fn another_image_takes_the_place_and_only_what_is_new_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (one, two) = (of_layers(&[1, 2]), of_layers(&[1, 3]));
    one.write_layout(&folder.join("one"), None);
    two.write_layout(&folder.join("two"), None);
    let target = folder.join("d");
    push(&named("oci", folder, "one"), &named("dir", folder, "d")).await.unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o750)).unwrap();

    let before = validate::snapshot(&target);
    let again = push(&named("oci", folder, "one"), &named("dir", folder, "d")).await.unwrap();
    assert!(again.already_present);
    assert_eq!(validate::snapshot(&target), before);

    let pushed = push(&named("oci", folder, "two"), &named("dir", folder, "d")).await.unwrap();
    assert_eq!((pushed.blobs.sent, pushed.blobs.reused), (2, 1));
    assert_eq!(validate::dir(&target), two.digest());
    assert_eq!(target.metadata().unwrap().permissions().mode() & 0o7777, 0o750);
    assert_eq!(validate::names(folder), ["d", "one", "two"]);
}

#[tokio::test]
async fn damaged_blobs_are_not_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let layer = images::layer(1, 20_000, Form::Gzip);
    of_layers(&[1]).write_layout(&folder.join("one"), None);
    of_layers(&[1, 2]).write_layout(&folder.join("two"), None);
    let damages: [fn(&Path); 4] = [
        |blob| fs::write(blob, "").unwrap(),
        |blob| {
            let mut bytes = fs::read(blob).unwrap();
            bytes[10_000] ^= 1;
            fs::write(blob, bytes).unwrap();
        },
        |blob| fs::remove_file(blob).unwrap(),
        |blob| {
            fs::remove_file(blob).unwrap();
            symlink("/etc/hostname", blob).unwrap();
        },
    ];
    for damage in damages {
        push(&named("oci", folder, "one"), &named("dir", folder, "d")).await.unwrap();
        damage(&folder.join("d").join(hex(&images::digest(&layer.bytes))));
        push(&named("oci", folder, "two"), &named("dir", folder, "d")).await.unwrap();
        validate::dir(&folder.join("d"));
        fs::remove_dir_all(folder.join("d")).unwrap();
    }
}

#[tokio::test]
async fn skopeo_reads_both_layouts_and_we_read_its_own() {
    let layers = [images::layer(1, 4000, Form::Gzip)];
    let docker = Content::docker_image("linux", "amd64", &layers);
    for content in [images::image(1), images::index(2), docker] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        content.write_layout(&folder.join("a"), None);
        push(&named("oci", folder, "a"), &named("dir", folder, "ours")).await.unwrap();
        for transport in ["dir", "oci"] {
            let text = tools::skopeo(&["inspect", &named(transport, folder, "ours")]);
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["Digest"], content.digest(), "{transport}");
        }

        let copy = |source: &str, destination: &str| {
            tools::skopeo(&["copy", "-q", "--all", source, destination]);
        };
        copy(&named("dir", folder, "ours"), &named("oci", folder, "layout:x"));
        copy(&named("oci", folder, "ours"), &named("dir", folder, "theirs"));
        copy(&named("oci", folder, "layout:x"), &named("dir", folder, "back"));
        push(&named("dir", folder, "theirs"), &named("dir", folder, "again")).await.unwrap();
        assert_eq!(validate::dir(&folder.join("again")), content.digest());

        // What skopeo wrote is ours to replace; even the same image gets its OCI layout.
        push(&named("oci", folder, "a"), &named("dir", folder, "theirs")).await.unwrap();
        assert_eq!(validate::dir(&folder.join("theirs")), content.digest());
        // And the other way round.
        copy(&named("oci", folder, "a"), &named("dir", folder, "ours"));
    }
}

#[test]
fn of_eight_processes_one_is_last() {
    let folder = tempfile::tempdir().unwrap();
    let contents: Vec<Content> = (0..8).map(images::image).collect();
    for (n, content) in contents.iter().enumerate() {
        content.write_layout(&folder.path().join(format!("source-{n}")), None);
    }
    let processes: Vec<_> = (0..contents.len())
        .map(|n| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_imagepush"));
            let source = named("oci", folder.path(), &format!("source-{n}"));
            command.args(["push", &source, &named("dir", folder.path(), "d")]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut process in processes {
        assert!(process.wait().unwrap().success());
    }
    let last = validate::dir(&folder.path().join("d"));
    assert!(contents.iter().any(|content| content.digest() == last));
    assert_eq!(validate::names(folder.path()).len(), 9, "something is left behind");
}

#[tokio::test]
async fn what_is_not_committed_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    of_layers(&[1]).write_layout(&folder.join("a"), None);
    push(&named("oci", folder, "a"), &named("dir", folder, "existing")).await.unwrap();
    fs::create_dir(folder.join("empty")).unwrap();
    let before = validate::snapshot(folder);
    for target in ["absent", "empty", "existing"] {
        let reference = named("dir", folder, target);
        drop(halfway(&reference).await);
        assert_eq!(validate::snapshot(folder), before, "{target}");
        let (destination, manifest) = halfway(&reference).await;
        destination.put_manifest(&manifest, Role::Named).await.unwrap();
        drop(destination);
        assert_eq!(validate::snapshot(folder), before, "{target}");
    }
    // What a killed process left goes with the next push.
    fs::create_dir_all(folder.join(".empty.imagepush-0123456789abcdef.tmp/blobs")).unwrap();
    let (destination, manifest) = halfway(&named("dir", folder, "empty")).await;
    destination.put_manifest(&manifest, Role::Named).await.unwrap();
    destination.commit().await.unwrap();
    assert_eq!(validate::dir(&folder.join("empty")), manifest.digest().to_string());
    assert_eq!(validate::names(folder), ["a", "empty", "existing"]);
}

#[tokio::test]
async fn places_that_are_not_ours_stay_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    of_layers(&[1]).write_layout(&folder.join("layout"), None);
    fs::write(folder.join("file"), "precious").unwrap();
    for (name, version) in [("other", "1\n"), ("newer", "Directory Transport Version: 2.0\n")] {
        fs::create_dir(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("version"), version).unwrap();
    }
    let before = validate::snapshot(folder);
    let refused = |name: &str| {
        format!("`[folder]/{name}` is neither empty nor an image directory; it is left as it is")
    };
    let cases = [
        ("layout", refused("layout")),
        ("other", refused("other")),
        (
            "newer",
            "`[folder]/newer` has version `2.0` of the image directory, which is not known".into(),
        ),
        ("file", "cannot open `[folder]/file`: Not a directory (os error 20)".into()),
        ("no/d", "cannot open `[folder]/no`: No such file or directory (os error 2)".into()),
    ];
    for (target, message) in cases {
        let reference = transport::parse(&named("dir", folder, target)).unwrap();
        let error = reference.destination(&Access::default()).await.err().unwrap();
        let text = error.to_string().replace(&folder.display().to_string(), "[folder]");
        assert_eq!((text, error.exit_code()), (message, 1));
        push(&named("oci", folder, "layout"), &named("dir", folder, target)).await.unwrap_err();
        assert_eq!(validate::snapshot(folder), before, "{target}");
    }
}

/// Makes a directory, damages it, pushes it; compares the whole message.
async fn check(damage: impl FnOnce(&Path), message: &str) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let content = of_layers(&[1]);
    content.write_layout(&folder.join("a"), None);
    push(&named("oci", folder, "a"), &named("dir", folder, "d")).await.unwrap();
    damage(&folder.join("d"));
    let error = push(&named("dir", folder, "d"), &named("dir", folder, "e")).await.unwrap_err();
    let text = error
        .to_string()
        .replace(&folder.display().to_string(), "[folder]")
        .replace(&layer_hex(), "[layer]");
    let start = "pushing `dir:[folder]/d` to `dir:[folder]/e`: ";
    assert_eq!((text.strip_prefix(start), error.exit_code()), (Some(message), 1), "{text}");
    assert!(!folder.join("e").exists());
}

fn layer_hex() -> String {
    hex(&images::digest(&images::layer(1, 20_000, Form::Gzip).bytes))
}

#[tokio::test]
async fn malformed_directories_are_errors_that_say_what_is_wrong() {
    let size = images::layer(1, 20_000, Form::Gzip).bytes.len();
    check(
        |dir| fs::remove_dir_all(dir).unwrap(),
        "cannot open `[folder]/d`: No such file or directory (os error 2)",
    )
    .await;
    check(
        |dir| fs::remove_file(dir.join("manifest.json")).unwrap(),
        "`[folder]/d` is not an image directory: it has no `manifest.json`",
    )
    .await;
    check(
        |dir| fs::write(dir.join("manifest.json"), "{").unwrap(),
        "reading `[folder]/d/manifest.json`: \
         the manifest is malformed: EOF while parsing an object at line 1 column 1",
    )
    .await;
    check(
        |dir| fs::File::create(dir.join("manifest.json")).unwrap().set_len((4 << 20) + 1).unwrap(),
        "reading the manifest: `[folder]/d/manifest.json` has 4194305 bytes, \
         more than the limit of 4194304",
    )
    .await;
    check(
        |dir| fs::remove_file(dir.join(layer_hex())).unwrap(),
        "reading blob `sha256:[layer]`: `sha256:[layer]` is missing from directory `[folder]/d`",
    )
    .await;
    check(
        |dir| fs::write(dir.join(layer_hex()), "short").unwrap(),
        &format!("reading blob `sha256:[layer]`: the content has 5 bytes instead of {size}"),
    )
    .await;
    check(
        |dir| {
            fs::remove_file(dir.join(layer_hex())).unwrap();
            symlink("/etc/hostname", dir.join(layer_hex())).unwrap();
        },
        "reading blob `sha256:[layer]`: \
         `[folder]/d/[layer]` is a symbolic link, not a regular file",
    )
    .await;
}
