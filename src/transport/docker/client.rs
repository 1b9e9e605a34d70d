//! Sends the requests of the distribution specification to one repository of one registry.
//!
//! One request in, one answer out: challenges are answered on the way, and downloads follow redirects. What an answer means is
//! for the callers to say; [`Client::refusal`] turns one that they have no use for into an error.

use reqwest::header::HeaderMap;
use reqwest::{Body, Method, Request, Response, StatusCode};
use url::Url;

pub(super) use super::auth::Actions;
use super::auth::{Auth, Authorization, Effort, Need};
use super::body::{self, Watch};
use super::connections::Connections;
use super::error::{Refusal, place};
use super::redirect;
use super::refused::Tried;
use super::replay;
use crate::access::Access;
use crate::blob::Chunks;
use crate::error::{Error, Kind, Result};
use crate::limits::MAX_REDIRECTS;
use crate::transport::Repository;

/// A registry's repository, seen from one side of a push.
pub(super) struct Client {
    repository: Repository,
    connections: Connections,
    auth: Auth,
}

/// A request that can be sent again.
#[derive(Clone)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// The whole body, shared between attempts.
    pub(super) body: bytes::Bytes,
    /// Another repository that has to be readable, too.
    pub(super) other: Option<&'a Repository>,
}

// === impl Call ===

impl Call<'_> {
    /// A request without headers or body of its own.
    pub(super) fn new(method: Method, url: Url) -> Self {
        let (headers, body, other) = (HeaderMap::new(), bytes::Bytes::new(), None);
        Self { method, url, headers, body, other }
    }

    fn need(&self, effort: Effort) -> Need<'_> {
        Need { method: &self.method, other: self.other, effort }
    }

    fn request(&self) -> Request {
        let mut request = Request::new(self.method.clone(), self.url.clone());
        *request.headers_mut() = self.headers.clone();
        let may_have_body = matches!(self.method, Method::POST | Method::PUT | Method::PATCH);
        if may_have_body {
            *request.body_mut() = Some(Body::from(self.body.clone()));
        }
        request
    }
}

// === impl Client ===

impl Client {
    /// Looks up credentials and reads certificates. Connects to nothing yet.
    pub(super) async fn open(
        repository: &Repository,
        access: &Access,
        actions: Actions,
    ) -> Result<Self> {
        let registry = &repository.registry;
        let connections = Connections::open(registry, access).await?;
        let lookup = access.credentials.lookup(registry, &repository.path).await?;
        let network = access.network.clone();
        let auth = Auth::new(repository.clone(), actions, lookup, network, access.tls);
        Ok(Self { repository: repository.clone(), connections, auth })
    }

    /// The repository.
    pub(super) fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The URL of something in the repository, such as `["manifests", "latest"]`.
    pub(super) fn url(&self, segments: &[&str]) -> Result<Url> {
        let mut url = self.connections.base()?;
        url.path_segments_mut()
            .map_err(|()| Error::internal("a registry's URL takes no path"))?
            .push("v2")
            .extend(self.repository.path.split('/'))
            .extend(segments);
        Ok(url)
    }

    /// Sends a request to the registry and answers its challenges. The answer is not 401.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Response> {
        let (need, mut tried) = (call.need(Effort::Little), Tried::default());
        let mut sent = self.auth.known(&self.connections, need).await?;
        loop {
            let response = self.execute(call, sent.as_ref()).await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            let headers = response.headers().clone();
            // A connection is kept for the next request only once its answer is read.
            let refusal = Refusal::read(response).await;
            let answer = self
                .auth
                .answer(&self.connections, &headers, need, sent.as_ref(), &mut tried)
                .await?;
            sent = Some(answer.ok_or_else(|| self.auth.refused(&tried.words(&refusal)))?);
        }
    }

    /// Sends a GET or HEAD and follows redirects, without credentials wherever they lead.
    pub(super) async fn download(&self, mut call: Call<'_>) -> Result<Response> {
        for _ in 0..=MAX_REDIRECTS {
            let response = if self.connections.is_registry(&call.url) {
                self.send(&call).await?
            } else {
                self.execute(&call, None).await?
            };
            let moved = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            if !moved {
                return self.arrived(response);
            }
            call.url = redirect::follow(response.url(), response.headers())?;
        }
        let message = format!("the registry redirects more than {MAX_REDIRECTS} times");
        Err(Error::new(Kind::RegistryUnavailable, message).permanent())
    }

    /// Whether another host than the registry's has answered, by way of a redirect.
    pub(super) fn is_elsewhere(&self, response: &Response) -> bool {
        !self.connections.is_registry(response.url())
    }

    /// Credentials are for the registry, so another host that wants some gets none.
    fn arrived(&self, response: Response) -> Result<Response> {
        if self.is_elsewhere(&response) && response.status() == StatusCode::UNAUTHORIZED {
            let message = format!(
                "the registry redirects to `{}`, which wants credentials that it is not given",
                place(response.url())
            );
            return Err(Error::new(Kind::AccessDenied, message));
        }
        Ok(response)
    }

    /// Sends a request whose body is a stream. The answer is not 401.
    ///
    /// A token that the registry refuses before much was sent is renewed on the way. Later than that the stream is used up:
    /// the error is transient then, and another attempt has a new token.
    pub(super) async fn upload(&self, call: &Call<'_>, chunks: Chunks) -> Result<Response> {
        let (need, mut tried) = (call.need(Effort::Much), Tried::default());
        let mut sent = self.auth.known(&self.connections, need).await?;
        let mut chunks = chunks;
        loop {
            let (passing, replay) = replay::keep(chunks);
            let response = self.stream(call, passing, sent.as_ref()).await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            let headers = response.headers().clone();
            let refusal = Refusal::read(response).await;
            let answer = self
                .auth
                .answer(&self.connections, &headers, need, sent.as_ref(), &mut tried)
                .await?;
            let refused = || self.auth.refused(&tried.words(&refusal));
            sent = Some(answer.ok_or_else(refused)?);
            chunks = replay.rewind().ok_or_else(|| refused().transient())?;
        }
    }

    async fn stream(
        &self,
        call: &Call<'_>,
        chunks: Chunks,
        authorization: Option<&Authorization>,
    ) -> Result<Response> {
        let (body, watch) = body::outgoing(chunks);
        let mut request = call.request();
        self.connections.redirect_to_plain(&mut request);
        *request.body_mut() = Some(body);
        if let Some(authorization) = authorization {
            authorization.attach(&mut request);
        }
        self.watched(request, &watch).await
    }

    async fn watched(&self, request: Request, watch: &Watch) -> Result<Response> {
        tokio::select! {
            answer = self.connections.execute(request, None) => answer,
            stalled = watch.stalled() => Err(stalled),
        }
    }

    async fn execute(
        &self,
        call: &Call<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<Response> {
        let mut request = call.request();
        self.connections.redirect_to_plain(&mut request);
        if let Some(authorization) = authorization {
            authorization.attach(&mut request);
        }
        self.connections.execute(request, Connections::PATIENCE).await
    }

    /// The error for an answer that the caller has no use for.
    pub(super) async fn refusal(&self, response: Response) -> Error {
        self.explain(Refusal::read(response).await)
    }

    /// The error for a refusal without a special meaning.
    pub(super) fn explain(&self, refusal: Refusal) -> Error {
        match refusal.status {
            StatusCode::UNAUTHORIZED => self.auth.refused(&refusal.words()),
            status if status.is_success() || status.is_redirection() => {
                super::error::unexpected(status)
            }
            _ => refusal.into_error(),
        }
    }
}
