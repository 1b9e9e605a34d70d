//! The table: medians, and how they stand to the best other tool.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use super::Samples;
use super::jobs::Job;
use super::places::Sample;
use super::tools::{ALL, Tool};
use crate::support::peers;

const MIB: u64 = 1 << 20;

/// What a push may take in memory, whatever its size. MiB.
const MOST_MEMORY: f64 = 32.0;

pub(super) const HEAD: &str = "\
| job | | imagepush | skopeo | crane | regctl | of the best other | wanted |
|---|---|---|---|---|---|---|---|";

/// A number with its unit, and how it is read from a sample.
struct Quantity {
    name: &'static str,
    unit: &'static str,
    read: fn(&Sample) -> f64,
}

const QUANTITIES: [Quantity; 5] = [
    Quantity { name: "wall", unit: "ms", read: |sample| sample.used.wall.as_secs_f64() * 1e3 },
    Quantity { name: "CPU", unit: "ms", read: |sample| sample.used.cpu.as_secs_f64() * 1e3 },
    Quantity {
        name: "memory",
        unit: "MiB",
        read: |sample| float(usize::try_from(sample.used.peak_memory / (MIB / 10)).unwrap()) / 10.0,
    },
    Quantity { name: "requests", unit: "", read: |sample| float(sample.stats.requests) },
    Quantity { name: "connections", unit: "", read: |sample| float(sample.stats.connections) },
];

#[expect(clippy::cast_precision_loss, reason = "numbers for people")]
fn float(number: usize) -> f64 {
    number as f64
}

/// The lines of the table for one job.
pub(super) fn rows(job: &Job, measured: &[(Tool, Samples)]) -> String {
    let mut name = job.name.as_str();
    let mut lines = Vec::new();
    for quantity in &QUANTITIES {
        let median = |tool: &Tool| {
            let (_, samples) = measured.iter().find(|(other, _)| other == tool)?;
            Some(median(samples, quantity.read))
        };
        let medians = ALL.iter().map(median).collect::<Vec<_>>();
        if medians.iter().flatten().all(|value| *value == 0.0) {
            continue;
        }
        let others = medians[1..].iter().flatten().copied();
        let ratio = medians[0].unwrap_or_default() / others.fold(f64::INFINITY, f64::min);
        let mut wanted = match job.wanted.iter().find(|(name, _)| *name == quantity.name) {
            Some((_, most)) => goal(ratio, *most, &format!("{most:.2}")),
            None if quantity.name == "memory" => {
                goal(medians[0].unwrap_or_default(), MOST_MEMORY, &format!("{MOST_MEMORY} MiB"))
            }
            None => String::new(),
        };
        if let (Some(most), Some(skopeo)) = (job.wanted_of_skopeo(quantity.name), medians[1]) {
            let of = medians[0].unwrap_or_default() / skopeo;
            let told = goal(of, most, &format!("{most} of skopeo ({of:.3})"));
            wanted = if wanted.is_empty() { told } else { format!("{wanted}; {told}") };
        }
        lines.push(row(name, quantity, &medians, ratio, &wanted));
        name = "";
    }
    lines.join("\n")
}

fn row(
    name: &str,
    quantity: &Quantity,
    medians: &[Option<f64>],
    ratio: f64,
    wanted: &str,
) -> String {
    let mut line = format!("| {name} | {}", quantity.name);
    if !quantity.unit.is_empty() {
        write!(line, ", {}", quantity.unit).unwrap();
    }
    for median in medians {
        let text = median.map_or_else(|| "–".to_owned(), shown);
        write!(line, " | {text}").unwrap();
    }
    format!("{line} | {ratio:.2} | {wanted} |")
}

fn goal(measured: f64, most: f64, shown: &str) -> String {
    format!("≤ {shown}: {}", if measured <= most { "reached" } else { "**missed**" })
}

/// Three digits are more than can be trusted.
fn shown(value: f64) -> String {
    if value < 10.0 && value.fract() != 0.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn median(samples: &[Sample], read: fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(read).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A sentence on when and where this ran, and with which versions.
pub(super) fn machine() -> String {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let versions = fs::read_to_string(peers::folder().join("versions")).unwrap();
    let version = |name: &str| {
        let line = versions.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    let load: Vec<&str> = load.split(' ').take(1).collect();
    format!(
        "{}; {} processors, Linux {}; load {} before the start; {}, crane {}, regctl {}; \
         docker-registry 2.8.2, distribution {}.",
        said("date", &["+%F"]),
        std::thread::available_parallelism().unwrap(),
        said("uname", &["-r"]),
        load[0],
        said("skopeo", &["--version"]),
        version("crane"),
        version("regctl"),
        version("registry"),
    )
}
