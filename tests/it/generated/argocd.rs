//! What has to stand in Argo CD's own `ConfigMap` for it to know ImagePush, made of the scripts.

use std::fs;

use super::assert_current;
use crate::gitops::argocd::folder;

const HEAD: &str = "\
# Generated from imagepush.dev/ImagePush by `make generate`; do not edit.
#
#   kubectl patch configmap argocd-cm -n argocd --patch-file argocd-cm.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  labels:
    app.kubernetes.io/name: argocd-cm
    app.kubernetes.io/part-of: argocd
data:
";

#[test]
fn the_settings_of_argo_cd_are_current() {
    let mut text = HEAD.to_owned();
    text.push_str("  resource.customizations.health.imagepush.dev_ImagePush: |\n");
    text.push_str(&script("health.lua", 4));
    text.push_str("  resource.customizations.actions.imagepush.dev_ImagePush: |\n");
    text.push_str("    discovery.lua: |\n");
    text.push_str(&script("actions/discovery.lua", 6));
    text.push_str("    definitions:\n");
    for action in ["reconcile", "suspend", "resume"] {
        text.push_str(&["      - name: ", action, "\n        action.lua: |\n"].concat());
        text.push_str(&script(&format!("actions/{action}/action.lua"), 10));
    }
    assert_current("config/argocd/argocd-cm.yaml", &text);
    // Who has the packaged chart alone finds it there.
    assert_current("charts/imagepush/files/argocd-cm.yaml", &text);
}

/// A script, moved to the right.
fn script(file: &str, indent: usize) -> String {
    let text = fs::read_to_string(folder().join(file)).unwrap();
    let moved = |line: &str| match line {
        "" => "\n".to_owned(),
        line => format!("{}{line}\n", " ".repeat(indent)),
    };
    text.lines().map(moved).collect()
}
