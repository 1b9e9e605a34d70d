//! Archives of skopeo, buildah and umoci are read, and they read ours.

use super::{archive, named, oci, push};
use crate::support::{images, tools, validate};

#[tokio::test]
async fn skopeo_and_we_read_each_other() {
    for content in [images::image(1), images::index(2)] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        content.write_layout(&folder.join("a"), None);
        let copy = |source: &str, destination: &str| {
            tools::skopeo(&["copy", "-q", "--all", "--preserve-digests", source, destination])
        };
        push(&oci(folder, "a"), &archive(folder, "ours.tar:x:1")).await.unwrap();
        copy(&archive(folder, "ours.tar:x:1"), &oci(folder, "back:x"));
        assert_eq!(validate::layout(&folder.join("back")), [named("x", &content)].into());

        copy(&oci(folder, "a"), &archive(folder, "theirs.tar:y"));
        push(&archive(folder, "theirs.tar:y"), &oci(folder, "again:y")).await.unwrap();
        assert_eq!(validate::layout(&folder.join("again")), [named("y", &content)].into());

        // An image beside the one that skopeo wrote.
        push(&oci(folder, "a"), &archive(folder, "theirs.tar:z")).await.unwrap();
        for name in ["y", "z"] {
            copy(&archive(folder, &format!("theirs.tar:{name}")), &oci(folder, "both:b"));
        }
        assert_eq!(validate::layout(&folder.join("both")), [named("b", &content)].into());
    }
}

#[tokio::test]
async fn layouts_in_archives_of_tar_are_read_compressed_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let path = |name: &str| folder.join(name).display().to_string();
    let layout = path("theirs");
    tools::run("umoci", &["init", "--layout", &layout]);
    tools::run("umoci", &["new", "--image", &format!("{layout}:empty")]);
    push(&oci(folder, "theirs:empty"), &oci(folder, "plain:x")).await.unwrap();
    let expected = validate::layout(&folder.join("plain"));
    tools::run("tar", &["-C", &layout, "-cf", &path("a.tar"), "."]);
    for (tool, suffix) in [("gzip", "gz"), ("bzip2", "bz2"), ("xz", "xz"), ("zstd", "zst")] {
        tools::run(tool, &["-k", "-q", &path("a.tar")]);
        let name = format!("a.tar.{suffix}:empty");
        push(&archive(folder, &name), &oci(folder, &format!("{suffix}:x"))).await.unwrap();
        assert_eq!(validate::layout(&folder.join(suffix)), expected);
    }
    push(&archive(folder, "a.tar"), &oci(folder, "tar:x")).await.unwrap();
    assert_eq!(validate::layout(&folder.join("tar")), expected);
}

#[tokio::test]
async fn buildah_and_we_read_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let store = folder.join("store");
    std::fs::create_dir(&store).unwrap();
    let content = images::image(1);
    content.write_layout(&folder.join("a"), None);
    push(&oci(folder, "a"), &archive(folder, "ours.tar:x")).await.unwrap();
    let pulled = tools::buildah(&store, &["pull", "-q", &archive(folder, "ours.tar:x")]);
    let theirs = archive(folder, "theirs.tar:y");
    tools::buildah(&store, &["push", "-q", "--format", "oci", pulled.trim(), &theirs]);
    push(&theirs, &oci(folder, "b:y")).await.unwrap();
    let images = validate::layout(&folder.join("b"));
    assert_eq!(images.keys().collect::<Vec<_>>(), ["y"]);
}
