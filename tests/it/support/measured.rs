//! Runs a command and tells what it used, by way of GNU time.

use std::fs;
use std::time::{Duration, Instant};

use super::tools;

/// What a process and its children used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// From start to end; GNU time itself takes a millisecond of it.
    pub(crate) wall: Duration,
    /// Processor time, of the program and of the system on its behalf.
    pub(crate) cpu: Duration,
    /// Most memory that was resident at one time, in bytes.
    pub(crate) peak_memory: u64,
}

/// Runs a command to its end, which must be a good one.
pub(crate) fn measure(program: &str, arguments: &[&str]) -> Used {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("used");
    let path = report.to_str().unwrap();
    let command = ["--format", "%U %S %M", "--output", path, program];
    let start = Instant::now();
    tools::run("/usr/bin/time", &[&command, arguments].concat());
    let wall = start.elapsed();
    let text = fs::read_to_string(&report).unwrap();
    let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let [user, system, kibibytes] = numbers[..] else { panic!("{text}") };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number")]
    let peak_memory = kibibytes as u64 * 1024;
    Used { wall, cpu: Duration::from_secs_f64(user + system), peak_memory }
}
