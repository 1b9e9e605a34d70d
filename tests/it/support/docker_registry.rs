//! Debian's docker-registry, run for one test on a port of its own.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::certificates::ServerFiles;

/// A running registry; it ends when this is dropped.
pub(crate) struct DockerRegistry {
    process: Child,
    /// Host and port.
    pub(crate) host: String,
    _folder: TempDir,
}

/// How a registry is to run.
#[derive(Default)]
pub(crate) struct Setup<'a> {
    /// Certificate and key to serve TLS with.
    pub(crate) tls: Option<&'a ServerFiles>,
    /// User and password that are asked for.
    pub(crate) login: Option<(&'a str, &'a str)>,
}

/// The first start reads the program from disk.
const PATIENCE: Duration = Duration::from_secs(30);

impl DockerRegistry {
    /// Starts a registry that speaks plain HTTP and lets everybody in.
    pub(crate) fn plain() -> Self {
        Self::start(&Setup::default())
    }

    /// Starts a registry and waits until it listens.
    pub(crate) fn start(setup: &Setup<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.yml");
        std::fs::write(&config, configuration(setup, folder.path())).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry must be installed: run `scripts/install-packages`");
        let host = listening(process.stderr.take().unwrap());
        Self { process, host, _folder: folder }
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(setup: &Setup<'_>, folder: &Path) -> String {
    let storage = folder.join("storage");
    let mut text = format!(
        "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  \
         delete: {{enabled: true}}\nhttp:\n  addr: 127.0.0.1:0\n",
        storage.display()
    );
    if let Some(files) = setup.tls {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        writeln!(text, "  tls: {{certificate: {certificate}, key: {key}}}").unwrap();
    }
    if let Some((user, password)) = setup.login {
        let path = folder.join("htpasswd");
        let made = Command::new("htpasswd")
            .args(["-nbB", user, password])
            .output()
            .expect("htpasswd must be installed: run `scripts/install-packages`");
        std::fs::write(&path, made.stdout).unwrap();
        writeln!(text, "auth:\n  htpasswd: {{realm: test, path: {}}}", path.display()).unwrap();
    }
    text
}

/// Waits for the line that names the address, and goes on reading so that the registry never blocks on its log.
fn listening(stderr: ChildStderr) -> String {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once("listening on ") {
                let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)));
                let _ = sender.send(rest[..end.unwrap_or(rest.len())].to_owned());
            }
        }
    });
    receiver.recv_timeout(PATIENCE).expect("docker-registry did not start to listen")
}
