//! Sends batches of spans.
//!
//! The exporter asks from a thread of its own, and waits there; the request itself runs where all others do.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::redirect::Policy;
use tokio::runtime::Handle;

use crate::limits::{CONNECT_TIMEOUT, MAX_ERROR_BODY, SPANS_TIMEOUT};

/// What sends, and knows whether that works.
#[derive(Debug)]
pub(super) struct Sender {
    client: reqwest::Client,
    runtime: Handle,
    fails: AtomicBool,
}

// === impl Sender ===

impl Sender {
    /// The collector is chosen by who runs the program: no redirect leads elsewhere, and no proxy for registries is asked.
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT.min(SPANS_TIMEOUT))
            .timeout(SPANS_TIMEOUT)
            .build()?;
        Ok(Self { client, runtime: Handle::current(), fails: AtomicBool::new(false) })
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
        let request = reqwest::Request::try_from(request)?;
        let sending = self.runtime.spawn(send(self.client.clone(), request));
        let sent = sending.await.map_err(HttpError::from).and_then(|sent| sent);
        match &sent {
            Ok(answer) if answer.status().is_success() => self.note(None),
            Ok(answer) => self.note(Some(&format!("the collector answered {}", answer.status()))),
            Err(error) => self.note(Some(&error.to_string())),
        }
        sent
    }
}

async fn send(
    client: reqwest::Client,
    request: reqwest::Request,
) -> Result<Response<Bytes>, HttpError> {
    let mut answer = client.execute(request).await.map_err(reqwest::Error::without_url)?;
    let mut body = Vec::new();
    // All that is read of it is whether spans were refused.
    while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ERROR_BODY {
            return Err("the collector's answer is too long".into());
        }
    }
    Ok(Response::builder().status(answer.status()).body(body.into())?)
}
