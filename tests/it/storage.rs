//! File systems that are full, read-only, or mounted right where the image goes.
//!
//! Each push runs in a mount namespace of its own with a small file system in memory at `mounted`; what that holds in the
//! end is copied to `out`, where it is looked at.

use std::path::Path;

use crate::cli::run::shown;
use crate::support::images::{self, Content, Form};
use crate::support::validate;

/// Mounts, runs the script that is the first argument, keeps what it left.
const NAMESPACE: &str = r#"
    set -e
    mkdir -p mounted && mount -t tmpfs -o size=1m,mode=0755 tmpfs mounted
    imagepush() { "$PROGRAM" push --quiet --retry 0 "$@"; }
    set +e
    eval "$1"
    code=$?
    rm -rf out && cp -a mounted out
    exit $code
"#;

/// Runs a shell script with the file system mounted and `imagepush` pushing; returns what it printed.
fn run(folder: &Path, script: &str) -> String {
    let mut command = std::process::Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", NAMESPACE, "sh", script]);
    command.env("PROGRAM", env!("CARGO_BIN_EXE_imagepush")).current_dir(folder);
    let output = command.output().unwrap_or_else(|cause| panic!("cannot run `unshare`: {cause}"));
    shown(&output).replace(&folder.canonicalize().unwrap().display().to_string(), "[folder]")
}

/// Two images that fit, and one that doesn't.
fn sources(folder: &Path) -> [Content; 3] {
    let contents = [(1, 1000), (2, 2000), (3, 2 << 20)].map(|(seed, length)| {
        Content::image("linux", "amd64", &[images::layer(seed, length, Form::Gzip)])
    });
    for (name, content) in ["one", "two", "large"].iter().zip(&contents) {
        content.write_layout(&folder.join(name), None);
    }
    contents
}

#[test]
fn a_full_file_system_keeps_the_old_image() {
    let cases = [("oci", "d:x", "blobs"), ("dir", "d", "blob")];
    for (transport, target, blob) in cases {
        let folder = tempfile::tempdir().unwrap();
        let [one, _, large] = sources(folder.path());
        let destination = format!("{transport}:mounted/{target}");
        let script =
            format!("imagepush oci:one {destination} && imagepush oci:large {destination}");
        let layer = large.manifest()["layers"][0]["digest"].as_str().unwrap().to_owned();
        let expected = format!(
            "exit 75\n--- stdout\n--- stderr\n\
             error: pushing `oci:large` to `{destination}`: writing blob `{layer}`: \
             cannot write `[folder]/mounted/d/{blob}`: No space left on device (os error 28)\n\
             side: destination\n\
             hint: make room on the file system, then push again\n"
        );
        assert_eq!(run(folder.path(), &script), expected);
        let written = folder.path().join("out/d");
        let digest = match transport {
            "oci" => validate::layout(&written)["x"].clone(),
            _ => validate::dir(&written),
        };
        assert_eq!(digest, one.digest());
        assert_eq!(validate::names(&folder.path().join("out")), ["d"]);
    }
}

#[test]
fn a_read_only_file_system_is_named() {
    for (transport, target) in [("oci", "d:x"), ("dir", "d")] {
        let folder = tempfile::tempdir().unwrap();
        sources(folder.path());
        let destination = format!("{transport}:mounted/{target}");
        let script = format!("mount -o remount,ro mounted && imagepush oci:one {destination}");
        let printed = run(folder.path(), &script);
        let error = "cannot write to `[folder]/mounted`: Read-only file system (os error 30)\n\
                     side: destination\n\
                     hint: the file system is mounted read-only; choose another path\n";
        assert!(printed.starts_with("exit 1\n--- stdout\n--- stderr\n"), "{printed}");
        assert!(printed.ends_with(error), "{printed}");
    }
}

#[test]
fn a_mount_point_is_filled_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two, _] = sources(folder.path());
    for (script, content) in [
        ("imagepush oci:one dir:mounted", &one),
        ("imagepush oci:one dir:mounted && imagepush oci:two dir:mounted", &two),
    ] {
        assert_eq!(run(folder.path(), script), "exit 0\n--- stdout\n--- stderr\n");
        assert_eq!(validate::dir(&folder.path().join("out")), content.digest());
    }
    run(folder.path(), "imagepush oci:one oci:mounted:x && imagepush oci:two oci:mounted:y");
    let expected = [("x", &one), ("y", &two)].map(|(n, it)| (n.to_owned(), it.digest().to_owned()));
    assert_eq!(validate::layout(&folder.path().join("out")), expected.into());
}
