//! The CEL rules, evaluated in process over the schema that is installed; the API server gives the same answers, which
//! the integration tests show.

use std::collections::BTreeSet;

use kube::core::cel::Validator;
use serde_json::{Value, json};

use super::crd;
use crate::api::check;

/// A minimal object with `changes` merged into its spec.
fn object(changes: &Value) -> Value {
    let mut spec = json!({
        "source": {"reference": "docker://a.example/x:1"},
        "destination": {"reference": "docker://b.example/x:1"},
        "interval": "10m",
    });
    for (field, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(spec.as_object_mut().unwrap().remove(field)),
            value => spec[field] = value.clone(),
        }
    }
    json!({"metadata": {"name": "x"}, "spec": spec})
}

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
    let secret = json!({"name": "s"});
    let cases = [
        json!({}),
        json!({"runPolicy": "Once", "interval": null}),
        json!({"interval": "1m"}),
        json!({"timeout": "1h30m", "suspend": true, "mode": "DryRun", "format": "v2s2"}),
        json!({"destination": {"reference": "docker://b.example/x:1", "secretRef": secret,
               "certSecretRef": secret, "tlsPolicy": "SkipVerify"}}),
        json!({"platforms": {}}),
        json!({"platforms": {"mode": "List", "list": ["linux/amd64", "linux/arm/v7"]}}),
        json!({"compression": {"disabled": true}}),
        json!({"compression": {"format": "gzip", "level": 9}}),
        json!({"compression": {"format": "zstd", "level": 20}}),
        json!({"retry": {"limit": 0, "delay": "2s"}}),
        json!({"runPolicy": "Once", "interval": null, "ttlSecondsAfterFinished": 0}),
        json!({"deletionPolicy": "Delete", "overwritePolicy": "IfNotPresent"}),
        json!({"digestOutput": {"configMapKeyRef": {"name": "c", "key": "digest"}}}),
        json!({"customResources": {"apply": {"serviceAccountName": "a", "wait": true, "timeout": "1h"}}}),
        json!({"executor": "Job"}),
        json!({"source": {"reference": "oci:a/b..c:1",
               "volume": {"persistentVolumeClaim": {"claimName": "c"}}}}),
        json!({"destination": {"reference": "docker-archive:x.tar",
               "volume": {"hostPath": {"path": "/srv/images"}}}}),
    ];
    for changes in cases {
        assert_eq!(refusals(&object(&changes), None), [""; 0], "{changes}");
        assert_eq!(refused_here(&object(&changes)), "", "{changes}");
    }
}

/// A source of this name, with more fields.
fn with(reference: &str, more: &Value) -> Value {
    let mut side = json!({"reference": reference});
    side.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"source": side})
}

fn volumes_that_are_refused() -> Vec<(Value, &'static str)> {
    let relative = "`reference` must name a path relative to `volume`, and may not contain '..'";
    let one_volume = "exactly one of `persistentVolumeClaim` and `hostPath` must be set";
    let claim = json!({"persistentVolumeClaim": {"claimName": "c"}});
    vec![
        (
            with("docker://a/x", &json!({"volume": claim})),
            "`volume` may not be specified for the docker transport",
        ),
        (with("oci:/x", &json!({"volume": claim})), relative),
        (with("oci:../x", &json!({"volume": claim})), relative),
        (with("oci:a/../x:1", &json!({"volume": claim})), relative),
        (with("oci:a/..:1", &json!({"volume": claim})), relative),
        (
            with("oci:a", &json!({"volume": {"persistentVolumeClaim": {"claimName": "../x"}}})),
            "`claimName` must be the name of an object: lower-case letters and digits, with `-` and `.` between them",
        ),
        (with("oci:a", &json!({"volume": {}})), one_volume),
        (
            with(
                "oci:a",
                &json!({"volume": {"hostPath": {"path": "/x"}, "persistentVolumeClaim": {"claimName": "c"}}}),
            ),
            one_volume,
        ),
        (
            json!({"executor": "InProcess", "source": {"reference": "oci:a", "volume": claim}}),
            "`executor` may not be 'InProcess' when a `volume` is specified",
        ),
        (
            json!({"destination": {"reference": "oci:a", "volume": {
                "persistentVolumeClaim": {"claimName": "c", "readOnly": true}}}}),
            "`destination.volume` may not be read-only",
        ),
    ]
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn contradictions_are_refused_with_a_sentence() {
    let interval =
        "`interval` must be set when `runPolicy` is 'Continuous', and may not be set otherwise";
    let docker = "`secretRef`, `serviceAccountName`, `certSecretRef` and `tlsPolicy` may only be specified for the docker transport";
    let list = "`list` must be set when `mode` is 'List', and may not be set otherwise";
    let disabled = "`format` and `level` may not be specified when `disabled` is true";
    let form = format!(
        "`reference` must be of the form 'transport:details', such as 'docker://registry.example/app:1.0'; \
         known transports: {}",
        crate::transport::names().join(", ")
    );
    let name = "`name` must be the name of an object: lower-case letters and digits, with `-` and `.` between them";
    let tagged = "`deletionPolicy` may only be 'Delete' for docker destinations with a tag";
    let secret = json!({"name": "s"});
    let cases = [
        (with("app", &json!({})), form.as_str()),
        (with("docker:", &json!({})), form.as_str()),
        (with("foo://x", &json!({})), &form),
        (with("Registry.example/app:1", &json!({})), form.as_str()),
        (json!({"interval": null}), interval),
        (json!({"runPolicy": "Once"}), interval),
        (json!({"interval": "59s"}), "`interval` must be greater than or equal to 1m"),
        (json!({"timeout": "500ms"}), "`timeout` must be between 1s and 24h"),
        (json!({"timeout": "25h"}), "`timeout` must be between 1s and 24h"),
        (json!({"retry": {"delay": "16m"}}), "`delay` must be less than or equal to 15m"),
        (with("oci:x", &json!({"secretRef": secret})), docker),
        (with("oci:x", &json!({"serviceAccountName": "a"})), docker),
        (
            with("docker://a/x", &json!({"secretRef": secret, "serviceAccountName": "a"})),
            "`serviceAccountName` may not be specified together with `secretRef`",
        ),
        (with("oci:x", &json!({"certSecretRef": secret})), docker),
        (with("docker://a/x", &json!({"secretRef": {"name": "?limit=500"}})), name),
        (with("docker://a/x", &json!({"certSecretRef": {"name": "../x"}})), name),
        (
            with("docker://a/x", &json!({"serviceAccountName": "a-"})),
            "`serviceAccountName` must be the name of an object: lower-case letters and digits, with `-` and `.` between them",
        ),
        (with("oci:x", &json!({"tlsPolicy": "Verify"})), docker),
        (
            with("docker://a/x", &json!({"certSecretRef": secret, "tlsPolicy": "PlainHTTP"})),
            "`certSecretRef` may not be specified when `tlsPolicy` is 'PlainHTTP'",
        ),
        (
            json!({"ttlSecondsAfterFinished": 60}),
            "`ttlSecondsAfterFinished` may only be specified when `runPolicy` is 'Once'",
        ),
        (json!({"deletionPolicy": "Delete", "destination": {"reference": "oci:x"}}), tagged),
        (
            json!({"deletionPolicy": "Delete", "destination": {"reference": "docker://a/x@sha256:0"}}),
            tagged,
        ),
        (json!({"platforms": {"mode": "List"}}), list),
        (json!({"platforms": {"list": ["linux/amd64"]}}), list),
        (json!({"compression": {"disabled": true, "format": "gzip"}}), disabled),
        (
            json!({"compression": {"level": 3}}),
            "`level` may only be specified together with `format`",
        ),
        (
            json!({"compression": {"format": "gzip", "level": 10}}),
            "`level` must be between 1 and 9 when `format` is 'gzip'",
        ),
    ];
    let apply = |policy: &str, timeout: &str| {
        let apply = json!({"serviceAccountName": "a", "timeout": timeout});
        json!({"customResources": {"policy": policy, "apply": apply}})
    };
    let never = "`apply` may not be specified when `policy` is 'Never'";
    let hour = "`timeout` must be between 1s and 1h";
    let of_bundles =
        [(apply("Never", "1m"), never), (apply("Auto", "0s"), hour), (apply("Auto", "2h"), hour)];
    let mut told = BTreeSet::new();
    let all = cases.into_iter().chain(of_bundles).chain(volumes_that_are_refused());
    for (changes, message) in all {
        let refusals = refusals(&object(&changes), None);
        assert!(refusals.contains(&message.to_owned()), "{changes}: {refusals:?}");
        let here = refused_here(&object(&changes));
        assert!(here.ends_with(&format!("`: {message}")), "{changes}: {here}");
        told.insert(message);
    }
    // So that a rule that is new has to get a case here, and with it its twin in `check::rules`.
    assert_eq!(told, messages(&crd().unwrap()).iter().map(String::as_str).collect());
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

/// What an object names is in its own namespace: there is no field for another one.
#[test]
fn no_reference_has_a_namespace() {
    fn walk(schema: &Value, found: &mut BTreeSet<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            found.insert(name.clone());
            walk(field, found);
        }
        if let Some(items) = schema.get("items") {
            walk(items, found);
        }
    }
    let crd = serde_json::to_value(crd().unwrap()).unwrap();
    let mut found = BTreeSet::new();
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    walk(crd.pointer(schema).unwrap(), &mut found);
    assert!(found.contains("secretRef") && found.contains("serviceAccountName"), "{found:?}");
    assert!(!found.iter().any(|name| name.to_lowercase().contains("namespace")), "{found:?}");
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
