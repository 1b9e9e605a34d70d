//! What stands under its digest in a local store is left to a registry to verify; what is damaged is found all the same.

use std::fs;
use std::path::{Path, PathBuf};

use imagepush::error::{Error, Kind, Side};
use sha2::{Digest, Sha256};

use super::harness::plain;
use crate::support::docker_registry::{DockerRegistry, Request};
use crate::support::layout::write_layout;
use crate::support::push::{options, run};
use crate::support::registry::{Quirk, Registry};
use crate::support::tools;

/// The file of one of a layout's layers, changed in one byte.
fn damage(layout: &Path, digest: &str) -> PathBuf {
    let file = layout.join("blobs").join(digest.replace(':', "/"));
    let mut content = fs::read(&file).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(&file, content).unwrap();
    file
}

/// The error of a push.
async fn pushed(source: &str, destination: &str, verify_source: bool) -> Error {
    let mut options = options(source, destination);
    options.destination.access = plain();
    options.verify_source = verify_source;
    run(&options).await.unwrap_err()
}

fn digest_of(file: &Path) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(fs::read(file).unwrap())))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_refused_and_named() {
    let registry = DockerRegistry::plain();
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    // One layer that is sent in one piece, one in several.
    for size in [10 << 10, 3 << 20] {
        let digest = write_layout(&layout, "1", 2, size)[1].clone();
        let file = damage(&layout, &digest);
        let archive = folder.path().join("image.tar");
        tools::run("tar", &["-C", layout.to_str().unwrap(), "-cf", archive.to_str().unwrap(), "."]);
        let archive = archive.display().to_string();
        let member = format!("blobs/{}", digest.replace(':', "/"));
        let sources = [
            (format!("oci:{}:1", layout.display()), file.display().to_string()),
            (format!("oci-archive:{archive}:1"), format!("{archive}:{member}")),
        ];
        for (source, place) in sources {
            let destination = format!("docker://{}/team/app:1", registry.host);
            for (verify_source, from) in
                [(false, format!(" from `{place}`")), (true, String::new())]
            {
                let error = pushed(&source, &destination, verify_source).await;
                let expected = format!(
                    "pushing `{source}` to `{destination}`: reading blob `{digest}`{from}: the content has the digest \
                     `{}` instead of `{digest}`",
                    digest_of(&file)
                );
                assert_eq!(error.to_string(), expected);
                assert_eq!(
                    (error.side(), error.kind()),
                    (Some(Side::Source), Kind::ContentMismatch)
                );
            }
        }
        let stored = |request: &Request| {
            let named = request.path.contains(&digest[7..]) || request.path.contains("manifests");
            named && request.status == 201
        };
        let requests = registry.requests();
        assert!(!requests.iter().any(stored), "{requests:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_size_is_found_before_its_end_is_sent() {
    let registry = DockerRegistry::plain();
    let folder = tempfile::tempdir().unwrap();
    let digest = write_layout(folder.path(), "1", 1, 100 << 10)[0].clone();
    let file = folder.path().join("blobs").join(digest.replace(':', "/"));
    let length = fs::metadata(&file).unwrap().len();
    for (change, message) in [
        (1, format!("the content goes on after its {length} bytes")),
        (-1, format!("the content has {} bytes instead of {length}", length - 1)),
    ] {
        let changed = fs::OpenOptions::new().write(true).open(&file).unwrap();
        changed.set_len(length.checked_add_signed(change).unwrap()).unwrap();
        let source = format!("oci:{}:1", folder.path().display());
        let destination = format!("docker://{}/team/app:1", registry.host);
        let error = pushed(&source, &destination, false).await;
        let expected =
            format!("pushing `{source}` to `{destination}`: reading blob `{digest}`: {message}");
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_named_even_where_the_registry_says_little() {
    let registry = Registry::start_as(Quirk::Quay).await;
    let folder = tempfile::tempdir().unwrap();
    let digest = write_layout(folder.path(), "1", 1, 10 << 10)[0].clone();
    let file = damage(folder.path(), &digest);
    let source = format!("oci:{}:1", folder.path().display());
    let destination = format!("docker://{}/team/app:1", registry.host);
    let error = pushed(&source, &destination, false).await;
    assert_eq!((error.side(), error.kind()), (Some(Side::Source), Kind::ContentMismatch));
    let from = format!("reading blob `{digest}` from `{}`", file.display());
    assert!(error.to_string().contains(&from), "{error}");
}
