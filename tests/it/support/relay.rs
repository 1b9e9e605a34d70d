//! A TCP relay that cuts connections: a network that fails in the middle of what a real server is being sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running relay; it ends when this is dropped.
pub(crate) struct Relay {
    /// Host and port that leads to the server.
    pub(crate) host: String,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// Bytes from clients to the server so far.
    sent: usize,
    /// Bytes from the server to clients so far.
    received: usize,
    /// Connections that clients have made so far.
    connections: usize,
    /// At which of these counts the connection that carries the byte is cut.
    cuts: VecDeque<usize>,
}

impl Relay {
    /// Leads to `server`, and cuts the connection that carries each of these bytes, counted over all connections.
    pub(crate) async fn start(server: &str, cuts: &[usize]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let cuts = cuts.iter().copied().collect();
        let state = Arc::new(Mutex::new(State { cuts, ..State::default() }));
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

    /// Bytes that clients have got.
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
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let Ok(count @ 1..) = from_client.read(&mut buffer).await else { return };
            let (passed, cut) = state.lock().unwrap().pass(count);
            if to_server.write_all(&buffer[..passed]).await.is_err() || cut {
                return;
            }
        }
    };
    let down = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let Ok(count @ 1..) = from_server.read(&mut buffer).await else { return };
            state.lock().unwrap().received += count;
            if to_client.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

impl State {
    /// How many of `count` more bytes pass, and whether that is the end of the connection.
    fn pass(&mut self, count: usize) -> (usize, bool) {
        let room = self.cuts.front().map_or(usize::MAX, |cut| cut.saturating_sub(self.sent));
        let cut = room <= count;
        let passed = room.min(count);
        self.sent += passed;
        if cut {
            self.cuts.pop_front();
        }
        (passed, cut)
    }
}
