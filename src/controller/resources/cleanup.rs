//! What becomes of applied objects when their ImagePush is deleted.
//!
//! With `prune` they go with it, and else they stay. Where and for how long that is tried, is in `removal`: whoever applied
//! may be gone, and neither a namespace nor a person waits for that.

use kube::ResourceExt as _;
use kube_runtime::reflector::ObjectRef;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Applier;
use crate::api::reasons;
use crate::api::reasons::events::{PRUNE_SKIPPED, PRUNED};
use crate::api::v1alpha1::{Apply, ImagePush, Mode};
use crate::apply::{owner_value, prune_all};
use crate::controller::cleanup::{is_forced, is_running};
use crate::controller::decide::{Decision, Step};
use crate::controller::events::Told;
use crate::controller::executor::Memory;
use crate::controller::failure::Failure;
use crate::controller::removal::{Finished, Tried};
use crate::limits::CLEANUP_TIMEOUT;

/// What is to be done about what was applied for an object that is being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// It stays, for this reason.
    Leave(&'static str),
    /// It is taken away as this account.
    Prune(String),
}

/// Whether an object has applied something that has to go with it, or is about to.
pub(crate) fn is_wanted(object: &ImagePush, decision: &Decision, memory: &Memory) -> bool {
    let Some(apply) = apply_of(object) else { return false };
    let status = decision.status.custom_resources.as_ref();
    let applied = status.and_then(|status| status.applied.as_ref());
    // While an attempt runs, status does not say yet what it has applied.
    let attempted = decision.step == Step::Start || is_running(memory);
    let writes = attempted && object.spec.mode == Mode::Apply;
    apply.prune && (writes || applied.is_some_and(|it| !it.dry_run) || has_inventory(object))
}

/// Decides about an object that is being deleted. Pure.
pub(crate) fn course(object: &ImagePush) -> Course {
    match apply_of(object) {
        None => Course::Leave("nothing is to be applied"),
        Some(apply) if !apply.prune => Course::Leave("`prune` is not set"),
        Some(_) if object.spec.suspend => Course::Leave("the object is suspended"),
        Some(_) if is_forced(object) => Course::Leave("somebody has asked for it by annotation"),
        Some(apply) => Course::Prune(apply.service_account_name.clone()),
    }
}

/// One try to take away what was applied for an object. Comes to how many objects that were.
pub(crate) async fn prune(
    applier: &Applier,
    object: &ObjectRef<ImagePush>,
    uid: &str,
    account: &str,
    cancel: &CancellationToken,
) -> Tried<usize> {
    let failed = |error: String| {
        tracing::warn!(%object, error, "what was applied could not be taken away");
        Tried::Failed(error)
    };
    match timeout(CLEANUP_TIMEOUT, clean(applier, object, uid, account, cancel)).await {
        Ok(Ok(pruned)) => Tried::Settled(pruned),
        Ok(Err(failure)) if failure.reason == reasons::SECRET_NOT_FOUND => {
            tracing::warn!(%object, error = failure.message, "nobody can take away what was applied");
            Tried::Hopeless(failure.message)
        }
        Ok(Err(failure)) => failed(failure.message),
        Err(_) => failed(format!("it took longer than {} s", CLEANUP_TIMEOUT.as_secs())),
    }
}

/// What there is to tell where it stays; nothing where that was to be expected.
pub(crate) fn left(object: &ImagePush, reason: &str) -> Option<Told> {
    let wanted = apply_of(object).is_some_and(|apply| apply.prune) && has_inventory(object);
    let (name, namespace) = (object.name_any(), object.namespace());
    tracing::info!(name, namespace, reason, "what was applied stays");
    let note = format!("what was applied stays: {reason}");
    wanted.then(|| Told::normal(PRUNE_SKIPPED, "Delete", note))
}

/// What there is to tell of how trying has ended.
pub(crate) fn ended(object: &ImagePush, finished: &Finished<usize>) -> Option<Told> {
    let (name, namespace) = (object.name_any(), object.namespace());
    tracing::info!(name, namespace, ?finished, "what was applied was cleaned up");
    match finished {
        Finished::Settled(0) => None,
        Finished::Settled(pruned) => {
            let s = if *pruned == 1 { "" } else { "s" };
            let note = format!("{pruned} object{s} of the image's bundle taken away");
            Some(Told::normal(PRUNED, "Delete", note))
        }
        Finished::GivenUp(why) => {
            let note = format!(
                "what was applied stays: it could not be taken away for too long; the last time, {why}"
            );
            Some(Told::warning(PRUNE_SKIPPED, "Delete", note))
        }
    }
}

async fn clean(
    applier: &Applier,
    object: &ObjectRef<ImagePush>,
    uid: &str,
    account: &str,
    cancel: &CancellationToken,
) -> Result<usize, Failure> {
    let journal = applier.journal(object, uid, cancel);
    let known = journal.read().await.map_err(|error| Failure::from(&error))?.entries;
    if known.is_empty() {
        return Ok(0);
    }
    let who = applier.who(object, account).await?;
    let owner = owner_value(&object.name);
    let report = prune_all(&who, &applier.kinds, &owner, &known, &journal).await;
    match report.failure {
        Some(error) => Err(Failure::from(&error)),
        None => Ok(report.pruned),
    }
}

fn apply_of(object: &ImagePush) -> Option<&Apply> {
    object.spec.custom_resources.as_ref()?.apply.as_ref()
}

fn has_inventory(object: &ImagePush) -> bool {
    let inventory = object.status.as_ref().and_then(|status| status.inventory.as_ref());
    inventory.is_some_and(|inventory| !inventory.entries.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::controller::executor::Record;

    fn object(apply: &Value, changes: &Value) -> ImagePush {
        let side = json!({"reference": "docker://a.example/x:1"});
        let mut object = json!({
            "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": {"name": "x", "namespace": "n", "annotations": {}},
            "spec": {"source": side, "destination": side},
            "status": {"inventory": {"entries": [{"version": "v1", "kind": "Thing", "name": "a"}]}},
        });
        if !apply.is_null() {
            object["spec"]["customResources"] = json!({"policy": "Always", "apply": apply});
        }
        for (pointer, value) in changes.as_object().unwrap() {
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            object.pointer_mut(parent).unwrap()[field] = value.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn an_object_is_kept_while_something_is_applied_or_about_to_be() {
        let pruned = json!({"serviceAccountName": "deployer", "prune": true});
        let empty = json!({"/status/inventory": null});
        let named = json!({"/status/inventory": {"source": "sha256:a", "digest": "sha256:b"}});
        let dry = json!({"/status/inventory": null, "/spec/mode": "DryRun"});
        let running = || Some(Record::new("sha256:work"));
        let unpruned = json!({"serviceAccountName": "deployer"});
        for (apply, changes, step, attempt, expected) in [
            (&pruned, json!({}), Step::Wait, None, true),
            (&pruned, empty.clone(), Step::Wait, None, false),
            // Which bundle is to be applied is known, and nothing has been applied yet.
            (&pruned, named, Step::Wait, None, false),
            (&pruned, empty.clone(), Step::Start, None, true),
            (&pruned, empty.clone(), Step::Wait, running(), true),
            (&pruned, dry.clone(), Step::Wait, running(), false),
            (&pruned, dry, Step::Start, None, false),
            (&unpruned, json!({}), Step::Start, running(), false),
            (&Value::Null, json!({}), Step::Start, running(), false),
        ] {
            let object = object(apply, &changes);
            let status = object.status.clone().unwrap_or_default();
            let memory = Memory { attempt, ..Memory::default() };
            let found = is_wanted(&object, &Decision { status, step, again: None }, &memory);
            assert_eq!(found, expected, "{apply} {changes} {step:?}");
        }
    }

    #[test]
    fn only_what_is_wanted_away_is_taken_away() {
        let pruned = json!({"serviceAccountName": "deployer", "prune": true});
        let forced = json!({"/metadata/annotations": {"imagepush.dev/force-cleanup": "true"}});
        for (apply, changes, expected, told) in [
            (&pruned, json!({}), Course::Prune("deployer".into()), true),
            (
                &json!({"serviceAccountName": "deployer"}),
                json!({}),
                Course::Leave("`prune` is not set"),
                false,
            ),
            (&Value::Null, json!({}), Course::Leave("nothing is to be applied"), false),
            (
                &pruned,
                json!({"/spec/suspend": true}),
                Course::Leave("the object is suspended"),
                true,
            ),
            (&pruned, forced, Course::Leave("somebody has asked for it by annotation"), true),
            // However long ago it was deleted: an operator that was away tries as long as any other.
            (
                &pruned,
                json!({"/metadata/deletionTimestamp": "2020-01-01T00:00:00Z"}),
                Course::Prune("deployer".into()),
                true,
            ),
        ] {
            let object = object(apply, &changes);
            assert_eq!(course(&object), expected, "{apply} {changes}");
            // Where it stays although it was to go, an event tells so.
            assert_eq!(left(&object, "because").is_some(), told, "{apply} {changes}");
        }
        let empty = object(&pruned, &json!({"/status/inventory": null}));
        assert!(left(&empty, "because").is_none());
    }
}
