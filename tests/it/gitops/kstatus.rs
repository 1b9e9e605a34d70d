//! How kstatus, by which Flux and Helm wait, reads an object.

use serde_json::{Value, json};

/// What kstatus calls the state of an object, after what its own documentation says of kinds that it doesn't know.
pub(crate) fn kstatus(object: &Value) -> &'static str {
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return "Terminating";
    }
    let (status, generation) = (&object["status"], &object["metadata"]["generation"]);
    let observed = &status["observedGeneration"];
    if !observed.is_null() && observed != generation {
        return "InProgress";
    }
    let conditions = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    // The first of the list decides, which is why there must never be both.
    for condition in conditions.iter().filter(|condition| condition["status"] == "True") {
        match condition["type"].as_str() {
            Some("Reconciling") => return "InProgress",
            Some("Stalled") => return "Failed",
            _ => {}
        }
    }
    match conditions.iter().find(|condition| condition["type"] == "Ready") {
        Some(ready) if ready["status"] != "True" => "InProgress",
        _ => "Current",
    }
}

#[test]
fn the_truth_table() {
    let condition = |kind, status| json!({"type": kind, "status": status});
    let object = |generation: i64, observed: Value, conditions: &[Value]| {
        json!({
            "metadata": {"generation": generation},
            "status": {"observedGeneration": observed, "conditions": conditions},
        })
    };
    let ready = |status| condition("Ready", status);
    let (reconciling, stalled) = (condition("Reconciling", "True"), condition("Stalled", "True"));
    let cases = [
        ("created", object(1, json!(-1), &[]), "InProgress"),
        ("no default of the status", object(1, Value::Null, &[]), "Current"),
        ("pushing", object(1, json!(1), &[ready("Unknown"), reconciling.clone()]), "InProgress"),
        ("retrying", object(1, json!(1), &[ready("False"), reconciling.clone()]), "InProgress"),
        ("done", object(1, json!(1), &[ready("True")]), "Current"),
        ("done, then edited", object(2, json!(1), &[ready("True")]), "InProgress"),
        ("stalled", object(1, json!(1), &[ready("False"), stalled.clone()]), "Failed"),
        ("not ready alone", object(1, json!(1), &[ready("False")]), "InProgress"),
        ("stalled first", object(1, json!(1), &[stalled.clone(), reconciling.clone()]), "Failed"),
        ("stalled last", object(1, json!(1), &[reconciling, stalled]), "InProgress"),
    ];
    for (name, object, expected) in cases {
        assert_eq!(kstatus(&object), expected, "{name}");
    }
    let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}});
    assert_eq!(kstatus(&deleted), "Terminating");
}
