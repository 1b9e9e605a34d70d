//! crane, regctl and two registries that Debian doesn't have, built from the Go module `tests/peers/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Where one of the programs is; all are built on first use.
pub(crate) fn program(name: &str) -> PathBuf {
    let program = folder().join(name);
    assert!(program.is_file(), "`make peers` builds no `{name}`");
    program
}

/// The folder with the programs, and the file `versions` with a line for each.
pub(crate) fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/peers");
        let output = Command::new(&script).stderr(Stdio::inherit()).output();
        let output =
            output.unwrap_or_else(|cause| panic!("cannot run {}: {cause}", script.display()));
        assert!(output.status.success(), "`make peers` fails: no crane, regctl and registries");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}
