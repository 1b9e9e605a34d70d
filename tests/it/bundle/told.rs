//! What the program says of a bundle in its documents and by its exit code; `examples` has the words.

use std::process::{Command, Output};

use serde_json::{Value, json};

use super::harness::*;
use crate::support::docker_registry::{DockerRegistry, Program};
use crate::support::images::{Content, Form, layer};

fn imagepush(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_imagepush")).args(arguments).output().unwrap()
}

fn document(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|cause| panic!("{cause}: {output:?}"))
}

/// The digest of the bundle that has this thing.
fn digest_of(name: &str) -> String {
    imagepush::bundle::Bundle::parse(thing(name).as_bytes()).unwrap().digest().to_string()
}

/// All that may become of an image and of its bundle, in an order in which it comes about.
#[tokio::test]
async fn each_outcome_has_its_document() {
    let registry = DockerRegistry::of(Program::Referrers);
    let folder = tempfile::tempdir().unwrap();
    let app = layout(folder.path(), "app", &image_with(&thing("a")));
    let newer = layout(folder.path(), "newer", &image_with(&thing("b")));
    let none = Content::image("linux", "amd64", &[layer(1, 300, Form::Gzip)]);
    let none = layout(folder.path(), "none", &none);
    let name = |tag: &str| format!("{}/team/app:{tag}", registry.host);
    let archive = format!("docker-archive:{}:a:1", folder.path().join("a.tar").display());
    let [one, two, plain] = ["1", "2", "3"].map(|tag| format!("docker://{}", name(tag)));
    let is = |decision: &str, thing: Option<&str>, artifact: bool| {
        json!({"decision": decision, "reason": null, "digest": thing.map(digest_of),
            "objects": thing.map(|_| 1), "artifact": artifact})
    };
    let why = |decision: &str, reason: &str| {
        json!({"decision": decision, "reason": reason,
        "digest": null, "objects": null, "artifact": false})
    };
    let unsearched = "nothing says that the image carries one; label it `imagepush.dev/bundle`, or ask for it (`--cr-option yes`, `policy: Always`)";
    for (from, to, arguments, image, bundle) in [
        (&app, &one, "--dry-run --cr-option yes", "push", is("push", Some("a"), false)),
        (&app, &one, "", "pushed", is("pushed", Some("a"), true)),
        (&app, &one, "", "unchanged", why("notSearched", unsearched)),
        (&app, &one, "--cr-option yes", "unchanged", is("unchanged", Some("a"), true)),
        (&app, &one, "--cr-option only", "left", is("unchanged", Some("a"), true)),
        (&newer, &one, "--cr-option only", "left", is("pushed", Some("b"), true)),
        (&app, &two, "--cr-option no", "pushed", Value::Null),
        (&none, &plain, "--cr-option auto", "pushed", is("absent", None, false)),
        (
            &app,
            &archive,
            "",
            "pushed",
            why("skipped", "`docker-archive` can hold nothing beside an image"),
        ),
    ] {
        let more: Vec<&str> = arguments.split_whitespace().collect();
        // Of files, there is nothing to verify.
        let tls = to.starts_with("docker://").then_some("--tls-verify=false");
        let all: Vec<&str> =
            ["push", "--output", "json"].into_iter().chain(more).chain(tls).collect();
        let output = imagepush(&[&all[..], &[from, to]].concat());
        let mut told = document(&output);
        let mut artifact = Value::Null;
        if let Some(told) = told.pointer_mut("/bundle/artifact") {
            artifact = told.take();
            *told = json!(artifact.is_string());
        }
        assert_eq!(output.status.code(), Some(0), "{arguments}");
        assert_eq!(
            (&told["image"], &told["bundle"]),
            (&json!(image), &bundle),
            "{arguments}: {told:#}"
        );
        if let Some(artifact) = artifact.as_str() {
            let tag = to.rsplit(':').next().unwrap();
            assert_eq!(listed(&name(tag), &[&registry.host]), [artifact], "{arguments}");
        }
    }
}

#[tokio::test]
async fn a_bundle_is_shown_as_a_document_and_its_absence_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let app = layout(folder.path(), "app", &image_with(&thing("a")));
    let none = Content::image("linux", "amd64", &[layer(1, 300, Form::Gzip)]);
    let none = layout(folder.path(), "none", &none);
    let broken = layout(folder.path(), "broken", &image_with("a: ["));
    let shown = imagepush(&["bundle", "show", "--output", "json", &app]);
    let object = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"},
        "spec": {"true": true}});
    let expected = json!({"reference": app, "digest": digest_of("a"), "objects": [object]});
    assert_eq!((shown.status.code(), document(&shown)), (Some(0), expected));
    for (image, kind, told) in [
        (none, "CustomResourcesNotFound", "the image carries no custom resources"),
        (broken, "CustomResourcesInvalid", "reading `config.yaml`: line "),
        ("oci:/nowhere:1".to_owned(), "NotFound", "/nowhere"),
    ] {
        let shown = imagepush(&["bundle", "show", &image]);
        let complaint = String::from_utf8_lossy(&shown.stderr);
        assert_eq!((shown.status.code(), shown.stdout.len()), (Some(1), 0), "{image}: {shown:?}");
        assert!(complaint.contains(told), "{image}: {complaint}");
        let shown = imagepush(&["bundle", "show", "--output", "json", &image]);
        let error = document(&shown)["error"].take();
        let message = &error["message"];
        assert_eq!(error["kind"], kind, "{image}: {error}");
        assert_eq!(shown.status.code(), Some(1), "{image}");
        assert!(message.as_str().unwrap().contains(told), "{image}: {message}");
    }
}
