//! As whom an operator may act that was installed from the chart, by the API server's own word.

use super::*;
use crate::support::chart::documents;

/// What the chart grants to an operator that is installed in a namespace: as whom it may act in `team`, and elsewhere.
async fn may_act(values: &[&str], own: &str, team: &str, elsewhere: &str) -> Vec<(String, bool)> {
    let plane = control_plane().await;
    let release = format!("release-{own}");
    let mut arguments = vec!["template", &release, CHART, "-n", own, "--set", REPOSITORY];
    arguments.extend(values.iter().flat_map(|value| ["--set", value]));
    let rendered = tool("helm", &arguments).await.succeeded();
    let rights = documents(&rendered).into_iter().filter(|it| {
        let kind = it["kind"].as_str().unwrap_or_default();
        kind == "ServiceAccount" || kind.ends_with("Role") || kind.ends_with("RoleBinding")
    });
    let rights: Vec<Value> = rights.collect();
    let account = rights.iter().find(|it| it["kind"] == "ServiceAccount").unwrap();
    let account =
        format!("system:serviceaccount:{own}:{}", account["metadata"]["name"].as_str().unwrap());
    let list = json!({"apiVersion": "v1", "kind": "List", "items": rights}).to_string();
    plane.kubectl_with(&["apply", "-f", "-"], &list).await.succeeded();
    let mut found = Vec::new();
    for (who, namespace) in [
        ("serviceaccounts/deployer", team),
        ("serviceaccounts/other", team),
        ("serviceaccounts/deployer", elsewhere),
        ("users/admin", team),
        ("groups/system:masters", team),
    ] {
        let asked = ["auth", "can-i", "impersonate", who, "--as", &account, "-n", namespace];
        let answer = plane.kubectl(&asked).await;
        found.push((format!("{who} {}", namespace == team), answer.stdout.trim() == "yes"));
    }
    found
}

#[tokio::test]
async fn who_is_installed_without_bundles_may_act_as_nobody() {
    let plane = control_plane().await;
    let [team, elsewhere] = [plane.namespace().await, plane.namespace().await];
    let namespaces = format!("customResources.namespaces={{{team}}}");
    let enabled =
        ["customResources.enabled=true", &namespaces, "customResources.serviceAccounts={deployer}"];
    let disabled = ["customResources.enabled=false"];
    for (values, allowed) in [(&[][..], false), (&disabled[..], false), (&enabled[..], true)] {
        let own = plane.namespace().await;
        let found = may_act(values, &own, &team, &elsewhere).await;
        let expected = [
            ("serviceaccounts/deployer true", allowed),
            ("serviceaccounts/other true", false),
            ("serviceaccounts/deployer false", false),
            ("users/admin true", false),
            ("groups/system:masters true", false),
        ];
        let expected: Vec<_> = expected.map(|(who, may)| (who.to_owned(), may)).into();
        assert_eq!(found, expected, "{values:?}");
    }
}
