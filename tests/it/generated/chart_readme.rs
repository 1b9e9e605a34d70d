//! The chart's README, whose table of values is made of the comments in `values.yaml`.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::assert_current;
use crate::support::chart::CHART;

/// What stands before the table.
const HEAD: &str = "\
<!-- Generated from values.yaml by `make generate`; do not edit. -->

# Chart imagepush

Installs the operator that reconciles `ImagePush` objects, with its CRD:

    helm install imagepush charts/imagepush --namespace imagepush-system --create-namespace --wait \\
      --set image.repository=registry.example/imagepush

Everything in the namespace complies with the restricted pod security standard.
How the operator is run, watched, upgraded and removed: [operations.md](../../docs/operations.md).

`helm template`, `install` and `upgrade` refuse values that are not listed here.

| value | default | meaning |
|---|---|---|
";

/// A value that has a comment or is no map with values of its own.
struct Row {
    path: String,
    comment: String,
}

#[test]
fn the_readme_of_the_chart_is_current() {
    let text = fs::read_to_string(Path::new(CHART).join("values.yaml")).unwrap();
    let values: Value = serde_yaml::from_str(&text).unwrap();
    let mut readme = HEAD.to_owned();
    for Row { path, comment } in rows(&text) {
        let value = values.pointer(&format!("/{}", path.replace('.', "/"))).unwrap();
        let has_parts = value.as_object().is_some_and(|parts| !parts.is_empty());
        // The parts have rows of their own.
        if has_parts && !path.rsplit('.').next().is_some_and(is_foreign) {
            continue;
        }
        let default = format!("`{value}`");
        assert!(!comment.is_empty(), "`{path}` has no comment");
        readme.push_str(&["| `", &path, "` | ", &default, " | ", &comment, " |\n"].concat());
    }
    assert_current("charts/imagepush/README.md", &readme);
}

/// Maps with keys that are not ours, and which are shown whole.
fn is_foreign(key: &str) -> bool {
    ["resources", "labels"].contains(&key)
}

/// Every key of the file in its order, with the comment that stands right above it.
fn rows(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in text.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if let Some(more) = content.strip_prefix("# ") {
            comment.push(more);
            continue;
        }
        let said = std::mem::take(&mut comment).join(" ");
        let Some((key, _)) = content.split_once(':') else { continue };
        parents.retain(|(depth, _)| *depth < indent);
        parents.push((indent, key.to_owned()));
        let keys: Vec<&str> = parents.iter().map(|(_, key)| key.as_str()).collect();
        if !keys.iter().rev().skip(1).any(|key| is_foreign(key)) {
            rows.push(Row { path: keys.join("."), comment: said });
        }
    }
    rows
}
