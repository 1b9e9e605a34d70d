//! The operator's container image, as `scripts/image` makes it; a small static program stands in for ours.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::tools;

/// A static program that every machine with the packages of the tests has.
const PROGRAM: &str = "/bin/busybox";

/// When the image says that it was made.
const EPOCH: u32 = 1_767_323_045;

fn made(program: &str, folder: &Path, surroundings: &[(&str, &str)]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/image");
    let mut command = Command::new("sh");
    // A shell that is as strict about new files as some people's.
    command.args(["-c", r#"umask 077; exec "$@""#, "sh"]).arg(script).arg(program).arg(folder);
    command.env("IMAGEPUSH", env!("CARGO_BIN_EXE_imagepush"));
    command.env("SOURCE_DATE_EPOCH", EPOCH.to_string()).envs(surroundings.iter().copied());
    command.output().unwrap()
}

/// The archives that were made: the OCI archive, then the Docker archive.
fn archives(output: &Output) -> [PathBuf; 2] {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let mut lines = text.lines().map(PathBuf::from);
    [lines.next().unwrap(), lines.next().unwrap()]
}

#[test]
fn the_same_program_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    fs::copy(PROGRAM, &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o700)).unwrap();
    let one = made(PROGRAM, &folder.path().join("one"), &[("TZ", "Asia/Tokyo"), ("LANG", "C")]);
    let other = folder.path().join("other");
    let other = made(copy.to_str().unwrap(), &other, &[("TZ", "America/Lima"), ("LANG", "tr_TR")]);
    for (one, other) in archives(&one).iter().zip(&archives(&other)) {
        assert_eq!(one.file_name(), other.file_name());
        let differ = fs::read(one).unwrap() != fs::read(other).unwrap();
        assert!(!differ, "{} and {} differ", one.display(), other.display());
    }
}

#[test]
fn it_holds_the_program_and_little_else() {
    let folder = tempfile::tempdir().unwrap();
    let [archive, docker] = archives(&made(PROGRAM, folder.path(), &[]));
    let inspect = |name: String| -> Value {
        serde_json::from_str(&tools::skopeo(&["inspect", "--config", &name])).unwrap()
    };
    let config = inspect(format!("oci-archive:{}", archive.display()));
    assert_eq!(config, inspect(format!("docker-archive:{}", docker.display())));
    assert_eq!(config["created"], "2026-01-02T03:04:05Z");
    assert_eq!(
        (&config["config"]["User"], &config["config"]["Entrypoint"]),
        (&json!("65532:65532"), &json!(["/usr/bin/imagepush"]))
    );

    let layout = format!("{}/layout:1", folder.path().display());
    let archive = format!("oci-archive:{}", archive.display());
    tools::skopeo(&["copy", "--quiet", &archive, &format!("oci:{layout}")]);
    let bundle = folder.path().join("bundle");
    tools::run("umoci", &["unpack", "--image", &layout, bundle.to_str().unwrap()]);
    let root = bundle.join("rootfs");
    let mut found = Vec::new();
    list(&root, &root, &mut found);
    found.sort();
    assert_eq!(
        found,
        [
            "etc 755",
            "etc/group 644",
            "etc/nsswitch.conf 644",
            "etc/passwd 644",
            "etc/ssl 755",
            "etc/ssl/certs 755",
            "etc/ssl/certs/ca-certificates.crt 644",
            "tmp 1777",
            "usr 755",
            "usr/bin 755",
            "usr/bin/imagepush 755",
        ]
    );
    assert_eq!(fs::read(root.join("usr/bin/imagepush")).unwrap(), fs::read(PROGRAM).unwrap());
}

/// What is in a folder, with its mode; all of it is root's, so that the user of the container changes nothing.
fn list(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let about = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        assert_eq!((about.uid(), about.gid()), (0, 0), "{name}");
        found.push(format!("{name} {:o}", about.permissions().mode() & 0o7777));
        if about.is_dir() {
            list(root, &path, found);
        }
    }
}

#[test]
fn what_could_not_start_or_is_too_large_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large");
    fs::copy(PROGRAM, &large).unwrap();
    // Random bytes, which don't become smaller by compression.
    let noise = fs::File::open("/dev/urandom").unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(&large).unwrap();
    std::io::copy(&mut std::io::Read::take(noise, 31_000_000), &mut file).unwrap();
    drop(file);
    let cases = [
        (env!("CARGO_BIN_EXE_imagepush"), "needs a C library, and the image has none"),
        (large.to_str().unwrap(), "more than 30000000"),
        ("/etc/passwd", "is for a machine that has no image yet"),
    ];
    for (program, message) in cases {
        let refused = made(program, &folder.path().join("out"), &[]);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains(message), "{program}: {said}");
    }
}
