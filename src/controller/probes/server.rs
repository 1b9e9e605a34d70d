//! Takes connections, and bounds what they may cost: whoever reaches the port may open as many as they like.
//!
//! Each connection is for one exchange, which has to be over in time. If too many are open, the oldest has to go: a probe is
//! answered at once, so that what is open for long is none.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::limits::{
    MAX_PROBE_HEAD, MAX_PROBES, PROBE_ACCEPT_WAIT, PROBE_HEAD_TIMEOUT, PROBE_TIMEOUT,
    PROBES_END_TIMEOUT,
};

/// What all connections may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections that are open at the same time.
    pub(super) connections: usize,
    /// How long a request may take until it has been read.
    pub(super) head: Duration,
    /// How long the whole exchange may take.
    pub(super) exchange: Duration,
}

/// Connections that are open.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    /// The oldest first.
    order: VecDeque<AbortHandle>,
}

/// Serves until `over`, and then for a moment those that have begun to ask.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    over: CancellationToken,
) {
    let mut open = Connections::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = over.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => open.add(exchange(stream, router.clone(), bounds), bounds),
            Err(error) => {
                tracing::warn!(%error, "a connection to the probes can't be taken");
                sleep(PROBE_ACCEPT_WAIT).await;
            }
        }
    }
    let ended = async { while open.tasks.join_next().await.is_some() {} };
    // Whoever has begun to ask may never end; an operator that is to end doesn't wait for that.
    let _ = timeout(PROBES_END_TIMEOUT, ended).await;
}

/// One request and its answer.
async fn exchange(stream: TcpStream, router: Router, bounds: Bounds) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(MAX_PROBE_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(bounds.exchange, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an exchange with the probes failed"),
        Err(_) => tracing::debug!("an exchange with the probes took too long"),
    }
}

// === impl Bounds ===

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: MAX_PROBES, head: PROBE_HEAD_TIMEOUT, exchange: PROBE_TIMEOUT }
    }
}

// === impl Connections ===

impl Connections {
    fn add(&mut self, exchange: impl Future<Output = ()> + Send + 'static, bounds: Bounds) {
        while self.tasks.try_join_next().is_some() {}
        self.order.retain(|task| !task.is_finished());
        if self.order.len() >= bounds.connections
            && let Some(oldest) = self.order.pop_front()
        {
            oldest.abort();
        }
        self.order.push_back(self.tasks.spawn(exchange));
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    use super::*;

    /// A server whose `/large` answers with more than any socket takes at once.
    async fn start(bounds: Bounds) -> (std::net::SocketAddr, JoinHandle<()>, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, over) = (listener.local_addr().unwrap(), CancellationToken::new());
        let router = Router::new()
            .route("/livez", get(async || "ok"))
            .route("/large", get(async || vec![0_u8; 64 << 20]));
        let served = tokio::spawn(serve(listener, router, bounds, over.clone()));
        (address, served, over)
    }

    async fn send(address: std::net::SocketAddr, request: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        stream
    }

    /// What comes until the connection is closed, within ten seconds.
    async fn answer(mut stream: TcpStream) -> String {
        let mut answer = vec![];
        let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        // One that is cut off may be reset.
        drop(read.expect("it is closed"));
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn quick() -> Bounds {
        let (head, exchange) = (Duration::from_millis(200), Duration::from_millis(400));
        Bounds { head, exchange, ..Bounds::default() }
    }

    const PROBE: &[u8] = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";

    #[tokio::test]
    async fn who_never_ends_a_request_keeps_no_probe_from_its_answer() {
        // Long enough that only their number can close them.
        let (address, _served, _over) = start(Bounds::default()).await;
        let mut unfinished = vec![];
        for _ in 0..200 {
            unfinished.push(send(address, b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Half: ").await);
        }
        let asked = std::time::Instant::now();
        let text = answer(send(address, PROBE).await).await;
        assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("ok"), "{text}");
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        // The oldest had to go at once; the newest stay until their time is over.
        let oldest = unfinished.drain(..100).map(answer);
        let closed = timeout(Duration::from_secs(3), futures::future::join_all(oldest)).await;
        assert!(closed.is_ok(), "too many are open");
    }

    #[tokio::test]
    async fn whoever_is_slow_or_says_too_much_is_cut_off() {
        let (address, _served, _over) = start(quick()).await;
        let half = send(address, b"GET /livez HTTP/1.1\r\n").await;
        assert!(!answer(half).await.contains("200"));
        // It waits for no second request.
        assert!(answer(send(address, PROBE).await).await.contains("connection: close"));
        let mut long = b"GET /livez HTTP/1.1\r\nX-Long: ".to_vec();
        long.resize(2 * MAX_PROBE_HEAD, b'x');
        assert!(answer(send(address, &long).await).await.contains(" 431 "));
        // Who doesn't read the answer doesn't keep it for ever.
        let unread = send(address, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await;
        sleep(2 * quick().exchange).await;
        assert!(answer(unread).await.len() < 64 << 20);
    }

    #[tokio::test]
    async fn the_end_waits_for_nobody_for_long() {
        let (address, served, over) = start(Bounds::default()).await;
        let _half = send(address, b"GET /livez HTTP/1.1\r\n").await;
        answer(send(address, PROBE).await).await;
        over.cancel();
        let ended = timeout(2 * PROBES_END_TIMEOUT, served).await;
        assert!(ended.is_ok(), "somebody is waited for");
    }
}
