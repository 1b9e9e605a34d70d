//! Files that are made from the code: stale ones fail here, and `BLESS=1` (`make generate`) writes them anew.
//!
//! They are checked in, so that a cluster can be set up from a clone without a compiler.

mod argocd;
mod chart_readme;
pub(crate) mod kustomize;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use imagepush::api;
use serde_json::Value;

/// Where copies of the CRD stand: to read, for kustomize, and in the chart.
const CRD_FILES: [&str; 3] = [
    "crds/imagepush.dev_imagepushes.yaml",
    "config/crd/imagepush.dev_imagepushes.yaml",
    "charts/imagepush/files/imagepush.dev_imagepushes.yaml",
];

#[test]
fn the_crd_is_current() {
    let header = "# Generated from src/api by `make generate`; do not edit.\n";
    let yaml = format!("{header}{}", api::crd_yaml().expect("the CRD is made"));
    for file in CRD_FILES {
        assert_current(file, &yaml);
    }
}

/// The list of transports is left out: docs/transports.md has it.
#[test]
fn the_manual_of_the_command_line_is_current() {
    let mut manual = "<!-- Generated from src/cli by `make generate`; do not edit. -->\n\n\
                      # Command line\n\n\
                      What is printed where, JSON documents and exit codes: [output.md](output.md).\n\
                      Logins and certificates: [credentials.md](credentials.md).\n"
        .to_owned();
    let mut program = imagepush::cli::command().term_width(100).after_help("");
    program.build();
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        let mut command = command.clone().after_help("").term_width(100);
        let (name, help) = (command.get_name().to_owned(), command.render_long_help());
        let help: Vec<String> = help.to_string().lines().map(|it| it.trim_end().into()).collect();
        let help = help.join("\n");
        let help = help.trim_end();
        manual.push_str(&["\n## imagepush ", &name, "\n\n```text\n", help, "\n```\n"].concat());
    }
    assert_current("docs/cli.md", &manual);
}

/// The list of reasons in the manual of the object is made of their one table.
#[test]
fn the_reasons_in_the_manual_are_current() {
    assert_part_current("docs/imagepush.md", "reasons", &api::reasons::manual());
}

/// The fields of a status are those of the schema, in its words.
#[test]
fn the_status_in_the_manual_is_current() {
    fn walk(path: &str, schema: &Value, rows: &mut String) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}{name}");
            let words = field["description"].as_str().unwrap_or_default();
            let words = words.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
            let _ = writeln!(rows, "| `{path}` | {words} |");
            if path != "conditions" {
                walk(&format!("{path}."), field, rows);
                walk(&format!("{path}[]."), &field["items"], rows);
            }
        }
    }
    let crd = serde_json::to_value(api::crd().unwrap()).unwrap();
    let status = "/spec/versions/0/schema/openAPIV3Schema/properties/status";
    let mut table = "| field | meaning |\n|---|---|\n".to_owned();
    walk("", crd.pointer(status).unwrap(), &mut table);
    assert_part_current("docs/imagepush.md", "status", &table);
}

/// The manual tells of every field of a spec.
#[test]
fn every_field_of_the_spec_is_in_the_manual() {
    fn walk(schema: &Value, told: &BTreeSet<&str>, missing: &mut Vec<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            missing.extend((!told.contains(name.as_str())).then(|| name.clone()));
            walk(field, told, missing);
        }
    }
    let manual =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/imagepush.md"));
    let manual = manual.unwrap();
    let (_, part) = manual.split_once("\n## Writing the spec\n").unwrap();
    let (part, _) = part.split_once("\n## ").unwrap();
    // Not what stands in an example only.
    let texts = part.split("```").step_by(2);
    let quoted = texts.flat_map(|text| text.split('`').skip(1).step_by(2));
    let told: BTreeSet<&str> =
        quoted.flat_map(|it| it.split(|c: char| !c.is_alphanumeric())).collect();
    let crd = serde_json::to_value(api::crd().unwrap()).unwrap();
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    let mut missing = vec![];
    walk(crd.pointer(spec).unwrap(), &told, &mut missing);
    assert_eq!(missing, [""; 0]);
}

/// Likewise the list of events in the manual of the operator.
#[test]
fn the_events_in_the_manual_are_current() {
    assert_part_current("docs/operations.md", "events", &api::reasons::events::manual());
}

/// What an event is called stands in one of the tables.
#[test]
fn no_event_has_a_reason_of_its_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src/controller")];
    let (mut own, mut told) = (vec![], 0);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for call in
                code.split("Told::normal(").skip(1).chain(code.split("Told::warning(").skip(1))
            {
                told += 1;
                own.extend(call.trim_start().starts_with('"').then(|| path.display().to_string()));
            }
        }
    }
    assert!(told > 10, "{told}");
    assert_eq!(own, [""; 0]);
}

/// kubectl keeps a copy of what it applies in an annotation, which may have 256 KiB.
#[test]
fn the_crd_can_be_applied_by_the_client() {
    let yaml = api::crd_yaml().expect("the CRD is made");
    assert!(yaml.len() < 100 << 10, "{} bytes", yaml.len());
}

/// YAML 1.1 readers (kubectl, Helm) and our own agree on what the file says.
#[test]
fn the_crd_reads_back_as_it_was() {
    let yaml = api::crd_yaml().expect("the CRD is made");
    let read: Value = serde_yaml::from_str(&yaml).expect("serde_yaml reads it");
    let made = serde_json::to_value(api::crd().expect("the CRD is made")).expect("it is JSON");
    assert_eq!(read, made);
}

/// Compares the part of a checked-in file that is generated.
fn assert_part_current(file: &str, part: &str, expected: &str) {
    // A file may have several, which are written one after the other.
    static PARTS: Mutex<()> = Mutex::new(());
    let _turn = PARTS.lock().unwrap_or_else(PoisonError::into_inner);
    let manual = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let begin = format!("<!-- {part}: generated by `make generate` -->\n");
    let end = "<!-- end -->\n";
    let (before, rest) = manual.split_once(&begin).expect("the list has a beginning");
    let (_, after) = rest.split_once(end).expect("the list has an end");
    assert_current(file, &[before, &begin, expected, end, after].concat());
}

/// Compares a checked-in file with what it should hold; with `BLESS` set, writes it.
pub(crate) fn assert_current(file: &str, expected: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("make the folder");
        fs::write(&path, expected).expect("write the file");
        return;
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "`{file}` is stale; run `make generate` and commit the result");
}
