//! Layouts of skopeo, umoci and buildah are read, and they read ours.

use std::path::Path;

use serde_json::Value;

use super::{oci, push};
use crate::support::images::{self, Content};
use crate::support::{tools, validate};

fn inspected(reference: &str) -> String {
    let text = tools::skopeo(&["inspect", reference]);
    let value: Value = serde_json::from_str(&text).unwrap();
    value["Digest"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn skopeo_and_we_read_each_other() {
    for content in [images::image(1), images::index(2)] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        content.write_layout(&folder.join("a"), None);
        push(&oci(folder, "a"), &oci(folder, "ours:x:1")).await.unwrap();
        assert_eq!(inspected(&oci(folder, "ours:x:1")), content.digest());

        let copy = |source: &str, destination: &str| {
            tools::skopeo(&["copy", "-q", "--all", "--preserve-digests", source, destination])
        };
        copy(&oci(folder, "ours:x:1"), &oci(folder, "theirs:y"));
        push(&oci(folder, "theirs:y"), &oci(folder, "again")).await.unwrap();
        assert_eq!(validate::layout(&folder.join("again"))["@0"], content.digest());

        // Both write into one layout.
        push(&oci(folder, "a"), &oci(folder, "theirs:z")).await.unwrap();
        copy(&oci(folder, "a"), &oci(folder, "ours:w"));
        for name in ["y", "z"] {
            assert_eq!(validate::layout(&folder.join("theirs"))[name], content.digest());
        }
        for name in ["x:1", "w"] {
            assert_eq!(validate::layout(&folder.join("ours"))[name], content.digest());
        }
    }
}

#[tokio::test]
async fn umoci_and_we_read_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let umoci = |arguments: &[&str]| tools::run("umoci", arguments);
    let (theirs, ours) = (path(folder, "theirs"), path(folder, "ours"));
    umoci(&["init", "--layout", &theirs]);
    umoci(&["new", "--image", &format!("{theirs}:empty")]);
    std::fs::write(folder.join("file"), "content").unwrap();
    let file = path(folder, "file");
    umoci(&["insert", "--image", &format!("{theirs}:empty"), "--tag", "full", &file, "/file"]);
    push(&oci(folder, "theirs:full"), &oci(folder, "ours:full")).await.unwrap();
    push(&oci(folder, "theirs:empty"), &oci(folder, "ours:empty")).await.unwrap();
    assert_eq!(validate::layout(&folder.join("ours")).len(), 2);

    let list = umoci(&["list", "--layout", &ours]);
    assert_eq!(list.lines().collect::<Vec<_>>(), ["full", "empty"]);
    let bundle = path(folder, "bundle");
    umoci(&["unpack", "--image", &format!("{ours}:full"), &bundle]);
    assert_eq!(std::fs::read(folder.join("bundle/rootfs/file")).unwrap(), b"content");
    // Nothing of ours is garbage to it but the lock, which it leaves alone.
    umoci(&["gc", "--layout", &ours]);
    assert_eq!(validate::layout(&folder.join("ours")).len(), 2);

    // Into a layout of theirs.
    let content = images::image(5);
    content.write_layout(&folder.join("a"), None);
    push(&oci(folder, "a"), &oci(folder, "theirs:more")).await.unwrap();
    assert_eq!(validate::layout(&folder.join("theirs"))["more"], content.digest());
    umoci(&["stat", "--image", &format!("{theirs}:more")]);
}

#[tokio::test]
async fn buildah_and_we_read_each_other() {
    // It makes a repository name of the path, so there may be no upper case in it.
    let name = format!("imagepush-buildah-{}", std::process::id());
    let folder = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir_in("/tmp").unwrap();
    let folder = folder.path();
    let store = folder.join("store");
    std::fs::create_dir(&store).unwrap();
    let buildah = |arguments: &[&str]| tools::buildah(&store, arguments);
    let layers = [images::layer(1, 2000, images::Form::Gzip)];
    let content = Content::image("linux", "amd64", &layers);
    content.write_layout(&folder.join("a"), None);
    push(&oci(folder, "a"), &oci(folder, "ours:x")).await.unwrap();

    let image = buildah(&["pull", "-q", &oci(folder, "ours:x")]);
    let config = content.manifest()["config"]["digest"].as_str().unwrap().replace("sha256:", "");
    assert_eq!(image.trim(), config);
    buildah(&["push", "-q", &config, &oci(folder, "theirs:y")]);
    let pushed = push(&oci(folder, "theirs:y"), &oci(folder, "again:z")).await.unwrap();
    assert_eq!(validate::layout(&folder.join("again"))["z"], pushed.source.digest.to_string());
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}
