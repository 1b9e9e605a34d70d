//! What a push may cost at most: requests to a registry, memory and disk, of the program as it is built.
//!
//! These numbers don't depend on how busy the machine is. Times do; `make bench` compares them.

mod memory;
mod traffic;

use std::path::Path;

use crate::support::docker_registry::{DockerRegistry, Request};
use crate::support::layout::write_layout;
use crate::support::measured::{Used, measure};

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
    let program = env!("CARGO_BIN_EXE_imagepush");
    [program, "push", "--quiet", "--tls-verify=false", source, destination]
}

fn oci(layout: &Path) -> String {
    format!("oci:{}:1", layout.display())
}

fn docker(registry: &DockerRegistry) -> String {
    format!("docker://{}/team/app:1", registry.host)
}
