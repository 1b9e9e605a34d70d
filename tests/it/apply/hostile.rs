//! Bundles that want more than they may, and accounts that may less than a bundle needs.

use std::collections::BTreeSet;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_rights_applies_nothing_at_all() {
    for (resources, verbs) in [
        // None at all; everything but what one object needs; reading only; no permission to make what isn't there.
        (vec!["planets"], vec!["get"]),
        (vec!["things"], ALL_VERBS.to_vec()),
        (vec!["*"], vec!["get"]),
        (vec!["*"], vec!["get", "patch", "delete"]),
    ] {
        let place = Place::with(&resources, &verbs).await;
        let report =
            place.apply(&[thing("a", 1), object("Gadget", "b", &json!({"note": "x"}))]).await;
        let (kind, message) = failure(&report);
        assert_eq!(kind, Kind::CustomResourcesForbidden, "{resources:?} {verbs:?}");
        assert!(message.contains("things.example/v1 Gadget b"), "{message}");
        let there = (place.names("thing").await, place.names("gadget").await);
        assert_eq!(there, (vec![], vec![]), "{resources:?} {verbs:?}");
        assert_eq!((counts(&report), place.journal.entries()), ([0; 5], vec![]));
    }
}

/// Rights that go in the middle leave a part, which is told, and the rest follows when they are back.
#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_lost_in_the_middle_are_told() {
    let place = Place::new().await;
    let gadget = |name: &str| object("Gadget", name, &json!({"note": "x"}));
    let five = [thing("a", 1), gadget("b"), thing("c", 1), gadget("d"), thing("e", 1)];
    // Admission, unlike a dry run, knows the difference: it stands for a Role that is taken away at this moment.
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": format!("no-things-{}", place.namespace)},
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.namespace}},
                "resourceRules": [{"apiGroups": [things::GROUP], "apiVersions": ["*"], "resources": ["things"], "operations": ["CREATE"]}],
            },
            "validations": [{"expression": "request.dryRun", "message": "canary", "reason": "Forbidden"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": format!("no-things-{}", place.namespace)},
        "spec": {"policyName": format!("no-things-{}", place.namespace), "validationActions": ["Deny"]},
    });
    let both = json!({"apiVersion": "v1", "kind": "List", "items": [policy, binding]}).to_string();
    place.plane.kubectl_with(&["apply", "-f", "-"], &both).await.succeeded();
    // The policy takes effect a moment later: until then, objects are made, and taken away again.
    let mut probe = thing("probe", 1);
    probe["metadata"]["namespace"] = json!(place.namespace);
    while place.plane.kubectl_with(&["create", "-f", "-"], &probe.to_string()).await.success {
        place.kubectl(&["delete", &format!("thing.{}/probe", things::GROUP)]).await;
        tokio::time::sleep(crate::support::control_plane::POLL).await;
    }
    let mut report = place.apply(&five).await;
    let error = report.failure.clone().unwrap();
    assert_eq!(error.kind(), Kind::CustomResourcesForbidden);
    assert_eq!(error.class(), imagepush::error::Class::Transient);
    assert!(!error.to_string().contains("canary"), "{error}");
    let told = "storing 5 objects, of which 2 are there and not `things.example/v1 Thing a`, \
                `things.example/v1 Thing c`, `things.example/v1 Thing e`: applying `things.example/v1 Thing a`: ";
    assert!(error.to_string().starts_with(told), "{error}");
    assert_eq!(counts(&report), [2, 0, 0, 0, 3]);
    assert_eq!(place.names("gadget").await, ["b", "d"]);
    assert_eq!((place.names("thing").await.len(), place.journal.entries().len()), (0, 5));
    place.plane.kubectl_with(&["delete", "-f", "-"], &both).await.succeeded();
    while report.failure.is_some() {
        tokio::time::sleep(crate::support::control_plane::POLL).await;
        report = place.apply(&five).await;
    }
    assert_eq!(place.names("thing").await, ["a", "c", "e"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_in_a_bundle_is_refused_before_anything_is_applied() {
    let place = Place::new().await;
    // The account may do everything there is, and it makes no difference.
    let account = format!("--serviceaccount={}:deployer", place.namespace);
    let grant =
        ["create", "clusterrolebinding", &place.namespace, "--clusterrole=cluster-admin", &account];
    place.plane.kubectl(&grant).await.succeeded();
    let of = |api_version: &str, kind: &str, more: Value| {
        let mut object =
            json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "evil"}});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };
    let side = json!({"reference": "docker://r.example/a:1"});
    let mut elsewhere = thing("evil", 1);
    elsewhere["metadata"]["namespace"] = json!("default");
    let cases = [
        (
            of(
                "rbac.authorization.k8s.io/v1",
                "ClusterRoleBinding",
                json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}}),
            ),
            "it gives rights",
        ),
        (
            of(
                "admissionregistration.k8s.io/v1",
                "MutatingWebhookConfiguration",
                json!({"webhooks": []}),
            ),
            "it decides what the API server lets in",
        ),
        (
            of("apiextensions.k8s.io/v1", "CustomResourceDefinition", json!({"spec": {}})),
            "it defines kinds",
        ),
        (
            of("apiregistration.k8s.io/v1", "APIService", json!({"spec": {}})),
            "it says who serves the API",
        ),
        (of("v1", "Secret", json!({"data": {}})), "an image is no place for secrets"),
        (of("apps/v1", "Deployment", json!({"spec": {}})), "it runs programs"),
        (
            of(
                "imagepush.dev/v1alpha1",
                "ImagePush",
                json!({"spec": {"source": side, "destination": side}}),
            ),
            "a push does not start pushes",
        ),
        (of("v1", "ConfigMap", json!({"data": {"a": "b"}})), "it is no custom resource"),
        (
            of("networking.k8s.io/v1", "NetworkPolicy", json!({"spec": {}})),
            "it is no custom resource",
        ),
        (object("Planet", "evil", &json!({})), "its objects belong to the whole cluster"),
        (elsewhere, "it is for another namespace than"),
    ];
    for (evil, expected) in cases {
        let report = place.apply(&[thing("a", 1), evil.clone()]).await;
        let (kind, message) = failure(&report);
        let refused =
            [Kind::CustomResourcesForbidden, Kind::CustomResourcesInvalid].contains(&kind);
        assert!(refused && message.contains(expected), "{evil}: {kind} {message}");
        assert_eq!((counts(&report), place.journal.entries()), ([0; 5], vec![]));
    }
    assert_eq!(place.names("thing").await, [""; 0]);
    let many = (0..10_000).map(|at| thing(&format!("a{at}"), 1).to_string());
    let many = many.collect::<Vec<_>>().join("\n---\n");
    assert_eq!(Bundle::parse(many.as_bytes()).unwrap_err().kind(), Kind::LimitExceeded);
    place.plane.kubectl(&["delete", "clusterrolebinding", &place.namespace]).await.succeeded();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_does_not_take_is_told_by_its_fields() {
    let place = Place::new().await;
    let secret = object("Thing", "a", &json!({"size": -1, "note": "canary"}));
    let (kind, message) = failure(&place.apply(&[secret, thing("b", 1)]).await);
    assert_eq!(kind, Kind::CustomResourcesInvalid);
    let expected = "`things.example/v1 Thing a`: the API server refuses it (422): `spec.size` (FieldValueInvalid)";
    assert_eq!(message, expected);
    let unknown = object("Thing", "a", &json!({"sise": "canary"}));
    let (kind, message) = failure(&place.apply(&[unknown]).await);
    assert_eq!(kind, Kind::CustomResourcesInvalid);
    assert!(!message.contains("canary"), "{message}");
    assert_eq!(place.names("thing").await, [""; 0]);
}

/// Nobody is asked anything but as the account, which the server's own log shows.
#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_made_as_the_account() {
    let place = Place::new().await;
    place.apply_and_wait(&[thing("a", 1), thing("b", 1)]).await;
    place.apply(&[thing("a", 2)]).await;
    let known = place.journal.entries();
    prune_all(&place.who, &place.kinds, "web", &known, &place.journal).await;
    let account = format!("system:serviceaccount:{}:deployer", place.namespace);
    let as_account = ["get /apis/things.example/v1", "delete things", "get things", "patch things"];
    let mut expected: BTreeSet<_> =
        as_account.map(|asked| (Some(account.clone()), asked.to_owned())).into();
    // Accounts may not read what defines a kind, which is no secret: discovery tells everybody that it is there.
    expected.insert((None, "get customresourcedefinitions".to_owned()));
    assert_eq!(place.plane.audited_of(&place.namespace), expected);
}
