//! Images with bundles, and pushes of them.

use std::path::Path;

use imagepush::access::{Access, TlsPolicy};
use imagepush::bundle;
use imagepush::engine::{Beside, Decision, Pushed};
use imagepush::error::Result;
use imagepush::options::{CustomResources, PushOptions};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::support::images::{Content, Form, Layer, layer, tar};
use crate::support::{peers, push, tools};

pub(crate) const TYPE: &str = "application/vnd.imagepush.bundle.v1";

/// The custom resource of most tests, as a person writes it.
pub(crate) fn thing(name: &str) -> String {
    format!(
        "apiVersion: example.com/v1\nkind: Thing\nmetadata: {{name: {name}}}\nspec: {{on: yes}}\n"
    )
}

/// The same in its canonical form.
pub(crate) fn canonical(name: &str) -> String {
    format!(
        "---\napiVersion: \"example.com/v1\"\nkind: \"Thing\"\nmetadata:\n  name: \"{name}\"\nspec:\n  \"true\": true\n"
    )
}

/// A layer with these files.
pub(crate) fn files(files: &[(&str, &str)], form: Form) -> Layer {
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    Layer::of(&tar(&files), form)
}

/// An image with this text as its bundle, between two layers of other files.
pub(crate) fn image_with(text: &str) -> Content {
    let bundle = files(&[("metadata/config.yaml", text)], Form::Gzip);
    Content::image(
        "linux",
        "amd64",
        &[layer(1, 3000, Form::Gzip), bundle, layer(2, 3000, Form::Zstd)],
    )
}

/// The same, which says by a label that it has one.
pub(crate) fn labelled(text: &str) -> Content {
    let bundle = files(&[("deploy/config.yaml", text)], Form::Gzip);
    let layers = [layer(1, 3000, Form::Gzip), bundle];
    Content::labelled_image("linux", "amd64", &layers, &[("imagepush.dev/bundle", "/deploy")])
}

/// Writes an image to a layout of its own; returns its name.
pub(crate) fn layout(folder: &Path, name: &str, image: &Content) -> String {
    let path = folder.join(name);
    image.write_layout(&path, Some("1"));
    format!("oci:{}:1", path.display())
}

/// The options of a push that speaks plain HTTP and leaves layers as they are.
pub(crate) fn options(from: &str, to: &str, policy: CustomResources) -> PushOptions {
    let mut options = PushOptions { custom_resources: policy, ..push::options(from, to) };
    let plain = || Access { tls: TlsPolicy::PlainHttp, ..Access::default() };
    (options.source.access, options.destination.access) = (plain(), plain());
    options
}

pub(crate) async fn run(from: &str, to: &str, policy: CustomResources) -> Result<Pushed> {
    run_with(&options(from, to, policy)).await
}

pub(crate) async fn run_with(options: &PushOptions) -> Result<Pushed> {
    let progress: std::sync::Arc<dyn imagepush::engine::Progress> =
        std::sync::Arc::new(imagepush::engine::NoProgress);
    Box::pin(bundle::push(options, &progress, &CancellationToken::new())).await
}

/// What was done for the image, and about its bundle, in a word each.
pub(crate) async fn decisions(
    from: &str,
    to: &str,
    policy: CustomResources,
) -> (&'static str, String) {
    let Pushed { already_present, beside, .. } = run(from, to, policy).await.unwrap();
    let image = match policy {
        CustomResources::Only => "left",
        _ if already_present => "unchanged",
        _ => "pushed",
    };
    (image, beside.map_or("none".to_owned(), |beside| decision(&beside)))
}

pub(crate) fn decision(beside: &Beside) -> String {
    match &beside.decision {
        Decision::Skipped(reason) => format!("skipped: {reason}"),
        other => other.as_str().to_owned(),
    }
}

/// Runs regctl with registries that speak plain HTTP.
pub(crate) fn regctl(arguments: &[&str], hosts: &[&str]) -> String {
    let home = tempfile::tempdir().unwrap();
    let home = format!("HOME={}", home.path().display());
    let hosts: Vec<String> =
        hosts.iter().map(|host| format!("--host=reg={host},tls=disabled")).collect();
    let program = peers::program("regctl");
    let mut command = vec![home.as_str(), program.to_str().unwrap()];
    command.extend(hosts.iter().map(String::as_str));
    command.extend(arguments);
    tools::run("env", &command)
}

/// The bundles that regctl finds attached to an image, oldest first: their digests.
pub(crate) fn listed(name: &str, hosts: &[&str]) -> Vec<String> {
    let arguments = [&["artifact", "list", "--format", "{{jsonPretty .}}"], filter(name), &[name]];
    let list: Value = serde_json::from_str(&regctl(&arguments.concat(), hosts)).unwrap();
    let entries = list["descriptors"].as_array().cloned().unwrap_or_default();
    entries.iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect()
}

/// The content that regctl gets of the bundle of an image.
pub(crate) fn got(name: &str, hosts: &[&str]) -> String {
    regctl(&[&["artifact", "get", "--subject", name], filter(name)].concat(), hosts)
}

/// By type, where the list tells it: go-containerregistry's registry lists that of the config instead.
fn filter(name: &str) -> &'static [&'static str] {
    if name.starts_with("ocidir://") { &["--filter-artifact-type", TYPE] } else { &[] }
}
