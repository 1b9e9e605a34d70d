//! Sends the requests of the distribution specification to one repository of one registry.
//!
//! One request in, one answer out: challenges are answered on the way, and downloads follow redirects. What an answer means is
//! for the callers to say; [`Client::refusal`] turns one that they have no use for into an error.

use reqwest::header::HeaderMap;
use reqwest::{Body, Method, Request, Response, StatusCode};
use url::Url;

pub(super) use super::auth::Actions;
use super::auth::{Auth, Authorization};
use super::body::{self, Watch};
use super::connections::Connections;
use super::error::{Refusal, place};
use super::redirect;
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
        let (credentials, wanted) = (access.credentials.clone(), repository.clone());
        let lookup = move || credentials.lookup(&wanted.registry, &wanted.path);
        let lookup = tokio::task::spawn_blocking(lookup)
            .await
            .map_err(|error| Error::internal(format!("looking up credentials: {error}")))??;
        let auth = Auth::new(repository.clone(), actions, lookup);
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

    /// Sends a request to the registry; answers a challenge once.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Response> {
        let known = self.auth.known(&self.connections, call.other).await?;
        let response = self.execute(call, known.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let headers = response.headers();
        let answer = self.auth.answer(&self.connections, headers, call.other, known.as_ref());
        match answer.await? {
            Some(authorization) => {
                // A connection is kept for the next request only once its answer is read.
                let _ = Refusal::read(response).await;
                self.execute(call, Some(&authorization)).await
            }
            None => Ok(response),
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

    /// Sends a request whose body is a stream, once.
    pub(super) async fn upload(&self, call: &Call<'_>, chunks: Chunks) -> Result<Response> {
        let known = self.auth.known(&self.connections, call.other).await?;
        let (body, watch) = body::outgoing(chunks);
        let mut request = call.request();
        self.connections.redirect_to_plain(&mut request);
        *request.body_mut() = Some(body);
        if let Some(known) = &known {
            known.attach(&mut request);
        }
        let response = self.watched(request, &watch).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        // The stream is used up. If what we sent was too old, another attempt has something newer.
        let headers = response.headers();
        let answer = self.auth.answer(&self.connections, headers, call.other, known.as_ref());
        match answer.await? {
            None => Err(self.auth.refused()),
            Some(_) => Err(self.auth.refused().transient()),
        }
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
            StatusCode::UNAUTHORIZED => self.auth.refused(),
            status if status.is_success() || status.is_redirection() => {
                super::error::unexpected(status)
            }
            _ => refusal.into_error(),
        }
    }
}
