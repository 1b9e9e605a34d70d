use std::task::{Context, Poll};

use axum::http::{Request, Response};
use k8s_openapi::ByteString;
use kube::client::Body;
use serde_json::json;

use super::*;
use crate::api::v1alpha1::SecretReference;
use crate::error::Class;

fn refusal(found: Unresolved) -> Failure {
    let Unresolved::Failure(failure) = found else { panic!("{found:?}") };
    failure
}

/// A server that must not be asked.
#[derive(Clone)]
struct Nobody;

impl tower_service::Service<Request<Body>> for Nobody {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        panic!("{} was asked for", request.uri());
    }
}

/// Each would make another request of the one that is meant.
#[tokio::test]
async fn a_name_that_no_object_has_is_not_asked_for() {
    let client = Client::new(Nobody, "n");
    for name in ["?limit=500", "../../kube-system/secrets/x", "x/y", "a b", "A", "-", ""] {
        let side = |secret: Option<&str>| {
            json!({
                "reference": "docker://r.example/a:1", "secretRef": secret.map(|name| json!({"name": name})),
            })
        };
        let spec = json!({"source": side(Some(name)), "destination": side(None)});
        let mut spec: ImagePushSpec = serde_json::from_value(spec).unwrap();
        let failure = refusal(super::secrets(&client, "n", &spec).await.err().unwrap());
        assert_eq!(failure.reason, "SecretInvalid", "{name}");
        assert_eq!(
            failure.message,
            format!("secret `{name}` cannot be used: no object has such a name")
        );
        spec.source.secret_ref = None;
        spec.source.service_account_name = Some(name.to_owned());
        let failure = refusal(super::secrets(&client, "n", &spec).await.err().unwrap());
        assert_eq!(failure.reason, "SecretNotFound", "{name}");
    }
}

fn location(secret: Option<&str>, certificates: Option<&str>) -> ImageLocation {
    let reference = |name: &str| SecretReference { name: name.into() };
    ImageLocation {
        reference: "docker://r.example/a:1".into(),
        secret_ref: secret.map(reference),
        service_account_name: None,
        cert_secret_ref: certificates.map(reference),
        tls_policy: None,
        volume: None,
    }
}

fn secrets(entries: &[(&str, &str)]) -> Secrets {
    let data = entries.iter().map(|(key, value)| ((*key).into(), ByteString((*value).into())));
    let mut secret = SecretObject { data: Some(data.collect()), ..SecretObject::default() };
    secret.type_ = Some(DOCKER_CONFIG_TYPE.into());
    Secrets { named: [("s".to_owned(), secret)].into(), ..Secrets::default() }
}

#[tokio::test]
async fn an_entry_is_used_for_its_own_host_only() {
    let config = r#"{"auths": {"r.example": {"username": "u", "password": "canary"}}}"#;
    let access = access(
        &location(Some("s"), None),
        &secrets(&[(DOCKER_CONFIG, config)]),
        &Network::default(),
    )
    .unwrap();
    let found = async |host: &str| access.credentials.lookup(host, "a").await.unwrap().credential;
    assert_eq!(found("r.example").await.unwrap().user(), "u");
    assert_eq!(found("other.example").await, None);
    assert_eq!(found("r.example.evil.example").await, None);
    assert!(!format!("{access:?}").contains("canary"));
}

#[tokio::test]
async fn a_login_goes_to_the_registry_that_it_names_only() {
    let mut secrets = secrets(&[("username", "u"), ("password", "canary")]);
    let login = secrets.named.get_mut("s").unwrap();
    login.type_ = Some(BASIC_AUTH.into());
    let side = location(Some("s"), None);
    let message =
        |secrets: &Secrets| access(&side, secrets, &Network::default()).unwrap_err().message;
    assert_eq!(
        message(&secrets),
        "secret `s` cannot be used: it has no annotation `imagepush.dev/registry`, which names \
         the registry it is for; have it annotated by who may change it"
    );
    let bind = |secrets: &mut Secrets, registry: &str| {
        let annotations = [(REGISTRY.to_owned(), registry.to_owned())].into();
        secrets.named.get_mut("s").unwrap().metadata.annotations = Some(annotations);
    };
    bind(&mut secrets, "other.example");
    assert_eq!(
        message(&secrets),
        "secret `s` cannot be used: it is for the registry `other.example`, and not for `r.example`; name another one, \
         or have its annotation `imagepush.dev/registry` changed"
    );
    bind(&mut secrets, "r.example");
    let found = access(&side, &secrets, &Network::default()).unwrap();
    let found = found.credentials.lookup("r.example", "a").await.unwrap();
    assert_eq!(found.credential.unwrap().user(), "u");
    secrets.named.get_mut("s").unwrap().data.as_mut().unwrap().remove("password");
    assert_eq!(
        message(&secrets),
        "secret `s` cannot be used: it has no key `password` with a text"
    );
}

/// What somebody keeps under the key of a login, in a Secret for something else, is no login; nor is it looked at.
#[test]
fn what_is_not_of_a_logins_type_is_not_looked_at() {
    for config in ["canary", r#"{"auths": {"r.example": {"auth": "dTpjYW5hcnk="}}}"#] {
        let mut secrets =
            secrets(&[(DOCKER_CONFIG, config), ("username", "u"), ("password", "canary")]);
        for kind in [
            None,
            Some(""),
            Some(OPAQUE),
            Some("kubernetes.io/tls"),
            Some("kubernetes.io/dockercfg"),
        ] {
            secrets.named.get_mut("s").unwrap().type_ = kind.map(str::to_owned);
            let shown = kind.filter(|kind| !kind.is_empty()).unwrap_or(OPAQUE);
            let failure =
                access(&location(Some("s"), None), &secrets, &Network::default()).unwrap_err();
            let expected = format!(
                "secret `s` cannot be used: its type is `{shown}`, and that of a login has to be \
                 `kubernetes.io/dockerconfigjson` or `kubernetes.io/basic-auth`; name another one, or make it anew \
                 with that type"
            );
            assert_eq!((failure.reason, failure.message), ("SecretInvalid", expected));
        }
    }
}

#[test]
fn a_service_account_that_is_not_there_is_told() {
    let mut side = location(None, None);
    side.service_account_name = Some("robot".into());
    let failure = access(&side, &Secrets::default(), &Network::default()).unwrap_err();
    assert_eq!(failure.reason, "SecretNotFound");
    assert!(failure.message.starts_with("service account `robot` is not"), "{}", failure.message);
}

#[test]
fn a_permission_that_is_missing_is_named() {
    let answer = |code, message: &str| {
        let message = message.to_owned();
        let status = kube::core::Status { code, message, ..kube::core::Status::default() };
        kube::Error::Api(status.boxed())
    };
    let forbidden = answer(403, "secrets \"login\" is forbidden: User \"u\" cannot get it");
    let failure = refusal(unreadable(&Named::secret("login"), forbidden));
    assert_eq!((failure.reason, failure.class), ("AccessDenied", Class::Permanent));
    assert_eq!(
        failure.message,
        "the operator may not read the secret `login`: secrets \"login\" is forbidden: User \"u\" \
         cannot get it; let its service account `get` `secrets` in this namespace"
    );
    let found = unreadable(&Named::account("robot"), answer(500, "etcd is slow"));
    assert!(matches!(found, Unresolved::Api(_)), "{found:?}");
}

#[test]
fn a_secret_that_cannot_be_used_says_why() {
    let credentials = location(Some("s"), None);
    let cases = [
        (secrets(&[]), "secret `s` cannot be used: it has no key `.dockerconfigjson`"),
        (
            secrets(&[(DOCKER_CONFIG, "{\"auths\": \"canary\"}")]),
            "secret `s` cannot be used: \
         `secret s` is not a credential file: malformed at line 1, column 18",
        ),
    ];
    for (secrets, message) in cases {
        let failure = access(&credentials, &secrets, &Network::default()).unwrap_err();
        assert_eq!((failure.reason, failure.message.as_str()), ("SecretInvalid", message));
    }
    let failure = access(&credentials, &Secrets::default(), &Network::default()).unwrap_err();
    assert_eq!(failure.reason, "SecretNotFound");
    assert_eq!(
        failure.message,
        "secret `s` is not in this namespace; create it, or correct the name"
    );
}

/// What is in a Secret is told by its key and its place, never by its content, however it is broken.
#[tokio::test]
async fn however_a_secret_is_broken_it_is_not_quoted() {
    let entry = |auth: &str| format!(r#"{{"auths": {{"r.example": {{"auth": "{auth}"}}}}}}"#);
    let [no_colon, whole] = ["Y2FuYXJ5", "dTpjYW5hcnk="].map(entry);
    let good = whole.replace("r.example", "other.example");
    let cases = [
        ("config.json", whole.clone(), "it has no key `.dockerconfigjson`"),
        (DOCKER_CONFIG, "{canary".into(), "malformed at line 1, column 2"),
        (DOCKER_CONFIG, "\"canary\"".into(), "malformed at line 1, column 8"),
        (DOCKER_CONFIG, format!("{{\0{}", &whole[1..]), "malformed at line 1, column 2"),
        (DOCKER_CONFIG, format!("\u{feff}{whole}"), "malformed at line 1, column 1"),
        (DOCKER_CONFIG, "canary".repeat(1 << 17), "malformed at line 1, column 1"),
        (DOCKER_CONFIG, String::new(), "malformed at line 1, column 0"),
        (DOCKER_CONFIG, entry("!canary"), "for key `r.example`"),
        (DOCKER_CONFIG, no_colon, "for key `r.example`"),
        (DOCKER_CONFIG, good, "none"),
        (DOCKER_CONFIG, r#"{"auths": {}}"#.into(), "none"),
        (DOCKER_CONFIG, whole, "u"),
    ];
    for (number, (key, text, expected)) in cases.into_iter().enumerate() {
        let secrets = secrets(&[(key, &text)]);
        let said = match access(&location(Some("s"), None), &secrets, &Network::default()) {
            Err(failure) => {
                assert_eq!(failure.reason, "SecretInvalid", "{number}");
                failure.message
            }
            Ok(access) => match access.credentials.lookup("r.example", "a").await {
                Err(error) => error.to_string(),
                Ok(found) => found.credential.map_or("none".to_owned(), |it| it.user().to_owned()),
            },
        };
        assert!(said.contains(expected), "{number}: {said}");
        assert!(!said.contains("canary") && !said.contains("Y2FuYXJ5"), "{number}: {said}");
    }
}
