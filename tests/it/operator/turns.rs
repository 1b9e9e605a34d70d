//! Operators that take turns by a lease, on the real API server: stolen from, stopped for a while, and killed.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use imagepush::controller::{ElectionConfig, SecretWatch};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::*;
use crate::cli::run::program;

/// Where the operator's service account may have leases.
const HOME: &str = "imagepush-system";

const UPLOADS: &str = "/v2/app/blobs/uploads/";

/// An operator with its service account and this configuration.
async fn start(namespace: String, config: OperatorConfig) -> Operator {
    let plane = control_plane().await;
    Operator::run(plane, plane.operator_client().await, namespace, config)
}

async fn holder(plane: &ControlPlane, lease: &str) -> String {
    let path = "jsonpath={.spec.holderIdentity}";
    plane.kubectl(&["get", "lease", "-n", HOME, lease, "-o", path]).await.stdout
}

async fn held(plane: &ControlPlane, lease: &str, by: impl Fn(&str) -> bool) {
    let found = async {
        while !by(&holder(plane, lease).await) {
            tokio::time::sleep(POLL).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, found).await;
    assert!(waited.is_ok(), "`{}` has the lease", holder(plane, lease).await);
}

/// Somebody takes the lease while a push is under way: nothing of ours gets a name any more, and the process ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_lease_ends_a_push_before_its_tag() {
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    let source = Registry::start().await;
    let digest = fill(&source.host, 21).await;
    let destination = Registry::start().await;
    destination.add_rule(Rule::each("POST", UPLOADS, Act::Stall).nth(1));
    let election = |identity: &str| {
        let (lease, identity) = (namespace.clone(), identity.to_owned());
        Some(ElectionConfig { lease, namespace: Some(HOME.into()), identity })
    };
    let with = |identity| OperatorConfig { election: election(identity), ..config(&namespace) };
    // The chart grants the lease that its values name; this test has one of its own.
    let (group, lease) = ("rbac.authorization.k8s.io", namespace.as_str());
    let granted = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": {"name": lease},
         "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
            "resourceNames": [lease], "verbs": ["get", "update"]}]},
        {"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": lease},
         "roleRef": {"apiGroup": group, "kind": "Role", "name": lease},
         "subjects": [{"kind": "ServiceAccount", "name": "imagepush-controller", "namespace": HOME}]},
    ]});
    plane.kubectl_with(&["-n", HOME, "apply", "-f", "-"], &granted.to_string()).await.succeeded();
    let operator = start(namespace.clone(), with("one")).await;
    operator
        .apply("web", &spec(&source.host, &destination.host, &json!({"runPolicy": "Once"})))
        .await;
    destination.received(&format!("POST {UPLOADS}")).await;

    let thief = r#"{"spec": {"holderIdentity": "thief"}}"#;
    let steal = ["patch", "lease", "-n", HOME, &namespace, "--type=merge", "-p", thief];
    plane.kubectl(&steal).await.succeeded();
    let ended = tokio::time::timeout(PATIENCE, operator.task).await.expect("it ends");
    let error = ended.unwrap().unwrap_err();
    let message = format!("the lease `{namespace}` was lost: `thief` has it now");
    assert_eq!((error.to_string(), error.exit_code()), (message, 75));
    assert_eq!(destination.tags().len(), 0, "nothing got a name");

    // The thief does nothing; after its time is over, another operator does what it should have.
    let stolen = Instant::now();
    let operator = start(namespace.clone(), with("other")).await;
    operator.wait("web", "Ready").await;
    assert!(stolen.elapsed() >= Duration::from_secs(10), "{:?}", stolen.elapsed());
    assert_eq!(operator.get("web").await["status"]["artifact"]["digest"], digest);
    operator.stop().await;
    assert_eq!(holder(plane, &namespace).await, "", "given back");
}

/// The program as a pod runs it; it is killed when this is dropped.
pub(super) struct Process(Child);

impl Process {
    fn start(plane: &ControlPlane, folder: &Path, namespace: &str) -> Self {
        let arguments = [
            "operator",
            "--listen=none",
            "--egress-allow=127.0.0.1",
            &format!("--lease={namespace}"),
            &format!("--lease-namespace={HOME}"),
            &format!("--watch-namespace={namespace}"),
        ];
        let mut program = program(folder, &arguments);
        program.env("KUBECONFIG", plane.kubeconfig());
        Self::of(program)
    }

    pub(super) fn of(mut program: Command) -> Self {
        Self(program.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Waits for its end; no code if a signal has ended it.
    pub(super) async fn code(mut self) -> Option<i32> {
        let ended = async {
            loop {
                if let Some(status) = self.0.try_wait().unwrap() {
                    return status.code();
                }
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("the process ends")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A leader whose process stands still for a while can't know; it finds out before it does anything, and ends.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_the_other_goes_on() {
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    let source = Registry::start().await;
    let digest = fill(&source.host, 22).await;
    let destination = Registry::start().await;
    destination.add_rule(Rule::each("POST", UPLOADS, Act::Stall).nth(1));
    let folder = tempfile::tempdir().unwrap();
    let one = Process::start(plane, folder.path(), &namespace);
    held(plane, &namespace, |holder| !holder.is_empty()).await;
    let first = holder(plane, &namespace).await;
    let other = Process::start(plane, folder.path(), &namespace);
    // Something to apply objects by; it looks after nothing.
    let elsewhere = OperatorConfig { namespaces: vec![plane.namespace().await], ..config("") };
    let hands = start(namespace.clone(), elsewhere).await;
    hands.apply("web", &spec(&source.host, &destination.host, &json!({"runPolicy": "Once"}))).await;
    destination.received(&format!("POST {UPLOADS}")).await;

    one.signal(Signal::STOP);
    hands.wait("web", "Ready").await;
    held(plane, &namespace, |holder| !holder.is_empty() && holder != first).await;
    let ready = hands.get("web").await;
    assert_eq!(ready["status"]["artifact"]["digest"], digest);
    let written = destination.take_log();
    one.signal(Signal::CONT);
    assert_eq!(one.code().await, Some(75), "it has lost the lease");
    let after = destination.take_log();
    assert!(
        !after.iter().any(|line| line.contains("/manifests/")),
        "{after:#?}, after {written:#?}"
    );
    assert_eq!(hands.get("web").await, ready, "nothing is written twice");

    // The one that leads now is killed in the middle of a push; one that starts does it.
    let stuck = Registry::start().await;
    stuck.add_rule(Rule::each("POST", UPLOADS, Act::Stall).nth(1));
    hands.apply("more", &spec(&source.host, &stuck.host, &json!({"runPolicy": "Once"}))).await;
    stuck.received(&format!("POST {UPLOADS}")).await;
    other.signal(Signal::KILL);
    let last = Process::start(plane, folder.path(), &namespace);
    hands.wait("more", "Ready").await;
    assert_eq!(hands.get("more").await["status"]["artifact"]["digest"], digest);
    last.signal(Signal::TERM);
    assert_eq!(last.code().await, Some(0));
    assert_eq!(holder(plane, &namespace).await, "", "given back");
    hands.stop().await;
}

/// Without the watch, a Secret that was missing is looked for once a minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_labelled_secret_takes_effect_in_seconds() {
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    // What the chart grants where `secretWatch.enabled` is set.
    let role = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
         "metadata": {"name": "watch", "namespace": namespace},
         "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list", "watch"]}]},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
         "metadata": {"name": "watch", "namespace": namespace},
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "watch"},
         "subjects": [{"kind": "ServiceAccount", "name": "imagepush-controller", "namespace": HOME}]},
    ]});
    plane.kubectl_with(&["apply", "-f", "-"], &role.to_string()).await.succeeded();
    let config = OperatorConfig { secret_watch: SecretWatch::On, ..config(&namespace) };
    let operator = start(namespace, config).await;
    let source = Registry::start().await;
    fill(&source.host, 23).await;
    let destination = Registry::start().await;
    destination.set_login(Login::basic("user", canary::secret("operator::turns")));
    let mut spec = spec(&source.host, &destination.host, &json!({"runPolicy": "Once"}));
    spec["destination"]["secretRef"] = json!({"name": "login"});
    operator.apply("web", &spec).await;
    operator.until("web", |o| reason_of(o, "Ready") == "SecretNotFound").await;

    let created = Instant::now();
    let auths = json!({"auths": {&destination.host: {"username": "user", "password": canary::secret("operator::turns")}}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": "login", "namespace": operator.namespace,
            "labels": {"imagepush.dev/watch": "true"}},
        "stringData": {".dockerconfigjson": auths.to_string()}});
    plane.kubectl_with(&["apply", "-f", "-"], &secret.to_string()).await.succeeded();
    operator.wait("web", "Ready").await;
    assert!(created.elapsed() < Duration::from_secs(20), "{:?}", created.elapsed());
    operator.stop().await;
}

/// What `kubectl describe` shows below the object.
#[tokio::test(flavor = "multi_thread")]
async fn events_are_in_the_cluster() {
    let registry = Registry::start().await;
    fill(&registry.host, 24).await;
    let operator = Operator::start().await;
    let spec = spec(&registry.host, &registry.host, &json!({"runPolicy": "Once"}));
    operator.apply("web", &spec).await;
    operator.wait("web", "Ready").await;
    let listed = ["get", "events.events.k8s.io", "-o", "json"];
    let told = async {
        loop {
            let events: Value = serde_json::from_str(&operator.kubectl(&listed).await).unwrap();
            let mut reasons: Vec<String> = events["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|event| event["reason"].as_str().unwrap().to_owned())
                .collect();
            reasons.sort();
            if reasons == ["PushStarted", "PushSucceeded"] {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("both are there");
    let described = operator.kubectl(&["describe", "ipush", "web"]).await;
    assert!(described.contains("PushSucceeded"), "{described}");
    operator.stop().await;
}
