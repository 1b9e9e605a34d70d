//! An operator that is killed between any two steps: the next one goes on where it was.

use std::path::Path;
use std::process::Stdio;

use axum::http::Method;
use axum::http::request::Parts;
use tokio::process::{Child, Command};

use imagepush::bundle::Bundle;

use super::cluster::Cluster;
use super::*;
use crate::support::api_proxy::ApiProxy;
use crate::support::registry::Registry;

/// The program, which asks the API server by a proxy, and can be killed.
struct Killable {
    proxy: ApiProxy,
    folder: tempfile::TempDir,
    namespace: String,
    cluster: Cluster,
    registry: DockerRegistry,
}

impl Killable {
    async fn new() -> Self {
        let plane = control_plane().await;
        things::install(plane).await;
        let namespace = plane.namespace().await;
        things::account(plane, &namespace, "deployer", &["*"], &ALL_VERBS).await;
        grant(plane, &namespace, "Legacy").await;
        let proxy = ApiProxy::start(plane).await;
        let folder = tempfile::tempdir().unwrap();
        let create = ["create", "token", "-n", "imagepush-system", "imagepush-controller"];
        let token = plane.kubectl(&create).await.succeeded();
        write_kubeconfig(&folder.path().join("config"), &proxy, token.trim());
        let cluster = Cluster::of(plane, &namespace).await;
        Self { proxy, folder, namespace, cluster, registry: DockerRegistry::plain() }
    }

    fn start(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imagepush"));
        command.args(["operator", "--apply-bundles", "--leader-election=false", "--listen=none"]);
        command.args(["--egress-allow=127.0.0.1", "--watch-namespace", &self.namespace]);
        command.env("KUBECONFIG", self.folder.path().join("config"));
        command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap()
    }

    /// Puts an image with these things where the source is.
    async fn image(&self, pairs: &[(&str, i32)]) {
        let folder = tempfile::tempdir().unwrap();
        image(&things_of(pairs)).write_layout(folder.path(), Some("1"));
        let from = format!("oci:{}:1", folder.path().display());
        let mut options = push::options(&from, &format!("docker://{}/app:1", self.registry.host));
        options.destination.access.tls = TlsPolicy::PlainHttp;
        push::run(&options).await.unwrap();
    }

    fn spec(&self) -> Value {
        let wish = applying("Auto", &json!({"prune": true}));
        let more = json!({"interval": "1h", "customResources": wish});
        spec(&self.registry.host, &self.registry.host, &more)
    }

    /// Has the object looked at by a new operator until these things are there, and looks whether all is as it should be.
    async fn converges(&self, value: &str, expected: &[(&str, i64)]) -> Child {
        let operator = self.start();
        self.cluster.look("web", value).await;
        let is_applied = |object: &Value| condition(object, APPLIED)["status"] == "True";
        let object = self.cluster.until("web", is_applied).await;
        let expected: Vec<(String, i64)> =
            expected.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect();
        assert_eq!(self.cluster.sizes().await, expected, "{object:#}");
        let live = self.cluster.things().await;
        for (name, thing) in &live {
            assert_eq!(thing.owner.as_deref(), Some("web"), "{name}");
            assert_eq!(thing.managers, ["imagepush-bundle"], "{name}");
        }
        let mut kept = inventory(&object);
        kept.sort();
        let known: Vec<_> =
            live.iter().map(|(name, thing)| (name.clone(), Some(thing.uid.clone()))).collect();
        assert_eq!(kept, known);
        operator
    }

    /// What is there is known, whoever looks.
    async fn nothing_is_orphaned(&self) {
        let (object, live) = (self.cluster.get("web").await, self.cluster.things().await);
        let kept = inventory(&object);
        for (name, thing) in live {
            let known = kept.iter().find(|(kept, _)| *kept == name);
            let uid = known.map(|(_, uid)| uid.clone());
            let fits = uid.as_ref().is_some_and(|uid| uid.is_none() || *uid == Some(thing.uid));
            assert!(fits, "{name} is not in {kept:?}");
        }
    }
}

fn inventory(object: &Value) -> Vec<(String, Option<String>)> {
    let entries = object["status"]["inventory"]["entries"].as_array();
    let entry = |entry: &Value| {
        let text = |field: &str| entry[field].as_str().map(str::to_owned);
        (text("name").unwrap(), text("uid"))
    };
    entries.into_iter().flatten().map(entry).collect()
}

fn write_kubeconfig(path: &Path, proxy: &ApiProxy, token: &str) {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": format!("http://{}", proxy.address)}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    });
    std::fs::write(path, config.to_string()).unwrap();
}

/// What is written on a bundle's way: the inventory, and objects but for dry runs.
fn is_step(head: &Parts) -> bool {
    let query = head.uri.query().unwrap_or_default();
    let writes = [Method::PATCH, Method::DELETE, Method::POST].contains(&head.method);
    let of_bundle = head.headers.contains_key("impersonate-user");
    writes && !query.contains("dryRun") && (of_bundle || query.contains("imagepush-inventory"))
}

/// Every write on the way from one bundle to the next is the last thing once that the operator does before SIGKILL.
#[tokio::test(flavor = "multi_thread")]
async fn killed_between_any_two_steps_it_goes_on_where_it_was() {
    let killable = Killable::new().await;
    let mut steps = 0;
    loop {
        killable.image(&[("a", 1), ("b", 1)]).await;
        if steps == 0 {
            killable.cluster.make("web", &killable.spec()).await;
        }
        let mut operator =
            killable.converges(&format!("first {steps}"), &[("a", 1), ("b", 1)]).await;
        killable.image(&[("b", 2), ("c", 1)]).await;
        killable.proxy.fall_silent_after(steps, is_step);
        let value = format!("second {steps}");
        let looked = killable.cluster.look("web", &value);
        let killed = tokio::select! {
            () = killable.proxy.fell_silent() => true,
            _ = looked => false,
        };
        operator.kill().await.unwrap();
        killable.proxy.speak();
        killable.nothing_is_orphaned().await;
        let second = [("b", 2), ("c", 1)];
        let mut operator = killable.converges(&format!("third {steps}"), &second).await;
        operator.kill().await.unwrap();
        if !killed {
            break;
        }
        steps += 1;
    }
    // What is intended, what will be there, two objects, one that goes, what is there.
    assert_eq!(steps, 6);
}

/// The same for the first bundle of all, and for what is taken away at the end.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_begins_or_ends_it_leaves_nothing() {
    let killable = Killable::new().await;
    killable.image(&[("a", 1), ("b", 1)]).await;
    for (at_end, steps) in [(false, 5), (true, 2)] {
        for step in 0..steps {
            let mut operator;
            if at_end {
                killable.cluster.make("web", &killable.spec()).await;
                operator =
                    killable.converges(&format!("at the end {step}"), &[("a", 1), ("b", 1)]).await;
                killable.proxy.fall_silent_after(step, is_step);
            } else {
                operator = killable.start();
                killable.proxy.fall_silent_after(step, is_step);
                killable.cluster.make("web", &killable.spec()).await;
            }
            if at_end {
                killable.cluster.delete("web").await;
            }
            let silent = tokio::time::timeout(PATIENCE, killable.proxy.fell_silent()).await;
            assert!(silent.is_ok(), "there is no step {step}, at the end: {at_end}");
            operator.kill().await.unwrap();
            killable.proxy.speak();
            killable.nothing_is_orphaned().await;
            if !at_end {
                killable.cluster.delete("web").await;
            }
            let mut operator = killable.start();
            killable.cluster.until("web", Value::is_null).await;
            assert_eq!(killable.cluster.sizes().await, [], "{step}, at the end: {at_end}");
            operator.kill().await.unwrap();
        }
    }
}

/// Requests that write blobs' ends and manifests.
fn writes(registry: &Registry) -> usize {
    registry.seen().iter().filter(|seen| seen.method == "PUT").count()
}

/// The same at the destination, where the bundle is only pushed: each write there is once the last request that is heard
/// before SIGKILL. Nothing in status may tell of it by then.
#[tokio::test(flavor = "multi_thread")]
async fn killed_between_image_and_bundle_it_makes_up_for_that() {
    let (killable, destination) = (Killable::new().await, Registry::start().await);
    let more = json!({"interval": "1h", "quiet": true, "customResources": {"policy": "Auto"}});
    let spec = spec(&killable.registry.host, &destination.host, &more);
    killable.image(&[("a", 0)]).await;
    killable.cluster.make("web", &spec).await;
    let mut operator = killable.start();
    killable.cluster.until("web", |object| condition(object, "Ready")["status"] == "True").await;
    operator.kill().await.unwrap();
    let mut steps = 0;
    loop {
        let things = [("a", i32::try_from(steps).unwrap() + 1)];
        killable.image(&things).await;
        let before = writes(&destination);
        destination.add_rule(Rule::each("PUT", "/v2/", Act::Stall).nth(steps + 1));
        let mut operator = killable.start();
        let value = format!("first {steps}");
        let stalled = until(
            async || json!(writes(&destination)),
            |count| count.as_u64().unwrap() > (before + steps) as u64,
        );
        let killed = tokio::select! {
            _ = stalled => true,
            _ = killable.cluster.look("web", &value) => false,
        };
        operator.kill().await.unwrap();
        destination.clear_rules();
        if !killed {
            break;
        }
        let mut operator = killable.start();
        let object = killable.cluster.look("web", &format!("second {steps}")).await;
        operator.kill().await.unwrap();
        let bundle = Bundle::parse(things_of(&things).as_bytes()).unwrap();
        let told = &object["status"]["customResources"];
        assert_eq!(told["digest"], bundle.digest().to_string(), "{steps}: {object:#}");
        steps += 1;
    }
    // Layer and config, the image, the bundle's content, the bundle, and the list.
    assert_eq!(steps, 6);
}
