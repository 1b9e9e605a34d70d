//! What a push may take of the machine: memory and disk.

use super::{docker, oci, push, pushing};
use crate::support::certificates::{Authority, Life};
use crate::support::docker_registry::{DockerRegistry, Setup};
use crate::support::layout::write_layout;
use crate::support::measured::measure;

const MIB: u64 = 1 << 20;

/// Most memory that a push takes beyond what the program takes for one that moves next to nothing, however large the image.
///
/// The goal is 32 MiB in all. The program as it is released starts with less than 20 MiB of these, most of them its own
/// code; the one that tests are built with, which is not optimised, with more.
const GROWTH: u64 = 12 * MIB;

/// Most memory of the program that tests are built with for a push that moves next to nothing: it is not optimised, and has
/// its debugging information with it. Together with [`GROWTH`] it bounds every push. `make bench` prints the same of the
/// released program beside the other tools', against the goal of 32 MiB in all.
const START: u64 = 44 * MIB;

/// As [`GROWTH`], with what the library of HTTP/2 keeps of a connection's window at each end.
const GROWTH_BY_TLS: u64 = GROWTH + 12 * MIB;

#[test]
fn the_memory_of_a_push_does_not_grow_with_the_image() {
    let (from, to) = (DockerRegistry::plain(), DockerRegistry::plain());
    let folder = tempfile::tempdir().unwrap();
    let (tiny, huge, many) =
        (folder.path().join("tiny"), folder.path().join("huge"), folder.path().join("many"));
    write_layout(&tiny, "1", 1, 1 << 10);
    write_layout(&huge, "1", 4, 256 * MIB);
    write_layout(&many, "1", 80, MIB - (64 << 10));

    let base = push(&oci(&tiny), &docker(&from)).peak_memory;
    assert!(base <= START, "{} MiB for next to nothing", base / MIB);
    for (source, destination) in
        [(oci(&huge), docker(&from)), (docker(&from), docker(&to)), (oci(&many), docker(&from))]
    {
        let grown = push(&source, &destination).peak_memory.saturating_sub(base);
        assert!(grown <= GROWTH, "{} MiB more for {source}", grown / MIB);
    }
}

/// The same by TLS and HTTP/2, as with most registries.
#[test]
fn the_memory_of_a_push_by_tls_does_not_grow_with_the_image() {
    let authority = Authority::new();
    let files = authority.server("127.0.0.1", Life::Valid);
    let serve = || DockerRegistry::start(&Setup { tls: Some(&files), ..Setup::default() });
    let (from, to) = (serve(), serve());
    let folder = tempfile::tempdir().unwrap();
    let (tiny, huge, many) =
        (folder.path().join("tiny"), folder.path().join("huge"), folder.path().join("many"));
    write_layout(&tiny, "1", 1, 1 << 10);
    write_layout(&huge, "1", 2, 128 * MIB);
    write_layout(&many, "1", 80, MIB - (64 << 10));

    let base = push(&oci(&tiny), &docker(&from)).peak_memory;
    assert!(base <= START, "{} MiB for next to nothing", base / MIB);
    for (source, destination) in [
        (oci(&huge), docker(&from)),
        (docker(&from), docker(&to)),
        (oci(&many), docker(&from)),
        (docker(&from), docker(&to)),
    ] {
        let grown = push(&source, &destination).peak_memory.saturating_sub(base);
        println!("{} MiB, {} KiB more for {source}", base / MIB, grown >> 10);
        assert!(grown <= GROWTH_BY_TLS, "{} MiB more for {source}", grown / MIB);
    }
}

/// A process that may write no byte to any file, and has no place where it could make one, can push all the same.
#[test]
fn pushes_between_registries_and_from_layouts_write_no_file() {
    let (from, to) = (DockerRegistry::plain(), DockerRegistry::plain());
    let folder = tempfile::tempdir().unwrap();
    write_layout(folder.path(), "1", 2, 3 * MIB);
    for (source, destination) in [(oci(folder.path()), docker(&from)), (docker(&from), docker(&to))]
    {
        without_files(&source, &destination);
    }
}

fn without_files(source: &str, destination: &str) {
    // Nobody, not even root, can make a file in `/proc`.
    let script =
        "cd /proc && export TMPDIR=/proc HOME=/proc XDG_RUNTIME_DIR=/proc XDG_CACHE_HOME=/proc
                  ulimit -f 0; exec \"$@\"";
    let limited = ["-c", script, "sh"];
    measure("sh", &[limited.as_slice(), &pushing(source, destination)].concat());
}
