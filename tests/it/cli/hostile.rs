//! What the program prints of an image that says hostile things of itself: nothing that a terminal obeys, and nothing that a
//! reader of lines or of JSON would take for ours.

use std::process::Output;

use super::run::program;
use crate::support::images::{Content, Form, layer};
use crate::support::registry::Registry;

/// Escape sequences, an end of line with a line that looks like one of ours, and what shells and formats would replace.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\r\nerror: forged\u{202e}\u{0} $(touch written) `touch written` %s %n {0} ../../x\n";

/// Runs the program with everything logged that is ours.
fn run(folder: &std::path::Path, arguments: &[&str]) -> Output {
    program(folder, arguments).env("RUST_LOG", "imagepush=trace").output().unwrap()
}

/// Fails if a terminal would be told to do something, or a line begins with words of the image.
fn is_harmless(what: &str, bytes: &[u8]) {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let obeyed = |it: char| (it.is_control() && it != '\n') || it == '\u{202e}';
    assert!(!text.contains(obeyed), "{what}: {text:?}");
    assert!(!text.lines().any(|line| line.starts_with("error: forged")), "{what}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_image_says_of_itself_reaches_no_terminal() {
    let registry = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let layers = [layer(11, 3000, Form::Gzip)];
    let says_folder = [("imagepush.dev/bundle", HOSTILE)];
    let images = [
        ("said", Content::image_saying("linux", "amd64", &layers, HOSTILE)),
        ("platform", Content::image(HOSTILE, HOSTILE, &layers)),
        ("folder", Content::labelled_image("linux", "amd64", &layers, &says_folder)),
        (
            "noted",
            Content::image("linux", "amd64", &layers).annotated("imagepush.dev/bundle", HOSTILE),
        ),
    ];
    for (name, image) in images {
        image.write_layout(&folder.path().join(name), Some("1"));
        let (from, to) = (format!("oci:{name}:1"), format!("docker://{}/{name}:1", registry.host));
        let always = format!("docker://{}/{name}-always:1", registry.host);
        let (plain, json) = ("--tls-verify=false", "--output=json");
        for command in [
            &["push", plain, &from, &to][..],
            &["push", plain, json, "--dry-run", &from, &to],
            &["push", plain, json, "--cr-option=yes", &from, &always],
            &["inspect", plain, &to],
            &["inspect", json, &from],
            &["bundle", "show", &from],
            &["push", plain, json, &to, &from],
        ] {
            let output = run(folder.path(), command);
            is_harmless(&format!("{command:?}: standard error"), &output.stderr);
            is_harmless(&format!("{command:?}: standard output"), &output.stdout);
            if command.contains(&json) && output.status.success() {
                serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap();
            }
        }
        assert!(!folder.path().join("written").exists(), "{name}");
    }
}

/// Where layers are rewritten, the history is looked at, too: one that doesn't fit is told, and stops nothing.
#[test]
fn a_history_of_other_layers_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let layers = [layer(11, 3000, Form::Gzip), layer(12, 3000, Form::Gzip)];
    for steps in [0, 1, 2, 3] {
        let name = format!("with-{steps}");
        let image = Content::image_with_history(&layers, steps);
        image.write_layout(&folder.path().join(&name), Some("1"));
        let (from, to) = (format!("oci:{name}:1"), format!("oci:{name}-zstd:1"));
        let command = ["push", "--quiet", "--compression-format=zstd", &from, &to];
        let output = program(folder.path(), &command).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        let told = said.contains("the history of the image tells of another number of layers");
        assert_eq!(told, steps != layers.len(), "{steps}: {said}");
    }
}
