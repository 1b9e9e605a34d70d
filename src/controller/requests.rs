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
    match asked(object) {
        [Some(theirs), Some(ours)] => Some(format!("{theirs},{ours}")),
        [theirs, ours] => theirs.or(ours).map(str::to_owned),
    }
}

/// The values of Flux's annotation and of ours.
fn asked(object: &ImagePush) -> [Option<&str>; 2] {
    [FLUX_REQUESTED_AT, REQUESTED_AT].map(|name| object.annotations().get(name).map(|it| cut(it)))
}

/// A request that status doesn't tell of as handled.
pub(crate) fn pending(object: &ImagePush) -> Option<String> {
    let handled = object.status.as_ref().and_then(|it| it.last_handled_reconcile_at.as_deref());
    let left = match asked(object) {
        [Some(theirs), None] => handled.and_then(|it| it.strip_prefix(theirs)?.strip_prefix(',')),
        [None, Some(ours)] => handled.and_then(|it| it.strip_suffix(ours)?.strip_suffix(',')),
        _ => None,
    };
    // What is left of what was handled is the other's, which was taken away since.
    request(object).filter(|request| left.is_none() && handled != Some(request))
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

    /// Values may have commas, and one of them may be what the other one was.
    #[test]
    fn what_was_asked_by_the_other_annotation_is_another_request() {
        let (theirs, ours) = (FLUX_REQUESTED_AT, REQUESTED_AT);
        for (handled, annotation, value, is_pending) in [
            ("3,2", ours, "2", false),
            ("3,2", ours, "3", true),
            ("3,2", theirs, "3", false),
            ("3,2", theirs, "2", true),
            ("3,2", ours, "3,2", false),
            ("3,2,1", ours, "2,1", false),
            ("3,2,1", theirs, "3,2", false),
            ("3,2", ours, ",2", true),
            ("32", ours, "2", true),
        ] {
            let mut asked = object(&[(annotation, value)]);
            asked.status.get_or_insert_default().last_handled_reconcile_at = Some(handled.into());
            assert_eq!(pending(&asked).is_some(), is_pending, "{handled}: {annotation} {value}");
        }
    }
}
