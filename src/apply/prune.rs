//! Takes an object away that was applied and is wanted no more, or gives it up.

use kube::Api;
use kube::api::{
    DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy,
};
use kube::core::ObjectMeta;
use serde_json::json;

use super::client::Impersonated;
use super::inventory::Entry;
use super::kinds::Kinds;
use super::{FIELD_MANAGER, MANAGED_BY_LABEL, OWNER_LABEL, annotations, refusal};
use crate::error::Result;

/// Whose an object is that is wanted no more.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// Ours, while it has this uid.
    Ours(String),
    /// It is left, for this reason.
    Leave(&'static str),
}

/// An object that was applied, and is there.
struct Found {
    api: Api<DynamicObject>,
    uid: String,
    metadata: ObjectMeta,
}

/// Deletes an object if it is the one that was applied. One that says that it is to stay is given up. Returns whether it was
/// deleted; one that is gone or somebody else's is no error.
pub(super) async fn take_away(
    who: &Impersonated,
    kinds: &Kinds,
    owner: &str,
    entry: &Entry,
) -> Result<bool> {
    let Some(Found { api, uid, metadata }) = find(who, kinds, owner, entry).await? else {
        return Ok(false);
    };
    if annotations::is_kept(&metadata) {
        tracing::info!(object = entry.shown(), "an object stays, as its annotation says");
        return leave(&api, &entry.name, &uid, &metadata).await.map(|()| false);
    }
    let parameters = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid), resource_version: None }),
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    match api.delete(&entry.name, &parameters).await {
        Ok(_) => Ok(true),
        // Gone, or made anew by somebody else since it was read.
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(false),
        Err(cause) => Err(refusal::of_object("delete", &cause)),
    }
}

/// Takes the owner's label off an object that stays, so that another ImagePush may have it.
pub(super) async fn give_up(
    who: &Impersonated,
    kinds: &Kinds,
    owner: &str,
    entry: &Entry,
) -> Result<()> {
    let Some(Found { api, uid, metadata }) = find(who, kinds, owner, entry).await? else {
        return Ok(());
    };
    leave(&api, &entry.name, &uid, &metadata).await
}

/// Takes the labels off that applying it has added.
async fn leave(
    api: &Api<DynamicObject>,
    name: &str,
    uid: &str,
    metadata: &ObjectMeta,
) -> Result<()> {
    let manager = Some(FIELD_MANAGER.to_owned());
    let parameters = PatchParams { field_manager: manager, ..PatchParams::default() };
    let mut labels = json!({OWNER_LABEL: null});
    let (label, us) = MANAGED_BY_LABEL;
    if metadata.labels.as_ref().and_then(|labels| labels.get(label)).is_some_and(|it| it == us) {
        labels[label] = json!(null);
    }
    let patch = json!({"metadata": {"uid": uid, "labels": labels}});
    match api.patch_metadata(name, &parameters, &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(answer))
            if matches!(answer.code, 404 | 409) || refusal::names_another_uid(&answer) =>
        {
            Ok(())
        }
        Err(cause) => Err(refusal::of_object("patch", &cause)),
    }
}

/// The object that was applied, with its uid, if it is there and still ours.
async fn find(
    who: &Impersonated,
    kinds: &Kinds,
    owner: &str,
    entry: &Entry,
) -> Result<Option<Found>> {
    let served = match kinds.find(who, &entry.api_version(), &entry.kind).await? {
        Some(served) => Some(served),
        // The version by which it was applied may be served no more.
        None => kinds.find_in_group(who, &entry.group, &entry.kind).await?,
    };
    // With its definition, all objects of a kind have gone.
    let Some(served) = served.filter(|served| served.namespaced) else { return Ok(None) };
    let namespace = who.account().namespace();
    let api: Api<DynamicObject> =
        Api::namespaced_with(who.client().clone(), namespace, &served.resource);
    let live = api.get_metadata_opt(&entry.name).await;
    let live = live.map_err(|cause| refusal::of_object("get", &cause))?;
    let Some(live) = live else { return Ok(None) };
    match fate(&live.metadata, owner, entry.uid.as_deref()) {
        Fate::Ours(uid) => Ok(Some(Found { api, uid, metadata: live.metadata })),
        Fate::Leave(reason) => {
            tracing::info!(object = entry.shown(), namespace, reason, "an object is left alone");
            Ok(None)
        }
    }
}

fn fate(live: &ObjectMeta, owner: &str, recorded: Option<&str>) -> Fate {
    let label = live.labels.as_ref().and_then(|labels| labels.get(OWNER_LABEL));
    match &live.uid {
        _ if live.deletion_timestamp.is_some() => Fate::Leave("it is being deleted"),
        _ if label.is_none_or(|label| label != owner) => Fate::Leave("it belongs to somebody else"),
        Some(uid) if recorded.is_none_or(|recorded| recorded == uid) => Fate::Ours(uid.clone()),
        _ => Fate::Leave("somebody has made it anew"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn only_what_was_applied_is_deleted() {
        let ours = || Fate::Ours("1".into());
        let labelled = |owner: &str| json!({"uid": "1", "labels": {OWNER_LABEL: owner}});
        let mut going = labelled("web");
        going["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        for (live, recorded, expected) in [
            (labelled("web"), Some("1"), ours()),
            // It was remembered before it was made, and then nobody could say what its uid was.
            (labelled("web"), None, ours()),
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
