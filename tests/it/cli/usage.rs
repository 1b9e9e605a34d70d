//! What wrong arguments get: exit code 2, the fault and the next step on standard error, nothing moved.

use super::run::{program, run, shown};

/// Runs the program with `arguments`, split at spaces, and compares all that came out of it.
///
/// `[transports]` stands for the list of known transports, so that a new one leaves the texts below as they are.
fn check(arguments: &str, expected: &str) {
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let list = imagepush::transport::names().join(", ");
    let found =
        run(&arguments).replace(&format!("transports: {list}\n"), "transports: [transports]\n");
    assert_eq!(found, expected, "imagepush {}", arguments.join(" "));
}

/// A fault that is told on standard error alone.
fn refused(arguments: &str, standard_error: &str) {
    check(arguments, &format!("exit 2\n--- stdout\n--- stderr\n{standard_error}"));
}

#[test]
fn names_that_are_no_references() {
    refused(
        "push foo://x",
        "error: `foo://x` is not an image name, and `foo` is not a transport\n\
         side: source\nhint: known transports: [transports]\n",
    );
    refused(
        "push r.test/busybox",
        "error: `r.test/busybox` names an image in local containers-storage, which is not supported yet\n\
         side: source\nhint: name the transport, as in `docker://r.test/busybox`; known transports: [transports]\n",
    );
}

#[test]
fn flags_that_contradict_each_other() {
    let try_help = "\n\nFor more information, try '--help'.\n";
    let cases = [
        (
            "push --all --platform linux/arm64 a",
            "'--all' cannot be used with '--platform <OS/ARCH[/VARIANT]>'",
            "--all",
        ),
        (
            "push -D --compression-format gzip a",
            "'--disable-compression' cannot be used with '--compression-format <FORMAT>'",
            "--disable-compression",
        ),
        (
            "push -D --compression-level 3 a",
            "'--disable-compression' cannot be used with '--compression-level <LEVEL>'",
            "--disable-compression",
        ),
        (
            "push --dry-run --digestfile d a",
            "'--dry-run' cannot be used with '--digestfile <FILE>'",
            "--dry-run",
        ),
    ];
    for (arguments, fault, flag) in cases {
        let usage = format!("\n\nUsage: imagepush push {flag} <IMAGE> [DESTINATION]");
        refused(arguments, &format!("error: the argument {fault}{usage}{try_help}"));
    }
}

#[test]
fn values_that_are_illegal() {
    let cases = [
        (
            "push --platform linux a",
            "invalid value 'linux' for '--platform <OS/ARCH[/VARIANT]>': \
             `linux` is not a platform of the form OS/ARCH or OS/ARCH/VARIANT, such as linux/arm64",
        ),
        (
            "push --retry many a",
            "invalid value 'many' for '--retry <COUNT>': invalid digit found in string",
        ),
        (
            "push --retry-delay 5 a",
            "invalid value '5' for '--retry-delay <DURATION>': time unit needed, for example 5sec or 5ms",
        ),
        (
            "push -f v2s1 a",
            "invalid value 'v2s1' for '--format <FORMAT>'\n  [possible values: oci, v2s2]\n\n  tip: a similar value exists: 'v2s2'",
        ),
        (
            "push --compression-format xz a",
            "invalid value 'xz' for '--compression-format <FORMAT>'\n  [possible values: gzip, zstd]",
        ),
        (
            "push --tls-verify=maybe a",
            "invalid value 'maybe' for '--tls-verify[=<BOOL>]'\n  [possible values: true, false]",
        ),
        (
            "push --output yaml a",
            "invalid value 'yaml' for '--output <FORMAT>'\n  [possible values: text, json]",
        ),
    ];
    for (arguments, fault) in cases {
        refused(arguments, &format!("error: {fault}\n\nFor more information, try '--help'.\n"));
    }
}

#[test]
fn options_that_do_not_exist_yet_are_not_accepted() {
    for flag in ["--sign-by=A", "--encryption-key=jwe:k", "--remove-signatures", "--rm"] {
        let name = flag.split('=').next().unwrap();
        let found = run(&["push", flag, "a"]);
        let start =
            format!("exit 2\n--- stdout\n--- stderr\nerror: unexpected argument '{name}' found\n");
        assert!(found.starts_with(&start), "{found}");
    }
}

#[test]
fn a_fault_is_a_json_document_where_one_was_asked_for() {
    let list = format!("transports: {}", imagepush::transport::names().join(", "));
    assert_eq!(
        run(&["push", "foo://x", "--output", "json"]).replace(&list, "transports: [transports]"),
        "exit 2\n--- stdout\n\
         {\"error\":{\"kind\":\"InvalidReference\",\"side\":\"source\",\"message\":\"`foo://x` is not an \
         image name, and `foo` is not a transport\",\"hint\":\"known transports: [transports]\"}}\n\
         --- stderr\n\
         error: `foo://x` is not an image name, and `foo` is not a transport\n\
         side: source\nhint: known transports: [transports]\n"
    );
    assert_eq!(
        run(&["push", "a", "--retry", "many", "--output=json"]),
        "exit 2\n--- stdout\n\
         {\"error\":{\"kind\":\"InvalidOptions\",\"side\":null,\"message\":\"invalid value 'many' for \
         '--retry <COUNT>': invalid digit found in string\",\"hint\":\"see `imagepush help`\"}}\n\
         --- stderr\n\
         error: invalid value 'many' for '--retry <COUNT>': invalid digit found in string\n\n\
         For more information, try '--help'.\n"
    );
}

#[test]
fn what_is_asked_for_is_data() {
    let version =
        format!("exit 0\n--- stdout\nimagepush {}\n--- stderr\n", env!("CARGO_PKG_VERSION"));
    check("--version", &version);
    for arguments in [&["--help"][..], &["push", "--help"], &["help", "push"]] {
        let found = run(arguments);
        assert!(
            found.starts_with("exit 0\n--- stdout\n") && found.ends_with("--- stderr\n"),
            "{found}"
        );
        for transport in imagepush::transport::TRANSPORTS {
            let form = format!("  {}:{}", transport.name(), transport.syntax());
            assert!(found.contains(&form), "{form} is missing in {found}");
        }
    }
}

#[test]
fn completion_scripts_know_the_flags() {
    for (shell, sample) in [
        ("bash", "--compression-format"),
        ("zsh", "--compression-format=["),
        ("fish", "-l compression-format"),
    ] {
        let found = run(&["completion", shell]);
        assert!(
            found.starts_with("exit 0\n--- stdout\n") && found.ends_with("--- stderr\n"),
            "{found}"
        );
        assert!(found.contains(sample), "{shell}: {found}");
    }
}

#[test]
fn an_illegal_log_filter_is_bad_usage() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(folder.path(), &["completion", "bash"]);
    let output = command.env("RUST_LOG", "imagepush=loud").output().unwrap();
    assert_eq!(
        shown(&output),
        "exit 2\n--- stdout\n--- stderr\n\
         error: `RUST_LOG` can't be read: error parsing level filter: expected one of \"off\", \"error\", \
         \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5\n\
         hint: the form is `LEVEL` or `MODULE=LEVEL,…`, such as `imagepush=debug`\n"
    );
}

#[test]
fn a_full_device_is_a_fault_and_a_reader_that_left_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = program(folder.path(), &["completion", "bash"]);
    let output = command.stdout(full).output().unwrap();
    assert_eq!(
        shown(&output),
        "exit 1\n--- stdout\n--- stderr\n\
         error: cannot write to standard output: No space left on device (os error 28)\n"
    );
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = program(folder.path(), &["completion", "bash"]);
    let output = command.stdout(writer).output().unwrap();
    assert_eq!(shown(&output), "exit 0\n--- stdout\n--- stderr\n");
}

#[test]
fn the_crd_is_data() {
    let yaml = imagepush::api::crd_yaml().unwrap();
    check("crd", &format!("exit 0\n--- stdout\n{yaml}--- stderr\n"));
}
