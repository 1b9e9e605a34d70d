//! Asks the API server what objects would become, without storing anything.
//!
//! Each object is read, and then applied as a dry run: the answer has gone through the server's defaults, validation and
//! admission, so that what differs from the live object is what an apply would change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures::{FutureExt as _, StreamExt as _, stream};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;

use super::diff::{self, FieldChange};
use super::kinds::{Kinds, served_by};
use super::plan::{self, Planned, ServedKinds};
use super::policy::Policy;
use super::{FIELD_MANAGER, MANAGED_BY_LABEL, OWNER_LABEL, annotations, client, refusal};
use crate::bundle::{Bundle, ObjectKey};
use crate::error::{Class, Error, Kind, Result};
use crate::limits::APPLY_WIDTH;

/// The names under which kubectl's commands change fields of an object that somebody wants to be otherwise for now.
const EDITORS: [&str; 6] = [
    "kubectl-annotate",
    "kubectl-edit",
    "kubectl-label",
    "kubectl-patch",
    "kubectl-replace",
    "kubectl-set",
];

/// What would become of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It would be made.
    Created,
    /// These fields would change: the first of `count`.
    Configured {
        /// The first of them.
        fields: Vec<FieldChange>,
        /// How many there are.
        count: usize,
    },
    /// Nothing.
    Unchanged,
}

/// What would become of an object, or has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedObject {
    /// Which.
    pub object: ObjectKey,
    /// What.
    pub change: Change,
}

/// An object that the server would take.
#[derive(Clone, Debug)]
pub(super) struct Compared {
    pub(super) planned: Planned,
    pub(super) change: Change,
    /// The uid of the live object.
    pub(super) uid: Option<String>,
    /// The version of the live object if fields are to be taken that somebody has edited by hand: no later one is meant.
    pub(super) by_hand: Option<String>,
}

/// Who applies, and what may be taken over.
#[derive(Clone, Copy, Debug)]
pub(super) enum Claim<'a> {
    /// Somebody who only wants to know; whoever owns an object goes on to do so.
    None,
    /// The ImagePush with this value of the owner's label.
    Owner {
        name: &'a str,
        /// Whether fields of others, and objects of nobody, are taken over.
        force: bool,
    },
}

/// What applying a bundle in a namespace would change, asked with the client's own rights: for the command line. Refuses what
/// the operator would refuse with its default configuration, but can't know what its administrator has configured.
pub async fn differences(
    client: &Client,
    namespace: &str,
    bundle: &Bundle,
) -> Result<Vec<ChangedObject>> {
    let kinds = Kinds::new(client);
    let client = client::with_own_rights(client.clone());
    let only_custom = plan::judge(bundle, namespace, &Policy::default())?;
    let mut versions = BTreeMap::new();
    let mut served = ServedKinds::new();
    for (api_version, kind) in plan::kinds(bundle) {
        if !versions.contains_key(&api_version) {
            versions.insert(api_version.clone(), served_by(&client, &api_version).await?);
        }
        let found = versions.get(&api_version).into_iter().flatten();
        let found = found.into_iter().find(|it| it.resource.kind == kind).cloned();
        served.insert((api_version, kind), found);
    }
    plan::check_scope(&served)?;
    match check_custom(&kinds, &served, &only_custom).await {
        // Who may not read definitions is not told which kinds are built in.
        Err(error) if error.is_absence() => {}
        checked => checked?,
    }
    let planned = plan::plan(bundle, namespace, None, &served)?;
    let compared = compare(&client, namespace, planned, Claim::None).await?;
    let changed = |Compared { planned, change, .. }| ChangedObject { object: planned.key, change };
    Ok(compared.into_iter().map(changed).collect())
}

/// Refuses kinds that no definition makes.
pub(super) async fn check_custom(
    kinds: &Kinds,
    served: &ServedKinds,
    only_custom: &BTreeSet<(String, String)>,
) -> Result<()> {
    let mut built_in = Vec::new();
    for (kind, served) in served.iter().filter(|(kind, _)| only_custom.contains(*kind)) {
        let Some(served) = served else { continue };
        if !kinds.is_custom(&served.resource).await? {
            let (api_version, kind) = kind;
            built_in.push(format!("`{api_version} {kind}`: it is no custom resource"));
        }
    }
    plan::refuse(&built_in)
}

/// Tries all objects. If the server would not take one of them, the error tells of each such object.
pub(super) async fn compare(
    client: &Client,
    namespace: &str,
    planned: Vec<Planned>,
    claim: Claim<'_>,
) -> Result<Vec<Compared>> {
    let tries =
        planned.into_iter().map(|planned| try_named(client, namespace, planned, claim).boxed());
    let tries: Vec<_> = tries.collect();
    let mut tries = stream::iter(tries).buffered(APPLY_WIDTH);
    let (mut compared, mut failed) = (Vec::new(), Vec::new());
    while let Some(tried) = tries.next().await {
        match tried {
            Ok(object) => compared.push(object),
            // The rest would wait as long.
            Err((key, error)) if is_unreachable(&error) => {
                return Err(error.doing(format!("trying `{key}`")));
            }
            Err(failure) => failed.push(failure),
        }
    }
    if failed.is_empty() { Ok(compared) } else { Err(together(&failed)) }
}

pub(super) fn is_unreachable(error: &Error) -> bool {
    matches!(error.kind(), Kind::NetworkError | Kind::Timeout)
}

/// One error for several objects: of the worst kind there is, with what is said of each object of that kind.
pub(super) fn together<N: fmt::Display>(failed: &[(N, Error)]) -> Error {
    const WORST: [Kind; 4] = [
        Kind::CustomResourcesForbidden,
        Kind::CustomResourcesInvalid,
        Kind::CustomResourcesConflict,
        Kind::CustomResourcesPending,
    ];
    let rank = |error: &Error| WORST.iter().position(|kind| *kind == error.kind());
    let worst = failed.iter().min_by_key(|(_, error)| rank(error).unwrap_or(WORST.len()));
    let Some((_, worst)) = worst else { return Error::internal("nothing has failed") };
    let alike = || failed.iter().filter(|(_, error)| error.kind() == worst.kind());
    let told: Vec<String> = alike().map(|(name, error)| format!("`{name}`: {error}")).collect();
    let mut all = Error::new(worst.kind(), refusal::some_of(&told, "; "));
    if let Some(hint) = worst.next_step() {
        all = all.hint(hint);
    }
    if alike().all(|(_, error)| error.class() == Class::Transient) { all.transient() } else { all }
}

async fn try_named(
    client: &Client,
    namespace: &str,
    planned: Planned,
    claim: Claim<'_>,
) -> Result<Compared, (ObjectKey, Error)> {
    let key = planned.key.clone();
    try_one(client, namespace, planned, claim).await.map_err(|error| (key, error))
}

async fn try_one(
    client: &Client,
    namespace: &str,
    mut planned: Planned,
    claim: Claim<'_>,
) -> Result<Compared> {
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), namespace, &planned.resource);
    let name = planned.key.name.clone();
    let live = api.get_opt(&name).await.map_err(|cause| refusal::of_object("get", &cause))?;
    if let Some(live) = &live {
        check_claim(live, claim)?;
        keep_labels(&mut planned.content, live, claim);
    }
    if let Some(live) = live.as_ref().filter(|live| annotations::is_once(&planned.content, live)) {
        let uid = live.uid();
        return Ok(Compared { planned, change: Change::Unchanged, uid, by_hand: None });
    }
    let parameters = parameters(claim).dry_run();
    let attempt = async |parameters: &PatchParams| {
        api.patch(&name, parameters, &Patch::Apply(&planned.content)).await
    };
    let mut by_hand = None;
    let tried = match (attempt(&parameters).await, &live) {
        (Err(cause), Some(live)) if is_edited_by_hand(live, claim, &cause) => {
            by_hand = live.resource_version();
            attempt(&parameters.force()).await
        }
        (tried, _) => tried,
    };
    let tried = tried.map_err(|cause| refusal::of_object("patch", &cause))?;
    let change = match &live {
        None => Change::Created,
        Some(live) => change(&value_of(live)?, &value_of(&tried)?),
    };
    Ok(Compared { planned, change, uid: live.and_then(|live| live.uid()), by_hand })
}

/// Whether all that keeps an object from being applied anew is what people have changed in it since, by kubectl's commands
/// that edit. That is drift and is set right; what a program owns, or who applies, is theirs, and so is what no ImagePush has
/// any more.
fn is_edited_by_hand(live: &DynamicObject, claim: Claim<'_>, cause: &kube::Error) -> bool {
    let owners = refusal::owners(cause);
    let owner = live.labels().get(OWNER_LABEL);
    let is_owned = match claim {
        Claim::Owner { name, .. } => owner.is_some_and(|owner| owner == name),
        Claim::None => owner.is_some(),
    };
    is_owned
        && was_applied_from_here(live)
        && !owners.is_empty()
        && owners.into_iter().all(|owner| is_hand(live, owner))
}

fn is_hand(live: &DynamicObject, manager: &str) -> bool {
    let mut entries =
        live.managed_fields().iter().filter(|entry| entry.manager.as_deref() == Some(manager));
    EDITORS.contains(&manager)
        && entries.all(|it| it.operation.as_deref() == Some("Update") && it.subresource.is_none())
}

/// How objects are applied.
pub(super) fn parameters(claim: Claim<'_>) -> PatchParams {
    let parameters = PatchParams::apply(FIELD_MANAGER).validation_strict();
    match claim {
        Claim::Owner { force: true, .. } => parameters.force(),
        Claim::Owner { force: false, .. } | Claim::None => parameters,
    }
}

/// What is there has to be ours, or nobody's and asked for.
fn check_claim(live: &DynamicObject, claim: Claim<'_>) -> Result<()> {
    let Claim::Owner { name, force } = claim else { return Ok(()) };
    let conflict = |message: String| Error::new(Kind::CustomResourcesConflict, message);
    if live.metadata.deletion_timestamp.is_some() {
        let message = "it is being deleted";
        return Err(Error::new(Kind::CustomResourcesPending, message));
    }
    match live.labels().get(OWNER_LABEL) {
        Some(owner) if owner == name => Ok(()),
        Some(owner) => Err(conflict(format!("it belongs to the ImagePush `{owner}`"))
            .hint(format!(
                "take it out of one of the two bundles; where that ImagePush is gone, take the label `{OWNER_LABEL}` off it"
            ))),
        // It belongs to no ImagePush any more.
        None if force || was_applied_from_here(live) => Ok(()),
        None => Err(conflict("it is there already, and was not applied from here".into())
            .hint("delete it, or set `customResources.apply.forceConflicts` to take it over")),
    }
}

/// Whether it was applied from here, by whichever ImagePush.
fn was_applied_from_here(live: &DynamicObject) -> bool {
    live.managed_fields().iter().any(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
    })
}

/// Who only wants to know doesn't take the labels away that applying it adds.
fn keep_labels(content: &mut Value, live: &DynamicObject, claim: Claim<'_>) {
    let (Claim::None, Some(owner)) = (claim, live.labels().get(OWNER_LABEL)) else { return };
    let (label, us) = MANAGED_BY_LABEL;
    let managed = live.labels().get(label).filter(|value| *value == us);
    if let Some(Value::Object(metadata)) = content.get_mut("metadata") {
        let labels = metadata.entry("labels").or_insert_with(|| serde_json::json!({}));
        if let Value::Object(labels) = labels {
            labels.insert(OWNER_LABEL.into(), owner.clone().into());
            if let Some(us) = managed {
                labels.entry(label).or_insert_with(|| us.clone().into());
            }
        }
    }
}

fn change(live: &Value, tried: &Value) -> Change {
    let diff::Fields { first, count } = diff::fields(live, tried);
    if count == 0 { Change::Unchanged } else { Change::Configured { fields: first, count } }
}

fn value_of(object: &DynamicObject) -> Result<Value> {
    serde_json::to_value(object)
        .map_err(|_| Error::internal("an object of the API server can't be written as JSON"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn live(metadata: &Value) -> DynamicObject {
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    #[test]
    fn what_belongs_to_others_is_not_taken_over() {
        let (nobody, ours) = (json!({"name": "a"}), json!({"labels": {OWNER_LABEL: "web"}}));
        let other = json!({"labels": {OWNER_LABEL: "api"}});
        let going =
            json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "labels": {OWNER_LABEL: "web"}});
        let given_up = json!({"managedFields": [{"manager": FIELD_MANAGER, "operation": "Apply"}]});
        let edited = json!({"managedFields": [{"manager": FIELD_MANAGER, "operation": "Update"}]});
        let not_ours = "it is there already, and was not applied from here";
        for (metadata, force, expected) in [
            (&ours, false, Ok(())),
            (&nobody, false, Err((Kind::CustomResourcesConflict, not_ours))),
            (&nobody, true, Ok(())),
            (&given_up, false, Ok(())),
            (&edited, false, Err((Kind::CustomResourcesConflict, not_ours))),
            (
                &other,
                false,
                Err((Kind::CustomResourcesConflict, "it belongs to the ImagePush `api`")),
            ),
            (
                &other,
                true,
                Err((Kind::CustomResourcesConflict, "it belongs to the ImagePush `api`")),
            ),
            (&going, true, Err((Kind::CustomResourcesPending, "it is being deleted"))),
        ] {
            let found = check_claim(&live(metadata), Claim::Owner { name: "web", force });
            let found = found.map_err(|error| (error.kind(), error.to_string()));
            let expected = expected.map_err(|(kind, message)| (kind, message.to_owned()));
            assert_eq!(found, expected, "{metadata} {force}");
            assert!(check_claim(&live(metadata), Claim::None).is_ok());
        }
    }

    /// What people change by hand is drift; what a program has taken, or who applies, is theirs.
    #[test]
    fn only_hands_are_overruled() {
        let entry =
            |manager: &str, operation: &str| json!({"manager": manager, "operation": operation});
        let ours = entry(FIELD_MANAGER, "Apply");
        let hand = entry("kubectl-edit", "Update");
        let mut scaled = entry("kubectl-patch", "Update");
        scaled["subresource"] = json!("scale");
        let conflict = |owner: &str| json!({"reason": "FieldManagerConflict", "field": ".spec.size", "message": format!("conflict with \"{owner}\" using v1")});
        for (entries, owners, expected) in [
            (vec![&ours, &hand], vec!["kubectl-edit"], true),
            (vec![&ours, &hand], vec!["kubectl-edit", "kubectl-edit"], true),
            // Somebody else has a field, too.
            (vec![&ours, &hand], vec!["kubectl-edit", "autoscaler"], false),
            (vec![&ours, &hand], vec!["autoscaler"], false),
            (vec![&ours, &hand], vec!["kubectl-edit", ""], false),
            (vec![&ours, &hand], vec![], false),
            // It was never ours.
            (vec![&hand], vec!["kubectl-edit"], false),
            (vec![&ours, &entry("kubectl-edit", "Apply")], vec!["kubectl-edit"], false),
            (vec![&ours, &scaled], vec!["kubectl-patch"], false),
            (vec![&ours, &entry("kubectl", "Apply")], vec!["kubectl"], false),
            (
                vec![&ours, &entry("kubectl-client-side-apply", "Update")],
                vec!["kubectl-client-side-apply"],
                false,
            ),
        ] {
            let causes: Vec<Value> = owners.iter().map(|owner| conflict(owner)).collect();
            let status = json!({"code": 409, "reason": "Conflict", "details": {"causes": causes}});
            let status: kube::core::Status = serde_json::from_value(status).unwrap();
            let cause = kube::Error::Api(status.boxed());
            let claim = |name| Claim::Owner { name, force: false };
            let live_of =
                |labels: Value| live(&json!({"managedFields": entries, "labels": labels}));
            let (owned, given_up) = (live_of(json!({OWNER_LABEL: "web"})), live_of(json!({})));
            for claim in [claim("web"), Claim::None] {
                let found = is_edited_by_hand(&owned, claim, &cause);
                assert_eq!(found, expected, "{entries:?} {owners:?} {claim:?}");
                // Somebody may look after it by hand since.
                assert!(!is_edited_by_hand(&given_up, claim, &cause), "{claim:?}");
            }
            assert!(!is_edited_by_hand(&owned, claim("api"), &cause));
        }
    }

    #[test]
    fn of_several_failures_the_worst_is_told_with_all_that_share_it() {
        let key = |name: &str| ObjectKey {
            api_version: "example.com/v1".into(),
            kind: "Thing".into(),
            namespace: None,
            name: name.into(),
        };
        let error = |kind, message: &str| Error::new(kind, message).hint(format!("cure {message}"));
        let all = together(&[
            (key("a"), error(Kind::CustomResourcesConflict, "one")),
            (key("b"), error(Kind::CustomResourcesForbidden, "two")),
            (key("c"), error(Kind::CustomResourcesForbidden, "three")),
        ]);
        assert_eq!((all.kind(), all.class()), (Kind::CustomResourcesForbidden, Class::Permanent));
        assert_eq!(
            all.to_string(),
            "`example.com/v1 Thing b`: two; `example.com/v1 Thing c`: three"
        );
        assert_eq!(all.next_step(), Some("cure two"));
    }
}
