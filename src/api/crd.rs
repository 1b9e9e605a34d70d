//! The CustomResourceDefinition, made of the types and of a few things that their derives can't say.
//!
//! What `kube` derives is cleaned up here: optional means absent and never null, a status that nobody has written yet
//! doesn't read as done, references name a transport of the table, and conditions have the bounds of `metav1.Condition`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::v1alpha1::ImagePush;
use crate::error::{Error, Result};
use crate::transport;

/// The CustomResourceDefinition of ImagePush.
///
/// Fails only if the types no longer have the shape that the clean-up expects, which a test rules out.
pub fn crd() -> Result<CustomResourceDefinition> {
    let broken = |what: &str| Error::internal(format!("the schema of ImagePush has no {what}"));
    let mut crd = serde_json::to_value(ImagePush::crd())
        .map_err(|cause| Error::internal(format!("the CRD can't be serialised: {cause}")))?;
    let schema = crd
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
        .ok_or_else(|| broken("schema"))?;
    forbid_null(schema);
    for side in ["source", "destination"] {
        let path = format!("/properties/spec/properties/{side}/x-kubernetes-validations");
        let rules = schema.pointer_mut(&path).and_then(Value::as_array_mut);
        let rules = rules.ok_or_else(|| broken(side))?;
        rules.insert(0, name_a_transport());
        rules.push(have_a_volume());
    }
    let status = schema.pointer_mut("/properties/status").ok_or_else(|| broken("status"))?;
    // kstatus (Flux, Helm 4) takes an object without any status for done.
    status["default"] = json!({"observedGeneration": -1});
    let conditions =
        status.pointer_mut("/properties/conditions").ok_or_else(|| broken("conditions"))?;
    bound_conditions(conditions);
    serde_json::from_value(crd)
        .map_err(|cause| Error::internal(format!("the CRD can't be read back: {cause}")))
}

/// The CustomResourceDefinition as YAML, with every string quoted that YAML 1.1 would take for something else.
pub fn crd_yaml() -> Result<String> {
    serde_saphyr::to_string(&crd()?)
        .map_err(|cause| Error::internal(format!("the CRD can't be written as YAML: {cause}")))
}

/// Takes `nullable`, and the null that comes with it in lists of values, out of the schema: the API server then
/// turns an explicit null into absence instead of handing it on.
fn forbid_null(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("nullable");
            if let Some(Value::Array(values)) = fields.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            fields.values_mut().for_each(forbid_null);
        }
        Value::Array(values) => values.iter_mut().for_each(forbid_null),
        _ => {}
    }
}

/// The rule that a reference begins with a transport that exists.
fn name_a_transport() -> Value {
    let names = transport::names();
    json!({
        "rule": format!("self.reference.matches('^({}):.+$')", names.join("|")),
        "message": transport_is_unknown(),
        "fieldPath": ".reference",
    })
}

/// What that rule says.
pub(super) fn transport_is_unknown() -> String {
    format!(
        "`reference` must be of the form 'transport:details', such as 'docker://registry.example/app:1.0'; \
         known transports: {}",
        transport::names().join(", ")
    )
}

/// The rule that files are on a volume. It is no rule of the type: `imagepush apply`, which has no volumes, takes the same
/// object.
fn have_a_volume() -> Value {
    json!({
        "rule": "self.reference.startsWith('docker:') || has(self.volume)",
        "message": "`volume` must be specified for transports other than docker",
        "fieldPath": ".volume",
    })
}

/// The bounds that `metav1.Condition` has in Go, and that its Rust type doesn't carry.
fn bound_conditions(conditions: &mut Value) {
    conditions["maxItems"] = json!(16);
    let label = "([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?";
    let bounds = [
        (
            "type",
            json!({"maxLength": 316, "pattern": format!("^{label}(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$")}),
        ),
        ("status", json!({"enum": ["True", "False", "Unknown"]})),
        (
            "reason",
            json!({"minLength": 1, "maxLength": 1024, "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"}),
        ),
        ("message", json!({"maxLength": 32768})),
        ("observedGeneration", json!({"minimum": 0})),
    ];
    for (field, more) in bounds {
        let property = &mut conditions["items"]["properties"][field];
        for (key, value) in more.as_object().into_iter().flatten() {
            property[key] = value.clone();
        }
    }
}

#[cfg(test)]
#[path = "crd/tests.rs"]
mod tests;
