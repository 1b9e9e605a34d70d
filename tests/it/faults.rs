//! The list of faults in docs/faults.md, held against the tests that it names.
//!
//! A row that names a test which doesn't exist, or which isn't one, would be a claim that nobody checks.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The families of faults with their numbers, in the document's order.
const FAMILIES: [(&str, RangeInclusive<u8>); 13] = [
    ("R", 1..=26),
    ("R", 28..=28),
    ("R", 38..=38),
    ("R", 39..=39),
    ("R", 48..=48),
    ("R", 55..=55),
    ("R", 57..=57),
    ("R", 59..=65),
    ("R", 66..=66),
    ("R", 71..=72),
    ("REG", 1..=78),
    ("CTL", 1..=56),
    ("W", 34..=34),
];

/// One row: what a fault is, what is done about it, and what shows that.
struct Row {
    id: String,
    fault: String,
    answer: String,
    tests: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document() -> Vec<Row> {
    let text = fs::read_to_string(root().join("docs/faults.md")).unwrap();
    rows(&text)
}

fn rows(text: &str) -> Vec<Row> {
    let lines =
        text.lines().filter(|line| ["| R", "| CTL", "| W"].iter().any(|id| line.starts_with(id)));
    lines
        .map(|line| row(line).unwrap_or_else(|| panic!("not a row of four cells: {line}")))
        .collect()
}

fn row(line: &str) -> Option<Row> {
    let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').collect();
    let [id, fault, answer, tests] = cells[..] else { return None };
    let tests = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let text = |cell: &str| cell.trim().to_owned();
    Some(Row { id: text(id), fault: text(fault), answer: text(answer), tests })
}

/// Every id there may be, in order.
fn known() -> Vec<String> {
    let ids = |(family, numbers): (&str, RangeInclusive<u8>)| {
        numbers.map(move |number| format!("{family}-{number:02}")).collect::<Vec<_>>()
    };
    FAMILIES.into_iter().flat_map(ids).collect()
}

#[test]
fn rows_are_whole_and_in_order() {
    let rows = document();
    let listed: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let known = known();
    let ordered: Vec<&str> =
        known.iter().map(String::as_str).filter(|id| listed.contains(id)).collect();
    assert_eq!(listed, ordered, "unknown, out of order, or twice");
    let empty: Vec<&str> = rows
        .iter()
        .filter(|row| row.fault.is_empty() || row.answer.is_empty() || row.tests.is_empty())
        .map(|row| row.id.as_str())
        .collect();
    assert_eq!(empty, [""; 0], "rows with an empty cell");
}

/// Faults that are good to cover, but need not be.
const OPTIONAL: [&str; 13] = [
    "R-13", "R-22", "R-23", "REG-16", "REG-75", "REG-76", "REG-77", "REG-78", "CTL-52", "CTL-53",
    "CTL-54", "CTL-55", "CTL-56",
];

/// A row is missing only if the document says so, and why.
#[test]
fn no_row_is_missing() {
    let rows = document();
    let listed: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let known = known();
    let missing: Vec<&str> = known
        .iter()
        .map(String::as_str)
        .filter(|id| !listed.contains(id) && !OPTIONAL.contains(id))
        .collect();
    assert_eq!(missing, owned_up());
}

/// The ids of the document's list of what has no test yet; of some rows only a part hasn't.
fn owned_up() -> Vec<String> {
    let text = fs::read_to_string(root().join("docs/faults.md")).unwrap();
    let id = |line: &str| Some(line.strip_prefix("- ")?.split_once(": ")?.0.to_owned());
    text.lines().filter_map(id).filter(|id| !id.starts_with("Of ")).collect()
}

#[test]
fn every_test_that_is_named_exists() {
    let mut missing = BTreeSet::new();
    for row in document() {
        missing.extend(row.tests.into_iter().filter(|name| !exists(name)));
    }
    assert_eq!(missing, BTreeSet::new(), "named in docs/faults.md, but no tests");
}

/// Whether a test of this path stands in the source.
fn exists(name: &str) -> bool {
    let Some((module, function)) = name.rsplit_once("::") else { return false };
    let (folder, module) = match module.split_once("::") {
        Some(("it", module)) => ("tests/it", module),
        Some(("imagepush", module)) => ("src", module),
        _ => return false,
    };
    files(&root().join(folder), module)
        .iter()
        .any(|file| fs::read_to_string(file).is_ok_and(|text| has_test(&text, function)))
}

/// The files that a module may stand in: its own, or that of the module which holds its tests.
fn files(root: &Path, module: &str) -> Vec<PathBuf> {
    let own = |module: &str| {
        let path = module.replace("::", "/");
        [root.join(format!("{path}.rs")), root.join(format!("{path}/mod.rs"))]
    };
    let outer = module.strip_suffix("::tests");
    own(module).into_iter().chain(outer.into_iter().flat_map(own)).collect()
}

/// Whether a function of this name carries an attribute of a test.
fn has_test(text: &str, function: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let head = format!("fn {function}(");
    let is_head = |line: &str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.starts_with(&head)
    };
    let attributes = |at: usize| {
        lines[..at]
            .iter()
            .rev()
            .take_while(|line| line.starts_with("#["))
            .any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    };
    (0..lines.len()).any(|at| is_head(lines[at]) && attributes(at))
}

// === The checks, on samples: each can fail ===

#[test]
fn what_is_no_test_is_found() {
    let text = "#[test]\nfn one() {}\n#[tokio::test(start_paused = true)]\nasync fn two() {}\nfn three() {}\n";
    let found = ["one", "two", "three", "on"].map(|function| has_test(text, function));
    assert_eq!(found, [true, true, false, false]);
    for (name, expected) in [
        ("it::faults::what_is_no_test_is_found", true),
        ("imagepush::image::digest::tests::digests_print_as_they_were_parsed", true),
        ("it::faults::exists", false),
        ("it::faults::gone", false),
        ("it::gone::what_is_no_test_is_found", false),
        ("faults::what_is_no_test_is_found", false),
    ] {
        assert_eq!(exists(name), expected, "{name}");
    }
}

#[test]
fn rows_are_read() {
    let read = rows("| R-01 | a | b | `it::x::y`, `it::z::w` |\n\n| id | x |\n");
    let [found] = &read[..] else { panic!("not one row") };
    assert_eq!(
        (found.id.as_str(), found.fault.as_str(), found.answer.as_str()),
        ("R-01", "a", "b")
    );
    assert_eq!(found.tests, ["it::x::y", "it::z::w"]);
    assert!(row("| R-01 | a | b |").is_none());
}
