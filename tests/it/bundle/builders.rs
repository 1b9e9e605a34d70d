//! Images whose bundles other tools have put into them.

use std::path::Path;

use imagepush::options::CustomResources::{Always, Auto, Never};

use super::harness::*;
use crate::support::tools;

/// A file with a custom resource, for a tool to take.
fn file(folder: &Path) -> String {
    let file = folder.join("thing.yaml");
    std::fs::write(&file, thing("a")).unwrap();
    file.display().to_string()
}

/// Its layer ends with the last byte of its last file: there is no padding and no end marker.
#[tokio::test]
async fn what_umoci_inserts_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let image = format!("{}:1", path("image"));
    tools::run("umoci", &["init", "--layout", &path("image")]);
    tools::run("umoci", &["new", "--image", &image]);
    tools::run(
        "umoci",
        &["insert", "--image", &image, &file(folder.path()), "/metadata/config.yaml"],
    );
    for (policy, to) in [(Auto, "auto"), (Always, "always")] {
        let found =
            decisions(&format!("oci:{image}"), &format!("oci:{}:1", path(to)), policy).await;
        assert_eq!(found, ("pushed", "pushed".to_owned()));
        assert_eq!(got(&format!("ocidir://{}:1", path(to)), &[]), canonical("a"));
    }
}

/// With the label that it writes into the config.
#[tokio::test]
async fn what_buildah_copies_is_found_by_its_label() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    std::fs::create_dir(&store).unwrap();
    let buildah = |arguments: &[&str]| tools::buildah(&store, arguments);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let container = buildah(&["from", "scratch"]);
    let container = container.trim();
    buildah(&["copy", container, &file(folder.path()), "/deploy/thing.yaml"]);
    buildah(&["config", "--label", "imagepush.dev/bundle=deploy", container]);
    let (image, to) = (format!("oci:{}:1", path("image")), format!("oci:{}:1", path("to")));
    buildah(&["commit", "-q", container, &image]);
    assert_eq!(decisions(&image, &to, Never).await.0, "pushed");
    assert_eq!(decisions(&image, &to, Auto).await, ("unchanged", "pushed".to_owned()));
    assert_eq!(got(&format!("ocidir://{}:1", path("to")), &[]), canonical("a"));
}
