//! What tells two wishes apart: one digest over what is to be pushed, and one over how it is reached.
//!
//! They are inputs of the decision and have different effects. Another push digest means that the image is pushed again.
//! Another access digest means that what has stalled or waits is tried at once; and if the spec was edited, that what is done is
//! checked once more.
//! Fields that say when to push are in neither, so that editing them neither starts nor ends an attempt.

use serde_json::{Value, json};

use crate::api::v1alpha1::{CustomResources, ImageLocation, ImagePush, ImagePushSpec, Mode};
use crate::image::Digest;

/// Digest of the fields that decide what is pushed.
pub(crate) fn push(object: &ImagePush) -> String {
    of(&pushed(&object.spec))
}

/// Digest of the fields that decide how the sides are reached, and of the state of the Secrets that they name.
pub(crate) fn access(object: &ImagePush, secrets: &str) -> String {
    of(&json!([reached(&object.spec), secrets]))
}

/// Digest of everything in the spec that an attempt depends on: while it stays the same, a running attempt goes on.
pub(crate) fn work(object: &ImagePush) -> String {
    // What may be overwritten is no part of what is pushed; but what is told of a spec has to have kept to it.
    let overwrite = object.spec.overwrite_policy;
    of(&json!([pushed(&object.spec), reached(&object.spec), overwrite]))
}

fn pushed(spec: &ImagePushSpec) -> Value {
    let ImagePushSpec {
        source,
        destination,
        run_policy: _,
        interval: _,
        timeout: _,
        suspend: _,
        quiet: _,
        mode,
        // It says what may be overwritten, and not what is pushed.
        overwrite_policy: _,
        deletion_policy: _,
        digest_output: _,
        ttl_seconds_after_finished: _,
        platforms,
        format,
        compression,
        retry: _,
        verify_after_push: _,
        custom_resources,
        executor: _,
    } = spec;
    let mut wish = json!([
        source.reference,
        destination.reference,
        *mode == Mode::DryRun,
        platforms,
        format,
        compression,
        source.volume,
        destination.volume
    ]);
    // Left out where it is not set, so that an operator that is new to it pushes nothing again.
    if let (Some(custom_resources), Some(wish)) = (custom_resources, wish.as_array_mut()) {
        let CustomResources { policy, apply: _ } = custom_resources;
        wish.push(json!({"policy": policy}));
    }
    wish
}

fn reached(spec: &ImagePushSpec) -> Value {
    let side = |location: &ImageLocation| {
        let ImageLocation {
            reference: _,
            secret_ref,
            service_account_name,
            cert_secret_ref,
            tls_policy,
            volume: _,
        } = location;
        json!([secret_ref, service_account_name, cert_secret_ref, tls_policy])
    };
    let mut way = json!([
        side(&spec.source),
        side(&spec.destination),
        spec.timeout,
        spec.retry,
        spec.executor
    ]);
    let apply = spec.custom_resources.as_ref().and_then(|it| it.apply.as_ref());
    if let (Some(apply), Some(way)) = (apply, way.as_array_mut()) {
        way.push(json!(apply));
    }
    way
}

fn of(document: &Value) -> String {
    Digest::of(document.to_string().as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(changes: &Value) -> [String; 3] {
        let mut spec = json!({
            "source": {"reference": "docker://a.example/x:1"},
            "destination": {"reference": "docker://b.example/x:1"},
            "interval": "1h",
        });
        for (pointer, value) in changes.as_object().unwrap() {
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            spec.pointer_mut(parent).unwrap()[field] = value.clone();
        }
        let object = ImagePush::new("x", serde_json::from_value(spec).unwrap());
        [push(&object), access(&object, "s 1"), work(&object)]
    }

    #[test]
    fn each_field_belongs_to_one_digest_or_none() {
        let before = digests(&json!({}));
        for (changes, changed) in [
            (json!({"/interval": "2h"}), [false, false, false]),
            (json!({"/suspend": true}), [false, false, false]),
            (json!({"/quiet": true}), [false, false, false]),
            (json!({"/verifyAfterPush": false}), [false, false, false]),
            (json!({"/overwritePolicy": "FailOnDrift"}), [false, false, true]),
            (json!({"/customResources": {"policy": "Only"}}), [true, false, true]),
            (
                json!({"/customResources": {"policy": "Only", "apply": {"serviceAccountName": "a"}}}),
                [true, true, true],
            ),
            (json!({"/source/reference": "docker://a.example/x:2"}), [true, false, true]),
            (json!({"/destination/reference": "docker://b.example/x:2"}), [true, false, true]),
            (json!({"/format": "oci"}), [true, false, true]),
            (json!({"/platforms": {"mode": "System"}}), [true, false, true]),
            (json!({"/compression": {"disabled": true}}), [true, false, true]),
            (json!({"/mode": "DryRun"}), [true, false, true]),
            (json!({"/source/secretRef": {"name": "s"}}), [false, true, true]),
            (json!({"/source/serviceAccountName": "a"}), [false, true, true]),
            (json!({"/destination/certSecretRef": {"name": "s"}}), [false, true, true]),
            (json!({"/destination/tlsPolicy": "SkipVerify"}), [false, true, true]),
            (json!({"/timeout": "5m"}), [false, true, true]),
            (json!({"/retry": {"limit": 5}}), [false, true, true]),
            (json!({"/executor": "Job"}), [false, true, true]),
            (json!({"/source/volume": {"hostPath": {"path": "/x"}}}), [true, false, true]),
            (json!({"/destination/volume": {"hostPath": {"path": "/x"}}}), [true, false, true]),
        ] {
            let after = digests(&changes);
            let found = [0, 1, 2].map(|n| before[n] != after[n]);
            assert_eq!(found, changed, "{changes}");
        }
    }

    #[test]
    fn a_secret_that_changed_is_another_access() {
        let object: ImagePush = ImagePush::new("x", serde_json::from_value(json!({
            "source": {"reference": "docker://a/x"}, "destination": {"reference": "docker://b/x"},
        })).unwrap());
        assert_ne!(access(&object, "s 1"), access(&object, "s 2"));
    }
}
