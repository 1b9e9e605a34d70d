//! What is overwritten, and what a check costs.

use super::*;

/// Digest that a tag of `app` has in a registry.
pub(super) async fn digest_of(host: &str, tag: &str) -> Option<String> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let asked = client
        .head(format!("http://{host}/v2/app/manifests/{tag}"))
        .header("accept", "application/vnd.oci.image.index.v1+json")
        .header("accept", "application/vnd.oci.image.manifest.v1+json");
    let answer = asked.send().await.unwrap();
    answer.headers().get("docker-content-digest").map(|it| it.to_str().unwrap().to_owned())
}

/// Asks for a look, and waits until it was begun.
async fn ask(operator: &Operator, value: &str) {
    request(operator, "web", value).await;
    operator.until("web", |object| object["status"]["lastHandledReconcileAt"] == value).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_costs_two_requests_also_where_layers_were_converted() {
    let registry = Registry::start().await;
    fill(&registry.host, 21).await;
    let operator = Operator::start().await;
    let more = json!({"interval": "1h", "compression": {"format": "zstd"}});
    operator.apply("web", &spec(&registry.host, &registry.host, &more)).await;
    operator.wait("web", "Ready").await;
    let before = operator.get("web").await;
    assert_ne!(before["status"]["artifact"]["digest"], before["status"]["source"]["digest"]);
    registry.take_log();
    // A request that comes during an attempt is heard after it: so the first look has ended by then.
    ask(&operator, "1").await;
    ask(&operator, "2").await;
    let heads = ["HEAD /v2/app/manifests/1 200", "HEAD /v2/app/manifests/copy 200"];
    let mut asked: Vec<String> = registry.take_log();
    assert!(
        asked.len() >= 2 && asked.iter().all(|line| heads.contains(&line.as_str())),
        "{asked:?}"
    );
    asked.truncate(2);
    asked.sort();
    assert_eq!(asked, heads);
    let after = operator.get("web").await;
    for field in ["conditions", "artifact", "source", "history", "lastPushTime"] {
        assert_eq!(after["status"][field], before["status"][field], "{field}");
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_at_the_destination_is_restored() {
    let registry = Registry::start().await;
    let digest = fill(&registry.host, 22).await;
    let operator = Operator::start().await;
    operator.apply("web", &spec(&registry.host, &registry.host, &json!({"interval": "1h"}))).await;
    operator.wait("web", "Ready").await;
    let other = fill_as(&registry.host, 23, "copy").await;
    assert_eq!(digest_of(&registry.host, "copy").await, Some(other));
    request(&operator, "web", "1").await;
    operator.until("web", |object| object["status"]["history"][0]["count"] == 2).await;
    assert_eq!(digest_of(&registry.host, "copy").await, Some(digest));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_told_and_left_alone_where_the_policy_says_so() {
    let registry = Registry::start().await;
    fill(&registry.host, 24).await;
    let operator = Operator::start().await;
    let more = json!({"interval": "1h", "overwritePolicy": "FailOnDrift"});
    operator.apply("web", &spec(&registry.host, &registry.host, &more)).await;
    operator.wait("web", "Ready").await;
    // A source that moves is followed: what is overwritten was pushed from here.
    let moved = fill(&registry.host, 25).await;
    request(&operator, "web", "1").await;
    operator.until("web", |object| object["status"]["artifact"]["digest"] == *moved).await;

    let other = fill_as(&registry.host, 26, "copy").await;
    request(&operator, "web", "2").await;
    operator.wait("web", "Stalled").await;
    let object = operator.get("web").await;
    assert_eq!(reason_of(&object, "Stalled"), "DestinationDrifted");
    assert_eq!(reason_of(&object, "Drifted"), "DestinationChanged");
    assert_eq!(
        condition(&object, "Ready")["message"],
        format!(
            "`docker://{}/app:copy` holds {other}, which was not pushed from here; restore or \
             delete it, or set `overwritePolicy` to Replace",
            registry.host
        )
    );
    assert_eq!(digest_of(&registry.host, "copy").await, Some(other));

    fill_as(&registry.host, 25, "copy").await;
    request(&operator, "web", "3").await;
    operator.wait("web", "Ready").await;
    assert_eq!(condition(&operator.get("web").await, "Drifted"), &Value::Null);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_stays_where_the_policy_says_so() {
    let registry = Registry::start().await;
    let digest = fill(&registry.host, 27).await;
    let other = fill_as(&registry.host, 28, "copy").await;
    let operator = Operator::start().await;
    let more = json!({"interval": "1h", "overwritePolicy": "IfNotPresent"});
    operator.apply("web", &spec(&registry.host, &registry.host, &more)).await;
    operator.wait("web", "Stalled").await;
    let object = operator.get("web").await;
    assert_eq!(reason_of(&object, "Ready"), "DestinationExists");
    assert_eq!(digest_of(&registry.host, "copy").await, Some(other.clone()));

    // The very image that would be pushed may be there.
    fill_as(&registry.host, 27, "copy").await;
    request(&operator, "web", "1").await;
    operator.wait("web", "Ready").await;
    assert_eq!(reason_of(&operator.get("web").await, "Ready"), "AlreadyPresent");
    assert_eq!(digest_of(&registry.host, "copy").await, Some(digest.clone()));
    // And it stays although the source moves.
    fill(&registry.host, 28).await;
    ask(&operator, "2").await;
    ask(&operator, "3").await;
    assert_eq!(digest_of(&registry.host, "copy").await, Some(digest));
    assert_eq!(reason_of(&operator.get("web").await, "Ready"), "AlreadyPresent");
    operator.stop().await;
}

/// Requests to the Kubernetes API that write.
async fn writes(address: SocketAddr) -> u64 {
    let (_, metrics) = get(address, "/metrics").await;
    let writes = metrics.lines().filter(|line| {
        let start = "imagepush_api_requests_total{verb=\"";
        line.strip_prefix(start).is_some_and(|rest| {
            ["create", "update", "patch", "delete"].iter().any(|verb| rest.starts_with(verb))
        })
    });
    writes.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

/// The price of an object that is done: one request to each registry in an interval, and none that writes to the cluster.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_object_costs_two_requests_an_interval_and_no_write() {
    let registry = Registry::start().await;
    fill(&registry.host, 26).await;
    let (operator, address) = listening().await;
    operator.apply("web", &spec(&registry.host, &registry.host, &json!({"interval": "1m"}))).await;
    operator.wait("web", "Ready").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = writes(address).await;
    assert!(before >= 3, "two statuses and events");
    registry.take_log();
    let checked = async {
        while registry.seen().len() < 2 {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(80), checked).await.expect("it is checked");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut asked = registry.take_log();
    asked.sort();
    assert_eq!(asked, ["HEAD /v2/app/manifests/1 200", "HEAD /v2/app/manifests/copy 200"]);
    assert_eq!(writes(address).await, before);
    operator.stop().await;
}
