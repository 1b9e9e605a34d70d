//! Transfers that break off on their way to real registries, and go on there.

use std::time::Duration;

use bytes::Bytes;
use imagepush::error::Class;
use imagepush::image::{Descriptor, MediaType};
use imagepush::transport::{BlobKind, ImageDestination};

use super::harness::*;
use crate::support::docker_registry::{DockerRegistry, Program};
use crate::support::images;
use crate::support::relay::Relay;

const MIB: usize = 1 << 20;

/// More than all sockets on the way take by themselves.
const SIZE: usize = 24 * MIB;

/// Heads of requests, and what was on its way when a connection was cut.
const SLACK: usize = MIB;

/// Waits until a registry is done with so many requests of a method, the broken ones among them.
async fn ended(registry: &DockerRegistry, method: &str, count: usize) {
    for _ in 0..1000 {
        let requests = registry.requests();
        if requests.iter().filter(|request| request.method == method).count() >= count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the registry goes on with {method}: {:#?}", registry.requests());
}

async fn break_off(to: &dyn ImageDestination, bytes: &Bytes) {
    let error = to.put_blob(blob(bytes), BlobKind::Layer).await.unwrap_err();
    assert_eq!(error.class(), Class::Transient, "{error}");
}

/// Methods of the requests that brought a blob.
fn methods(registry: &DockerRegistry) -> Vec<String> {
    let requests = registry.requests().into_iter();
    let sending = requests.filter(|request| request.path.contains("/blobs/uploads/"));
    sending.map(|request| request.method).collect()
}

/// docker-registry 2 answers 404 about a session that has other bytes than its address says, and a new address comes with a
/// complete answer only: after a break the session can neither be gone on with nor ended, and is left to be purged.
#[tokio::test]
async fn real_registries_are_gone_on_with_where_they_stand() {
    let again = ["POST", "PUT", "GET", "DELETE", "POST", "PUT", "GET", "DELETE", "POST", "PUT"];
    let goes_on = ["POST", "PUT", "GET", "PATCH", "GET", "PATCH", "PUT"];
    for (program, expected, second, most, left) in [
        (Program::Debian, &again[..], ("PUT", 2), 14 * MIB + SIZE + SLACK, 2),
        (Program::Version3, &goes_on, ("PATCH", 1), SIZE + SLACK, 0),
    ] {
        let registry = DockerRegistry::of(program);
        let relay = Relay::start(&registry.host, &[6 * MIB, 14 * MIB]).await;
        let to = destination(&format!("{}/app:1", relay.host), &plain()).await;
        let bytes = Bytes::from(images::random(7, SIZE));
        break_off(&*to, &bytes).await;
        ended(&registry, "PUT", 1).await;
        break_off(&*to, &bytes).await;
        ended(&registry, second.0, second.1).await;
        to.put_blob(blob(&bytes), BlobKind::Layer).await.unwrap();
        assert_eq!(methods(&registry), expected);
        assert_eq!(relay.cuts_left(), 0);
        assert!(relay.sent() < most, "{program:?} {}", relay.sent());
        to.commit().await.unwrap();
        assert_eq!(registry.open_sessions(), left, "{program:?}");
        let from = source(&format!("{}/app:1", registry.host), &plain()).await;
        let layer = Descriptor::of(MediaType::OCTET_STREAM, &bytes);
        assert_eq!(collect(from.blob(&layer).await.unwrap()).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_broken_session_ends_with_its_push_where_the_registry_lets_it() {
    for (program, left) in [(Program::Debian, 1), (Program::Version3, 0)] {
        let registry = DockerRegistry::of(program);
        let relay = Relay::start(&registry.host, &[6 * MIB]).await;
        let to = destination(&format!("{}/app:1", relay.host), &plain()).await;
        break_off(&*to, &Bytes::from(images::random(8, SIZE))).await;
        ended(&registry, "PUT", 1).await;
        assert_eq!(registry.open_sessions(), 1, "{program:?}");
        to.abandon().await;
        assert_eq!(registry.open_sessions(), left, "{program:?}");
    }
}

#[tokio::test]
async fn downloads_of_real_registries_go_on_where_they_broke() {
    for program in [Program::Debian, Program::Version3] {
        let registry = DockerRegistry::of(program);
        let bytes = Bytes::from(images::random(9, SIZE));
        let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
        to.put_blob(blob(&bytes), BlobKind::Layer).await.unwrap();
        let relay = Relay::start_cutting_answers(&registry.host, &[6 * MIB, 14 * MIB]).await;
        let from = source(&format!("{}/app:1", relay.host), &plain()).await;
        let layer = Descriptor::of(MediaType::OCTET_STREAM, &bytes);
        assert_eq!(collect(from.blob(&layer).await.unwrap()).await.unwrap(), bytes);
        assert_eq!(relay.cuts_left(), 0);
        ended(&registry, "GET", 3).await;
        let gets = registry.requests().into_iter().filter(|request| request.method == "GET");
        let mut statuses: Vec<u16> = gets.map(|request| request.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 206, 206], "{program:?}");
        assert!(relay.received() < SIZE + SLACK, "{program:?} {}", relay.received());
    }
}
