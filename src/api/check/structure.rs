//! Holds a document against the schema of the CRD.
//!
//! Knows the keywords that the schema uses, which a test makes sure of. Patterns are left to others: durations, to the rules;
//! the name and the key of `digestOutput`, to the API server, since nothing but an operator in a cluster takes that field.

use serde_json::Value;

use crate::api;
use crate::error::{Error, Kind, Result};

/// Takes the nulls out of a spec, which mean absence, and refuses the first thing that the schema doesn't allow.
///
/// Errors have the kind `InvalidOptions` and name the field, such as `spec.retry.limit`.
pub fn structure(spec: &mut Value) -> Result<()> {
    let crd = serde_json::to_value(api::crd()?).unwrap_or_default();
    let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec");
    let schema = schema.ok_or_else(|| Error::internal("the CRD has no schema for a spec"))?;
    without_nulls(spec);
    check("spec", spec, schema).map_err(|message| Error::new(Kind::InvalidOptions, message))
}

fn without_nulls(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, value| !value.is_null());
        fields.values_mut().for_each(without_nulls);
    }
}

fn check(path: &str, value: &Value, schema: &Value) -> Result<(), String> {
    match (schema["type"].as_str().unwrap_or_default(), value) {
        ("object", Value::Object(fields)) => {
            let required = schema["required"].as_array().into_iter().flatten();
            let mut required = required.filter_map(Value::as_str);
            if let Some(name) = required.find(|name| !fields.contains_key(*name)) {
                return Err(format!("`{path}.{name}` is missing"));
            }
            fields.iter().try_for_each(|(name, value)| {
                let path = format!("{path}.{name}");
                let schema = schema["properties"].get(name);
                check(&path, value, schema.ok_or_else(|| format!("unknown field `{path}`"))?)
            })
        }
        ("array", Value::Array(items)) => {
            bounded(path, items.len(), ["minItems", "maxItems"], " entries", schema)?;
            let twice = |n: &usize| items[..*n].contains(&items[*n]);
            if schema["x-kubernetes-list-type"] == "set" && (0..items.len()).any(|n| twice(&n)) {
                return Err(format!("`{path}` has an entry twice"));
            }
            let mut items = items.iter().enumerate();
            items.try_for_each(|(n, item)| check(&format!("{path}[{n}]"), item, &schema["items"]))
        }
        ("string", Value::String(text)) => {
            let length = text.chars().count();
            bounded(path, length, ["minLength", "maxLength"], " characters", schema)?;
            one_of(path, text, schema)
        }
        ("integer", Value::Number(number)) if number.is_i64() => {
            bounded(path, number.as_i64().unwrap_or_default(), ["minimum", "maximum"], "", schema)
        }
        ("boolean", Value::Bool(_)) => Ok(()),
        (expected, _) => Err(format!("`{path}` must be of the type {expected}")),
    }
}

/// Bounds are small numbers, which the schema writes as floating point where they are bounds of numbers.
fn bounded(
    path: &str,
    found: impl TryInto<i32>,
    [least, most]: [&str; 2],
    unit: &str,
    schema: &Value,
) -> Result<(), String> {
    let found = f64::from(found.try_into().unwrap_or(i32::MAX));
    match (schema[least].as_f64(), schema[most].as_f64()) {
        (Some(least), _) if found < least => {
            Err(format!("`{path}` must have at least {least}{unit}"))
        }
        (_, Some(most)) if found > most => Err(format!("`{path}` must have at most {most}{unit}")),
        _ => Ok(()),
    }
}

fn one_of(path: &str, text: &str, schema: &Value) -> Result<(), String> {
    let Some(values) = schema["enum"].as_array() else { return Ok(()) };
    if values.iter().any(|value| value == text) {
        return Ok(());
    }
    let values: Vec<_> =
        values.iter().filter_map(Value::as_str).map(|it| format!("`{it}`")).collect();
    Err(format!("`{path}` is `{text}`; it can be {}", values.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    fn refusal(mut spec: Value) -> String {
        let sides =
            [("source", "docker://a.example/x:1"), ("destination", "docker://b.example/x:1")];
        for (side, reference) in sides {
            if spec.get(side).is_none() {
                spec[side] = json!({"reference": reference});
            }
        }
        structure(&mut spec).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn what_the_schema_forbids_is_refused_by_name() {
        let long = "x".repeat(513);
        let many: Vec<String> = (0..33).map(|n| format!("linux/{n}")).collect();
        let cases = [
            (json!({}), ""),
            (
                json!({"format": null, "retry": {"delay": null}, "source": {"reference": "x", "tlsPolicy": null}}),
                "",
            ),
            (json!({"platforms": {"mode": "List", "list": ["linux/arm64"]}}), ""),
            (json!({"tag": "x"}), "unknown field `spec.tag`"),
            (
                json!({"source": {"reference": "x", "namespace": "y"}}),
                "unknown field `spec.source.namespace`",
            ),
            (json!({"source": {}}), "`spec.source.reference` is missing"),
            (json!({"source": null}), "`spec.source` is missing"),
            (json!({"source": "x"}), "`spec.source` must be of the type object"),
            (
                json!({"source": {"reference": ""}}),
                "`spec.source.reference` must have at least 1 characters",
            ),
            (
                json!({"source": {"reference": long}}),
                "`spec.source.reference` must have at most 512 characters",
            ),
            (json!({"suspend": "yes"}), "`spec.suspend` must be of the type boolean"),
            (json!({"mode": "Maybe"}), "`spec.mode` is `Maybe`; it can be `Apply`, `DryRun`"),
            (json!({"retry": {"limit": 51}}), "`spec.retry.limit` must have at most 50"),
            (json!({"retry": {"limit": -1}}), "`spec.retry.limit` must have at least 0"),
            (json!({"retry": {"limit": 1.5}}), "`spec.retry.limit` must be of the type integer"),
            (
                json!({"platforms": {"list": []}}),
                "`spec.platforms.list` must have at least 1 entries",
            ),
            (
                json!({"platforms": {"list": many}}),
                "`spec.platforms.list` must have at most 32 entries",
            ),
            (
                json!({"platforms": {"list": [1]}}),
                "`spec.platforms.list[0]` must be of the type string",
            ),
            (
                json!({"platforms": {"list": ["linux/a", "linux/a"]}}),
                "`spec.platforms.list` has an entry twice",
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(refusal(spec.clone()), expected, "{spec}");
        }
    }

    /// Those of durations, and of what only the operator writes.
    const PATTERNS: [&str; 3] =
        ["^([0-9]{1,6}(ms|s|m|h))+$", "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "^[-._a-zA-Z0-9]+$"];

    /// A keyword that is new in the schema has to be thought of here.
    #[test]
    fn the_schema_has_no_other_keywords() {
        fn keywords(schema: &Value, found: &mut BTreeSet<String>) {
            for (key, value) in schema.as_object().unwrap() {
                match key.as_str() {
                    "properties" => {
                        value.as_object().unwrap().values().for_each(|it| keywords(it, found));
                    }
                    "items" => keywords(value, found),
                    "pattern" => assert!(PATTERNS.contains(&value.as_str().unwrap()), "{value}"),
                    "description" | "default" => {}
                    _ => drop(found.insert(key.clone())),
                }
            }
        }
        let crd = serde_json::to_value(api::crd().unwrap()).unwrap();
        let mut found = BTreeSet::new();
        keywords(
            &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"],
            &mut found,
        );
        let known = [
            "enum",
            "format",
            "maxItems",
            "maxLength",
            "maximum",
            "minItems",
            "minLength",
            "minimum",
            "required",
            "type",
            "x-kubernetes-list-type",
            "x-kubernetes-validations",
        ];
        assert_eq!(found, BTreeSet::from(known.map(str::to_owned)));
    }
}
