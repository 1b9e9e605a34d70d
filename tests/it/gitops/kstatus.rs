//! How kstatus, by which Flux and Helm wait, reads an object: the library itself, in a program of a few lines.

use serde_json::{Value, json};

use crate::support::chart::tool_with;

/// What kstatus calls the states of objects.
pub(crate) async fn kstatus(objects: &[Value]) -> Vec<String> {
    let told = tool_with("kstatus", &[], &json!(objects).to_string()).await.succeeded();
    serde_json::from_str(&told).unwrap()
}

/// What docs/gitops.md says of it, and what the statuses are made for.
#[tokio::test]
async fn the_truth_table() {
    let condition = |kind, status| json!({"type": kind, "status": status});
    let object = |generation: i64, status: Value| {
        json!({
            "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": {"name": "x", "namespace": "n", "generation": generation}, "status": status,
        })
    };
    let settled = |generation, conditions: &[Value]| {
        object(generation, json!({"observedGeneration": 1, "conditions": conditions}))
    };
    let ready = |status| condition("Ready", status);
    let (reconciling, stalled) = (condition("Reconciling", "True"), condition("Stalled", "True"));
    let mut deleted = object(1, json!({}));
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:05Z");
    let cases = [
        ("created", object(1, json!({"observedGeneration": -1})), "InProgress"),
        ("no default of the status", object(1, json!({})), "Current"),
        ("pushing", settled(1, &[ready("Unknown"), reconciling.clone()]), "InProgress"),
        ("retrying", settled(1, &[ready("False"), reconciling.clone()]), "InProgress"),
        ("done", settled(1, &[ready("True")]), "Current"),
        ("done, then edited", settled(2, &[ready("True")]), "InProgress"),
        ("stalled", settled(1, &[ready("False"), stalled.clone()]), "Failed"),
        ("not ready alone", settled(1, &[ready("False")]), "InProgress"),
        // The first of the list decides, which is why there must never be both.
        ("stalled first", settled(1, &[stalled.clone(), reconciling.clone()]), "Failed"),
        ("stalled last", settled(1, &[reconciling, stalled]), "InProgress"),
        ("deleted", deleted, "Terminating"),
    ];
    let objects: Vec<Value> = cases.iter().map(|(_, object, _)| object.clone()).collect();
    let states = kstatus(&objects).await;
    let found: Vec<_> =
        cases.iter().zip(&states).map(|(it, state)| (it.0, state.as_str())).collect();
    let expected: Vec<_> = cases.iter().map(|(name, _, state)| (*name, *state)).collect();
    assert_eq!(found, expected);
}
