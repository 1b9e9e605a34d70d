//! Which credentials are sent, and what is said when they are refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imagepush::access::{Access, AuthFile, Credential, Credentials, Secret};
use imagepush::engine;
use imagepush::error::Kind;
use imagepush::options::{Endpoint, Retry};
use imagepush::transport::{self, BlobKind};
use tokio_util::sync::CancellationToken;

use super::harness::*;
use crate::support::canary::secret;
use crate::support::docker_registry::{DockerRegistry, Setup};
use crate::support::registry::{Act, Login, Registry, Rule};

/// The error of a push to `host/app:1`, with the host written as `HOST`.
async fn refused(host: &str, access: &Access) -> String {
    let to = destination(&format!("{host}/app:1"), access).await;
    told(&to.current().await.unwrap_err()).replace(host, "HOST")
}

fn file(text: &str, name: &str) -> Access {
    let file = AuthFile::parse(text.as_bytes(), name).unwrap();
    Access { credentials: Credentials::Text(file), ..plain() }
}

/// A password that isn't Alice's.
fn wrong() -> &'static str {
    secret("docker::credentials wrong")
}

/// The same, for this key.
fn wrong_for(key: &str) -> String {
    let auth = STANDARD.encode(format!("alice:{}", wrong()));
    format!(r#"{{"auths":{{"{key}":{{"auth":"{auth}"}}}}}}"#)
}

const DOING: &str = "AuthenticationFailed Permanent: reading manifest `1` of `docker://HOST/app`: ";
const CHECK: &str = " // check user and password, and what the user may do";
const LOG_IN: &str = " // log in with `podman login HOST`, or pass `--creds`";

#[tokio::test]
async fn a_refusal_names_the_user_and_where_the_credential_stood() {
    let login = Some(("alice", secret("docker::credentials")));
    let real = DockerRegistry::start(&Setup { login, ..Setup::default() });
    let basic = Registry::start().await;
    basic.set_login(Login::basic("alice", secret("docker::credentials")));
    let bearer = Registry::start().await;
    bearer.set_login(Login::bearer("alice", secret("docker::credentials")));
    basic.may_see(wrong());
    bearer.may_see(wrong());
    let unauthorized = "the registry answered 401 Unauthorized";
    let who_is_it = "its token server answered 401 Unauthorized (UNAUTHORIZED: who is it)";
    // Whoever has no credentials asks by GET, too, and hears more.
    let required = format!("{unauthorized} (UNAUTHORIZED: authentication required)");
    for (host, answer, to_nobody) in [
        (&real.host, unauthorized, required.as_str()),
        (&basic.host, unauthorized, &required),
        (&bearer.host, who_is_it, who_is_it),
    ] {
        let expected = |said: &str, hint: &str| {
            let answer = if hint == LOG_IN { to_nobody } else { answer };
            format!("{DOING}`HOST` {said}: {answer}{hint}")
        };
        assert_eq!(
            refused(host, &plain_as("alice", wrong())).await,
            expected("does not accept the credentials of `alice` (the credentials given)", CHECK)
        );
        assert_eq!(
            refused(host, &file(&wrong_for(host), "auth.json")).await,
            expected("does not accept the credentials of `alice` (`auth.json`, key `HOST`)", CHECK)
        );
        assert_eq!(
            refused(host, &plain()).await,
            expected("wants credentials, and none were given", LOG_IN)
        );
        assert_eq!(
            refused(host, &file(&wrong_for("other.io"), "auth.json")).await,
            expected(
                "wants credentials, and none were found in \
                 `auth.json`, which has no entry for `HOST/app`, `HOST`",
                LOG_IN
            )
        );
    }
}

#[tokio::test]
async fn what_a_user_may_not_do_is_told_with_the_user() {
    let registry = Registry::start().await;
    let said = r#"{"errors":[{"code":"DENIED","message":"no right"}]}"#;
    let refused = Act::Respond(403, vec![], said.into());
    registry.add_rule(Rule::each("POST", "/uploads/", refused));
    registry.may_see(secret("docker::credentials"));
    registry.set_login(Login::basic("alice", secret("docker::credentials")));
    let image = Image::new("x");
    let digest = image.layer_descriptor().digest;
    let put = async |access: &Access, logs_in: bool| {
        let to = destination(&format!("{}/app:1", registry.host), access).await;
        if logs_in {
            // Whoever has no credentials is refused here, too.
            let _ = to.current().await;
        }
        let error = to.put_blob(blob(&image.layer), BlobKind::Layer).await.unwrap_err();
        told(&error).replace(&registry.host, "HOST")
    };
    let expected = |rest: &str| {
        format!(
            "AccessDenied Permanent: writing blob `{digest}` to `docker://HOST/app`: the registry \
             answered 403 Forbidden (DENIED: no right){rest}"
        )
    };
    let of_alice = " // check what `alice` may do there, and the repository's name";
    let auth = STANDARD.encode(format!("alice:{}", secret("docker::credentials")));
    let right = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.host);
    for (access, rest) in [
        (
            plain_as("alice", secret("docker::credentials")),
            format!(" to `alice` (the credentials given){of_alice}"),
        ),
        (file(&right, "auth.json"), format!(" to `alice` (`auth.json`, key `HOST`){of_alice}")),
        (
            plain(),
            " // no credentials were given: log in with `podman login HOST`, or pass `--creds`"
                .into(),
        ),
    ] {
        assert_eq!(put(&access, true).await, expected(&rest));
    }
    // Who has not been asked for has not been shown, and is not to blame.
    let alice = plain_as("alice", secret("docker::credentials"));
    assert_eq!(put(&alice, false).await, expected(""));
    registry.clear_rules();
    registry.set_login(Login::default());
    let said = r#"{"errors":[{"code":"NAME_UNKNOWN","message":"make it"}]}"#;
    registry.add_rule(Rule::each("POST", "/uploads/", Act::Respond(404, vec![], said.into())));
    assert_eq!(
        put(&plain(), false).await,
        format!(
            "NotFound Permanent: writing blob `{digest}` to `docker://HOST/app`: the registry answered \
             404 Not Found (NAME_UNKNOWN: make it) // check the repository's name, and make the \
             repository first where the registry wants that"
        )
    );
}

#[tokio::test]
async fn an_identity_token_is_exchanged_at_the_token_server() {
    let registry = Registry::start().await;
    registry.set_login(Login::bearer("alice", secret("docker::credentials")));
    let credential = Credential::IdentityToken(Secret::new(secret("docker::credentials")));
    let access = Access { credentials: Credentials::Explicit(credential), ..plain() };
    let to = destination(&format!("{}/app:1", registry.host), &access).await;
    assert_eq!(to.current().await.unwrap(), None);
    assert_eq!(
        registry.take_log(),
        ["HEAD /v2/app/manifests/1 401", "POST /token 200", "HEAD /v2/app/manifests/1 404"]
    );
}

#[tokio::test]
async fn what_was_sent_is_not_quoted_to_readers_of_logs() {
    let refresh = secret("docker::credentials long").repeat(30);
    let says = |words: &str| {
        let error = serde_json::json!({"code": "DENIED", "message": words});
        serde_json::json!({"errors": [error]}).to_string().into_bytes()
    };
    let identity = Credential::IdentityToken(Secret::new(refresh.as_str()));
    let identity = Access { credentials: Credentials::Explicit(identity), ..plain() };
    let alice = plain_as("alice", &refresh);
    let respond = |status: u16, words: &str| Act::Respond(status, vec![], says(words));
    let missing = "Bearer realm=\"http://HOST/token\",service=\"x\",error=\"insufficient_scope\",scope=\"token-alice-1\"";
    for (access, method, path, status, words) in [
        (&alice, "GET", "/token", 429, refresh.as_str()),
        (&alice, "GET", "/token", 500, &refresh),
        (&alice, "GET", "/token", 401, &refresh),
        (&identity, "POST", "/token", 400, &refresh),
        (&identity, "POST", "/token", 500, &refresh),
        (&alice, "GET", "/v2/", 403, "token-alice-1"),
    ] {
        let registry = Registry::start().await;
        registry.set_login(Login::bearer("alice", &refresh));
        registry.may_see(secret("docker::credentials long"));
        let answer = Rule::each(method, path, respond(status, &format!("bad {words}")));
        registry.add_rule(if path == "/v2/" { answer.nth(2) } else { answer });
        let from = source(&format!("{}/app:1", registry.host), access).await;
        let told = told(&from.manifest(None).await.unwrap_err());
        assert!(told.contains("(DENIED: bad [hidden])"), "{method} {path} {status}: {told}");
    }
    let registry = Registry::start().await;
    registry.set_login(Login::bearer("alice", &refresh));
    registry.may_see(secret("docker::credentials long"));
    let challenge = vec![("www-authenticate", missing.replace("HOST", &registry.host))];
    let refusal = Act::Respond(401, challenge, vec![]);
    registry.add_rule(Rule::each("GET", "/v2/", refusal).nth(2));
    let from = source(&format!("{}/app:1", registry.host), &alice).await;
    let told = told(&from.manifest(None).await.unwrap_err());
    assert!(told.contains("and wants one for `[hidden]`"), "{told}");
}

#[tokio::test]
async fn a_token_server_that_fails_is_not_taken_for_a_refusal() {
    let cases = [
        (
            Act::Respond(503, vec![("retry-after", "7".into())], vec![]),
            "RegistryUnavailable Transient: {}the registry answered 503 Service Unavailable",
        ),
        (
            Act::Respond(429, vec![], vec![]),
            "RateLimited Transient: {}the registry answered 429 Too Many Requests",
        ),
        (
            Act::Respond(200, vec![], b"<html>canary</html>".to_vec()),
            "AuthenticationFailed Permanent: {}the token server answered no token",
        ),
        (
            Act::Endless,
            "LimitExceeded Permanent: {}the token has more than the limit of 65536 bytes",
        ),
        (
            Act::Respond(307, vec![("location", "http://localhost:1/".into())], vec![]),
            "RegistryUnavailable Permanent: {}the registry answered 307 Temporary Redirect",
        ),
    ];
    for (act, message) in cases {
        let registry = Registry::start().await;
        registry.set_login(Login::bearer("alice", secret("docker::credentials")));
        registry.add_rule(Rule::each("GET", "/token", act));
        let doing = "reading manifest `1` of `docker://HOST/app`: asking `HOST` for a token: ";
        let found =
            refused(&registry.host, &plain_as("alice", secret("docker::credentials"))).await;
        assert_eq!(found, message.replace("{}", doing));
    }
}

/// What the first registry asks for, what it answers, who asks, and whether he is sent on to the second.
type Search = (Option<Login>, Option<Rule>, Access, Result<(), Kind>);

#[tokio::test]
async fn a_name_is_not_looked_for_elsewhere_where_we_are_known_and_refused() {
    let bearer = || Login::bearer("alice", secret("docker::credentials new"));
    let expired = || plain_as("alice", secret("docker::credentials old"));
    let forbidden = || Rule::each("GET", "/manifests/", Act::Respond(403, vec![], vec![]));
    let denied = || {
        let registry_says = Act::Respond(401, vec![("www-authenticate", "Basic".into())], vec![]);
        Rule::each("GET", "/manifests/", registry_says)
    };
    let cases: [Search; 6] = [
        (None, None, plain(), Ok(())),
        (Some(bearer()), None, plain(), Ok(())),
        (None, Some(forbidden()), plain(), Ok(())),
        (Some(bearer()), None, expired(), Err(Kind::AuthenticationFailed)),
        (None, Some(denied()), expired(), Err(Kind::AuthenticationFailed)),
        (None, Some(forbidden()), expired(), Err(Kind::AccessDenied)),
    ];
    for (n, (login, rule, access, expected)) in cases.into_iter().enumerate() {
        let (first, second) = (Registry::start().await, Registry::start().await);
        let image = Image::new("somebody else's");
        let to = destination(&format!("{}/app:1", second.host), &plain()).await;
        put(&*to, &image).await.unwrap();
        second.take_log();
        first.may_see(secret("docker::credentials old"));
        if let Some(login) = login {
            first.set_login(login);
        }
        if let Some(rule) = rule {
            first.add_rule(rule);
        }
        let candidate = |host: &str, access: Access| Endpoint {
            reference: transport::parse(&format!("docker://{host}/app:1")).unwrap(),
            access,
        };
        let candidates = vec![candidate(&first.host, access), candidate(&second.host, plain())];
        let retry = Retry::new(0, None).unwrap();
        let chosen = engine::choose(candidates, retry, &CancellationToken::new()).await;
        let asked = !second.take_log().is_empty();
        match expected {
            Ok(()) => assert!(chosen.unwrap().reference.to_string().contains(&second.host), "{n}"),
            Err(kind) => assert_eq!((chosen.unwrap_err().kind(), asked), (kind, false), "{n}"),
        }
    }
}
