//! No secret that objects of a cluster name gets out of the operator: not into their status, into events, into metrics or traces, into its log
//! however much is logged, into a file, or to where others see processes.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::run::program;
use super::seen_by_others;
use crate::support::canary::{self, Canary};
use crate::support::collector::Collector;
use crate::support::control_plane::{ControlPlane, POLL, control_plane};
use crate::support::images;
use crate::support::push;
use crate::support::registry::{Act, Login, Registry, Rule};

/// How long a step may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A proxy that the environment names and the operator is not told to use.
const NO_PROXY_AT_ALL: &str = "http://127.0.0.1:9";

/// The operator as a program, and where it serves its metrics; it ends with the test.
struct Operator(Child, SocketAddr);

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The operator with everything logged, and every object measured; its collector wants a token.
fn start(
    plane: &ControlPlane,
    namespace: &str,
    folder: &Path,
    (collector, token): (&Collector, &Canary),
) -> Operator {
    fs::create_dir(folder.join("tmp")).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = format!("--listen={free}");
    let told = ["--log-format=json", "--object-metrics", "--egress-allow=127.0.0.1", &listen];
    let mut program = program(folder, &[&["operator"][..], &told].concat());
    program.env("KUBECONFIG", plane.kubeconfig()).env("IMAGEPUSH_WATCH_NAMESPACE", namespace);
    program.env("RUST_LOG", "trace").env("TMPDIR", folder.join("tmp"));
    program.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint);
    program.env("OTEL_EXPORTER_OTLP_HEADERS", format!("x-token={}", token.text()));
    // Nothing answers there: whoever goes by way of that doesn't get anywhere.
    program.envs([("http_proxy", NO_PROXY_AT_ALL), ("ALL_PROXY", NO_PROXY_AT_ALL)]);
    program.stderr(fs::File::create(folder.join("log")).unwrap());
    program.stdout(Stdio::null());
    Operator(program.spawn().unwrap(), free)
}

/// What it serves of all that it has counted.
async fn metrics(operator: &Operator) -> String {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut answer = client.get(format!("http://{}/metrics", operator.1)).send().await.unwrap();
    let mut text = vec![];
    while let Some(chunk) = answer.chunk().await.unwrap() {
        text.extend_from_slice(&chunk);
    }
    String::from_utf8(text).unwrap()
}

fn secret(name: &str, config: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": name}, "stringData": {".dockerconfigjson": config.to_string()},
    })
}

fn login(host: &str, password: &Canary) -> Value {
    let auth = STANDARD.encode(format!("alice:{}", password.text()));
    json!({"auths": {host: {"auth": auth}}})
}

/// An object with a destination of its own: who else claims one has to wait, and says nothing but that.
fn object(name: &str, source: &str, host: &str) -> Value {
    let side =
        |name: String| json!({"reference": format!("docker://{name}"), "tlsPolicy": "PlainHTTP"});
    let mut destination = side(format!("{host}/{name}:1"));
    destination["secretRef"] = json!({"name": name});
    json!({
        "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush", "metadata": {"name": name},
        "spec": {"source": side(format!("{source}/app:1")), "destination": destination, "runPolicy": "Once"},
    })
}

/// Waits until each of these objects says this of itself.
async fn until(plane: &ControlPlane, namespace: &str, expected: &[(&str, &str)]) -> String {
    let mut text = String::new();
    let said = async {
        loop {
            let objects = ["-n", namespace, "get", "ipush", "-o", "json"];
            text = plane.kubectl(&objects).await.succeeded();
            let objects: Value = serde_json::from_str(&text).unwrap();
            let says = |name: &str, words: &str| {
                let items = objects["items"].as_array().into_iter().flatten();
                let mut named = items.filter(|object| object["metadata"]["name"] == name);
                named.any(|object| object["status"]["conditions"].to_string().contains(words))
            };
            if expected.iter().all(|(name, words)| says(name, words)) {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let said = tokio::time::timeout(PATIENCE, said).await;
    assert!(said.is_ok(), "the objects don't say what is expected: {text}");
    text
}

/// Pushes what is pushed on from there.
async fn fill(source: &Registry) {
    let layout = tempfile::tempdir().unwrap();
    images::image(1).write_layout(layout.path(), Some("1"));
    let from = format!("oci:{}:1", layout.path().display());
    let mut fill = push::options(&from, &format!("docker://{}/app:1", source.host));
    fill.destination.access.tls = imagepush::access::TlsPolicy::PlainHttp;
    push::run(&fill).await.unwrap();
}

/// A Secret and an object for each registry, and for a login that can't be read.
fn items(registries: &[Registry; 5], password: &Canary) -> Vec<Value> {
    let [registry, stranger, repeating, pages, source] = registries;
    vec![
        secret("pushed", &login(&registry.host, password)),
        secret("refused", &login(&stranger.host, password)),
        secret("repeated", &login(&repeating.host, password)),
        secret("paged", &login(&pages.host, password)),
        secret("malformed", &json!({"auths": password.text()})),
        object("pushed", &source.host, &registry.host),
        object("refused", &source.host, &stranger.host),
        object("repeated", &source.host, &repeating.host),
        object("paged", &source.host, &pages.host),
        object("malformed", &source.host, &registry.host),
    ]
}

/// One that takes the password, one that doesn't, one that repeats it, one that is none, and the one that is filled.
async fn registries(password: &Canary, token: &Canary, page: &Canary) -> [Registry; 5] {
    let [registry, stranger, repeating, source] = [
        Registry::start().await,
        Registry::start().await,
        Registry::start().await,
        Registry::start().await,
    ];
    registry.set_login(Login::bearer("alice", password.text()).naming_tokens(token.text()));
    stranger.set_login(Login::basic("alice", canary::secret("cli::operator_secrets")));
    stranger.may_see(password.text());
    repeating.set_login(Login::basic("alice", password.text()));
    let words = format!("no {} for you", password.text());
    let denied = json!({"errors": [{"code": "DENIED", "message": words}]}).to_string();
    let denied = Act::Respond(403, vec![], denied.into());
    repeating.add_rule(Rule::each("POST", "/uploads/", denied));
    let pages = Registry::start().await;
    let no_registrys = Act::Respond(403, vec![], format!("<html>{}", page.text()).into());
    pages.add_rule(Rule::each("POST", "/uploads/", no_registrys));
    fill(&source).await;
    [registry, stranger, repeating, pages, source]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_leaves_no_trace_of_a_secret() {
    let (password, token, page) = (Canary::password(), Canary::token(), Canary::token());
    let collectors = Canary::token();
    let all = registries(&password, &token, &page).await;
    let [registry, stranger, repeating, pages, source] = &all;
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start().await;
    let mut operator = start(plane, &namespace, folder.path(), (&collector, &collectors));
    let items = items(&all, &password);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    plane.kubectl_with(&["-n", &namespace, "create", "-f", "-"], &list).await.succeeded();
    let expected = [
        ("pushed", "PushSucceeded"),
        ("refused", "AuthenticationFailed"),
        ("repeated", "[hidden]"),
        ("paged", "403 Forbidden"),
        ("malformed", "secret `malformed` cannot be used"),
    ];
    let objects = until(plane, &namespace, &expected).await;
    let metrics = metrics(&operator).await;
    for counted in [&registry.host, "name=\"refused\"", "reason=\"AuthenticationFailed\""] {
        assert!(metrics.contains(counted), "{counted}: {metrics}");
    }
    let seen_by_others = seen_by_others::shown(operator.0.id());
    let events =
        plane.kubectl(&["-n", &namespace, "get", "events", "-o", "json"]).await.succeeded();
    kill_process(Pid::from_child(&operator.0), Signal::TERM).unwrap();
    assert_eq!(operator.0.wait().unwrap().code(), Some(0));
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("\"level\":\"TRACE\""), "{log}");
    let traces = collector.received();
    assert!(collector.has("AuthenticationFailed"), "{}", String::from_utf8_lossy(&traces));
    let tokens = collector.headers("x-token");
    assert!(!tokens.is_empty() && tokens.iter().all(|it| it == collectors.text()), "{tokens:?}");
    for secret in [&password, &token, &page, &collectors] {
        secret.is_not_in("the metrics", &metrics);
        secret.is_not_in("the traces", &traces);
        secret.is_not_in("the objects", &objects);
        secret.is_not_in("the events", &events);
        secret.is_not_in("the log", &log);
        secret.is_not_below(&folder.path().join("tmp"));
        for (name, text) in &seen_by_others {
            // The collector's token is given by the environment.
            if *name == "cmdline" || secret.text() != collectors.text() {
                secret.is_not_in(name, text);
            }
        }
        for other in [stranger, repeating, pages, source] {
            token.is_not_in("a foreign request", format!("{:?}", other.seen()));
            collectors.is_not_in("a foreign request", format!("{:?}", other.seen()));
        }
        password.is_not_in("a foreign request", format!("{:?}", source.seen()));
    }
}
