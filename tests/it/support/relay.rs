//! A TCP relay that cuts connections: a network that fails in the middle of what a real server is being sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running relay; it ends when this is dropped.
pub(crate) struct Relay {
    /// Host and port that leads to the server.
    pub(crate) host: String,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

struct State {
    /// Bytes from clients to the server so far.
    sent: usize,
    /// Bytes from the server to clients so far.
    received: usize,
    /// Connections that clients have made so far.
    connections: usize,
    /// At which counts of bytes that go this way the connection that carries the byte is cut.
    way: Way,
    cuts: VecDeque<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

impl Relay {
    /// Leads to `server`, and cuts the connection that carries each of these bytes to it, counted over all connections.
    pub(crate) async fn start(server: &str, cuts: &[usize]) -> Self {
        Self::start_cutting(server, Way::ToServer, cuts).await
    }

    /// The same for bytes that come from the server.
    pub(crate) async fn start_cutting_answers(server: &str, cuts: &[usize]) -> Self {
        Self::start_cutting(server, Way::ToClient, cuts).await
    }

    async fn start_cutting(server: &str, way: Way, cuts: &[usize]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let cuts = cuts.iter().copied().collect();
        let state = State { sent: 0, received: 0, connections: 0, way, cuts };
        let state = Arc::new(Mutex::new(state));
        let (server, shared) = (server.to_owned(), Arc::clone(&state));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                shared.lock().unwrap().connections += 1;
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                tokio::spawn(relay(client, server, Arc::clone(&shared)));
            }
        });
        Self { host, state, task }
    }

    /// Bytes that clients have sent.
    pub(crate) fn sent(&self) -> usize {
        self.state.lock().unwrap().sent
    }

    /// Bytes that the server has sent.
    pub(crate) fn received(&self) -> usize {
        self.state.lock().unwrap().received
    }

    /// Connections that clients have made.
    pub(crate) fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    /// How many cuts are still to come.
    pub(crate) fn cuts_left(&self) -> usize {
        self.state.lock().unwrap().cuts.len()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(client: TcpStream, server: TcpStream, state: Arc<Mutex<State>>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = carry(from_client, to_server, Way::ToServer, &state) => {}
        () = carry(from_server, to_client, Way::ToClient, &state) => {}
    }
}

/// Passes bytes on until either side has enough, or the connection is cut.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Way, state: &Mutex<State>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        let (passed, cut) = state.lock().unwrap().pass(way, count);
        if to.write_all(&buffer[..passed]).await.is_err() || cut {
            return;
        }
    }
}

impl State {
    /// How many of `count` more bytes pass, and whether that is the end of the connection.
    fn pass(&mut self, way: Way, count: usize) -> (usize, bool) {
        let cut = self.cuts.front().copied().filter(|_| way == self.way);
        let before = match way {
            Way::ToServer => &mut self.sent,
            Way::ToClient => &mut self.received,
        };
        let room = cut.map_or(usize::MAX, |cut| cut.saturating_sub(*before));
        let passed = room.min(count);
        *before += passed;
        let ends = room <= count;
        if ends {
            self.cuts.pop_front();
        }
        (passed, ends)
    }
}
