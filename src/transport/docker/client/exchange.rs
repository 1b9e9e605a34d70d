//! Sends the requests of the distribution specification: answers challenges, and follows redirects.
//!
//! Credentials go to the registry only, and to who takes its uploads where the user has it so, wherever else a request is led.

use reqwest::header::CONTENT_LENGTH;
use reqwest::{Method, Request, Response, StatusCode};
use url::Url;

use super::super::auth::{Authorization, Effort, Need};
use super::super::body::{self, Watch};
use super::super::call::{About, Call};
use super::super::connections::Connections;
use super::super::error::place;
use super::super::refused::Tried;
use super::super::{redirect, replay};
use super::Client;
use crate::blob::Chunks;
use crate::error::{Error, Kind, Result};
use crate::limits::MAX_REDIRECTS;

// === impl Client ===

impl Client {
    /// Sends a request to the registry, follows it within the registry, and answers its challenges. The answer is neither
    /// 401 nor a redirect.
    pub(in crate::transport::docker) async fn send(&self, call: &Call<'_>) -> Result<Response> {
        let mut places: Vec<Call<'_>> = vec![];
        while places.len() <= MAX_REDIRECTS {
            let call = places.last().unwrap_or(call);
            let response = self.ask(call).await?;
            let moved = match moved(call, &response)? {
                None => return self.let_in(response),
                Some(url) => Call { url, moved: true, ..call.clone() },
            };
            places.push(moved);
        }
        Err(redirect::endless(MAX_REDIRECTS, places.iter().map(|call| &call.url)))
    }

    /// Sends a GET or HEAD and follows redirects, wherever they lead unless only the registry itself can answer.
    pub(in crate::transport::docker) async fn download(&self, call: Call<'_>) -> Result<Response> {
        if call.at_home {
            return self.send(&call).await;
        }
        let mut places = vec![call];
        while let Some(call) = places.last().filter(|_| places.len() <= MAX_REDIRECTS + 1) {
            let response =
                if call.foreign { self.execute(call, None).await } else { self.ask(call).await }?;
            if !redirect::is_redirect(response.status()) {
                return if call.foreign {
                    Ok(response)
                } else {
                    self.arrived(&call.method, response)
                };
            }
            let url = redirect::follow(response.url(), response.headers())?;
            if call.foreign && !self.may_fetch_layers_from(&url) {
                return Err(led_away(response.url(), &url));
            }
            places.push(Call { url, moved: true, ..call.clone() });
        }
        Err(redirect::endless(MAX_REDIRECTS, places.iter().map(|call| &call.url)))
    }

    /// Sends a request wherever it goes; where that is the registry, answers its challenges.
    async fn ask(&self, call: &Call<'_>) -> Result<Response> {
        let (need, mut tried) = (self.need(call, Effort::Little), Tried::default());
        let mut sent = self.auth.known(&self.connections, need).await?;
        loop {
            let response = self.execute(call, sent.as_ref()).await?;
            if !self.wants_credentials(call, &response) {
                return Ok(response);
            }
            sent = Some(self.authorize(response, need, sent.as_ref(), &mut tried).await?);
        }
    }

    fn need<'a>(&self, call: &'a Call<'_>, effort: Effort) -> Need<'a> {
        let is_elsewhere =
            |url: &&Url| call.about == About::Session && !self.connections.is_registry(url);
        Need { elsewhere: Some(&call.url).filter(is_elsewhere), ..call.need(effort) }
    }

    /// Whether the registry wants credentials, or who takes its uploads and is to get them. Nobody else is given any.
    fn wants_credentials(&self, call: &Call<'_>, response: &Response) -> bool {
        let may_have_them = || {
            let uploads = self.connections.upload_origins().with_credentials;
            let session = call.about == About::Session;
            !self.is_elsewhere(response) || session && uploads.contains(&response.url().origin())
        };
        response.status() == StatusCode::UNAUTHORIZED && may_have_them()
    }

    /// An answer to what was sent to the registry or to who takes its uploads; an error if that one wants credentials that
    /// it is not to get.
    fn let_in(&self, response: Response) -> Result<Response> {
        if response.status() != StatusCode::UNAUTHORIZED || !self.is_elsewhere(&response) {
            return Ok(response);
        }
        let message = format!(
            "`{}`, where the registry wants the blob to be sent, wants credentials that it is not given",
            place(response.url())
        );
        let hint = "`--upload-host-with-credentials`, of the command line or of the operator, lets it have the registry's";
        Err(Error::new(Kind::AccessDenied, message).hint(hint))
    }

    /// What to send after an answer of 401.
    async fn authorize(
        &self,
        response: Response,
        need: Need<'_>,
        sent: Option<&Authorization>,
        tried: &mut Tried,
    ) -> Result<Authorization> {
        let headers = response.headers().clone();
        // A connection is kept for the next request only once its answer is read.
        let refusal = self.read_refusal(response).await;
        let answer = self.auth.answer(&self.connections, &headers, need, sent, tried).await?;
        answer.ok_or_else(|| self.auth.refused(&tried.words(&refusal)))
    }

    /// Credentials are for the registry, so another host that wants some gets none. For a HEAD it is left to the caller, who
    /// may do without: some addresses are signed for GET only.
    fn arrived(&self, method: &Method, response: Response) -> Result<Response> {
        let wants_some = response.status() == StatusCode::UNAUTHORIZED;
        if wants_some && *method != Method::HEAD && self.is_elsewhere(&response) {
            let message = format!(
                "the registry redirects to `{}`, which wants credentials that it is not given",
                place(response.url())
            );
            return Err(Error::new(Kind::AccessDenied, message));
        }
        Ok(response)
    }

    /// Sends a request whose body is a stream. The answer is neither 401 nor a redirect.
    ///
    /// A token that the registry refuses before much was sent is renewed on the way. Later than that the stream is used up:
    /// the error is transient then, and another attempt has a new token.
    pub(in crate::transport::docker) async fn upload(
        &self,
        call: &Call<'_>,
        mut chunks: Chunks,
    ) -> Result<Response> {
        let (need, mut tried) = (self.need(call, Effort::Much), Tried::default());
        let mut sent = self.auth.known(&self.connections, need).await?;
        let mut places: Vec<Call<'_>> = vec![];
        while places.len() <= MAX_REDIRECTS {
            let call = places.last().unwrap_or(call);
            let (passing, replay) = replay::keep(chunks);
            let response = self.stream(call, passing, sent.as_ref()).await?;
            if self.wants_credentials(call, &response) {
                sent = Some(self.authorize(response, need, sent.as_ref(), &mut tried).await?);
                chunks = replay.rewind().ok_or_else(|| self.auth.expired())?;
                continue;
            }
            let Some(url) = moved(call, &response)? else { return self.let_in(response) };
            chunks = replay.rewind().ok_or_else(|| redirect::too_late(&url))?;
            places.push(Call { url, moved: true, ..call.clone() });
        }
        Err(redirect::endless(MAX_REDIRECTS, places.iter().map(|call| &call.url)))
    }

    async fn stream(
        &self,
        call: &Call<'_>,
        chunks: Chunks,
        authorization: Option<&Authorization>,
    ) -> Result<Response> {
        let mut request = self.request(call, authorization);
        // The clock of a body starts once it may be sent: a pause that the host wants is nobody's fault.
        self.connections.ready(request.url()).await?;
        let (body, watch) = body::outgoing(chunks);
        *request.body_mut() = Some(body);
        self.watched(request, &watch).await.map(|response| self.received(response, authorization))
    }

    async fn watched(&self, request: Request, watch: &Watch) -> Result<Response> {
        tokio::select! {
            answer = self.connections.execute_or_in_plain(request, None, None) => answer,
            stalled = watch.stalled() => Err(stalled),
        }
    }

    async fn execute(
        &self,
        call: &Call<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<Response> {
        let mut request = self.request(call, authorization);
        if request.body().is_some() {
            // An empty body has a length, too: some proxies want one (411), and HTTP leaves it out.
            request.headers_mut().insert(CONTENT_LENGTH, call.body.len().into());
        }
        let patience = Some(Connections::patience(call.ends));
        let response = self.connections.execute_or_in_plain(request, patience, call.gate).await;
        response.map(|response| self.received(response, authorization))
    }

    /// An answer that knows what this request has shown to somebody: whoever gave it may repeat that. Of what it warns is told.
    fn received(&self, mut response: Response, sent: Option<&Authorization>) -> Response {
        self.connections.warn(&response, |words| self.auth.hide_secrets(words, sent));
        if let Some(sent) = sent {
            response.extensions_mut().insert(sent.clone());
        }
        response
    }

    fn request(&self, call: &Call<'_>, authorization: Option<&Authorization>) -> Request {
        let mut request = call.request();
        if !call.moved {
            self.connections.redirect_to_plain(&mut request);
        }
        if let Some(authorization) = authorization {
            authorization.attach(&mut request, call.about);
        }
        request
    }
}

/// The error for a foreign layer whose host leads to one that is not listed.
fn led_away(from: &Url, to: &Url) -> Error {
    let (from, to) = (place(from), place(to));
    let message = format!("`{from}` leads to `{to}`, which foreign layers are not fetched from");
    let hint =
        format!("`--foreign-layer-host {to}`, of the command line or of the operator, allows it");
    Error::new(Kind::AccessDenied, message).hint(hint)
}

/// Where a request is to be sent instead, within the registry.
fn moved(call: &Call<'_>, response: &Response) -> Result<Option<Url>> {
    if !redirect::is_redirect(response.status()) {
        return Ok(None);
    }
    let headers = response.headers();
    redirect::repeat(&call.method, response.status(), response.url(), headers).map(Some)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::{StreamExt as _, stream};
    use tokio::time::Instant;

    use super::super::Actions;
    use super::*;
    use crate::access::{Access, Fingerprint, TlsPolicy, install_crypto_provider};
    use crate::transport::Repository;

    /// A proxy may only then pass the blob on, and a registry hash it.
    #[tokio::test]
    async fn the_end_of_a_large_upload_has_time_for_its_answer() {
        install_crypto_provider();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let repository = Repository { registry: host.clone(), path: "app".to_owned() };
        let access = Access { tls: TlsPolicy::PlainHttp, ..Access::default() };
        let client = Client::open(&repository, &access, Actions::PullPush).await.unwrap();
        for (ends, seconds) in [(0, 60), (10 << 30, 60 + 640), (1 << 50, 60 + 1800)] {
            let call = Call { ends, ..Call::new(Method::PUT, client.url(&["blobs"]).unwrap()) };
            let mut sent = std::pin::pin!(client.send(&call));
            let _silent = tokio::select! {
                _ = &mut sent => panic!("nobody has answered"),
                accepted = listener.accept() => accepted.unwrap(),
            };
            let start = Instant::now();
            tokio::time::pause();
            let error = sent.await.unwrap_err();
            assert_eq!(error.to_string(), format!("`{host}` did not answer within {seconds} s"));
            let took = start.elapsed().as_secs();
            assert!((seconds..=seconds + 30).contains(&took), "{took}");
            tokio::time::resume();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_does_not_count_against_an_upload() {
        install_crypto_provider();
        let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        let repository = Repository { registry: closed.to_string(), path: "app".to_owned() };
        let access = Access { tls: TlsPolicy::PlainHttp, ..Access::default() };
        let client = Client::open(&repository, &access, Actions::PullPush).await.unwrap();
        access.network.pause(
            &format!("http://{closed}"),
            Fingerprint::of(None),
            Duration::from_secs(200),
        );
        let call = Call::new(Method::PUT, client.url(&["blobs"]).unwrap());
        let start = Instant::now();
        let error = client.upload(&call, stream::empty().boxed()).await.unwrap_err();
        let expected = (Kind::NetworkError, 200);
        assert_eq!((error.kind(), start.elapsed().as_secs()), expected, "{error}");
    }
}
