//! The rules of ARCHITECTURE.md, held against the source.
//!
//! The tables are read out of that document, so that it can't say one thing while the source does another. Only
//! what can be seen in the text of a file is looked at: the paths that it names, its length, the links it has.

mod paths;
mod rules;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use paths::{SourceFile, paths};
use rules::Rules;

/// Most lines of a source file; one that is longer tells more than one story.
const MAX_FILE_LINES: usize = 500;

#[test]
fn modules_use_what_they_may() {
    let files = source_files();
    let rules = rules(&files);
    let offences: Vec<String> = files.iter().flat_map(|file| offences(&rules, file)).collect();
    assert!(offences.is_empty(), "not allowed by ARCHITECTURE.md:\n{}", offences.join("\n"));
}

#[test]
fn every_module_has_a_row() {
    assert_eq!(rules(&source_files()).modules_without_a_row(), [""; 0]);
}

#[test]
fn source_files_are_short() {
    let long: Vec<String> = source_files()
        .iter()
        .map(|file| (file.name.clone(), file.text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_FILE_LINES)
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    assert_eq!(long, [""; 0]);
}

#[test]
fn links_of_the_documents_resolve() {
    let mut broken = Vec::new();
    for document in files_below("", &|path| path.extension().is_some_and(|it| it == "md")) {
        let text = fs::read_to_string(&document).unwrap();
        for link in relative_links(&text) {
            let target = document.parent().unwrap().join(link.split('#').next().unwrap());
            if !target.exists() {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}

#[test]
fn every_transport_is_documented() {
    let text = read("docs/transports.md");
    let headings: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let missing: Vec<&str> = imagepush::transport::names()
        .into_iter()
        .filter(|name| !headings.contains(&format!("`{name}`").as_str()))
        .collect();
    assert_eq!(missing, [""; 0], "transports without a section in docs/transports.md");
}

/// Whoever may write a Secret must not choose a program, and the operator's own files are nobody else's.
#[test]
fn programs_and_files_are_for_the_person_at_the_command_line() {
    let files = source_files();
    let naming = |wanted: &dyn Fn(&[String]) -> bool| -> BTreeSet<String> {
        let named = files.iter().filter(|file| paths(file).iter().any(|path| wanted(path)));
        named.map(|file| file.name.clone()).collect()
    };
    let programs = naming(&|path| path.ends_with(&["process".to_owned(), "Command".to_owned()]));
    assert_eq!(programs, ["src/access/helper/run.rs".to_owned()].into());
    let searches = naming(&|path| path.iter().any(|part| part == "AuthFiles"));
    let known = ["src/access/mod.rs", "src/access/search.rs", "src/cli/registry_access.rs"];
    let known = known.map(str::to_owned);
    assert_eq!(searches, known.into());
}

/// Objects are reached in a namespace that somebody has named: what is asked of the whole cluster is watched, or is no object's.
#[test]
fn few_ask_for_more_than_a_namespace() {
    let naming = |wanted: &str| -> Vec<String> {
        let code = |file: &SourceFile| {
            let text = file.text.split("#[cfg(test)]").next().unwrap_or_default();
            text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(wanted))
        };
        source_files().into_iter().filter(code).map(|file| file.name).collect()
    };
    let mut whole = naming("Api::all");
    whole.sort();
    let known = [
        // Definitions of kinds, which have no namespace.
        "src/apply/kinds.rs",
        // Watches of an operator that looks after all namespaces.
        "src/controller/executor/job/leftovers.rs",
        "src/controller/scope.rs",
        "src/controller/secrets.rs",
    ];
    assert_eq!(whole, known);
    // What a reference leads to is read in one place, in the namespace of the object that has it.
    assert_eq!(naming("Api<SecretObject>"), ["src/controller/resolve.rs"]);
    assert_eq!(naming("Api<Secret>"), [""; 0]);
}

/// Who shows a credential compares origins first: one line sets the header, and another one removes it.
#[test]
fn one_function_shows_credentials() {
    let files = source_files();
    let naming = files.iter().filter(|file| {
        paths(file).iter().any(|path| path.last().is_some_and(|last| last == "AUTHORIZATION"))
    });
    let naming: BTreeSet<&str> = naming.map(|file| file.name.as_str()).collect();
    let known = ["src/transport/docker/auth.rs", "src/transport/docker/connections.rs"];
    assert_eq!(naming, known.into());
    let setting = |file: &str, how: &str| read(file).matches(how).count();
    assert_eq!((setting(known[0], "t(AUTHORIZATION"), setting(known[0], ".insert(")), (1, 1));
    assert_eq!((setting(known[1], "(AUTHORIZATION"), setting(known[1], ".remove(")), (1, 1));
}

// === The checks, on samples: each rule can fail ===

#[test]
fn an_offence_is_found() {
    let known = ["image", "engine", "transport", "transport::docker", "transport::local"];
    let rules = Rules::read(SAMPLE_RULES, known.map(str::to_owned));
    let check = |module: &str, text: &str| -> Vec<String> {
        offences(&rules, &SourceFile::new("x.rs", module, text))
    };
    let none: [&str; 0] = [];

    assert_eq!(check("image", "use crate::engine::push;"), ["x.rs: image uses engine::push"]);
    assert_eq!(check("engine", "use crate::{image::Digest, transport::{Source, parse}};"), none);
    assert_eq!(
        check("engine::copy", "fn f() { crate::transport::docker::open() }"),
        ["x.rs: engine::copy uses transport::docker::open"]
    );
    assert_eq!(
        check("transport::oci", "use super::{docker::Name, local::Tar, Source};"),
        ["x.rs: transport::oci uses transport::docker::Name"]
    );
    assert_eq!(check("transport::oci", "use crate::transport::docker;").len(), 1);
    assert_eq!(check("transport::oci", "mod tests {\n    use super::super::docker::X;\n}"), none);
    assert_eq!(check("engine", "use clap::Parser;"), ["x.rs: engine uses package clap"]);
    assert_eq!(check("cli::push", "use clap::Parser;"), none);
    assert_eq!(check("cli", "use crate::transport::names;"), none);
    assert_eq!(check("cli", "use crate::transport::parse;"), ["x.rs: cli uses transport::parse"]);
    assert_eq!(check("image", "// crate::engine\nlet s = \"crate::engine::x\";"), none);
    assert_eq!(check("main", "imagepush::engine::push()"), ["x.rs: main uses engine::push"]);
}

const SAMPLE_RULES: &str = "\
| module | may use |
|---|---|
| `main` | `cli` |
| `image` | nothing of ours |
| `engine` | `image`, `transport` |
| `transport` | `image`; of each other nothing but `transport::local` |
| `cli` | `engine`, `transport::names` |

| package | only in |
|---|---|
| `clap` | `cli` |
";

// === Helpers ===

fn rules(files: &[SourceFile]) -> Rules {
    // `blob::compress` is a module and a function that `blob` offers: outside, the name means the function.
    let offered: BTreeSet<String> = files
        .iter()
        .flat_map(|file| paths(file).into_iter().map(move |path| (file, path)))
        .filter(|(_, path)| path.len() == 2 && path[0] == path[1])
        .map(|(file, path)| format!("{}::{}", file.module, path[0]))
        .collect();
    let modules = files.iter().map(|file| file.module.clone());
    Rules::read(&read("ARCHITECTURE.md"), modules.filter(|module| !offered.contains(module)))
}

/// What a file uses and may not.
fn offences(rules: &Rules, file: &SourceFile) -> Vec<String> {
    let mut found: Vec<String> = paths(file)
        .iter()
        .filter_map(|path| rules.offence(&file.module, path))
        .map(|what| format!("{}: {} uses {what}", file.name, file.module))
        .collect();
    found.dedup();
    found
}

fn source_files() -> Vec<SourceFile> {
    let root = root();
    files_below("src", &|path| path.extension().is_some_and(|it| it == "rs"))
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name != "tests.rs"))
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            let inside = name.trim_start_matches("src/").trim_end_matches(".rs");
            let module = inside.trim_end_matches("/mod").replace('/', "::");
            SourceFile::new(&name, &module, &fs::read_to_string(&path).unwrap())
        })
        .collect()
}

/// Files below a folder of the repository, hidden folders and build output left out.
fn files_below(folder: &str, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.starts_with('.') || name == "target" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if wanted(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The targets of a Markdown text's links that point into the repository.
fn relative_links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.contains("://") && !link.starts_with('#') && !link.is_empty())
        .collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
