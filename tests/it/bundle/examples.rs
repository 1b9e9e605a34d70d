//! The examples of docs/bundles.md, run in its order: what is shown there is what the programs print.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::control_plane::{ControlPlane, control_plane};
use crate::support::docker_registry::DockerRegistry;
use crate::support::images::{Content, Form, Layer, layer, random, tar, write_layout};
use crate::support::peers;

const MANUAL: &str = include_str!("../../../docs/bundles.md");
/// What the manual calls its registry.
const REGISTRY: &str = "registry.example.com";

/// What lines about the progress of a push begin with.
const PROGRESS: [&str; 3] = ["copying ", "blob sha256:", "manifest sha256:"];

/// A command of the manual, and what it shows below it.
#[derive(Debug)]
struct Example {
    command: String,
    output: Vec<String>,
}

/// The commands in the manual's indented blocks.
fn examples() -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut is_open = false;
    for line in MANUAL.lines() {
        let Some(line) = line.strip_prefix("    ") else {
            is_open = false;
            continue;
        };
        if let Some(command) = line.strip_prefix("$ ") {
            examples.push(Example { command: command.to_owned(), output: vec![] });
            is_open = true;
        } else if is_open {
            let example = examples.last_mut().unwrap();
            match example.command.strip_suffix('\\') {
                Some(begun) => example.command = format!("{begun}{}", line.trim_start()),
                None => example.output.push(line.to_owned()),
            }
        }
    }
    examples
}

/// Text without what differs each time, which is digests.
fn masked(text: &str) -> String {
    let mut parts = text.split("sha256:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |masked, part| {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_hexdigit() || c == '…');
        format!("{masked}sha256:…{rest}")
    })
}

/// A folder with what the manual takes for granted: an image, and an object that it is to carry.
fn prepare(folder: &Path, registry: &str, thing: &str) {
    let base = layer(1, 300, Form::Gzip);
    let files = [("app", &random(2, 4_300_000)[..])];
    let app = Layer::of(&tar(&files), Form::Gzip);
    let image = Content::image("linux", "amd64", &[base, app]);
    write_layout(&folder.join("images"), &[(&image, Some("app")), (&image, Some("base"))]);
    std::fs::create_dir_all(folder.join("deploy")).unwrap();
    std::fs::write(folder.join("deploy/thing.yaml"), thing).unwrap();
    let registries = folder.join(".config/containers");
    std::fs::create_dir_all(&registries).unwrap();
    let insecure = format!("[[registry]]\nlocation = \"{registry}\"\ninsecure = true\n");
    std::fs::write(registries.join("registries.conf"), insecure).unwrap();
    std::fs::create_dir_all(folder.join(".regctl")).unwrap();
    let hosts = json!({"hosts": {registry: {"tls": "disabled", "hostname": registry}}});
    std::fs::write(folder.join(".regctl/config.json"), hosts.to_string()).unwrap();
}

/// The kind of the manual's object, and such an object that differs from it.
async fn install(plane: &ControlPlane) {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            }}}],
        },
    });
    plane.kubectl_with(&["apply", "-f", "-"], &definition.to_string()).await.succeeded();
    let crd = "crd/things.example.com";
    plane.kubectl(&["wait", "--for=condition=Established", crd]).await.succeeded();
    plane.kubectl(&["create", "namespace", "team"]).await.succeeded();
    let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing",
        "metadata": {"name": "app", "namespace": "team"}, "spec": {"replicas": 1, "note": "old"}});
    let apply = ["apply", "--server-side", "--field-manager=imagepush-bundle", "-f", "-"];
    while !plane.kubectl_with(&apply, &thing.to_string()).await.success {
        tokio::time::sleep(crate::support::control_plane::POLL).await;
    }
}

/// What a command prints, on both its outputs in their order.
fn run(folder: &Path, plane: &ControlPlane, command: &str) -> String {
    let programs = [Path::new(env!("CARGO_BIN_EXE_imagepush")), &peers::program("regctl")]
        .map(|program| program.parent().unwrap().display().to_string());
    let path = format!("{}:{}", programs.join(":"), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{command} 2>&1")]).current_dir(folder);
    shell.env("PATH", path).env("HOME", folder).env("KUBECONFIG", plane.kubeconfig());
    let output = shell.output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_manual_shows_what_is_printed() {
    let (plane, registry) = (control_plane().await, DockerRegistry::plain());
    let folder = tempfile::tempdir().unwrap();
    let thing = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: app}\nspec: {replicas: 2, tags: [web]}\n";
    prepare(folder.path(), &registry.host, thing);
    install(plane).await;
    let examples = examples();
    assert!(examples.len() >= 17, "{examples:#?}");
    for Example { command, output } in examples {
        let printed = run(folder.path(), plane, &command.replace(REGISTRY, &registry.host));
        let printed = printed.replace(&registry.host, REGISTRY);
        if output.is_empty() {
            // What it prints is not shown.
            assert!(
                !printed.contains("fail") && !printed.contains("error"),
                "{command}: {printed}"
            );
            continue;
        }
        // What a terminal shows as bars is told in lines to others.
        let told = printed.lines().filter(|line| !PROGRESS.iter().any(|it| line.starts_with(it)));
        let printed: Vec<String> = told.map(masked).collect();
        let shown: Vec<String> = output.iter().map(|line| masked(line)).collect();
        assert_eq!(printed, shown, "{command}");
    }
}
