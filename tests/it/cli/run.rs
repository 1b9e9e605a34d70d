//! Runs the program in a directory of its own, and prints what came out of it as one text.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::canary;

/// The program with these arguments, in `folder`, with nothing of the user's environment.
pub(crate) fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imagepush"));
    command.args(arguments).current_dir(folder).env_clear().env("HOME", folder);
    command
}

/// Runs the program in an empty directory.
pub(crate) fn run(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), arguments)
}

/// Runs the program in `folder`, which prints as `[folder]`.
pub(crate) fn run_in(folder: &Path, arguments: &[&str]) -> String {
    let output = program(folder, arguments).output().unwrap();
    shown(&output).replace(&folder.display().to_string(), "[folder]")
}

/// Exit code, standard output and standard error.
pub(crate) fn shown(output: &Output) -> String {
    let code = output.status.code().map_or("killed".to_owned(), |code| code.to_string());
    for (what, bytes) in [("standard output", &output.stdout), ("standard error", &output.stderr)] {
        canary::none_is_in(what, bytes, &[]);
    }
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    format!("exit {code}\n--- stdout\n{}--- stderr\n{}", text(&output.stdout), text(&output.stderr))
}
