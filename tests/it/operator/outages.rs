//! A real API server that is away, comes later, or comes back with less than it had: one of the tests' own.

use std::sync::Arc;

use tokio::sync::Notify;

use super::*;

const UPLOADS: &str = "/v2/app/blobs/uploads/";

/// An operator that looks after everything, and where it serves its probes.
fn start(plane: &'static ControlPlane, client: kube::Client) -> (Operator, SocketAddr) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let config = OperatorConfig { namespaces: vec![], listen: Some(address), ..config("default") };
    (Operator::run(plane, client, "default".into(), config), address)
}

async fn until_ready(address: SocketAddr) {
    let ready = async {
        while get(address, "/readyz").await.0 != 200 {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("the operator is ready");
}

/// For a while, the operator lives and isn't ready.
async fn waits(address: SocketAddr) {
    while get(address, "/livez").await.0 == 0 {
        tokio::time::sleep(POLL).await;
    }
    for _ in 0..30 {
        assert_eq!(get(address, "/livez").await.0, 200);
        assert_eq!(get(address, "/readyz").await.0, 503);
        tokio::time::sleep(POLL).await;
    }
}

/// An ImagePush that needs nothing but the registry.
fn once(host: &str, tag: &str) -> Value {
    let mut spec = spec(host, host, &json!({"runPolicy": "Once"}));
    spec["destination"]["reference"] = json!(format!("docker://{host}/app:{tag}"));
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_and_the_definition_may_come_later() {
    let plane = ControlPlane::to_be().await;
    let registry = Registry::start().await;
    fill(&registry.host, 71).await;
    let (operator, address) = start(plane, plane.admin_client().await);
    waits(address).await;
    plane.start_etcd();
    plane.start_api_server().await;
    waits(address).await;
    plane.install().await;
    until_ready(address).await;
    operator.apply("web", &once(&registry.host, "copy")).await;
    operator.wait("web", "Ready").await;
    operator.stop().await;
    plane.end();
}

/// A push goes on while there is nobody to tell; what is done is not done again.
#[tokio::test(flavor = "multi_thread")]
async fn pushes_go_on_while_the_api_server_is_away() {
    let plane = ControlPlane::own().await;
    let source = Registry::start().await;
    let digest = fill(&source.host, 72).await;
    let registry = Registry::start().await;
    let (operator, address) = start(plane, plane.operator_client().await);
    let mut idle = spec(&source.host, &registry.host, &json!({"interval": "24h"}));
    idle["destination"]["reference"] = json!(format!("docker://{}/app:idle", registry.host));
    operator.apply("idle", &idle).await;
    operator.wait("idle", "Ready").await;
    let before = operator.get("idle").await;

    let go_on = Arc::new(Notify::new());
    registry.add_rule(Rule::each("PUT", "/v2/app/manifests/copy", Act::Hold(go_on.clone())).nth(1));
    operator.apply("web", &spec(&source.host, &registry.host, &json!({"runPolicy": "Once"}))).await;
    registry.received("PUT /v2/app/manifests/copy").await;
    plane.stop_api_server();
    registry.take_log();
    go_on.notify_one();
    let pushed = async {
        while !registry.tags().contains_key("app:copy") {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, pushed).await.expect("it is pushed while the server is away");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(get(address, "/livez").await.0, 200);
    assert_eq!(get(address, "/readyz").await.0, 200, "it was ready, and still knows its objects");

    plane.start_api_server().await;
    let object = operator.until("web", |object| reason_of(object, "Ready") != "Progressing").await;
    assert_eq!(
        reason_of(&object, "Ready"),
        "PushSucceeded",
        "the first push is told of: {object:#}"
    );
    assert_eq!(object["status"]["artifact"]["digest"], digest);
    // What is made now is seen, so by then the operator has listed everything.
    operator.apply("later", &once(&source.host, "later")).await;
    operator.wait("later", "Ready").await;
    let written: Vec<String> =
        registry.take_log().into_iter().filter(|line| line.starts_with('P')).collect();
    assert_eq!(written, [""; 0], "nothing is pushed twice");
    assert_eq!(operator.get("idle").await, before);
    operator.stop().await;
    plane.end();
}

/// Objects vanish with their definition, also those that are kept until something is cleaned up.
#[tokio::test(flavor = "multi_thread")]
async fn the_definition_is_removed_and_comes_back() {
    let plane = ControlPlane::own().await;
    let source = Registry::start().await;
    fill(&source.host, 73).await;
    let (good, stuck) = (Registry::start().await, Registry::start().await);
    stuck.add_rule(Rule::each("POST", UPLOADS, Act::Stall));
    let (operator, address) = start(plane, plane.operator_client().await);
    let more = json!({"interval": "1h", "deletionPolicy": "Delete"});
    operator.apply("kept", &spec(&source.host, &good.host, &more)).await;
    operator.wait("kept", "Ready").await;
    assert!(operator.get("kept").await["metadata"]["finalizers"].is_array());
    operator.apply("held", &spec(&source.host, &stuck.host, &more)).await;
    inflight(address, 1).await;

    let definition = ["delete", "crd", "imagepushes.imagepush.dev", "--timeout=60s"];
    plane.kubectl(&definition).await.succeeded();
    inflight(address, 0).await;
    assert!(!good.tags().contains_key("app:copy"), "what was to be cleaned up is");
    assert_eq!(stuck.tags().len(), 0);

    plane.install().await;
    operator.apply("new", &once(&source.host, "new")).await;
    operator.wait("new", "Ready").await;
    operator.stop().await;
    plane.end();
}

/// Versions of what is stored go back, as after a disaster: the operator sees what is there now, and forgets the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored_while_the_operator_runs() {
    let plane = ControlPlane::own().await;
    let registry = Registry::start().await;
    fill(&registry.host, 74).await;
    let (operator, _) = start(plane, plane.operator_client().await);
    operator.apply("old", &once(&registry.host, "old")).await;
    operator.wait("old", "Ready").await;
    plane.end();
    plane.copy_store("etcd", "backup");
    plane.start_etcd();
    plane.start_api_server().await;
    let mut lost = once(&registry.host, "lost");
    lost["runPolicy"] = json!("Continuous");
    lost["interval"] = json!("24h");
    operator.apply("lost", &lost).await;
    operator.wait("lost", "Ready").await;
    for number in 0..30 {
        let name = format!("filler-{number}");
        operator.kubectl(&["create", "configmap", &name]).await;
    }
    plane.end();
    plane.copy_store("backup", "etcd");
    plane.start_etcd();
    plane.start_api_server().await;
    let objects = operator.kubectl(&["get", "ipush", "-o", "name"]).await;
    assert_eq!(objects.trim(), "imagepush.imagepush.dev/old", "the backup is what is there");

    // It goes where the one went that is lost, which would be older.
    operator.apply("new", &once(&registry.host, "lost")).await;
    operator.wait("new", "Ready").await;
    operator.stop().await;
    plane.end();
}
