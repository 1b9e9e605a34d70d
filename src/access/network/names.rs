//! How the names of hosts become addresses: looked up by the system, judged, and put in order.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;

use async_trait::async_trait;
use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, SockType, getaddrinfo};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::Proxies;
use super::egress::Egress;
use crate::error::{Class, Error, Kind, Result};
use crate::limits::{LOOKUP_TIMEOUT, PARALLEL_LOOKUPS};

/// Looks up the addresses of hosts.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// The addresses of a host, in the order in which they are to be tried; at least one.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>>;
}

/// The system's way, with its hosts file and its name servers. Threads that hash and compress are none of its business: a
/// name server that keeps silent would stop them.
pub(super) struct SystemResolver {
    places: Arc<Semaphore>,
    look_up: fn(&str) -> Result<Vec<IpAddr>, LookupError>,
}

/// Names for HTTP clients: what a policy forbids doesn't come out of it.
#[derive(Clone)]
pub(super) struct Names {
    pub(super) egress: Egress,
    pub(super) resolver: Arc<dyn Resolver>,
    /// Whether a name may be that of a proxy, which is judged like any other.
    pub(super) proxies: Proxies,
}

#[async_trait]
impl Resolver for SystemResolver {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>> {
        timeout(LOOKUP_TIMEOUT, self.answer(host)).await.map_err(|_| silent(host))?
    }
}

// === impl SystemResolver ===

impl SystemResolver {
    async fn answer(&self, host: &str) -> Result<Vec<IpAddr>> {
        let stopped = || Error::internal("looking up a host stopped");
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| stopped())?;
        let (asked, look_up) = (host.to_owned(), self.look_up);
        let (answer, answered) = oneshot::channel();
        let work = move || {
            // If nobody waits for it any more, it has only taken its place until now.
            let _ = answer.send(look_up(&asked).map_err(|cause| unresolved(&asked, &cause)));
            drop(place);
        };
        thread::Builder::new().name("lookup".into()).spawn(work).map_err(|cause| {
            let message = format!("the address of `{host}` can't be looked up: {cause}");
            Error::new(Kind::NetworkError, message)
        })?;
        answered.await.map_err(|_| stopped())?
    }
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(PARALLEL_LOOKUPS)), look_up }
    }
}

/// Blocks until the name servers have answered, or haven't.
fn look_up(host: &str) -> Result<Vec<IpAddr>, LookupError> {
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let found: Result<Vec<_>, std::io::Error> =
        getaddrinfo(Some(host), None, Some(hints))?.collect();
    Ok(found?.into_iter().map(|info| info.sockaddr.ip()).collect())
}

/// The standard library has no types for the causes, so that they would have to be told by their words.
fn unresolved(host: &str, cause: &LookupError) -> Error {
    match cause.kind() {
        LookupErrorKind::NoName | LookupErrorKind::NoData => no_such_host(host),
        LookupErrorKind::Again | LookupErrorKind::Fail => silent(host),
        _ => {
            let message = format!("the address of `{host}` can't be looked up: {cause}");
            Error::new(Kind::NetworkError, message)
        }
    }
}

fn silent(host: &str) -> Error {
    let message = format!("the address of `{host}` can't be looked up: no name server answers");
    Error::new(Kind::NetworkError, message)
}

fn no_such_host(host: &str) -> Error {
    Error::new(Kind::NetworkError, format!("there is no host `{host}`"))
        .permanent()
        .hint("check the registry's name, and which name servers this machine uses")
}

// === impl Names ===

impl Names {
    /// The addresses of a host that may be connected to.
    async fn allowed(&self, host: &str) -> Result<Vec<IpAddr>> {
        self.egress.judge_name(host)?;
        let found = self.resolver.addresses(host).await?;
        self.permitted(host, found)
    }

    /// Whoever reads of a denied proxy has named another host.
    fn explained(&self, host: &str, error: Error) -> Error {
        if self.proxies == Proxies::None || error.kind() != Kind::AccessDenied {
            return error;
        }
        error.doing(format!("looking up `{host}` (a proxy has to be allowed like any other host)"))
    }

    fn permitted(&self, host: &str, found: Vec<IpAddr>) -> Result<Vec<IpAddr>> {
        let mut denial = None;
        let mut allowed = vec![];
        for address in found {
            match self.egress.judge(host, address) {
                Ok(()) => allowed.push(address),
                Err(error) => denial = denial.or(Some(error)),
            }
        }
        match denial {
            _ if !allowed.is_empty() => Ok(allowed),
            Some(denial) => Err(denial),
            None => Err(no_such_host(host)),
        }
    }

    /// Judges a host that a proxy will look up: every address has to be allowed, since the proxy chooses. One that can't be
    /// looked up from here may have any.
    pub(super) async fn judge_for_proxy(&self, host: &str) -> Result<()> {
        self.egress.judge_name(host)?;
        match self.resolver.addresses(host).await {
            Ok(found) if !found.is_empty() => {
                found.into_iter().try_for_each(|address| self.egress.judge(host, address))
            }
            Ok(_) => self.egress.judge_without_address(host),
            Err(error) => self.egress.judge_without_address(host).map_err(|refusal| {
                // Another attempt may find the address.
                if error.class() == Class::Transient { error } else { refusal }
            }),
        }
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.clone();
        Box::pin(async move {
            let addresses = names.allowed(name.as_str()).await;
            let addresses = addresses.map_err(|error| names.explained(name.as_str(), error))?;
            let sockets = side_by_side(addresses).into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(sockets) as Addrs)
        })
    }
}

/// A dead address must not hold up the next one. The HTTP library tries the two versions of IP side by side, but addresses
/// of one version one after another, each with its share of the time. So where all are of version 4, they come a second
/// time in the form of version 6, the last one first.
fn side_by_side(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let all_v4: Option<Vec<_>> = addresses
        .iter()
        .map(|address| match address {
            IpAddr::V4(v4) => Some(IpAddr::V6(v4.to_ipv6_mapped())),
            IpAddr::V6(_) => None,
        })
        .collect();
    if let Some(mapped) = all_v4.filter(|mapped| mapped.len() > 1) {
        addresses.extend(mapped.into_iter().rev());
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Place;

    struct Fixed(&'static [&'static str]);

    #[async_trait]
    impl Resolver for Fixed {
        async fn addresses(&self, _host: &str) -> Result<Vec<IpAddr>> {
            Ok(self.0.iter().map(|address| address.parse().unwrap()).collect())
        }
    }

    /// The system, with a name server that never answers for `dead.test`.
    fn with_dead_server() -> SystemResolver {
        let look_up = |host: &str| match host {
            "dead.test" => loop {
                thread::park();
            },
            _ => Ok(vec![IpAddr::from([10, 0, 0, 1])]),
        };
        SystemResolver { look_up, ..SystemResolver::default() }
    }

    #[test]
    fn a_silent_name_server_holds_up_neither_work_nor_other_names() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let resolver = with_dead_server();
        let work = async {
            let hashed = tokio::task::spawn_blocking(|| ()).await.is_ok();
            (hashed, resolver.addresses("r.test").await.unwrap().len())
        };
        let dead = resolver.addresses("dead.test");
        let done = runtime.block_on(async {
            tokio::select! {
                biased;
                dead = dead => panic!("{dead:?}"),
                done = timeout(LOOKUP_TIMEOUT / 2, work) => done,
            }
        });
        runtime.shutdown_background();
        assert_eq!(done.unwrap(), (true, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn lookups_are_bounded_in_number_and_time() {
        let resolver = with_dead_server();
        let start = tokio::time::Instant::now();
        let dead = (0..PARALLEL_LOOKUPS).map(|_| resolver.addresses("dead.test"));
        for answer in futures::future::join_all(dead).await {
            let error = answer.unwrap_err();
            assert_eq!(error.class(), Class::Transient);
            let message = "the address of `dead.test` can't be looked up: no name server answers";
            assert_eq!(error.to_string(), message);
        }
        assert_eq!(start.elapsed(), LOOKUP_TIMEOUT);
        // Nobody waits for those any more, but they still take their places.
        assert!(resolver.addresses("r.test").await.is_err());
    }

    #[tokio::test]
    async fn forbidden_answers_are_dropped() {
        for (answers, left) in [
            (&["10.0.0.1", "127.0.0.1"][..], Ok("10.0.0.1")),
            (
                &["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "fd00::1"],
                Ok("10.0.0.1 fd00::1"),
            ),
            (&["127.0.0.1", "169.254.1.1"], Err(("127.0.0.1", Kind::AccessDenied))),
            (&[], Err(("there is no host `r.example`", Kind::NetworkError))),
        ] {
            let names = Names {
                egress: Egress::operator(),
                resolver: Arc::new(Fixed(answers)),
                proxies: Proxies::None,
            };
            let shown = |found: Vec<IpAddr>| {
                found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            };
            match (names.allowed("r.example").await.map(shown), left) {
                (Ok(found), Ok(left)) => assert_eq!(found, left),
                (Err(error), Err((part, kind))) => {
                    assert!(error.to_string().contains(part) && error.kind() == kind, "{error}");
                }
                (found, _) => panic!("{found:?}"),
            }
        }
    }

    /// Fails as `getaddrinfo` does.
    struct Failing(i32);

    #[async_trait]
    impl Resolver for Failing {
        async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>> {
            Err(unresolved(host, &LookupError::new(self.0)))
        }
    }

    #[tokio::test]
    async fn a_proxy_that_is_denied_is_told_to_need_permission() {
        let told = async |proxies| {
            let egress = Egress::default().deny("10.0.0.0/8".parse().unwrap());
            let names = Names { egress, resolver: Arc::new(Fixed(&["10.0.0.1"])), proxies };
            let resolved = names.resolve("proxy.example".parse().unwrap()).await;
            resolved.map(|_| ()).unwrap_err().to_string()
        };
        let denied = "`proxy.example` has the address `10.0.0.1`, which is in `10.0.0.0/8`: the egress \
                      policy does not let connections lead there";
        assert_eq!(told(Proxies::None).await, denied);
        let doing = "looking up `proxy.example` (a proxy has to be allowed like any other host)";
        assert_eq!(told(Proxies::Environment).await, format!("{doing}: {denied}"));
    }

    #[tokio::test]
    async fn behind_a_proxy_a_name_without_addresses_is_let_through_by_its_name_only() {
        let place = |text: &str| text.parse::<Place>().unwrap();
        let range = || place("10.0.0.0/8");
        let name = || place("r.example");
        let resolvers: [(Arc<dyn Resolver>, Class); 3] = [
            (Arc::new(Fixed(&[])), Class::Permanent),
            // No such host, and no answer.
            (Arc::new(Failing(-2)), Class::Permanent),
            (Arc::new(Failing(-3)), Class::Transient),
        ];
        let cases = [
            (Egress::default().only(range()), false),
            (Egress::default().only(range()).allow(name()), true),
            (Egress::default().only(range()).only(name()), true),
            (Egress::default().deny(range()), false),
            (Egress::default().deny(range()).allow(name()), true),
            (Egress::default().deny(range()).only(name()), false),
            (Egress::default().deny(place("other.example")), true),
            // A cluster behind a proxy need not know the names outside.
            (Egress::operator(), true),
        ];
        for (egress, expected) in cases {
            for (resolver, class) in &resolvers {
                let names = Names {
                    egress: egress.clone(),
                    resolver: Arc::clone(resolver),
                    proxies: Proxies::Environment,
                };
                let judged = names.judge_for_proxy("r.example").await;
                let judged = judged.map_err(|error| error.class());
                assert_eq!(judged, if expected { Ok(()) } else { Err(*class) }, "{egress:?}");
            }
        }
    }

    #[tokio::test]
    async fn behind_a_proxy_every_answer_counts() {
        let judged = async |answers| {
            let names = Names {
                egress: Egress::operator(),
                resolver: Arc::new(Fixed(answers)),
                proxies: Proxies::None,
            };
            names.judge_for_proxy("r.example").await.is_ok()
        };
        assert!(judged(&["10.0.0.1"]).await);
        assert!(judged(&[]).await);
        assert!(!judged(&["10.0.0.1", "127.0.0.1"]).await);
    }

    #[test]
    fn a_name_without_addresses_is_told_from_name_servers_that_are_silent() {
        let told = |kind: i32| {
            let error = unresolved("r.example", &LookupError::new(kind));
            (error.class(), error.to_string())
        };
        let (permanent, transient) =
            (crate::error::Class::Permanent, crate::error::Class::Transient);
        let silent = "the address of `r.example` can't be looked up: no name server answers";
        // EAI_SYSTEM, with which a lookup ends for want of a file descriptor.
        assert_eq!(told(-11).0, transient);
        // EAI_NONAME, EAI_NODATA, EAI_AGAIN, EAI_FAIL of glibc.
        assert_eq!(told(-2), (permanent, "there is no host `r.example`".to_owned()));
        assert_eq!(told(-5), (permanent, "there is no host `r.example`".to_owned()));
        assert_eq!(told(-3), (transient, silent.to_owned()));
        assert_eq!(told(-4), (transient, silent.to_owned()));
    }

    #[test]
    fn addresses_of_version_4_come_side_by_side() {
        for (given, expected) in [
            (vec!["10.0.0.1"], vec!["10.0.0.1"]),
            (
                vec!["10.0.0.1", "10.0.0.2"],
                vec!["10.0.0.1", "10.0.0.2", "::ffff:10.0.0.2", "::ffff:10.0.0.1"],
            ),
            (vec!["::1", "127.0.0.1"], vec!["::1", "127.0.0.1"]),
        ] {
            let parse = |list: Vec<&str>| {
                list.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>()
            };
            assert_eq!(side_by_side(parse(given)), parse(expected));
        }
    }
}
