//! What a push asks a registry, and how often: whole pushes of layouts, request by request.

use std::time::Duration;

use imagepush::engine::Pushed;
use imagepush::error::Result;
use imagepush::options::Retry;

use super::harness::*;
use crate::cli::run::program;
use crate::support::docker_registry::DockerRegistry;
use crate::support::images::{self, Content, Form};
use crate::support::push;
use crate::support::registry::{Act, Registry, Rule};

/// Layers of the image, and blobs with its config.
const LAYERS: u64 = 9;
const BLOBS: usize = 10;

fn image(seed: u64) -> Content {
    let layers: Vec<_> =
        (0..LAYERS).map(|n| images::layer(seed * 100 + n, 3000, Form::Gzip)).collect();
    Content::image("linux", "amd64", &layers)
}

/// Pushes to `host/name` as it is, once.
async fn push_to(host: &str, name: &str, content: &Content) -> Result<Pushed> {
    let folder = tempfile::tempdir().unwrap();
    content.write_layout(folder.path(), Some("1"));
    let source = format!("oci:{}:1", folder.path().display());
    let mut options = push::options(&source, &format!("docker://{host}/{name}"));
    options.destination.access = plain();
    push::run(&options).await
}

/// Pushes from `host/from` to `host/to`.
async fn push_within(host: &str, from: &str, to: &str) -> Pushed {
    let name = |name: &str| format!("docker://{host}/{name}");
    let mut options = push::options(&name(from), &name(to));
    (options.source.access, options.destination.access) = (plain(), plain());
    push::run(&options).await.unwrap()
}

/// How many of the requests are of each method, of blobs' and manifests' alike.
fn methods(log: &[String]) -> Vec<(String, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for line in log {
        *counts.entry(line.split(' ').next().unwrap().to_owned()).or_default() += 1;
    }
    counts.into_iter().collect()
}

fn counts(expected: &[(&str, usize)]) -> Vec<(String, usize)> {
    expected.iter().map(|(method, count)| ((*method).to_owned(), *count)).collect()
}

#[tokio::test]
async fn a_new_repository_is_asked_for_nothing_it_cannot_have() {
    let ours = Registry::start().await;
    push_to(&ours.host, "app:1", &image(1)).await.unwrap();
    let log = ours.take_log();
    assert_eq!(log[..2], ["HEAD /v2/app/manifests/1 404", "GET /v2/app/tags/list 404"]);
    let expected = counts(&[("GET", 1), ("HEAD", 1), ("POST", BLOBS), ("PUT", BLOBS + 1)]);
    assert_eq!(methods(&log), expected);

    let theirs = DockerRegistry::plain();
    push_to(&theirs.host, "app:1", &image(1)).await.unwrap();
    assert_eq!(theirs.requests().len(), 2 * BLOBS + 3, "{:#?}", theirs.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_push_the_same_at_the_same_time_do_each_other_no_harm() {
    let theirs = DockerRegistry::plain();
    let content = image(1);
    let folder = tempfile::tempdir().unwrap();
    content.write_layout(&folder.path().join("a"), Some("1"));
    let name = format!("docker://{}/app:1", theirs.host);
    let command = ["push", "--quiet", "--tls-verify=false", "--retry-delay=1ms", "oci:a:1", &name];
    let pushes = (0..4).map(|_| program(folder.path(), &command).spawn().unwrap());
    for mut push in pushes.collect::<Vec<_>>() {
        assert!(push.wait().unwrap().success());
    }
    let from = source(&format!("{}/app:1", theirs.host), &plain()).await;
    assert_eq!(from.manifest(None).await.unwrap().digest().to_string(), content.digest());
    for (digest, bytes) in content.blobs.iter().filter(|(digest, _)| *digest != content.digest()) {
        let blob =
            imagepush::image::Descriptor::of(imagepush::image::MediaType::OCTET_STREAM, bytes);
        assert!(collect(from.blob(&blob).await.unwrap()).await.unwrap() == *bytes, "{digest}");
    }
}

#[tokio::test]
async fn a_repository_with_content_is_asked_for_each_blob() {
    let theirs = DockerRegistry::plain();
    push_to(&theirs.host, "app:1", &image(1)).await.unwrap();
    for (tag, most) in [("app:1", 3 * BLOBS + 2), ("app:2", 3 * BLOBS + 3)] {
        let before = theirs.requests().len();
        push_to(&theirs.host, tag, &image(2)).await.unwrap();
        let requests = theirs.requests().split_off(before);
        assert!(requests.len() <= most, "{requests:#?}");
    }
}

#[tokio::test]
async fn what_a_broken_push_left_in_a_new_repository_is_not_sent_again() {
    let registry = Registry::start().await;
    let content = image(1);
    registry.add_rule(Rule::each("PUT", "/manifests/", Act::Respond(403, vec![], vec![])).nth(1));
    push_to(&registry.host, "app:1", &content).await.unwrap_err();
    registry.take_log();
    let pushed = push_to(&registry.host, "app:1", &content).await.unwrap();
    assert_eq!((pushed.blobs.sent, pushed.blobs.reused), (0, BLOBS as u64));
    let theirs = DockerRegistry::plain();
    for n in 0..2 {
        let to = destination(&format!("{}/app:1", theirs.host), &plain()).await;
        let image = Image::new("left over");
        assert_eq!(to.current().await.unwrap(), None);
        let found = to.reuse_blob(&image.layer_descriptor(), None).await.unwrap();
        assert_eq!(found.is_some(), n == 1);
        put_blobs(&*to, &image).await.unwrap();
    }
}

#[tokio::test]
async fn within_one_registry_a_blob_costs_one_request_and_no_byte() {
    let theirs = DockerRegistry::plain();
    push_to(&theirs.host, "from:1", &image(1)).await.unwrap();
    let before = theirs.requests().len();
    let pushed = push_within(&theirs.host, "from:1", "to:1").await;
    assert_eq!(pushed.blobs.mounted, BLOBS as u64);
    let requests = theirs.requests().split_off(before);
    assert!(requests.len() <= BLOBS + 4, "{requests:#?}");
    let payload = |path: &str| path.contains("/blobs/") && !path.contains("/uploads/?mount=");
    assert!(!requests.iter().any(|request| payload(&request.path)), "{requests:#?}");
}

#[tokio::test]
async fn a_registry_that_does_not_mount_is_soon_not_asked_to() {
    let other = images::digest(b"other");
    for (act, most) in [
        (Act::Respond(404, vec![], vec![]), 1),
        (Act::Respond(405, vec![], vec![]), 1),
        (Act::Header("docker-content-digest", other.clone()), BLOBS),
        (Act::Header("docker-content-digest", String::new()), BLOBS),
    ] {
        let registry = Registry::start().await;
        push_to(&registry.host, "from:1", &image(1)).await.unwrap();
        registry.take_log();
        registry.add_rule(Rule::each("POST", "/v2/to/", act).with_query("mount="));
        let to = destination(&format!("{}/to:1", registry.host), &plain()).await;
        let from = imagepush::transport::Repository {
            registry: registry.host.clone(),
            path: "from".to_owned(),
        };
        for (digest, bytes) in &image(1).blobs {
            if *digest == image(1).digest() {
                continue;
            }
            let bytes = bytes::Bytes::from(bytes.clone());
            let descriptor =
                imagepush::image::Descriptor::of(imagepush::image::MediaType::OCTET_STREAM, &bytes);
            if to.reuse_blob(&descriptor, Some(&from)).await.unwrap().is_none() {
                to.put_blob(blob(&bytes), imagepush::transport::BlobKind::Layer).await.unwrap();
            }
        }
        let asked = registry.seen().iter().filter(|seen| seen.query.contains("mount=")).count();
        assert!(asked <= most, "{asked}");
        assert_eq!(registry.open_sessions(), 0);
    }
}

#[tokio::test]
async fn mounting_goes_on_after_a_bad_moment() {
    for (status, times) in [(408, 1), (429, 1), (500, 1), (502, 1), (503, 1), (504, 1), (500, 99)] {
        let registry = Registry::start().await;
        push_to(&registry.host, "from:1", &image(1)).await.unwrap();
        for _ in 0..times {
            let act = Act::Respond(status, vec![], vec![]);
            registry.add_rule(Rule::each("POST", "/v2/to/", act).with_query("mount=").nth(1));
        }
        let name = |name: &str| format!("docker://{}/{name}", registry.host);
        let mut options = push::options(&name("from:1"), &name("to:1"));
        options.source.access = plain();
        options.destination.access = plain();
        options.retry = Retry::new(3, Some(Duration::from_millis(1))).unwrap();
        let pushed = push::run(&options).await.unwrap();
        assert_eq!(pushed.blobs.mounted == BLOBS as u64, times == 1, "{status} {pushed:?}");
    }
}

#[tokio::test]
async fn blobs_that_several_platforms_share_are_sent_once() {
    let registry = Registry::start().await;
    let content = images::index(5);
    let pushed = push_to(&registry.host, "multi:1", &content).await.unwrap();
    let manifests = 4;
    assert_eq!(usize::try_from(pushed.blobs.sent).unwrap(), content.blobs.len() - manifests);
    let log = registry.take_log();
    let uploads = content.blobs.len() - manifests;
    assert_eq!(
        methods(&log),
        counts(&[("GET", 1), ("HEAD", 1), ("POST", uploads), ("PUT", uploads + manifests)])
    );
}
