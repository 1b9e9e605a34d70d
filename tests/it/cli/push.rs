//! `imagepush push` and `imagepush inspect` between layouts: what they print, and what they leave.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::run::{program, run_in};
use crate::support::images::{self, Content, OCI_INDEX, OCI_MANIFEST};
use crate::support::registry::Registry;

/// A directory with the layout `a`, which holds one image by the name `1`.
fn folder_with(content: &Content) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    content.write_layout(&folder.path().join("a"), Some("1"));
    folder
}

/// Compares with the lines about blobs sorted: blobs move at the same time.
fn check(folder: &Path, arguments: &[&str], expected: &str) {
    let found = run_in(folder, arguments);
    let mut lines: Vec<&str> = found.lines().collect();
    if let Some(first) = lines.iter().position(|line| line.starts_with("blob ")) {
        let count = lines[first..].iter().take_while(|line| line.starts_with("blob ")).count();
        lines[first..first + count].sort_unstable();
    }
    assert_eq!(lines.join("\n") + "\n", expected, "imagepush {}", arguments.join(" "));
}

/// The digests of an image's blobs, sorted.
fn blobs(image: &Content) -> Vec<String> {
    let manifest = image.manifest();
    let layers = manifest["layers"].as_array().unwrap().iter();
    let blobs = layers.chain([&manifest["config"]]);
    let mut digests: Vec<String> =
        blobs.map(|blob| blob["digest"].as_str().unwrap().to_owned()).collect();
    digests.sort();
    digests
}

fn bytes(image: &Content) -> usize {
    blobs(image).iter().map(|digest| image.blobs[digest].len()).sum()
}

/// The one document on standard output.
fn document(found: &str, exit: u8) -> Value {
    let head = format!("exit {exit}\n--- stdout\n");
    let (document, _) = found
        .strip_prefix(&head)
        .unwrap_or_else(|| panic!("{found}"))
        .split_once("\n--- stderr\n")
        .unwrap();
    serde_json::from_str(document).unwrap_or_else(|error| panic!("{error} in {found}"))
}

/// What is told of the custom resources of an image that has none, where nothing says whether it has.
const NOT_SEARCHED: &str = "bundle: not searched: nothing says that the image carries one; label it `imagepush.dev/bundle`, or ask for it (`--cr-option yes`, `policy: Always`)\n";

#[test]
fn a_push_tells_each_step_and_prints_the_digest() {
    let image = images::image(1);
    let folder = folder_with(&image);
    let (digest, blobs, size) = (image.digest(), blobs(&image), for_people(bytes(&image)));
    let sent: Vec<String> = blobs.iter().map(|blob| format!("blob {blob}: sent\n")).collect();
    let sent = sent.concat();
    let first = format!(
        "exit 0\n--- stdout\n{digest}\n--- stderr\n\
         copying 3 blobs, {size}\n{sent}manifest {digest}: written\n\
         pushed `oci:a:1` to `oci:b:2`: blobs: 3 sent ({size}), 0 reused, 0 mounted\n\
         bundle: none in the image\n"
    );
    check(folder.path(), &["push", "oci:a:1", "oci:b:2"], &first);
    let second = format!(
        "exit 0\n--- stdout\n{digest}\n--- stderr\n`oci:b:2` has the image already\n{NOT_SEARCHED}"
    );
    check(folder.path(), &["push", "oci:a:1", "oci:b:2"], &second);
}

#[test]
fn a_quiet_push_prints_nothing() {
    let folder = folder_with(&images::image(2));
    for _ in 0..2 {
        check(
            folder.path(),
            &["push", "-q", "oci:a:1", "oci:b:2"],
            "exit 0\n--- stdout\n--- stderr\n",
        );
    }
}

#[test]
fn a_destination_left_out_is_the_source() {
    let image = images::image(3);
    let folder = folder_with(&image);
    let digest = image.digest();
    let expected = format!(
        "exit 0\n--- stdout\n{digest}\n--- stderr\n`oci:a:1` has the image already\n{NOT_SEARCHED}"
    );
    check(folder.path(), &["push", "oci:a:1"], &expected);
}

#[test]
fn json_is_one_document() {
    let image = images::image(4);
    let folder = folder_with(&image);
    let size = bytes(&image) + image.blobs[image.digest()].len();
    let expected = |sent: u64| {
        json!({
            "source": "oci:a:1",
            "destination": "oci:b:2",
            "digest": image.digest(),
            "replacedDigest": null,
            "mediaType": OCI_MANIFEST,
            "sizeBytes": size,
            "blobs": {"sent": sent, "reused": 0, "mounted": 0},
            "image": "pushed",
            "bundle": {
                "decision": "absent", "reason": null, "digest": null, "objects": null, "artifact": null,
            },
        })
    };
    let arguments = ["push", "--output", "json", "oci:a:1", "oci:b:2"];
    assert_eq!(document(&run_in(folder.path(), &arguments), 0), expected(3));
    let second = document(&run_in(folder.path(), &arguments), 0);
    assert_eq!(second["blobs"]["sent"], 0, "{second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_name_had_before_is_told() {
    let registry = Registry::start().await;
    let name = format!("docker://{}/app:1", registry.host);
    let [old, new, newest] = [30, 31, 32].map(images::image);
    let push = |image: &images::Content, more: &[&str]| {
        let folder = folder_with(image);
        let arguments = ["push", "--tls-verify=false", "oci:a:1", &name];
        run_in(folder.path(), &[&arguments, more].concat())
    };
    let json = ["--output", "json"];
    assert_eq!(document(&push(&old, &json), 0)["replacedDigest"], Value::Null);
    assert_eq!(document(&push(&new, &json), 0)["replacedDigest"], old.digest());
    assert_eq!(document(&push(&new, &json), 0)["replacedDigest"], Value::Null);
    let told = format!("pushed `oci:a:1` to `{name}`, in the place of `{}`: blobs: ", new.digest());
    let said = push(&newest, &[]);
    assert!(said.contains(&told), "{said}");
}

#[test]
fn the_digest_file_is_written_after_success_only() {
    let image = images::image(5);
    let folder = folder_with(&image);
    let file = folder.path().join("digest");
    fs::write(&file, "as it was").unwrap();
    run_in(folder.path(), &["push", "-q", "--digestfile", "digest", "oci:none:1", "oci:b:2"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "as it was");
    run_in(folder.path(), &["push", "-q", "--digestfile", "digest", "oci:a:1", "oci:b:2"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), image.digest());
}

#[test]
fn a_digest_file_that_cannot_be_is_refused_before_anything_moves() {
    let folder = folder_with(&images::image(6));
    let expected = "exit 2\n--- stdout\n--- stderr\n\
                    error: the directory `none` of the digest file isn't there\n";
    check(folder.path(), &["push", "--digestfile", "none/d", "oci:a:1", "oci:b:2"], expected);
    assert!(!folder.path().join("b").exists());
}

/// The same of a dry run.
const DRY_RUN: &str = "bundle: not searched: a dry run reads no layer only to look; label the image `imagepush.dev/bundle`, or ask for it (`--cr-option yes`, `policy: Always`)\n";

#[test]
fn a_dry_run_prints_the_plan_and_writes_nothing() {
    let image = images::image(7);
    let folder = folder_with(&image);
    let manifest = image.manifest();
    let descriptors: Vec<&Value> =
        manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]).collect();
    let line = |blob: &&Value| {
        let size = usize::try_from(blob["size"].as_u64().unwrap()).unwrap();
        format!("  keep        {}  {}\n", blob["digest"].as_str().unwrap(), for_people(size))
    };
    let digest = image.digest();
    let expected = format!(
        "exit 0\n--- stdout\n\
         would push `oci:a:1` to `oci:b:2`\ndigest: {digest}\nmedia type: {OCI_MANIFEST}\n\
         image {digest}\n{}{DRY_RUN}--- stderr\n",
        descriptors.iter().map(line).collect::<String>()
    );
    check(folder.path(), &["push", "--dry-run", "oci:a:1", "oci:b:2"], &expected);
    assert!(!folder.path().join("b").exists());

    let reason = DRY_RUN.trim().strip_prefix("bundle: not searched: ").unwrap();
    let blob = |blob: &&Value| json!({"digest": blob["digest"], "sizeBytes": blob["size"], "action": "keep"});
    let expected = json!({
        "source": "oci:a:1",
        "destination": "oci:b:2",
        "digest": digest,
        "mediaType": OCI_MANIFEST,
        "alreadyPresent": false,
        "images": [{
            "sourceDigest": digest,
            "platform": null,
            "blobs": descriptors.iter().map(blob).collect::<Vec<_>>(),
        }],
        "image": "push",
        "bundle": {
            "decision": "notSearched", "reason": reason, "digest": null, "objects": null, "artifact": null,
        },
    });
    let arguments = ["push", "--dry-run", "--output=json", "oci:a:1", "oci:b:2"];
    assert_eq!(document(&run_in(folder.path(), &arguments), 0), expected);
    run_in(folder.path(), &["push", "-q", "oci:a:1", "oci:b:2"]);
    let expected =
        format!("exit 0\n--- stdout\n`oci:b:2` has the image already\n{DRY_RUN}--- stderr\n");
    check(folder.path(), &["push", "--dry-run", "oci:a:1", "oci:b:2"], &expected);
}

#[test]
fn an_index_is_pushed_whole_or_by_platform() {
    let index = images::index(8);
    let folder = folder_with(&index);
    let push = |arguments: &[&str]| {
        let arguments = [&["push", "--output", "json", "oci:a:1"], arguments].concat();
        document(&run_in(folder.path(), &arguments), 0)
    };
    let all = push(&["oci:all:1", "--all"]);
    assert_eq!((&all["digest"], &all["mediaType"]), (&json!(index.digest()), &json!(OCI_INDEX)));
    for entry in index.manifest()["manifests"].as_array().unwrap() {
        let platform = &entry["platform"];
        let parts = ["os", "architecture", "variant"].map(|part| platform[part].as_str());
        let name = parts.into_iter().flatten().collect::<Vec<_>>().join("/");
        let one = push(&["oci:one:1", "--platform", &name]);
        assert_eq!(one["digest"], entry["digest"], "{name}");
    }
    let found = run_in(folder.path(), &["push", "--platform", "plan9/mips", "oci:a:1", "oci:c:1"]);
    let head = "exit 1\n--- stdout\n--- stderr\nerror: pushing `oci:a:1` to `oci:c:1`: \
                the index has no image for plan9/mips\nside: source\nhint: it has images for: ";
    assert!(found.starts_with(head), "{found}");
}

#[test]
fn inspect_shows_images_and_indexes() {
    let (image, index) = (images::image(9), images::index(10));
    let folder = folder_with(&image);
    index.write_layout(&folder.path().join("i"), Some("1"));
    let manifest = image.manifest();
    let layers = manifest["layers"].as_array().unwrap();
    let size = |entry: &Value| usize::try_from(entry["size"].as_u64().unwrap()).unwrap();
    let line = |entry: &Value, what: &str| {
        let digest = entry["digest"].as_str().unwrap();
        format!("  {digest}  {:>10}  {what}\n", for_people(size(entry)))
    };
    let lines = layers.iter().map(|layer| line(layer, layer["mediaType"].as_str().unwrap()));
    let expected = format!(
        "exit 0\n--- stdout\nreference:   oci:a:1\ndigest:      {}\nmedia type:  {OCI_MANIFEST}\n\
         platform:    linux/amd64\nsize:        {}\nlayers:\n{}--- stderr\n",
        image.digest(),
        for_people(bytes(&image)),
        lines.collect::<String>()
    );
    check(folder.path(), &["inspect", "oci:a:1"], &expected);

    let entry = |entry: &Value| json!({"digest": entry["digest"], "mediaType": entry["mediaType"], "sizeBytes": entry["size"]});
    let expected = json!({
        "reference": "oci:a:1",
        "digest": image.digest(),
        "mediaType": OCI_MANIFEST,
        "sizeBytes": image.blobs[image.digest()].len(),
        "platform": "linux/amd64",
        "config": entry(&manifest["config"]),
        "layers": layers.iter().map(entry).collect::<Vec<_>>(),
    });
    assert_eq!(
        document(&run_in(folder.path(), &["inspect", "oci:a:1", "--output", "json"]), 0),
        expected
    );

    let found = document(&run_in(folder.path(), &["inspect", "oci:i:1", "--output", "json"]), 0);
    let platforms: Vec<&Value> =
        found["manifests"].as_array().unwrap().iter().map(|it| &it["platform"]).collect();
    assert_eq!(platforms.len(), index.manifest()["manifests"].as_array().unwrap().len());
    assert!(platforms.iter().all(|platform| platform.is_string()), "{found}");
}

#[test]
fn log_lines_are_json_where_asked_for() {
    let folder = folder_with(&images::image(11));
    let mut program =
        program(folder.path(), &["push", "-q", "--log-format", "json", "oci:a:1", "oci:b:1"]);
    let output = program.env("RUST_LOG", "trace").output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    for line in String::from_utf8(output.stderr).unwrap().lines() {
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["level"].is_string() && line["target"].is_string(), "{line}");
    }
}

/// Bytes as they are printed for people.
fn for_people(bytes: usize) -> String {
    indicatif::HumanBytes(bytes as u64).to_string()
}
