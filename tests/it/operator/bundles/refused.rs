//! What is not applied: for want of permission or agreement, or since it isn't the image's own.

use super::*;

/// What an object says once it has ended an attempt without success.
async fn refusal(place: &Place, name: &str, spec: &Value) -> [String; 3] {
    place.operator.apply(name, spec).await;
    let object =
        place.operator.until(name, |object| condition(object, "Ready")["status"] == "False").await;
    // The image is there all the same.
    assert!(object["status"]["artifact"]["digest"].is_string(), "{object:#}");
    let message = condition(&object, "Ready")["message"].as_str().unwrap().to_owned();
    [reason_of(&object, "Ready").to_owned(), reason_of(&object, APPLIED).to_owned(), message]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_to_agree_and_to_be_there() {
    let place = Place::new().await;
    place.image("1", &things_of(&[("a", 1)])).await;
    let spec = place.spec("1", "web", &applying("Always", &json!({})));
    // It may do whatever there is, and nothing comes of that without the label.
    let namespace = place.operator.namespace.clone();
    let account = format!("--serviceaccount={namespace}:deployer");
    let grant =
        ["create", "clusterrolebinding", &namespace, "--clusterrole=cluster-admin", &account];
    place.operator.plane.kubectl(&grant).await.succeeded();
    place
        .operator
        .kubectl(&["label", "serviceaccount/deployer", "imagepush.dev/apply-bundles-"])
        .await;
    let found = refusal(&place, "web", &spec).await;
    let message = "service account `deployer` is not for applying bundles; label it `imagepush.dev/apply-bundles=true` if it is meant";
    assert_eq!(found, ["CustomResourcesForbidden", "Forbidden", message]);
    assert_eq!(condition(&place.operator.get("web").await, "Stalled")["status"], "True");

    assert_eq!(place.names().await, [""; 0]);
    place.operator.plane.kubectl(&["delete", "clusterrolebinding", &namespace]).await.succeeded();

    let mut other = place.spec("1", "other", &applying("Always", &json!({})));
    other["customResources"]["apply"]["serviceAccountName"] = json!("nobody");
    let [reason, applied, message] = refusal(&place, "other", &other).await;
    assert_eq!((reason.as_str(), applied.as_str()), ("SecretNotFound", "Pending"));
    assert!(message.starts_with("service account `nobody` is not in this namespace"), "{message}");

    place
        .operator
        .kubectl(&["label", "serviceaccount/deployer", "imagepush.dev/apply-bundles=true"])
        .await;
    request(&place.operator, "web", "1").await;
    place.operator.wait("web", "Ready").await;
    assert_eq!(place.names().await, ["a"]);
    place.operator.stop().await;
}

/// What the chart's `resources` leave out is no matter of the account, which may do all.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_may_not_do_as_the_account_is_told_as_its_own() {
    let place = Place::granted("Constrained").await;
    things::define(place.operator.plane, "Bystander", "Namespaced").await;
    let bystander = object("Bystander", "a", &json!({"size": 1}));
    place.image("1", &bystander.to_string()).await;
    let spec = place.spec("1", "web", &applying("Always", &json!({})));
    let [reason, applied, message] = refusal(&place, "web", &spec).await;
    assert_eq!((reason.as_str(), applied.as_str()), ("CustomResourcesForbidden", "Forbidden"));
    assert!(message.contains("the operator may not act as the service account"), "{message}");
    assert!(message.contains("`customResources.resources` has to name the kind"), "{message}");
    place.operator.stop().await;
}

/// Which is why the words of an ImagePush are others than those of the command line.
#[tokio::test]
async fn a_bare_yes_is_refused_by_the_api_server() {
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    for word in ["yes", "no"] {
        let yaml = format!(
            "apiVersion: imagepush.dev/v1alpha1\nkind: ImagePush\nmetadata: {{name: web, namespace: {namespace}}}\n\
             spec:\n  source: {{reference: 'docker://a.example/x:1'}}\n  destination: {{reference: 'docker://b.example/x:1'}}\n\
             \x20 interval: 1h\n  customResources: {{policy: {word}}}\n"
        );
        let applied = plane.kubectl_with(&["apply", "-f", "-"], &yaml).await;
        assert!(!applied.success, "{}", applied.stdout);
        let message = "policy in body must be of type string: \"boolean\"";
        assert!(applied.stderr.contains(message), "{}", applied.stderr);
        let docs = include_str!("../../../../docs/bundles.md");
        assert!(docs.contains(message), "the manual tells of it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_may_not_act_as_others_says_so() {
    let place = Place::granted("").await;
    place.image("1", &things_of(&[("a", 1)])).await;
    let spec = place.spec("1", "web", &applying("Always", &json!({})));
    let [reason, _, message] = refusal(&place, "web", &spec).await;
    assert_eq!(reason, "CustomResourcesForbidden");
    assert!(message.contains("the operator may not act as the service account"), "{message}");
    place.operator.kubectl(&["delete", "ipush", "web"]).await;
    // One that isn't to apply bundles at all doesn't even try.
    let Place { registry, operator } = place;
    let (control_plane, namespace) = operator.stop().await;
    let place = Place { registry, operator: start(control_plane, namespace, None, None).await };
    let [reason, _, message] = refusal(&place, "web", &spec).await;
    assert_eq!(reason, "CustomResourcesForbidden");
    assert!(message.starts_with("this operator applies no bundles"), "{message}");
    assert_eq!(place.names().await, [""; 0]);
    place.operator.stop().await;
}

/// Who may write to the destination must not choose what is applied in the cluster, whatever they say that it is.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_has_attached_is_not_applied() {
    let place = Place::new().await;
    place.image("1", &things_of(&[("a", 1)])).await;
    let mut spec = place.spec("1", "web", &applying("Always", &json!({})));
    // What is attached in the source's own repository is the source's.
    let to = format!("{}/elsewhere:1", place.registry.host);
    spec["destination"]["reference"] = json!(format!("docker://{to}"));
    place.operator.apply("web", &spec).await;
    place.operator.wait("web", "Ready").await;
    let object = place.operator.get("web").await;
    let digest = object["status"]["customResources"]["digest"].as_str().unwrap();
    // A newer bundle beside the same image, which says that it is the image's own.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundle.yaml");
    std::fs::write(&file, things_of(&[("evil", 1)])).unwrap();
    let host = &place.registry.host;
    let program = crate::support::peers::program("regctl");
    let arguments = [
        format!("HOME={}", folder.path().display()),
        program.to_str().unwrap().to_owned(),
        format!("--host=reg={host},tls=disabled"),
        "artifact".into(),
        "put".into(),
        "--artifact-type=application/vnd.imagepush.bundle.v1".into(),
        "--annotation=org.opencontainers.image.created=2099-01-01T00:00:00Z".into(),
        format!("--annotation=imagepush.dev/bundle.digest={digest}"),
        format!("--subject={to}"),
        "--file-media-type=application/yaml".into(),
        format!("--file={}", file.display()),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    crate::support::tools::run("env", &arguments);
    request(&place.operator, "web", "1").await;
    let failed = |object: &Value| condition(object, "Ready")["status"] == "False";
    let object = place.operator.until("web", failed).await;
    assert_eq!(reason_of(&object, "Ready"), "CustomResourcesInvalid");
    let message = condition(&object, "Ready")["message"].as_str().unwrap();
    assert!(message.contains(&format!("and the image's own is {digest}")), "{message}");
    assert_eq!(place.names().await, ["a"], "{object:#}");
    place.operator.stop().await;
}
