//! What a push may cost at most: requests to a registry and memory, of the program as it is built.
//!
//! These numbers don't depend on how busy the machine is. Times do; `make bench` compares them.

use std::path::Path;

use crate::support::docker_registry::{DockerRegistry, Request};
use crate::support::layout::write_layout;
use crate::support::measured::{Used, measure};

const MIB: u64 = 1 << 20;

/// Most requests for a blob that the registry doesn't have: look for it, start an upload, send it.
const REQUESTS_FOR_A_NEW_BLOB: usize = 3;

/// Most memory that a push may take, however large the image.
const PEAK_MEMORY: u64 = 64 * MIB;

#[test]
fn a_new_blob_costs_three_requests_at_most_and_a_push_without_work_one() {
    let registry = DockerRegistry::plain();
    let folder = tempfile::tempdir().unwrap();
    let blobs = write_layout(folder.path(), "1", 10, 100 << 10);

    push(folder.path(), &registry);
    let requests = registry.requests();
    for digest in &blobs {
        let of_one = uploads_of(&requests, digest);
        assert_eq!(of_one.len(), 1, "uploads of {digest}: {of_one:#?}");
    }
    // What is no blob's: a look at the manifest, and writing it.
    let allowed = blobs.len() * REQUESTS_FOR_A_NEW_BLOB + 2;
    assert!(requests.len() <= allowed, "more than {allowed} requests: {requests:#?}");

    push(folder.path(), &registry);
    let again = registry.requests().split_off(requests.len());
    let head = Request {
        method: "HEAD".to_owned(),
        path: "/v2/team/app/manifests/1".to_owned(),
        status: 200,
    };
    assert_eq!(again, [head]);
}

#[test]
fn a_push_of_one_gibibyte_stays_within_its_memory() {
    let registry = DockerRegistry::plain();
    let folder = tempfile::tempdir().unwrap();
    write_layout(folder.path(), "1", 4, 256 * MIB);

    let used = push(folder.path(), &registry);
    assert!(used.peak_memory <= PEAK_MEMORY, "{} MiB", used.peak_memory / MIB);
}

/// Requests that end the upload of a blob.
fn uploads_of<'a>(requests: &'a [Request], digest: &str) -> Vec<&'a Request> {
    let hex = digest.trim_start_matches("sha256:");
    requests.iter().filter(|it| it.method == "PUT" && it.path.contains(hex)).collect()
}

fn push(layout: &Path, registry: &DockerRegistry) -> Used {
    let source = format!("oci:{}:1", layout.display());
    let destination = format!("docker://{}/team/app:1", registry.host);
    let arguments = ["push", "--quiet", "--tls-verify=false", &source, &destination];
    measure(env!("CARGO_BIN_EXE_imagepush"), &arguments)
}
