//! What connections share: HTTP clients that stay open, the settings of the whole program, and how the hosts are.
//!
//! One value serves both sides of a push on the command line, and all pushes of the operator, so that a connection that one
//! has made is there for the next. It builds clients and decides what they may connect to, and sends nothing itself.

mod allowed;
mod any_certificate;
mod authority;
mod checks;
mod clients;
mod egress;
mod elsewhere;
mod heard;
mod known_blobs;
mod layer_hosts;
mod names;
mod pauses;
mod place;
mod standing;
mod talk;
mod token_servers;
mod traffic;
mod trust;
mod upload_hosts;
mod warnings;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use url::{Host, Url};

pub use allowed::AllowedRegistries;
pub(crate) use checks::CheckTurn;
use checks::Checks;
pub(crate) use clients::Audience;
use clients::Clients;
pub use egress::Egress;
pub use elsewhere::Elsewhere;
pub(crate) use known_blobs::BlobKey;
use known_blobs::KnownBlobs;
pub use layer_hosts::LayerHost;
pub use names::Resolver;
use names::{Names, SystemResolver};
use pauses::Pauses;
pub use place::{Place, Range};
use standing::Standings;
pub(crate) use standing::{
    Bearer, Challenge, Fingerprint, NoToken, StandingKey, Terms, Token, TokenKey,
};
pub use token_servers::TokenServer;
use traffic::Traffic;
pub(crate) use trust::Trust;
pub use upload_hosts::UploadHost;
pub(crate) use upload_hosts::UploadOrigins;
use warnings::Warnings;

use crate::access::TlsPolicy;
use crate::error::Result;

/// What the connections of a program share. Clones are the same network; the default is a new one.
#[derive(Clone)]
pub struct Network(Arc<Shared>);

struct Shared {
    clients: Clients,
    standings: Standings,
    known_blobs: KnownBlobs,
    names: Names,
    proxies: Proxies,
    pauses: Pauses,
    checks: Checks,
    warnings: Warnings,
    traffic: Traffic,
    elsewhere: Elsewhere,
    registries: AllowedRegistries,
    verified_only: bool,
}

/// What holds for all connections of a program. The default is to connect anywhere, directly.
#[derive(Clone)]
pub struct NetworkSettings {
    /// Where connections may lead.
    pub egress: Egress,
    /// Whether there are proxies on the way.
    pub proxies: Proxies,
    /// Who knows the addresses of hosts.
    pub resolver: Arc<dyn Resolver>,
    /// What hosts may have that are no registries.
    pub elsewhere: Elsewhere,
    /// Which registries references may name.
    pub registries: AllowedRegistries,
    /// Whether registries are spoken to only by TLS that is verified.
    pub verified_only: bool,
}

/// Whether there are proxies on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proxies {
    /// None are used.
    #[default]
    None,
    /// Those that the environment names: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, in either case.
    Environment,
}

// === impl Network ===

impl Network {
    /// A new network.
    pub fn new(settings: NetworkSettings) -> Self {
        let NetworkSettings { egress, proxies, resolver, elsewhere, registries, verified_only } =
            settings;
        let names = Names { egress, resolver, proxies };
        Self(Arc::new(Shared {
            clients: Clients::default(),
            standings: Standings::default(),
            known_blobs: KnownBlobs::default(),
            names,
            proxies,
            pauses: Pauses::default(),
            checks: Checks::default(),
            warnings: Warnings::default(),
            traffic: Traffic::default(),
            elsewhere,
            registries,
            verified_only,
        }))
    }

    /// The network of a program that a person runs: it may connect to whatever that person could, by way of their proxies.
    pub fn of_person() -> Self {
        Self::of_person_trusting(Elsewhere::default())
    }

    /// The same, with what the person lets others have.
    pub fn of_person_trusting(elsewhere: Elsewhere) -> Self {
        let proxies = Proxies::Environment;
        Self::new(NetworkSettings { proxies, elsewhere, ..NetworkSettings::default() })
    }

    /// A client for connections to `audience`, the same one whenever certificates and audience are the same.
    ///
    /// Reads the system's certificate authorities the first time that a certificate is to be verified.
    pub(crate) async fn client(&self, trust: &Trust, audience: &Audience) -> Result<Client> {
        let Shared { clients, names, proxies, .. } = &*self.0;
        clients.get(trust, audience, names, *proxies).await
    }

    /// A client for what is no registry and is chosen by whoever runs the program, such as a collector of traces: with the
    /// system's authorities where it speaks TLS, and without redirects.
    pub async fn client_of_collector(&self, is_secure: bool) -> Result<Client> {
        let plain = || Audience::Registry(String::new(), TlsPolicy::PlainHttp);
        let audience = if is_secure { Audience::Others } else { plain() };
        self.client(&Trust::default(), &audience).await
    }

    /// What registries ask for, and the tokens that we have for them.
    pub(crate) fn standings(&self) -> &Standings {
        &self.0.standings
    }

    /// Where blobs have been written to.
    pub(crate) fn known_blobs(&self) -> &KnownBlobs {
        &self.0.known_blobs
    }

    /// Sends nothing more to a host (with its scheme and port) as `owner` for this long.
    pub(crate) fn pause(&self, host: &str, owner: Fingerprint, length: Duration) {
        self.0.pauses.begin(host, owner, length);
    }

    /// Waits until a host may be sent something by `owner`; fails with what is left of a pause that is too long for that.
    pub(crate) async fn pause_over(&self, host: &str, owner: Fingerprint) -> Result<(), Duration> {
        self.0.pauses.over(host, owner).await
    }

    /// Waits until a registry may be looked at: by no more than [`PARALLEL_CHECKS`](crate::limits::PARALLEL_CHECKS) at once.
    pub(crate) async fn check_turn(&self, registry: &str) -> CheckTurn {
        self.0.checks.turn(registry).await
    }

    /// Tells what a host warns of in its `Warning` headers, once each, but for what `hide` takes out of it.
    pub(crate) fn warn<'a>(
        &self,
        host: &str,
        values: impl Iterator<Item = &'a [u8]>,
        hide: impl Fn(&mut String),
    ) {
        self.0.warnings.tell(host, values, hide);
    }

    /// A registry, or where it sends us, has answered with this status; with none if there was no answer.
    pub(crate) fn count_answer(&self, registry: &str, status: Option<u16>) {
        self.0.traffic.count(registry, status);
    }

    /// How often registries have answered so far, by name and status, as words; those beyond the first
    /// [`MAX_COUNTED_REGISTRIES`](crate::limits::MAX_COUNTED_REGISTRIES) are one, `other`.
    pub(crate) fn answers(&self) -> Vec<(String, &'static str, u64)> {
        self.0.traffic.counts()
    }

    /// Whether a registry's credentials may go to a token server, by the word of whoever runs the program.
    pub(crate) fn trusts(&self, registry: &str, token_server: &Url) -> bool {
        let trusted = &self.0.elsewhere.token_servers;
        trusted.iter().any(|trusted| trusted.admits(registry, token_server))
    }

    /// Where a registry that is spoken to by this scheme may have blobs sent, by the word of whoever runs the program.
    pub(crate) fn upload_origins(&self, registry: &str, scheme: &str) -> UploadOrigins {
        let elsewhere = &self.0.elsewhere;
        let (bare, shown) = (&elsewhere.upload_hosts, &elsewhere.upload_hosts_with_credentials);
        UploadOrigins::of(registry, scheme, bare, shown)
    }

    /// Whether a foreign layer may be fetched from a URL, by the word of whoever runs the program.
    pub(crate) fn permits_layer_from(&self, url: &Url) -> bool {
        self.0.elsewhere.layer_hosts.iter().any(|host| host.admits(url))
    }

    /// Whether a reference may name this registry, as whoever runs the program has it.
    pub(crate) fn permits(&self, registry: &str) -> bool {
        self.0.registries.permit(registry)
    }

    /// Whether registries are spoken to only by TLS that is verified, as whoever runs the program has it.
    pub(crate) fn is_verified_only(&self) -> bool {
        self.0.verified_only
    }

    /// Judges a URL that a request is about to go to, as far as nothing has to be connected to for that: an address that
    /// stands in the URL is never looked up, and a name that a proxy looks up isn't either. Other names are judged by
    /// their addresses when the client connects.
    pub(crate) async fn admit(&self, url: &Url) -> Result<()> {
        let Shared { names, proxies, .. } = &*self.0;
        if !names.egress.denies_something() {
            return Ok(());
        }
        let literal = |address: IpAddr| names.egress.judge(&address.to_string(), address);
        match url.host() {
            Some(Host::Ipv4(address)) => literal(address.into()),
            Some(Host::Ipv6(address)) => literal(address.into()),
            Some(Host::Domain(host)) if *proxies != Proxies::None => {
                names.judge_for_proxy(host).await
            }
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }
}

impl Default for NetworkSettings {
    fn default() -> Self {
        let (egress, proxies) = (Egress::default(), Proxies::default());
        Self {
            egress,
            proxies,
            resolver: Arc::new(SystemResolver::default()),
            elsewhere: Elsewhere::default(),
            registries: AllowedRegistries::default(),
            verified_only: false,
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new(NetworkSettings::default())
    }
}

impl fmt::Debug for NetworkSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { egress, proxies, resolver: _, elsewhere, registries, verified_only } = self;
        f.debug_struct("NetworkSettings")
            .field("egress", egress)
            .field("proxies", proxies)
            .field("elsewhere", elsewhere)
            .field("registries", registries)
            .field("verified_only", verified_only)
            .finish()
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}
