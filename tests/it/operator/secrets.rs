//! Secrets that an object names and that are not meant for what it does with them.

use super::*;
use crate::support::canary::Canary;

/// What somebody keeps in a namespace, each with a secret that must not be used.
fn kept(namespace: &str, hosts: [&str; 2], canary: &Canary) -> Value {
    let [there, elsewhere] = hosts;
    let secret = |name: &str, kind: &str, registry: Option<&str>, data: Value| {
        let annotations = registry.map(|registry| json!({"imagepush.dev/registry": registry}));
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": kind, "stringData": data,
            "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        })
    };
    let text = canary.text();
    let config =
        |host: &str| json!({"auths": {host: {"username": "u", "password": text}}}).to_string();
    let login = json!({"username": "u", "password": text});
    let identity = json!({"tls.crt": text, "tls.key": text});
    let [docker, basic] = ["kubernetes.io/dockerconfigjson", "kubernetes.io/basic-auth"];
    let items = [
        secret("elsewhere", docker, None, json!({".dockerconfigjson": config(elsewhere)})),
        secret("opaque", "Opaque", None, json!({".dockerconfigjson": config(there)})),
        secret("unbound", basic, None, login.clone()),
        secret("bound", basic, Some(elsewhere), login.clone()),
        secret("ingress", "kubernetes.io/tls", None, identity.clone()),
        secret("client", "kubernetes.io/tls", Some(elsewhere), identity),
        secret("token", basic, Some(there), login),
    ];
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// Whoever may name a Secret that they can't read gets nothing out of it: nothing of it is sent to a place of theirs, they
/// aren't somebody else there, and status shows nothing of it. Whether the operator pushes or a Job makes no difference.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_used_only_as_what_it_is() {
    let (operator, canary) = (Operator::start().await, Canary::token());
    let (source, place) = (Registry::start().await, Registry::start().await);
    fill(&source.host, 1).await;
    let kept = kept(&operator.namespace, [&place.host, "registry.invalid"], &canary);
    let create = ["create", "-f", "-"];
    operator.plane.kubectl_with(&create, &kept.to_string()).await.succeeded();
    let cases = [
        ("opaque", "secretRef", "its type is `Opaque`"),
        ("unbound", "secretRef", "it has no annotation `imagepush.dev/registry`"),
        ("bound", "secretRef", "it is for the registry `registry.invalid`"),
        ("ingress", "secretRef", "its type is `kubernetes.io/tls`"),
        ("ingress", "certSecretRef", "it has no annotation `imagepush.dev/registry`"),
        (
            "client",
            "certSecretRef",
            "its client certificate is for the registry `registry.invalid`",
        ),
        ("token", "certSecretRef", "its type is `kubernetes.io/basic-auth`"),
    ];
    let object = |executor: &str, field: &str, secret: &str| {
        let more = json!({"runPolicy": "Once", "executor": executor});
        let mut spec = spec(&source.host, &place.host, &more);
        spec["destination"][field] = json!({"name": secret});
        if field == "certSecretRef" {
            spec["destination"].as_object_mut().unwrap().remove("tlsPolicy");
        }
        let name = format!("{executor}-{field}-{secret}").to_lowercase();
        spec["destination"]["reference"] = json!(format!("docker://{}/{name}:1", place.host));
        (name, spec)
    };
    for executor in ["InProcess", "Job"] {
        for (secret, field, said) in cases {
            let (name, spec) = object(executor, field, secret);
            operator.apply(&name, &spec).await;
            operator.wait(&name, "Stalled").await;
            let object = operator.get(&name).await;
            assert_eq!(reason_of(&object, "Stalled"), "SecretInvalid", "{object:#}");
            let message = condition(&object, "Ready")["message"].as_str().unwrap();
            let expected = format!("secret `{secret}` cannot be used: {said}");
            assert!(message.starts_with(&expected), "{message}");
            canary.is_not_in("the object", object.to_string());
        }
    }
    assert_eq!(place.seen().len(), 0);
    assert_eq!(operator.kubectl(&["get", "jobs", "-o", "name"]).await, "");

    // An entry for another host is no entry for this one.
    let (name, spec) = object("InProcess", "secretRef", "elsewhere");
    operator.apply(&name, &spec).await;
    operator.wait(&name, "Ready").await;
    canary.is_not_in("what is sent", format!("{:?}", place.seen()));
    operator.stop().await;
}
