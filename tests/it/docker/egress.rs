//! Where the connections of a side may lead, judged by what names really resolve to.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use imagepush::access::{Access, Egress, Network, NetworkSettings, Resolver};
use imagepush::error::{Error, Kind, Result};
use imagepush::transport::BlobKind;

use super::harness::*;
use crate::support::canary::secret;
use crate::support::registry::{Act, Login, Registry, Rule};

/// Answers in turn; the last answer stays.
struct Answers(Mutex<Vec<Vec<&'static str>>>);

#[async_trait]
impl Resolver for Answers {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>> {
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        if answer.is_empty() {
            return Err(Error::new(Kind::NetworkError, format!("no name server knows `{host}`")));
        }
        Ok(answer.iter().map(|address| address.parse().unwrap()).collect())
    }
}

/// Plain HTTP under a policy, with these answers of the name server.
pub(super) fn network(egress: Egress, answers: &[&[&'static str]]) -> Access {
    let answers = answers.iter().map(|answer| answer.to_vec()).collect();
    let resolver = Arc::new(Answers(Mutex::new(answers)));
    let settings = NetworkSettings { egress, resolver, ..NetworkSettings::default() };
    Access { network: Network::new(settings), ..plain() }
}

fn port(registry: &Registry) -> &str {
    registry.host.rsplit_once(':').unwrap().1
}

fn place(text: &str) -> imagepush::access::Place {
    text.parse().unwrap()
}

#[tokio::test]
async fn an_address_is_judged_when_it_is_connected_to() {
    let registry = Registry::start_at("0.0.0.0:0").await;
    // Else the second request would go over the connection of the first.
    registry.add_rule(Rule::each("HEAD", "", Act::Header("connection", "close".into())));
    let policy = Egress::default().deny(place("127.0.0.1"));
    let access = network(policy, &[&["127.0.0.2"], &["127.0.0.1"]]);
    let name = format!("rebound.test:{}/app:1", port(&registry));
    let to = destination(&name, &access).await;
    assert_eq!(to.current().await.unwrap(), None);
    let error = to.current().await.unwrap_err();
    assert_eq!(
        told(&error),
        format!(
            "AccessDenied Permanent: reading manifest `1` of `docker://rebound.test:{}/app`: `rebound.test` \
             has the address `127.0.0.1`, which is in `127.0.0.1`: the egress policy does not let \
             connections lead there // name another registry, or have the operator's administrator \
             allow this one",
            port(&registry)
        )
    );
    assert_eq!(registry.seen().len(), 1);
}

#[tokio::test]
async fn of_several_addresses_the_forbidden_ones_are_left_out() {
    let (registry, stranger) = (Registry::start_at("127.0.0.2:0").await, "127.0.0.1");
    let policy = || Egress::default().deny(place(stranger));
    let name = format!("mixed.test:{}/app:1", port(&registry));
    for answer in [&["127.0.0.1", "127.0.0.2"], &["::ffff:127.0.0.1", "127.0.0.2"]] {
        let access = network(policy(), &[answer]);
        assert_eq!(destination(&name, &access).await.current().await.unwrap(), None);
    }
    let access = network(policy(), &[&["127.0.0.1", "::ffff:127.0.0.1"]]);
    let error = destination(&name, &access).await.current().await.unwrap_err();
    assert_eq!(error.kind(), Kind::AccessDenied);
}

#[tokio::test]
async fn the_operator_connects_to_no_address_of_its_own() {
    for host in [
        "127.0.0.1",
        "[::1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "localhost",
        "kubernetes.default.svc",
    ] {
        let policy = Egress::operator().deny(place("kubernetes.default.svc"));
        let registry = Registry::start().await;
        let access = network(policy, &[&["127.0.0.1"]]);
        let to = destination(&format!("{host}:{}/app:1", port(&registry)), &access).await;
        let error = to.current().await.unwrap_err();
        assert_eq!(error.kind(), Kind::AccessDenied, "{host}: {error}");
        assert_eq!(registry.seen().len(), 0);
    }
}

#[tokio::test]
async fn a_registry_leads_to_no_forbidden_address() {
    let (registry, stranger) = (Registry::start().await, Registry::start().await);
    let policy = || Egress::operator().allow(place("registry.test"));
    let access = |answers| Access {
        credentials: plain_as("alice", secret("docker::egress")).credentials,
        ..network(policy(), answers)
    };
    let name = format!("registry.test:{}/app:1", port(&registry));
    let image = Image::new("x");
    let to = destination(&name, &access(&[&["127.0.0.1"]])).await;
    put(&*to, &image).await.unwrap();
    for host in
        ["127.0.0.1", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]", "localhost", "evil.test"]
    {
        let there = |path: &str| format!("http://{host}:{}{path}", port(&stranger));
        let path = format!("/v2/app/blobs/{}", image.layer_descriptor().digest);
        let redirect = Act::Respond(307, vec![("location", there(&path))], vec![]);
        registry.add_rule(Rule::each("GET", "/blobs/", redirect).nth(1));
        let from = source(&name, &access(&[&["127.0.0.1"]])).await;
        let error = from.blob(&image.layer_descriptor()).await.map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), Kind::AccessDenied, "{host}: {error}");

        registry
            .add_rule(Rule::each("POST", "/uploads/", Act::Header("location", there("/u"))).nth(1));
        let to = destination(&name, &access(&[&["127.0.0.1"]])).await;
        assert!(to.put_blob(blob(&image.layer), BlobKind::Layer).await.is_err());

        registry.set_login(Login::bearer_at(&there("/token"), "alice", secret("docker::egress")));
        assert!(to.current().await.is_err());
        registry.set_login(Login::default());
    }
    assert_eq!(stranger.seen().len(), 0);
}

#[tokio::test]
async fn private_addresses_are_where_registries_live() {
    // Nothing listens there; it is not the policy that says so.
    let access = network(Egress::operator(), &[&["10.255.255.1"]]);
    let to = destination("private.test:9/app:1", &access).await;
    let error = tokio::time::timeout(std::time::Duration::from_millis(200), to.current()).await;
    assert!(!matches!(error, Ok(Err(error)) if error.kind() == Kind::AccessDenied));
}
