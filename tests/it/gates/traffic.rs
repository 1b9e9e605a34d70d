//! What a push may cost the network: connections and bytes.

use std::path::Path;

use imagepush::limits::{PARALLEL_BLOBS, PARALLEL_SMALL_BLOBS};

use super::{PROGRAM, docker, oci, push};
use crate::support::docker_registry::{DockerRegistry, Program, Request};
use crate::support::layout::write_layout;
use crate::support::measured::measure;
use crate::support::relay::Relay;

/// Most connections: one for each blob that moves, and the one by which we find that the registry speaks no TLS.
const CONNECTIONS: usize = PARALLEL_SMALL_BLOBS + PARALLEL_BLOBS + 1;

/// Most bytes of a request beside its body.
const HEAD: usize = 1 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_shared_and_no_byte_is_sent_twice() {
    let registry = DockerRegistry::plain();
    let relay = Relay::start(&registry.host, &[]).await;
    let destination = format!("docker://{}/team/app:1", relay.host);
    let folder = tempfile::tempdir().unwrap();
    write_layout(folder.path(), "1", 150, 20 << 10);

    push(&oci(folder.path()), &destination);
    assert!(relay.connections() <= CONNECTIONS, "{} connections", relay.connections());
    let allowed = payload(folder.path()) + registry.requests().len() * HEAD;
    assert!(relay.sent() <= allowed, "{} bytes instead of {allowed}", relay.sent());

    // Two connections, of which the first tries TLS, and one request.
    let (sent, connections) = (relay.sent(), relay.connections());
    push(&oci(folder.path()), &destination);
    assert_eq!(relay.connections() - connections, 2);
    assert!(relay.sent() - sent <= 4 * HEAD, "{} bytes", relay.sent() - sent);
}

/// What a push between registries may cost in bytes, each way and at each end.
#[tokio::test(flavor = "multi_thread")]
async fn between_registries_each_byte_comes_once_and_goes_once() {
    let (from, to) = (DockerRegistry::plain(), DockerRegistry::plain());
    let folder = tempfile::tempdir().unwrap();
    write_layout(folder.path(), "1", 20, 100 << 10);
    push(&oci(folder.path()), &docker(&from));
    let before = from.requests().len();
    let (source, destination) =
        (Relay::start(&from.host, &[]).await, Relay::start(&to.host, &[]).await);
    let name = |relay: &Relay| format!("docker://{}/team/app:1", relay.host);
    push(&name(&source), &name(&destination));

    let payload = payload(folder.path());
    let asked = (from.requests().len() - before + 1) * HEAD;
    let told = (to.requests().len() + 1) * HEAD;
    assert!(source.received() <= payload + asked, "{} of {payload} bytes", source.received());
    assert!(source.sent() <= asked, "{} bytes", source.sent());
    assert!(destination.sent() <= payload + told, "{} of {payload} bytes", destination.sent());
    assert!(destination.received() <= told, "{} bytes", destination.received());
    for relay in [&source, &destination] {
        assert!(relay.connections() <= CONNECTIONS, "{} connections", relay.connections());
    }
}

/// Bytes of a layout's blobs and manifests.
fn payload(layout: &Path) -> usize {
    let blobs = std::fs::read_dir(layout.join("blobs/sha256")).unwrap();
    let payload: u64 = blobs.map(|blob| blob.unwrap().metadata().unwrap().len()).sum();
    usize::try_from(payload).unwrap()
}

/// Of an image that goes to another repository of its registry, every blob is linked: by the program's defaults, too, which
/// look for custom resources.
#[test]
fn within_a_registry_a_blob_costs_one_request_and_no_byte() {
    for program in [Program::Debian, Program::Version3] {
        let registry = DockerRegistry::of(program);
        let folder = tempfile::tempdir().unwrap();
        let blobs = write_layout(folder.path(), "1", 10, 100 << 10);
        push(&oci(folder.path()), &docker(&registry));
        let none: &[&str] = &[];
        for (to, options, beside) in
            [("plain", &["--cr-option", "no"][..], 0), ("default", none, 1)]
        {
            let to = format!("docker://{}/{to}/app:1", registry.host);
            let names = [docker(&registry), to];
            let names = names.each_ref().map(String::as_str);
            let before = registry.requests().len();
            measure(
                PROGRAM,
                &[&["push", "--quiet", "--tls-verify=false"], options, &names].concat(),
            );
            let requests = registry.requests().split_off(before);
            // A mount for each blob, a look at both ends, the name, and whether anything is attached.
            let allowed = blobs.len() + 3 + beside;
            assert!(requests.len() <= allowed, "{program:?} {options:?}: {requests:#?}");
            assert!(allowed <= blobs.len() + 4);
            let moves = |it: &&Request| it.path.contains("/blobs/") && !it.path.contains("?mount=");
            assert_eq!(requests.iter().find(moves), None, "{program:?} {options:?}");
        }
    }
}

#[test]
fn between_registries_each_blob_is_read_once() {
    let from = DockerRegistry::plain();
    let folder = tempfile::tempdir().unwrap();
    let blobs = write_layout(folder.path(), "1", 10, 100 << 10);
    push(&oci(folder.path()), &docker(&from));
    // Whether custom resources are attached is asked once while the image moves: twice of a registry without lists.
    for (policy, beside) in [("no", 0), ("auto", 2)] {
        let to = DockerRegistry::plain();
        let names = (docker(&from), docker(&to));
        let arguments =
            ["push", "--quiet", "--tls-verify=false", "--cr-option", policy, &names.0, &names.1];
        let before = from.requests().len();
        measure(PROGRAM, &arguments);
        let requests = from.requests().split_off(before);
        // The manifest, and each blob.
        assert_eq!(requests.len(), 1 + blobs.len() + beside, "{policy}: {requests:#?}");
        assert!(requests.iter().all(|request| request.method == "GET"), "{requests:#?}");
        assert!(to.requests().len() <= 2 * blobs.len() + 3, "{:#?}", to.requests());

        // Nothing to do: a request at each end.
        let before = (from.requests().len(), to.requests().len());
        measure(PROGRAM, &arguments);
        let took = (from.requests().len() - before.0, to.requests().len() - before.1);
        assert_eq!(took, (1, 1), "{policy}");
    }
}
