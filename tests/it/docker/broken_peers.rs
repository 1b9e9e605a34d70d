//! What peers get that break off, slow us down, or don't speak HTTP as they should.

use std::time::Duration;

use bytes::Bytes;
use imagepush::access::Egress;
use imagepush::blob::Blob;
use imagepush::error::{Class, Kind};
use imagepush::image::{Descriptor, MediaType};
use imagepush::limits::{CONNECT_TIMEOUT, RESPONSE_TIMEOUT};
use imagepush::transport::{BlobKind, Role};
use tokio::time::Instant;

use super::egress::network;
use super::harness::*;
use crate::support::raw::{Deed, Raw};
use crate::support::registry::{Act, Registry, Rule};

const ABSENT: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";

/// What is told of a server whose answers these are, with its host written as `HOST`.
async fn told_of(deeds: Vec<Deed>) -> String {
    let server = Raw::start(deeds).await;
    let from = source(&format!("{}/app:1", server.host), &plain()).await;
    match from.manifest(None).await {
        Ok(manifest) => format!("ok: {}", manifest.bytes().len()),
        Err(error) => {
            let doing = "reading manifest `1` of `docker://HOST/app`: ";
            told(&error).replace(&server.host, "HOST").replace(doing, "")
        }
    }
}

#[tokio::test]
async fn a_head_that_trickles_in_is_given_up() {
    let head = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "a".repeat(1000));
    let server = Raw::start(vec![Deed::answer(ABSENT), Deed::Trickle(head.into_bytes())]).await;
    let from = source(&format!("{}/app:1", server.host), &plain()).await;
    assert_eq!(from.manifest(None).await.unwrap_err().kind(), Kind::NotFound);
    // The connection is there; from now on time passes where nothing else happens.
    tokio::time::pause();
    let start = Instant::now();
    let error = from.manifest(None).await.unwrap_err();
    let took = start.elapsed();
    assert_eq!((error.kind(), error.class()), (Kind::Timeout, Class::Transient), "{error}");
    assert!(error.to_string().ends_with("did not answer within 60 s"), "{error}");
    let bounds = RESPONSE_TIMEOUT..=RESPONSE_TIMEOUT + CONNECT_TIMEOUT + Duration::from_secs(1);
    assert!(bounds.contains(&took), "{took:?}");
}

#[tokio::test]
async fn answers_that_are_no_http_are_refused() {
    let ok = |headers: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n{body}");
    let manifest = r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":2},"layers":[],"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#;
    let length = manifest.len();
    let whole = format!("ok: {length}");
    let no_http = "NetworkError Permanent: `HOST` answers with something that is not HTTP \
                   // check the port, and whether the registry speaks TLS there";
    let broke =
        |cause: &str| format!("NetworkError Transient: the connection to `HOST` broke: {cause}");
    let cut = broke("end of file before message length reached");
    let malformed = "InvalidImage Permanent: the manifest is malformed: EOF while parsing a string at line 1 column 20";
    let cases = [
        (ok(&format!("content-length: {length}\r\n"), manifest), whole.as_str()),
        // Informational answers come before the real one.
        (
            format!(
                "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n{}",
                ok(&format!("content-length: {length}\r\n"), manifest)
            ),
            &whole,
        ),
        (
            ok("transfer-encoding: chunked\r\n", &format!("{length:x}\r\n{manifest}\r\n0\r\n\r\n")),
            &whole,
        ),
        (ok("content-length: 20\r\n", manifest), malformed),
        (ok(&format!("content-length: {}\r\n", length + 1), manifest), &cut),
        // The forms by which requests are smuggled.
        (ok(&format!("content-length: {length}\r\ncontent-length: 20\r\n"), manifest), no_http),
        (ok("content-length: -1\r\n", manifest), no_http),
        (ok("content-length: +20\r\n", manifest), no_http),
        // TLS, and something else altogether.
        ("\x15\x03\x01\0\x02\x02\x16".to_owned(), no_http),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(), no_http),
        (
            "HTTP/1.1 304 Not Modified\r\n\r\n".to_owned(),
            "RegistryUnavailable Permanent: the registry answered 304 Not Modified, which means nothing here \
             // check that the host is a registry",
        ),
        (
            "HTTP/1.1 301 Moved Permanently\r\ncontent-length: 0\r\n\r\n".to_owned(),
            "RegistryUnavailable Permanent: the registry's answer lacks `Location`",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-le".to_owned(),
            &broke("connection closed before message completed"),
        ),
    ];
    for (answer, expected) in cases {
        let told = told_of(vec![Deed::last(&answer)]).await;
        assert_eq!(told, expected.to_owned(), "{answer:?}");
    }
    let told = told_of(vec![Deed::Close]).await;
    assert_eq!(told, broke("connection closed before message completed"));
}

#[tokio::test]
async fn chunks_and_a_length_at_once_are_no_way_to_smuggle() {
    let both = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let told = told_of(vec![Deed::last(both)]).await;
    assert!(!told.starts_with("ok"), "{told}");
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_replaced() {
    let server = Raw::start(vec![Deed::last(ABSENT)]).await;
    let to = destination(&format!("{}/app:1", server.host), &plain()).await;
    for _ in 0..20 {
        assert_eq!(to.current().await.unwrap(), None);
    }
    assert_eq!(server.heads().len(), 20);
}

/// Load balancers close theirs after a minute, without a look at whether a request is on its way.
#[tokio::test]
async fn an_idle_connection_is_given_up_before_others_do() {
    let server = Raw::start(vec![Deed::answer(ABSENT)]).await;
    let to = destination(&format!("{}/app:1", server.host), &plain()).await;
    for (idle, connections) in [(0, 1), (45, 1), (51, 2), (45, 2)] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(idle)).await;
        tokio::time::resume();
        assert_eq!(to.current().await.unwrap(), None);
        assert_eq!(server.connections(), connections, "after {idle} s");
    }
}

#[tokio::test]
async fn a_refusal_while_we_still_send_is_read() {
    let opened =
        "HTTP/1.1 202 Accepted\r\nlocation: /v2/app/blobs/uploads/1\r\ncontent-length: 0\r\n\r\n";
    let body = r#"{"errors":[{"code":"DENIED","message":"not you"}]}"#;
    let refusal = format!(
        "HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let bytes = Bytes::from(vec![1; 8 << 20]);
    for blob in [blob(&bytes), Blob::measured(chunks(&bytes))] {
        let early = Deed::Early(64 << 10, refusal.clone().into_bytes());
        let server = Raw::start(vec![Deed::answer(opened), early, Deed::last(ABSENT)]).await;
        let to = destination(&format!("{}/app:1", server.host), &plain()).await;
        let error = to.put_blob(blob, BlobKind::Layer).await.unwrap_err();
        let message = "the registry answered 403 Forbidden (DENIED: not you)";
        assert_eq!(error.class(), Class::Permanent, "{error}");
        assert!(error.to_string().ends_with(message), "{error}");
    }
}

/// The blob is still being made then, and nobody knows what to call it.
#[tokio::test]
async fn an_answer_that_comes_before_the_blob_is_no_success() {
    let accepted =
        "HTTP/1.1 202 Accepted\r\nlocation: /v2/app/blobs/uploads/1\r\ncontent-length: 0\r\n\r\n";
    let early = Deed::Early(64 << 10, accepted.as_bytes().to_vec());
    let server = Raw::start(vec![Deed::answer(accepted), early, Deed::last(ABSENT)]).await;
    let to = destination(&format!("{}/app:1", server.host), &plain()).await;
    let blob = Blob::measured(chunks(&Bytes::from(vec![1; 8 << 20])));
    let error = to.put_blob(blob, BlobKind::Layer).await.unwrap_err();
    assert_eq!(error.class(), Class::Transient, "{error}");
    let message = "the registry answered before it had the blob";
    assert!(error.to_string().ends_with(message), "{error}");
}

#[tokio::test]
async fn a_pause_holds_for_all_workers_of_the_host() {
    let (registry, other) = (Registry::start().await, Registry::start().await);
    let access = plain();
    let slow_down = Act::Respond(429, vec![("retry-after", "1".into())], vec![]);
    registry.add_rule(Rule::each("PUT", "/manifests/", slow_down).nth(1));
    let name = format!("{}/app:1", registry.host);
    let (worker, second) = (destination(&name, &access).await, destination(&name, &access).await);
    let elsewhere = destination(&format!("{}/app:1", other.host), &access).await;
    second.current().await.unwrap();
    elsewhere.current().await.unwrap();

    let image = Image::new("x");
    put_blobs(&*worker, &image).await.unwrap();
    let error = worker.put_manifest(&image.manifest, Role::Named).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.retry_after()),
        (Kind::RateLimited, Some(Duration::from_secs(1)))
    );
    let start = Instant::now();
    elsewhere.current().await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(500), "another host has asked for nothing");
    second.current().await.unwrap();
    assert!(start.elapsed() > Duration::from_millis(700), "it was sent something in its pause");
}

#[tokio::test]
async fn a_pause_that_is_too_long_is_told_to_the_others() {
    let registry = Registry::start().await;
    let access = plain();
    let slow_down = Act::Respond(503, vec![("retry-after", "99999999".into())], vec![]);
    registry.add_rule(Rule::each("HEAD", "/manifests/", slow_down).nth(1));
    let name = format!("{}/app:1", registry.host);
    let (worker, second) = (destination(&name, &access).await, destination(&name, &access).await);
    assert_eq!(worker.current().await.unwrap_err().kind(), Kind::RegistryUnavailable);
    let error = second.current().await.unwrap_err();
    assert_eq!((error.kind(), error.class()), (Kind::RateLimited, Class::Transient), "{error}");
    assert!(
        error.to_string().contains(&format!("`{}` wants no requests for another", registry.host))
    );
    assert_eq!(registry.seen().len(), 1);
}

/// Reads a blob of 3 MiB whose download breaks at byte `at` and is answered so when it goes on. Returns the requests'
/// `Range` headers, and how it ended.
async fn resumed(at: usize, acts: Vec<Act>) -> (Vec<String>, Result<(), String>) {
    let registry = Registry::start().await;
    let mut image = Image::new("x");
    image.layer = (0..3 << 20).map(|n: u32| u8::try_from(n % 251).unwrap()).collect();
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    to.put_blob(blob(&image.layer), BlobKind::Layer).await.unwrap();
    registry.add_rule(Rule::each("GET", "/blobs/", Act::Truncate(at)).nth(1));
    for act in acts {
        registry.add_rule(Rule::each("GET", "/blobs/", act).nth(1));
    }
    let from = source(&format!("{}/app:1", registry.host), &plain()).await;
    let end = async {
        let read = collect(from.blob(&image.layer_descriptor()).await?).await?;
        assert!(read == image.layer, "the bytes are others");
        Ok(())
    };
    let end = end.await.map_err(|error: imagepush::error::Error| {
        assert_eq!(
            (error.kind(), error.class()),
            (Kind::NetworkError, Class::Transient),
            "{error}"
        );
        error.to_string().rsplit(": ").next().unwrap().to_owned()
    });
    let range = |seen: &crate::support::registry::Seen| {
        seen.headers.get("range").map_or("", |range| range.to_str().unwrap()).to_owned()
    };
    let seen = registry.seen();
    (seen.iter().filter(|seen| seen.method == "GET").map(range).collect(), end)
}

#[tokio::test]
async fn the_rest_of_other_content_is_not_taken() {
    let layer = Descriptor::of(MediaType::OCTET_STREAM, b"0123456789");
    for (etag, whole) in [("a", true), ("b", false)] {
        let start = "HTTP/1.1 200 OK\r\netag: \"a\"\r\ncontent-length: 10\r\n\r\n01234";
        let rest = format!(
            "HTTP/1.1 206 Partial Content\r\netag: \"{etag}\"\r\ncontent-range: bytes 5-9/10\r\n\
             content-length: 5\r\n\r\n56789"
        );
        let server = Raw::start(vec![Deed::last(start), Deed::last(&rest)]).await;
        let from = source(&format!("{}/app:1", server.host), &plain()).await;
        let read = collect(from.blob(&layer).await.unwrap()).await;
        assert_eq!(read.is_ok_and(|read| read == "0123456789"), whole, "{etag}");
        assert_eq!(server.heads().len(), 2);
    }
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_broke() {
    let (at, mib) = (2_000_000, 1 << 20);
    let from = |at: usize| format!("bytes={at}-");
    let once = vec![String::new(), from(at)];
    let broke = || Err("end of file before message length reached".to_owned());
    let header = |value: &str| Act::Header("content-range", value.to_owned());
    let cases = [
        (vec![], once.clone(), Ok(())),
        // Every break may cost a request as long as there is progress between them.
        (
            vec![Act::Truncate(mib), Act::Truncate(10)],
            vec![String::new(), from(at), from(at + mib)],
            broke(),
        ),
        (vec![Act::Truncate(mib)], vec![String::new(), from(at), from(at + mib)], Ok(())),
        (vec![header("bytes 0-3145727/3145728")], once.clone(), broke()),
        (vec![header("bytes 2000000-3145726/3145728")], once.clone(), broke()),
        (vec![header("bytes 2000000-3145727/*")], once.clone(), broke()),
        (vec![header("")], once.clone(), broke()),
        (vec![Act::Respond(416, vec![], vec![])], once.clone(), broke()),
        (vec![Act::Drop], once.clone(), broke()),
        (
            vec![Act::Respond(206, vec![("content-type", "multipart/byteranges".into())], vec![])],
            once.clone(),
            broke(),
        ),
    ];
    for (acts, ranges, end) in cases {
        assert_eq!(resumed(at, acts).await, (ranges, end));
    }
    // The whole again: what came before is dropped.
    let all: Vec<u8> = (0..3_u32 << 20).map(|n| u8::try_from(n % 251).unwrap()).collect();
    assert_eq!(resumed(at, vec![Act::Respond(200, vec![], all)]).await, (once, Ok(())));
}

#[tokio::test]
async fn a_download_from_another_host_goes_on_there() {
    let (registry, storage) = (Registry::start().await, Registry::start().await);
    let at = 2 << 20;
    let mut image = Image::new("x");
    image.layer = Bytes::from(vec![7; 3 << 20]);
    let layer = image.layer_descriptor();
    let filled = destination(&format!("{}/app:1", storage.host), &plain()).await;
    filled.put_blob(blob(&image.layer), BlobKind::Layer).await.unwrap();
    let there = format!("http://{}/v2/app/blobs/{}", storage.host, layer.digest);
    let moved = Act::Respond(307, vec![("location", there)], vec![]);
    registry.add_rule(Rule::each("GET", "/blobs/", moved));
    storage.add_rule(Rule::each("GET", "/blobs/", Act::Truncate(at)).nth(1));
    let from = source(&format!("{}/app:1", registry.host), &plain()).await;
    assert!(collect(from.blob(&layer).await.unwrap()).await.unwrap() == image.layer);
    let seen = storage.seen();
    let ranges: Vec<_> = seen.iter().filter(|seen| seen.method == "GET").collect();
    let ranges: Vec<_> = ranges.iter().map(|seen| seen.headers.get("range")).collect();
    assert_eq!(ranges, [None, Some(&format!("bytes={at}-").parse().unwrap())]);
}

/// A port that takes no connection and refuses none, since its queue is full.
async fn black_hole(address: &str) -> (tokio::net::TcpListener, Vec<tokio::net::TcpStream>, u16) {
    let address: std::net::SocketAddr = address.parse().unwrap();
    let socket = match address {
        std::net::SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
        std::net::SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
    };
    let socket = socket.unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = vec![];
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(100), tokio::net::TcpStream::connect(address))
            .await
    {
        queued.push(stream);
    }
    (listener, queued, address.port())
}

/// Asks a registry at `127.0.0.1` that is found by these answers, of which the others are dead.
async fn ask_beside_dead(dead: &str, answers: &[&'static [&'static str]]) {
    let (_listener, _queued, port) = black_hole(dead).await;
    let registry = Registry::start_at(&format!("127.0.0.1:{port}")).await;
    for answers in answers {
        let access = network(Egress::default(), &[answers]);
        let start = Instant::now();
        let to = destination(&format!("two.test:{port}/app:1"), &access).await;
        assert_eq!(to.current().await.unwrap(), None);
        assert!(start.elapsed() < Duration::from_secs(1), "{answers:?}");
    }
    assert_eq!(registry.seen().len(), answers.len());
}

#[tokio::test]
async fn a_dead_address_does_not_hold_up_the_next() {
    let of_version_4: [&[&str]; 2] =
        [&["127.0.0.2", "127.0.0.1"], &["127.0.0.2", "127.0.0.2", "127.0.0.1"]];
    ask_beside_dead("127.0.0.2:0", &of_version_4).await;
    let of_both: [&[&str]; 2] = [&["::1", "::1", "127.0.0.1"], &["127.0.0.1", "::1"]];
    ask_beside_dead("[::1]:0", &of_both).await;
}

#[tokio::test]
async fn a_host_that_takes_no_connection_is_given_up() {
    let (_listener, _queued, port) = black_hole("127.0.0.1:0").await;
    let to = destination(&format!("127.0.0.1:{port}/app:1"), &plain()).await;
    tokio::time::pause();
    let start = Instant::now();
    let error = to.current().await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 30);
    assert_eq!((error.kind(), error.class()), (Kind::Timeout, Class::Transient));
    assert!(
        error.to_string().ends_with(&format!("connecting to `127.0.0.1:{port}` took too long"))
    );
}

#[tokio::test]
async fn an_ipv6_host_is_like_any_other() {
    let registry = Registry::start_at("[::1]:0").await;
    let name = format!("{}/app:1", registry.host);
    let image = Image::new("x");
    let to = destination(&name, &plain()).await;
    put(&*to, &image).await.unwrap();
    let from = source(&name, &plain()).await;
    assert_eq!(from.manifest(None).await.unwrap(), image.manifest);
    assert!(registry.seen().iter().all(|seen| seen.headers["host"] == registry.host.as_str()));
}

#[tokio::test]
async fn both_sides_of_a_push_share_connections() {
    let server = Raw::start(vec![Deed::answer(ABSENT)]).await;
    let name = format!("{}/app:1", server.host);
    let access = plain();
    for _ in 0..3 {
        let (one, other) = (destination(&name, &access).await, destination(&name, &access).await);
        one.current().await.unwrap();
        other.current().await.unwrap();
    }
    assert_eq!((server.heads().len(), server.connections()), (6, 1));
}
