//! The operator with thousands of objects on a real API server, for `make bench-operator`.
//!
//! The program runs as a process of its own, with an administrator's kubeconfig. Objects are idle: each has been pushed to
//! a tag of its own, and is due again after a day. Nothing is asserted but that it gets there.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use imagepush::access::TlsPolicy;
use imagepush::api::v1alpha1::ImagePush;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use kube_runtime::watcher::{self, watcher};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::support::control_plane::{ControlPlane, control_plane};
use crate::support::registry::Registry;
use crate::support::{images, push};

/// Objects that are idle, where `BENCH_OBJECTS` doesn't say.
const OBJECTS: usize = 5000;

/// Objects that are made at once.
const BURST: usize = 500;

/// Requests of ours to the API server at the same time.
const PARALLEL: usize = 32;

/// Each step may take this long.
const PATIENCE: Duration = Duration::from_mins(20);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: `make bench-operator`"]
async fn with_many_objects() {
    let count = std::env::var("BENCH_OBJECTS").map_or(OBJECTS, |count| count.parse().unwrap());
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    let registry = Registry::start().await;
    fill(&registry.host).await;
    let api: Api<ImagePush> = Api::namespaced(plane.admin_client().await, &namespace);
    make(&api, &registry.host, "idle", count).await;

    let began = Instant::now();
    let operator = Operator::start(plane, &namespace);
    ready(&api, count).await;
    let first = began.elapsed();
    operator.stop().await;

    let before = versions(&api).await;
    registry.take_log();
    let began = Instant::now();
    let operator = Operator::start(plane, &namespace);
    operator.looked(count).await;
    let steady = began.elapsed();
    // Whatever it has to say about them would have been said by then.
    sleep(Duration::from_secs(10)).await;
    let idle_memory = operator.peak_memory_mib();
    let (writes, requests) = (changed(&before, &versions(&api).await), registry.take_log().len());

    let waits = burst(&api, &registry.host).await;
    ready(&api, count + BURST).await;
    let memory = operator.peak_memory_mib();
    operator.stop().await;

    let at = |percent: usize| shown(waits[(waits.len() - 1) * percent / 100]);
    println!("\n| what | measured | wanted |\n|---|---|---|");
    println!("| {count} objects are pushed for the first time, s | {:.0} | |", first.as_secs_f64());
    println!("| from a restart until all were looked at, s | {} | ≤ 60 |", shown(steady));
    println!("| status writes by that | {writes} | 0 |");
    println!("| requests to the registry by that | {requests} | |");
    println!("| peak memory by then, MiB | {idle_memory} | ≤ 150 |");
    println!(
        "| {BURST} made at once: first status after, s (median; 95 %; all) | {}; {}; {} | ≤ 2 |",
        at(50),
        at(95),
        at(100)
    );
    println!("| peak memory by the end, MiB | {memory} | |");
}

fn shown(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}

async fn fill(host: &str) {
    let folder = tempfile::tempdir().unwrap();
    images::image(1).write_layout(folder.path(), Some("1"));
    let source = format!("oci:{}:1", folder.path().display());
    let mut options = push::options(&source, &format!("docker://{host}/app:1"));
    options.destination.access.tls = TlsPolicy::PlainHttp;
    push::run(&options).await.unwrap();
}

/// Makes objects, each with a tag of its own as its destination. Returns when each was made, by its name.
async fn make(
    api: &Api<ImagePush>,
    host: &str,
    kind: &str,
    count: usize,
) -> HashMap<String, Instant> {
    let side = |tag: &str| json!({"reference": format!("docker://{host}/app:{tag}"), "tlsPolicy": "PlainHTTP"});
    let objects = (0..count).map(|number| {
        let name = format!("{kind}-{number}");
        let object: ImagePush = serde_json::from_value(json!({
            "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush", "metadata": {"name": name},
            "spec": {"source": side("1"), "destination": side(&name), "interval": "24h"},
        }))
        .unwrap();
        async move {
            let made = Instant::now();
            api.create(&PostParams::default(), &object).await.unwrap();
            (object.name_any(), made)
        }
    });
    futures::stream::iter(objects).buffer_unordered(PARALLEL).collect().await
}

/// Makes many objects at once; how long each waited for its first status, shortest first.
async fn burst(api: &Api<ImagePush>, host: &str) -> Vec<Duration> {
    let seen = async {
        let mut seen: HashMap<String, Instant> = HashMap::new();
        let mut events = watcher(api.clone(), watcher::Config::default()).boxed();
        while seen.len() < BURST {
            if let Some(watcher::Event::Apply(object)) = events.try_next().await.unwrap() {
                let told = object.status.as_ref().is_some_and(|it| !it.conditions.is_empty());
                if told && object.name_any().starts_with("burst-") {
                    seen.entry(object.name_any()).or_insert_with(Instant::now);
                }
            }
        }
        seen
    };
    let (seen, made) = tokio::join!(timeout(PATIENCE, seen), async {
        // The watch lists what is there first.
        sleep(Duration::from_secs(5)).await;
        make(api, host, "burst", BURST).await
    });
    let seen = seen.expect("all get a status");
    let mut waits: Vec<Duration> = made.iter().map(|(name, made)| seen[name] - *made).collect();
    waits.sort();
    waits
}

async fn all(api: &Api<ImagePush>) -> Vec<ImagePush> {
    let mut found = vec![];
    let mut page = ListParams::default().limit(500);
    loop {
        let list = api.list(&page).await.unwrap();
        found.extend(list.items);
        match list.metadata.continue_.filter(|it| !it.is_empty()) {
            Some(next) => page.continue_token = Some(next),
            None => return found,
        }
    }
}

/// Waits until so many objects are Ready.
async fn ready(api: &Api<ImagePush>, count: usize) {
    let is_ready = |object: &ImagePush| {
        let status = serde_json::to_value(&object.status).unwrap();
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == "True")
    };
    let reached = async {
        while all(api).await.iter().filter(|object| is_ready(object)).count() < count {
            sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(PATIENCE, reached).await.expect("all get ready");
}

async fn versions(api: &Api<ImagePush>) -> HashMap<String, Option<String>> {
    all(api).await.into_iter().map(|it| (it.name_any(), it.resource_version())).collect()
}

fn changed(
    before: &HashMap<String, Option<String>>,
    after: &HashMap<String, Option<String>>,
) -> usize {
    before.iter().filter(|(name, version)| after.get(*name) != Some(version)).count()
}

/// The program, as a process of its own.
struct Operator {
    process: Child,
    address: SocketAddr,
}

impl Operator {
    fn start(plane: &ControlPlane, namespace: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let binary = std::env::var("IMAGEPUSH_BINARY")
            .unwrap_or_else(|_| env!("CARGO_BIN_EXE_imagepush").to_owned());
        let process = Command::new(binary)
            .args(["operator", "--egress-allow=127.0.0.1", &format!("--listen={address}")])
            .arg(format!("--watch-namespace={namespace}"))
            .env_clear()
            .env("KUBECONFIG", plane.kubeconfig())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, address }
    }

    /// Waits until it has looked at so many objects.
    async fn looked(&self, count: usize) {
        let start = "imagepush_reconcile_total{result=\"ok\"} ";
        let reached = async {
            loop {
                let text = self.metrics().await;
                let line = text.lines().find_map(|line| line.strip_prefix(start));
                if line.is_some_and(|looks| looks.parse::<usize>().unwrap() >= count) {
                    return;
                }
                sleep(Duration::from_millis(200)).await;
            }
        };
        timeout(PATIENCE, reached).await.expect("it looks at all");
    }

    #[expect(clippy::disallowed_methods, reason = "our own program doesn't answer without end")]
    async fn metrics(&self) -> String {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(format!("http://{}/metrics", self.address)).send().await;
        match answer {
            Ok(answer) => {
                String::from_utf8(answer.bytes().await.unwrap_or_default().to_vec()).unwrap()
            }
            Err(_) => String::new(),
        }
    }

    fn peak_memory_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() / 1024
    }

    async fn stop(mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        let ended = tokio::task::spawn_blocking(move || self.process.wait());
        let ended = timeout(PATIENCE, ended).await.expect("it ends").unwrap().unwrap();
        assert!(ended.success(), "{ended}");
    }
}
