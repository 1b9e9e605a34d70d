//! What GitOps tools see of an object at each step of its life, as docs/gitops.md tells it.

use std::fs;
use std::path::Path;

use super::*;
use crate::gitops::{argocd, kstatus::kstatus};
use crate::support::chart::tool;
use crate::support::control_plane::Output;

const UPLOADS: &str = "/v2/app/blobs/uploads/";

/// Objects of each kind, brought there by a real operator, compared with the table that readers are given.
#[tokio::test(flavor = "multi_thread")]
async fn the_document_tells_each_step() {
    let source = Registry::start().await;
    fill(&source.host, 11).await;
    let operator = Operator::start().await;
    let good = Registry::start().await;
    let to = |host: &str, name: &str| {
        let mut spec = spec(&source.host, host, &json!({"interval": "1h", "retry": {"limit": 0}}));
        spec["destination"]["reference"] = json!(format!("docker://{host}/app:{name}"));
        spec
    };
    let mut troubled = Vec::new();
    for (name, act) in
        [("pushing", Act::Stall), ("retrying", Act::Status(503)), ("stalled", Act::Status(403))]
    {
        let registry = Registry::start().await;
        registry.add_rule(Rule::each("POST", UPLOADS, act));
        operator.apply(name, &to(&registry.host, name)).await;
        troubled.push(registry);
    }
    for name in ["done", "edited", "paused"] {
        operator.apply(name, &to(&good.host, name)).await;
    }
    let mut suspended = to(&good.host, "unfinished");
    suspended["suspend"] = json!(true);
    operator.apply("unfinished", &suspended).await;

    for name in ["done", "edited", "paused"] {
        operator.wait(name, "Ready").await;
    }
    let mut suspended = to(&good.host, "paused");
    suspended["suspend"] = json!(true);
    operator.apply("paused", &suspended).await;
    operator.until("paused", |it| it["status"]["observedGeneration"] == 2).await;
    operator.until("unfinished", |it| reason_of(it, "Ready") == "Suspended").await;
    operator.wait("stalled", "Stalled").await;
    operator.until("pushing", |it| reason_of(it, "Reconciling") == "Progressing").await;
    operator.until("retrying", |it| reason_of(it, "Reconciling") == "ProgressingWithRetry").await;

    let mut rows =
        Rows { plane: operator.plane, namespace: operator.namespace.clone(), found: vec![] };
    rows.add(1, "first attempt under way", "pushing").await;
    rows.add(2, "failed, to be tried again", "retrying").await;
    rows.add(3, "done", "done").await;
    rows.add(5, "can't be done", "stalled").await;
    rows.add(6, "suspended after it was done", "paused").await;
    rows.add(7, "suspended before it was done", "unfinished").await;
    // What comes now is seen by nobody.
    let (plane, namespace) = operator.stop().await;
    let mut edited = to(&good.host, "edited");
    edited["interval"] = json!("2h");
    for (name, spec) in [("created", to(&good.host, "created")), ("edited", edited)] {
        let object = json!({
            "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": {"namespace": namespace, "name": name}, "spec": spec,
        });
        plane.kubectl_with(&["apply", "-f", "-"], &object.to_string()).await.succeeded();
    }
    rows.add(0, "created, not seen yet", "created").await;
    rows.add(4, "done, then edited, not seen yet", "edited").await;

    let expected = rows.text();
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gitops.md");
    let text = fs::read_to_string(text).unwrap();
    assert!(text.contains(&expected), "docs/gitops.md should have these rows:\n{expected}");
}

/// Rows of the table, each with its place in it.
struct Rows {
    plane: &'static ControlPlane,
    namespace: String,
    found: Vec<(usize, String)>,
}

impl Rows {
    /// The conditions of an object, and what the tools make of them.
    async fn add(&mut self, place: usize, step: &str, name: &str) {
        let get = ["get", "-n", &self.namespace, "ipush", name, "-o", "json"];
        let object = self.plane.kubectl(&get).await.succeeded();
        let object: Value = serde_json::from_str(&object).unwrap();
        let shown = |kind: &str| match condition(&object, kind) {
            Value::Null => "–".to_owned(),
            it => {
                format!("{} `{}`", it["status"].as_str().unwrap(), it["reason"].as_str().unwrap())
            }
        };
        let health = argocd::run("health.lua", &object);
        let row = [
            step,
            &shown("Ready"),
            &shown("Reconciling"),
            &shown("Stalled"),
            &kstatus(std::slice::from_ref(&object)).await[0],
            health["status"].as_str().unwrap(),
            self.waited_for(name).await,
        ];
        self.found.push((place, format!("| {} |\n", row.join(" | "))));
    }

    /// For which condition `kubectl wait` returns.
    async fn waited_for(&self, name: &str) -> &'static str {
        let name = format!("ipush/{name}");
        for (condition, shown) in [("Ready", "`Ready`"), ("Stalled", "`Stalled`")] {
            let condition = format!("--for=condition={condition}");
            let wait = ["wait", "-n", &self.namespace, &condition, "--timeout=0", &name];
            if self.plane.kubectl(&wait).await.success {
                return shown;
            }
        }
        "–"
    }

    fn text(mut self) -> String {
        self.found.sort();
        self.found.into_iter().map(|(_, row)| row).collect()
    }
}

/// Helm 4 waits by kstatus: until the push is done, and no longer once it can't be.
#[tokio::test(flavor = "multi_thread")]
async fn helm_waits_for_the_push() {
    let source = Registry::start().await;
    fill(&source.host, 12).await;
    let (good, closed) = (Registry::start().await, Registry::start().await);
    closed.add_rule(Rule::each("POST", UPLOADS, Act::Status(403)));
    let operator = Operator::start().await;
    let more = json!({"runPolicy": "Once"});

    install(&operator, "good", &spec(&source.host, &good.host, &more)).await.succeeded();
    assert_eq!(condition(&operator.get("good").await, "Ready")["status"], "True");

    let started = std::time::Instant::now();
    let failed = install(&operator, "closed", &spec(&source.host, &closed.host, &more)).await;
    assert!(!failed.success, "{}", failed.stdout);
    assert!(started.elapsed() < PATIENCE, "helm waited to the end: {}", failed.stderr);
    assert_eq!(condition(&operator.get("closed").await, "Stalled")["status"], "True");
    operator.stop().await;
}

/// Installs a release that is one ImagePush, and waits for twice as long as a step may take.
async fn install(operator: &Operator, name: &str, spec: &Value) -> Output {
    let chart = tempfile::tempdir().unwrap();
    let about = json!({"apiVersion": "v2", "name": name, "version": "1.0.0"});
    fs::write(chart.path().join("Chart.yaml"), about.to_string()).unwrap();
    fs::create_dir(chart.path().join("templates")).unwrap();
    let object = json!({
        "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
        "metadata": {"name": name}, "spec": spec,
    });
    fs::write(chart.path().join("templates/object.yaml"), object.to_string()).unwrap();
    let timeout = format!("{}s", 2 * PATIENCE.as_secs());
    let arguments = [
        "install",
        name,
        chart.path().to_str().unwrap(),
        "--namespace",
        &operator.namespace,
        "--kubeconfig",
        operator.plane.kubeconfig().to_str().unwrap(),
        "--wait",
        "--timeout",
        &timeout,
    ];
    tool("helm", &arguments).await
}
