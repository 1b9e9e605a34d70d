//! A registry's repository, seen from one side of a push: where it is, who we are there, and what its refusals mean.
//!
//! One request in, one answer out: `exchange` answers challenges on the way, and follows redirects. What an answer means is
//! for the callers to say; [`Client::refusal`] turns one that they have no use for into an error.

mod exchange;

use reqwest::{Response, StatusCode};
use url::Url;

pub(super) use super::auth::Actions;
use super::auth::{Auth, Authorization};
use super::call::About;
use super::connections::Connections;
use super::error::{Refusal, Who, place};
use super::redirect;
use crate::access::{Access, BlobKey, Network, Terms};
use crate::error::{Error, Kind, Result};
use crate::image::Digest;
use crate::transport::Repository;

/// A registry's repository, seen from one side of a push.
pub(super) struct Client {
    repository: Repository,
    connections: Connections,
    auth: Auth,
    actions: Actions,
    network: Network,
    terms: Terms,
}

// === impl Client ===

impl Client {
    /// Looks up credentials, as far as no program has to be asked for them, and reads certificates. Connects to nothing yet.
    pub(super) async fn open(
        repository: &Repository,
        access: &Access,
        actions: Actions,
    ) -> Result<Self> {
        let registry = &repository.registry;
        let search = access.credentials.search(registry, &repository.path).await?;
        let owner = search.owner();
        let connections = Connections::open(registry, access, owner).await?;
        let network = access.network.clone();
        let terms = Terms { policy: access.tls, trust: connections.trust(), owner };
        let auth = Auth::new(repository.clone(), actions, search, network.clone(), terms);
        Ok(Self { repository: repository.clone(), connections, auth, actions, network, terms })
    }

    /// Waits until the registry may be sent a request.
    pub(super) async fn ready(&self) -> Result<()> {
        self.connections.registry_ready().await
    }

    /// The repository.
    pub(super) fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Whether the repository is written to.
    pub(super) fn writes(&self) -> bool {
        self.actions == Actions::PullPush
    }

    /// Keeps in mind that the repository has a blob.
    pub(super) fn remember(&self, digest: &Digest) {
        self.network.known_blobs().remember(self.blob(digest), &self.repository.path);
    }

    /// Another repository of the registry that we have written a blob to, as the same user.
    pub(super) fn elsewhere(&self, digest: &Digest) -> Option<Repository> {
        let path = self.network.known_blobs().find(&self.blob(digest))?;
        let registry = self.repository.registry.clone();
        (path != self.repository.path).then_some(Repository { registry, path })
    }

    fn blob(&self, digest: &Digest) -> BlobKey {
        let registry = self.repository.registry.clone();
        BlobKey { registry, terms: self.terms, digest: digest.clone() }
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

    /// Where an answer says that an upload session is.
    pub(super) fn session_url(&self, response: &Response) -> Result<Url> {
        let mut allowed = self.connections.upload_origins().all;
        allowed.push(self.connections.base()?.origin());
        let registry = &self.repository.registry;
        redirect::session(registry, &allowed, response.url(), response.headers())
    }

    /// Whether foreign layers may be fetched from a URL: from listed hosts, and with no less protection than the registry.
    pub(super) fn may_fetch_layers_from(&self, url: &Url) -> bool {
        let protected =
            || self.connections.base().is_ok_and(|base| redirect::check(&base, url).is_ok());
        self.lists(url) && protected()
    }

    /// Whether a URL's host is listed for foreign layers, however well protected.
    pub(super) fn lists(&self, url: &Url) -> bool {
        self.connections.may_fetch_layers_from(url)
    }

    /// Whether another host than the registry's has answered, by way of a redirect.
    pub(super) fn is_elsewhere(&self, response: &Response) -> bool {
        !self.connections.is_registry(response.url())
    }

    /// Whether an error comes of having no credentials.
    pub(super) fn lacks_credentials(&self, error: &Error) -> bool {
        error.kind() == Kind::AuthenticationFailed && self.auth.is_anonymous()
    }

    /// Reads what the registry says of its refusal, but for our own secrets, should it repeat them.
    pub(super) async fn read_refusal(&self, response: Response) -> Refusal {
        let sent = response.extensions().get::<Authorization>().cloned();
        let elsewhere = self.is_elsewhere(&response).then(|| place(response.url()));
        let shown = sent.as_ref().is_some_and(|sent| sent.is_for(response.url(), About::Other));
        let mut refusal = Refusal::read(response).await;
        refusal.who = elsewhere.map_or(Who::Registry { shown }, Who::Other);
        refusal.hide(|words| self.auth.hide_secrets(words, sent.as_ref()));
        refusal
    }

    /// The error for an answer that the caller has no use for.
    pub(super) async fn refusal(&self, response: Response) -> Error {
        self.explain(self.read_refusal(response).await)
    }

    /// The error for a refusal without a special meaning.
    pub(super) fn explain(&self, refusal: Refusal) -> Error {
        match refusal.status {
            StatusCode::UNAUTHORIZED => self.auth.refused(&refusal.words()),
            status if status.is_success() || status.is_redirection() => {
                super::error::unexpected(status)
            }
            StatusCode::FORBIDDEN => self.auth.forbidden(refusal),
            _ => refusal.into_error(),
        }
    }
}
