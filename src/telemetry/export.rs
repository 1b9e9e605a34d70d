//! Exports spans by OTLP, as protobuf over HTTP.

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{
    Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::sender::Sender;
use super::{Endpoint, Tracer};
use crate::error::{Error, Kind, Result};
use crate::limits::{MAX_SPANS, SPANS_FLUSH_TIMEOUT, SPANS_PERIOD, SPANS_TIMEOUT};

/// Exports spans until it is finished.
#[derive(Debug)]
pub struct Exporter(SdkTracerProvider);

/// What spans are told to be of, where nothing else is given.
const SERVICE: &str = "imagepush";

// === impl Exporter ===

impl Exporter {
    /// Begins to export to an endpoint. Has to be called where the async runtime is.
    ///
    /// `client` sends the requests. A batch that can't be sent is lost: the next one isn't kept waiting for it.
    ///
    /// The standard variables are heard that say what comes with spans: `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`,
    /// `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`.
    pub fn start(endpoint: &Endpoint, client: reqwest::Client) -> Result<Self> {
        let unusable = |cause: String| {
            Error::new(Kind::InvalidOptions, format!("spans can't be exported: {cause}"))
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Sender::new(client))
            .with_endpoint(endpoint.of_traces())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(SPANS_TIMEOUT)
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .map_err(|cause| unusable(cause.to_string()))?;
        let bounds = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_SPANS)
            .with_max_export_batch_size(MAX_SPANS / 4)
            .with_scheduled_delay(SPANS_PERIOD)
            .build();
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(bounds).build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource())
            .with_span_processor(batches)
            .build();
        Ok(Self(provider))
    }

    /// What begins the spans that are exported.
    pub fn tracer(&self) -> Tracer {
        Tracer(Some(self.0.tracer(SERVICE)))
    }

    /// Sends what has ended, as far as that is done within [`SPANS_FLUSH_TIMEOUT`].
    pub async fn finish(self) {
        let flush = move || self.0.shutdown_with_timeout(SPANS_FLUSH_TIMEOUT);
        // Threads that block may all be held up by something else, such as a volume that is gone.
        let flushed = timeout(SPANS_FLUSH_TIMEOUT, spawn_blocking(flush)).await;
        if !matches!(flushed, Ok(Ok(Ok(())))) {
            tracing::warn!("the last spans were not exported");
        }
    }
}

/// Who the spans are of; what the environment says goes before.
fn resource() -> Resource {
    let named = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
    let of_environment = Box::new(EnvResourceDetector::new());
    let resource = Resource::builder_empty()
        .with_service_name(SERVICE)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_detector(of_environment);
    match named {
        Some(name) => resource.with_service_name(name).build(),
        None => resource.build(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::body::Bytes;
    use axum::http::Uri;

    use super::*;

    fn client() -> reqwest::Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        reqwest::Client::builder().build().unwrap()
    }

    /// Whether a message holds these bytes.
    fn has(message: &[u8], bytes: &[u8]) -> bool {
        message.windows(bytes.len()).any(|window| window == bytes)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn spans_get_to_the_collector_before_the_end() {
        let received: Arc<Mutex<Vec<(String, Bytes)>>> = Arc::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let keep = received.clone();
        let app = axum::Router::new().fallback(move |uri: Uri, body: Bytes| async move {
            keep.lock().unwrap().push((uri.to_string(), body));
        });
        let server = tokio::spawn(async move { axum::serve(listener, app).await });
        let exporter = Exporter::start(&endpoint.parse().unwrap(), client()).unwrap();
        let tracer = exporter.tracer();
        let outer = tracer.begin("outer", None, [("name", "web".into())]);
        let mut inner = tracer.begin("inner", Some(outer.place()), []);
        inner.set("outcome", "Timeout");
        inner.fail("Timeout");
        let trace = hex::decode(outer.place().trace_id()).unwrap();
        assert_eq!(inner.place().trace_id(), outer.place().trace_id());
        drop((inner, outer));
        exporter.finish().await;
        server.abort();
        let received = received.lock().unwrap();
        let [(path, message)] = &received[..] else { panic!("{received:?}") };
        assert_eq!(path, "/v1/traces");
        for part in [&trace[..], b"outer", b"inner", b"web", b"outcome", b"Timeout", b"imagepush"] {
            assert!(has(message, part), "{}", String::from_utf8_lossy(part));
        }
    }

    /// Whoever does the work never waits for the collector, and ending takes a moment at most.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_collector_that_does_not_answer_holds_nothing_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let exporter = Exporter::start(&endpoint.parse().unwrap(), client()).unwrap();
        let tracer = exporter.tracer();
        // More than there is room for.
        for _ in 0..2 * MAX_SPANS {
            drop(tracer.begin("work", None, []));
        }
        let began = std::time::Instant::now();
        exporter.finish().await;
        assert!(began.elapsed() < SPANS_TIMEOUT / 2, "{:?}", began.elapsed());
        drop(listener);
    }
}
