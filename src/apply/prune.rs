//! Takes an object away that was applied and is wanted no more.

use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Preconditions, PropagationPolicy};
use kube::core::ObjectMeta;

use super::client::Impersonated;
use super::inventory::Entry;
use super::kinds::Kinds;
use super::{OWNER_LABEL, refusal};
use crate::error::{Error, Result};

/// What becomes of an object that is wanted no more.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// It is deleted if it still has this uid.
    Delete(String),
    /// It is left, for this reason.
    Leave(&'static str),
}

/// Deletes an object if it is the one that was applied. Returns whether it was; one that is gone or somebody else's is no error.
pub(super) async fn take_away(
    who: &Impersonated,
    kinds: &Kinds,
    owner: &str,
    entry: &Entry,
) -> Result<bool> {
    let doing = |error: Error| error.doing(format!("pruning `{}`", entry.shown()));
    let served = kinds.find(who, &entry.api_version(), &entry.kind).await.map_err(doing)?;
    // With its definition, all objects of a kind have gone.
    let Some(served) = served.filter(|served| served.namespaced) else { return Ok(false) };
    let namespace = who.account().namespace();
    let api: Api<DynamicObject> =
        Api::namespaced_with(who.client().clone(), namespace, &served.resource);
    let live = api.get_metadata_opt(&entry.name).await;
    let live = live.map_err(|cause| doing(refusal::of_object("get", &cause)))?;
    let Some(live) = live else { return Ok(false) };
    let uid = match fate(&live.metadata, owner, entry.uid.as_deref()) {
        Fate::Delete(uid) => uid,
        Fate::Leave(reason) => {
            tracing::info!(object = entry.shown(), namespace, reason, "an object is not pruned");
            return Ok(false);
        }
    };
    let parameters = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid), resource_version: None }),
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    match api.delete(&entry.name, &parameters).await {
        Ok(_) => Ok(true),
        // Gone, or made anew by somebody else since it was read.
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(false),
        Err(cause) => Err(doing(refusal::of_object("delete", &cause))),
    }
}

fn fate(live: &ObjectMeta, owner: &str, recorded: Option<&str>) -> Fate {
    let label = live.labels.as_ref().and_then(|labels| labels.get(OWNER_LABEL));
    match &live.uid {
        _ if live.deletion_timestamp.is_some() => Fate::Leave("it is being deleted"),
        _ if label.is_none_or(|label| label != owner) => Fate::Leave("it belongs to somebody else"),
        Some(uid) if recorded.is_none_or(|recorded| recorded == uid) => Fate::Delete(uid.clone()),
        _ => Fate::Leave("somebody has made it anew"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_what_was_applied_is_deleted() {
        let delete = || Fate::Delete("1".into());
        let labelled = |owner: &str| json!({"uid": "1", "labels": {OWNER_LABEL: owner}});
        let mut going = labelled("web");
        going["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        for (live, recorded, expected) in [
            (labelled("web"), Some("1"), delete()),
            // It was remembered before it was made, and then nobody could say what its uid was.
            (labelled("web"), None, delete()),
            (labelled("web"), Some("2"), Fate::Leave("somebody has made it anew")),
            (labelled("api"), Some("1"), Fate::Leave("it belongs to somebody else")),
            (json!({"uid": "1"}), Some("1"), Fate::Leave("it belongs to somebody else")),
            (json!({"uid": "1"}), None, Fate::Leave("it belongs to somebody else")),
            (going, Some("1"), Fate::Leave("it is being deleted")),
        ] {
            let live: Value = live;
            let metadata: ObjectMeta = serde_json::from_value(live.clone()).unwrap();
            assert_eq!(fate(&metadata, "web", recorded), expected, "{live} {recorded:?}");
        }
    }
}
