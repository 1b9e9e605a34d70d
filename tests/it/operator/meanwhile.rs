//! What others do at the destination while a push is on its way, and what a push leaves that doesn't come to its end.

use std::sync::Arc;

use tokio::sync::Notify;

use super::bundles::image;
use super::policy::digest_of;
use super::*;

const UPLOADS: &str = "/v2/app/blobs/uploads/";

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_puts_there_while_a_push_runs_stays() {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    fill(&source.host, 81).await;
    let operator = Operator::start().await;
    for (policy, reason) in
        [("IfNotPresent", "DestinationExists"), ("FailOnDrift", "DestinationDrifted")]
    {
        let more = json!({"interval": "1h", "overwritePolicy": policy});
        let spec = spec(&source.host, &destination.host, &more);
        if policy == "FailOnDrift" {
            // What is there at first is overwritten; what comes after that is somebody else's.
            operator.apply("web", &spec).await;
            operator.wait("web", "Ready").await;
            fill(&source.host, 82).await;
        }
        let go_on = Arc::new(Notify::new());
        destination.take_log();
        destination.add_rule(Rule::each("POST", UPLOADS, Act::Hold(go_on.clone())).nth(1));
        operator.apply("web", &spec).await;
        request(&operator, "web", policy).await;
        destination.received(&format!("POST {UPLOADS}")).await;
        let theirs = fill_as(&destination.host, 83, "copy").await;
        go_on.notify_one();
        operator.wait("web", "Stalled").await;
        assert_eq!(reason_of(&operator.get("web").await, "Stalled"), reason);
        assert_eq!(digest_of(&destination.host, "copy").await, Some(theirs), "{policy}");
    }
    operator.stop().await;
}

/// The registry takes the image, and not what belongs beside it.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_came_alone_is_recorded_and_goes_with_its_object() {
    let registry = Registry::start().await;
    let bundle = "apiVersion: example.dev/v1\nkind: Thing\nmetadata:\n  name: a\n";
    let folder = tempfile::tempdir().unwrap();
    let content = image(bundle);
    content.write_layout(folder.path(), Some("1"));
    let from = format!("oci:{}:1", folder.path().display());
    let mut options = push::options(&from, &format!("docker://{}/app:1", registry.host));
    options.destination.access.tls = TlsPolicy::PlainHttp;
    push::run(&options).await.unwrap();
    let operator = Operator::start().await;
    let more = json!({"interval": "1h", "deletionPolicy": "Delete",
        "customResources": {"policy": "Always"}});
    let spec = spec(&registry.host, &registry.host, &more);
    registry.add_rule(Rule::each("PUT", "/v2/app/manifests/sha256", Act::Status(403)));
    operator.apply("web", &spec).await;
    operator.wait("web", "Stalled").await;
    let object = operator.get("web").await;
    assert_eq!(object["status"]["artifact"]["digest"], content.digest(), "{object:#}");
    assert!(object["status"]["artifact"]["heldSince"].is_string());
    assert_eq!(object["metadata"]["finalizers"], json!(["imagepush.dev/cleanup"]));
    operator.kubectl(&["delete", "ipush", "web", "--timeout=60s"]).await;
    assert_eq!(digest_of(&registry.host, "copy").await, None);
    operator.stop().await;
}
