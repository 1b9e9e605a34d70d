//! Measurements of the program beside skopeo, crane and regctl, for `make bench`.
//!
//! Not tests: nothing is asserted but that every push works. All tools do the same job in turn, the order changing with
//! each round, so that a busy machine slows all; what counts is the ratio of their medians. What is printed is the part
//! "Results" of `docs/performance.md`.

mod checks;
mod jobs;
mod operator;
mod places;
mod report;
mod tools;

use jobs::{Fixtures, Job};
use places::Sample;
use tools::Tool;

/// What a tool needed in each round.
type Samples = Vec<Sample>;

#[test]
#[ignore = "a measurement: `make bench`"]
fn beside_other_tools() {
    let fixtures = Fixtures::write();
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    println!("\n{}\n\n{}", report::machine(), report::HEAD);
    for job in jobs::all().iter().filter(|job| job.name.contains(&only)) {
        let measured: Vec<(Tool, Samples)> = rounds(job, &fixtures);
        println!("{}", report::rows(job, &measured));
    }
}

#[test]
#[ignore = "a measurement: `make bench`"]
fn checks_of_a_resident_program() {
    println!("\n{}", checks::HEAD);
    for row in checks::all() {
        println!("{row}");
    }
}

/// Does a job with every tool that can do it.
fn rounds(job: &Job, fixtures: &Fixtures) -> Vec<(Tool, Samples)> {
    let mut measured: Vec<_> = job.tools.iter().map(|tool| (*tool, Samples::new())).collect();
    for round in 0..job.rounds {
        let count = measured.len();
        for turn in 0..count {
            let (tool, samples) = &mut measured[(turn + round) % count];
            if round == 0 || !job.once.contains(tool) {
                samples.push((job.run)(fixtures, *tool));
            }
        }
    }
    measured
}
