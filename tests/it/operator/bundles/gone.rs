//! What becomes of applied objects when their ImagePush is deleted, and somebody who is needed for that has gone first.

use super::cluster::Cluster;
use super::*;
use crate::operator::watching::SECOND;
use crate::support::api_double::{Act, ApiDouble};

/// What the operator told of an object, by reason.
async fn told(operator: &Operator, reason: &str) -> Vec<String> {
    let listed = operator.kubectl(&["get", "events.events.k8s.io", "-o", "json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let events = listed["items"].as_array().unwrap().iter();
    let notes = events.filter(|event| event["reason"] == reason).map(|event| &event["note"]);
    notes.map(|note| note.as_str().unwrap().to_owned()).collect()
}

/// A deleted object waits for its account, and goes on when that is back.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_gone_is_waited_for_and_somebody_may_say_not_to() {
    let place = Place::new().await;
    place.image("1", &things_of(&[("a", 1), ("b", 1)])).await;
    place.image("2", &things_of(&[("c", 1)])).await;
    for (tag, name) in [("1", "web"), ("2", "api")] {
        let spec = place.spec(tag, name, &applying("Always", &json!({"prune": true})));
        place.operator.apply(name, &spec).await;
        place.operator.wait(name, "Ready").await;
    }
    let operator = &place.operator;
    operator.kubectl(&["delete", "serviceaccount", "deployer"]).await;
    operator.kubectl(&["delete", "ipush", "web", "api", "--wait=false"]).await;
    let force = ["annotate", "ipush/api", "imagepush.dev/force-cleanup=true"];
    operator.kubectl(&force).await;
    operator.kubectl(&["wait", "--for=delete", "ipush/api", "--timeout=60s"]).await;
    assert_eq!(
        told(operator, "PruneSkipped").await,
        ["what was applied stays: somebody has asked for it by annotation"]
    );
    // The other one is still there, with all that it has applied.
    assert_eq!(
        operator.get("web").await["metadata"]["finalizers"],
        json!(["imagepush.dev/cleanup"])
    );
    assert_eq!(place.names().await, ["a", "b", "c"]);
    let namespace = &operator.namespace;
    things::account(operator.plane, namespace, "deployer", &["*"], &ALL_VERBS).await;
    operator.kubectl(&["wait", "--for=delete", "ipush/web", "--timeout=60s"]).await;
    assert_eq!(place.names().await, ["c"]);
    assert_eq!(told(operator, "Pruned").await, ["2 objects of the image's bundle taken away"]);
    place.operator.stop().await;
}

/// An object that is being deleted, which has applied a thing as an account.
fn deleted(minutes: i64) -> Value {
    let at = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes);
    let side = |name: &str| json!({"reference": format!("docker://127.0.0.1:1/{name}:1")});
    json!({
        "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
        "metadata": {"namespace": "n", "name": "a", "uid": "a", "generation": 1,
            "deletionTimestamp": at.to_string(), "finalizers": ["imagepush.dev/cleanup"]},
        "spec": {"source": side("a"), "destination": side("b"), "interval": "1h",
            "customResources": {"policy": "Always",
                "apply": {"serviceAccountName": "deployer", "prune": true}}},
        "status": {"inventory": {"entries": [{
            "group": things::GROUP, "version": "v1", "kind": "Thing", "name": "a", "uid": "1"}]}},
    })
}

/// However long nobody was there to try, it is tried from now on: for a minute where the account is gone, and for ten where
/// the API server doesn't do it.
#[tokio::test(start_paused = true)]
async fn trying_has_an_end_and_lets_the_object_go() {
    let agreed = json!({"metadata": {"namespace": "n", "name": "deployer", "uid": "s",
        "labels": {"imagepush.dev/apply-bundles": "true"}}});
    for (minutes, account, patience, words) in [
        (0, None, 60, "service account `deployer` is not in this namespace"),
        (90, None, 60, "service account `deployer` is not in this namespace"),
        (90, Some(agreed), 600, "the API server answered 503"),
    ] {
        let api = ApiDouble::new();
        api.write("imagepushes", "n", "a", deleted(minutes));
        if let Some(account) = account {
            api.write("serviceaccounts", "n", "deployer", account);
        }
        // What is asked for with the account's name: which kinds there are.
        let busy = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 503,
            "reason": "ServiceUnavailable", "message": "scripted"});
        api.fail("LIST ", usize::MAX, Act::Answer(503, vec![], busy.to_string()));
        let stop = CancellationToken::new();
        let bundles = Some(Policy::default());
        let config = OperatorConfig { listen: None, bundles, ..OperatorConfig::default() };
        let operator = tokio::spawn(run_with(api.client(), config, stop.clone()));
        tokio::time::sleep((patience - 10) * SECOND).await;
        assert!(!api.get("imagepushes", "n", "a").is_null(), "{minutes} minutes, {patience} s");
        let tries = api.asked("GET serviceaccounts").len();
        let expected = usize::try_from(patience / 30).unwrap();
        assert!((expected - 1..=expected + 1).contains(&tries), "{tries} tries in {patience} s");
        tokio::time::sleep(45 * SECOND).await;
        assert!(api.get("imagepushes", "n", "a").is_null(), "{minutes} minutes, {patience} s");
        let [event] = &api.all("events")[..] else { panic!("{:#?}", api.all("events")) };
        assert_eq!((&event["reason"], &event["type"]), (&json!("PruneSkipped"), &json!("Warning")));
        let note = event["note"].as_str().unwrap();
        assert!(note.starts_with("what was applied stays: ") && note.contains(words), "{note}");
        stop.cancel();
        operator.await.unwrap().unwrap();
    }
}

/// What is deleted while it is being applied has applied nothing when it is gone, and its image goes with it.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_deleted_while_it_waits_takes_everything_along() {
    let place = Place::new().await;
    // Its registry takes tags away.
    let registry = Registry::start().await;
    place.image("1", &things_of(&[("a", 1)])).await;
    let mut spec =
        place.spec("1", "web", &applying("Always", &json!({"prune": true, "wait": true})));
    spec["deletionPolicy"] = json!("Delete");
    let destination = format!("{}/app:copy", registry.host);
    spec["destination"]["reference"] = json!(format!("docker://{destination}"));
    let cluster = Cluster::of(place.operator.plane, &place.operator.namespace).await;
    // A thing that never works.
    let made = object("Thing", "a", &json!({"size": 1}));
    let mut made = made.clone();
    made["metadata"]["namespace"] = json!(place.operator.namespace);
    made["metadata"]["labels"] = json!({"imagepush.dev/owner": "web"});
    let apply = ["apply", "--server-side", "--field-manager=imagepush-bundle", "-f", "-"];
    place.operator.plane.kubectl_with(&apply, &made.to_string()).await.succeeded();
    let waits =
        json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}).to_string();
    let thing = format!("thing.{}/a", things::GROUP);
    place
        .operator
        .kubectl(&["patch", &thing, "--subresource=status", "--type=merge", "-p", &waits])
        .await;
    cluster.make("web", &spec).await;
    let has_applied =
        |object: &Value| object["status"]["inventory"]["entries"][0]["uid"].is_string();
    cluster.until("web", has_applied).await;
    assert!(registry.tags().contains_key("app:copy"));
    cluster.delete("web").await;
    cluster.until("web", Value::is_null).await;
    assert_eq!(cluster.sizes().await, []);
    assert!(!registry.tags().contains_key("app:copy"), "{:?}", registry.tags().keys());
    place.operator.stop().await;
}
