//! The CEL rules, evaluated in process over the schema that is installed; the API server gives the same answers, which
//! the integration tests show.

mod cases;

use std::collections::BTreeSet;

use kube::core::cel::Validator;
use serde_json::{Value, json};

use self::cases::{accepted, object, refused, refused_in_a_cluster};
use super::crd;
use crate::api::check;

/// What the rules say to an object, or to a change of one.
fn refusals(new: &Value, old: Option<&Value>) -> Vec<String> {
    let crd = serde_json::to_value(crd().unwrap()).unwrap();
    let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap();
    match Validator::new().validate_with_defaults(schema, new, old) {
        Ok(()) => vec![],
        Err(found) => found.into_vec().into_iter().map(|error| error.message).collect(),
    }
}

/// The same question to the checks that do without an API server.
fn refused_here(object: &Value) -> String {
    let mut spec = object["spec"].clone();
    let checked = check::structure(&mut spec)
        .and_then(|()| check::rules(&serde_json::from_value(spec).unwrap()));
    checked.map_or_else(|error| error.to_string(), |()| String::new())
}

#[test]
fn what_makes_sense_is_accepted() {
    for changes in accepted() {
        assert_eq!(refusals(&object(&changes), None), [""; 0], "{changes}");
        assert_eq!(refused_here(&object(&changes)), "", "{changes}");
    }
}

#[test]
fn contradictions_are_refused_with_a_sentence() {
    let mut told = BTreeSet::new();
    for (changes, message) in refused(&crate::transport::names()) {
        let refusals = refusals(&object(&changes), None);
        assert!(refusals.contains(&message), "{changes}: {refusals:?}");
        let here = refused_here(&object(&changes));
        assert!(here.ends_with(&format!("`: {message}")), "{changes}: {here}");
        told.insert(message);
    }
    for (changes, message) in refused_in_a_cluster() {
        assert_eq!(refusals(&object(&changes), None), [message], "{changes}");
        assert_eq!(refused_here(&object(&changes)), "", "{changes}");
        told.insert(message.to_owned());
    }
    // So that a rule that is new has to get a case here, and with it its twin in `check::rules`.
    assert_eq!(told, messages(&crd().unwrap()));
}

/// The messages of all rules, but for those about changes.
fn messages(crd: &impl serde::Serialize) -> BTreeSet<String> {
    fn walk(value: &Value, found: &mut BTreeSet<String>) {
        for rule in value["x-kubernetes-validations"].as_array().into_iter().flatten() {
            if !rule["rule"].as_str().unwrap().contains("oldSelf") {
                found.insert(rule["message"].as_str().unwrap().to_owned());
            }
        }
        value.as_object().into_iter().flatten().for_each(|(_, value)| walk(value, found));
        value.as_array().into_iter().flatten().for_each(|value| walk(value, found));
    }
    let mut found = BTreeSet::new();
    walk(&serde_json::to_value(crd).unwrap(), &mut found);
    found
}

#[test]
fn some_fields_cannot_be_changed() {
    let once = object(&json!({"runPolicy": "Once", "interval": null}));
    let moved = json!({"reference": "docker://c.example/x:1"});
    let elsewhere = object(&json!({"runPolicy": "Once", "interval": null, "destination": moved}));
    assert_eq!(
        refusals(&elsewhere, Some(&once)),
        ["`source` and `destination` are immutable when `runPolicy` is 'Once'"]
    );
    let continuous = object(&json!({}));
    assert_eq!(refusals(&continuous, Some(&once)), ["`runPolicy` is immutable"]);
    let followed = object(&json!({"destination": moved}));
    assert_eq!(refusals(&followed, Some(&continuous)), [""; 0]);
}

/// Every field says what it is, no value may be null, and every text and list has a bound.
#[test]
fn the_schema_is_documented_and_bounded() {
    fn walk(path: &str, schema: &Value, problems: &mut Vec<String>) {
        if schema.get("nullable").is_some() {
            problems.push(format!("{path} may be null"));
        }
        let bounded = match schema["type"].as_str() {
            Some("string") => {
                ["maxLength", "enum", "format"].iter().any(|key| schema.get(key).is_some())
            }
            Some("array") => schema.get("maxItems").is_some(),
            _ => true,
        };
        if !bounded {
            problems.push(format!("{path} has no bound"));
        }
        if let Some(items) = schema.get("items") {
            walk(&format!("{path}[]"), items, problems);
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if field["description"].as_str().is_none_or(str::is_empty) {
                problems.push(format!("{path} has no description"));
            }
            walk(&path, field, problems);
        }
    }
    let crd = serde_json::to_value(crd().unwrap()).unwrap();
    let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap();
    let mut problems = vec![];
    for part in ["spec", "status"] {
        walk(part, &schema["properties"][part], &mut problems);
    }
    assert_eq!(problems, [""; 0]);
    assert_eq!(schema["properties"]["status"]["default"], json!({"observedGeneration": -1}));
}

/// What an object names is in its own namespace: there is no field to say otherwise.
#[test]
fn no_field_names_another_namespace() {
    fn walk(path: &str, schema: &Value, found: &mut Vec<String>) {
        for (name, below) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if name.to_lowercase().contains("namespace") {
                found.push(path.clone());
            }
            walk(&path, below, found);
        }
        if schema["items"].is_object() {
            walk(path, &schema["items"], found);
        }
    }
    let crd = serde_json::to_value(super::crd().unwrap()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut found = vec![];
    walk("", &schema["properties"]["spec"], &mut found);
    assert_eq!(found, [""; 0]);
    assert!(!schema["properties"]["spec"]["properties"]["source"].is_null());
}
