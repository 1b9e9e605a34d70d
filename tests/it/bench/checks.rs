//! G12: how often a program that stays can ask a registry whether an image is there; beside tools that are started anew.

use std::path::Path;

use super::jobs::Fixtures;
use super::places::{Kind, Place};
use super::tools::Tool;
use crate::support::measured::{Used, measure};
use crate::support::{peers, tools};

pub(super) const HEAD: &str = "\
| checks a second (registry) | one at a time | 4 | 16 | a second of a core, at 16 |
|---|---|---|---|---|";

const NAME: &str = "team/app:1";

/// A registry, and how many checks take it about a second.
const REGISTRIES: [(Kind, u32); 3] =
    [(Kind::Near, 20_000), (Kind::Version3, 4_000), (Kind::Debian, 1_000)];

/// Checks by a tool that is started for each.
const STARTS: u32 = 20;

/// The rows of the table.
pub(super) fn all() -> impl Iterator<Item = String> {
    let fixtures = Fixtures::write();
    REGISTRIES.into_iter().map(move |(kind, count)| {
        let place = Place::start(kind);
        Tool::Imagepush.copy(1, &fixtures.layout("small"), &place.image(NAME));
        let mut rows = vec![resident(kind, &place, count)];
        if kind == Kind::Near {
            rows.extend(["crane digest", "regctl manifest head"].map(|it| started(it, &place)));
        }
        rows.join("\n")
    })
}

fn resident(kind: Kind, place: &Place, count: u32) -> String {
    let reference = format!("docker://{}/{NAME}", place.host);
    let [(one, _), (four, _), (sixteen, core)] =
        [1, 4, 16].map(|width| checks(&reference, count, width));
    format!("| imagepush, resident ({}) | {one} | {four} | {sixteen} | {core} |", kind.name())
}

/// Checks a second, and checks a second of processor time. The program is an example, built as the one under measurement.
fn checks(reference: &str, count: u32, width: u32) -> (String, String) {
    let program = std::env::var("IMAGEPUSH_BINARY").expect("run `make bench`");
    let checks = Path::new(&program).with_file_name("examples").join("checks");
    let arguments = [reference, &count.to_string(), &width.to_string()];
    let said = tools::run(checks.to_str().unwrap(), &arguments);
    let (wall, core) = said.trim().split_once(' ').unwrap();
    (wall.to_owned(), core.to_owned())
}

fn started(command: &str, place: &Place) -> String {
    let (tool, verb) = command.split_once(' ').unwrap();
    let plain = format!("--host=reg={},tls=disabled", place.host);
    let mut arguments: Vec<&str> = verb.split(' ').collect();
    if tool == "regctl" {
        arguments.insert(0, &plain);
    }
    let name = format!("{}/{NAME}", place.host);
    arguments.push(&name);
    let all = (0..STARTS).map(|_| measure(peers::program(tool).to_str().unwrap(), &arguments));
    let all: Vec<Used> = all.collect();
    let rate = |seconds: f64| f64::from(STARTS) / seconds;
    let wall = rate(all.iter().map(|used| used.wall.as_secs_f64()).sum());
    let core = rate(all.iter().map(|used| used.cpu.as_secs_f64()).sum());
    format!("| `{command}`, started for each (costs nothing) | {wall:.0} | | | {core:.0} |")
}
