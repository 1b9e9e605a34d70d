//! Servers that answer with whatever bytes a test wants, right or wrong.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::canary;

/// A server with a script for each connection; it ends when this is dropped.
pub(crate) struct Raw {
    /// Host and port.
    pub(crate) host: String,
    heads: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// What a server does with a request whose head it has read.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// Sends these bytes and takes the next request.
    Answer(Vec<u8>),
    /// Sends these bytes and closes.
    Last(Vec<u8>),
    /// Reads this many bytes of the body, sends these bytes and closes, with the rest of the body unread.
    Early(usize, Vec<u8>),
    /// Sends these bytes, one in each second.
    Trickle(Vec<u8>),
    /// Closes.
    Close,
    /// Reads no more, and says nothing.
    Hang,
}

impl Deed {
    /// `Answer` of a text.
    pub(crate) fn answer(text: &str) -> Self {
        Self::Answer(text.as_bytes().to_vec())
    }

    /// `Last` of a text.
    pub(crate) fn last(text: &str) -> Self {
        Self::Last(text.as_bytes().to_vec())
    }
}

impl Raw {
    /// Does one deed for each request, whichever connection it comes on; the last one stays.
    pub(crate) async fn start(deeds: Vec<Deed>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let heads = Arc::new(Mutex::new(vec![]));
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let (seen, deeds) = (Arc::clone(&heads), Arc::new(Mutex::new(deeds)));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, Arc::clone(&seen), Arc::clone(&deeds)));
            }
        });
        Self { host, heads, connections, task }
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// The heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.task.abort();
        canary::none_was_sent(&self.heads(), &[]);
    }
}

async fn serve(
    mut stream: TcpStream,
    heads: Arc<Mutex<Vec<String>>>,
    deeds: Arc<Mutex<Vec<Deed>>>,
) {
    while let Some(head) = head(&mut stream).await {
        heads.lock().unwrap().push(head);
        let deed = {
            let mut deeds = deeds.lock().unwrap();
            if deeds.len() > 1 { deeds.remove(0) } else { deeds[0].clone() }
        };
        match deed {
            Deed::Answer(bytes) => stream.write_all(&bytes).await.unwrap(),
            Deed::Last(bytes) => return stream.write_all(&bytes).await.unwrap(),
            Deed::Early(length, bytes) => {
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.unwrap();
                canary::none_is_in("the body of a foreign request", body, &[]);
                stream.write_all(&bytes).await.unwrap();
                // The other side is told of the answer before the connection is reset by what it still sends.
                for _ in 0..8 {
                    tokio::task::yield_now().await;
                }
                return;
            }
            Deed::Trickle(bytes) => {
                for byte in bytes {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                }
            }
            Deed::Close => return,
            Deed::Hang => std::future::pending().await,
        }
    }
}

/// Reads up to the empty line; `None` if nobody asks any more.
pub(crate) async fn head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<String> {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
        // Whoever begins with TLS waits for an answer that we don't have.
        if head == b"\x16" {
            return None;
        }
    }
    Some(String::from_utf8(head).unwrap())
}
