//! What faults of files and registries get from `imagepush push`: the whole message, the exit code, and nothing lost.

use std::fs;
use std::path::Path;

use super::run::{program, run_in, shown};
use crate::support::canary;
use crate::support::images::{self, Content};
use crate::support::layout::write_layout;
use crate::support::registry::faults::Act;
use crate::support::registry::{Login, Registry, Rule};

fn folder_with(content: &Content) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    content.write_layout(&folder.path().join("a"), Some("1"));
    folder
}

/// Pushes to the layout `b` and compares all that came out. `[1]` stands for the first of `names`, and so on.
fn refused(folder: &Path, names: &[&str], arguments: &[&str], exit: u8, expected: &str) {
    let arguments = [&["push", "--retry", "0"], arguments].concat();
    let mut found = run_in(folder, &arguments);
    for (n, name) in names.iter().enumerate() {
        found = found.replace(name, &format!("[{}]", n + 1));
    }
    assert_eq!(found, format!("exit {exit}\n--- stdout\n--- stderr\n{expected}"), "{arguments:?}");
    assert!(!folder.join("b").exists(), "something was written");
}

#[test]
fn malformed_references_name_the_form() {
    let docker = "hint: the form is `docker://[HOST[:PORT]/]NAME[:TAG|@DIGEST]`";
    let oci = "hint: the form is `oci:PATH[:NAME|:@INDEX]`";
    let cases = [
        ("oci:", "the path is empty", oci),
        ("docker:x", "a name in a registry starts with `//`", docker),
        ("docker://r.test/a:b:c", "`r.test/a:b:c` is not a name in a registry", docker),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, fault, hint) in cases {
        let text = |side| format!("error: parsing `{name}`: {fault}\nside: {side}\n{hint}\n");
        refused(folder.path(), &[], &[name, "oci:b:1"], 2, &text("source"));
        refused(folder.path(), &[], &["oci:a:1", name], 2, &text("destination"));
    }
}

#[test]
fn sources_that_are_no_layouts() {
    let folder = folder_with(&images::image(30));
    let two = [(&images::image(31), Some("x")), (&images::image(32), Some("y"))];
    images::write_layout(&folder.path().join("two"), &two);
    fs::create_dir(folder.path().join("empty")).unwrap();
    let several = "`two` holds 2 images and the reference names none";
    let cases = [
        ("oci:none:1", 1, "cannot open `none`: No such file or directory (os error 2)", ""),
        ("oci:empty:1", 1, "`empty` is not an OCI layout: it has no `oci-layout` file", ""),
        ("oci:a:2", 1, "no image in `a` is named `2`", "hint: there are: `1`\n"),
        ("oci:two", 2, several, "hint: there are: `x`, `y`\n"),
    ];
    for (source, exit, fault, hint) in cases {
        let text = format!("error: pushing `{source}` to `oci:b:1`: {fault}\nside: source\n{hint}");
        refused(folder.path(), &[], &[source, "oci:b:1"], exit, &text);
    }
}

#[test]
fn a_corrupt_layer_is_not_pushed() {
    let image = images::image(33);
    let folder = folder_with(&image);
    let layer = image.manifest()["layers"][0]["digest"].as_str().unwrap().to_owned();
    let file = folder.path().join("a/blobs").join(layer.replace(':', "/"));
    let mut bytes = fs::read(&file).unwrap();
    bytes[20] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let names = [layer.as_str(), &images::digest(&bytes)];
    let expected = "error: pushing `oci:a:1` to `oci:b:1`: reading blob `[1]`: \
                    the content has the digest `[2]` instead of `[1]`\nside: source\n";
    refused(folder.path(), &names, &["-q", "oci:a:1", "oci:b:1"], 1, expected);
}

#[test]
fn a_registry_that_is_down_is_worth_trying_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let folder = tempfile::tempdir().unwrap();
    let source = format!("docker://{host}/app:1");
    let check = |flags: &[&str], exit, fault: &str| {
        let arguments = [flags, &[&source, "oci:b:1"]].concat();
        let text = format!("error: pushing `docker://[1]/app:1` to `oci:b:1`: {fault}\n");
        refused(folder.path(), &[&host], &arguments, exit, &text);
    };
    check(
        &[],
        75,
        "reading manifest `1` of `docker://[1]/app`: \
         cannot connect to `[1]`: Connection refused (os error 111)\nside: source\n\
         hint: check that the registry runs, and its host and port",
    );
    check(
        &["--authfile", "none"],
        1,
        "opening `docker://[1]/app:1`: looking up credentials: \
         cannot open `none`: No such file or directory (os error 2)\nside: source",
    );
    check(
        &["--cert-dir", "none"],
        1,
        "opening `docker://[1]/app:1`: \
         cannot read `none`: No such file or directory (os error 2)\nside: source",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_refuses_or_fails() {
    let registry = Registry::start().await;
    let (folder, host) = (tempfile::tempdir().unwrap(), registry.host.as_str());
    fs::write(folder.path().join("auth.json"), r#"{"auths":{}}"#).unwrap();
    let source = format!("docker://{host}/app:1");
    let check = |flags: &[&str], exit, fault: &str| {
        let arguments = [flags, &[&source, "oci:b:1"]].concat();
        let doing =
            "pushing `docker://[1]/app:1` to `oci:b:1`: reading manifest `1` of `docker://[1]/app`";
        let text = format!("error: {doing}: {fault}\n");
        refused(folder.path(), &[host], &arguments, exit, &text);
    };
    let plain = "--tls-verify=false";
    let missing = "the registry answered 404 Not Found (MANIFEST_UNKNOWN: manifest unknown)";
    check(&[plain], 1, &format!("{missing}\nside: source"));
    check(
        &[],
        1,
        "`[1]` does not speak TLS\nside: source\n\
         hint: allow plain HTTP to this registry with `--tls-verify=false`",
    );
    let failing = Act::Respond(500, vec![], vec![]);
    registry.add_rule(Rule::each("GET", "/manifests/", failing).nth(1));
    let text = "the registry answered 500 Internal Server Error\nside: source";
    check(&[plain], 75, text);
    registry.set_login(Login::basic("user", canary::secret("cli::faults")));
    check(
        &[plain, "--authfile", "auth.json"],
        1,
        "`[1]` wants credentials, and none were found in `auth.json`, \
         which has no entry for `[1]/app`, `[1]`: \
         the registry answered 401 Unauthorized (UNAUTHORIZED: authentication required)\nside: source\n\
         hint: log in with `podman login [1]`, or pass `--creds`",
    );
    let wrong = canary::secret("cli::faults wrong");
    registry.may_see(wrong);
    check(
        &[plain, "-q", "--creds", &format!("user:{wrong}")],
        1,
        "`[1]` does not accept the credentials of `user` (the credentials given): \
         the registry answered 401 Unauthorized (UNAUTHORIZED: authentication required)\nside: source\n\
         hint: check user and password, and what the user may do",
    );
    // Let in, though the first request still tried TLS.
    let right = format!("user:{}", canary::secret("cli::faults"));
    check(&[plain, "-q", "--creds", &right], 1, &format!("{missing}\nside: source"));
}

/// There are more blobs than descriptors. Another attempt, or one where there are more of these, may do. Sessions are cancelled
/// as far as there are descriptors for that.
#[tokio::test(flavor = "multi_thread")]
async fn want_of_descriptors_is_a_matter_of_time() {
    let registry = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    write_layout(&folder.path().join("a"), "1", 80, 10 << 10);
    let name = format!("docker://{}/app:1", registry.host);
    let push = program(
        folder.path(),
        &["push", "-q", "--retry=0", "--tls-verify=false", "oci:a:1", &name],
    );
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -n 32; exec \"$@\"", "sh"]);
    limited.arg(push.get_program()).args(push.get_args()).current_dir(folder.path());
    let output = tokio::task::spawn_blocking(move || limited.output().unwrap()).await.unwrap();
    let shown = shown(&output);
    assert!(shown.starts_with("exit 75\n"), "{shown}");
    assert!(shown.ends_with("hint: raise the limit of open files (`ulimit -n`)\n"), "{shown}");
}
