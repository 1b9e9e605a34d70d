//! `imagepush apply`: what it runs, what it prints, and which exit code it ends with.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::run::{program, run_in, shown};
use crate::support::canary;
use crate::support::images::{self, Content};
use crate::support::registry::faults::Act;
use crate::support::registry::{Login, Registry, Rule};

fn folder_with(content: &Content) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    content.write_layout(&folder.path().join("a"), Some("1"));
    folder
}

/// An object that pushes once.
fn object(name: &str, source: Value, destination: Value, more: &Value) -> Value {
    let mut spec = json!({"runPolicy": "Once"});
    spec["source"] = source;
    spec["destination"] = destination;
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush", "metadata": {"name": name}, "spec": spec,
    })
}

/// An object that pushes from one place to another.
fn push(name: &str, source: &str, destination: &str) -> Value {
    object(
        name,
        json!({"reference": source}),
        json!({"reference": destination}),
        &json!({"retry": {"limit": 0}}),
    )
}

/// Writes a file with these documents.
fn write(folder: &Path, documents: &[Value]) {
    let documents: Vec<String> = documents.iter().map(ToString::to_string).collect();
    fs::write(folder.join("f.yaml"), documents.join("\n---\n")).unwrap();
}

/// Applies documents with JSON output: the exit code, the reason of `Ready` of each object, and standard error.
fn applied(folder: &Path, documents: &[Value]) -> (i32, Vec<String>, String) {
    write(folder, documents);
    let output = program(folder, &["apply", "-qf", "f.yaml", "--output", "json"]).output().unwrap();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code().unwrap(), reasons(&list), String::from_utf8(output.stderr).unwrap())
}

/// Status and reason of `Ready` of each object of a list, and whether it is stalled.
fn reasons(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    let condition = |item: &Value, kind: &str| {
        let conditions = item["status"]["conditions"].as_array().unwrap();
        conditions.iter().find(|it| it["type"] == kind).cloned().unwrap_or_default()
    };
    let text = |item| {
        let (ready, stalled) = (condition(item, "Ready"), condition(item, "Stalled"));
        let stalled = if stalled["status"] == "True" { " stalled" } else { "" };
        format!(
            "{} {}{stalled}",
            ready["status"].as_str().unwrap(),
            ready["reason"].as_str().unwrap()
        )
    };
    items.iter().map(text).collect()
}

/// Puts `[time]` where a time stands.
fn without_times(text: &str) -> String {
    let line = |line: &str| match line.split_once("Time: \"") {
        Some((key, _)) => format!("{key}Time: [time]\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn objects_are_printed_with_their_status() {
    let image = images::image(60);
    let folder = folder_with(&image);
    let text = "apiVersion: imagepush.dev/v1alpha1\nkind: ImagePush\n\
                metadata: {name: one, labels: {a: 'yes'}}\nspec:\n  runPolicy: Once\n  \
                source: {reference: 'oci:a:1'}\n  destination: {reference: 'oci:b:1'}\n";
    let later = text.replace("one", "two").replace("runPolicy", "suspend: true\n  runPolicy");
    fs::write(folder.path().join("f.yaml"), format!("{text}---\n{later}")).unwrap();
    // Once, so that the second run has less to tell.
    run_in(folder.path(), &["apply", "-q", "-f", "f.yaml"]);
    let digest = image.digest();
    let found = without_times(&run_in(folder.path(), &["apply", "-f", "f.yaml"]));
    let status = |suspend, status: &str, name: &str| {
        format!(
            "apiVersion: imagepush.dev/v1alpha1\nkind: ImagePush\nmetadata:\n  labels:\n    a: \"yes\"\n  \
             name: {name}\nspec:\n  source:\n    reference: oci:a:1\n  destination:\n    reference: oci:b:1\n  \
             runPolicy: Once\n  suspend: {suspend}\n  quiet: false\n  mode: Apply\n  overwritePolicy: Replace\n  \
             deletionPolicy: Retain\n  executor: Auto\n\
             status:\n  observedGeneration: 0\n  conditions:\n{status}"
        )
    };
    let condition = |message: &str, reason: &str, state: &str, kind: &str| {
        format!(
            "  - lastTransitionTime: [time]\n    message: {message}\n    observedGeneration: 0\n    \
             reason: {reason}\n    status: {state}\n    type: {kind}\n"
        )
    };
    let size: usize = image.blobs.values().map(Vec::len).sum();
    let one = [
        condition(&format!("\"`oci:a:1` is {digest}\""), "Resolved", "\"True\"", "SourceResolved"),
        condition(
            &format!("\"`oci:b:1` holds {digest} already\""),
            "AlreadyPresent",
            "\"True\"",
            "Ready",
        ),
        format!(
            "  source:\n    reference: oci:a:1\n    digest: {digest}\n    mediaType: {media_type}\n  artifact:\n    \
             reference: oci:b:1\n    digest: {digest}\n    mediaType: {media_type}\n    sizeBytes: {size}\n    manifests:\n    - digest: {digest}\n      sizeBytes: {}\n",
            image.blobs[digest].len(),
            media_type = images::OCI_MANIFEST
        ),
    ];
    let two = condition("suspended before the push was done", "Suspended", "Unknown", "Ready");
    let (found, spec_digest) = cut_line(&found, "  observedSpecDigest: ");
    assert!(spec_digest.starts_with("sha256:"), "{spec_digest}");
    assert_eq!(
        found,
        format!(
            "exit 0\n--- stdout\n{}---\n{}--- stderr\n\
             ImagePush `one`: from `oci:a:1` to `oci:b:1`\nImagePush `two`: suspended, left out\n",
            status(false, &one.concat(), "one"),
            status(true, &two, "two"),
        )
    );
}

/// Takes the first line that starts so out of a text.
fn cut_line(text: &str, start: &str) -> (String, String) {
    let at = text.find(start).unwrap_or_else(|| panic!("no `{start}` in {text}"));
    let end = at + text[at..].find('\n').unwrap() + 1;
    (format!("{}{}", &text[..at], &text[end..]), text[at + start.len()..end].trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_the_file_are_used_and_not_printed() {
    let registry = Registry::start().await;
    registry.set_login(Login::basic("user", canary::secret("cli::apply")));
    let image = images::image(61);
    let folder = folder_with(&image);
    let config = json!({"auths": {&registry.host: {"username": "user", "password": canary::secret("cli::apply")}}});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"},
        "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": config.to_string()},
    });
    let remote = format!("docker://{}/app:1", registry.host);
    let location =
        json!({"reference": remote, "tlsPolicy": "PlainHTTP", "secretRef": {"name": "login"}});
    let documents = [
        object("up", json!({"reference": "oci:a:1"}), location.clone(), &json!({})),
        secret,
        object("down", location, json!({"reference": "dir:b"}), &json!({})),
        object(
            "dry",
            json!({"reference": "dir:b"}),
            json!({"reference": "oci:c:1"}),
            &json!({"mode": "DryRun"}),
        ),
    ];
    write(folder.path(), &documents);
    let found = run_in(folder.path(), &["apply", "-f", "f.yaml"]);
    assert!(found.starts_with("exit 0\n"), "{found}");
    assert_eq!(registry.tags().get("app:1").map(String::as_str), Some(image.digest()));
    let (code, reasons, said) = applied(folder.path(), &documents);
    let expected = ["True AlreadyPresent", "True AlreadyPresent", "True DryRunSucceeded"];
    assert_eq!((code, reasons, said.as_str()), (0, expected.map(str::to_owned).to_vec(), ""));
    assert!(!folder.path().join("c").exists());
}

#[test]
fn failures_are_told_and_decide_the_exit_code() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let folder = folder_with(&images::image(62));
    let remote = format!("docker://{host}/app:1");
    let (missing, down, fine) = (
        push("m", "oci:a:2", "oci:b:1"),
        push("d", &remote, "oci:b:2"),
        push("f", "oci:a:1", "oci:b:3"),
    );
    let missing_said = "error: applying ImagePush `m`: pushing `oci:a:2` to `oci:b:1`: no image in `a` is named `2`\n\
                        side: source\nhint: there are: `1`\n";
    let down_said = format!(
        "error: applying ImagePush `d`: pushing `{remote}` to `oci:b:2`: reading manifest `1` of `docker://{host}/app`: cannot connect to `{host}`: Connection refused (os error 111)\n\
         side: source\nhint: check that the registry runs, and its host and port\n"
    );
    let cases = [
        (
            vec![&missing, &fine],
            1,
            vec!["False SourceNotFound stalled", "True PushSucceeded"],
            missing_said.to_owned(),
        ),
        (
            vec![&down, &fine],
            75,
            vec!["False NetworkError", "True AlreadyPresent"],
            down_said.clone(),
        ),
        (
            vec![&down, &missing],
            1,
            vec!["False NetworkError", "False SourceNotFound stalled"],
            down_said + missing_said,
        ),
    ];
    for (documents, code, reasons, said) in cases {
        let documents: Vec<Value> = documents.into_iter().cloned().collect();
        let reasons: Vec<String> = reasons.into_iter().map(str::to_owned).collect();
        assert_eq!(applied(folder.path(), &documents), (code, reasons, said));
    }
}

#[test]
fn nothing_moves_when_a_document_is_wrong() {
    let folder = folder_with(&images::image(63));
    let mut typo = push("typo", "oci:a:1", "oci:c:1");
    typo["spec"]["runpolicy"] = json!("Once");
    let location = json!({"reference": "docker://r.test/a:1", "secretRef": {"name": "none"}});
    let unresolved = object("ref", location, json!({"reference": "oci:c:1"}), &json!({}));
    let cases = [
        (typo, "document 2: ImagePush `typo`: unknown field `spec.runpolicy`", None),
        (
            unresolved,
            "ImagePush `ref`: there is no secret `none` for it",
            Some("put the Secret into the same file, with the object's namespace"),
        ),
        (
            object(
                "out",
                json!({"reference": "oci:a:1"}),
                json!({"reference": "oci:c:1"}),
                &json!({"digestOutput": {"configMapKeyRef": {"name": "x", "key": "y"}}}),
            ),
            "ImagePush `out`: the ConfigMap of `digestOutput` is in a cluster only",
            Some("leave it out; `status.artifact.digest` of the output has the digest"),
        ),
        (
            object(
                "in",
                json!({"reference": "oci:a:1"}),
                json!({"reference": "oci:c:1"}),
                &json!({"customResources": {"apply": {"serviceAccountName": "a"}}}),
            ),
            "ImagePush `in`: `customResources.apply` needs a cluster to apply in",
            Some("leave it out; `imagepush bundle show` prints what could be applied"),
        ),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}),
            "document 2: `ConfigMap` of `v1` can't be applied here",
            Some("this can: ImagePush of imagepush.dev/v1alpha1, and Secret of v1"),
        ),
    ];
    for (document, fault, hint) in cases {
        write(folder.path(), &[push("fine", "oci:a:1", "oci:b:1"), document]);
        let said = hint.map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
        let message = format!("reading `f.yaml`: {fault}");
        assert_eq!(
            run_in(folder.path(), &["apply", "-f", "f.yaml"]),
            format!("exit 2\n--- stdout\n--- stderr\nerror: {message}\n{said}")
        );
        let found = program(folder.path(), &["apply", "--output=json", "-f", "f.yaml"]).output();
        let found: Value = serde_json::from_slice(&found.unwrap().stdout).unwrap();
        let error =
            json!({"kind": "InvalidOptions", "side": null, "message": message, "hint": hint});
        assert_eq!(found, json!({"error": error}));
        assert!(!folder.path().join("b").exists());
    }
    assert_eq!(
        run_in(folder.path(), &["apply", "-f", "none"]),
        "exit 1\n--- stdout\n--- stderr\nerror: cannot open `none`: No such file or directory (os error 2)\n"
    );
}

#[test]
fn what_is_there_is_overwritten_as_the_policy_says() {
    let folder = folder_with(&images::image(65));
    images::image(66).write_layout(&folder.path().join("b"), Some("1"));
    let keep = json!({"overwritePolicy": "IfNotPresent"});
    let to = |destination: &str| {
        let (from, to) = (json!({"reference": "oci:a:1"}), json!({"reference": destination}));
        object("x", from, to, &keep)
    };
    let (code, reasons, said) = applied(folder.path(), &[to("oci:b:1")]);
    assert_eq!((code, reasons), (1, vec!["False DestinationExists stalled".to_owned()]), "{said}");
    let (code, reasons, said) = applied(folder.path(), &[to("oci:b:2")]);
    assert_eq!((code, reasons), (0, vec!["True PushSucceeded".to_owned()]), "{said}");
    let (code, reasons, said) = applied(folder.path(), &[to("oci:b:2")]);
    assert_eq!((code, reasons), (0, vec!["True AlreadyPresent".to_owned()]), "{said}");
}

#[test]
fn standard_input_can_be_the_file() {
    let image = images::image(64);
    let folder = folder_with(&image);
    let apply = |input: &str| {
        let mut program = program(folder.path(), &["apply", "-f", "-", "-q"]);
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        shown(&child.wait_with_output().unwrap())
    };
    let found = apply(&push("x", "oci:a:1", "oci:b:1").to_string());
    let printed = found.strip_prefix("exit 0\n--- stdout\n").unwrap().strip_suffix("--- stderr\n");
    assert!(folder.path().join("b").exists());
    // What was printed can be applied again.
    assert!(apply(printed.unwrap()).contains("reason: AlreadyPresent\n"));
    let expected = "exit 2\n--- stdout\n--- stderr\n\
                    error: reading standard input: document 1: this is not an object\n";
    assert_eq!(apply("x"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_ends_all_of_it() {
    let registry = Registry::start().await;
    let folder = folder_with(&images::image(65));
    let remote = format!("docker://{}/app:1", registry.host);
    run_in(folder.path(), &["push", "-q", "--tls-verify=false", "oci:a:1", &remote]);
    registry.take_log();
    registry.add_rule(Rule::each("GET", "/blobs/", Act::StallBody(100)));
    let source = json!({"reference": remote, "tlsPolicy": "PlainHTTP"});
    let stalled = object("one", source, json!({"reference": "oci:b:1"}), &json!({}));
    write(folder.path(), &[stalled, push("two", "oci:a:1", "oci:b:2")]);
    let mut program = program(folder.path(), &["apply", "-qf", "f.yaml", "--output", "json"]);
    let child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    registry.received("GET /v2/app/blobs/").await;
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(reasons(&list), ["False Cancelled", "False Cancelled"]);
    let said = |name: &str, source: &str, destination: &str| {
        format!(
            "error: applying ImagePush `{name}`: pushing `{source}` to `{destination}`: the push was cancelled\n"
        )
    };
    assert_eq!(
        (output.status.code(), String::from_utf8(output.stderr).unwrap()),
        (Some(130), said("one", &remote, "oci:b:1") + &said("two", "oci:a:1", "oci:b:2"))
    );
    assert!(!folder.path().join("b").exists());
}
