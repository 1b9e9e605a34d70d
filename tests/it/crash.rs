//! Kills the program at moments spread over a push, and looks at what is left.
//!
//! Whatever the moment: a reader finds the old image or the new one, whole; and after the next push nothing lies around.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::support::images::{self, Content, Form};
use crate::support::push;

/// Moments at which a push is killed, for each transport and signal.
const MOMENTS: u32 = 10;

/// Where a killed push writes.
struct Target {
    folder: tempfile::TempDir,
    reference: String,
}

/// Two images as layouts.
struct Images {
    folder: tempfile::TempDir,
}

impl Images {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, seed) in [("old", 1), ("new", 10)] {
            let layers = [0, 1, 2].map(|n| images::layer(seed + n, 4 << 20, Form::Gzip));
            let image = Content::image("linux", "amd64", &layers);
            image.write_layout(&folder.path().join(name), Some("image"));
        }
        Self { folder }
    }

    fn reference(&self, name: &str) -> String {
        format!("oci:{}/{name}:image", self.folder.path().display())
    }
}

impl Target {
    fn new(transport: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let reference = match transport {
            "dir" => format!("dir:{path}/image"),
            "oci" => format!("oci:{path}/layout:image"),
            "oci-archive" => format!("oci-archive:{path}/image.tar:image"),
            _ => format!("docker-archive:{path}/image.tar:example.com/image:1"),
        };
        Self { folder, reference }
    }

    /// The digest of the image there, after every byte of it has been read and verified.
    async fn image(&self) -> String {
        let copy = tempfile::tempdir().unwrap();
        let layout = format!("oci:{}", copy.path().join("layout").display());
        push::push(&self.reference, &layout).await.unwrap().digest.to_string()
    }

    /// Files that are neither an image's nor a lock.
    fn litter(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        collect(self.folder.path(), &mut found);
        found.retain(|name| name.contains(".tmp"));
        found
    }
}

fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found.insert(path.file_name().unwrap().to_string_lossy().into_owned());
        if path.is_dir() {
            collect(&path, found);
        }
    }
}

fn start(source: &str, destination: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_imagepush"))
        .args(["push", "--quiet", "-D", source, destination])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Sends a signal after a while, unless the program has ended by then.
fn stop(mut child: Child, after: Duration, signal: rustix::process::Signal) -> ExitStatus {
    let end = Instant::now() + after;
    while Instant::now() < end {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    // It may end by itself in this very moment.
    let _ = rustix::process::kill_process(pid, signal);
    child.wait().unwrap()
}

async fn sweep(
    transport: &str,
    signal: rustix::process::Signal,
    check: impl Fn(&Target, ExitStatus),
) {
    let images = Images::new();
    let target = Target::new(transport);
    push::push(&images.reference("old"), &target.reference).await.unwrap();
    let old = target.image().await;
    let begun = Instant::now();
    assert!(start(&images.reference("new"), &target.reference).wait().unwrap().success());
    let whole = begun.elapsed();
    let new = target.image().await;
    assert_ne!(old, new);
    for moment in 0..MOMENTS {
        push::push(&images.reference("old"), &target.reference).await.unwrap();
        let child = start(&images.reference("new"), &target.reference);
        let status = stop(child, whole * moment / MOMENTS, signal);
        let found = target.image().await;
        assert!([&old, &new].contains(&&found), "{transport}, moment {moment}: {found}");
        check(&target, status);
    }
    push::push(&images.reference("new"), &target.reference).await.unwrap();
    assert_eq!(target.image().await, new);
    assert_eq!(target.litter(), BTreeSet::new(), "{transport}");
}

#[tokio::test]
async fn a_killed_push_leaves_the_old_image_or_the_new_one() {
    for transport in ["dir", "oci", "oci-archive", "docker-archive"] {
        sweep(transport, rustix::process::Signal::KILL, |_, _| {}).await;
    }
}

#[tokio::test]
async fn a_push_that_is_told_to_end_cleans_up_at_once() {
    for transport in ["dir", "oci", "oci-archive", "docker-archive"] {
        sweep(transport, rustix::process::Signal::TERM, |target, status| {
            use std::os::unix::process::ExitStatusExt as _;
            // Before the program listens to signals, the signal ends it; it has written nothing then.
            let ended = status.code().unwrap_or(128 + status.signal().unwrap_or(0));
            assert!([0, 130, 143].contains(&ended), "{transport}: {status}");
            assert_eq!(target.litter(), BTreeSet::new(), "{transport}");
        })
        .await;
    }
}
