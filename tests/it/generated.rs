//! Files that are made from the code: stale ones fail here, and `BLESS=1` (`make generate`) writes them anew.
//!
//! They are checked in, so that a cluster can be set up from a clone without a compiler.

mod chart_readme;
pub(crate) mod kustomize;

use std::fs;
use std::path::{Path, PathBuf};

use imagepush::api;

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
    let read: serde_json::Value = serde_yaml::from_str(&yaml).expect("serde_yaml reads it");
    let made = serde_json::to_value(api::crd().expect("the CRD is made")).expect("it is JSON");
    assert_eq!(read, made);
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
