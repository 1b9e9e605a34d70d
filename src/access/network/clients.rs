//! HTTP clients, each with the connections that it keeps open, by what they trust and whom they speak to.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Client, redirect};
use rustls::client::ResolvesClientCert;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

use super::Proxies;
use super::any_certificate::AnyCertificate;
use super::heard;
use super::names::Names;
use super::trust::Trust;
use crate::access::TlsPolicy;
use crate::error::{Error, Kind, Result};
use crate::limits::{CONNECT_TIMEOUT, IDLE_CONNECTION_LIFE, IDLE_CONNECTIONS, MAX_HTTP_CLIENTS};

/// Whom connections lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// The registry that the user named, by its host without a port, under its policy.
    Registry(String, TlsPolicy),
    /// Any other host: verified, and told nothing of us.
    Others,
}

/// Clients that have been made, the one used last at the end.
#[derive(Default)]
pub(super) struct Clients {
    made: Mutex<Vec<(Key, Slot)>>,
    roots: Arc<OnceLock<Arc<RootCertStore>>>,
}

/// Held while the client is made, so that it is made once.
type Slot = Arc<OnceCell<Client>>;

/// Everything that tells two clients apart.
#[derive(Clone, PartialEq, Eq)]
struct Key {
    check: Check,
    authorities: Option<[u8; 32]>,
    identity: Option<[u8; 32]>,
}

/// How the other side's certificate is checked.
#[derive(Clone, PartialEq, Eq)]
enum Check {
    /// Against the authorities.
    Verify,
    /// Not at all, for this host.
    Skip(String),
    /// There is none: TLS isn't spoken.
    Plain,
}

// === impl Clients ===

impl Clients {
    /// The client for certificates and audience; made anew if there is none. Names and proxies are always the same.
    pub(super) async fn get(
        &self,
        trust: &Trust,
        audience: &Audience,
        names: &Names,
        proxies: Proxies,
    ) -> Result<Client> {
        let key = Key::new(trust, audience);
        let slot = self.slot(&key);
        let build = async || {
            let tls = self.tls(key.check.clone(), trust.clone(), key.identity.is_some()).await?;
            client(tls, names.clone(), proxies)
        };
        slot.get_or_try_init(build).await.cloned()
    }

    /// The place of a client, which may have to be made yet. The one that was not used for longest makes room.
    fn slot(&self, key: &Key) -> Slot {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let found = made.iter().position(|(other, _)| other == key);
        let entry = match found {
            Some(at) => made.remove(at),
            None => (key.clone(), Slot::default()),
        };
        if made.len() >= MAX_HTTP_CLIENTS {
            made.remove(0);
        }
        let slot = Arc::clone(&entry.1);
        made.push(entry);
        slot
    }

    async fn tls(&self, check: Check, trust: Trust, show_identity: bool) -> Result<ClientConfig> {
        if check != Check::Verify {
            return tls(check, RootCertStore::empty().into(), &trust, show_identity);
        }
        let roots = Arc::clone(&self.roots);
        let build = move || {
            let roots = with_roots(&trust, roots.get_or_init(system_roots))?;
            tls(check, roots, &trust, show_identity)
        };
        let stopped = |error| Error::internal(format!("reading certificates stopped: {error}"));
        tokio::task::spawn_blocking(build).await.map_err(stopped)?
    }
}

// === impl Key ===

impl Key {
    fn new(trust: &Trust, audience: &Audience) -> Self {
        let check = match audience {
            Audience::Others | Audience::Registry(_, TlsPolicy::Verify) => Check::Verify,
            Audience::Registry(_, TlsPolicy::PlainHttp) => Check::Plain,
            Audience::Registry(host, TlsPolicy::SkipVerify | TlsPolicy::SkipVerifyOrPlainHttp) => {
                Check::Skip(host.clone())
            }
        };
        let verifies = check == Check::Verify;
        let shows = matches!(audience, Audience::Registry(..)) && check != Check::Plain;
        Self {
            check,
            authorities: trust.authorities_fingerprint().filter(|_| verifies),
            identity: trust.identity.as_ref().map(|own| own.fingerprint).filter(|_| shows),
        }
    }
}

fn tls(
    check: Check,
    roots: Arc<RootCertStore>,
    trust: &Trust,
    show_identity: bool,
) -> Result<ClientConfig> {
    let provider = heard::provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(format!("no version of TLS is usable: {error}")))?;
    let builder = match check {
        Check::Skip(host) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(host, &provider))),
        Check::Verify | Check::Plain => builder.with_root_certificates(roots),
    };
    let identity = trust.identity.as_ref().filter(|_| show_identity);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let shown: Arc<dyn ResolvesClientCert> =
                Arc::new(SingleCertAndKey::from(Arc::clone(&own.key)));
            builder.with_client_cert_resolver(shown)
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn client(tls: ClientConfig, names: Names, proxies: Proxies) -> Result<Client> {
    let builder = match proxies {
        Proxies::None => Client::builder().no_proxy(),
        Proxies::Environment => Client::builder(),
    };
    builder
        .dns_resolver(Arc::new(names))
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("imagepush/", env!("CARGO_PKG_VERSION")))
        .default_headers(HeaderMap::from_iter([(
            ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        )]))
        .redirect(redirect::Policy::none())
        .referer(false)
        // Whether a request may be sent again is decided by whoever knows what it does.
        .retry(reqwest::retry::never())
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_CONNECTION_LIFE)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build()
        .map_err(|error| Error::internal(format!("an HTTP client can't be made: {error}")))
}

/// The system's certificate authorities, read once for the program.
fn system_roots() -> Arc<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!(%error, "a certificate authority of the system can't be read");
    }
    let mut roots = RootCertStore::empty();
    let (_, ignored) = roots.add_parsable_certificates(found.certs);
    if ignored > 0 {
        tracing::debug!(ignored, "certificate authorities of the system were left out");
    }
    Arc::new(roots)
}

/// The system's authorities and the user's.
fn with_roots(trust: &Trust, system: &Arc<RootCertStore>) -> Result<Arc<RootCertStore>> {
    if trust.authorities.is_empty() && system.is_empty() {
        let message = "this system has no certificate authorities to verify a registry with";
        return Err(Error::new(Kind::TlsVerificationFailed, message)
            .hint("install the system's package of CA certificates, or name an authority with `--cert-dir`"));
    }
    if trust.authorities.is_empty() {
        return Ok(Arc::clone(system));
    }
    let mut roots = RootCertStore::clone(system);
    for authority in &trust.authorities {
        roots.add(authority.clone()).map_err(|error| {
            let message = format!("a certificate authority that was given can't be used: {error}");
            Error::new(Kind::InvalidOptions, message)
        })?;
    }
    Ok(Arc::new(roots))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::network::Egress;
    use crate::access::network::names::SystemResolver;
    use crate::access::{Certificates, ClientIdentity, Secret, TrustedCertificates};

    fn trust(authority: bool, identity: bool) -> Trust {
        let made = rcgen::generate_simple_self_signed(["r.example".to_owned()]).unwrap();
        let certificate = made.cert.pem();
        let key = Secret::new(made.signing_key.serialize_pem());
        let texts = TrustedCertificates {
            authorities: if authority { vec![certificate.clone()] } else { vec![] },
            identity: identity.then_some(ClientIdentity { certificate, key }),
        };
        Trust::load(&Certificates::Pem(texts), "r.example").unwrap()
    }

    async fn get(clients: &Clients, audience: &Audience) -> Client {
        let names = Names {
            egress: Egress::default(),
            resolver: Arc::new(SystemResolver::default()),
            proxies: Proxies::None,
        };
        clients.get(&Trust::default(), audience, &names, Proxies::None).await.unwrap()
    }

    fn registry(host: &str, policy: TlsPolicy) -> Audience {
        Audience::Registry(host.to_owned(), policy)
    }

    #[test]
    fn clients_are_shared_where_nothing_tells_them_apart() {
        use TlsPolicy::{PlainHttp, SkipVerify, SkipVerifyOrPlainHttp, Verify};
        let key = |trust: &Trust, audience: Audience| Key::new(trust, &audience);
        let (none, identity, authority) =
            (Trust::default(), trust(false, true), trust(true, false));
        let (a, b) = ("a.test", "b.test");
        let cases = [
            (key(&none, registry(a, Verify)), key(&none, registry(b, Verify)), true),
            (key(&none, registry(a, Verify)), key(&none, Audience::Others), true),
            (key(&identity, Audience::Others), key(&none, Audience::Others), true),
            (key(&identity, registry(a, Verify)), key(&identity, Audience::Others), false),
            (key(&identity, registry(a, PlainHttp)), key(&none, registry(b, PlainHttp)), true),
            (key(&authority, Audience::Others), key(&none, Audience::Others), false),
            (key(&authority, Audience::Others), key(&trust(true, false), Audience::Others), false),
            (key(&none, registry(a, SkipVerify)), key(&none, registry(b, SkipVerify)), false),
            (key(&none, registry(a, SkipVerify)), key(&none, registry(a, Verify)), false),
            (
                key(&authority, registry(a, SkipVerify)),
                key(&none, registry(a, SkipVerifyOrPlainHttp)),
                true,
            ),
        ];
        for (at, (one, other, same)) in cases.into_iter().enumerate() {
            assert_eq!(one == other, same, "case {at}");
        }
    }

    #[tokio::test]
    async fn the_number_of_clients_is_bounded() {
        let (clients, none) = (Clients::default(), Trust::default());
        let skip = |n: usize| registry(&format!("r{n}.test"), TlsPolicy::SkipVerify);
        let key = |n| Key::new(&none, &skip(n));
        for n in 0..=MAX_HTTP_CLIENTS {
            get(&clients, &skip(n)).await;
            get(&clients, &skip(0)).await;
        }
        let made = clients.made.lock().unwrap();
        let has = |n| made.iter().any(|(found, _)| *found == key(n));
        assert_eq!(made.len(), MAX_HTTP_CLIENTS);
        assert!(has(0) && !has(1) && has(2), "the one not used for longest goes");
    }

    #[tokio::test]
    async fn plain_http_reads_no_certificates() {
        let clients = Clients::default();
        let plain = registry("r.test", TlsPolicy::PlainHttp);
        get(&clients, &plain).await;
        assert!(clients.roots.get().is_none());
        get(&clients, &Audience::Others).await;
        assert!(clients.roots.get().is_some());
    }
}
