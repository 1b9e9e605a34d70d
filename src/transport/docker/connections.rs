//! The connections of one side: to the registry that the user named, under its policy, and to other hosts, under none.
//!
//! Every request of this transport goes out through [`Connections::execute`]. It knows nothing of credentials.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue, WARNING};
use reqwest::{Request, Response, StatusCode};
use tokio::sync::OnceCell;
use url::Url;

use super::{body, error};
use crate::access::{
    Access, Audience, Certificates, Fingerprint, Network, TlsPolicy, Trust, UploadOrigins,
};
use crate::error::{Error, Result};
use crate::limits::{CONNECT_TIMEOUT, RESPONSE_TIMEOUT};
use crate::transport::Gate;
use crate::transport::local::blocking;

/// The host that serves Docker Hub, which references call `docker.io`.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// What a registry is spoken to by.
const TLS: &str = "https";
const PLAIN: &str = "http";

/// Connections to a registry and to where it sends us.
pub(super) struct Connections {
    /// The registry's name in references.
    name: String,
    /// Host and port that it is reached at.
    authority: String,
    policy: TlsPolicy,
    /// What the registry is spoken to by: settled by the policy, else by its first answer, and for good.
    scheme: OnceLock<&'static str>,
    trust: Trust,
    network: Network,
    /// Whose requests they are: some pauses are for one account.
    owner: Fingerprint,
    registry: OnceCell<reqwest::Client>,
    others: OnceCell<reqwest::Client>,
}

// === impl Connections ===

impl Connections {
    /// Gets ready to connect; connects to nothing yet.
    pub(super) async fn open(registry: &str, access: &Access, owner: Fingerprint) -> Result<Self> {
        let Access {
            credentials: _,
            certificates,
            tls: policy,
            network,
            registries: _,
            root: _,
            scratch_bytes: _,
        } = access;
        let authority = if registry == DOCKER_HUB.0 { DOCKER_HUB.1 } else { registry };
        Ok(Self {
            name: registry.to_owned(),
            authority: authority.to_owned(),
            policy: *policy,
            scheme: match policy {
                TlsPolicy::PlainHttp => OnceLock::from(PLAIN),
                TlsPolicy::SkipVerifyOrPlainHttp => OnceLock::new(),
                TlsPolicy::Verify | TlsPolicy::SkipVerify => OnceLock::from(TLS),
            },
            trust: trust(certificates, registry).await?,
            network: network.clone(),
            owner,
            registry: OnceCell::new(),
            others: OnceCell::new(),
        })
    }

    /// The registry's address, without a path.
    pub(super) fn base(&self) -> Result<Url> {
        self.base_by(self.scheme.get().unwrap_or(&TLS))
    }

    fn base_by(&self, scheme: &str) -> Result<Url> {
        Url::parse(&format!("{scheme}://{}", self.authority))
            .map_err(|error| Error::internal(format!("`{}` is no host: {error}", self.authority)))
    }

    /// What tells the certificates of this side from others.
    pub(super) fn trust(&self) -> Fingerprint {
        self.trust.fingerprint()
    }

    /// Whether the user trusts a token server with the registry's credentials.
    pub(super) fn trusts(&self, token_server: &Url) -> bool {
        self.network.trusts(&self.name, token_server)
    }

    /// Where the registry may have blobs sent beside to itself, by the user's word.
    pub(super) fn upload_origins(&self) -> UploadOrigins {
        self.network.upload_origins(&self.name, self.scheme.get().unwrap_or(&TLS))
    }

    /// Whether foreign layers may be fetched from a URL, by the user's word.
    pub(super) fn may_fetch_layers_from(&self, url: &Url) -> bool {
        self.network.permits_layer_from(url)
    }

    /// Whether a URL leads to the registry that the user named: same scheme, host and port.
    pub(super) fn is_registry(&self, url: &Url) -> bool {
        self.base().is_ok_and(|base| base.origin() == url.origin())
    }

    /// Sends a request and waits for the head of its answer. Redirects are answers like others.
    ///
    /// Without a `wait` the caller watches the time; it does so for requests whose bodies take long.
    pub(super) async fn execute(
        &self,
        request: Request,
        wait: Option<Duration>,
    ) -> Result<Response> {
        let attempt = self.attempt(request, wait, None).await?;
        attempt.map_err(|(failure, url)| error::of_failure(&failure, &url))
    }

    /// The same, and if the registry speaks no TLS and the user allows that, in plain HTTP, without credentials. A request
    /// that passes a gate does so when all that it has to wait for is over.
    pub(super) async fn execute_or_in_plain(
        &self,
        request: Request,
        wait: Option<Duration>,
        gate: Option<&Gate>,
    ) -> Result<Response> {
        let again = request.try_clone();
        let (failure, url) = match self.attempt(request, wait, gate).await? {
            Ok(response) => return Ok(response),
            Err(failed) => failed,
        };
        let Some(again) = again.and_then(|again| self.in_plain(again, &failure)) else {
            return Err(error::of_failure(&failure, &url));
        };
        let attempt = self.attempt(again, wait, gate).await?;
        attempt.map_err(|(failure, url)| error::of_failure(&failure, &url))
    }

    /// How long the answer to a request without a long body may take.
    pub(super) const PATIENCE: Option<Duration> = Some(
        // Connecting has a limit of its own, and comes first.
        CONNECT_TIMEOUT.saturating_add(RESPONSE_TIMEOUT),
    );

    /// The same, if the request ends an upload of so many bytes.
    pub(super) fn patience(bytes: u64) -> Duration {
        CONNECT_TIMEOUT + body::time_to_answer(bytes)
    }

    /// Waits until a request may be sent to a URL. Whoever watches the time starts to do so after this.
    pub(super) async fn ready(&self, url: &Url) -> Result<()> {
        self.network.admit(url).await?;
        let paused = |left| error::paused(&error::place(url), left);
        self.network.pause_over(&error::origin(url), self.owner).await.map_err(paused)
    }

    /// Waits until the registry may be sent a request.
    pub(super) async fn registry_ready(&self) -> Result<()> {
        self.ready(&self.base()?).await
    }

    async fn attempt(
        &self,
        request: Request,
        wait: Option<Duration>,
        gate: Option<&Gate>,
    ) -> Result<Result<Response, (reqwest::Error, Url)>> {
        let url = request.url().clone();
        let method = request.method().clone();
        self.ready(&url).await?;
        let client = self.client_for(&url).await?;
        let passage = match gate {
            Some(gate) => Some(gate.pass().await?),
            None => None,
        };
        let answer = client.execute(request);
        let answer = match wait {
            None => answer.await,
            Some(wait) => tokio::time::timeout(wait, answer)
                .await
                .map_err(|_| error::no_answer(&url, wait.saturating_sub(CONNECT_TIMEOUT)))?,
        };
        if let Some(passage) = passage.filter(|_| changed_nothing(&answer)) {
            passage.refused();
        }
        if let Ok(response) = &answer {
            self.settle(&url);
            self.heed(&url, response);
        }
        let status = answer.as_ref().map(|response| response.status().as_u16()).ok();
        self.network.count_answer(&self.name, status);
        tracing::debug!(%method, host = url.host_str(), path = url.path(), status, "request");
        Ok(answer.map_err(|failure| (failure, url)))
    }

    /// Tells what whoever answered warns of, but for what `hide` takes out of it.
    pub(super) fn warn(&self, response: &Response, hide: impl Fn(&mut String)) {
        let values = response.headers().get_all(WARNING).iter().map(HeaderValue::as_bytes);
        self.network.warn(&error::place(response.url()), values, hide);
    }

    /// Pauses for everybody, if an answer asks for that.
    fn heed(&self, url: &Url, response: &Response) {
        if let Some(length) = error::pause(response) {
            tracing::debug!(host = error::place(url), ?length, "the host asks for a pause");
            self.network.pause(&error::origin(url), self.owner, length);
        }
    }

    async fn client_for(&self, url: &Url) -> Result<&reqwest::Client> {
        // The attempt that is to settle it.
        let in_plain = self.scheme.get().is_none() && self.leads_here(PLAIN, url);
        let (client, audience) = if in_plain || self.is_registry(url) {
            let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            (&self.registry, Audience::Registry(host, self.policy))
        } else {
            (&self.others, Audience::Others)
        };
        client.get_or_try_init(|| self.network.client(&self.trust, &audience)).await
    }

    /// The same request in plain HTTP, if the registry seems to speak no TLS and the user allows that. One that has spoken
    /// it does not forget it: then somebody is in the way.
    fn in_plain(&self, mut request: Request, failure: &reqwest::Error) -> Option<Request> {
        // A reference without a port may mean the one of plain HTTP.
        let no_port = request.url().port().is_none();
        let no_tls = error::speaks_no_tls(failure) || (no_port && error::is_refused(failure));
        if self.scheme.get().is_some() || !no_tls || !self.leads_here(TLS, request.url()) {
            return None;
        }
        tracing::debug!(
            host = self.authority,
            "the registry seems to speak no TLS, trying without"
        );
        // They were meant for TLS. The registry has to ask for them again.
        request.headers_mut().remove(AUTHORIZATION);
        self.rebase(&mut request, PLAIN);
        Some(request)
    }

    /// Once the registry is known to speak no TLS, a request to it that was made before that goes out in plain HTTP.
    /// It comes before credentials are attached: these belong to the origin that the request really goes to.
    pub(super) fn redirect_to_plain(&self, request: &mut Request) {
        if self.scheme.get() == Some(&PLAIN) && self.leads_here(TLS, request.url()) {
            self.rebase(request, PLAIN);
        }
    }

    fn rebase(&self, request: &mut Request, scheme: &str) {
        let Ok(mut url) = self.base_by(scheme) else { return };
        url.set_path(request.url().path());
        url.set_query(request.url().query());
        *request.url_mut() = url;
    }

    /// The registry has answered: this is how it is spoken to from now on, if that was open.
    fn settle(&self, url: &Url) {
        if let Some(scheme) = [TLS, PLAIN].into_iter().find(|scheme| self.leads_here(scheme, url)) {
            self.scheme.get_or_init(|| scheme);
        }
    }

    /// Whether a URL leads to the registry by this scheme.
    fn leads_here(&self, scheme: &str, url: &Url) -> bool {
        self.base_by(scheme).is_ok_and(|base| base.origin() == url.origin())
    }
}

/// Whether a request is known not to have been carried out.
fn changed_nothing(answer: &Result<Response, reqwest::Error>) -> bool {
    match answer {
        Ok(response) => {
            let status = response.status();
            let refused = status.is_client_error() || status.is_redirection();
            refused || status == StatusCode::SERVICE_UNAVAILABLE
        }
        Err(failure) => failure.is_connect(),
    }
}

/// Reads certificates, on a thread that may block where they are in files.
async fn trust(certificates: &Certificates, registry: &str) -> Result<Trust> {
    if !matches!(certificates, Certificates::Directory(_) | Certificates::Search(_)) {
        return Trust::load(certificates, registry);
    }
    let (certificates, registry) = (certificates.clone(), registry.to_owned());
    blocking(move || Trust::load(&certificates, &registry)).await
}
