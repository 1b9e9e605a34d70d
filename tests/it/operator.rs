//! The operator on a real API server, with its own service account, pushing between registries.

mod admission;
mod allowed;
mod bundles;
mod conflicts;
mod deletion;
mod denied;
mod election;
mod endings;
mod gitops;
mod helm_test;
mod job_faults;
mod jobs;
mod meanwhile;
mod monitoring;
mod neighbours;
mod outages;
mod outputs;
mod ownership;
mod permissions;
mod phases;
mod policy;
mod restless;
mod rotation;
mod secrets;
mod traces;
mod turns;
mod upgrade;
mod versions;
mod watching;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use imagepush::access::{Egress, NetworkSettings, TlsPolicy};
use imagepush::controller::{OperatorConfig, run_with};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::canary;
use crate::support::control_plane::{ControlPlane, POLL, control_plane};
use crate::support::docker_registry::DockerRegistry;
use crate::support::images;
use crate::support::push;
use crate::support::registry::faults::Act;
use crate::support::registry::{Login, Registry, Rule};

/// How long a step may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// An operator that looks after the one namespace of a test.
struct Operator {
    plane: &'static ControlPlane,
    namespace: String,
    stop: CancellationToken,
    task: JoinHandle<imagepush::error::Result<()>>,
}

impl Operator {
    async fn start() -> Self {
        let plane = control_plane().await;
        let namespace = plane.namespace().await;
        Self::start_in(plane, namespace, None).await
    }

    async fn start_in(
        plane: &'static ControlPlane,
        namespace: String,
        listen: Option<SocketAddr>,
    ) -> Self {
        let registries_of_tests = Egress::operator().allow("127.0.0.1".parse().unwrap());
        Self::start_with(plane, namespace, listen, registries_of_tests).await
    }

    async fn start_with(
        plane: &'static ControlPlane,
        namespace: String,
        listen: Option<SocketAddr>,
        egress: Egress,
    ) -> Self {
        Self::start_for(plane, vec![namespace], listen, egress).await
    }

    /// One that looks after several namespaces; the first is the one that is asked about.
    async fn start_for(
        plane: &'static ControlPlane,
        namespaces: Vec<String>,
        listen: Option<SocketAddr>,
        egress: Egress,
    ) -> Self {
        let namespace = namespaces[0].clone();
        let config = OperatorConfig {
            namespaces,
            listen,
            network: NetworkSettings { egress, ..NetworkSettings::default() },
            ..OperatorConfig::default()
        };
        Self::run(plane, plane.operator_client().await, namespace, config)
    }

    /// One with this client and configuration.
    fn run(
        plane: &'static ControlPlane,
        client: kube::Client,
        namespace: String,
        config: OperatorConfig,
    ) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run_with(client, config, stop.clone()));
        Self { plane, namespace, stop, task }
    }

    /// Stops it as SIGTERM does, and waits for its end.
    async fn stop(self) -> (&'static ControlPlane, String) {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        ended.expect("the operator stops").unwrap().unwrap();
        (self.plane, self.namespace)
    }

    async fn kubectl(&self, arguments: &[&str]) -> String {
        let arguments = [&["-n", self.namespace.as_str()], arguments].concat();
        self.plane.kubectl(&arguments).await.succeeded()
    }

    async fn apply(&self, name: &str, spec: &Value) {
        let object = json!({
            "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": {"namespace": self.namespace, "name": name}, "spec": spec,
        });
        let applied = self.plane.kubectl_with(&["apply", "-f", "-"], &object.to_string()).await;
        applied.succeeded();
    }

    async fn wait(&self, name: &str, condition: &str) {
        let (object, condition) = (format!("ipush/{name}"), format!("--for=condition={condition}"));
        let waited = ["wait", &condition, &object, "--timeout=60s"];
        let arguments = [&["-n", self.namespace.as_str()], &waited[..]].concat();
        let waited = self.plane.kubectl(&arguments).await;
        assert!(waited.success, "{}\n{:#}", waited.stderr, self.get(name).await);
    }

    async fn get(&self, name: &str) -> Value {
        let object = self.kubectl(&["get", "ipush", name, "-o", "json"]).await;
        serde_json::from_str(&object).unwrap()
    }

    /// Waits until an object is as it should be.
    async fn until(&self, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
        until(async || self.get(name).await, holds).await
    }
}

/// Of an operator that looks after a namespace, and may connect to registries on this machine.
fn config(namespace: &str) -> OperatorConfig {
    let egress = Egress::operator().allow("127.0.0.1".parse().unwrap());
    OperatorConfig {
        namespaces: vec![namespace.to_owned()],
        listen: None,
        network: NetworkSettings { egress, ..NetworkSettings::default() },
        ..OperatorConfig::default()
    }
}

/// Reads an object until it is as it should be.
async fn until(get: impl AsyncFn() -> Value, holds: impl Fn(&Value) -> bool) -> Value {
    let found = async {
        loop {
            let object = get().await;
            if holds(&object) {
                return object;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let Ok(object) = tokio::time::timeout(PATIENCE, found).await else {
        panic!("{:#}", get().await)
    };
    object
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == kind);
    found.unwrap_or(&Value::Null)
}

fn reason_of<'a>(object: &'a Value, kind: &str) -> &'a str {
    condition(object, kind)["reason"].as_str().unwrap_or("")
}

fn spec(source: &str, destination: &str, more: &Value) -> Value {
    let side = |host: &str, tag: &str| json!({"reference": format!("docker://{host}/app:{tag}"), "tlsPolicy": "PlainHTTP"});
    let mut spec = json!({"source": side(source, "1"), "destination": side(destination, "copy")});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

/// Puts an index under the name that the objects here read; returns its digest.
async fn fill(host: &str, seed: u64) -> String {
    fill_as(host, seed, "1").await
}

/// The same under another tag.
async fn fill_as(host: &str, seed: u64, tag: &str) -> String {
    let content = images::index(seed);
    let folder = tempfile::tempdir().unwrap();
    content.write_layout(folder.path(), Some("1"));
    let source = format!("oci:{}:1", folder.path().display());
    let mut options = push::options(&source, &format!("docker://{host}/app:{tag}"));
    options.destination.access.tls = TlsPolicy::PlainHttp;
    push::run(&options).await.unwrap();
    content.digest().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_becomes_ready_and_kubectl_shows_it() {
    let registry = DockerRegistry::plain();
    let digest = fill(&registry.host, 1).await;
    let operator = Operator::start().await;
    operator
        .apply("web", &spec(&registry.host, &registry.host, &json!({"runPolicy": "Once"})))
        .await;
    operator.wait("web", "Ready").await;

    let object = operator.get("web").await;
    let status = &object["status"];
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(reason_of(&object, "Ready"), "PushSucceeded");
    assert_eq!(condition(&object, "SourceResolved")["status"], "True");
    assert_eq!(condition(&object, "Reconciling"), &Value::Null);
    assert_eq!(status["source"]["digest"], digest);
    assert_eq!(status["artifact"]["digest"], digest);
    let platforms: Vec<&Value> = status["artifact"]["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["platform"])
        .collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64", "linux/s390x"]);

    let columns = operator.kubectl(&["get", "ipush", "-o", "wide"]).await;
    let heads: Vec<&str> = columns.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        heads,
        [
            "NAME",
            "DESTINATION",
            "READY",
            "REASON",
            "PROGRESS",
            "AGE",
            "DIGEST",
            "LAST",
            "PUSH",
            "RETRIES",
            "MESSAGE"
        ]
    );
    let row = columns.lines().nth(1).unwrap();
    for cell in
        ["web", &format!("docker://{}/app:copy", registry.host), "True", "PushSucceeded", &digest]
    {
        assert!(row.contains(cell), "{row}");
    }
    let described = operator.kubectl(&["describe", "ipush", "web"]).await;
    assert!(described.contains(&format!("pushed {digest} to `docker://")), "{described}");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_when_nothing_changed() {
    let registry = Registry::start().await;
    fill(&registry.host, 2).await;
    let operator = Operator::start().await;
    let spec = spec(&registry.host, &registry.host, &json!({"interval": "1h"}));
    operator.apply("web", &spec).await;
    operator.wait("web", "Ready").await;
    let before = operator.get("web").await;

    // A second operator believes the first one, and checks at some time within the interval.
    registry.take_log();
    let (plane, namespace) = operator.stop().await;
    let operator = Operator::start_in(plane, namespace, None).await;
    request(&operator, "web", "1").await;
    registry.received("HEAD /v2/app/manifests/copy").await;
    // Whatever it has to say is said by the time it has stopped.
    let (plane, namespace) = operator.stop().await;
    let operator = Operator::start_in(plane, namespace, None).await;
    let mut after = operator.get("web").await;
    assert_eq!(after["status"]["lastHandledReconcileAt"], "1");
    after["status"].as_object_mut().unwrap().remove("lastHandledReconcileAt");
    assert_eq!(after["status"], before["status"]);
    let asked: Vec<String> = registry.take_log();
    let manifests: Vec<&String> =
        asked.iter().filter(|line| line.contains("/manifests/")).collect();
    assert_eq!(manifests.len(), 2, "{asked:?}");
    assert!(
        !asked.iter().any(|line| line.starts_with("PUT") || line.starts_with("POST")),
        "{asked:?}"
    );
    operator.stop().await;
}

/// Asks for a look at once.
async fn request(operator: &Operator, name: &str, value: &str) {
    let (object, value) = (format!("ipush/{name}"), format!("imagepush.dev/requestedAt={value}"));
    operator.kubectl(&["annotate", "--overwrite", &object, &value]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_ends_a_stall_and_flux_reads_that_it_was_heard() {
    let registry = Registry::start().await;
    let operator = Operator::start().await;
    let spec = spec(&registry.host, &registry.host, &json!({"runPolicy": "Once"}));
    operator.apply("web", &spec).await;
    operator.wait("web", "Stalled").await;
    assert_eq!(reason_of(&operator.get("web").await, "Stalled"), "SourceNotFound");
    fill(&registry.host, 9).await;
    let asked = "reconcile.fluxcd.io/requestedAt=2026-01-01T00:00:00Z";
    operator.kubectl(&["annotate", "ipush/web", asked]).await;
    operator.wait("web", "Ready").await;
    let object = operator.get("web").await;
    assert_eq!(object["status"]["lastHandledReconcileAt"], "2026-01-01T00:00:00Z");
    assert_eq!(condition(&object, "Stalled"), &Value::Null);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_and_sends_nothing() {
    let registry = Registry::start().await;
    fill(&registry.host, 3).await;
    registry.take_log();
    let operator = Operator::start().await;
    let more = json!({"runPolicy": "Once", "mode": "DryRun"});
    operator.apply("web", &spec(&registry.host, &registry.host, &more)).await;
    operator.wait("web", "Ready").await;
    let object = operator.get("web").await;
    assert_eq!(reason_of(&object, "Ready"), "DryRunSucceeded");
    assert_eq!(object["status"]["preview"]["images"], 3);
    assert_eq!(object["status"]["artifact"], Value::Null);
    let written = registry.take_log();
    assert!(
        !written.iter().any(|line| line.starts_with("PUT") || line.starts_with("POST")),
        "{written:?}"
    );
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_a_secret_and_a_corrected_one_heals() {
    let source = Registry::start().await;
    fill(&source.host, 4).await;
    let destination = Registry::start().await;
    destination.set_login(Login::basic("user", canary::secret("operator")));
    destination.may_see(canary::secret("operator wrong"));
    let operator = Operator::start().await;
    let mut spec = spec(&source.host, &destination.host, &json!({"runPolicy": "Once"}));
    spec["destination"]["secretRef"] = json!({"name": "login"});
    operator.apply("web", &spec).await;
    let object = operator.until("web", |o| reason_of(o, "Ready") == "SecretNotFound").await;
    assert_eq!(reason_of(&object, "Reconciling"), "ProgressingWithRetry");
    assert_eq!(
        condition(&object, "Ready")["message"],
        "secret `login` is not in this namespace; create it, or correct the name"
    );

    let login = async |password: &str| {
        let server = format!("--docker-server={}", destination.host);
        let password = format!("--docker-password={password}");
        let create = ["create", "secret", "docker-registry", "login", "--docker-username=user"];
        operator.kubectl(&["delete", "secret", "login", "--ignore-not-found"]).await;
        operator.kubectl(&[&create[..], &[&server, &password]].concat()).await;
        // Without this, the Secret is looked at again after a minute.
        operator
            .kubectl(&[
                "annotate",
                "--overwrite",
                "ipush/web",
                &format!("look={}", &images::digest(password.as_bytes())[7..27]),
            ])
            .await;
    };
    login(canary::secret("operator wrong")).await;
    let object = operator.until("web", |o| reason_of(o, "Stalled") == "AuthenticationFailed").await;
    assert_eq!(condition(&object, "Ready")["status"], "False");
    assert_eq!(condition(&object, "Reconciling"), &Value::Null);
    let message = condition(&object, "Ready")["message"].as_str().unwrap();
    let refusal = format!(
        "`{}` does not accept the credentials of `user` (`secret login`, key `{}`): the registry \
         answered 401 Unauthorized; check the Secret that `secretRef` names",
        destination.host, destination.host
    );
    assert!(message.ends_with(&refusal), "{message}");
    canary::none_is_in("the status", object["status"].to_string(), &[]);

    login(canary::secret("operator")).await;
    operator.wait("web", "Ready").await;
    // Nobody but the registry that the entry is for has seen it.
    assert!(source.seen().iter().all(|seen| !seen.headers.contains_key("authorization")));
    operator.stop().await;
}

/// Loopback, however it is written, isn't connected to; nor is what the administrator named. The object says so and waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_denied_place_is_told_and_left_alone() {
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    let denied = Egress::operator().deny("*.internal".parse().unwrap());
    let operator = Operator::start_with(plane, namespace, None, denied).await;
    let registry = Registry::start().await;
    let port = registry.host.split_once(':').unwrap().1;
    let policy = "the egress policy does not let connections lead there";
    for (name, host, why) in [
        ("plain", registry.host.clone(), "`127.0.0.1` is a loopback address".to_owned()),
        (
            "metadata",
            "169.254.169.254".to_owned(),
            "`169.254.169.254` is a link-local address".to_owned(),
        ),
        ("by-name", format!("localhost:{port}"), "`localhost` has the address `".to_owned()),
        ("named", "api.internal".to_owned(), "`api.internal` is denied as `*.internal`".to_owned()),
    ] {
        operator.apply(name, &spec(&host, &host, &json!({"runPolicy": "Once"}))).await;
        operator.wait(name, "Stalled").await;
        let object = operator.get(name).await;
        assert_eq!(reason_of(&object, "Stalled"), "AccessDenied", "{object:#}");
        let message = condition(&object, "Ready")["message"].as_str().unwrap();
        assert!(message.contains(&why) && message.contains(policy), "{message}");
        assert_eq!(object["status"]["retry"]["nextRetryTime"], Value::Null, "{object:#}");
    }
    assert_eq!(registry.seen().len(), 0);
    operator.stop().await;
}

/// What answers may be no registry at all, but something that only the operator can reach.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_registry_is_not_quoted() {
    let operator = Operator::start().await;
    let (registry, to) = (Registry::start().await, Registry::start().await);
    for (name, status, body) in [
        ("page", 500, "<html>canary"),
        ("json", 403, r#"{"AccessKeyId": "canary", "Token": "canary"}"#),
        ("ok", 200, r#"{"AccessKeyId": "canary", "Token": "canary"}"#),
    ] {
        registry.add_rule(Rule::each("GET", name, Act::Respond(status, vec![], body.into())));
        let mut spec = spec(&registry.host, &to.host, &json!({"runPolicy": "Once"}));
        spec["source"]["reference"] = json!(format!("docker://{}/{name}:1", registry.host));
        spec["destination"]["reference"] = json!(format!("docker://{}/app:{name}", to.host));
        operator.apply(name, &spec).await;
        let object = operator
            .until(name, |object| {
                let reason = reason_of(object, "Ready");
                !["", "Progressing", "Pending"].contains(&reason)
                    && condition(object, "Ready")["status"] == "False"
                    && registry.seen().iter().any(|seen| seen.path.contains(name))
            })
            .await;
        assert!(!object["status"].to_string().contains("canary"), "{object:#}");
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_may_pass_is_retried() {
    let source = Registry::start().await;
    fill(&source.host, 5).await;
    let destination = Registry::start().await;
    destination.add_rule(Rule::each("POST", "/v2/app/blobs/uploads/", Act::Status(503)).nth(1));
    let operator = Operator::start().await;
    let more = json!({"runPolicy": "Once", "retry": {"limit": 0}});
    operator.apply("web", &spec(&source.host, &destination.host, &more)).await;
    operator.wait("web", "Ready").await;
    let object = operator.get("web").await;
    assert_eq!(object["status"]["retry"], Value::Null);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn suspend_and_edit_act_while_a_push_runs() {
    let source = Registry::start().await;
    fill(&source.host, 6).await;
    let stuck = Registry::start().await;
    stuck.add_rule(Rule::each("POST", "/v2/app/blobs/uploads/", Act::Stall));
    let good = Registry::start().await;
    let operator = Operator::start().await;
    let to_stuck = spec(&source.host, &stuck.host, &json!({"interval": "1h"}));
    operator.apply("web", &to_stuck).await;
    stuck.received("POST /v2/app/blobs/uploads/").await;

    let mut suspended = to_stuck.clone();
    suspended["suspend"] = json!(true);
    operator.apply("web", &suspended).await;
    let object = operator.until("web", |o| reason_of(o, "Ready") == "Suspended").await;
    assert_eq!(object["status"]["observedGeneration"], 2);
    assert_eq!(condition(&object, "Reconciling"), &Value::Null);

    stuck.take_log();
    operator.apply("web", &to_stuck).await;
    stuck.received("POST /v2/app/blobs/uploads/").await;
    operator.apply("web", &spec(&source.host, &good.host, &json!({"interval": "1h"}))).await;
    operator.wait("web", "Ready").await;
    assert_eq!(operator.get("web").await["status"]["observedGeneration"], 4);

    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_converges() {
    let source = Registry::start().await;
    let digest = fill(&source.host, 7).await;
    let destination = Registry::start().await;
    destination.add_rule(Rule::each("PUT", "/v2/app/manifests/copy", Act::Stall).nth(1));
    let operator = Operator::start().await;
    operator
        .apply("web", &spec(&source.host, &destination.host, &json!({"runPolicy": "Once"})))
        .await;
    destination.received("PUT /v2/app/manifests/copy").await;
    let stopped = std::time::Instant::now();
    let (plane, namespace) = operator.stop().await;
    assert!(stopped.elapsed() < Duration::from_secs(25), "{:?}", stopped.elapsed());
    let object = ["get", "ipush", "web", "-n", &namespace, "-o", "json"];
    let object = plane.kubectl(&object).await.succeeded();
    let object: Value = serde_json::from_str(&object).unwrap();
    assert_eq!(reason_of(&object, "Ready"), "Progressing");
    assert_eq!(reason_of(&object, "Reconciling"), "ProgressingWithRetry");
    let message = "interrupted by shutdown; the push begins anew when an operator runs again";
    assert_eq!(condition(&object, "Reconciling")["message"], message);
    assert_eq!(destination.open_sessions(), 0);
    let operator = Operator::start_in(plane, namespace, None).await;
    operator.wait("web", "Ready").await;
    assert_eq!(operator.get("web").await["status"]["artifact"]["digest"], digest);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_metrics_are_served() {
    let (operator, address) = listening().await;
    assert_eq!(get(address, "/livez").await, (200, "ok".into()));
    let (status, metrics) = get(address, "/metrics").await;
    assert_eq!(status, 200);
    let listed =
        "imagepush_api_requests_total{verb=\"list\",resource=\"imagepushes\",code=\"2xx\"} 1";
    for line in ["imagepush_inflight 0", "imagepush_leader 1", listed, "# EOF"] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    let unknown: Vec<String> = served(&metrics).difference(&documented()).cloned().collect();
    assert_eq!(unknown, [""; 0], "docs/operations.md lacks them");
    operator.stop().await;
}

/// The names of the metrics that are served.
fn served(metrics: &str) -> BTreeSet<String> {
    let of_type = |line: &str| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some(match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
    };
    metrics.lines().filter_map(of_type).collect()
}

/// The names in the document's table, but for those of objects, which are switched off.
fn documented() -> BTreeSet<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| !line.contains("`--object-metrics` only"));
    let name = |row: &str| {
        let (name, rest) = row.strip_prefix("| `")?.split_once('`')?;
        (name.starts_with("imagepush_") && rest.starts_with(" |")).then(|| name.to_owned())
    };
    rows.filter_map(name).filter(|name| !name.contains('{')).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_an_object_ends_its_push() {
    let source = Registry::start().await;
    fill(&source.host, 8).await;
    let stuck = Registry::start().await;
    for method in ["PATCH", "PUT"] {
        stuck.add_rule(Rule::each(method, "/v2/app/blobs/uploads/", Act::Stall));
    }
    let (operator, address) = listening().await;
    operator.apply("gone", &spec(&source.host, &stuck.host, &json!({"interval": "1h"}))).await;
    inflight(address, 1).await;
    let begun = async {
        while stuck.open_sessions() == 0 {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.expect("an upload begins");
    operator.kubectl(&["delete", "ipush", "gone", "--timeout=30s"]).await;
    let deleted = std::time::Instant::now();
    inflight(address, 0).await;
    assert!(deleted.elapsed() < Duration::from_secs(5), "{:?}", deleted.elapsed());
    assert_eq!(stuck.open_sessions(), 0);
    operator.stop().await;
}

/// An operator that is ready, and where it serves its probes.
async fn listening() -> (Operator, SocketAddr) {
    let plane = control_plane().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let operator = Operator::start_in(plane, plane.namespace().await, Some(address)).await;
    let ready = async {
        while get(address, "/readyz").await != (200, "ok".into()) {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("the operator is ready");
    (operator, address)
}

/// Waits until so many attempts run.
async fn inflight(address: SocketAddr, count: usize) {
    let line = format!("imagepush_inflight {count}\n");
    let reached = async {
        while !get(address, "/metrics").await.1.contains(&line) {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("never: {line}"));
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    match client.get(format!("http://{address}{path}")).send().await {
        Ok(answer) => (answer.status().as_u16(), collect(answer).await),
        Err(_) => (0, String::new()),
    }
}

async fn collect(mut answer: reqwest::Response) -> String {
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        text.extend_from_slice(&chunk);
    }
    String::from_utf8(text).unwrap()
}
