//! What an object says of itself by annotations. Pure.
//!
//! They come from the image, or from whoever may write the object: by them less is done to it, and never more.

use std::collections::BTreeMap;

use kube::ResourceExt as _;
use kube::api::DynamicObject;
use kube::core::ObjectMeta;
use serde_json::{Map, Value};

use crate::error::{Error, Kind, Result};

/// The object stays when the bundle has it no more, or the ImagePush is deleted.
const KEPT: (&str, &str) = ("imagepush.dev/prune", "disabled");
/// The object is made if it isn't there, and then left to others.
const ONCE: (&str, &str) = ("imagepush.dev/ssa", "IfNotPresent");

/// Refuses other values of these annotations than those that mean something.
pub(super) fn check(metadata: &Map<String, Value>) -> Result<()> {
    for (name, known) in [KEPT, ONCE] {
        let value = metadata.get("annotations").and_then(|annotations| annotations.get(name));
        if value.is_some_and(|value| value != known) {
            let message = format!("the annotation `{name}` has another value than `{known}`");
            let error = Error::new(Kind::CustomResourcesInvalid, message);
            return Err(error.hint("correct it in the image, or leave it out"));
        }
    }
    Ok(())
}

/// Whether an object stays where others are pruned.
pub(super) fn is_kept(live: &ObjectMeta) -> bool {
    live.annotations.as_ref().is_some_and(|annotations| says(annotations, KEPT))
}

/// Whether an object that is there is left as it is: because the bundle says so, or whoever has written it since.
pub(super) fn is_once(content: &Value, live: &DynamicObject) -> bool {
    let (name, value) = ONCE;
    content["metadata"]["annotations"][name] == value || says(live.annotations(), ONCE)
}

fn says(annotations: &BTreeMap<String, String>, (name, value): (&str, &str)) -> bool {
    annotations.get(name).is_some_and(|found| found == value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_word_that_means_nothing_is_refused() {
        for (annotations, expected) in [
            (json!(null), None),
            (json!({"imagepush.dev/prune": "disabled", "imagepush.dev/ssa": "IfNotPresent"}), None),
            (
                json!({"imagepush.dev/prune": "enabled"}),
                Some("prune` has another value than `disabled`"),
            ),
            (
                json!({"imagepush.dev/ssa": "Override"}),
                Some("ssa` has another value than `IfNotPresent`"),
            ),
            (
                json!({"imagepush.dev/ssa": true}),
                Some("ssa` has another value than `IfNotPresent`"),
            ),
        ] {
            let metadata = json!({"annotations": annotations});
            let found = check(metadata.as_object().unwrap()).map_err(|error| error.to_string());
            match expected {
                None => assert_eq!(found, Ok(()), "{annotations}"),
                Some(told) => assert!(found.unwrap_err().ends_with(told), "{annotations}"),
            }
        }
    }
}
