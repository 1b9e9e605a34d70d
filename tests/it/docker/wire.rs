//! How many requests things cost, and in which order they go out.

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use imagepush::blob::Blob;
use imagepush::error::{Error, Kind};
use imagepush::image::{Digest, MediaType};
use imagepush::transport::{BlobKind, Current, Repository, Reused, Role};

use super::harness::*;
use crate::support::canary::secret;
use crate::support::registry::{Act, Login, Registry, Rule};

/// A registry, and our image there as `app:1`; its log is empty.
async fn with_image(image: &Image) -> Registry {
    let registry = Registry::start().await;
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    put(&*to, image).await.unwrap();
    registry.take_log();
    registry
}

fn repository(registry: &Registry, path: &str) -> Repository {
    Repository { registry: registry.host.clone(), path: path.to_owned() }
}

#[tokio::test]
async fn a_new_blob_costs_three_requests() {
    let registry = Registry::start().await;
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    let image = Image::new("x");
    let layer = image.layer_descriptor();
    assert_eq!(to.reuse_blob(&layer, None).await.unwrap(), None);
    to.put_blob(blob(&image.layer), BlobKind::Layer).await.unwrap();
    let digest = &layer.digest;
    assert_eq!(
        registry.take_log(),
        [
            &format!("HEAD /v2/app/blobs/{digest} 404"),
            "POST /v2/app/blobs/uploads/ 202",
            "PUT /v2/app/blobs/uploads/session-1 201",
        ]
    );
    to.put_blob(Blob::measured(chunks(&image.layer)), BlobKind::Layer).await.unwrap();
    assert_eq!(
        registry.take_log(),
        [
            "POST /v2/app/blobs/uploads/ 202",
            "PATCH /v2/app/blobs/uploads/session-2 202",
            "PUT /v2/app/blobs/uploads/session-2 201",
        ]
    );
}

#[tokio::test]
async fn a_mount_costs_one_request_and_its_session_is_used() {
    let image = Image::new("x");
    let registry = with_image(&image).await;
    let to = destination(&format!("{}/other:1", registry.host), &plain()).await;
    let layer = image.layer_descriptor();
    let found = to.reuse_blob(&layer, Some(&repository(&registry, "app"))).await.unwrap();
    assert_eq!(found, Some(Reused::Mounted));
    assert_eq!(registry.take_log(), ["POST /v2/other/blobs/uploads/ 201"]);

    let bytes = Bytes::from_static(b"nowhere");
    let absent = imagepush::image::Descriptor::of(MediaType::OCTET_STREAM, &bytes);
    let found = to.reuse_blob(&absent, Some(&repository(&registry, "app"))).await.unwrap();
    assert_eq!(found, None);
    to.put_blob(blob(&bytes), BlobKind::Layer).await.unwrap();
    assert_eq!(
        registry.take_log(),
        [
            "POST /v2/other/blobs/uploads/ 202".to_owned(),
            format!("HEAD /v2/other/blobs/{} 404", absent.digest),
            "PUT /v2/other/blobs/uploads/session-3 201".to_owned(),
        ]
    );
}

#[tokio::test]
async fn a_mount_that_names_no_blob_is_looked_at() {
    let registry = Registry::start().await;
    let claims = Act::Respond(201, vec![], vec![]);
    registry.add_rule(Rule::each("POST", "/uploads/", claims));
    let to = destination(&format!("{}/other:1", registry.host), &plain()).await;
    let layer = Image::new("x").layer_descriptor();
    let from = repository(&registry, "app");
    assert_eq!(to.reuse_blob(&layer, Some(&from)).await.unwrap(), None);
    let log = registry.take_log();
    let head = format!("HEAD /v2/other/blobs/{} 404", layer.digest);
    assert_eq!(log[..2], ["POST /v2/other/blobs/uploads/ 201".to_owned(), head]);
}

#[tokio::test]
async fn a_registry_without_mounts_is_asked_by_head() {
    let image = Image::new("x");
    let digest = image.layer_descriptor().digest;
    for status in [404, 405, 403] {
        let registry = with_image(&image).await;
        registry.add_rule(Rule::each("POST", "/uploads/", Act::Respond(status, vec![], vec![])));
        let to = destination(&format!("{}/other:1", registry.host), &plain()).await;
        let from = repository(&registry, "app");
        assert_eq!(to.reuse_blob(&image.layer_descriptor(), Some(&from)).await.unwrap(), None);
        assert_eq!(
            registry.take_log(),
            [
                format!("POST /v2/other/blobs/uploads/ {status}"),
                format!("HEAD /v2/other/blobs/{digest} 404"),
            ]
        );
    }
}

#[tokio::test]
async fn what_is_there_is_told_by_one_request() {
    let image = Image::new("x");
    let registry = with_image(&image).await;
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    let expected = Some(Current {
        digest: image.manifest.digest().clone(),
        media_type: MediaType::OCI_MANIFEST,
        size: image.manifest.bytes().len() as u64,
        config: None,
    });
    assert_eq!(to.current().await.unwrap(), expected);
    assert_eq!(registry.take_log(), ["HEAD /v2/app/manifests/1 200"]);
    for (rule, status) in [
        (Act::Header("docker-content-digest", String::new()), 200),
        (Act::Header("docker-content-digest", "md5:abc".into()), 200),
        (Act::Header("content-type", String::new()), 200),
        (Act::Respond(405, vec![], vec![]), 405),
        (Act::Respond(401, vec![], vec![]), 401),
    ] {
        registry.add_rule(Rule::each("HEAD", "/manifests/", rule).nth(1));
        assert_eq!(to.current().await.unwrap(), expected);
        assert_eq!(
            registry.take_log(),
            [format!("HEAD /v2/app/manifests/1 {status}"), "GET /v2/app/manifests/1 200".into()]
        );
    }
}

#[tokio::test]
async fn a_head_that_tells_nothing_of_a_blob_means_that_it_is_sent() {
    let image = Image::new("x");
    let registry = with_image(&image).await;
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    let layer = image.layer_descriptor();
    for act in [
        Act::Respond(401, vec![], vec![]),
        Act::Respond(405, vec![], vec![]),
        Act::Respond(501, vec![], vec![]),
        Act::Header("content-length", String::new()),
        Act::Header("content-length", "5".into()),
    ] {
        registry.add_rule(Rule::each("HEAD", "/blobs/", act).nth(1));
        assert_eq!(to.reuse_blob(&layer, None).await.unwrap(), None);
    }
    assert_eq!(to.reuse_blob(&layer, None).await.unwrap(), Some(Reused::Present));
    let stranger = Registry::start().await;
    let there = vec![("location", format!("http://{}/signed", stranger.host))];
    registry.add_rule(Rule::each("HEAD", "/blobs/", Act::Respond(307, there, vec![])));
    for status in [401, 403] {
        stranger.add_rule(Rule::each("HEAD", "", Act::Respond(status, vec![], vec![])).nth(1));
        assert_eq!(to.reuse_blob(&layer, None).await.unwrap(), None);
    }
    assert_eq!(stranger.take_log(), ["HEAD /signed 401", "HEAD /signed 403"]);
}

#[tokio::test]
async fn a_challenge_is_answered_once_and_the_token_kept() {
    let image = Image::new("x");
    let registry = with_image(&image).await;
    registry.set_login(Login::bearer("alice", secret("docker::wire")));
    let access = plain_as("alice", secret("docker::wire"));
    let to = destination(&format!("{}/app:1", registry.host), &access).await;
    to.current().await.unwrap().unwrap();
    to.current().await.unwrap().unwrap();
    let asked = ["HEAD /v2/app/manifests/1 401", "GET /token 200", "HEAD /v2/app/manifests/1 200"];
    assert_eq!(
        registry.seen()[1].query,
        "account=alice&service=test-service&scope=repository%3Aapp%3Apull%2Cpush"
    );
    assert_eq!(registry.take_log(), [&asked[..], &["HEAD /v2/app/manifests/1 200"]].concat());
    registry.revoke_tokens();
    to.current().await.unwrap().unwrap();
    assert_eq!(registry.take_log(), asked);
    let layer = image.layer_descriptor();
    let other = destination(&format!("{}/other:1", registry.host), &access).await;
    other.current().await.unwrap();
    registry.take_log();
    let found = other.reuse_blob(&layer, Some(&repository(&registry, "app"))).await.unwrap();
    assert_eq!(found, Some(Reused::Mounted));
    assert_eq!(registry.take_log(), ["GET /token 200", "POST /v2/other/blobs/uploads/ 201"]);
}

#[tokio::test]
async fn a_failed_upload_gives_its_session_back() {
    let registry = Registry::start().await;
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    let bytes = Bytes::from(vec![1; 1 << 20]);
    let failure = || Error::new(Kind::StorageFailed, "scripted");
    let descriptor = imagepush::image::Descriptor::of(MediaType::OCTET_STREAM, &bytes);
    let failing = stream::iter([Ok(bytes.slice(..9)), Err(failure())]).boxed();
    let error = to.put_blob(Blob::verified(failing, &descriptor), BlobKind::Layer).await;
    assert_eq!(told(&error.unwrap_err()), told(&failure()));
    registry.received("DELETE /v2/app/blobs/uploads/session-1 204").await;
    assert_eq!(registry.open_sessions(), 0);
}

#[tokio::test]
async fn sessions_move_with_each_answer_and_keep_their_query() {
    let registry = Registry::start().await;
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    let moved = |path: &str| Act::Header("location", format!("/v2/app/blobs/uploads/{path}"));
    registry.add_rule(Rule::each("POST", "/uploads/", moved("session-1?state=a%2Fb")));
    registry.add_rule(Rule::each("PATCH", "/uploads/", moved("session-1?state=c;d&e")));
    let bytes = Bytes::from_static(b"moved");
    to.put_blob(Blob::measured(chunks(&bytes)), BlobKind::Layer).await.unwrap();
    let queries: Vec<String> = registry.seen().into_iter().map(|seen| seen.query).collect();
    let digest = Digest::of(&bytes).to_string().replace(':', "%3A");
    assert_eq!(queries, ["", "state=a%2Fb", &format!("state=c;d&e&digest={digest}")]);
}

#[tokio::test]
async fn requests_say_who_we_are_and_want_plain_bytes() {
    let registry = Registry::start().await;
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    let image = Image::new("x");
    put(&*to, &image).await.unwrap();
    to.put_manifest(&image.manifest, Role::Instance).await.unwrap();
    for seen in registry.seen() {
        let header = |name: &str| seen.headers.get(name).map(|value| value.to_str().unwrap());
        let version = concat!("imagepush/", env!("CARGO_PKG_VERSION"));
        assert_eq!(header("user-agent"), Some(version));
        assert_eq!(header("accept-encoding"), Some("identity"));
        assert_eq!(seen.authorization(), None);
        let sent = match seen.method.as_str() {
            "PUT" if seen.path.contains("manifests") => Some(MediaType::OCI_MANIFEST.to_string()),
            "PUT" => Some("application/octet-stream".to_owned()),
            _ => None,
        };
        assert_eq!(header("content-type"), sent.as_deref(), "{seen}");
    }
}
