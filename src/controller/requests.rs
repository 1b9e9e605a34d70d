//! Requests to look at an object at once, which come as annotations.
//!
//! There are two: ours, and the one that Flux's tools write. Values are opaque: another one is another request. What was
//! handled is echoed into status, where those tools look for it.

use kube::ResourceExt as _;

use crate::api::v1alpha1::ImagePush;
use crate::api::{FLUX_REQUESTED_AT, REQUESTED_AT};
use crate::limits::MAX_REQUEST;

/// What the annotations ask for, in the form in which status echoes it: the value, or where both are there, Flux's and
/// ours with a comma between them.
pub(crate) fn request(object: &ImagePush) -> Option<String> {
    let values = [FLUX_REQUESTED_AT, REQUESTED_AT].map(|name| object.annotations().get(name));
    let values: Vec<&str> = values.into_iter().flatten().map(|value| cut(value)).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// A request that status doesn't tell of as handled.
pub(crate) fn pending(object: &ImagePush) -> Option<String> {
    let handled = object.status.as_ref().and_then(|it| it.last_handled_reconcile_at.as_deref());
    request(object).filter(|request| handled.is_none_or(|handled| !covers(handled, request)))
}

/// Whether what was handled is this request, or this and one that was taken away since.
fn covers(handled: &str, request: &str) -> bool {
    let (first, second) = handled.split_once(',').unwrap_or((handled, handled));
    [handled, first, second].contains(&request)
}

fn cut(value: &str) -> &str {
    let end = value.char_indices().map(|(at, _)| at).nth(MAX_REQUEST);
    &value[..end.unwrap_or(value.len())]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(annotations: &[(&str, &str)]) -> ImagePush {
        let side = json!({"reference": "docker://a.example/x:1"});
        let spec = json!({"source": side, "destination": side});
        let mut object = ImagePush::new("x", serde_json::from_value(spec).unwrap());
        for (name, value) in annotations {
            object.annotations_mut().insert((*name).into(), (*value).into());
        }
        object
    }

    #[test]
    fn either_annotation_asks_and_either_change_asks_again() {
        let long = "é".repeat(MAX_REQUEST + 1);
        for (annotations, expected) in [
            (vec![], None),
            (vec![("other", "x")], None),
            (vec![(REQUESTED_AT, "1")], Some("1".to_owned())),
            (vec![(FLUX_REQUESTED_AT, "1")], Some("1".to_owned())),
            (vec![(REQUESTED_AT, "1"), (FLUX_REQUESTED_AT, "2")], Some("2,1".to_owned())),
            (vec![(REQUESTED_AT, long.as_str())], Some("é".repeat(MAX_REQUEST))),
        ] {
            assert_eq!(request(&object(&annotations)), expected, "{annotations:?}");
        }
    }

    #[test]
    fn a_request_is_pending_until_status_echoes_it() {
        let mut asked = object(&[(REQUESTED_AT, "1")]);
        assert_eq!(pending(&asked).as_deref(), Some("1"));
        asked.status.get_or_insert_default().last_handled_reconcile_at = Some("1".into());
        assert_eq!(pending(&asked), None);
        asked.annotations_mut().insert(REQUESTED_AT.into(), "2".into());
        assert_eq!(pending(&asked).as_deref(), Some("2"));
        // One that was taken away asks for nothing, nor does the other one then ask again.
        asked.annotations_mut().insert(FLUX_REQUESTED_AT.into(), "3".into());
        asked.status.get_or_insert_default().last_handled_reconcile_at = pending(&asked);
        asked.annotations_mut().remove(REQUESTED_AT);
        assert_eq!(pending(&asked), None);
        asked.annotations_mut().clear();
        assert_eq!(pending(&asked), None);
    }
}
