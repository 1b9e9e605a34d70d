//! Runs the tools that have to agree with us: skopeo, umoci, buildah and others.
//!
//! A tool that is missing fails the test with the way to get it; one that fails shows what it printed.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

/// Runs a tool that must succeed; returns its standard output.
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> String {
    let output = output(program, arguments);
    assert!(output.status.success(), "{}", shown(program, arguments, &output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs skopeo, which needs no policy of this machine.
pub(crate) fn skopeo(arguments: &[&str]) -> String {
    run("skopeo", &[&["--insecure-policy"], arguments].concat())
}

/// Runs buildah with a store of its own in `folder`.
pub(crate) fn buildah(folder: &Path, arguments: &[&str]) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    let policy = path("policy.json");
    std::fs::write(&policy, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
    let (root, runroot) = (path("root"), path("runroot"));
    let globals = ["--root", &root, "--runroot", &runroot, "--storage-driver", "vfs"];
    let mut command = Vec::from(globals);
    let takes_policy = ["pull", "push", "from", "commit"].contains(&arguments[0]);
    command.push(arguments[0]);
    if takes_policy {
        command.extend(["--signature-policy", &policy]);
    }
    command.extend(&arguments[1..]);
    run("buildah", &command)
}

fn output<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Output {
    match Command::new(program).args(arguments).output() {
        Ok(output) => output,
        Err(cause) => panic!("cannot run `{program}`: {cause}; `make install` installs it"),
    }
}

fn shown<S: AsRef<OsStr>>(program: &str, arguments: &[S], output: &Output) -> String {
    let arguments: Vec<_> = arguments.iter().map(|it| it.as_ref().to_string_lossy()).collect();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "`{program} {}` failed with {}\n{}{}",
        arguments.join(" "),
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    )
}
