//! A collector of traces that keeps what it is sent.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::Uri;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A collector; it ends when this is dropped.
pub(crate) struct Collector {
    /// What programs are told of it.
    pub(crate) endpoint: String,
    received: Arc<Mutex<Vec<u8>>>,
    server: JoinHandle<()>,
}

// === impl Collector ===

impl Collector {
    pub(crate) async fn start() -> Self {
        let received: Arc<Mutex<Vec<u8>>> = Arc::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let keep = received.clone();
        let app = Router::new().fallback(move |uri: Uri, body: Bytes| async move {
            assert_eq!(uri, "/v1/traces");
            keep.lock().unwrap().extend_from_slice(&body);
        });
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { endpoint, received, server }
    }

    /// All messages so far, one after the other.
    pub(crate) fn received(&self) -> Vec<u8> {
        self.received.lock().unwrap().clone()
    }

    /// Whether some span has these bytes: names and attributes stand in messages as they are, and so do identities.
    pub(crate) fn has(&self, bytes: impl AsRef<[u8]>) -> bool {
        let bytes = bytes.as_ref();
        self.received.lock().unwrap().windows(bytes.len()).any(|window| window == bytes)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}
