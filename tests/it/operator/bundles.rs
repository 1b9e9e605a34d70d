//! Bundles that the operator applies in the cluster, each as a ServiceAccount of the object's namespace.

mod attached;
mod cluster;
mod gone;
mod granted;
mod killed;
mod orders;
mod refused;
mod table;
mod waits;

use imagepush::apply::Policy;

use super::*;
use crate::support::chart::{CHART, REPOSITORY, tool};
use crate::support::images::{Content, Form, Layer, layer, tar};
use crate::support::things::{self, ALL_VERBS, object};

/// A registry, and an operator that applies bundles, with an account in its namespace.
struct Place {
    registry: DockerRegistry,
    operator: Operator,
}

impl Place {
    async fn new() -> Self {
        Self::granted("Legacy").await
    }

    /// What the chart grants in the namespace is granted in this way; nothing, if that has no name.
    async fn granted(impersonation: &str) -> Self {
        let plane = control_plane().await;
        things::install(plane).await;
        let namespace = plane.namespace().await;
        things::account(plane, &namespace, "deployer", &["*"], &ALL_VERBS).await;
        if !impersonation.is_empty() {
            grant(plane, &namespace, impersonation).await;
        }
        let operator = start(plane, namespace, Some(Policy::default()), None).await;
        Self { registry: DockerRegistry::plain(), operator }
    }

    /// Another operator in the same place, which serves its metrics.
    async fn listening(self) -> (Self, SocketAddr) {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let Self { registry, operator } = self;
        let (plane, namespace) = operator.stop().await;
        let operator = start(plane, namespace, Some(Policy::default()), Some(address)).await;
        (Self { registry, operator }, address)
    }

    /// Puts an image with this bundle, or without one, under a tag.
    async fn image(&self, tag: &str, bundle: &str) {
        self.put(tag, &image(bundle)).await;
    }

    /// Puts an image under a tag.
    async fn put(&self, tag: &str, image: &Content) {
        let folder = tempfile::tempdir().unwrap();
        image.write_layout(folder.path(), Some("1"));
        let from = format!("oci:{}:1", folder.path().display());
        let mut options =
            push::options(&from, &format!("docker://{}/app:{tag}", self.registry.host));
        options.destination.access.tls = TlsPolicy::PlainHttp;
        push::run(&options).await.unwrap();
    }

    /// The spec of a push to a tag that is named after the object.
    fn spec(&self, tag: &str, name: &str, custom_resources: &Value) -> Value {
        let more = json!({"interval": "1h", "customResources": custom_resources});
        let mut spec = spec(&self.registry.host, &self.registry.host, &more);
        let named = |tag: &str| json!(format!("docker://{}/app:{tag}", self.registry.host));
        spec["source"]["reference"] = named(tag);
        spec["destination"]["reference"] = named(&format!("to-{name}"));
        spec
    }

    async fn names(&self) -> Vec<String> {
        let things = format!("thing.{}", things::GROUP);
        let listed = self.operator.kubectl(&["get", &things, "-o", "name"]).await;
        listed.lines().map(|line| line.rsplit('/').next().unwrap().to_owned()).collect()
    }

    /// Asks for a look, and waits until it has ended: one that comes meanwhile is heard after it.
    async fn look(&self, name: &str, value: &str) -> Value {
        for value in [value.to_owned(), format!("{value}, and again")] {
            request(&self.operator, name, &value).await;
            let heard = |object: &Value| object["status"]["lastHandledReconcileAt"] == value;
            self.operator.until(name, heard).await;
        }
        self.operator.get(name).await
    }
}

async fn start(
    plane: &'static ControlPlane,
    namespace: String,
    bundles: Option<Policy>,
    listen: Option<SocketAddr>,
) -> Operator {
    let config = OperatorConfig { listen, bundles, ..config(&namespace) };
    Operator::run(plane, plane.operator_client_called(&namespace).await, namespace, config)
}

/// Grants the operator what its chart grants, which is bound to the account that the tests' operator has.
async fn grant(plane: &ControlPlane, namespace: &str, impersonation: &str) {
    let values = [
        REPOSITORY.to_owned(),
        "serviceAccount.create=false".to_owned(),
        "serviceAccount.name=imagepush-controller".to_owned(),
        "customResources.enabled=true".to_owned(),
        format!("customResources.namespaces={{{namespace}}}"),
        "customResources.serviceAccounts={deployer}".to_owned(),
        format!("customResources.impersonation={impersonation}"),
        format!("customResources.resources[0].apiGroups={{{}}}", things::GROUP),
        "customResources.resources[0].resources={things,gadgets}".to_owned(),
    ];
    // A release of its own for each namespace: what belongs to the cluster differs by the way it is granted.
    let release = format!("imagepush-{namespace}");
    let mut arguments = vec!["template", &release, CHART, "-n", "imagepush-system"];
    arguments.extend(["-s", "templates/impersonation.yaml"]);
    arguments.extend(values.iter().flat_map(|value| ["--set", value]));
    let rendered = tool("helm", &arguments).await.succeeded();
    plane.kubectl_with(&["apply", "-f", "-"], &rendered).await.succeeded();
}

/// An image with this text as its bundle, or without one.
pub(super) fn image(bundle: &str) -> Content {
    let mut layers = vec![layer(51, 3000, Form::Gzip)];
    if !bundle.is_empty() {
        layers.push(Layer::of(&tar(&[("metadata/config.yaml", bundle.as_bytes())]), Form::Gzip));
    }
    Content::image("linux", "amd64", &layers)
}

fn things_of(pairs: &[(&str, i32)]) -> String {
    let documents = pairs.iter().map(|(name, size)| {
        let thing = object("Thing", name, &json!({"size": size}));
        format!("---\n{thing}\n")
    });
    documents.collect()
}

fn applying(policy: &str, more: &Value) -> Value {
    let mut apply = json!({"serviceAccountName": "deployer"});
    apply.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"policy": policy, "apply": apply})
}

const APPLIED: &str = "CustomResourcesApplied";

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_applied_kept_and_goes_with_its_object() {
    let place = Place::new().await;
    place.image("1", &things_of(&[("a", 1), ("b", 1)])).await;
    let spec = place.spec("1", "web", &applying("Always", &json!({"prune": true})));
    place.operator.apply("web", &spec).await;
    place.operator.wait("web", "Ready").await;
    let object = place.operator.get("web").await;
    assert_eq!(place.names().await, ["a", "b"]);
    assert_eq!(
        (reason_of(&object, APPLIED), &condition(&object, APPLIED)["message"]),
        ("Applied", &json!("2 created, 0 configured, 0 unchanged, 0 pruned"))
    );
    let entries = object["status"]["inventory"]["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert!(entries.iter().all(|entry| entry["uid"].is_string()), "{entries:?}");
    assert_eq!(object["metadata"]["finalizers"], json!(["imagepush.dev/cleanup"]));

    // Drift is set right at the next look, and what is as it should be is told once.
    place.operator.kubectl(&["delete", &format!("thing.{}/a", things::GROUP)]).await;
    let object = place.look("web", "1").await;
    assert_eq!(place.names().await, ["a", "b"]);
    assert_eq!(object["status"]["customResources"]["applied"]["created"], 1, "{object:#}");
    let again = place.look("web", "2").await;
    let applied = |object: &Value| object["status"]["customResources"]["applied"].clone();
    assert_eq!(applied(&again), applied(&object));

    // Another image under the same tag: the fields that change are told, and what it has no more goes.
    place.image("1", &things_of(&[("b", 2)])).await;
    let object = place.look("web", "3").await;
    assert_eq!(place.names().await, ["b"]);
    let changes = json!([{"object": "things.example/v1 Thing b", "fields": ["~spec.size"]}]);
    assert_eq!(applied(&object)["changes"], changes, "{object:#}");
    assert_eq!(
        (&applied(&object)["configured"], &applied(&object)["pruned"]),
        (&json!(1), &json!(1))
    );

    place.operator.kubectl(&["delete", "ipush", "web", "--timeout=60s"]).await;
    assert_eq!(place.names().await, [""; 0]);
    place.operator.stop().await;
}

/// Without `prune` what was applied stays, and an object of the same name goes on with it.
#[tokio::test(flavor = "multi_thread")]
async fn without_prune_everything_stays() {
    let place = Place::new().await;
    place.image("1", &things_of(&[("a", 1), ("b", 1)])).await;
    let spec = place.spec("1", "web", &applying("Always", &json!({})));
    place.operator.apply("web", &spec).await;
    place.operator.wait("web", "Ready").await;
    assert_eq!(place.operator.get("web").await["metadata"]["finalizers"], Value::Null);
    place.image("1", &things_of(&[("b", 1)])).await;
    place.look("web", "1").await;
    place.operator.kubectl(&["delete", "ipush", "web", "--timeout=60s"]).await;
    assert_eq!(place.names().await, ["a", "b"]);
    place.operator.apply("web", &spec).await;
    place.operator.wait("web", "Ready").await;
    assert_eq!(reason_of(&place.operator.get("web").await, APPLIED), "Unchanged");
    place.operator.stop().await;
}

/// Whatever the policy: what is foretold is what happens then, and an image that has been looked into is still known.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_both_sides_and_writes_nothing() {
    let place = Place::new().await;
    for (policy, name) in [("Always", "a"), ("Auto", "b")] {
        place.image(name, &things_of(&[(name, 1)])).await;
        let mut spec = place.spec(name, name, &applying(policy, &json!({"prune": true})));
        spec["mode"] = json!("DryRun");
        place.operator.apply(name, &spec).await;
        place.operator.wait(name, "Ready").await;
        let object = place.operator.get(name).await;
        let foretold = async |counts: &str| {
            let object = place.operator.get(name).await;
            let message = condition(&object, "Ready")["message"].as_str().unwrap().to_owned();
            assert!(
                message.ends_with(&format!("; in the cluster {counts}")),
                "{policy}: {message}"
            );
        };
        foretold("1 would be created, 0 configured, 0 pruned").await;
        let applied = &object["status"]["customResources"]["applied"];
        assert_eq!((&applied["dryRun"], &applied["created"]), (&json!(true), &json!(1)));
        assert_eq!(object["metadata"]["finalizers"], Value::Null);
        assert_eq!(&object["status"]["inventory"], &Value::Null);
        assert!(!place.names().await.contains(&name.to_owned()), "{policy}");

        let turn = async |mode: &str, reason: &str| {
            let patch = json!({"spec": {"mode": mode}}).to_string();
            place.operator.kubectl(&["patch", "ipush", name, "--type=merge", "-p", &patch]).await;
            place.operator.until(name, |object| reason_of(object, "Ready") == reason).await
        };
        let object = turn("Apply", "PushSucceeded").await;
        assert_eq!(object["status"]["customResources"]["applied"]["created"], 1, "{object:#}");
        assert!(place.names().await.contains(&name.to_owned()), "{policy}");
        turn("DryRun", "DryRunSucceeded").await;
        foretold("0 would be created, 0 configured, 0 pruned").await;
    }
    place.operator.stop().await;
}

/// As which user everything of the bundle is asked, by the API server's own log; and what the operator asks by itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_asks_for_nothing_of_a_bundle_as_itself() {
    for impersonation in ["Legacy", "Constrained"] {
        let place = Place::granted(impersonation).await;
        place.image("1", &things_of(&[("a", 1)])).await;
        let spec =
            place.spec("1", "web", &applying("Always", &json!({"prune": true, "wait": true})));
        place.operator.apply("web", &spec).await;
        place.operator.wait("web", "Ready").await;
        place.operator.kubectl(&["delete", "ipush", "web", "--timeout=60s"]).await;
        assert_eq!(place.names().await, [""; 0], "{impersonation}");
        let namespace = &place.operator.namespace;
        let account = format!("system:serviceaccount:{namespace}:deployer");
        let (as_itself, as_others): (BTreeSet<_>, BTreeSet<_>) =
            place.operator.plane.audited_of(namespace).into_iter().partition(|it| it.0.is_none());
        let of_things =
            ["get /apis/things.example/v1", "delete things", "get things", "patch things"];
        let of_things = of_things.map(|asked| (Some(account.clone()), asked.to_owned()));
        assert_eq!(as_others, of_things.into(), "{impersonation}");
        let known = [
            "create events",
            // Whether a definition makes the kind, and whether the account has agreed: all that it asks of a bundle.
            "get customresourcedefinitions",
            "get serviceaccounts",
            "get imagepushes",
            "list imagepushes",
            // What an earlier operator may have left, once.
            "list jobs",
            "patch imagepushes",
            "watch imagepushes",
        ];
        let as_itself: BTreeSet<_> = as_itself.iter().map(|(_, asked)| asked.as_str()).collect();
        // Watches are told of when they end.
        let known: BTreeSet<_> = known.into();
        assert_eq!(as_itself.difference(&known).collect::<Vec<_>>(), [&""; 0], "{impersonation}");
        let of_bundles = ["get customresourcedefinitions", "get serviceaccounts"];
        assert!(of_bundles.iter().all(|asked| as_itself.contains(asked)), "{as_itself:?}");
        place.operator.stop().await;
    }
}
