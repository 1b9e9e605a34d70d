//! Whether an object works, by the conventions that kstatus reads. Pure.

use serde_json::Value;

/// How an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// What its spec asks for is done.
    Current,
    /// It is under way, as far as this says.
    InProgress(&'static str),
    /// It takes somebody's help.
    Failed(String),
}

/// How an object is. What says nothing of itself is current.
pub(super) fn standing(object: &Value) -> Standing {
    let metadata = &object["metadata"];
    if metadata["deletionTimestamp"].is_string() {
        return Standing::InProgress("it is being deleted");
    }
    let status = &object["status"];
    let (seen, generation) = (&status["observedGeneration"], &metadata["generation"]);
    if seen.as_i64().zip(generation.as_i64()).is_some_and(|(seen, now)| seen < now) {
        return Standing::InProgress("nobody has looked at its latest form");
    }
    let condition = |kind: &str| {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().find(|condition| condition["type"] == kind)
    };
    let is_true = |kind| condition(kind).is_some_and(|condition| condition["status"] == "True");
    if is_true("Stalled") {
        let reason = condition("Stalled").and_then(|condition| condition["reason"].as_str());
        return Standing::Failed(word(reason.unwrap_or_default()));
    }
    if is_true("Reconciling") {
        return Standing::InProgress("it is being reconciled");
    }
    match condition("Ready") {
        Some(ready) if ready["status"] != "True" => Standing::InProgress("it is not ready"),
        _ => Standing::Current,
    }
}

/// A reason, if it is a word as the conventions want it; a sentence may repeat a value.
fn word(reason: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if reason.len() <= 64 && !reason.is_empty() && reason.chars().all(is_word) {
        reason.to_owned()
    } else {
        "Stalled".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_as_its_conditions_say() {
        let object = |status: Value| json!({"metadata": {"generation": 2}, "status": status});
        let conditions = |pairs: &[(&str, &str)]| {
            let conditions: Vec<Value> = pairs
                .iter()
                .map(|(kind, status)| json!({"type": kind, "status": status, "reason": "Because"}))
                .collect();
            object(json!({"observedGeneration": 2, "conditions": conditions}))
        };
        for (object, expected) in [
            (json!({}), Standing::Current),
            (object(json!({})), Standing::Current),
            (object(json!({"observedGeneration": 2})), Standing::Current),
            (
                object(json!({"observedGeneration": 1})),
                Standing::InProgress("nobody has looked at its latest form"),
            ),
            (conditions(&[("Ready", "True")]), Standing::Current),
            (conditions(&[("Ready", "False")]), Standing::InProgress("it is not ready")),
            (conditions(&[("Ready", "Unknown")]), Standing::InProgress("it is not ready")),
            (
                conditions(&[("Ready", "False"), ("Reconciling", "True")]),
                Standing::InProgress("it is being reconciled"),
            ),
            (
                conditions(&[("Ready", "False"), ("Stalled", "True")]),
                Standing::Failed("Because".into()),
            ),
            (conditions(&[("Stalled", "False")]), Standing::Current),
            (
                json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
                Standing::InProgress("it is being deleted"),
            ),
        ] {
            assert_eq!(standing(&object), expected, "{object}");
        }
        assert_eq!(word("the password is x"), "Stalled");
    }
}
