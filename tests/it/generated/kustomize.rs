//! The kustomize bases, which are what the chart renders with its own values.
//!
//! Each file of the bases has one template behind it. What is Helm's own (its labels, and the annotation that it keeps the
//! CRD by) is left out.

use super::assert_current;
use crate::support::chart::{CHART, tool};

/// Templates by the folder of `config/` that has what they render.
const TEMPLATES: [(&str, &str); 6] = [
    ("rbac", "controller_role.yaml"),
    ("rbac", "election_role.yaml"),
    ("rbac", "service_account.yaml"),
    ("rbac", "user_roles.yaml"),
    ("manager", "deployment.yaml"),
    ("manager", "network_policy.yaml"),
];

/// What only Helm reads.
pub(crate) const HELMS_OWN: [&str; 3] =
    ["helm.sh/chart", "helm.sh/resource-policy", "app.kubernetes.io/managed-by"];

/// What the bases are rendered with: kustomize sets the image, and the account's name has been in the documents from the
/// beginning.
pub(crate) const VALUES: [&str; 6] = [
    "-n",
    "imagepush-system",
    "--set",
    "image.repository=imagepush",
    "--set",
    "fullnameOverride=imagepush-controller",
];

#[tokio::test]
async fn the_bases_are_what_the_chart_renders() {
    for (folder, template) in TEMPLATES {
        let shown = format!("templates/{template}");
        let mut arguments = vec!["template", "imagepush", CHART, "--show-only", &shown];
        arguments.extend(VALUES);
        let rendered = tool("helm", &arguments).await.succeeded();
        assert_current(&format!("config/{folder}/{template}"), &base(template, &rendered));
    }
}

/// A rendered template as a file of the bases.
fn base(template: &str, rendered: &str) -> String {
    let mut text = format!(
        "# Generated from charts/imagepush/templates/{template} by `make generate`; do not edit.\n"
    );
    let kept = |line: &&str| {
        let helms = |it: &&str| line.trim_start().starts_with(&format!("{it}:"));
        !line.trim().is_empty() && !line.starts_with("# Source: ") && !HELMS_OWN.iter().any(helms)
    };
    for line in rendered.lines().skip_while(|line| *line == "---").filter(kept) {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
