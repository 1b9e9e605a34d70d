//! A registry that costs nothing, far away: programs of `tests/peers/`, so that nothing of their work is counted as ours.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;

use super::peers;
use super::server::{End, Server};

/// A registry that believes every digest; it ends when this is dropped.
pub(crate) struct Sink {
    _program: Program,
    /// Host and port.
    pub(crate) host: String,
}

/// A relay that makes a server look far away; it ends when this is dropped.
pub(crate) struct Relay {
    _program: Program,
    /// Host and port.
    pub(crate) host: String,
}

/// What a sink got so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) requests: usize,
    pub(crate) connections: usize,
}

struct Program {
    _server: Server,
    _folder: TempDir,
}

// === impl Sink ===

impl Sink {
    pub(crate) fn start() -> Self {
        let (program, host) = start("sink-registry", &[]);
        Self { _program: program, host }
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut connection = TcpStream::connect(&self.host).unwrap();
        connection.write_all(b"GET /stats HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let numbers: Vec<usize> =
            body.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [requests, connections, _bytes] = numbers[..] else { panic!("{body}") };
        Stats { requests, connections }
    }
}

// === impl Relay ===

impl Relay {
    pub(crate) fn start(target: &str, round_trip: Duration) -> Self {
        let round_trip = format!("{}us", round_trip.as_micros());
        let (program, host) = start("delay-relay", &[target, &round_trip]);
        Self { _program: program, host }
    }
}

fn start(name: &str, arguments: &[&str]) -> (Program, String) {
    let folder = tempfile::tempdir().unwrap();
    let outputs = [Stdio::null(), Stdio::piped()];
    let program = peers::program(name);
    let mut server = Server::start(program, arguments, folder.path(), End::Kill, outputs);
    let host = server.listening(|_| ());
    (Program { _server: server, _folder: folder }, host)
}
