//! A program whose clock is set while it runs, by an hour either way. What it measures must not notice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tokio::sync::Notify;

use super::run::program;
use crate::support::canary::secret;
use crate::support::images;
use crate::support::registry::{Act, Login, Registry, Rule};

/// Builds what makes the clocks of a program jump that is started with it; see the C file.
fn jumping_clock(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/clock.c");
    let library = folder.join("clock.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
    assert!(compiler.status().expect("Rust links by it").success());
    library
}

/// Sets both clocks ahead by these seconds.
fn set(folder: &Path, wall: i32, monotonic: i32) {
    fs::write(folder.join("new"), format!("{wall} {monotonic}")).unwrap();
    fs::rename(folder.join("new"), folder.join("jumps")).unwrap();
}

/// Pushes with a token that is good for so many seconds, and has the clocks jump between its receipt and its use. Returns how
/// many tokens were asked for, and how far the wall clock went by the program's own log, in whole hours.
async fn push(expires_in: u32, (wall, monotonic): (i32, i32)) -> (usize, i64) {
    let folder = tempfile::tempdir().unwrap();
    images::image(1).write_layout(&folder.path().join("a"), Some("1"));
    let registry = Registry::start().await;
    registry.set_login(Login::bearer("alice", secret("cli::clock")).expires_in(expires_in));
    let told = Arc::new(Notify::new());
    // The first one with a token.
    registry.add_rule(Rule::each("HEAD", "/manifests/", Act::Hold(Arc::clone(&told))).nth(2));

    let to = format!("docker://{}/app:1", registry.host);
    let login = format!("alice:{}", secret("cli::clock"));
    let flags = ["--tls-verify=false", "--creds", &login, "--retry", "0"];
    let mut command = program(folder.path(), &[&["push", "oci:a:1", &to], &flags[..]].concat());
    command.env("LD_PRELOAD", jumping_clock(folder.path()));
    command.env("CLOCK_JUMPS", folder.path().join("jumps")).env("RUST_LOG", "imagepush=trace");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    registry.received("GET /token 200").await;
    while registry.seen().iter().filter(|seen| seen.path.contains("/manifests/")).count() < 2 {
        tokio::task::yield_now().await;
    }
    set(folder.path(), wall, monotonic);
    told.notify_one();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await;
    let output = output.unwrap().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    let tokens = registry.seen().iter().filter(|seen| seen.path == "/token").count();
    (tokens, hours(&log))
}

/// From the first line of a log to its last.
fn hours(log: &str) -> i64 {
    let times = log.lines().filter_map(|line| line.split_once(' ')?.0.parse().ok());
    let times: Vec<jiff::Timestamp> = times.collect();
    let [first, .., last] = times[..] else { panic!("no times in {log}") };
    (last.as_second() - first.as_second() + 1800).div_euclid(3600)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_makes_no_token_older_or_younger() {
    const HOUR: i32 = 3600;
    for (expires_in, jumps, tokens) in [
        (300, (0, 0), 1),
        (300, (HOUR, 0), 1),
        (300, (-HOUR, 0), 1),
        // It has become old by the clock that counts, whatever the other one says: no blob is sent under it.
        (2, (-HOUR, 5), 2),
        (2, (HOUR, 5), 2),
    ] {
        let expected = (tokens, i64::from(jumps.0 / HOUR));
        assert_eq!(push(expires_in, jumps).await, expected, "{expires_in} {jumps:?}");
    }
}
