//! What is attached at the destination by who may write there, and says that it was found in the very image.

use imagepush::bundle::Bundle;

use super::*;

/// An image that says in its manifest that it carries a bundle, so that also one that is in place is asked about it.
async fn annotated_image(place: &Place, tag: &str, bundle: &str) {
    let folder = tempfile::tempdir().unwrap();
    let image = image(bundle).annotated("imagepush.dev/bundle", "metadata");
    image.write_layout(folder.path(), Some("1"));
    let from = format!("oci:{}:1", folder.path().display());
    let mut options = push::options(&from, &format!("docker://{}/app:{tag}", place.registry.host));
    options.destination.access.tls = TlsPolicy::PlainHttp;
    push::run(&options).await.unwrap();
}

/// Attaches a bundle, with everything that imagepush would say of it.
fn attach(place: &Place, to: &str, bundle: &str, from: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundle.yaml");
    let bundle = Bundle::parse(bundle.as_bytes()).unwrap();
    std::fs::write(&file, bundle.yaml()).unwrap();
    let program = crate::support::peers::program("regctl");
    let arguments = [
        format!("HOME={}", folder.path().display()),
        program.to_str().unwrap().to_owned(),
        format!("--host=reg={},tls=disabled", place.registry.host),
        "artifact".into(),
        "put".into(),
        "--artifact-type=application/vnd.imagepush.bundle.v1".into(),
        "--annotation=org.opencontainers.image.created=2099-01-01T00:00:00Z".into(),
        format!("--annotation=imagepush.dev/bundle.digest={}", bundle.digest()),
        "--annotation=imagepush.dev/bundle.objects=1".into(),
        format!("--annotation=imagepush.dev/bundle.from={from}"),
        format!("--subject={to}"),
        "--file-media-type=application/yaml".into(),
        format!("--file={}", file.display()),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    crate::support::tools::run("env", &arguments);
}

/// Under `Auto` nothing is read of an image that is in place where the destination says that it has its bundle. That is not
/// believed where the bundle is applied: neither for an object that has applied it before, nor for a new one.
#[tokio::test(flavor = "multi_thread")]
async fn the_destination_is_not_believed_about_what_is_applied() {
    let place = Place::new().await;
    annotated_image(&place, "1", &things_of(&[("a", 1)])).await;
    let to = format!("{}/elsewhere:1", place.registry.host);
    let mut spec = place.spec("1", "web", &applying("Auto", &json!({"prune": true})));
    spec["destination"]["reference"] = json!(format!("docker://{to}"));
    place.operator.apply("web", &spec).await;
    place.operator.wait("web", "Ready").await;
    let object = place.operator.get("web").await;
    assert_eq!(place.names().await, ["a"], "{object:#}");
    let source = object["status"]["source"]["digest"].as_str().unwrap();
    attach(&place, &to, &things_of(&[("evil", 1)]), source);
    let object = place.look("web", "1").await;
    assert_eq!(place.names().await, ["a"], "{object:#}");
    assert_eq!(condition(&object, "Ready")["status"], "True", "{object:#}");
    place.operator.kubectl(&["delete", "ipush", "web", "--timeout=60s"]).await;
    assert_eq!(place.names().await, [""; 0]);
    // What the image carries has been put beside it anew; again there is something else, and an object that knows nothing.
    attach(&place, &to, &things_of(&[("evil", 1)]), source);
    place.operator.apply("web", &spec).await;
    place.operator.wait("web", "Ready").await;
    assert_eq!(place.names().await, ["a"]);
    place.operator.stop().await;
}
