//! A credential never reaches another origin, and TLS is given up for no host but the one named.

use imagepush::access::{Access, Certificates, Elsewhere, Network, NetworkSettings, TlsPolicy};
use imagepush::error::Kind;
use imagepush::transport::BlobKind;

use super::harness::*;
use crate::support::canary::secret;
use crate::support::certificates::{Authority, Life};
use crate::support::docker_registry::{DockerRegistry, Setup};
use crate::support::registry::{Act, Login, Registry, Rule};

/// A registry that asks for credentials, and another origin under a name that is not the registry's.
async fn with_stranger(login: Login) -> (Registry, Registry, String) {
    let (registry, stranger) = (Registry::start().await, Registry::start().await);
    registry.set_login(login);
    let name = stranger.host.replace("127.0.0.1", "localhost");
    (registry, stranger, name)
}

fn assert_nothing_leaked(stranger: &Registry) {
    for seen in stranger.seen() {
        assert_eq!(seen.authorization(), None, "{seen}");
        assert!(!seen.query.contains(secret("docker::security")), "{seen}");
    }
}

#[tokio::test]
async fn downloads_are_followed_without_credentials() {
    for login in [
        Login::basic("alice", secret("docker::security")),
        Login::bearer("alice", secret("docker::security")),
    ] {
        let (registry, stranger, place) = with_stranger(login).await;
        let image = Image::new("x");
        let layer = image.layer_descriptor();
        let path = format!("/v2/app/blobs/{}", layer.digest);
        let there = || vec![("location", format!("http://{place}{path}?signature=s"))];
        registry.add_rule(Rule::each("GET", "/blobs/", Act::Respond(307, there(), vec![])));
        stranger.add_rule(Rule::each(
            "GET",
            "/blobs/",
            Act::Respond(200, vec![], image.layer.to_vec()),
        ));
        let from = source(
            &format!("{}/app:1", registry.host),
            &plain_as("alice", secret("docker::security")),
        )
        .await;
        // The registry has been told who we are when it leads elsewhere.
        assert_eq!(from.manifest(None).await.unwrap_err().kind(), Kind::NotFound);
        let blob = from.blob(&layer).await.unwrap();
        assert_eq!(collect(blob).await.unwrap(), image.layer);
        assert!(registry.seen().pop().unwrap().authorization().is_some());
        assert_eq!(stranger.seen().len(), 1);
        assert_nothing_leaked(&stranger);
    }
}

#[tokio::test]
async fn a_stranger_that_wants_credentials_gets_none() {
    let (registry, stranger, place) = with_stranger(Login::default()).await;
    stranger.set_login(Login::basic("alice", secret("docker::security")));
    let there = vec![("location", format!("http://{place}/v2/app/manifests/1"))];
    registry.add_rule(Rule::each("GET", "/manifests/", Act::Respond(302, there, vec![])));
    let from =
        source(&format!("{}/app:1", registry.host), &plain_as("alice", secret("docker::security")))
            .await;
    let error = from.manifest(None).await.unwrap_err();
    assert_eq!(
        told(&error),
        format!(
            "AccessDenied Permanent: reading manifest `1` of `docker://{}/app`: the registry redirects \
             to `{place}`, which wants credentials that it is not given",
            registry.host
        )
    );
    assert_nothing_leaked(&stranger);
}

#[tokio::test]
async fn a_session_elsewhere_is_refused_with_both_origins() {
    let (registry, stranger, place) =
        with_stranger(Login::basic("alice", secret("docker::security"))).await;
    let there = Act::Header("location", format!("http://{place}/v2/app/blobs/uploads/1?s"));
    registry.add_rule(Rule::each("POST", "/uploads/", there));
    let to = destination(
        &format!("{}/app:1", registry.host),
        &plain_as("alice", secret("docker::security")),
    )
    .await;
    to.current().await.unwrap();
    let image = Image::new("x");
    let error = to.put_blob(blob(&image.layer), BlobKind::Layer).await.unwrap_err();
    assert_eq!(
        told(&error),
        format!(
            "RegistryUnavailable Permanent: writing blob `{}` to `docker://{host}/app`: the registry at \
             `http://{host}` wants the blob to be sent to `http://{place}`, which is not followed \
             // the registry, or a proxy before it, has to answer with its own address in `Location`; \
             `--upload-host {host}={place}`, of the command line or of the operator, allows another host",
            image.layer_descriptor().digest,
            host = registry.host
        )
    );
    assert_eq!(stranger.seen().len(), 0);
}

#[tokio::test]
async fn a_realm_elsewhere_gets_no_credentials() {
    let stranger = Registry::start().await;
    let place = stranger.host.replace("127.0.0.1", "localhost");
    let registry = Registry::start().await;
    let realm = format!("http://{place}/token");
    registry.set_login(Login::bearer_at(&realm, "alice", secret("docker::security")));
    let to = destination(
        &format!("{}/app:1", registry.host),
        &plain_as("alice", secret("docker::security")),
    )
    .await;
    let error = to.current().await.unwrap_err();
    assert_eq!(
        told(&error),
        format!(
            "AuthenticationFailed Permanent: reading manifest `1` of `docker://{}/app`: the registry names \
             a token server that is not followed: its host `localhost` is not the registry's \
             // credentials go to the registry's own host or domain; `--token-server`, of the command line \
             or of the operator, names another that you trust",
            registry.host
        )
    );
    assert_eq!(stranger.seen().len(), 0);

    let settings = |trusted: String| NetworkSettings {
        elsewhere: Elsewhere {
            token_servers: vec![trusted.parse().unwrap()],
            ..Elsewhere::default()
        },
        ..NetworkSettings::default()
    };
    stranger.set_login(Login::bearer("alice", secret("docker::security")));
    for (trusted, kind) in [
        (
            format!("other.example={place}"),
            "the registry names a token server that is not followed",
        ),
        // It is asked, and gives a token; that the registry doesn't know it is another matter.
        (format!("{}={place}", registry.host), "does not accept the credentials of `alice`"),
    ] {
        let network = Network::new(settings(trusted));
        let access = Access { network, ..plain_as("alice", secret("docker::security")) };
        let to = destination(&format!("{}/app:1", registry.host), &access).await;
        let error = to.current().await.unwrap_err();
        assert!(error.to_string().contains(kind), "{error}");
    }
    assert_eq!(stranger.take_log(), ["GET /token 200"]);
}

#[tokio::test]
async fn a_redirected_upload_is_not_followed() {
    let (registry, stranger, place) = with_stranger(Login::default()).await;
    let there = vec![("location", format!("http://{place}/v2/app/blobs/uploads/"))];
    registry.add_rule(Rule::each("POST", "/uploads/", Act::Respond(307, there, vec![])));
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    let error = to.put_blob(blob(&Image::new("x").layer), BlobKind::Layer).await.unwrap_err();
    let message = format!(
        "the registry at `http://{}` redirects POST to `http://{place}`, which is not followed",
        registry.host
    );
    assert!(error.to_string().ends_with(&message), "{error}");
    assert_eq!(stranger.seen().len(), 0);
}

#[tokio::test]
async fn an_upload_is_redirected_within_the_registry_and_stays_what_it_is() {
    let registry = Registry::start().await;
    registry.set_login(Login::basic("alice", secret("docker::security")));
    let moved =
        |status: u16, to: &str| Act::Respond(status, vec![("location", to.to_owned())], vec![]);
    let to = destination(
        &format!("{}/app:1", registry.host),
        &plain_as("alice", secret("docker::security")),
    )
    .await;
    to.current().await.unwrap();
    registry.take_log();
    let opened = "/v2/app/blobs/uploads/?again";
    registry.add_rule(Rule::each("POST", "/uploads/", moved(308, opened)).nth(1));
    registry.add_rule(Rule::each("PUT", "/uploads/", moved(307, "session-1?again=1")).nth(1));
    let image = Image::new("x");
    let digest = image.layer_descriptor().digest.to_string().replace(':', "%3A");
    to.put_blob(blob(&image.layer), BlobKind::Layer).await.unwrap_err();
    registry.add_rule(
        Rule::each("PUT", "/uploads/", moved(307, &format!("session-2?digest={digest}"))).nth(1),
    );
    to.put_blob(blob(&image.layer), BlobKind::Layer).await.unwrap();
    let session = |number: u8, method: &str, status: u16| {
        format!("{method} /v2/app/blobs/uploads/session-{number} {status}")
    };
    let post = |status: u16| format!("POST /v2/app/blobs/uploads/ {status}");
    let log = registry.take_log();
    assert_eq!(log[..3], [post(308), post(202), session(1, "PUT", 307)]);
    assert_eq!(log[log.len() - 3..], [post(202), session(2, "PUT", 307), session(2, "PUT", 201)]);

    let large = bytes::Bytes::from(vec![1; 1 << 20]);
    registry.add_rule(Rule::each("PUT", "/uploads/", moved(307, "session-3")).nth(1));
    let error = to.put_blob(blob(&large), BlobKind::Layer).await.unwrap_err();
    let message =
        format!("the registry redirects to `http://{}` when the blob has been sent", registry.host);
    assert!(error.to_string().ends_with(&message), "{error}");
}

#[tokio::test]
async fn nobody_else_says_what_is_at_the_destination() {
    let (registry, stranger, place) = with_stranger(Login::default()).await;
    let there = || vec![("location", format!("http://{place}/v2/app/manifests/1"))];
    registry.add_rule(Rule::each("HEAD", "/manifests/", Act::Respond(307, there(), vec![])).nth(1));
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    let error = to.current().await.unwrap_err();
    let message = format!(
        "the registry at `http://{}` redirects HEAD to `http://{place}`, which is not followed",
        registry.host
    );
    assert!(error.to_string().ends_with(&message), "{error}");
    assert_eq!(stranger.seen().len(), 0);
    let moved = Act::Respond(301, vec![("location", "/v2/app/manifests/2".into())], vec![]);
    registry.add_rule(Rule::each("HEAD", "/manifests/1", moved));
    assert_eq!(to.current().await.unwrap(), None);
}

#[tokio::test]
async fn a_redirect_to_tls_is_followed_as_it_is() {
    let registry = Registry::start().await;
    let there = vec![("location", format!("https://{}/v2/app/manifests/2", registry.host))];
    registry.add_rule(Rule::each("GET", "/manifests/", Act::Respond(307, there, vec![])));
    for access in [plain(), tls(TlsPolicy::SkipVerifyOrPlainHttp, None)] {
        let from = source(&format!("{}/app:1", registry.host), &access).await;
        let error = from.manifest(None).await.unwrap_err();
        let message = format!("`{}` does not speak TLS", registry.host);
        assert!(error.to_string().ends_with(&message), "{error}");
        assert_eq!(registry.take_log().len(), 1);
    }
}

#[tokio::test]
async fn redirects_have_an_end() {
    let registry = Registry::start().await;
    let there = vec![("location", "/v2/app/manifests/1".to_owned())];
    registry.add_rule(Rule::each("GET", "/manifests/", Act::Respond(301, there, vec![])));
    let from = source(&format!("{}/app:1", registry.host), &plain()).await;
    let error = from.manifest(None).await.unwrap_err();
    let message =
        format!("the registry redirects more than 5 times, by way of `http://{}`", registry.host);
    assert!(error.to_string().ends_with(&message), "{error}");
    assert_eq!(registry.seen().len(), 6);
}

/// Reads the head of an image that isn't there: `ok`, or what is told of the connection.
async fn connect(host: &str, access: &Access) -> String {
    let to = destination(&format!("{host}/app:1"), access).await;
    match to.current().await {
        Ok(current) => {
            assert_eq!(current, None);
            "ok".to_owned()
        }
        Err(error) => {
            let doing = "reading manifest `1` of `docker://HOST/app`: ";
            told(&error).replace(host, "HOST").replace(doing, "")
        }
    }
}

#[tokio::test]
async fn each_policy_speaks_what_it_may() {
    use TlsPolicy::{PlainHttp, SkipVerify, SkipVerifyOrPlainHttp, Verify};
    let (authority, other) = (Authority::new(), Authority::new());
    let serve = |name: &str, life| {
        let files = authority.server(name, life);
        DockerRegistry::start(&Setup { tls: Some(&files), ..Setup::default() })
    };
    let good = serve("127.0.0.1", Life::Valid);
    let expired = serve("127.0.0.1", Life::Expired);
    let misnamed = serve("registry.example", Life::Valid);
    let plain_registry = DockerRegistry::plain();
    let known = authority.directory();
    let unknown = other.directory();

    let tls_failed =
        |what: &str, hint: &str| format!("TLSVerificationFailed Permanent: {what} // {hint}");
    let skip =
        "pass the authority with `--cert-dir`, or trust any certificate with `--tls-verify=false`";
    let unknown_authority =
        tls_failed("the certificate of `HOST` is signed by an unknown authority", skip);
    let no_tls = tls_failed(
        "`HOST` does not speak TLS",
        "allow plain HTTP to this registry with `--tls-verify=false`",
    );
    let expired_told = tls_failed(
        "the certificate of `HOST` has expired",
        "renew the certificate, and check this machine's clock",
    );
    let misnamed_told = tls_failed(
        "the certificate of `HOST` is for another name",
        "use a name that the certificate lists",
    );
    let cases: [(&DockerRegistry, Access, &str); 13] = [
        (&good, tls(Verify, Some(&known)), "ok"),
        (&good, tls(Verify, Some(&unknown)), &unknown_authority),
        (&good, tls(Verify, None), &unknown_authority),
        (&expired, tls(Verify, Some(&known)), &expired_told),
        (&misnamed, tls(Verify, Some(&known)), &misnamed_told),
        (&plain_registry, tls(Verify, Some(&known)), &no_tls),
        (&expired, tls(SkipVerify, None), "ok"),
        (&misnamed, tls(SkipVerify, None), "ok"),
        (&plain_registry, tls(SkipVerify, None), &no_tls),
        (&good, tls(SkipVerifyOrPlainHttp, None), "ok"),
        (&plain_registry, tls(SkipVerifyOrPlainHttp, None), "ok"),
        (&plain_registry, tls(PlainHttp, None), "ok"),
        (
            &good,
            tls(PlainHttp, None),
            "RegistryUnavailable Permanent: the registry answered 400 Bad Request",
        ),
    ];
    for (registry, access, expected) in cases {
        assert_eq!(connect(&registry.host, &access).await, expected, "{:?}", access.tls);
    }
}

#[tokio::test]
async fn skipping_verification_holds_for_the_named_registry_only() {
    let authority = Authority::new();
    let files = authority.server("127.0.0.1", Life::Valid);
    let other = DockerRegistry::start(&Setup { tls: Some(&files), ..Setup::default() });
    let registry = Registry::start().await;
    let there = vec![("location", format!("https://{}/v2/app/manifests/1", other.host))];
    registry.add_rule(Rule::each("GET", "/manifests/", Act::Respond(307, there, vec![])));
    let name = format!("{}/app:1", registry.host);
    let skipping = tls(TlsPolicy::SkipVerifyOrPlainHttp, None);
    let error = source(&name, &skipping).await.manifest(None).await.unwrap_err();
    let message = format!("the certificate of `{}` is signed by an unknown authority", other.host);
    assert!(error.to_string().ends_with(&message), "{error}");
    let certificates = Certificates::Directory(authority.directory());
    let trusting = Access { certificates, ..skipping };
    let error = source(&name, &trusting).await.manifest(None).await.unwrap_err();
    assert_eq!(error.kind(), imagepush::error::Kind::NotFound, "{error}");
}
