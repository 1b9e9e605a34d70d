//! What stands under its digest in a local store is left to a registry to verify; what is damaged is found all the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use imagepush::error::{Error, Kind, Side};
use imagepush::options::Retry;
use sha2::{Digest, Sha256};

use super::harness::*;
use crate::support::docker_registry::{DockerRegistry, Request};
use crate::support::layout::write_layout;
use crate::support::push::{options, run};
use crate::support::registry::{Act, Quirk, Registry, Rule};
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

/// Digest of another algorithm.
const SHA512: &str = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec\
                      2f63b931bd47417a81a538327af927da3e";

const DIGEST: &str = "docker-content-digest";

/// The error of pushing a damaged layout to a registry that takes everything: it answers a PUT and, if it is asked, a HEAD.
async fn taken(put: Act, head: Option<Act>) -> (Error, String) {
    let registry = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let digest = write_layout(folder.path(), "1", 1, 10 << 10)[0].clone();
    let file = damage(folder.path(), &digest);
    registry.add_rule(Rule::each("PUT", "/uploads/", put).with_query(&digest[7..]));
    if let Some(head) = head {
        registry.add_rule(Rule::each("HEAD", format!("/blobs/{digest}"), head));
    }
    let source = format!("oci:{}:1", folder.path().display());
    let destination = format!("docker://{}/team/app:1", registry.host);
    let error = pushed(&source, &destination, false).await;
    let log = registry.take_log();
    assert!(!log.iter().any(|line| line.starts_with("PUT /v2/team/app/manifests")), "{log:#?}");
    let from = format!("reading blob `{digest}` from `{}`: the content has", file.display());
    (error, from)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_named_where_the_registry_compares_nothing() {
    let answer = |status: u16, headers: &[(&'static str, &str)]| {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Act::Respond(status, headers, vec![])
    };
    let folder = tempfile::tempdir().unwrap();
    let digest = write_layout(folder.path(), "1", 1, 10 << 10)[0].clone();
    let file = folder.path().join("blobs").join(digest.replace(':', "/"));
    let length = fs::metadata(file).unwrap().len().to_string();
    let there = answer(200, &[("content-length", &length)]);
    for (put, head) in [
        (answer(201, &[]), None),
        (answer(201, &[(DIGEST, "nonsense")]), None),
        (answer(201, &[(DIGEST, SHA512)]), None),
        // A status that says nothing is followed by a question, whose answer says no more than a length.
        (answer(200, &[]), Some(there.clone())),
        (answer(204, &[(DIGEST, &digest)]), Some(there.clone())),
        // So is an answer that is lost.
        (Act::DropAnswer, Some(there)),
    ] {
        let (error, from) = taken(put, head).await;
        assert!(error.to_string().contains(&from), "{error}");
        assert_eq!((error.side(), error.kind()), (Some(Side::Source), Kind::ContentMismatch));
        assert!(error.next_step().unwrap().contains("may have it under that digest"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_never_tells_digests_gets_each_blob_once() {
    let registry = Registry::start().await;
    for method in ["HEAD", "GET", "POST", "PATCH", "PUT"] {
        registry.add_rule(Rule::each(method, "", Act::Header(DIGEST, String::new())));
    }
    let folder = tempfile::tempdir().unwrap();
    let blobs = write_layout(folder.path(), "1", 8, 2 << 20);
    let source = format!("oci:{}:1", folder.path().display());
    let mut options = options(&source, &format!("docker://{}/team/app:1", registry.host));
    options.destination.access = plain();
    let pushed = run(&options).await.unwrap();
    assert_eq!(pushed.blobs.sent, blobs.len() as u64);
    let log = registry.take_log();
    let uploads = log.iter().filter(|line| line.starts_with("PUT /v2/team/app/blobs/")).count();
    assert_eq!(uploads, blobs.len(), "{log:#?}");
}

/// What a lost answer leaves behind is found by the next attempt; it was never hashed.
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_found_after_a_failure_is_hashed() {
    let folder = tempfile::tempdir().unwrap();
    let digest = write_layout(folder.path(), "1", 1, 10 << 10)[0].clone();
    let file = damage(folder.path(), &digest);
    let length = fs::metadata(&file).unwrap().len().to_string();
    let registry = Registry::start().await;
    // In a new repository nothing would be looked for.
    let to = destination(&format!("{}/team/app:1", registry.host), &plain()).await;
    put(&*to, &Image::new("x")).await.unwrap();
    let there = Act::Respond(200, vec![("content-length", length)], vec![]);
    let head = format!("/blobs/{digest}");
    registry.add_rule(Rule::each("PUT", "/uploads/", Act::DropAnswer).with_query(&digest[7..]));
    let absent = Act::Respond(404, vec![], vec![]);
    registry.add_rule(Rule::each("HEAD", head.clone(), absent).nth(1));
    registry.add_rule(Rule::each("HEAD", head.clone(), Act::Drop).nth(1));
    registry.add_rule(Rule::each("HEAD", head, there));
    let source = format!("oci:{}:1", folder.path().display());
    let mut options = options(&source, &format!("docker://{}/team/app:1", registry.host));
    options.destination.access = plain();
    options.retry = Retry::new(1, Some(Duration::from_millis(1))).unwrap();
    let error = run(&options).await.unwrap_err();
    let from = format!("reading blob `{digest}` from `{}`: the content has", file.display());
    assert!(error.to_string().contains(&from), "{error}");
    let log = registry.take_log();
    let sent = log.iter().filter(|line| line.starts_with("PUT") && line.ends_with(" 0")).count();
    assert_eq!(sent, 1, "{log:#?}");
}

/// All of it would be read once more, only to be sent in another manner.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_not_looked_at_again_while_there_is_another_way_to_send_it() {
    let registry = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let digest = write_layout(folder.path(), "1", 1, 10 << 10)[0].clone();
    damage(folder.path(), &digest);
    let wants_length = Act::Respond(411, vec![], vec![]);
    let first = Rule::each("PUT", "/uploads/", wants_length).with_query(&digest[7..]).nth(1);
    registry.add_rule(first);
    let source = format!("oci:{}:1", folder.path().display());
    let destination = format!("docker://{}/team/app:1", registry.host);
    let error = pushed(&source, &destination, false).await;
    assert_eq!((error.side(), error.kind()), (Some(Side::Source), Kind::ContentMismatch));
    let log = registry.take_log();
    assert!(log.iter().any(|line| line.starts_with("PATCH ")), "{log:#?}");
}

#[tokio::test]
async fn a_blob_that_a_registry_has_by_another_digest_is_sent_anew() {
    let registry = Registry::start().await;
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    let image = Image::new("x");
    put_blobs(&*to, &image).await.unwrap();
    let layer = image.layer_descriptor();
    let other = imagepush::image::Digest::of(b"other").to_string();
    for (digest, there) in [(other, false), (SHA512.to_owned(), true), (String::new(), true)] {
        registry.add_rule(Rule::each("HEAD", "/blobs/", Act::Header(DIGEST, digest)).nth(1));
        let found = to.reuse_blob(&layer, None).await.unwrap();
        assert_eq!(found.is_some(), there);
    }
}
