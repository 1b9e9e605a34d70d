//! Admission policies of the cluster that refuse what the operator writes: it says so where it can, asks seldom, and goes on
//! when it may.

use imagepush::controller::JobSettings;

use super::*;

/// What a policy refuses.
struct Policy {
    group: &'static str,
    resource: &'static str,
    operation: &'static str,
    /// What is let through.
    expression: &'static str,
    /// As the API server answers: `Invalid` is 422, `Forbidden` 403.
    reason: &'static str,
}

const STATUS: Policy = Policy {
    group: "imagepush.dev",
    resource: "imagepushes/status",
    operation: "UPDATE",
    expression: "false",
    reason: "Invalid",
};

const FINALIZER: Policy = Policy {
    group: "imagepush.dev",
    resource: "imagepushes",
    operation: "UPDATE",
    expression: "!has(object.metadata.finalizers)",
    reason: "Invalid",
};

const JOBS: Policy = Policy {
    group: "batch",
    resource: "jobs",
    operation: "CREATE",
    expression: "false",
    reason: "Invalid",
};

// === impl Policy ===

impl Policy {
    /// Has the API server keep to it in a namespace; it takes a moment to know.
    async fn begin(&self, plane: &ControlPlane, namespace: &str) {
        let Self { group, resource, operation, expression, reason } = self;
        let version = "admissionregistration.k8s.io/v1";
        let metadata = json!({"name": format!("frozen-{namespace}")});
        let rules = json!([{"apiGroups": [group], "apiVersions": ["*"], "resources": [resource],
            "operations": [operation]}]);
        let here = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
        let policy = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": version, "kind": "ValidatingAdmissionPolicy", "metadata": metadata,
             "spec": {"matchConstraints": {"resourceRules": rules}, "failurePolicy": "Fail",
                "validations": [{"expression": expression, "message": "there is a freeze",
                    "reason": reason}]}},
            {"apiVersion": version, "kind": "ValidatingAdmissionPolicyBinding", "metadata": metadata,
             "spec": {"policyName": metadata["name"], "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": here}}},
        ]});
        plane.kubectl_with(&["apply", "-f", "-"], &policy.to_string()).await.succeeded();
    }

    async fn end(&self, plane: &ControlPlane, namespace: &str) {
        for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
            plane.kubectl(&["delete", kind, &format!("frozen-{namespace}")]).await.succeeded();
        }
    }
}

/// What tries a request that a policy refuses, as an administrator.
fn attempt_at<'a>(policy: &Policy, namespace: &'a str) -> Vec<&'a str> {
    let arguments: &[&str] = match policy.resource {
        "jobs" => &["create", "job", "probe", "--image=i"],
        "imagepushes" => &[
            "patch",
            "ipush",
            "web",
            "--type=merge",
            "-p",
            r#"{"metadata": {"finalizers": ["a/b"]}}"#,
        ],
        _ => &[
            "patch",
            "ipush",
            "web",
            "--subresource=status",
            "--type=merge",
            "-p",
            r#"{"status": {"observedGeneration": 7}}"#,
        ],
    };
    [&["-n", namespace], arguments, &["--dry-run=server"]].concat()
}

/// Waits until the API server answers so to what a policy is about.
async fn holds(policy: &Policy, plane: &ControlPlane, namespace: &str, refused: bool) {
    let arguments = attempt_at(policy, namespace);
    let settled = async {
        while plane.kubectl(&arguments).await.success == refused {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("the API server knows of the policy");
}

/// An operator that comes to an object `web` when the policy holds.
async fn frozen(policy: &Policy, spec: &Value) -> Operator {
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    let object = json!({
        "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
        "metadata": {"namespace": namespace, "name": "web"}, "spec": spec,
    });
    plane.kubectl_with(&["apply", "-f", "-"], &object.to_string()).await.succeeded();
    policy.begin(plane, &namespace).await;
    holds(policy, plane, &namespace, true).await;
    let config = OperatorConfig {
        jobs: JobSettings { image: Some("registry.example/i:1".into()), ..JobSettings::default() },
        ..config(&namespace)
    };
    Operator::run(plane, plane.operator_client().await, namespace, config)
}

/// The policy is gone, and somebody says so.
async fn thaw(policy: &Policy, operator: &Operator) {
    policy.end(operator.plane, &operator.namespace).await;
    holds(policy, operator.plane, &operator.namespace, false).await;
    request(operator, "web", "thawed").await;
}

/// How often the operator asked for this and got this code, such as `create jobs 422`.
fn count(operator: &Operator, what: &str) -> usize {
    let account = "system:serviceaccount:imagepush-system:imagepush-controller";
    let audited = operator.plane.audited(&operator.namespace).into_iter();
    let own = audited.filter(|event| event["user"]["username"] == account);
    own.filter(|event| {
        let about = &event["objectRef"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let below = about["subresource"].as_str().map_or(String::new(), |it| format!("/{it}"));
        let (verb, resource) = (text(&event["verb"]), text(&about["resource"]));
        what == format!("{verb} {resource}{below} {}", event["responseStatus"]["code"])
    })
    .count()
}

/// Waits until the operator has asked for this more often than before, and returns how often it has a while later.
async fn asks(operator: &Operator, what: &str, before: usize) -> usize {
    let often = async {
        while count(operator, what) == before {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, often).await.unwrap_or_else(|_| panic!("{what}"));
    tokio::time::sleep(Duration::from_secs(4)).await;
    count(operator, what)
}

/// Nothing is begun that can't be told, an event tells it, and the API server isn't asked again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_a_policy_refuses_is_told_by_an_event() {
    let source = Registry::start().await;
    fill(&source.host, 191).await;
    let forbidden = refused_status(&source.host, "Forbidden", 403);
    let invalid = refused_status(&source.host, "Invalid", 422);
    tokio::join!(forbidden, invalid);
}

async fn refused_status(source: &str, reason: &'static str, code: u16) {
    let policy = Policy { reason, ..STATUS };
    let to = Registry::start().await;
    let once = json!({"runPolicy": "Once"});
    let operator = frozen(&policy, &spec(source, &to.host, &once)).await;
    let refused = format!("patch imagepushes/status {code}");
    let each = asks(&operator, &refused, 0).await;
    // Of what is refused as invalid, less is tried, too.
    assert!(each <= if code == 422 { 3 } else { 1 }, "{each} requests for one look");
    // The next look finds that it is no trouble that passes.
    request(&operator, "web", "1").await;
    assert_eq!(asks(&operator, &refused, each).await, 2 * each);
    let list = operator.kubectl(&["get", "events.events.k8s.io", "-o", "json"]).await;
    let list: Value = serde_json::from_str(&list).unwrap();
    let [event] = &list["items"].as_array().unwrap()[..] else { panic!("{list:#}") };
    let told = [&event["regarding"]["name"], &event["reason"], &event["type"]];
    assert_eq!(told, ["web", "AccessDenied", "Warning"]);
    let note = event["note"].as_str().unwrap();
    assert!(note.contains("there is a freeze"), "{note}");
    assert_eq!(to.take_log(), [""; 0], "nothing is pushed that can't be told");
    thaw(&policy, &operator).await;
    operator.wait("web", "Ready").await;
    operator.stop().await;
}

/// What is to be cleaned up some day is not pushed without the finalizer, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_finalizer_that_a_policy_refuses_is_named() {
    let source = Registry::start().await;
    fill(&source.host, 192).await;
    let to = Registry::start().await;
    let more = json!({"interval": "1h", "deletionPolicy": "Delete"});
    let operator = frozen(&FINALIZER, &spec(&source.host, &to.host, &more)).await;
    let object = operator.until("web", |it| reason_of(it, "Ready") == "AccessDenied").await;
    assert_eq!(reason_of(&object, "Reconciling"), "ProgressingWithRetry", "{object:#}");
    let message = condition(&object, "Ready")["message"].as_str().unwrap();
    assert!(message.contains("the finalizer `imagepush.dev/cleanup` can't be set"), "{message}");
    assert!(message.contains("there is a freeze"), "{message}");
    assert_eq!(asks(&operator, "patch imagepushes 422", 0).await, 1);
    assert_eq!(count(&operator, "patch imagepushes/status 200"), 1);
    assert_eq!(to.take_log(), [""; 0], "nothing is pushed that can't be cleaned up");
    thaw(&FINALIZER, &operator).await;
    operator.wait("web", "Ready").await;
    operator.stop().await;
}

/// An attempt whose Job is refused has failed, and there are others at growing distances.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_a_policy_refuses_is_named_and_tried_again() {
    let more = json!({"interval": "1h", "executor": "Job"});
    let operator = frozen(&JOBS, &spec("registry.example", "registry.example", &more)).await;
    let retries = |object: &Value| object["status"]["retry"]["count"].as_u64().unwrap_or(0);
    let object = operator.until("web", |it| retries(it) >= 3).await;
    assert_eq!(reason_of(&object, "Ready"), "AccessDenied", "{object:#}");
    assert_eq!(reason_of(&object, "Reconciling"), "ProgressingWithRetry", "{object:#}");
    let message = condition(&object, "Ready")["message"].as_str().unwrap();
    assert!(message.starts_with("creating Job `ipush-"), "{message}");
    assert!(message.contains("there is a freeze"), "{message}");
    // Each try is an attempt that is counted, and each attempt one try.
    let tried = count(&operator, "create jobs 422") as u64;
    let counted = retries(&operator.get("web").await);
    assert!((tried..=tried + 1).contains(&counted), "{tried} tries, {counted} attempts");
    thaw(&JOBS, &operator).await;
    let made = async {
        while operator.kubectl(&["get", "jobs", "-o", "name"]).await.is_empty() {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, made).await.expect("a Job is made");
    operator.stop().await;
}
