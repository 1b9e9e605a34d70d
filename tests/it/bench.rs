//! Measurements of the program beside skopeo, for `make bench`.
//!
//! Not tests: nothing is asserted but that every push works. Both tools do the same job in turn, the order changing
//! with each round, so that a busy machine slows both; what counts is the ratio of their medians.

use std::path::Path;
use std::time::Duration;

use crate::support::docker_registry::DockerRegistry;
use crate::support::layout::write_layout;
use crate::support::measured::{Used, measure};

/// Rounds of each job; odd, so that the median is one of them.
const ROUNDS: usize = 5;

/// Repetitions in one round of a job that takes milliseconds, which is what processor time is counted in.
const REPETITIONS: u32 = 10;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// A program under measurement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    Imagepush,
    Skopeo,
}

/// What one round of a job used.
#[derive(Clone, Copy)]
struct Sample {
    used: Used,
    requests: usize,
}

/// The name of a number with its unit, and how it is read from a sample.
type Quantity = (&'static str, fn(&Sample) -> f64);

/// A job that both tools do.
struct Job {
    name: &'static str,
    run: fn(Tool, &Path) -> Sample,
}

const JOBS: [Job; 5] = [
    Job {
        name: "fresh push, 10 layers of 16 MiB",
        run: |tool, work| fresh(tool, &work.join("large")),
    },
    Job {
        name: "fresh push, 120 layers of 100 KiB",
        run: |tool, work| fresh(tool, &work.join("small")),
    },
    Job {
        name: "nothing to do, 120 layers",
        run: |tool, work| nothing_to_do(tool, &work.join("small")),
    },
    Job { name: "registry to registry, 10 layers of 16 MiB", run: between_registries },
    Job { name: "oci to oci-archive, 10 layers of 16 MiB", run: into_archive },
];

#[test]
#[ignore = "a measurement: `make bench`"]
fn beside_skopeo() {
    let work = tempfile::tempdir().unwrap();
    write_layout(&work.path().join("large"), "1", 10, 16 * MIB);
    write_layout(&work.path().join("small"), "1", 120, 100 * KIB);
    println!("\nMedians of {ROUNDS} rounds.\n");
    println!("| job | | imagepush | skopeo | ratio |\n|---|---|---|---|---|");
    for job in &JOBS {
        let (ours, theirs) = rounds(job, work.path());
        println!("{}", rows(job.name, &ours, &theirs));
    }
}

/// The lines of the report for one job.
fn rows(name: &str, ours: &[Sample], theirs: &[Sample]) -> String {
    let row = |(what, read): &Quantity| {
        let (ours, theirs) = (median(ours, *read), median(theirs, *read));
        let ratio = if theirs > 0.0 { format!("{:.2}", ours / theirs) } else { "–".to_owned() };
        format!("| {name} | {what} | {ours:.3} | {theirs:.3} | {ratio} |")
    };
    QUANTITIES.iter().map(row).collect::<Vec<_>>().join("\n")
}

/// Does a job with both tools, `ROUNDS` times each.
fn rounds(job: &Job, work: &Path) -> (Vec<Sample>, Vec<Sample>) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut order = [Tool::Imagepush, Tool::Skopeo];
        order.rotate_left(round % 2);
        for tool in order {
            let samples = if tool == Tool::Imagepush { &mut ours } else { &mut theirs };
            samples.push((job.run)(tool, work));
        }
    }
    (ours, theirs)
}

/// What is reported of a sample.
const QUANTITIES: [Quantity; 4] = [
    ("wall, s", |sample| sample.used.wall.as_secs_f64()),
    ("CPU, s", |sample| sample.used.cpu.as_secs_f64()),
    ("peak memory, MiB", |sample| float(sample.used.peak_memory) / float(MIB)),
    ("requests", |sample| float(u64::try_from(sample.requests).unwrap())),
];

fn median(samples: &[Sample], read: fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(read).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "numbers for people")]
fn float(number: u64) -> f64 {
    number as f64
}

// === The jobs ===

fn fresh(tool: Tool, layout: &Path) -> Sample {
    let registry = DockerRegistry::plain();
    let used = copy(tool, 1, &oci(layout), &docker(&registry));
    Sample { used, requests: registry.requests().len() }
}

fn nothing_to_do(tool: Tool, layout: &Path) -> Sample {
    let registry = DockerRegistry::plain();
    copy(tool, 1, &oci(layout), &docker(&registry));
    let before = registry.requests().len();
    let all = copy(tool, REPETITIONS, &oci(layout), &docker(&registry));
    let requests = (registry.requests().len() - before) / usize::try_from(REPETITIONS).unwrap();
    let each = |time: Duration| time / REPETITIONS;
    Sample { used: Used { wall: each(all.wall), cpu: each(all.cpu), ..all }, requests }
}

fn between_registries(tool: Tool, work: &Path) -> Sample {
    let (source, destination) = (DockerRegistry::plain(), DockerRegistry::plain());
    copy(Tool::Imagepush, 1, &oci(&work.join("large")), &docker(&source));
    let before = source.requests().len();
    let used = copy(tool, 1, &docker(&source), &docker(&destination));
    Sample { used, requests: source.requests().len() - before + destination.requests().len() }
}

fn into_archive(tool: Tool, work: &Path) -> Sample {
    let folder = tempfile::tempdir_in(work).unwrap();
    let archive = format!("oci-archive:{}:1", folder.path().join("image.tar").display());
    Sample { used: copy(tool, 1, &oci(&work.join("large")), &archive), requests: 0 }
}

fn oci(layout: &Path) -> String {
    format!("oci:{}:1", layout.display())
}

fn docker(registry: &DockerRegistry) -> String {
    format!("docker://{}/team/app:1", registry.host)
}

/// Copies an image, several times one after the other.
fn copy(tool: Tool, times: u32, source: &str, destination: &str) -> Used {
    // What is measured is the optimised program, which is not the one that tests are built with.
    let ours = std::env::var("IMAGEPUSH_BINARY").expect("run `make bench`");
    let registry = [source, destination].iter().any(|name| name.starts_with("docker:"));
    let command: &[&str] = match (tool, registry) {
        (Tool::Imagepush, false) => &[&ours, "push", "--quiet"],
        (Tool::Imagepush, true) => &[&ours, "push", "--quiet", "--tls-verify=false"],
        (Tool::Skopeo, _) => {
            &["skopeo", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"]
        }
    };
    let command = [command, &[source, destination]].concat();
    if times == 1 {
        return measure(command[0], &command[1..]);
    }
    let again =
        "times=$1; shift; while [ $times -gt 0 ]; do \"$@\" || exit; times=$((times - 1)); done";
    let times = times.to_string();
    measure("sh", &[&["-c", again, "sh", &times], command.as_slice()].concat())
}
