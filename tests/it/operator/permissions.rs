//! The operator without one of its permissions at a time: it lives, says what it lacks, and doesn't ask again and again.

use futures::future::join_all;

use super::*;
use crate::support::chart::{CHART, REPOSITORY, documents, tool};

/// What is missing, and what follows.
struct Case {
    verb: &'static str,
    resource: &'static str,
    /// The reason that `Ready` gets of an object that needs everything.
    demanding: &'static str,
    /// Whether an object that needs little becomes Ready.
    simple: bool,
}

const fn case(
    verb: &'static str,
    resource: &'static str,
    demanding: &'static str,
    simple: bool,
) -> Case {
    Case { verb, resource, demanding, simple }
}

const CASES: [Case; 11] = [
    case("list", "imagepushes", "", false),
    // What can't be watched is listed every ten seconds.
    case("watch", "imagepushes", "PushSucceeded", true),
    // For the finalizer, without which nothing is pushed that is to be cleaned up.
    case("get", "imagepushes", "AccessDenied", true),
    case("patch", "imagepushes", "AccessDenied", true),
    case("delete", "imagepushes", "PushSucceeded", true),
    case("patch", "imagepushes/status", "", false),
    case("get", "secrets", "AccessDenied", true),
    case("get", "serviceaccounts", "AccessDenied", true),
    case("get", "configmaps", "DigestOutputFailed", true),
    case("create", "configmaps", "DigestOutputFailed", true),
    case("create", "events", "PushSucceeded", true),
];

/// Requests for what is missing, from the first one and for some seconds.
const FEW: u32 = 8;

/// The operator's rules, but for one verb.
async fn rules_without(plane: &ControlPlane, case: &Case) -> Value {
    let role = ["get", "clusterrole", "imagepush-system:imagepush-controller", "-o", "json"];
    let role: Value = serde_json::from_str(&plane.kubectl(&role).await.succeeded()).unwrap();
    let configmaps = json!({"apiGroups": [""], "resources": ["configmaps"],
        "verbs": ["get", "create", "patch"]});
    let mut rules = vec![];
    let mut taken = false;
    // What the chart adds with `rbac.digestOutput`.
    let granted = role["rules"].as_array().unwrap().iter().chain([&configmaps]);
    for rule in granted {
        for resource in rule["resources"].as_array().unwrap() {
            let mut verbs = rule["verbs"].as_array().unwrap().clone();
            if resource == case.resource {
                let before = verbs.len();
                verbs.retain(|verb| verb != case.verb);
                taken |= verbs.len() < before;
            }
            if !verbs.is_empty() {
                let groups = &rule["apiGroups"];
                rules.push(json!({"apiGroups": groups, "resources": [resource], "verbs": verbs}));
            }
        }
    }
    assert!(taken, "the operator has no permission to {} {}", case.verb, case.resource);
    json!(rules)
}

/// Makes an account with these rules in a namespace; a client with it.
async fn account(plane: &ControlPlane, namespace: &str, rules: Value) -> kube::Client {
    let metadata = json!({"name": "trimmed", "namespace": namespace});
    let group = "rbac.authorization.k8s.io";
    let made = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": metadata, "rules": rules},
        {"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": metadata,
         "roleRef": {"apiGroup": group, "kind": "Role", "name": "trimmed"},
         "subjects": [{"kind": "ServiceAccount", "name": "trimmed", "namespace": namespace}]},
    ]});
    plane.kubectl_with(&["apply", "-f", "-"], &made.to_string()).await.succeeded();
    let token = plane.kubectl(&["create", "token", "-n", namespace, "trimmed"]).await.succeeded();
    let mut config = plane.config().await;
    let token = Some(token.trim().into());
    config.auth_info = kube::config::AuthInfo { token, ..Default::default() };
    kube::Client::try_from(config).unwrap()
}

async fn objects(operator: &Operator, source: &str, to: &str) {
    let auths = json!({"auths": {to: {"username": "u", "password": canary::secret("operator::permissions")}}}).to_string();
    let secret = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
         "metadata": {"name": "login", "namespace": operator.namespace},
         "stringData": {".dockerconfigjson": auths}},
        {"apiVersion": "v1", "kind": "ServiceAccount",
         "metadata": {"name": "robot", "namespace": operator.namespace}},
    ]});
    operator.plane.kubectl_with(&["apply", "-f", "-"], &secret.to_string()).await.succeeded();
    let output = json!({"configMapKeyRef": {"name": "out", "key": "digest"}});
    let more = json!({"interval": "1h", "deletionPolicy": "Delete", "digestOutput": output});
    let mut demanding = spec(source, to, &more);
    demanding["source"]["serviceAccountName"] = json!("robot");
    demanding["destination"]["secretRef"] = json!({"name": "login"});
    operator.apply("demanding", &demanding).await;
    let more = json!({"runPolicy": "Once", "ttlSecondsAfterFinished": 1});
    let mut short = spec(source, to, &more);
    short["destination"]["reference"] = json!(format!("docker://{to}/app:short"));
    operator.apply("short", &short).await;
    let mut simple = spec(source, to, &json!({"runPolicy": "Once"}));
    simple["destination"]["reference"] = json!(format!("docker://{to}/app:simple"));
    operator.apply("simple", &simple).await;
}

/// How often the operator was told that it may not do this.
async fn denied(address: SocketAddr, case: &Case) -> u32 {
    let (verb, resource) = (case.verb, case.resource.split('/').next().unwrap());
    let name = "imagepush_api_requests_total";
    let start = format!("{name}{{verb=\"{verb}\",resource=\"{resource}\",code=\"403\"}} ");
    let (_, text) = get(address, "/metrics").await;
    let count = text.lines().find_map(|line| line.strip_prefix(&start));
    count.map_or(0, |count| count.parse().unwrap())
}

async fn check(case: &Case, source: &str) {
    let name = format!("{} {}", case.verb, case.resource);
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    let client = account(plane, &namespace, rules_without(plane, case).await).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let config = OperatorConfig { listen: Some(address), ..config(&namespace) };
    let operator = Operator::run(plane, client, namespace, config);
    let to = Registry::start().await;
    objects(&operator, source, &to.host).await;

    let told = async {
        while denied(address, case).await == 0 {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("{name}: never needed"));
    if case.simple {
        operator.wait("simple", "Ready").await;
    }
    if !case.demanding.is_empty() {
        operator.until("demanding", |it| reason_of(it, "Ready") == case.demanding).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let asked = denied(address, case).await;
    assert!(asked <= FEW, "{name}: asked {asked} times");
    assert_eq!(get(address, "/livez").await.0, 200, "{name}");
    let demanding = operator.get("demanding").await;
    assert_eq!(reason_of(&demanding, "Ready"), case.demanding, "{name}: {demanding:#}");
    if case.resource == "imagepushes" && case.demanding == "AccessDenied" {
        let message = condition(&demanding, "Reconciling")["message"].as_str().unwrap();
        let wanted = format!("cannot {} resource \"imagepushes\"", case.verb);
        assert!(message.contains(&wanted), "{message}");
    } else if case.demanding == "AccessDenied" {
        let message = condition(&demanding, "Stalled")["message"].as_str().unwrap();
        let wanted = format!("let its service account `get` `{}` in this namespace", case.resource);
        assert!(message.ends_with(&wanted), "{message}");
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_permission_that_is_missing_is_survived_and_told() {
    let source = Registry::start().await;
    fill(&source.host, 61).await;
    join_all(CASES.iter().map(|case| check(case, &source.host))).await;
}

/// Permissions that other tests take away.
const ELSEWHERE: [(&str, &str, &[&str]); 8] = [
    ("denied", "jobs", &["create", "get", "list", "delete"]),
    ("denied", "pods", &["list"]),
    ("denied", "events", &["list"]),
    ("denied", "persistentvolumeclaims", &["get"]),
    ("denied", "configmaps", &["patch"]),
    // `update` in `election`, by which a leader ends that can't renew.
    ("denied", "leases", &["get", "create", "update"]),
    // What an account, or the operator for it, may not do, in `bundles::refused`.
    ("bundles", "serviceaccounts", &["impersonate"]),
    ("bundles", "customresourcedefinitions", &["get"]),
];

/// What only a watch of Secrets needs: without it, the watch is repeated every ten seconds, like that of objects.
const FOR_THE_SECRET_WATCH: [&str; 2] = ["list secrets", "watch secrets"];

/// Whatever the chart grants to the operator, with every switch on, has its row: a new permission needs one.
#[tokio::test(flavor = "multi_thread")]
async fn no_permission_is_left_out() {
    let values = "rbac.digestOutput=true,secretWatch.enabled=true,customResources.enabled=true,\
        customResources.namespaces={one},customResources.impersonation=Legacy";
    let arguments =
        ["template", "mine", CHART, "--skip-tests", "--set", REPOSITORY, "--set", values];
    let rendered = documents(&tool("helm", &arguments).await.succeeded());
    let roles = rendered.iter().filter(|it| {
        let labels = it["metadata"]["labels"].as_object();
        let for_people = labels.is_some_and(|it| it.keys().any(|key| key.contains("aggregate-to")));
        !for_people && it["kind"].as_str().is_some_and(|kind| kind.ends_with("Role"))
    });
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut granted = BTreeSet::new();
    for rule in roles.flat_map(|role| role["rules"].as_array().unwrap()) {
        for resource in rule["resources"].as_array().unwrap() {
            let verbs = rule["verbs"].as_array().unwrap().iter();
            granted.extend(verbs.map(|verb| format!("{} {}", text(verb), text(resource))));
        }
    }
    let here = CASES.iter().map(|case| format!("{} {}", case.verb, case.resource));
    let elsewhere = ELSEWHERE.iter().flat_map(|(_, resource, verbs)| {
        verbs.iter().map(move |verb| format!("{verb} {resource}"))
    });
    let watch = FOR_THE_SECRET_WATCH.map(str::to_owned);
    let known: BTreeSet<String> = here.chain(elsewhere).chain(watch).collect();
    assert_eq!(granted, known);
}
