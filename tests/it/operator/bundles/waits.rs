//! What comes later: kinds, rights, and what was left over; and what others do to applied objects meanwhile.

use super::cluster::{Cluster, is_settled};
use super::*;
use crate::support::registry::{Referrers, Registry};

/// The number that a metric has.
async fn metric(address: SocketAddr, name: &str) -> String {
    let (_, text) = get(address, "/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).to_owned()
}

/// What is applied again is counted apart from images that are pushed again, and what was never there is not counted.
#[tokio::test(flavor = "multi_thread")]
async fn drift_in_the_cluster_is_counted_apart_from_that_of_images() {
    let (place, address) = Place::new().await.listening().await;
    let cluster = Cluster::of(place.operator.plane, &place.operator.namespace).await;
    place.image("1", &things_of(&[("a", 1), ("b", 1)])).await;
    cluster.make("web", &place.spec("1", "web", &applying("Auto", &json!({})))).await;
    place.operator.wait("web", "Ready").await;
    let drift = async || metric(address, "imagepush_bundle_drift_total").await;
    let series = r#"imagepush_push_total{result="success",reason="PushSucceeded",source_transport="docker",destination_transport="docker",executor="InProcess"}"#;
    let pushed = async || metric(address, series).await;
    assert_eq!((drift().await, pushed().await), ("0".into(), "1".into()));
    place.operator.kubectl(&["delete", &format!("thing.{}/a", things::GROUP)]).await;
    let object = cluster.look("web", "1").await;
    assert_eq!((drift().await, pushed().await), ("1".into(), "1".into()), "{object:#}");
    // The same bundle with another image is another push, and no drift; what is deleted then is.
    let other = Content::image(
        "linux",
        "amd64",
        &[
            layer(52, 3000, Form::Gzip),
            Layer::of(
                &tar(&[("metadata/config.yaml", things_of(&[("a", 1), ("b", 1)]).as_bytes())]),
                Form::Gzip,
            ),
        ],
    );
    place.put("1", &other).await;
    cluster.look("web", "2").await;
    assert_eq!((drift().await, pushed().await), ("1".into(), "2".into()));
    place.operator.kubectl(&["delete", &format!("thing.{}/b", things::GROUP)]).await;
    let object = cluster.look("web", "3").await;
    assert_eq!(place.names().await, ["a", "b"], "{object:#}");
    assert_eq!((drift().await, pushed().await), ("2".into(), "2".into()));
    // So is what somebody edits by hand; what a program takes is a conflict, unless it is to be taken over.
    let edit = async |manager: &str| {
        let (thing, manager) =
            (format!("thing.{}/a", things::GROUP), format!("--field-manager={manager}"));
        let patch = r#"{"spec": {"size": 7}}"#;
        place.operator.kubectl(&["patch", &thing, "--type=merge", "-p", patch, &manager]).await;
    };
    edit("kubectl-edit").await;
    let object = cluster.look("web", "4").await;
    let sizes = [("a".to_owned(), 1), ("b".to_owned(), 1)];
    assert_eq!(cluster.sizes().await, sizes, "{object:#}");
    assert_eq!((drift().await, pushed().await), ("3".into(), "2".into()));
    edit("autoscaler").await;
    let object = cluster.look("web", "5").await;
    assert_eq!(reason_of(&object, APPLIED), "Conflict", "{object:#}");
    assert_eq!((drift().await, cluster.sizes().await[0].1), ("3".into(), 7));
    cluster
        .change("web", &json!({"spec": {"customResources": {"apply": {"forceConflicts": true}}}}))
        .await;
    let object = cluster.look("web", "6").await;
    assert_eq!(cluster.sizes().await, sizes, "{object:#}");
    assert_eq!(reason_of(&object, "Ready"), "AlreadyPresent", "{object:#}");
    place.operator.stop().await;
}

/// Under `Auto` nothing moves any more when a bundle is applied at last; it is known all the same, also after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_could_not_be_applied_yet_is_not_forgotten() {
    let place = Place::new().await;
    let thing = object("Straggler", "a", &json!({"size": 1}));
    place.image("1", &thing.to_string()).await;
    place.operator.apply("web", &place.spec("1", "web", &applying("Auto", &json!({})))).await;
    let pending = |object: &Value| {
        reason_of(object, APPLIED) == "Pending"
            && object["status"]["retry"]["count"].as_i64().unwrap_or(0) >= 2
    };
    place.operator.until("web", pending).await;
    let Place { registry, operator } = place;
    let (control_plane, namespace) = operator.stop().await;
    things::define(control_plane, "Straggler", "Namespaced").await;
    let operator = start(control_plane, namespace, Some(Policy::default()), None).await;
    operator.wait("web", "Ready").await;
    let object = operator.get("web").await;
    assert_eq!(reason_of(&object, APPLIED), "Applied", "{object:#}");
    // A dry run in between makes it forget nothing, either.
    let mode = |mode: &str| json!({"spec": {"mode": mode}}).to_string();
    for (name, reason) in [("DryRun", "DryRunSucceeded"), ("Apply", "AlreadyPresent")] {
        operator.kubectl(&["patch", "ipush", "web", "--type=merge", "-p", &mode(name)]).await;
        operator.until("web", |object| reason_of(object, "Ready") == reason).await;
    }
    operator.kubectl(&["delete", &format!("straggler.{}/a", things::GROUP)]).await;
    let place = Place { registry, operator };
    place.look("web", "1").await;
    let listed = ["get", &format!("straggler.{}", things::GROUP), "-o", "name"];
    assert_eq!(place.operator.kubectl(&listed).await.lines().count(), 1);
    place.operator.stop().await;
}

/// An image whose bundle could not be put beside it gets it at the next attempt, though no layer moves then.
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_was_left_over_is_pushed_by_the_next_attempt() {
    let place = Place::new().await;
    let destination = Registry::start().await;
    destination.keep_referrers(Referrers { page: 100, filters: true });
    destination.add_rule(Rule::each("PUT", "/manifests/sha256:", Act::Drop));
    place.image("1", &things_of(&[("a", 1)])).await;
    let mut spec = place.spec("1", "web", &json!({"policy": "Auto"}));
    spec["destination"]["reference"] = json!(format!("docker://{}/app:copy", destination.host));
    spec["retry"] = json!({"limit": 0});
    place.operator.apply("web", &spec).await;
    let failed = |object: &Value| condition(object, "Ready")["status"] == "False";
    let object = place.operator.until("web", failed).await;
    assert_eq!(object["status"]["customResources"]["decision"], "failed", "{object:#}");
    assert!(destination.tags().contains_key("app:copy"), "the image is there");
    destination.clear_rules();
    place.operator.wait("web", "Ready").await;
    let object = place.operator.get("web").await;
    assert_eq!(object["status"]["customResources"]["decision"], "pushed", "{object:#}");
    place.operator.stop().await;
}

/// A registry that is away for a moment is no reason to fetch what has long been pushed.
#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_no_layer_is_read_again() {
    let (place, source) = (Place::new().await, Registry::start().await);
    let cluster = Cluster::of(place.operator.plane, &place.operator.namespace).await;
    let folder = tempfile::tempdir().unwrap();
    image(&things_of(&[("a", 1)])).write_layout(folder.path(), Some("1"));
    let name = format!("docker://{}/app:1", source.host);
    let from = format!("oci:{}:1", folder.path().display());
    let mut options = push::options(&from, &name);
    options.destination.access.tls = TlsPolicy::PlainHttp;
    push::run(&options).await.unwrap();
    let mut spec = place.spec("1", "web", &json!({"policy": "Auto"}));
    spec["source"]["reference"] = json!(name);
    spec["retry"] = json!({"limit": 0});
    cluster.make("web", &spec).await;
    place.operator.wait("web", "Ready").await;
    for method in ["HEAD", "GET"] {
        source.add_rule(Rule::each(method, "/manifests/", Act::Respond(503, vec![], vec![])));
    }
    cluster.ask("web", "1").await;
    cluster.until("web", |object| condition(object, "Ready")["status"] == "False").await;
    source.clear_rules();
    source.take_log();
    place.operator.wait("web", "Ready").await;
    let log = source.take_log();
    assert!(!log.is_empty() && !log.iter().any(|line| line.contains("/blobs/")), "{log:#?}");
    place.operator.stop().await;
}

/// Those who wait for objects that never work keep nobody from applying theirs.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_takes_no_turn_from_others() {
    let place = Place::new().await;
    let cluster = Cluster::of(place.operator.plane, &place.operator.namespace).await;
    let waits =
        json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}).to_string();
    for number in 0..6 {
        let (name, thing) = (format!("stuck-{number}"), format!("thing-{number}"));
        place.image(&name, &things_of(&[(&thing, 1)])).await;
        let mut spec = place.spec(&name, &name, &applying("Always", &json!({})));
        cluster.make(&name, &spec).await;
        cluster.until(&name, is_settled).await;
        let thing = format!("thing.{}/{thing}", things::GROUP);
        place
            .operator
            .kubectl(&["patch", &thing, "--subresource=status", "--type=merge", "-p", &waits])
            .await;
        spec["customResources"]["apply"]["wait"] = json!(true);
        cluster.change(&name, &json!({"spec": spec})).await;
        let waits = |object: &Value| condition(object, "Reconciling")["status"] == "True";
        cluster.until(&name, waits).await;
    }
    place.image("good", &things_of(&[("good", 1)])).await;
    cluster.make("good", &place.spec("good", "good", &applying("Always", &json!({})))).await;
    let object = cluster.until("good", is_settled).await;
    assert_eq!(reason_of(&object, APPLIED), "Applied", "{object:#}");
    let waiting = cluster.get("stuck-0").await;
    assert_eq!(condition(&waiting, "Reconciling")["status"], "True", "{waiting:#}");
    place.operator.stop().await;
}
