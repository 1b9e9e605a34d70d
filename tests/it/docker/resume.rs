//! What becomes of an upload that breaks off.

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use imagepush::blob::Blob;
use imagepush::error::{Class, Error, Kind};
use imagepush::image::{Descriptor, MediaType};
use imagepush::options::Retry;
use imagepush::transport::{BlobKind, ImageDestination, Repository};

use super::harness::*;
use crate::support::canary::secret;
use crate::support::docker_registry::DockerRegistry;
use crate::support::images::{self, Content, Form};
use crate::support::push;
use crate::support::registry::{Act, Login, Quirk, Registry, Rule};
use crate::support::relay::Relay;

const SIZE: usize = 3 << 20;
const CUT: usize = 1 << 20;
const PREFIX: &str = "/v2/app/blobs/uploads";

fn large() -> Bytes {
    images::random(1, SIZE).into()
}

async fn put_once(to: &dyn ImageDestination, bytes: &Bytes) -> Result<(), Error> {
    to.put_blob(blob(bytes), BlobKind::Layer).await
}

async fn open(registry: &Registry) -> Box<dyn ImageDestination> {
    destination(&format!("{}/app:1", registry.host), &plain()).await
}

/// The requests but the looks at blobs: whether there is one after a break depends on what was on its way by then.
fn take_log(registry: &Registry) -> Vec<String> {
    let mut log = registry.take_log();
    log.retain(|line| !line.starts_with("HEAD "));
    log
}

/// Whether the registry has these bytes as a blob.
async fn has(registry: &Registry, bytes: &Bytes) -> bool {
    let descriptor = Descriptor::of(MediaType::OCTET_STREAM, bytes);
    open(registry).await.reuse_blob(&descriptor, None).await.unwrap().is_some()
}

#[tokio::test]
async fn a_broken_upload_goes_on_where_the_registry_stands() {
    for (act, status, kind) in [
        (Act::CutBody(CUT), 0, Kind::NetworkError),
        (Act::RefuseBody(CUT, 503, String::new()), 503, Kind::RegistryUnavailable),
        (Act::RefuseBody(CUT, 429, String::new()), 429, Kind::RateLimited),
    ] {
        let registry = Registry::start().await;
        registry.add_rule(Rule::each("PUT", "/uploads/", act).nth(1));
        let (to, bytes) = (open(&registry).await, large());
        let error = put_once(&*to, &bytes).await.unwrap_err();
        assert_eq!((error.kind(), error.class()), (kind, Class::Transient), "{error}");
        put_once(&*to, &bytes).await.unwrap();
        drop(to);
        assert_eq!(registry.bytes_taken("PUT", "/uploads/"), CUT);
        assert_eq!(registry.bytes_taken("PATCH", "/uploads/"), SIZE - CUT);
        let seen = registry.seen();
        let patch = seen.iter().find(|seen| seen.method == "PATCH").unwrap();
        assert_eq!(patch.headers["content-range"], format!("{CUT}-{}", SIZE - 1));
        assert_eq!(
            take_log(&registry),
            [
                format!("POST {PREFIX}/ 202"),
                format!("PUT {PREFIX}/session-1 {status}"),
                format!("GET {PREFIX}/session-1 204"),
                format!("PATCH {PREFIX}/session-1 202"),
                format!("PUT {PREFIX}/session-1 201"),
            ]
        );
        assert!(has(&registry, &bytes).await);
        assert_eq!(registry.open_sessions(), 0);
    }
}

#[tokio::test]
async fn an_upload_may_break_again_and_again() {
    let registry = Registry::start().await;
    registry.add_rule(Rule::each("PUT", "/uploads/", Act::CutBody(CUT)).nth(1));
    registry.add_rule(Rule::each("PATCH", "/uploads/", Act::CutBody(CUT)).nth(1));
    registry.add_rule(Rule::each("PUT", "/uploads/", Act::Respond(503, vec![], vec![])).nth(1));
    let (to, bytes) = (open(&registry).await, large());
    for _ in 0..3 {
        put_once(&*to, &bytes).await.unwrap_err();
    }
    put_once(&*to, &bytes).await.unwrap();
    let taken = ["PUT", "PATCH"].map(|method| registry.bytes_taken(method, "/uploads/"));
    assert_eq!(taken, [CUT, SIZE - CUT]);
    assert!(has(&registry, &bytes).await);
}

/// What a registry has that never left us isn't ours.
#[tokio::test]
async fn a_registry_that_has_more_than_left_us_is_not_gone_on_with() {
    let registry = Registry::start().await;
    let range = Act::Header("range", format!("0-{}", 2 * CUT));
    registry.add_rule(Rule::each("GET", "/uploads/", range).nth(1));
    let (to, bytes) = (open(&registry).await, large());
    let failure = Error::new(Kind::NetworkError, "scripted");
    let torn = stream::iter([Ok(bytes.slice(..CUT)), Err(failure)]).boxed();
    let torn = Blob::verified(torn, &Descriptor::of(MediaType::OCTET_STREAM, &bytes));
    to.put_blob(torn, BlobKind::Layer).await.unwrap_err();
    put_once(&*to, &bytes).await.unwrap();
    assert_eq!(
        take_log(&registry)[2..],
        [
            format!("GET {PREFIX}/session-1 204"),
            format!("DELETE {PREFIX}/session-1 204"),
            format!("POST {PREFIX}/ 202"),
            format!("PUT {PREFIX}/session-2 201"),
        ]
    );
}

#[tokio::test]
async fn a_token_that_expires_in_mid_body_costs_neither_an_attempt_nor_what_was_sent() {
    let registry = Registry::start().await;
    registry.set_login(Login::bearer("alice", secret("docker::resume")));
    let to = destination(
        &format!("{}/app:1", registry.host),
        &plain_as("alice", secret("docker::resume")),
    )
    .await;
    let bytes = large();
    put_once(&*to, &Bytes::from_static(b"so that we know each other")).await.unwrap();
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"s\"", registry.host);
    registry.add_rule(Rule::each("PUT", "/uploads/", Act::RefuseBody(CUT, 401, challenge)).nth(1));
    let error = put_once(&*to, &bytes).await.unwrap_err();
    assert!(error.wants_sending_again(), "{error:?}");
    put_once(&*to, &bytes).await.unwrap();
    assert_eq!(registry.bytes_taken("PATCH", "/uploads/"), SIZE - CUT);
}

#[tokio::test]
async fn a_session_that_cannot_be_gone_on_with_is_given_back() {
    let range = |range: &str| Act::Header("range", range.to_owned());
    for (act, status) in [
        (Act::Respond(404, vec![], vec![]), 404),
        (Act::Respond(405, vec![], vec![]), 405),
        (Act::Respond(416, vec![], vec![]), 416),
        (range(""), 204),
        (range("0-0"), 204),
        (range("7-9"), 204),
        (range("nonsense"), 204),
        // More than left us.
        (range(&format!("0-{}", SIZE * 2)), 204),
    ] {
        let registry = Registry::start().await;
        registry.add_rule(Rule::each("PUT", "/uploads/", Act::CutBody(CUT)).nth(1));
        registry.add_rule(Rule::each("GET", "/uploads/", act).nth(1));
        let (to, bytes) = (open(&registry).await, large());
        put_once(&*to, &bytes).await.unwrap_err();
        put_once(&*to, &bytes).await.unwrap();
        assert_eq!(
            take_log(&registry)[2..],
            [
                format!("GET {PREFIX}/session-1 {status}"),
                format!("DELETE {PREFIX}/session-1 204"),
                format!("POST {PREFIX}/ 202"),
                format!("PUT {PREFIX}/session-2 201"),
            ]
        );
        assert_eq!(registry.open_sessions(), 0);
    }
}

#[tokio::test]
async fn a_registry_that_says_it_has_more_than_has_left_us_gets_the_whole() {
    let registry = Registry::start().await;
    let more = format!("0-{}", 2 * CUT - 1);
    registry.add_rule(Rule::each("GET", "/uploads/", Act::Header("range", more)));
    let (to, bytes) = (open(&registry).await, large());
    let descriptor = Descriptor::of(MediaType::OCTET_STREAM, &bytes);
    let lost = Error::new(Kind::NetworkError, "scripted");
    let broken = stream::iter([Ok(bytes.slice(..CUT)), Err(lost)]).boxed();
    to.put_blob(Blob::verified(broken, &descriptor), BlobKind::Layer).await.unwrap_err();
    put_once(&*to, &bytes).await.unwrap();
    assert_eq!(
        take_log(&registry)[2..],
        [
            format!("GET {PREFIX}/session-1 204"),
            format!("DELETE {PREFIX}/session-1 204"),
            format!("POST {PREFIX}/ 202"),
            format!("PUT {PREFIX}/session-2 201"),
        ]
    );
}

#[tokio::test]
async fn a_registry_that_misleads_about_where_it_stands_gets_the_whole_again() {
    for off in [CUT - 2, CUT] {
        let registry = Registry::start().await;
        let (to, bytes) = (open(&registry).await, large());
        for _ in 0..2 {
            registry.add_rule(Rule::each("PUT", "/uploads/", Act::CutBody(CUT)).nth(1));
        }
        registry.add_rule(Rule::each("GET", "/uploads/", Act::Header("range", format!("0-{off}"))));
        put_once(&*to, &bytes).await.unwrap_err();
        let error = put_once(&*to, &bytes).await.unwrap_err();
        assert!(error.wants_sending_again(), "{error:?}");
        put_once(&*to, &bytes).await.unwrap_err();
        put_once(&*to, &bytes).await.unwrap();
        drop(to);
        assert_eq!(
            take_log(&registry)[2..],
            [
                format!("GET {PREFIX}/session-1 204"),
                format!("PATCH {PREFIX}/session-1 416"),
                format!("DELETE {PREFIX}/session-1 204"),
                // It isn't asked a second time.
                format!("POST {PREFIX}/ 202"),
                format!("PUT {PREFIX}/session-2 0"),
                format!("DELETE {PREFIX}/session-2 204"),
                format!("POST {PREFIX}/ 202"),
                format!("PUT {PREFIX}/session-3 201"),
            ]
        );
    }
}

#[tokio::test]
async fn a_registry_that_counts_a_byte_too_many_is_gone_on_with_once_it_refuses() {
    let registry = Registry::start_as(Quirk::Quay).await;
    registry.add_rule(Rule::each("PUT", "/uploads/", Act::CutBody(CUT)).nth(1));
    let (to, bytes) = (open(&registry).await, large());
    put_once(&*to, &bytes).await.unwrap_err();
    let error = put_once(&*to, &bytes).await.unwrap_err();
    assert!(error.wants_sending_again(), "{error:?}");
    put_once(&*to, &bytes).await.unwrap();
    assert_eq!(registry.bytes_taken("PATCH", "/uploads/"), SIZE - CUT);
    assert_eq!(
        take_log(&registry)[2..],
        [
            format!("GET {PREFIX}/session-1 204"),
            format!("PATCH {PREFIX}/session-1 416"),
            format!("PATCH {PREFIX}/session-1 202"),
            format!("PUT {PREFIX}/session-1 201"),
        ]
    );
    assert!(has(&registry, &bytes).await);
}

#[tokio::test]
async fn a_registry_that_refuses_where_it_says_that_it_stands_gets_the_whole_again() {
    let registry = Registry::start().await;
    let elsewhere = vec![("range", format!("0-{}", CUT / 2))];
    registry.add_rule(Rule::each("PUT", "/uploads/", Act::CutBody(CUT)).nth(1));
    registry.add_rule(Rule::each("PATCH", "/uploads/", Act::Respond(416, elsewhere, vec![])));
    let (to, bytes) = (open(&registry).await, large());
    put_once(&*to, &bytes).await.unwrap_err();
    for _ in 0..2 {
        let error = put_once(&*to, &bytes).await.unwrap_err();
        assert!(error.wants_sending_again(), "{error:?}");
    }
    put_once(&*to, &bytes).await.unwrap();
    assert_eq!(
        take_log(&registry)[2..],
        [
            format!("GET {PREFIX}/session-1 204"),
            format!("PATCH {PREFIX}/session-1 416"),
            format!("PATCH {PREFIX}/session-1 416"),
            format!("DELETE {PREFIX}/session-1 204"),
            format!("POST {PREFIX}/ 202"),
            format!("PUT {PREFIX}/session-2 201"),
        ]
    );
}

#[tokio::test]
async fn bytes_that_were_corrupt_on_their_first_way_are_sent_again() {
    let registry = Registry::start().await;
    let (to, bytes) = (open(&registry).await, large());
    let descriptor = Descriptor::of(MediaType::OCTET_STREAM, &bytes);
    let mut corrupt = bytes[..CUT].to_vec();
    corrupt[7] ^= 1;
    let lost = Error::new(Kind::NetworkError, "scripted");
    let broken = stream::iter([Ok(corrupt.into()), Err(lost.clone())]).boxed();
    let error = to.put_blob(Blob::verified(broken, &descriptor), BlobKind::Layer).await;
    assert_eq!(told(&error.unwrap_err()), told(&lost));
    let error = put_once(&*to, &bytes).await.unwrap_err();
    assert!(error.wants_sending_again() && error.to_string().contains("DIGEST_INVALID"), "{error}");
    put_once(&*to, &bytes).await.unwrap();
    assert!(has(&registry, &bytes).await);
}

#[tokio::test]
async fn a_blob_whose_last_answer_is_lost_is_looked_up() {
    for bytes in [large(), Bytes::from_static(b"small")] {
        let registry = Registry::start().await;
        registry.add_rule(Rule::each("PUT", "/uploads/", Act::DropAnswer).nth(1));
        let to = open(&registry).await;
        put_once(&*to, &bytes).await.unwrap();
        let digest = Descriptor::of(MediaType::OCTET_STREAM, &bytes).digest;
        let head = format!("HEAD /v2/app/blobs/{digest} 200");
        assert_eq!(registry.take_log()[2..], [head]);
        to.put_blob(Blob::measured(chunks(&bytes)), BlobKind::Layer).await.unwrap();
    }
}

#[tokio::test]
async fn every_session_ends() {
    let registry = Registry::start().await;
    let bytes = large();
    // One that broke off, one whose future is dropped, one opened instead of a mount.
    registry.add_rule(Rule::each("PUT", "/uploads/session-1", Act::CutBody(CUT)));
    registry.add_rule(Rule::each("PUT", "/uploads/session-2", Act::Stall));
    let to = open(&registry).await;
    put_once(&*to, &bytes).await.unwrap_err();
    let other = Bytes::from_static(b"other");
    let stalled = format!("PUT {PREFIX}/session-2");
    tokio::select! {
        _ = put_once(&*to, &other) => panic!("it stalls"),
        () = registry.received(&stalled) => {}
    }
    let from = Repository { registry: registry.host.clone(), path: "none".to_owned() };
    let absent = Descriptor::of(MediaType::OCTET_STREAM, b"absent");
    assert_eq!(to.reuse_blob(&absent, Some(&from)).await.unwrap(), None);
    assert_eq!(registry.open_sessions(), 3);
    to.abandon().await;
    assert_eq!(registry.open_sessions(), 0);
}

#[tokio::test]
async fn dropping_a_destination_cancels_its_sessions() {
    let registry = Registry::start().await;
    registry.add_rule(Rule::each("PUT", "/uploads/", Act::CutBody(CUT)));
    let to = open(&registry).await;
    put_once(&*to, &large()).await.unwrap_err();
    assert_eq!(registry.open_sessions(), 1);
    drop(to);
    registry.received(&format!("DELETE {PREFIX}/session-1 204")).await;
    assert_eq!(registry.open_sessions(), 0);
}

#[tokio::test]
async fn cancelling_a_session_takes_two_seconds_at_most_and_hides_nothing() {
    for act in [
        Act::Stall,
        Act::Drop,
        Act::Respond(405, vec![], vec![]),
        Act::Respond(401, vec![], vec![]),
        Act::Respond(500, vec![], vec![]),
    ] {
        let registry = Registry::start().await;
        registry.add_rule(Rule::each("PUT", "/uploads/", Act::Respond(403, vec![], vec![])));
        registry.add_rule(Rule::each("DELETE", "/uploads/", act));
        let to = open(&registry).await;
        let start = std::time::Instant::now();
        let error = put_once(&*to, &Bytes::from_static(b"x")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::AccessDenied, "{error}");
        assert!(start.elapsed().as_secs() < 4);
    }
}

#[tokio::test]
async fn an_empty_blob_is_verified_to_its_end() {
    let registry = Registry::start().await;
    let to = open(&registry).await;
    let empty = Descriptor::of(MediaType::OCTET_STREAM, b"");
    let longer = stream::iter([Ok(Bytes::from_static(b"x"))]).boxed();
    let error = to.put_blob(Blob::verified(longer, &empty), BlobKind::Layer).await.unwrap_err();
    assert_eq!(error.kind(), Kind::ContentMismatch);
    assert!(!has(&registry, &Bytes::new()).await);
    put_once(&*to, &Bytes::new()).await.unwrap();
    assert!(has(&registry, &Bytes::new()).await);
}

/// An image whose one layer is larger than any buffer on the way.
fn heavy(seed: u64) -> Content {
    Content::image("linux", "amd64", &[images::layer(seed, 6 << 20, Form::Gzip)])
}

async fn push_through(relay: &Relay, content: &Content, retries: u32) -> Result<(), Error> {
    let folder = tempfile::tempdir().unwrap();
    content.write_layout(folder.path(), Some("1"));
    let source = format!("oci:{}:1", folder.path().display());
    let mut options = push::options(&source, &format!("docker://{}/app:1", relay.host));
    options.destination.access = plain();
    options.retry = Retry::new(retries, Some(std::time::Duration::from_millis(10))).unwrap();
    push::run(&options).await.map(drop)
}

#[tokio::test]
async fn a_push_over_a_network_that_breaks_sends_nothing_twice() {
    let registry = Registry::start().await;
    let relay = Relay::start(&registry.host, &[2 << 20, 4 << 20, 5 << 20]).await;
    push_through(&relay, &heavy(1), 3).await.unwrap();
    assert_eq!(relay.cuts_left(), 0, "{} {:#?}", relay.sent(), registry.take_log());
    // Besides requests' heads only what was on its way when the connection was cut.
    assert!(relay.sent() < 7 << 20, "{}", relay.sent());
    assert_eq!(registry.open_sessions(), 0);
    let error = push_through(&Relay::start(&registry.host, &[2 << 20]).await, &heavy(2), 0).await;
    assert_eq!(error.unwrap_err().kind(), Kind::NetworkError);
    assert_eq!(registry.open_sessions(), 0);
}

#[tokio::test]
async fn docker_registry_gets_the_right_image_over_a_network_that_breaks() {
    let registry = DockerRegistry::plain();
    let relay = Relay::start(&registry.host, &[1000, 2 << 20, 6 << 20]).await;
    let content = heavy(3);
    push_through(&relay, &content, 4).await.unwrap();
    assert_eq!(relay.cuts_left(), 0);
    let from = source(&format!("{}/app:1", registry.host), &plain()).await;
    let manifest = from.manifest(None).await.unwrap();
    assert_eq!(manifest.digest().to_string(), content.digest());
    for blob in manifest.as_image().unwrap().blobs() {
        let bytes = collect(from.blob(blob).await.unwrap()).await.unwrap();
        assert_eq!(bytes, content.blobs[&blob.digest.to_string()]);
    }
}
