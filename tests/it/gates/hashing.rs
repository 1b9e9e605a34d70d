//! How often what a push moves is hashed: bytes from outside once, those that a registry compares with their digest not at all.
//!
//! The program tells of each digest that it has computed; nothing else shows that from outside.

use std::collections::BTreeMap;
use std::path::Path;

use super::{docker, oci};
use crate::cli::run::program;
use crate::support::docker_registry::DockerRegistry;
use crate::support::images::{Content, Form, layer};
use crate::support::layout::write_layout;

/// The blobs that were hashed, each with how often and how many bytes of it in all.
type Hashed = BTreeMap<String, (usize, u64)>;

/// Pushes, with custom resources looked for by default.
fn hashed(folder: &Path, from: &str, to: &str, options: &[&str]) -> Hashed {
    let tls: &[&str] =
        if [from, to].concat().contains("docker://") { &["--tls-verify=false"] } else { &[] };
    let arguments = [&["push", "--output=json"], tls, options, &[from, to]];
    let mut push = program(folder, &arguments.concat());
    let output = push.env("RUST_LOG", "imagepush::blob=trace").output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    let mut hashed = Hashed::new();
    for line in log.lines().filter(|line| line.contains(" hashed ")) {
        let field = |name: &str| {
            let (_, rest) = line.split_once(name).unwrap();
            rest.split_whitespace().next().unwrap().to_owned()
        };
        let entry = hashed.entry(field("digest=")).or_default();
        entry.0 += 1;
        entry.1 += field("bytes=").parse::<u64>().unwrap();
    }
    hashed
}

/// Each blob of a layout, hashed so often.
fn each(layout: &Path, blobs: &[String], times: usize) -> Hashed {
    let size = |digest: &String| {
        let path = layout.join("blobs").join(digest.replace(':', "/"));
        std::fs::metadata(path).unwrap().len()
    };
    blobs.iter().map(|digest| (digest.clone(), (times, times as u64 * size(digest)))).collect()
}

#[test]
fn each_byte_from_outside_is_hashed_once() {
    let registry = DockerRegistry::plain();
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    let blobs = write_layout(&layout, "1", 3, 300 << 10);
    let path = folder.path();
    let pushed = |from: &str, to: &str, options: &[&str]| hashed(path, from, to, options);

    // Under their digests in a local store: the registry compares them, but for the config, which is read for its label.
    let config = &blobs[blobs.len() - 1..];
    assert_eq!(pushed(&oci(&layout), &docker(&registry), &[]), each(&layout, config, 1));
    let unread = pushed(&oci(&layout), &docker(&DockerRegistry::plain()), &["--cr-option=no"]);
    assert_eq!(unread, Hashed::new());
    let other = DockerRegistry::plain();
    let verified = pushed(&oci(&layout), &docker(&other), &["--verify-source"]);
    assert_eq!(verified, each(&layout, &blobs, 1));

    let other = DockerRegistry::plain();
    assert_eq!(pushed(&docker(&registry), &docker(&other), &[]), each(&layout, &blobs, 1));
    assert_eq!(pushed(&docker(&other), "oci:back:1", &[]), each(&layout, &blobs, 1));
    assert_eq!(pushed("oci:back:1", "oci-archive:oci.tar:1", &[]), each(&layout, &blobs, 1));
    let other = DockerRegistry::plain();
    let local = pushed("oci-archive:oci.tar:1", &docker(&other), &[]);
    assert_eq!(local, each(&layout, config, 1));
}

/// Where layers are compressed or decompressed: what comes, and what goes, each once.
#[test]
fn what_is_rewritten_is_hashed_once_on_each_side() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let layers: Vec<_> = (1..4).map(|seed| layer(seed, 100_000, Form::Gzip)).collect();
    let image = Content::image("linux", "amd64", &layers);
    image.write_layout(&path.join("layout"), Some("1"));
    let archive = "docker-archive:docker.tar:example.com/app:1";
    let registry = DockerRegistry::plain();
    // A layer, its other form, and the config, which is the same.
    for (from, to) in [("oci:layout:1", archive), (archive, &docker(&registry))] {
        let found = hashed(path, from, to, &[]);
        assert_eq!(found.len(), 2 * layers.len() + 1, "{from}: {found:#?}");
        assert!(found.values().all(|(times, _)| *times == 1), "{from}: {found:#?}");
        assert!(layers.iter().all(|layer| found.contains_key(&layer.diff_id)), "{from}");
    }
}
