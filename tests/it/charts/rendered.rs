//! What values change in what is rendered.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::chart::{CHART, REPOSITORY, documents, find, names, tool, tool_with};

/// What the chart renders in namespace `here` with `--set` arguments.
async fn rendered(values: &[&str]) -> Vec<Value> {
    let mut arguments =
        vec!["template", "mine", CHART, "--skip-tests", "-n", "here", "--set", REPOSITORY];
    arguments.extend(values.iter().flat_map(|value| ["--set", value]));
    documents(&tool("helm", &arguments).await.succeeded())
}

/// What is rendered without any value.
const ALL: [&str; 11] = [
    "ClusterRole/here:mine-imagepush",
    "ClusterRole/here:mine-imagepush-admin",
    "ClusterRole/here:mine-imagepush-editor",
    "ClusterRole/here:mine-imagepush-viewer",
    "ClusterRoleBinding/here:mine-imagepush",
    "CustomResourceDefinition/imagepushes.imagepush.dev",
    "Deployment/mine-imagepush",
    "NetworkPolicy/mine-imagepush",
    "Role/mine-imagepush-election",
    "RoleBinding/mine-imagepush-election",
    "ServiceAccount/mine-imagepush",
];

/// Values, what they add to these, and what they take away.
const CHOICES: [(&[&str], &[&str], &[&str]); 13] = [
    (
        &["customResources.enabled=true", "customResources.namespaces={one}"],
        &[
            "ClusterRole/here:mine-imagepush-bundles",
            "ClusterRoleBinding/here:mine-imagepush-bundles",
            "Role/here:mine-imagepush-bundles",
            "RoleBinding/here:mine-imagepush-bundles",
        ],
        &[],
    ),
    (
        &["metrics.serviceMonitor.enabled=true"],
        &["Service/mine-imagepush-metrics", "ServiceMonitor/mine-imagepush"],
        &[],
    ),
    (
        &["metrics.serviceMonitor.enabled=true", "metrics.rules.enabled=true"],
        &[
            "PrometheusRule/mine-imagepush",
            "Service/mine-imagepush-metrics",
            "ServiceMonitor/mine-imagepush",
        ],
        &[],
    ),
    (&["metrics.dashboard.enabled=true"], &["ConfigMap/mine-imagepush-dashboard"], &[]),
    (&["replicas=2"], &["PodDisruptionBudget/mine-imagepush"], &[]),
    (&["crds.install=false"], &[], &["CustomResourceDefinition/imagepushes.imagepush.dev"]),
    (
        &["watchNamespaces={one,two}"],
        &[
            "Role/here:mine-imagepush",
            "Role/here:mine-imagepush",
            "RoleBinding/here:mine-imagepush",
            "RoleBinding/here:mine-imagepush",
        ],
        &["ClusterRole/here:mine-imagepush", "ClusterRoleBinding/here:mine-imagepush"],
    ),
    (
        &["rbac.create=false"],
        &[],
        &[
            "ClusterRole/here:mine-imagepush",
            "ClusterRoleBinding/here:mine-imagepush",
            "Role/mine-imagepush-election",
            "RoleBinding/mine-imagepush-election",
        ],
    ),
    (
        &["leaderElection.enabled=false"],
        &[],
        &["Role/mine-imagepush-election", "RoleBinding/mine-imagepush-election"],
    ),
    (
        &["rbac.userRoles.create=false"],
        &[],
        &[
            "ClusterRole/here:mine-imagepush-admin",
            "ClusterRole/here:mine-imagepush-editor",
            "ClusterRole/here:mine-imagepush-viewer",
        ],
    ),
    (
        &["serviceAccount.create=false", "serviceAccount.name=x"],
        &[],
        &["ServiceAccount/mine-imagepush"],
    ),
    (&["networkPolicy.enabled=false"], &[], &["NetworkPolicy/mine-imagepush"]),
    (
        &["fullnameOverride=x"],
        &[
            "Deployment/x",
            "NetworkPolicy/x",
            "Role/x-election",
            "RoleBinding/x-election",
            "ServiceAccount/x",
        ],
        &[
            "Deployment/mine-imagepush",
            "NetworkPolicy/mine-imagepush",
            "Role/mine-imagepush-election",
            "RoleBinding/mine-imagepush-election",
            "ServiceAccount/mine-imagepush",
        ],
    ),
];

#[tokio::test]
async fn values_choose_the_objects() {
    assert_eq!(names(&rendered(&[]).await), ALL);
    for (values, added, removed) in CHOICES {
        let mut expected: Vec<String> =
            ALL.iter().filter(|it| !removed.contains(it)).map(|&it| it.to_owned()).collect();
        expected.extend(added.iter().map(|&it| it.to_owned()));
        let mut found = names(&rendered(values).await);
        if values == ["fullnameOverride=x"] {
            // The cluster-wide ones are looked at elsewhere.
            found.retain(|it| !it.starts_with("ClusterRole"));
            expected.retain(|it| !it.starts_with("ClusterRole"));
        }
        expected.sort();
        assert_eq!(found, expected, "{values:?}");
    }
}

/// With namespaces there is nothing of the cluster's own to install but the CRD, if that is wanted.
#[tokio::test]
async fn a_release_for_namespaces_stays_in_them() {
    let values = ["watchNamespaces={one,two}", "crds.install=false", "rbac.userRoles.create=false"];
    let documents = rendered(&values).await;
    let mut places: Vec<String> = documents
        .iter()
        .map(|it| format!("{} {}", it["kind"], it["metadata"]["namespace"]).replace('"', ""))
        .collect();
    places.sort();
    assert_eq!(
        places,
        [
            "Deployment here",
            "NetworkPolicy here",
            "Role here",
            "Role one",
            "Role two",
            "RoleBinding here",
            "RoleBinding one",
            "RoleBinding two",
            "ServiceAccount here",
        ]
    );
    let account =
        json!([{"kind": "ServiceAccount", "name": "mine-imagepush", "namespace": "here"}]);
    for binding in documents.iter().filter(|it| it["kind"] == "RoleBinding") {
        assert_eq!(binding["subjects"], account);
        assert_eq!(binding["roleRef"]["kind"], "Role");
    }
    let everywhere = rendered(&[]).await;
    let whole =
        everywhere.iter().find(|it| it["metadata"]["name"] == "here:mine-imagepush").unwrap();
    let is_role = |it: &&Value| it["kind"] == "Role" && it["metadata"]["namespace"] == "one";
    assert_eq!(documents.iter().find(is_role).unwrap()["rules"], whole["rules"]);
}

/// What the pods of Jobs are like, in the values that set everything.
fn job_pod() -> String {
    let text = include_str!("every_value.yaml");
    let mut values: Value = serde_yaml::from_str(text).unwrap();
    let jobs = values["jobs"].as_object_mut().unwrap();
    for other in ["image", "executor", "concurrency", "hostPaths"] {
        jobs.remove(other);
    }
    let pod = imagepush::controller::PodSettings::parse(&values["jobs"].to_string());
    assert_ne!(pod.unwrap(), imagepush::controller::PodSettings::default());
    values["jobs"].to_string()
}

/// What the chart renders with every value set.
async fn with_every_value() -> Vec<Value> {
    let text = include_str!("every_value.yaml");
    let arguments = ["template", "mine", CHART, "--skip-tests", "-n", "here", "-f", "-"];
    documents(&tool_with("helm", &arguments, text).await.succeeded())
}

#[tokio::test]
async fn values_get_to_the_container() {
    let documents = with_every_value().await;
    let pod = &find(&documents, "Deployment")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(
        container["args"],
        json!([
            "operator",
            "--listen=[::]:9090",
            "--log-format=json",
            "--concurrency=8",
            "--per-namespace=5",
            "--per-host=3",
            "--max-memory=256Mi",
            "--max-bytes-per-second=20Mi",
            "--job-image=registry.example/jobs:2",
            "--executor=job",
            "--job-concurrency=7",
            "--job-host-path=/srv/images",
            "--job-host-path=*=/srv/all",
            format!("--job-pod={}", job_pod()),
            "--timeout=1h30m",
            "--watch-namespace=one",
            "--watch-namespace=two",
            "--secret-watch",
            "--object-metrics",
            "--leader-election=true",
            "--lease=pushes",
            "--lease-namespace=leases",
            "--allowed-registries=registry.example",
            "--allowed-registries=*.corp.example",
            "--forbid-insecure",
            "--egress-allow=127.0.0.0/8",
            "--egress-allow=registry.example",
            "--egress-deny=10.96.0.0/12",
            "--egress-only=*.example",
            "--proxy-from-environment",
            "--token-server=registry.example=login.example:8443",
            "--upload-host=registry.example=uploads.example",
            "--upload-host-with-credentials=registry.example=store.example:8443",
            "--foreign-layer-host=layers.example",
            "--apply-bundles",
            "--bundle-kinds=*.example.com",
            "--bundle-kinds=ConfigMap",
            "--deny-bundle-kinds=Other.example.com",
            "--otlp-endpoint=http://collector.observability:4318",
        ])
    );
    let digest = "a".repeat(64);
    assert_eq!(container["image"], format!("registry.example/imagepush@sha256:{digest}"));
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(container["ports"], json!([{"name": "http", "containerPort": 9090}]));
    assert_eq!(
        container["env"],
        json!([{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}])
    );
    assert_eq!(
        container["volumeMounts"][1],
        json!({"name": "authorities", "mountPath": "/etc/authorities", "readOnly": true})
    );
    assert_eq!(
        container["resources"],
        json!({"requests": {"cpu": 1, "memory": "128Mi"}, "limits": {"memory": "1Gi"}})
    );
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], "http");
    }
}

#[tokio::test]
async fn values_get_to_the_pod() {
    let documents = with_every_value().await;
    let deployment = find(&documents, "Deployment");
    let template = &deployment["spec"]["template"];
    let pod = &template["spec"];
    assert_eq!(
        pod["volumes"][1],
        json!({"name": "authorities", "configMap": {"name": "authorities"}})
    );
    assert_eq!(pod["serviceAccountName"], "pusher");
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "pull"}]));
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert_eq!(
        pod["topologySpreadConstraints"],
        json!([{"topologyKey": "example/rack", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}])
    );
    assert_eq!(pod["nodeSelector"], json!({"kubernetes.io/arch": "amd64"}));
    assert_eq!(pod["tolerations"], json!([{"key": "dedicated", "operator": "Exists"}]));
    assert_eq!(pod["affinity"], json!({"nodeAffinity": {}}));
    assert_eq!(pod["priorityClassName"], "system-cluster-critical");
    assert_eq!(template["metadata"]["annotations"], json!({"example/scrape": "no"}));
    assert_eq!(template["metadata"]["labels"]["team"], "one");
}

#[tokio::test]
async fn values_get_to_what_is_beside_the_pod() {
    let documents = with_every_value().await;
    let port = json!([{"name": "http", "port": 9090, "targetPort": "http"}]);
    assert_eq!(find(&documents, "Service")["spec"]["ports"], port);
    let monitor = find(&documents, "ServiceMonitor");
    assert_eq!(monitor["spec"]["endpoints"][0]["interval"], "1m");
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(find(&documents, "PrometheusRule")["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(find(&documents, "ConfigMap")["metadata"]["labels"]["grafana_dashboard"], "yes");
    let policy = &find(&documents, "NetworkPolicy")["spec"];
    assert_eq!(
        policy["ingress"],
        json!([{
            "ports": [{"port": 9090}],
            "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        }])
    );
    assert_eq!(policy["egress"][1], json!({"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}));
    let viewer =
        documents.iter().find(|it| it["metadata"]["name"] == "here:pusher-viewer").unwrap();
    let labels = viewer["metadata"]["labels"].as_object().unwrap();
    assert!(labels.keys().all(|label| !label.contains("aggregate")), "{labels:?}");
}

/// What an upgrade or an uninstall must not take away is marked, unless that is asked for.
#[tokio::test]
async fn the_crd_outlives_the_release() {
    for (keep, policy) in [("true", json!("keep")), ("false", Value::Null)] {
        let documents = rendered(&[&format!("crds.keep={keep}")]).await;
        let crd = find(&documents, "CustomResourceDefinition");
        assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], policy);
    }
}

/// `view` sees, `edit` and `admin` have images pushed as well.
#[tokio::test]
async fn roles_of_people_are_part_of_the_clusters_own() {
    let documents = rendered(&[]).await;
    let expected = [
        ("viewer", vec!["admin", "edit", "view"]),
        ("editor", vec!["admin", "edit"]),
        ("admin", vec!["admin"]),
    ];
    for (role, into) in expected {
        let name = format!("here:mine-imagepush-{role}");
        let role = documents.iter().find(|it| it["metadata"]["name"] == *name).unwrap();
        let labels = role["metadata"]["labels"].as_object().unwrap();
        let prefix = "rbac.authorization.k8s.io/aggregate-to-";
        let mut found: Vec<&str> = labels.keys().filter_map(|it| it.strip_prefix(prefix)).collect();
        found.sort_unstable();
        assert_eq!(found, into, "{name}");
    }
}

/// Two operators at a time need a lease; where there is one, the new operator is there before the old one goes.
#[tokio::test]
async fn replicas_are_spread_and_take_turns() {
    let one = rendered(&[]).await;
    let deployment = &find(&one, "Deployment")["spec"];
    assert_eq!(deployment["template"]["spec"]["topologySpreadConstraints"], Value::Null);
    assert_eq!(
        deployment["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
    );
    let alone = rendered(&["leaderElection.enabled=false"]).await;
    assert_eq!(find(&alone, "Deployment")["spec"]["strategy"], json!({"type": "Recreate"}));

    let three = rendered(&["replicas=3"]).await;
    let selector = deployment["selector"].clone();
    let spread =
        &find(&three, "Deployment")["spec"]["template"]["spec"]["topologySpreadConstraints"];
    let spread = spread.as_array().unwrap();
    let keys: Vec<&Value> = spread.iter().map(|it| &it["topologyKey"]).collect();
    assert_eq!(keys, ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]);
    assert!(spread.iter().all(|it| it["labelSelector"] == selector), "{spread:#?}");
    let budget = &find(&three, "PodDisruptionBudget")["spec"];
    assert_eq!((&budget["maxUnavailable"], &budget["selector"]), (&json!(1), &selector));
}

/// Off, there is no such rule at all (see below); on, it is never for the whole cluster.
#[tokio::test]
async fn the_operator_acts_as_accounts_of_certain_namespaces_only() {
    let roles = async |values: &[&str]| -> Vec<(String, Value)> {
        let enabled = ["customResources.enabled=true"];
        let documents = rendered(&[&enabled, values].concat()).await;
        let is_role = |it: &&Value| {
            let name = it["metadata"]["name"].as_str().unwrap_or_default();
            ["Role", "ClusterRole"].iter().any(|kind| it["kind"] == *kind)
                && name.ends_with("-bundles")
        };
        let roles = documents.iter().filter(is_role).map(|it| {
            let place = it["metadata"]["namespace"].as_str().unwrap_or("all");
            (place.to_owned(), it["rules"].clone())
        });
        roles.collect()
    };
    let definitions = json!({"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": ["get"]});
    let legacy =
        json!([{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]}]);
    assert_eq!(
        roles(&["watchNamespaces={one,two}"]).await,
        [
            ("all".to_owned(), json!([definitions])),
            ("one".to_owned(), legacy.clone()),
            ("two".to_owned(), legacy)
        ]
    );
    let constrained = [
        "customResources.namespaces={one}",
        "customResources.serviceAccounts={deployer}",
        "customResources.impersonation=Constrained",
        "customResources.resources[0].apiGroups={example.com}",
        "customResources.resources[0].resources={things}",
    ];
    // Who writes these roles says elsewhere what is granted.
    let own = [
        "rbac.create=false",
        "customResources.namespaces={one}",
        "customResources.impersonation=Constrained",
    ];
    assert_eq!(roles(&own).await, []);
    let on = |verb: &str| format!("impersonate-on:serviceaccount:{verb}");
    let verbs = ["get", "create", "patch", "delete"].map(on);
    assert_eq!(
        roles(&constrained).await,
        [
            (
                "all".to_owned(),
                json!([definitions, {"nonResourceURLs": ["/api/*", "/apis/*"], "verbs": [on("get")]}])
            ),
            (
                "one".to_owned(),
                json!([
                    {"apiGroups": ["authentication.k8s.io"], "resources": ["serviceaccounts"],
                        "verbs": ["impersonate:serviceaccount"], "resourceNames": ["deployer"]},
                    {"apiGroups": ["example.com"], "resources": ["things"],
                        "verbs": verbs},
                ])
            ),
        ]
    );
}

/// It reads Secrets one by one, and takes no right by which it could get others.
#[tokio::test]
async fn the_operator_gets_no_right_by_which_it_gets_more() {
    for values in [&[][..], &["watchNamespaces={one}"], &["replicas=2"]] {
        let documents = rendered(values).await;
        let roles = documents.iter().filter(|it| {
            let name = it["metadata"]["name"].as_str().unwrap_or_default();
            let people = ["viewer", "editor", "admin"].iter().any(|role| name.ends_with(role));
            ["Role", "ClusterRole"].iter().any(|kind| it["kind"] == *kind) && !people
        });
        for rule in roles.flat_map(|role| role["rules"].as_array().unwrap()) {
            let list = |key: &str| -> Vec<&str> {
                rule[key].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect()
            };
            for verb in ["*", "impersonate", "bind", "escalate"] {
                assert!(!list("verbs").contains(&verb), "{rule:#}");
            }
            assert!(!list("resources").contains(&"*"), "{rule:#}");
            if list("resources").contains(&"secrets") {
                assert_eq!(list("verbs"), ["get"], "{rule:#}");
            }
        }
    }
}

/// What the operator may do is what the manual says, and nothing else.
#[tokio::test]
async fn the_rights_of_the_operator_are_those_of_the_manual() {
    const VERBS: [&str; 8] =
        ["create", "delete", "get", "impersonate", "list", "patch", "update", "watch"];
    let values = [
        "rbac.digestOutput=true",
        "secretWatch.enabled=true",
        "customResources.enabled=true",
        "customResources.namespaces={one}",
        "rbac.userRoles.create=false",
    ];
    let documents = rendered(&values).await;
    let roles = documents.iter().filter(|it| it["kind"] == "Role" || it["kind"] == "ClusterRole");
    let texts = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten();
        all.map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    let mut granted = BTreeSet::new();
    for rule in roles.flat_map(|role| role["rules"].as_array().unwrap()) {
        for resource in texts(&rule["resources"]) {
            granted.extend(texts(&rule["verbs"]).into_iter().map(|verb| (verb, resource.clone())));
        }
    }
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let mut told = BTreeSet::new();
    for row in manual.lines().filter_map(|line| line.strip_prefix("| operator | ")) {
        let (may, _) = row.split_once(" | ").unwrap();
        let quoted = may.split('`').skip(1).step_by(2).filter(|word| !word.contains(['.', '=']));
        for resource in quoted {
            let words = may.split('`').step_by(2).flat_map(|text| text.split([' ', ',']));
            let verbs = words.filter(|word| VERBS.contains(word));
            told.extend(verbs.map(|verb| (verb.to_owned(), resource.to_owned())));
        }
    }
    assert_eq!(granted, told);
}
