//! Registries that the administrator hasn't allowed.

use imagepush::access::AllowedRegistries;

use super::*;

/// Its name is judged before anything is sent, whichever side it is on; the object says so and waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_not_allowed_gets_no_request() {
    let plane = control_plane().await;
    let (namespace, registry) = (plane.namespace().await, Registry::start().await);
    let network = NetworkSettings {
        egress: Egress::operator().allow("127.0.0.1".parse().unwrap()),
        registries: AllowedRegistries::new(vec!["registry.invalid".parse().unwrap()]),
        ..NetworkSettings::default()
    };
    let namespaces = vec![namespace.clone()];
    let config = OperatorConfig { namespaces, listen: None, network, ..OperatorConfig::default() };
    let stop = CancellationToken::new();
    let task = tokio::spawn(run_with(plane.operator_client().await, config, stop.clone()));
    let operator = Operator { plane, namespace, stop, task };
    let other = "registry.invalid";
    for (name, from, to) in [("from", registry.host.as_str(), other), ("to", other, &registry.host)]
    {
        operator.apply(name, &spec(from, to, &json!({"runPolicy": "Once"}))).await;
        operator.wait(name, "Stalled").await;
        let object = operator.get(name).await;
        assert_eq!(reason_of(&object, "Ready"), "AccessDenied", "{object:#}");
        let message = condition(&object, "Ready")["message"].as_str().unwrap();
        let expected =
            format!("`{}` is none of the registries that may be used here", registry.host);
        assert!(message.contains(&expected), "{message}");
    }
    assert_eq!(registry.seen().len(), 0);
    operator.stop().await;
}
