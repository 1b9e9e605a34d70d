//! What is renewed while the operator runs: a login in the middle of a push, an authority, and the operator's own token.

use std::fs;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::*;
use crate::support::certificates::{Authority, Life};
use crate::support::docker_registry::Setup;

const UPLOADS: &str = "/v2/app/blobs/uploads/";

/// kube reads a token's file once a minute, and a look that was refused comes back within a minute, too.
const RENEWED_WITHIN: Duration = Duration::from_mins(3);

async fn put_login(operator: &Operator, host: &str, password: &str) {
    let auths = json!({"auths": {host: {"username": "user", "password": password}}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": "login", "namespace": operator.namespace},
        "stringData": {".dockerconfigjson": auths.to_string()}});
    operator.plane.kubectl_with(&["apply", "-f", "-"], &secret.to_string()).await.succeeded();
}

/// The running attempt has what was there when it began, and fails; the next one has what is there then.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_renewed_in_the_middle_of_a_push_heals_it() {
    let source = Registry::start().await;
    let digest = fill(&source.host, 63).await;
    let destination = Registry::start().await;
    let (old, new) =
        (canary::secret("operator::rotation"), canary::secret("operator::rotation new"));
    destination.set_login(Login::basic("user", old));
    let operator = Operator::start().await;
    put_login(&operator, &destination.host, old).await;
    let mut spec = spec(&source.host, &destination.host, &json!({"runPolicy": "Once"}));
    spec["destination"]["secretRef"] = json!({"name": "login"});
    let go_on = Arc::new(Notify::new());
    destination.add_rule(Rule::each("POST", UPLOADS, Act::Hold(go_on.clone())).nth(1));
    operator.apply("web", &spec).await;
    destination.received(&format!("POST {UPLOADS}")).await;

    put_login(&operator, &destination.host, new).await;
    destination.set_login(Login::basic("user", new));
    go_on.notify_one();
    operator.wait("web", "Ready").await;
    let object = operator.get("web").await;
    let history = object["status"]["history"].as_array().unwrap();
    let results: Vec<&Value> = history.iter().map(|entry| &entry["result"]).collect();
    assert_eq!(results, ["PushSucceeded", "AuthenticationFailed"], "{object:#}");
    assert_eq!(history[1]["count"], 1, "once was enough to find out");
    assert_eq!(object["status"]["artifact"]["digest"], digest);
    operator.stop().await;
}

async fn put_authority(operator: &Operator, pem: &str) {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "authority", "namespace": operator.namespace},
        "stringData": {"ca.crt": pem}});
    operator.plane.kubectl_with(&["apply", "-f", "-"], &secret.to_string()).await.succeeded();
}

/// Each attempt trusts the authority that is there when it begins; half of one is told, and trusted by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_renewed_counts_from_the_next_attempt() {
    let (authority, other) = (Authority::new(), Authority::new());
    let pem = |of: &Authority| fs::read_to_string(of.directory().join("ca.crt")).unwrap();
    let files = authority.server("127.0.0.1", Life::Valid);
    let registry = DockerRegistry::start(&Setup { tls: Some(&files), ..Setup::default() });
    let source = Registry::start().await;
    fill(&source.host, 64).await;
    let operator = Operator::start().await;
    put_authority(&operator, &pem(&other)).await;
    let mut spec = spec(&source.host, &registry.host, &json!({"interval": "1h"}));
    spec["destination"]["certSecretRef"] = json!({"name": "authority"});
    spec["destination"].as_object_mut().unwrap().remove("tlsPolicy");
    operator.apply("web", &spec).await;
    let reason = async |condition: &'static str, reason: &'static str| {
        operator.until("web", |object| reason_of(object, condition) == reason).await
    };
    reason("Stalled", "TLSVerificationFailed").await;

    put_authority(&operator, &pem(&authority)).await;
    request(&operator, "web", "1").await;
    operator.wait("web", "Ready").await;

    let whole = pem(&authority);
    put_authority(&operator, &whole[..whole.len() / 2]).await;
    request(&operator, "web", "2").await;
    let object = operator.until("web", |object| !reason_of(object, "Stalled").is_empty()).await;
    assert_eq!(reason_of(&object, "Stalled"), "SecretInvalid", "{object:#}");
    assert!(object["status"]["artifact"]["digest"].is_string(), "what is there stays known");

    put_authority(&operator, &whole).await;
    request(&operator, "web", "3").await;
    operator.wait("web", "Ready").await;
    operator.stop().await;
}

/// Tokens of pods last for an hour; the kubelet puts a new one into the same file.
#[tokio::test(flavor = "multi_thread")]
async fn the_operators_own_token_is_read_anew() {
    const HOME: &str = "imagepush-system";
    let plane = control_plane().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    // A token that is bound to something is worth nothing without it.
    let bound = plane.namespace().await;
    let make = ["create", "secret", "generic", &bound, "-n", HOME];
    plane.kubectl(&make).await.succeeded();
    let name = format!("--bound-object-name={bound}");
    let kind = "--bound-object-kind=Secret";
    let token = ["create", "token", "imagepush-controller", "-n", HOME];
    let first = plane.kubectl(&[&token[..], &[kind, &name]].concat()).await.succeeded();
    fs::write(&file, first.trim()).unwrap();
    let mut config = plane.config().await;
    let token_file = Some(file.display().to_string());
    config.auth_info = kube::config::AuthInfo { token_file, ..Default::default() };
    let client = kube::Client::try_from(config.clone()).unwrap();
    let operator = Operator::run(plane, client, bound.clone(), super::config(&bound));
    let registry = Registry::start().await;
    fill(&registry.host, 65).await;
    operator.apply("web", &spec(&registry.host, &registry.host, &json!({"interval": "1h"}))).await;
    operator.wait("web", "Ready").await;

    plane.kubectl(&["delete", "secret", &bound, "-n", HOME]).await.succeeded();
    let with = format!("--token={}", first.trim());
    let refused = async {
        let kubeconfig = ["get", "ipush", "-n", &bound, "--kubeconfig=/dev/null", &with];
        let server = format!("--server={}", config.cluster_url);
        let arguments = [&kubeconfig[..], &["--insecure-skip-tls-verify", &server]].concat();
        while !plane.kubectl(&arguments).await.stderr.contains("Unauthorized") {
            tokio::time::sleep(POLL).await;
        }
    };
    timeout(PATIENCE, refused).await.expect("the first token is worth nothing");
    // Seen by the watch, which goes on; telling is refused.
    request(&operator, "web", "1").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(operator.get("web").await["status"]["lastHandledReconcileAt"], Value::Null);

    fs::write(&file, plane.kubectl(&token).await.succeeded().trim()).unwrap();
    let renewed = Instant::now();
    while operator.get("web").await["status"]["lastHandledReconcileAt"] != "1" {
        assert!(renewed.elapsed() < RENEWED_WITHIN, "{:#}", operator.get("web").await);
        tokio::time::sleep(POLL * 10).await;
    }
    operator.stop().await;
}
