//! What the chart refuses, and that schema, values and the program's flags agree on what there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::chart::{CHART, REPOSITORY, tool, tool_with};

/// A file that sets each value.
const EVERY_VALUE: &str = include_str!("every_value.yaml");

/// Flags of the operator that are no value of the chart: it prints and ends.
const NO_VALUE: [&str; 1] = ["help"];

/// Values, and what is said to them.
const BAD_VALUES: &[(&str, &str)] = &[
    ("", "image.repository must be set: the image of the operator that your cluster can pull"),
    ("replicas=0", "at '/replicas': minimum: got 0, want 1"),
    ("replicas=2,leaderElection.enabled=false", "replicas must be 1 where leaderElection.enabled"),
    ("allowedRegistries={a b}", "at '/allowedRegistries/0': 'a b' does not match pattern"),
    ("topologySpreadConstraints={a}", "at '/topologySpreadConstraints/0': got string"),
    ("replica=2", "additional properties 'replica' not allowed"),
    ("image.repo=x", "additional properties 'repo' not allowed"),
    ("image.repository=x@y", "at '/image/repository': 'x@y' does not match pattern"),
    ("image.tag=a:b", "at '/image/tag': 'a:b' does not match pattern"),
    ("image.digest=sha256:1", "at '/image/digest': 'sha256:1' does not match pattern"),
    ("image.pullPolicy=Seldom", "at '/image/pullPolicy': value must be one of 'Always', "),
    ("imagePullSecrets={x}", "at '/imagePullSecrets/0': got string, want object"),
    (
        "fullnameOverride=a2345678901234567890123456789012345678901234567890b",
        "at '/fullnameOverride': maxLength: got 51, want 50",
    ),
    ("fullnameOverride=A", "at '/fullnameOverride': 'A' does not match pattern"),
    ("watchNamespaces={a b}", "at '/watchNamespaces/0': 'a b' does not match pattern"),
    ("watchNamespaces={a,a}", "at '/watchNamespaces': items at 0 and 1 are equal"),
    ("listen=8080", "at '/listen': got number, want string"),
    ("listen=none", "at '/listen': 'none' does not match pattern"),
    ("logFormat=xml", "at '/logFormat': value must be one of 'text', 'json'"),
    ("concurrency=0", "at '/concurrency': minimum: got 0, want 1"),
    ("perNamespace=-1", "at '/perNamespace': minimum: got -1, want 0"),
    ("maxMemory=384MB", "at '/maxMemory': '384MB' does not match pattern"),
    ("maxBytesPerSecond=5", "at '/maxBytesPerSecond': got number, want string"),
    ("jobs.executor=pod", "at '/jobs/executor': value must be one of 'auto', 'job'"),
    ("jobs.hostPaths={/}", "at '/jobs/hostPaths/0': '/' does not match pattern"),
    ("jobs.hostPaths={Team=/srv}", "at '/jobs/hostPaths/0': 'Team=/srv' does not match pattern"),
    ("jobs.privileged=true", "additional properties 'privileged' not allowed"),
    ("perHost=many", "at '/perHost': got string, want integer"),
    (
        "customResources.enabled=true",
        "customResources.namespaces must name the namespaces whose service accounts",
    ),
    (
        "customResources.enabled=true,watchNamespaces={a},customResources.impersonation=Constrained",
        "customResources.impersonation=Constrained grants nothing without customResources.resources",
    ),
    (
        "customResources.impersonation=Full",
        "at '/customResources/impersonation': value must be one of 'Legacy', 'Constrained'",
    ),
    ("timeout=soon", "at '/timeout': 'soon' does not match pattern"),
    ("egress.deny={a b}", "at '/egress/deny/0': 'a b' does not match pattern"),
    ("egress.denied={a}", "additional properties 'denied' not allowed"),
    ("tokenServers={a.example}", "at '/tokenServers/0': 'a.example' does not match pattern"),
    ("uploadHosts={a.example}", "at '/uploadHosts/0': 'a.example' does not match pattern"),
    (
        "uploadHostsWithCredentials={a=b=c}",
        "at '/uploadHostsWithCredentials/0': 'a=b=c' does not match pattern",
    ),
    ("foreignLayerHosts={a/b}", "at '/foreignLayerHosts/0': 'a/b' does not match pattern"),
    ("forbidInsecure=maybe", "at '/forbidInsecure': got string, want boolean"),
    ("proxyFromEnvironment=maybe", "at '/proxyFromEnvironment': got string, want boolean"),
    ("extraArgs={--listen=1.1.1.1:1}", "at '/extraArgs/0': 'not' failed"),
    ("extraArgs={--timeout}", "at '/extraArgs/0': 'not' failed"),
    ("extraEnv[0].value=x", "at '/extraEnv/0': missing property 'name'"),
    ("extraVolumeMounts[0].name=x", "at '/extraVolumeMounts/0': missing property 'mountPath'"),
    ("tracing.endpoint=collector:4318", "at '/tracing/endpoint': 'collector:4318' does not match"),
    ("metrics.enabled=true", "additional properties 'enabled' not allowed"),
    ("metrics.serviceMonitor.interval=often", "at '/metrics/serviceMonitor/interval': 'often'"),
    ("crds.enabled=true", "additional properties 'enabled' not allowed"),
    ("rbac.userRoles.add=true", "additional properties 'add' not allowed"),
    ("serviceAccount.create=false", "serviceAccount.name must be set where serviceAccount.create"),
    ("networkPolicy.egress={all}", "at '/networkPolicy/egress/0': got string, want object"),
    ("resources.limit.memory=1Gi", "additional properties 'limit' not allowed"),
    ("resources.limits.memory=1 GB", "at '/resources/limits/memory': 'oneOf' failed"),
    ("test.image=", "at '/test/image': '' does not match pattern"),
    ("podLabels.helm\\.sh/chart=x", "invalid propertyName 'helm.sh/chart'"),
    ("metrics.rules.enabled=true", "metrics.rules.enabled needs metrics.serviceMonitor.enabled"),
    ("listen=0.0.0.0:65536", "at '/listen': '0.0.0.0:65536' does not match pattern"),
    ("maxMemory=31Mi", "maxMemory must be 32Mi at least"),
    ("maxBytesPerSecond=1Ki", "maxBytesPerSecond must be 64Ki at least"),
    ("timeout=24h1s", "timeout must be between 1s and 24h"),
    ("timeout=0s", "timeout must be between 1s and 24h"),
    ("podLabels.a=1", "at '/podLabels/a': got number, want string"),
];

#[tokio::test]
async fn bad_values_are_refused() {
    for &(value, message) in BAD_VALUES {
        let mut arguments = vec!["template", CHART];
        if !value.is_empty() {
            arguments.extend(["--set", REPOSITORY, "--set", value]);
        }
        let refused = tool("helm", &arguments).await;
        assert!(!refused.success, "{value} is accepted");
        assert!(refused.stderr.contains(message), "{value}: {}", refused.stderr);
    }
}

/// A property that the values lack is never set, and one that the schema lacks can't be.
#[test]
fn the_schema_has_each_value_and_no_other() {
    let values: Value = serde_yaml::from_str(&read("values.yaml")).unwrap();
    let mut described = BTreeSet::new();
    describe(&schema(), "", &mut described);
    // What Helm hands to each chart of a larger one; and what Kubernetes has beside requests and limits.
    for own in ["global", "resources.claims"] {
        assert!(described.remove(own), "{own}");
    }
    let mut present = BTreeSet::new();
    list(&values, &described, "", &mut present);
    assert_eq!(described, present);
}

/// What a platform team would set is a value, and can't be set a second time by way of `extraArgs`.
#[test]
fn every_flag_of_the_operator_is_a_value() {
    let mut program = imagepush::cli::command();
    program.build();
    let operator = program.find_subcommand("operator").unwrap();
    let flags = operator.get_arguments().filter_map(clap::Arg::get_long);
    let flags: BTreeSet<&str> = flags.filter(|flag| !NO_VALUE.contains(flag)).collect();
    let schema = schema();
    let refused = schema["properties"]["extraArgs"]["items"]["not"]["pattern"].as_str().unwrap();
    let refused = refused.strip_prefix("^--(").and_then(|it| it.strip_suffix(")(=|$)")).unwrap();
    assert_eq!(refused.split('|').collect::<BTreeSet<_>>(), flags, "what `extraArgs` refuses");
    let deployment = read("templates/deployment.yaml");
    for flag in flags {
        assert!(deployment.contains(&format!("--{flag}")), "no value sets --{flag}");
    }
}

#[tokio::test]
async fn a_file_with_every_value_is_accepted() {
    let arguments = ["template", "mine", CHART, "-f", "-"];
    tool_with("helm", &arguments, EVERY_VALUE).await.succeeded();
    let given: Value = serde_yaml::from_str(EVERY_VALUE).unwrap();
    let mut described = BTreeSet::new();
    describe(&schema(), "", &mut described);
    let mut present = BTreeSet::new();
    list(&given, &described, "", &mut present);
    let lacking: Vec<_> = described.difference(&present).collect();
    assert_eq!(lacking, ["global", "resources.claims"], "every_value.yaml lacks values");
}

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(CHART).join(file)).unwrap()
}

fn schema() -> Value {
    serde_json::from_str(&read("values.schema.json")).unwrap()
}

/// The paths of the properties of a schema. An object that has some has no others, and no property takes just anything.
fn describe(schema: &Value, parent: &str, paths: &mut BTreeSet<String>) {
    let Some(properties) = schema["properties"].as_object() else { return };
    assert_eq!(schema["additionalProperties"], false, "`{parent}` takes anything");
    for (name, property) in properties {
        let path = below(parent, name);
        let bound = property.as_object().is_some_and(|it| !it.is_empty());
        assert!(bound, "`{path}` takes anything");
        describe(property, &path, paths);
        paths.insert(path);
    }
}

/// The paths of values, but those below a map whose keys are free.
fn list(values: &Value, described: &BTreeSet<String>, parent: &str, paths: &mut BTreeSet<String>) {
    let has_parts =
        described.iter().any(|it| parent.is_empty() || it.starts_with(&below(parent, "")));
    if !has_parts {
        return;
    }
    for (name, value) in values.as_object().into_iter().flatten() {
        let path = below(parent, name);
        list(value, described, &path, paths);
        paths.insert(path);
    }
}

fn below(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}
