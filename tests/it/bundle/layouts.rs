//! Bundles beside images in layouts: directories, archives, and the flat directory that is a layout as well.

use std::path::Path;

use imagepush::error::{Kind, Side};
use imagepush::options::CustomResources::{Always, Auto, Never, Only};

use super::harness::*;
use crate::support::images::{Content, Form, layer};
use crate::support::tools;

/// A place of each kind that can hold something beside an image, without a name and with one.
fn places(folder: &Path) -> Vec<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    vec![
        format!("oci:{}", path("unnamed")),
        format!("oci:{}:app", path("named")),
        format!("oci-archive:{}", path("unnamed.tar")),
        format!("oci-archive:{}:app", path("named.tar")),
        format!("dir:{}", path("dir")),
    ]
}

/// The layout that a place has, unpacked if need be, and the image's name in it.
fn ocidir(place: &str, folder: &Path) -> String {
    let (transport, details) = place.split_once(':').unwrap();
    let (path, name) = details.split_once(':').unwrap_or((details, "latest"));
    if transport != "oci-archive" {
        return format!("ocidir://{path}:{name}");
    }
    let unpacked = tempfile::tempdir_in(folder).unwrap().keep().display().to_string();
    tools::run("tar", &["-xf", path, "-C", &unpacked]);
    format!("ocidir://{unpacked}:{name}")
}

#[tokio::test]
async fn each_layout_holds_a_bundle_and_others_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let image = image_with(&thing("a"));
    let from = layout(folder.path(), "source", &image);
    let fresh = tempfile::tempdir().unwrap();
    let empty = layout(
        fresh.path(),
        "source",
        &Content::image("linux", "amd64", &[layer(7, 300, Form::Gzip)]),
    );
    for place in places(folder.path()) {
        let check = async |policy, expected: (&'static str, &str)| {
            let found = decisions(&from, &place, policy).await;
            assert_eq!((found.0, found.1.as_str()), expected, "{place} {policy:?}");
        };
        check(Never, ("pushed", "none")).await;
        // Beside an image that was there alone, and without touching it.
        check(Only, ("left", "pushed")).await;
        check(Auto, ("unchanged", "notSearched")).await;
        check(Always, ("unchanged", "unchanged")).await;
        let name = ocidir(&place, folder.path());
        assert_eq!(listed(&name, &[]).len(), 1, "{place}");
        assert_eq!(got(&name, &[]), canonical("a"), "{place}");
        let path = name.strip_prefix("ocidir://").unwrap();
        let read = tools::skopeo(&["inspect", "--raw", &format!("oci:{path}")]);
        assert_eq!(read.as_bytes(), image.blobs[image.digest()], "{place}");

        // And on, without its layers being read: what is attached comes along.
        let copy = folder.path().join("copy").display().to_string();
        let done = run(&place, &format!("dir:{copy}"), Auto).await.unwrap();
        assert_eq!(
            (decision(&done.beside.unwrap()).as_str(), done.digest.to_string().as_str()),
            ("pushed", image.digest())
        );
        assert_eq!(got(&format!("ocidir://{copy}:latest"), &[]), canonical("a"), "{place}");
        std::fs::remove_dir_all(copy).unwrap();

        // Another image under the same name has nothing of it.
        assert_eq!(
            decisions(&empty, &place, Auto).await,
            ("pushed", "absent".to_owned()),
            "{place}"
        );
        let error = run(&empty, &place, Only).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.side()),
            (Kind::CustomResourcesNotFound, Some(Side::Source)),
            "{place}"
        );
        // Where the lists go with the image, it needs no name any more, and regctl can't be asked.
        if place.starts_with("oci:") {
            assert_eq!(listed(&name, &[]), [""; 0], "{place}");
        }
    }
}

/// The newer one takes the place of the older, and what regctl has attached stays.
#[tokio::test]
async fn a_newer_bundle_replaces_the_older() {
    let folder = tempfile::tempdir().unwrap();
    let from = layout(folder.path(), "source", &image_with(&thing("a")));
    let path = folder.path().join("there").display().to_string();
    let (to, name) = (format!("oci:{path}:app"), format!("ocidir://{path}:app"));
    assert_eq!(decisions(&from, &to, Auto).await, ("pushed", "pushed".to_owned()));
    let first = listed(&name, &[]);
    let file = folder.path().join("file");
    std::fs::write(&file, "a signature").unwrap();
    let put = [
        "artifact",
        "put",
        "--subject",
        &name,
        "--artifact-type",
        "application/x.sig",
        "--file",
        file.to_str().unwrap(),
    ];
    regctl(&put, &[]);

    let source = folder.path().join("source").display().to_string();
    std::fs::write(&file, thing("b")).unwrap();
    let put = [
        "artifact",
        "put",
        "--subject",
        &format!("ocidir://{source}:1"),
        "--artifact-type",
        TYPE,
        "--file-media-type",
        "application/yaml",
        "--file",
        file.to_str().unwrap(),
    ];
    regctl(&put, &[]);
    assert_eq!(decisions(&from, &to, Auto).await, ("unchanged", "pushed".to_owned()));
    let second = listed(&name, &[]);
    assert_eq!((second.len(), second != first), (1, true));
    assert_eq!(got(&name, &[]), canonical("b"));
    let all = regctl(&["artifact", "list", "--format", "{{len .Descriptors}}", &name], &[]);
    assert_eq!(all.trim(), "2");
    assert_eq!(decisions(&from, &to, Auto).await, ("unchanged", "unchanged".to_owned()));
}

/// A push without a name reads and replaces the image that it had written, though its entry has a name by then.
#[tokio::test]
async fn an_image_without_a_name_stays_the_one_that_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let one = layout(folder.path(), "1", &image_with(&thing("a")));
    let two = layout(folder.path(), "2", &image_with(&thing("b")));
    for kind in ["oci", "oci-archive"] {
        let place = format!("{kind}:{}", folder.path().join(kind).display());
        assert_eq!(decisions(&one, &place, Auto).await.1, "pushed");
        assert_eq!(decisions(&two, &place, Auto).await, ("pushed", "pushed".to_owned()));
        assert_eq!(decisions(&two, &place, Auto).await.0, "unchanged");
        let name = ocidir(&place, folder.path());
        assert_eq!(got(&name, &[]), canonical("b"));
        let index = std::fs::read(
            Path::new(name.strip_prefix("ocidir://").unwrap().strip_suffix(":latest").unwrap())
                .join("index.json"),
        )
        .unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        let names = index["manifests"].as_array().unwrap().iter();
        let latest = names
            .filter(|it| it["annotations"]["org.opencontainers.image.ref.name"] == "latest")
            .count();
        assert_eq!(latest, 1, "{index}");
    }
}

#[tokio::test]
async fn a_place_that_holds_nothing_else_says_so_before_anything_moves() {
    let folder = tempfile::tempdir().unwrap();
    let from = layout(folder.path(), "source", &image_with(&thing("a")));
    let archive = folder.path().join("a.tar");
    let to = format!("docker-archive:{}:a:1", archive.display());
    for policy in [Always, Only] {
        let error = run(&from, &to, policy).await.unwrap_err();
        let told = (error.kind(), error.side());
        assert_eq!(told, (Kind::TransportUnsupported, Some(Side::Destination)), "{error}");
        assert!(!archive.exists());
    }
    let expected = "skipped: `docker-archive` can hold nothing beside an image".to_owned();
    assert_eq!(decisions(&from, &to, Auto).await, ("pushed", expected));
    let error = run(&from, &to, Only).await.unwrap_err();
    assert_eq!(error.kind(), Kind::TransportUnsupported, "{error}");
}
