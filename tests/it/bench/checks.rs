//! G12: how often a program that stays can ask a registry whether an image is there; beside tools that are started anew.

use std::path::Path;
use std::time::Duration;

use super::jobs::Fixtures;
use super::places::{Kind, Place};
use super::tools::{Tool, repeated};
use crate::support::{peers, tools};

pub(super) const HEAD: &str = "\
| checks a second (registry) | one at a time | 4 | 16 | a second of a core, at 16 |
|---|---|---|---|---|";

const NAME: &str = "team/app:1";

/// A registry, and how many checks take it a second or a few.
const REGISTRIES: [(Kind, u32); 3] =
    [(Kind::Near, 20_000), (Kind::Version3, 5_000), (Kind::Debian, 2_000)];

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
            let others = ["crane digest", "regctl manifest head", "skopeo inspect"];
            rows.extend(others.map(|it| started(it, &place)));
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

/// A tool that is started for each check, as `TOOL VERB`.
fn started(command: &str, place: &Place) -> String {
    let (tool, verb) = command.split_once(' ').unwrap();
    let image = format!("{}/{NAME}", place.host);
    let program = if tool == "skopeo" { tool.into() } else { peers::program(tool) };
    let arguments = match tool {
        "skopeo" => {
            format!("{verb} --no-tags --tls-verify=false --format={{{{.Digest}}}} docker://{image}")
        }
        "regctl" => format!("--host=reg={},tls=disabled {verb} {image}", place.host),
        _ => format!("{verb} {image}"),
    };
    let mut words = vec![program.to_str().unwrap().to_owned()];
    words.extend(arguments.split(' ').map(str::to_owned));
    let used = repeated(STARTS, &words);
    let rate = |time: Duration| f64::from(STARTS) / time.as_secs_f64();
    let (wall, core) = (rate(used.wall), rate(used.cpu));
    format!("| `{command}`, started for each (costs nothing) | {wall:.0} | | | {core:.0} |")
}
