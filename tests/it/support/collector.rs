//! A collector of traces that keeps what it is sent.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Uri};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A collector; it ends when this is dropped.
pub(crate) struct Collector {
    /// What programs are told of it.
    pub(crate) endpoint: String,
    received: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    server: JoinHandle<()>,
}

/// A span as it was sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SentSpan {
    pub(crate) name: String,
    /// The identity of its trace, in hexadecimal digits.
    pub(crate) trace: String,
    pub(crate) span: String,
    /// The span above it; empty for the first one of a trace.
    pub(crate) parent: String,
    /// Why it failed; empty if it didn't.
    pub(crate) failure: String,
}

// === impl Collector ===

impl Collector {
    pub(crate) async fn start() -> Self {
        let received: Arc<Mutex<Vec<(HeaderMap, Bytes)>>> = Arc::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let keep = received.clone();
        let app =
            Router::new().fallback(move |uri: Uri, headers: HeaderMap, body: Bytes| async move {
                assert_eq!(uri, "/v1/traces");
                keep.lock().unwrap().push((headers, body));
            });
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { endpoint, received, server }
    }

    /// All messages so far, one after the other.
    pub(crate) fn received(&self) -> Vec<u8> {
        let received = self.received.lock().unwrap();
        received.iter().flat_map(|(_, message)| message.to_vec()).collect()
    }

    /// What requests had in a header.
    pub(crate) fn headers(&self, name: &str) -> Vec<String> {
        let received = self.received.lock().unwrap();
        let values = received.iter().filter_map(|(headers, _)| headers.get(name));
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    /// Whether some span has these bytes: names and attributes stand in messages as they are.
    pub(crate) fn has(&self, bytes: impl AsRef<[u8]>) -> bool {
        let bytes = bytes.as_ref();
        self.received().windows(bytes.len()).any(|window| window == bytes)
    }

    /// The spans so far.
    pub(crate) fn spans(&self) -> Vec<SentSpan> {
        let received = self.received.lock().unwrap();
        let messages =
            received.iter().map(|(_, body)| ExportTraceServiceRequest::decode(&body[..]).unwrap());
        let of_resources = messages.flat_map(|message| message.resource_spans);
        let spans =
            of_resources.flat_map(|it| it.scope_spans).flat_map(|it| it.spans).map(|span| {
                SentSpan {
                    name: span.name,
                    trace: hex::encode(span.trace_id),
                    span: hex::encode(span.span_id),
                    parent: hex::encode(span.parent_span_id),
                    failure: span.status.map(|status| status.message).unwrap_or_default(),
                }
            });
        spans.collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}
