//! What a registry that breaks down gets: a clear error of the right class, at once.

use std::time::Duration;

use bytes::Bytes;
use imagepush::blob::Blob;
use imagepush::error::{Class, Error, Kind};
use imagepush::image::{Descriptor, MediaType};
use imagepush::limits::MAX_ERROR_BODY;
use imagepush::options::Retry;
use imagepush::transport::{BlobKind, Role};

use super::harness::*;
use crate::support::push;
use crate::support::raw::{Deed, Raw};
use crate::support::registry::{Act, Registry, Rule};

/// The error of reading `app:1`, with the host written as `HOST`.
async fn reading(act: Act) -> String {
    let registry = Registry::start().await;
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    put(&*to, &Image::new("x")).await.unwrap();
    registry.add_rule(Rule::each("GET", "/manifests/", act));
    let from = source(&format!("{}/app:1", registry.host), &plain()).await;
    let error = from.manifest(None).await.unwrap_err();
    told(&error).replace(&registry.host, "HOST")
}

/// The error of writing a manifest as `app:1`, with the host written as `HOST`.
async fn writing(act: Act) -> Result<(), String> {
    let registry = Registry::start().await;
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    let image = Image::new("x");
    put_blobs(&*to, &image).await.unwrap();
    registry.add_rule(Rule::each("PUT", "/manifests/", act));
    let put = to.put_manifest(&image.manifest, Role::Named).await;
    put.map_err(|error| told(&error).replace(&registry.host, "HOST"))
}

fn respond(status: u16, body: impl Into<Vec<u8>>) -> Act {
    Act::Respond(status, vec![], body.into())
}

fn coded(status: u16, code: &str) -> Act {
    respond(status, format!(r#"{{"errors":[{{"code":"{code}","message":"said"}}]}}"#))
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_is_a_clear_error() {
    let large = format!(r#"{{"schemaVersion":2,"x":"{}"}}"#, "y".repeat(4 << 20));
    let too_long =
        "LimitExceeded Permanent: {}the manifest has more than the limit of 4194304 bytes";
    for (act, message) in [
        (respond(200, large), too_long),
        (Act::Endless, too_long),
        (
            respond(200, r#"{"schemaVersion":2,"mediaType":"application/x-canary"}"#),
            "InvalidImage Permanent: {}`application/x-canary` is not a media type of an image manifest or \
             index",
        ),
        (
            Act::Header("content-type", "application/vnd.oci.image.index.v1+json".into()),
            "InvalidImage Permanent: {}the manifest is served as `application/vnd.oci.image.index.v1+json` \
             but is a `application/vnd.oci.image.manifest.v1+json`",
        ),
        (
            respond(200, "<html>"),
            "InvalidImage Permanent: {}the manifest is malformed: expected value at line 1 column 1",
        ),
        (
            respond(500, "<html>canary"),
            "RegistryUnavailable Transient: {}the registry answered 500 Internal Server Error",
        ),
        (
            coded(503, "UNAVAILABLE"),
            "RegistryUnavailable Transient: {}the registry answered 503 Service Unavailable \
             (UNAVAILABLE: said)",
        ),
        (
            respond(204, ""),
            "RegistryUnavailable Permanent: {}the registry answered 204 No Content, which means nothing \
             here // check that the host is a registry",
        ),
        (
            respond(307, ""),
            "RegistryUnavailable Permanent: {}the registry's answer lacks `Location`",
        ),
        (
            Act::Drop,
            "NetworkError Transient: {}the connection to `HOST` broke: connection closed before message \
             completed",
        ),
        (
            Act::Truncate(5),
            "NetworkError Transient: {}the connection to `HOST` broke: end of file before message length \
             reached",
        ),
    ] {
        let expected = message.replace("{}", "reading manifest `1` of `docker://HOST/app`: ");
        assert_eq!(reading(act).await, expected);
    }
}

#[tokio::test]
async fn another_digest_in_the_header_confuses_nobody() {
    let registry = Registry::start().await;
    let image = Image::new("x");
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    put(&*to, &image).await.unwrap();
    let other = imagepush::image::Digest::of(b"other").to_string();
    registry.add_rule(Rule::each("GET", "", Act::Header("docker-content-digest", other)));
    let from = source(&format!("{}/app:1", registry.host), &plain()).await;
    assert_eq!(from.manifest(None).await.unwrap(), image.manifest);
}

#[tokio::test]
async fn a_manifest_counts_as_written_only_if_it_is_there() {
    let other = imagepush::image::Digest::of(b"other").to_string();
    let rejected = |status: &str| {
        format!(
            "ManifestRejected Permanent: {{}}the registry answered {status} // choose another format with \
             `--format`"
        )
    };
    let nothing = |status: &str| {
        format!(
            "RegistryUnavailable Permanent: {{}}the registry answered {status}, which means nothing here \
             // check that the host is a registry"
        )
    };
    let cases = [
        (Act::Header("docker-content-digest", String::new()), None),
        (Act::Status(200), None),
        (Act::Status(204), None),
        (respond(200, "<html>welcome</html>"), Some(nothing("200 OK"))),
        (respond(202, ""), Some(nothing("202 Accepted"))),
        (
            respond(302, ""),
            Some(
                "RegistryUnavailable Permanent: {}the registry redirects PUT by 302 Found, which is not \
                 followed // check that the host is a registry, and its scheme"
                    .into(),
            ),
        ),
        (
            Act::Header("docker-content-digest", other.clone()),
            Some(format!(
                "ContentMismatch Permanent: {{}}the registry says that it has stored `{other}` instead \
                 // the name may point to that now: something changes manifests on their way, or is no registry"
            )),
        ),
        (
            coded(400, "MANIFEST_INVALID"),
            Some(rejected("400 Bad Request (MANIFEST_INVALID: said)")),
        ),
        (coded(400, "TAG_INVALID"), Some(rejected("400 Bad Request (TAG_INVALID: said)"))),
        (coded(405, "UNSUPPORTED"), Some(rejected("405 Method Not Allowed (UNSUPPORTED: said)"))),
        (respond(415, ""), Some(rejected("415 Unsupported Media Type"))),
        (
            coded(400, "MANIFEST_BLOB_UNKNOWN"),
            Some(
                "ContentMissing Transient: {}the registry answered 400 Bad Request \
                 (MANIFEST_BLOB_UNKNOWN: said)"
                    .into(),
            ),
        ),
        (
            coded(403, "DENIED"),
            Some(
                "AccessDenied Permanent: {}the registry answered 403 Forbidden (DENIED: said) // no \
                 credentials were given: log in with `podman login HOST`, or pass `--creds`"
                    .into(),
            ),
        ),
    ];
    for (act, message) in cases {
        let doing = "writing manifest `1` to `docker://HOST/app`: ";
        let expected = message.map(|message| message.replace("{}", doing));
        assert_eq!(writing(act).await.err(), expected);
    }
}

#[tokio::test]
async fn an_early_refusal_of_a_blob_is_read() {
    let registry = Registry::start().await;
    registry.add_rule(Rule::each("PUT", "/uploads/", Act::RespondEarly(413)));
    registry.add_rule(Rule::each("PATCH", "/uploads/", Act::RespondEarly(413)));
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    let bytes = Bytes::from(vec![1; 4 << 20]);
    for blob in [blob(&bytes), Blob::measured(chunks(&bytes))] {
        let error = to.put_blob(blob, BlobKind::Layer).await.unwrap_err();
        let message = "the registry answered 413 Payload Too Large";
        assert_eq!(error.kind(), Kind::AccessDenied, "{error}");
        assert!(error.to_string().ends_with(message), "{error}");
    }
}

#[tokio::test]
async fn a_broken_upload_may_be_tried_again() {
    let image = Image::new("x");
    for (method, act) in [
        ("POST", Act::Drop),
        ("POST", respond(500, "")),
        ("PUT", Act::Drop),
        ("PUT", respond(503, "")),
        ("PUT", coded(404, "BLOB_UPLOAD_UNKNOWN")),
    ] {
        let registry = Registry::start().await;
        registry.add_rule(Rule::each(method, "/uploads/", act).nth(1));
        let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
        let error = to.put_blob(blob(&image.layer), BlobKind::Layer).await.unwrap_err();
        assert_eq!(error.class(), Class::Transient, "{error}");
        to.put_blob(blob(&image.layer), BlobKind::Layer).await.unwrap();
        let there = to.reuse_blob(&image.layer_descriptor(), None).await.unwrap();
        assert!(there.is_some());
    }
}

#[tokio::test]
async fn a_registry_that_lies_about_a_blob_is_not_believed() {
    let image = Image::new("x");
    let layer = image.layer_descriptor();
    let other = imagepush::image::Digest::of(b"other").to_string();
    for (act, kind) in [
        (respond(200, ""), Kind::RegistryUnavailable),
        (respond(202, ""), Kind::RegistryUnavailable),
        (Act::Header("docker-content-digest", other), Kind::ContentMismatch),
    ] {
        let registry = Registry::start().await;
        registry.add_rule(Rule::each("PUT", "/uploads/", act));
        let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
        let error = to.put_blob(blob(&image.layer), BlobKind::Layer).await.unwrap_err();
        assert_eq!((error.kind(), error.class()), (kind, Class::Permanent), "{layer:?} {error}");
    }
}

#[tokio::test]
async fn a_wait_that_is_asked_for_is_passed_on() {
    let registry = Registry::start().await;
    let slow_down = Act::Respond(429, vec![("retry-after", "7".into())], vec![]);
    registry.add_rule(Rule::each("HEAD", "/manifests/", slow_down));
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    let error = to.current().await.unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (Kind::RateLimited, 75));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_registry_that_is_down_is_told_from_one_that_is_wrong() {
    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let message = |host: &str, place: &str, cause: &str| {
        format!(
            "NetworkError Transient: reading manifest `1` of `docker://{host}/app`: cannot connect to \
             `{place}`: {cause}"
        )
    };
    for access in [plain(), tls(imagepush::access::TlsPolicy::SkipVerifyOrPlainHttp, None)] {
        let to = destination(&format!("{closed}/app:1"), &access).await;
        let refused = "Connection refused (os error 111) \
                       // check that the registry runs, and its host and port";
        let expected = message(&closed.to_string(), &closed.to_string(), refused);
        assert_eq!(told(&to.current().await.unwrap_err()), expected);
    }
}

/// Runs `work` until the registry has the request, then lets the clock run to the end of all patience.
async fn starved<T>(
    registry: &Registry,
    request: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> String {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        _ = &mut work => panic!("it ended before the registry fell silent"),
        () = registry.received(request) => {}
    }
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let error = work.await.map(|_| ()).unwrap_err();
    // A download goes on once, and waits as long again.
    assert!(start.elapsed() < Duration::from_secs(150), "{request}: {:?}", start.elapsed());
    tokio::time::resume();
    told(&error).replace(&registry.host, "HOST")
}

#[tokio::test]
async fn a_silent_registry_is_given_up() {
    let registry = Registry::start().await;
    let name = format!("{}/app:1", registry.host);
    let to = destination(&name, &plain()).await;
    let image = Image::new("x");
    put(&*to, &image).await.unwrap();
    registry.take_log();
    let absent = Image::new("y");
    let digest = absent.layer_descriptor().digest;
    registry.add_rule(Rule::each("HEAD", "/manifests/", Act::Stall));
    registry.add_rule(Rule::each("GET", "/blobs/", Act::StallBody(5)));
    registry.add_rule(Rule::each("PUT", "/uploads/", Act::Stall));

    let found = starved(&registry, "HEAD /v2/app/manifests", to.current()).await;
    assert_eq!(
        found,
        "Timeout Transient: reading manifest `1` of `docker://HOST/app`: `HOST` did not answer within 60 s"
    );
    let from = source(&name, &plain()).await;
    let layer = image.layer_descriptor();
    let download = async { collect(from.blob(&layer).await?).await };
    let found = starved(&registry, "GET /v2/app/blobs", download).await;
    assert_eq!(found, "Timeout Transient: `HOST` sent nothing for 60 s");
    let upload = to.put_blob(blob(&absent.layer), BlobKind::Layer);
    let found = starved(&registry, "PUT /v2/app/blobs", upload).await;
    assert_eq!(
        found,
        format!(
            "Timeout Transient: writing blob `{digest}` to `docker://HOST/app`: the registry took \
             nothing and answered nothing for 60 s"
        )
    );
}

/// Its window is full, and stays so.
#[tokio::test]
async fn a_registry_that_stops_taking_is_given_up() {
    let begun =
        "HTTP/1.1 202 Accepted\r\nlocation: /v2/app/blobs/uploads/1\r\ncontent-length: 0\r\n\r\n";
    let server = Raw::start(vec![Deed::answer(begun), Deed::Hang]).await;
    let to = destination(&format!("{}/app:1", server.host), &plain()).await;
    let large = Bytes::from(vec![7; 32 << 20]);
    let mut upload = std::pin::pin!(to.put_blob(blob(&large), BlobKind::Layer));
    let asked = async {
        while server.heads().len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // As much as there is room for goes on its way.
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    tokio::select! {
        _ = &mut upload => panic!("it ended before the registry stopped"),
        () = asked => {}
    }
    tokio::time::pause();
    let ended = tokio::time::timeout(Duration::from_mins(5), upload).await;
    let error = ended.expect("it is given up").unwrap_err();
    assert_eq!((error.kind(), error.class()), (Kind::Timeout, Class::Transient), "{error}");
    assert!(error.to_string().ends_with("took nothing and answered nothing for 60 s"), "{error}");
}

/// As many requests as attempts, and each upload that was opened is ended.
#[tokio::test]
async fn a_registry_that_only_fails_is_given_up() {
    for (method, path, opened) in [
        ("HEAD", "/manifests/", 0),
        ("POST", "/uploads/", 0),
        ("PUT", "/uploads/", 3),
        ("PUT", "/manifests/", 0),
    ] {
        let registry = Registry::start().await;
        registry.add_rule(Rule::each(method, path, Act::Respond(503, vec![], vec![])));
        let folder = tempfile::tempdir().unwrap();
        crate::support::layout::write_layout(folder.path(), "1", 0, 0);
        let source = format!("oci:{}:1", folder.path().display());
        let mut options = push::options(&source, &format!("docker://{}/app:1", registry.host));
        options.destination.access = plain();
        options.retry = Retry::new(2, Some(Duration::from_millis(1))).unwrap();
        let error = push::run(&options).await.unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (Kind::RegistryUnavailable, 75), "{error}");
        let log = registry.take_log();
        let failed = log.iter().filter(|line| line.starts_with(method) && line.ends_with("503"));
        assert_eq!(failed.count(), 3, "{method} {path}: {log:#?}");
        let ended = log.iter().filter(|line| line.starts_with("DELETE")).count();
        assert_eq!((registry.open_sessions(), ended), (0, opened), "{method} {path}: {log:#?}");
    }
}

#[tokio::test]
async fn a_download_that_breaks_off_tells_so() {
    let registry = Registry::start().await;
    let image = Image::new("x");
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    put(&*to, &image).await.unwrap();
    registry.add_rule(Rule::each("GET", "/blobs/", Act::Truncate(100)));
    let from = source(&format!("{}/app:1", registry.host), &plain()).await;
    let blob = from.blob(&image.layer_descriptor()).await.unwrap();
    let error = collect(blob).await.unwrap_err();
    assert_eq!((error.kind(), error.class()), (Kind::NetworkError, Class::Transient));
}

#[tokio::test]
async fn an_errors_body_is_read_up_to_a_bound() {
    for (padding, told) in [(0, " (DENIED: said)"), (MAX_ERROR_BODY, "")] {
        let body = format!(
            r#"{{"errors":[{{"code":"DENIED","message":"said"}}],"x":"{}"}}"#,
            "y".repeat(padding)
        );
        let expected = format!(
            "AccessDenied Permanent: reading manifest `1` of `docker://HOST/app`: the registry answered \
             403 Forbidden{told} // no credentials were given: log in with `podman login HOST`, or pass \
             `--creds`"
        );
        assert_eq!(reading(respond(403, body)).await, expected);
    }
}

#[tokio::test]
async fn control_characters_of_a_registry_reach_no_terminal() {
    let registry = Registry::start().await;
    let body = r#"{"errors":[{"code":"DENIED","message":"\u001b]0;canary\r\u202e"}]}"#;
    registry.add_rule(Rule::each("HEAD", "/blobs/", respond(403, "")));
    registry.add_rule(Rule::each("GET", "/blobs/", respond(403, body)));
    let from = source(&format!("{}/app:1", registry.host), &plain()).await;
    let absent = Descriptor::of(MediaType::OCTET_STREAM, b"absent");
    let error = from.blob(&absent).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().ends_with("(DENIED: \\u{1b}]0;canary\\r\\u{202e})"), "{error}");
}
