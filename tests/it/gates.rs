//! What a push may cost at most: requests to a registry, memory and disk, of the program as it is built.
//!
//! These numbers don't depend on how busy the machine is. Times do; `make bench` compares them.

mod hashing;
mod memory;
mod traffic;

use std::path::Path;

use crate::support::docker_registry::{DockerRegistry, Request};
use crate::support::layout::{write_index, write_layout};
use crate::support::measured::{Used, measure};

const PROGRAM: &str = env!("CARGO_BIN_EXE_imagepush");

#[test]
fn a_new_blob_costs_three_requests_at_most_and_a_push_without_work_one() {
    let registry = DockerRegistry::plain();
    let folder = tempfile::tempdir().unwrap();
    let blobs = write_layout(folder.path(), "1", 10, 100 << 10);

    push(&oci(folder.path()), &docker(&registry));
    let requests = registry.requests();
    for digest in &blobs {
        let of_one = uploads_of(&requests, digest);
        assert_eq!(of_one.len(), 1, "uploads of {digest}: {of_one:#?}");
    }
    // An empty repository is asked for no blob. What is no blob's: two looks at what is there, and writing the manifest.
    let allowed = blobs.len() * 2 + 3;
    assert!(requests.len() <= allowed, "more than {allowed} requests: {requests:#?}");

    let other = tempfile::tempdir().unwrap();
    let blobs = write_layout(other.path(), "1", 10, 101 << 10);
    let before = registry.requests().len();
    push(&oci(other.path()), &docker(&registry));
    // Elsewhere each blob is looked for before it is sent.
    let (allowed, took) = (blobs.len() * 3 + 2, registry.requests().len() - before);
    assert!(took <= allowed, "{took} requests instead of {allowed}");
    // Back to the first image, whose blobs are there: a look at each, and the tag.
    let before = registry.requests().len();
    push(&oci(folder.path()), &docker(&registry));
    assert_eq!(registry.requests().len() - before, blobs.len() + 2);

    let before = registry.requests().len();
    push(&oci(folder.path()), &docker(&registry));
    let again = registry.requests().split_off(before);
    let head = Request {
        method: "HEAD".to_owned(),
        path: "/v2/team/app/manifests/1".to_owned(),
        status: 200,
    };
    assert_eq!(again, [head]);
}

/// Six platforms that share a layer, and once more when nothing is to be done.
#[test]
fn each_blob_of_several_platforms_is_sent_once_and_a_push_without_work_costs_one_request() {
    let registry = DockerRegistry::plain();
    let folder = tempfile::tempdir().unwrap();
    let platforms = ["amd64", "arm64", "ppc64le", "riscv64", "s390x", "386"];
    write_index(folder.path(), "1", &platforms, &[50 << 10, 20 << 10, 10 << 10]);
    let (source, destination) = (oci(folder.path()), docker(&registry));
    let all = || {
        measure(PROGRAM, &["push", "--quiet", "--all", "--tls-verify=false", &source, &destination])
    };
    all();
    let requests = registry.requests();
    let puts = |path: &str| {
        let puts = requests.iter().filter(|it| it.method == "PUT" && it.path.contains(path));
        puts.map(|it| it.path.rsplit("digest=").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // The shared layer, and for each platform two of its own and its config; a manifest each, and the index.
    let (blobs, manifests) = (1 + 3 * platforms.len(), platforms.len() + 1);
    let (mut sent, written) = (puts("/blobs/"), puts("/manifests/"));
    assert_eq!((sent.len(), written.len()), (blobs, manifests), "{requests:#?}");
    sent.sort();
    sent.dedup();
    assert_eq!(sent.len(), blobs, "{requests:#?}");
    let allowed = 2 * blobs + manifests + 2;
    assert!(requests.len() <= allowed, "more than {allowed} requests: {requests:#?}");

    let before = registry.requests().len();
    all();
    let again = registry.requests().split_off(before);
    let head = Request {
        method: "HEAD".to_owned(),
        path: "/v2/team/app/manifests/1".to_owned(),
        status: 200,
    };
    assert_eq!(again, [head]);
}

/// See `.cargo/config.toml`: without it, each process that speaks TLS gathers entropy for 40 ms.
#[test]
fn no_time_is_spent_on_gathering_entropy() {
    assert_eq!(option_env!("AWS_LC_SYS_NO_JITTER_ENTROPY"), Some("1"));
}

/// Requests that end the upload of a blob.
fn uploads_of<'a>(requests: &'a [Request], digest: &str) -> Vec<&'a Request> {
    let hex = digest.trim_start_matches("sha256:");
    requests.iter().filter(|it| it.method == "PUT" && it.path.contains(hex)).collect()
}

fn push(source: &str, destination: &str) -> Used {
    let command = pushing(source, destination);
    measure(command[0], &command[1..])
}

/// The command of a push.
fn pushing<'a>(source: &'a str, destination: &'a str) -> [&'a str; 6] {
    [PROGRAM, "push", "--quiet", "--tls-verify=false", source, destination]
}

fn oci(layout: &Path) -> String {
    format!("oci:{}:1", layout.display())
}

fn docker(registry: &DockerRegistry) -> String {
    format!("docker://{}/team/app:1", registry.host)
}
