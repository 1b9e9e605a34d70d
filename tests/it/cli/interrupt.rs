//! What SIGINT and SIGTERM do to a push.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::run::program;
use crate::support::images;
use crate::support::registry::faults::Act;
use crate::support::registry::{Registry, Rule};

fn start(folder: &Path, arguments: &[&str]) -> Child {
    let mut program = program(folder, arguments);
    program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Everything below a folder, by relative path.
fn files(folder: &Path) -> Vec<String> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.push(path.display().to_string());
    }
    found.sort();
    found
}

/// The registry stops in the middle of a layer, so that the push hangs with a temporary file open.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_push_cleans_up() {
    let registry = Registry::start().await;
    let image = images::image(20);
    let folder = tempfile::tempdir().unwrap();
    image.write_layout(&folder.path().join("a"), Some("1"));
    let before = files(folder.path());
    registry.add_rule(Rule::each("GET", "/blobs/", Act::StallBody(100)));
    // Each has a repository of its own: a request that one run has left behind is none of the next.
    for (kind, repository) in [(Signal::INT, "int"), (Signal::TERM, "term")] {
        let remote = format!("docker://{}/{repository}:1", registry.host);
        let push = ["push", "-q", "--tls-verify=false", "oci:a:1", &remote];
        let found = super::run::run_in(folder.path(), &push);
        assert_eq!(found, "exit 0\n--- stdout\n--- stderr\n");
        let arguments = ["push", "-q", "--tls-verify=false", &remote, "oci:b:1"];
        let child = start(folder.path(), &arguments);
        registry.received(&format!("GET /v2/{repository}/blobs/")).await;
        signal(&child, kind);
        let output = child.wait_with_output().unwrap();
        let expected = format!(
            "exit 130\n--- stdout\n--- stderr\n\
             error: pushing `{remote}` to `oci:b:1`: the push was cancelled\n"
        );
        assert_eq!(super::run::shown(&output), expected);
        assert_eq!(files(folder.path()), before);
    }
}

/// The digest file is a pipe that nobody reads, so that the program hangs where it can't be cancelled.
#[test]
fn a_second_signal_ends_the_program_at_once() {
    let folder = tempfile::tempdir().unwrap();
    images::image(21).write_layout(&folder.path().join("a"), Some("1"));
    let made = std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status();
    assert!(made.unwrap().success());
    let mut child = start(folder.path(), &["push", "--digestfile", "pipe", "oci:a:1", "oci:b:1"]);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.starts_with("manifest ")).expect("the push is told");
    signal(&child, Signal::INT);
    let told = "interrupted: cleaning up; a second signal ends the program at once";
    lines.find(|line| line == told).expect("the first signal is told");
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut printed = String::new();
    child.stdout.unwrap().read_to_string(&mut printed).unwrap();
    assert_eq!(printed, "");
}
