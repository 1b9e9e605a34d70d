//! A Docker daemon of the test's own, spoken to over its socket.
//!
//! It has its own folders and no network, and is ended when it is dropped. The `docker` client isn't needed.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::server::{End, Server};

/// How long a daemon may take to come up; usually two seconds.
const READY: Duration = Duration::from_mins(1);

/// A running daemon.
pub(crate) struct Dockerd {
    _server: Server,
    folder: tempfile::TempDir,
}

impl Dockerd {
    /// Starts a daemon and waits until it answers.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let log = File::create(path("log")).unwrap();
        let namespace = format!("imagepush-{}", std::process::id());
        let arguments = [
            "--iptables=false".to_owned(),
            "--ip6tables=false".to_owned(),
            "--bridge=none".to_owned(),
            "--storage-driver=vfs".to_owned(),
            format!("--data-root={}", path("data")),
            format!("--exec-root={}", path("exec")),
            format!("--pidfile={}", path("pid")),
            format!("--host=unix://{}", path("socket")),
            format!("--containerd-namespace={namespace}"),
            format!("--containerd-plugins-namespace={namespace}-plugins"),
        ];
        let outputs = [log.try_clone().unwrap().into(), log.into()];
        // Killed outright it would leave its containerd behind.
        let server = Server::start("dockerd", &arguments, folder.path(), End::Terminate, outputs);
        let daemon = Self { _server: server, folder };
        let started = Instant::now();
        while !daemon.answers() {
            let log = std::fs::read_to_string(daemon.folder.path().join("log")).unwrap();
            assert!(started.elapsed() < READY, "dockerd did not come up:\n{log}");
            std::thread::park_timeout(Duration::from_millis(100));
        }
        daemon
    }

    /// `docker load`: the answer's text.
    pub(crate) fn load(&self, archive: &Path) -> String {
        let mut file = File::open(archive).unwrap();
        let length = file.metadata().unwrap().len();
        let head =
            format!("POST /images/load?quiet=1 HTTP/1.0\r\nContent-Length: {length}\r\n\r\n");
        let mut stream = self.connect().unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        io::copy(&mut file, &mut stream).unwrap();
        let (status, body) = answer(stream);
        let body = String::from_utf8(body).unwrap();
        assert!(status == 200 && !body.contains("errorDetail"), "loading failed: {status} {body}");
        body
    }

    /// `docker save` of these images.
    pub(crate) fn save(&self, names: &[&str], archive: &Path) {
        let names: Vec<_> = names.iter().map(|name| format!("names={name}")).collect();
        let (status, body) = self.get(&format!("/images/get?{}", names.join("&")));
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        std::fs::write(archive, body).unwrap();
    }

    /// What the daemon knows of an image.
    pub(crate) fn inspect(&self, name: &str) -> Value {
        let (status, body) = self.get(&format!("/images/{name}/json"));
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    fn answers(&self) -> bool {
        self.connect().is_ok() && self.get("/_ping").0 == 200
    }

    fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let mut stream = self.connect().unwrap();
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
        answer(stream)
    }

    fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(self.folder.path().join("socket"))
    }
}

/// Status and body of an HTTP/1.0 answer, which ends with the connection.
fn answer(mut stream: UnixStream) -> (u16, Vec<u8>) {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(bytes.len());
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    (status, bytes.split_off((end + 4).min(bytes.len())))
}
