//! When a manifest counts as written, and what is done for one that isn't.

use std::path::Path;
use std::time::Duration;

use imagepush::engine::Pushed;
use imagepush::error::{Class, Error, Kind};
use imagepush::image::Digest;
use imagepush::options::{Overwrites, PushOptions, Retry};
use imagepush::transport::Role;

use super::harness::*;
use crate::support::images::{self, Content};
use crate::support::push;
use crate::support::registry::{Act, Quirk, Registry, Rule};

/// Pushes as `app:1` without trying again, and reads back if that is wanted.
async fn push_to(registry: &Registry, content: &Content, verify: bool) -> Result<Pushed, Error> {
    let folder = tempfile::tempdir().unwrap();
    let options = options(registry, content, folder.path());
    push::run(&PushOptions { verify_after_push: verify, ..options }).await
}

/// The options of a push as `app:1` by way of a folder.
fn options(registry: &Registry, content: &Content, folder: &Path) -> PushOptions {
    content.write_layout(folder, Some("1"));
    let source = format!("oci:{}:1", folder.display());
    let mut options = push::options(&source, &format!("docker://{}/app:1", registry.host));
    options.destination.access = plain();
    options
}

/// docker-registry 2.8 does when several write the same manifest at the same time.
#[tokio::test]
async fn a_manifest_that_was_read_otherwise_is_sent_again() {
    let registry = Registry::start().await;
    let misread = br#"{"errors":[{"code":"DIGEST_INVALID"}]}"#.to_vec();
    registry.add_rule(Rule::each("PUT", "/manifests/1", Act::Respond(400, vec![], misread)).nth(1));
    let content = images::image(1);
    let pushed = push_trying(&registry, &content).await.unwrap();
    assert_eq!(pushed.digest.to_string(), content.digest());
}

/// Pushes as `app:1`, trying again at once up to three times, and reads back.
async fn push_trying(registry: &Registry, content: &Content) -> Result<Pushed, Error> {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(registry, content, folder.path());
    options.verify_after_push = true;
    options.retry = Retry::new(3, Some(Duration::from_millis(1))).unwrap();
    push::run(&options).await
}

/// Whether the registry has the whole image.
async fn is_whole(registry: &Registry, content: &Content) -> bool {
    let name = format!("{}/app:1", registry.host);
    let from = source(&name, &plain()).await;
    let named = from.manifest(None).await.unwrap();
    let mut images = vec![];
    match named.as_index() {
        None => images.push(named.clone()),
        Some(index) => {
            for entry in &index.manifests {
                images.push(from.manifest(Some(entry)).await.unwrap());
            }
        }
    }
    let to = destination(&name, &plain()).await;
    for image in images {
        for blob in image.as_image().unwrap().blobs() {
            if to.reuse_blob(blob, None).await.unwrap().is_none() {
                return false;
            }
        }
    }
    named.digest().to_string() == content.digest()
}

#[tokio::test]
async fn a_manifest_whose_answer_is_lost_is_looked_up() {
    let registry = Registry::start().await;
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    let image = Image::new("x");
    put_blobs(&*to, &image).await.unwrap();
    for role in [Role::Instance, Role::Named] {
        registry.take_log();
        registry.add_rule(Rule::each("PUT", "/manifests/", Act::DropAnswer).nth(1));
        to.put_manifest(&image.manifest, role).await.unwrap();
        let log = registry.take_log();
        assert!(log.len() == 2 && log[1].starts_with("GET /v2/app/manifests/"), "{log:?}");
    }
    // One that never came.
    let other = destination(&format!("{}/app:2", registry.host), &plain()).await;
    registry.add_rule(Rule::each("PUT", "/manifests/", Act::Drop).nth(1));
    let error = other.put_manifest(&image.manifest, Role::Named).await.unwrap_err();
    assert_eq!((error.kind(), error.class()), (Kind::NetworkError, Class::Transient));
}

/// A name that somebody else has changed meanwhile stays as it is, for whoever wants that.
#[tokio::test]
async fn a_name_is_changed_only_if_it_has_what_it_is_said_to_have() {
    let (old, new) = (images::image(1), images::image(2));
    let other: Digest = images::digest(b"other").parse().unwrap();
    let has = |content: &Content| Overwrites::Digest(content.digest().parse().unwrap());
    let moved = Act::Header("docker-content-digest", other.to_string());
    for (before, overwrites, look, expected) in [
        (Some(&old), has(&old), None, Ok(())),
        (None, Overwrites::Nothing, None, Ok(())),
        (Some(&new), Overwrites::Nothing, None, Ok(())),
        (Some(&old), has(&new), None, Err(0)),
        (Some(&old), Overwrites::Nothing, None, Err(0)),
        (None, has(&old), None, Err(0)),
        // It moves between the first look and the last.
        (Some(&old), has(&old), Some(2), Err(3)),
    ] {
        let registry = Registry::start().await;
        let folder = tempfile::tempdir().unwrap();
        let options = |content: &Content| {
            content.write_layout(folder.path(), Some("1"));
            let source = format!("oci:{}:1", folder.path().display());
            let mut options = push::options(&source, &format!("docker://{}/app:1", registry.host));
            options.destination.access = plain();
            options
        };
        if let Some(before) = before {
            push::run(&options(before)).await.unwrap();
        }
        if let Some(nth) = look {
            registry.add_rule(Rule::each("HEAD", "/manifests/1", moved.clone()).nth(nth));
        }
        registry.take_log();
        let pushed =
            push::run(&PushOptions { overwrites: Some(overwrites.clone()), ..options(&new) }).await;
        let log = registry.take_log();
        assert_eq!(pushed.as_ref().err().is_some(), expected.is_err(), "{pushed:?}");
        let Err(blobs) = expected else { continue };
        let error = pushed.unwrap_err();
        assert_eq!((error.kind(), error.class()), (Kind::DestinationExists, Class::Permanent));
        assert!(error.to_string().contains(&format!(", and not {overwrites}")), "{error}");
        let puts = log.iter().filter(|line| line.starts_with("PUT ")).count();
        assert_eq!(puts, blobs, "{log:#?}");
    }
}

/// An attempt of ours may have got through though its answer didn't, and nobody could be asked at that moment.
#[tokio::test]
async fn a_name_that_we_have_changed_ourselves_is_not_somebody_elses() {
    let (old, new) = (images::image(1), images::image(2));
    let registry = Registry::start().await;
    push_to(&registry, &old, false).await.unwrap();
    registry.add_rule(Rule::each("PUT", "/manifests/1", Act::DropAnswer).nth(1));
    registry.add_rule(Rule::each("GET", "/manifests/1", Act::Drop).nth(1));
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(&registry, &new, folder.path());
    options.retry = Retry::new(1, Some(Duration::from_millis(1))).unwrap();
    options.overwrites = Some(Overwrites::Digest(old.digest().parse().unwrap()));
    push::run(&options).await.unwrap();
    assert_eq!(registry.tags()["app:1"], new.digest());
    let log = registry.take_log();
    let puts = log.iter().filter(|line| line.starts_with("PUT /v2/app/manifests/1")).count();
    assert_eq!(puts, 3, "{log:#?}");
}

#[tokio::test]
async fn another_manifest_than_ours_is_never_taken_for_it() {
    let registry = Registry::start().await;
    let (ours, other) = (Image::new("ours"), Image::new("other"));
    let first = destination(&format!("{}/app:other", registry.host), &plain()).await;
    put(&*first, &other).await.unwrap();
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    put_blobs(&*to, &ours).await.unwrap();
    let rewritten = other.manifest.bytes().to_vec();
    let content_type = vec![("content-type", images::OCI_MANIFEST.to_owned())];
    registry.add_rule(Rule::each(
        "GET",
        "/manifests/1",
        Act::Respond(200, content_type, rewritten),
    ));
    for status in [201, 200, 202] {
        registry.add_rule(
            Rule::each("PUT", "/manifests/1", Act::Respond(status, vec![], vec![])).nth(1),
        );
        let error = to.put_manifest(&ours.manifest, Role::Named).await.unwrap_err();
        // What is read by a tag may be out of date.
        let expected = match status {
            201 => (Kind::ContentMismatch, Class::Transient),
            _ => (Kind::RegistryUnavailable, Class::Permanent),
        };
        assert_eq!((error.kind(), error.class()), expected, "{status} {error}");
    }
    // Only reading back finds one that is changed after the right answer.
    to.put_manifest(&ours.manifest, Role::Named).await.unwrap();
    let error = to.verify(&ours.manifest, Role::Named).await.unwrap_err();
    let found = format!("the name has `{}` by now", other.manifest.digest());
    assert!(error.to_string().ends_with(&found), "{error}");
}

#[tokio::test]
async fn a_name_that_is_read_out_of_date_is_read_again() {
    let content_type = vec![("content-type", images::OCI_MANIFEST.to_owned())];
    let old = Image::new("old").manifest.bytes().to_vec();
    for stale in [
        Act::Respond(200, content_type, old),
        Act::Respond(404, vec![], br#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#.to_vec()),
    ] {
        for says_digest in [true, false] {
            let registry = Registry::start().await;
            if !says_digest {
                let act = Act::Header("docker-content-digest", String::new());
                registry.add_rule(Rule::each("PUT", "/manifests/", act));
            }
            registry.add_rule(Rule::each("GET", "/manifests/1", stale.clone()).nth(1));
            push_trying(&registry, &images::image(1)).await.unwrap();
            assert!(is_whole(&registry, &images::image(1)).await);
        }
    }
}

#[tokio::test]
async fn blobs_that_are_slow_to_be_known_are_waited_for_and_not_sent_again() {
    let registry = Registry::start().await;
    let unknown = br#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}"#.to_vec();
    for _ in 0..4 {
        let act = Act::Respond(404, vec![], unknown.clone());
        registry.add_rule(Rule::each("PUT", "/manifests/", act).nth(1));
    }
    let pushed = push_trying(&registry, &images::image(1)).await.unwrap();
    assert!(is_whole(&registry, &images::image(1)).await);
    let log = registry.take_log();
    let sent = log.iter().filter(|line| line.starts_with("POST")).count();
    assert_eq!(sent as u64, pushed.blobs.sent, "{log:#?}");
}

#[tokio::test]
async fn blobs_that_a_registry_claims_to_have_are_sent_again_at_last() {
    let (registry, content) = (Registry::start().await, images::image(1));
    registry.add_rule(Rule::each("PUT", "/manifests/", Act::LoseBlobs).nth(1));
    for (digest, bytes) in &content.blobs {
        let length = vec![("content-length", bytes.len().to_string())];
        let claim = Act::Respond(200, length, vec![]);
        registry.add_rule(Rule::each("HEAD", format!("/blobs/{digest}"), claim));
    }
    let folder = tempfile::tempdir().unwrap();
    let pushed = push::run(&options(&registry, &content, folder.path())).await.unwrap();
    assert_eq!(pushed.digest.to_string(), content.digest());
}

#[tokio::test]
async fn blobs_that_a_registry_claims_to_have_mounted_are_sent() {
    let (registry, content) = (Registry::start().await, images::image(1));
    push_to(&registry, &content, false).await.unwrap();
    for digest in content.blobs.keys() {
        let claim = vec![("docker-content-digest", digest.clone())];
        let hex: &'static str = digest["sha256:".len()..].to_owned().leak();
        let rule = Rule::each("POST", "/v2/to/", Act::Respond(201, claim, vec![]));
        registry.add_rule(rule.with_query(hex));
    }
    let name = |name: &str| format!("docker://{}/{name}", registry.host);
    let mut options = push::options(&name("app:1"), &name("to:1"));
    options.source.access = plain();
    options.destination.access = plain();
    registry.take_log();
    let pushed = push::run(&options).await.unwrap();
    assert_eq!(pushed.blobs.sent, content.blobs.len() as u64 - 1);
    // Once is enough to believe no mount any more.
    let log = registry.take_log();
    let puts = log.iter().filter(|line| line.starts_with("PUT /v2/to/manifests/")).count();
    assert_eq!(puts, 2, "{log:#?}");
}

#[tokio::test]
async fn what_was_sent_counts_as_sent_though_it_is_found_later() {
    let (registry, content) = (Registry::start_as(Quirk::Quay).await, images::image(1));
    let pushed = push_trying(&registry, &content).await.unwrap();
    let blobs = content.blobs.len() as u64 - 1;
    assert_eq!((pushed.blobs.sent, pushed.blobs.reused), (blobs, 0));
    // One of them twice.
    let log = registry.take_log();
    let sent = log.iter().filter(|line| line.starts_with("POST") && line.ends_with("202")).count();
    assert_eq!(sent as u64, blobs + 1, "{log:#?}");
}

#[tokio::test]
async fn blobs_that_are_lost_before_their_manifest_are_sent_again() {
    for (content, times) in [(images::image(1), 2), (images::index(1), 1)] {
        let registry = Registry::start().await;
        for _ in 0..times {
            registry.add_rule(Rule::each("PUT", "/manifests/", Act::LoseBlobs).nth(1));
        }
        push_to(&registry, &content, false).await.unwrap();
        assert!(is_whole(&registry, &content).await);
    }
    let registry = Registry::start().await;
    registry.add_rule(Rule::each("PUT", "/manifests/", Act::LoseBlobs));
    let error = push_to(&registry, &images::image(1), false).await.unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (Kind::ContentMissing, 75));
    let puts = registry.take_log().iter().filter(|line| line.contains("PUT /v2/app/manif")).count();
    assert_eq!(puts, 3);
    assert_eq!(registry.open_sessions(), 0);
}

#[tokio::test]
async fn only_reading_back_finds_what_is_lost_after_its_manifest() {
    for content in [images::image(1), images::index(1)] {
        let registry = Registry::start().await;
        registry.add_rule(Rule::each("PUT", "/manifests/", Act::LoseBlobsAfter).nth(1));
        push_to(&registry, &content, true).await.unwrap();
        assert!(is_whole(&registry, &content).await);
    }
    let registry = Registry::start().await;
    registry.add_rule(Rule::each("PUT", "/manifests/", Act::LoseBlobsAfter).nth(1));
    push_to(&registry, &images::image(1), false).await.unwrap();
    assert!(!is_whole(&registry, &images::image(1)).await);
    let registry = Registry::start().await;
    registry.add_rule(Rule::each("PUT", "/manifests/", Act::LoseBlobsAfter));
    let error = push_to(&registry, &images::image(1), true).await.unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (Kind::ContentMissing, 75));
    assert!(error.to_string().contains("checking the name after it was changed: "), "{error}");
}

#[tokio::test]
async fn reading_back_costs_a_request_for_each_blob_and_manifest() {
    let registry = Registry::start().await;
    let content = images::index(1);
    push_to(&registry, &content, false).await.unwrap();
    let without = registry.take_log().len();
    let registry = Registry::start().await;
    push_to(&registry, &content, true).await.unwrap();
    // Three images of three blobs, and four manifests.
    assert_eq!(registry.take_log().len(), without + 3 * 3 + 4);
    push_to(&registry, &content, true).await.unwrap();
    assert_eq!(registry.take_log(), ["HEAD /v2/app/manifests/1 200"]);
}

#[tokio::test]
async fn no_room_is_told_and_not_tried_again() {
    let quota = br#"{"errors":[{"code":"DENIED","message":"quota exceeded\u001b"}]}"#;
    for (status, body, hint) in [
        (413, &b""[..], Some("raise the limit of the registry")),
        (507, b"", Some("no room left")),
        (412, quota, None),
        (403, quota, None),
    ] {
        for path in ["/manifests/", "/uploads/"] {
            let registry = Registry::start().await;
            registry.add_rule(Rule::each("PUT", path, Act::Respond(status, vec![], body.to_vec())));
            let error = push_to(&registry, &images::image(1), false).await.unwrap_err();
            assert_eq!(error.class(), Class::Permanent, "{status} {error}");
            let said = body.is_empty() || error.to_string().contains("quota exceeded\\u{1b}");
            assert!(said, "{error}");
            let found = error.next_step().unwrap_or_default();
            assert!(hint.is_none_or(|hint| found.contains(hint)), "{status} {found}");
        }
    }
}
