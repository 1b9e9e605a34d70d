//! Archives of skopeo, podman and Docker are read, and they read ours.

use std::collections::BTreeMap;
use std::path::Path;

use super::{archive, assert_holds, id, layout, layout_of, oci};
use crate::support::dockerd::Dockerd;
use crate::support::images::{Content, Form};
use crate::support::push::push;
use crate::support::tools::{self, skopeo};

/// What skopeo can write into a Docker archive.
const WITHOUT_ZSTD: [Form; 3] = [Form::Gzip, Form::Plain, Form::Gzip];

/// Each member of an archive with its content; links with what they point to.
fn members(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().to_str().unwrap();
    tools::run("tar", &["-C", into, "-xf", path.to_str().unwrap()]);
    let listed = tools::run("tar", &["-tf", path.to_str().unwrap()]);
    let content = |name: &str| {
        let path = folder.path().join(name);
        match path.read_link() {
            Ok(target) => target.to_str().unwrap().as_bytes().to_vec(),
            Err(_) => std::fs::read(path).unwrap(),
        }
    };
    let files = listed.lines().filter(|name| !name.ends_with('/'));
    files.map(|name| (name.to_owned(), content(name))).collect()
}

#[tokio::test]
async fn skopeo_writes_the_same_archive_and_reads_ours() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let content = layout_of(folder, "a", 1, WITHOUT_ZSTD);
    push(&oci(folder, "a"), &archive(folder, "ours.tar:r.io/a:1")).await.unwrap();
    skopeo(&["copy", "-q", &oci(folder, "a"), &archive(folder, "theirs.tar:r.io/a:1")]);
    let (ours, theirs) = (members(&folder.join("ours.tar")), members(&folder.join("theirs.tar")));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (name, content) in &ours {
        assert!(*content == theirs[name], "`{name}` differs");
    }
    assert_holds(folder, "theirs.tar:r.io/a:1", &content).await;

    let back = format!("dir:{}/back", folder.display());
    skopeo(&["copy", "-q", &archive(folder, "ours.tar:r.io/a:1"), &back]);
    let raw = skopeo(&["inspect", "--raw", &back]);
    let manifest: serde_json::Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(manifest["config"]["digest"], id(&content));
}

#[tokio::test]
async fn skopeo_finds_every_image_of_an_archive_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let contents = [1, 2].map(|seed| layout(folder, &seed.to_string(), seed));
    for seed in ["1", "2"] {
        let name = archive(folder, &format!("a.tar:r.io/a:{seed}"));
        push(&oci(folder, seed), &name).await.unwrap();
    }
    for (seed, content) in ["1", "2"].into_iter().zip(&contents) {
        let name = archive(folder, &format!("a.tar:r.io/a:{seed}"));
        let raw = skopeo(&["inspect", "--raw", &name]);
        let manifest: serde_json::Value = serde_json::from_str(&raw).unwrap();
        assert_eq!(manifest["config"]["digest"], id(content));
        skopeo(&["copy", "-q", &name, &oci(folder, &format!("back:{seed}"))]);
    }
}

#[tokio::test]
async fn compressed_archives_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let content = layout_of(folder, "a", 1, WITHOUT_ZSTD);
    skopeo(&["copy", "-q", &oci(folder, "a"), &archive(folder, "a.tar:r.io/a:1")]);
    let plain = folder.join("a.tar").display().to_string();
    for (tool, suffix) in [("gzip", "gz"), ("bzip2", "bz2"), ("xz", "xz"), ("zstd", "zst")] {
        tools::run(tool, &["-k", "-q", &plain]);
        assert_holds(folder, &format!("a.tar.{suffix}:r.io/a:1"), &content).await;
    }
}

fn podman(folder: &Path, arguments: &[&str]) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    let (root, runroot, temporary) = (path("root"), path("runroot"), path("tmp"));
    let globals = ["--root", &root, "--runroot", &runroot, "--tmpdir", &temporary];
    let quiet = ["--storage-driver", "vfs", "--events-backend", "none"];
    tools::run("podman", &[&globals[..], &quiet, arguments].concat())
}

#[tokio::test]
async fn podman_and_we_read_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let store = folder.join("store");
    let contents = [1, 2].map(|seed| layout(folder, &seed.to_string(), seed));
    for seed in ["1", "2"] {
        let name = archive(folder, &format!("ours.tar:r.io/a:{seed}"));
        push(&oci(folder, seed), &name).await.unwrap();
    }
    let ours = folder.join("ours.tar").display().to_string();
    podman(&store, &["load", "-q", "-i", &ours]);
    for (seed, content) in ["1", "2"].into_iter().zip(&contents) {
        let name = format!("r.io/a:{seed}");
        let loaded = podman(&store, &["image", "inspect", "--format", "{{.Id}}", &name]);
        assert_eq!(format!("sha256:{}", loaded.trim()), id(content));
    }
    let theirs = folder.join("theirs.tar").display().to_string();
    let names = ["r.io/a:1", "r.io/a:2"];
    podman(&store, &["save", "-q", "-m", "-o", &theirs, names[0], names[1]]);
    both_are_there(folder, &contents).await;
}

#[tokio::test]
async fn docker_and_we_read_each_other() {
    let docker = Dockerd::start();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let contents = [1, 2].map(|seed| layout(folder, &seed.to_string(), seed));
    for seed in ["1", "2"] {
        let name = archive(folder, &format!("ours.tar:r.io/a:{seed}"));
        push(&oci(folder, seed), &name).await.unwrap();
    }
    docker.load(&folder.join("ours.tar"));
    for (seed, content) in ["1", "2"].into_iter().zip(&contents) {
        assert_eq!(docker.inspect(&format!("r.io/a:{seed}"))["Id"], id(content));
    }
    docker.save(&["r.io/a:1", "r.io/a:2"], &folder.join("theirs.tar"));
    both_are_there(folder, &contents).await;

    // What is added to an archive of Docker's own is loaded from there, with what was there before.
    let third = layout(folder, "3", 3);
    push(&oci(folder, "3"), &archive(folder, "theirs.tar:r.io/b:3")).await.unwrap();
    both_are_there(folder, &contents).await;
    docker.load(&folder.join("theirs.tar"));
    assert_eq!(docker.inspect("r.io/b:3")["Id"], id(&third));
}

async fn both_are_there(folder: &Path, contents: &[Content; 2]) {
    assert_holds(folder, "theirs.tar:r.io/a:1", &contents[0]).await;
    assert_holds(folder, "theirs.tar:r.io/a:2", &contents[1]).await;
}
