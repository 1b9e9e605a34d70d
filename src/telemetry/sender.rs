//! Sends batches of spans.
//!
//! The exporter asks from a thread of its own, and waits there; the request itself runs where all others do.

use std::error::Error;
use std::iter::successors;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;

use crate::limits::{MAX_ERROR_BODY, SPANS_TIMEOUT};

/// What sends, and knows whether that works.
#[derive(Debug)]
pub(super) struct Sender {
    client: reqwest::Client,
    runtime: Handle,
    fails: AtomicBool,
}

// === impl Sender ===

impl Sender {
    pub(super) fn new(client: reqwest::Client) -> Self {
        Self { client, runtime: Handle::current(), fails: AtomicBool::new(false) }
    }

    /// Tells when it begins to fail, and when it works again.
    fn note(&self, failure: Option<&str>) {
        let failed = self.fails.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(error) if !failed => tracing::warn!(error, "spans can't be exported"),
            None if failed => tracing::info!("spans are exported again"),
            Some(_) | None => {}
        }
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut request = reqwest::Request::try_from(request)?;
        *request.timeout_mut() = Some(SPANS_TIMEOUT);
        let sending = self.runtime.spawn(send(self.client.clone(), request));
        let sent = sending.await.map_err(HttpError::from).and_then(|sent| sent);
        let failure = match &sent {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("the collector answered {}", answer.status())),
            Err(error) => Some(explained(&**error)),
        };
        self.note(failure.as_deref());
        // The exporter would tell of each batch that is lost.
        if failure.is_some() { Ok(Response::new(Bytes::new())) } else { sent }
    }
}

/// Whatever is wrong with the body of an answer, its status has told what became of the batch.
async fn send(
    client: reqwest::Client,
    request: reqwest::Request,
) -> Result<Response<Bytes>, HttpError> {
    let mut answer = client.execute(request).await.map_err(reqwest::Error::without_url)?;
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ERROR_BODY {
            body.clear();
            break;
        }
    }
    Ok(Response::builder().status(answer.status()).body(body.into())?)
}

/// An error with its causes, which alone tell a name that isn't known from a port that is closed.
fn explained(error: &(dyn Error + 'static)) -> String {
    let chain = successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use tokio::net::TcpListener;

    use super::*;

    /// What is lost is known here, and told once; to the exporter, each batch is done.
    #[tokio::test]
    async fn the_exporter_hears_of_no_failure() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        for (status, fails) in [(Some(200), false), (Some(503), true), (None, true)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
            // Without a status nobody listens.
            let server = status.map(|status| {
                let status = StatusCode::from_u16(status).unwrap();
                let app = Router::new().fallback(move || async move { status });
                tokio::spawn(async move { axum::serve(listener, app).await })
            });
            let sender = Sender::new(client.clone());
            for _ in 0..2 {
                let request = Request::post(&url).body(Bytes::new()).unwrap();
                let answer = sender.send_bytes(request).await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK, "{status:?}");
                assert_eq!(sender.fails.load(Ordering::Relaxed), fails, "{status:?}");
            }
            server.inspect(tokio::task::JoinHandle::abort);
        }
    }
}
