//! Tokens: fetched when needed and not more often, renewed in time, and never somebody else's.

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use imagepush::access::{
    Access, Certificates, Credential, Credentials, Network, Secret, TlsPolicy, TrustedCertificates,
};
use imagepush::blob::Blob;
use imagepush::error::{Class, Error, Kind};
use imagepush::transport::BlobKind;
use std::time::Duration;

use super::harness::*;
use crate::support::canary::secret;
use crate::support::registry::{Act, Login, Registry, Rule};

/// A registry that gives tokens to `alice`, and what she may use.
async fn guarded(login: Login) -> (Registry, Access) {
    let registry = Registry::start().await;
    registry.set_login(login);
    (registry, plain_as("alice", secret("docker::tokens")))
}

fn alice() -> Login {
    Login::bearer("alice", secret("docker::tokens"))
}

/// Refuses the token, and names the token server of this registry.
fn expired(registry: &Registry) -> Act {
    challenged(registry, "error=\"invalid_token\"")
}

fn challenged(registry: &Registry, more: &str) -> Act {
    let realm = format!("http://{}/token", registry.host);
    let challenge = format!("Bearer realm=\"{realm}\",service=\"test-service\",{more}");
    Act::Respond(401, vec![("www-authenticate", challenge)], vec![])
}

#[tokio::test]
async fn a_token_is_kept_for_all_who_share_the_network() {
    let (registry, access) = guarded(alice()).await;
    let name = format!("{}/app:1", registry.host);
    destination(&name, &access).await.current().await.unwrap();
    let head = |status: u16| format!("HEAD /v2/app/manifests/1 {status}");
    assert_eq!(registry.take_log(), [head(401), "GET /token 200".into(), head(404)]);
    destination(&name, &access).await.current().await.unwrap();
    assert_eq!(registry.take_log(), [head(404)]);
    let alone = Access { network: Network::default(), ..access };
    destination(&name, &alone).await.current().await.unwrap();
    assert_eq!(registry.take_log(), [head(401), "GET /token 200".into(), head(404)]);
}

#[tokio::test]
async fn a_token_is_never_somebody_elses() {
    let (registry, alice) = guarded(alice().and("bob", secret("docker::tokens bob"))).await;
    let with = |credentials| Access { credentials, network: alice.network.clone(), ..plain() };
    let bob = with(plain_as("bob", secret("docker::tokens bob")).credentials);
    // The same user by another way, and nobody.
    let identity = Credential::IdentityToken(Secret::new(secret("docker::tokens")));
    let identity = with(Credentials::Explicit(identity));
    let nobody = with(Credentials::Anonymous);
    let name = format!("{}/app:1", registry.host);
    for _ in 0..2 {
        for (access, token) in [
            (&alice, "Bearer token-alice-1"),
            (&bob, "Bearer token-bob-2"),
            (&identity, "Bearer token-alice-3"),
        ] {
            let to = destination(&name, access).await;
            to.current().await.unwrap();
            let last = registry.seen().pop().unwrap();
            assert_eq!(last.authorization(), Some(token), "{:?}", access.credentials);
        }
        let error = destination(&name, &nobody).await.current().await.unwrap_err();
        assert_eq!(error.kind(), Kind::AuthenticationFailed);
    }
}

#[tokio::test]
async fn a_token_is_only_for_those_who_believe_the_same() {
    let (registry, plain) = guarded(alice()).await;
    let made = rcgen::generate_simple_self_signed(["r.example".to_owned()]).unwrap();
    let authorities = vec![made.cert.pem()];
    let certificates = Certificates::Pem(TrustedCertificates { authorities, identity: None });
    let trusting = Access { certificates, ..plain.clone() };
    let unverified = Access { tls: TlsPolicy::SkipVerifyOrPlainHttp, ..plain.clone() };
    let name = format!("{}/app:1", registry.host);
    let asked = ["HEAD /v2/app/manifests/1 401", "GET /token 200", "HEAD /v2/app/manifests/1 404"];
    for access in [plain, trusting, unverified] {
        destination(&name, &access).await.current().await.unwrap();
        assert_eq!(registry.take_log(), asked, "{access:?}");
    }
}

#[tokio::test]
async fn a_small_blob_survives_an_expired_token_at_no_cost() {
    let (registry, access) = guarded(alice()).await;
    let to = destination(&format!("{}/app:1", registry.host), &access).await;
    to.current().await.unwrap();
    registry.add_rule(Rule::each("PUT", "/uploads/", expired(&registry)).nth(1));
    registry.take_log();
    to.put_blob(blob(&Image::new("x").layer), BlobKind::Layer).await.unwrap();
    assert_eq!(
        registry.take_log(),
        [
            "POST /v2/app/blobs/uploads/ 202",
            "PUT /v2/app/blobs/uploads/session-1 401",
            "GET /token 200",
            "PUT /v2/app/blobs/uploads/session-1 201",
        ]
    );
}

#[tokio::test]
async fn a_large_blob_is_worth_another_attempt_after_an_expired_token() {
    let (registry, access) = guarded(alice()).await;
    let to = destination(&format!("{}/app:1", registry.host), &access).await;
    to.current().await.unwrap();
    registry.add_rule(Rule::each("PUT", "/uploads/", expired(&registry)).nth(1));
    let bytes = Bytes::from(vec![7; 1 << 20]);
    let error = to.put_blob(blob(&bytes), BlobKind::Layer).await.unwrap_err();
    assert_eq!((error.kind(), error.class()), (Kind::AuthenticationFailed, Class::Transient));
    to.put_blob(blob(&bytes), BlobKind::Layer).await.unwrap();
    let tokens = registry.seen().iter().filter(|seen| seen.path == "/token").count();
    assert_eq!(tokens, 2);
}

#[tokio::test]
async fn no_blob_is_sent_under_a_token_that_is_about_to_expire() {
    let (registry, access) = guarded(alice().expires_in(2)).await;
    let to = destination(&format!("{}/app:1", registry.host), &access).await;
    to.current().await.unwrap();
    registry.take_log();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    to.put_blob(blob(&Image::new("x").layer), BlobKind::Layer).await.unwrap();
    assert_eq!(
        registry.take_log(),
        [
            "POST /v2/app/blobs/uploads/ 202",
            "GET /token 200",
            "PUT /v2/app/blobs/uploads/session-1 201",
        ]
    );
}

#[tokio::test]
async fn a_token_that_expires_during_a_stream_is_renewed_for_the_request_that_ends_it() {
    let (registry, access) = guarded(alice()).await;
    let to = destination(&format!("{}/app:1", registry.host), &access).await;
    to.current().await.unwrap();
    registry.add_rule(Rule::each("PUT", "/uploads/", expired(&registry)).nth(1));
    registry.take_log();
    let bytes = Bytes::from(vec![7; 1 << 20]);
    to.put_blob(Blob::measured(chunks(&bytes)), BlobKind::Layer).await.unwrap();
    assert_eq!(
        registry.take_log(),
        [
            "POST /v2/app/blobs/uploads/ 202",
            "PATCH /v2/app/blobs/uploads/session-1 202",
            "PUT /v2/app/blobs/uploads/session-1 401",
            "GET /token 200",
            "PUT /v2/app/blobs/uploads/session-1 201",
        ]
    );
}

#[tokio::test]
async fn a_registry_that_is_never_content_is_given_up_after_one_token() {
    let (registry, access) = guarded(alice()).await;
    let name = format!("{}/app:1", registry.host);
    let wants = "error=\"insufficient_scope\",scope=\"repository:other:*\"";
    for (more, words) in
        [("error=\"invalid_token\"", ""), (wants, ", and wants one for `repository:other:*`")]
    {
        registry.add_rule(Rule::each("HEAD", "/manifests/", challenged(&registry, more)).nth(1));
        registry.add_rule(Rule::each("HEAD", "/manifests/", challenged(&registry, more)).nth(1));
        let alone = Access { network: Network::default(), ..access.clone() };
        let error = destination(&name, &alone).await.current().await.unwrap_err();
        let expected = format!(
            "AuthenticationFailed Permanent: reading manifest `1` of `docker://HOST/app`: `HOST` does not \
             accept the credentials of `alice` (the credentials given): the registry answered 401 \
             Unauthorized to a token for `repository:app:pull,push`{words} \
             // check user and password, and what the user may do"
        );
        assert_eq!(told(&error).replace(&registry.host, "HOST"), expected);
        let head = "HEAD /v2/app/manifests/1 401";
        assert_eq!(registry.take_log(), [head, "GET /token 200", head]);
    }
}

#[tokio::test]
async fn a_right_to_delete_is_asked_for_when_something_is_deleted() {
    let (registry, access) = guarded(alice().guarding_deletion()).await;
    let to = destination(&format!("{}/app:1", registry.host), &access).await;
    to.current().await.unwrap();
    registry.take_log();
    let bytes = Bytes::from(vec![1; 1 << 20]);
    let descriptor =
        imagepush::image::Descriptor::of(imagepush::image::MediaType::OCTET_STREAM, &bytes);
    let failure = Error::new(Kind::StorageFailed, "scripted");
    let failing = stream::iter([Ok(bytes.slice(..9)), Err(failure)]).boxed();
    to.put_blob(Blob::verified(failing, &descriptor), BlobKind::Layer).await.unwrap_err();
    registry.received("DELETE /v2/app/blobs/uploads/session-1 204").await;
    let wide = "account=alice&service=test-service&scope=repository%3Aapp%3Apull%2Cpush%2Cdelete";
    let asked: Vec<String> = registry
        .seen()
        .into_iter()
        .filter(|seen| seen.path == "/token")
        .map(|seen| seen.query)
        .collect();
    assert_eq!(asked, [wide]);
}

#[tokio::test]
async fn a_registry_that_has_moved_its_token_server_is_asked_again() {
    let (registry, access) =
        guarded(Login::bearer_at("http://127.0.0.1:1/token", "alice", secret("docker::tokens")))
            .await;
    let name = format!("{}/app:1", registry.host);
    let error = destination(&name, &access).await.current().await.unwrap_err();
    assert_eq!(error.kind(), Kind::NetworkError);
    registry.set_login(alice());
    registry.take_log();
    destination(&name, &access).await.current().await.unwrap();
    let head = |status: u16| format!("HEAD /v2/app/manifests/1 {status}");
    assert_eq!(registry.take_log(), [head(401), "GET /token 200".into(), head(404)]);
}

#[tokio::test]
async fn a_password_is_sent_at_once_where_it_was_asked_for() {
    let (registry, access) = guarded(Login::basic("alice", secret("docker::tokens"))).await;
    let name = format!("{}/app:1", registry.host);
    destination(&name, &access).await.current().await.unwrap();
    destination(&name, &access).await.current().await.unwrap();
    let head = |status: u16| format!("HEAD /v2/app/manifests/1 {status}");
    assert_eq!(registry.take_log(), [head(401), head(404), head(404)]);
    registry.set_login(alice());
    destination(&name, &access).await.current().await.unwrap();
    assert_eq!(registry.take_log(), [head(401), "GET /token 200".into(), head(404)]);
}

#[tokio::test]
async fn a_token_for_the_registry_itself_is_shown_as_it_is() {
    let registry = Registry::start().await;
    registry.may_see(secret("docker::tokens own"));
    let token = |text: &str| {
        let credential = Credential::RegistryToken(Secret::new(text));
        Access { credentials: Credentials::Explicit(credential), ..plain() }
    };
    registry.add_rule(Rule::each("HEAD", "", expired(&registry)).nth(1));
    let name = format!("{}/app:1", registry.host);
    destination(&name, &token(secret("docker::tokens own"))).await.current().await.unwrap();
    let sent: Vec<_> =
        registry.seen().iter().map(|seen| seen.authorization().map(str::to_owned)).collect();
    assert_eq!(sent, [None, Some(format!("Bearer {}", secret("docker::tokens own")))]);
    let error = destination(&name, &token("a\nb")).await;
    registry.add_rule(Rule::each("HEAD", "", expired(&registry)));
    let error = error.current().await.unwrap_err();
    assert!(
        error.to_string().ends_with("the registry token has characters that no header may have")
    );
}

#[tokio::test]
async fn an_answer_that_asks_for_nothing_is_no_registrys() {
    let (registry, access) = guarded(Login::default()).await;
    for headers in [vec![], vec![("www-authenticate", "Negotiate".to_owned())]] {
        registry.add_rule(Rule::each("HEAD", "", Act::Respond(401, headers, vec![])).nth(1));
        let to = destination(&format!("{}/app:1", registry.host), &access).await;
        let error = to.current().await.unwrap_err();
        assert_eq!(
            told(&error).replace(&registry.host, "HOST"),
            "AuthenticationFailed Permanent: reading manifest `1` of `docker://HOST/app`: the registry answered \
             401 Unauthorized without a way to log in that is known here // check that the host is a registry"
        );
    }
}
