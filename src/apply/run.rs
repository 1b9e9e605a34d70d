//! Applies a bundle: tries all of it, remembers what will be there, stores what differs, takes away what is wanted no more.
//!
//! It may be cut off at any await. What is about to be made is remembered before it is made, so that the next run knows of
//! everything that may be there, and a run that finds all as it should be writes nothing.

use async_trait::async_trait;
use kube::api::{DynamicObject, Patch};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::client::Impersonated;
use super::compare::{
    Change, ChangedObject, Claim, Compared, check_custom, compare, is_unreachable, parameters,
    together,
};
use super::inventory::{self, Entry};
use super::kinds::Kinds;
use super::plan::{self, Planned, ServedKinds};
use super::policy::Policy;
use super::wait::Awaited;
use super::{prune, refusal};
use crate::bundle::Bundle;
use crate::error::{Error, Kind, Result};
use crate::limits::{MAX_CHANGED_OBJECTS, MAX_INVENTORY};

/// A version that no object has, by which the API server lets one be made and none be changed.
const OF_NO_OBJECT: &str = "1";

/// What is to be in the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The objects; none where the image carries no bundle any more.
    pub bundle: Option<&'a Bundle>,
    /// Which kinds may be applied.
    pub policy: &'a Policy,
    /// The value of the owner's label; see [`super::owner_value`].
    pub owner: &'a str,
    /// Whether fields of other managers, and objects that nobody owns, are taken over.
    pub force_conflicts: bool,
    /// Whether what was applied before and is wanted no more is deleted; else it is left, and given up.
    pub prune: bool,
    /// What was applied before.
    pub known: &'a [Entry],
}

/// Keeps what is remembered, and knows whether it is still wanted that something is written.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Remembers that there are, or are about to be, these objects and no others. It has to be stored when this returns.
    async fn remember(&self, entries: &[Entry]) -> Result<()>;

    /// Asked before each write; an error ends the run.
    fn still_wanted(&self) -> Result<()>;
}

/// What was done, or would be.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Objects that were made.
    pub created: usize,
    /// Objects that were changed.
    pub configured: usize,
    /// Objects that were as they should be.
    pub unchanged: usize,
    /// Objects that were taken away.
    pub pruned: usize,
    /// Objects that should have been written and were not.
    pub failed: usize,
    /// The first objects that were made or changed, and in which fields.
    pub changes: Vec<ChangedObject>,
    /// What is there now.
    pub inventory: Vec<Entry>,
    /// What is there of the bundle: for [`super::until_current`].
    pub stored: Vec<Awaited>,
    /// Why it ended early.
    pub failure: Option<Error>,
}

/// Makes the cluster hold the bundle.
///
/// **Guarantees.** Nothing is written unless the API server would take every object. What isn't ours is neither changed nor
/// deleted. Every request is made as the account.
pub async fn run(
    who: &Impersonated,
    kinds: &Kinds,
    wish: Wish<'_>,
    journal: &dyn Journal,
) -> Report {
    let mut report = Report { inventory: wish.known.to_vec(), ..Report::default() };
    report.failure = apply(who, kinds, wish, journal, &mut report).await.err();
    report
}

/// Tells what [`run`] would do. Writes nothing.
pub async fn preview(who: &Impersonated, kinds: &Kinds, wish: Wish<'_>) -> Report {
    let mut report = Report { inventory: wish.known.to_vec(), ..Report::default() };
    match foresee(who, kinds, wish).await {
        Err(error) => report.failure = Some(error),
        Ok(compared) => {
            let wanted = entries(&compared);
            for object in compared {
                report.count(object);
            }
            if wish.prune {
                report.pruned = inventory::without(wish.known, &wanted).len();
            }
        }
    }
    report
}

/// Takes away all that was applied, for an ImagePush that is being deleted.
pub async fn prune_all(
    who: &Impersonated,
    kinds: &Kinds,
    owner: &str,
    known: &[Entry],
    journal: &dyn Journal,
) -> Report {
    let mut report = Report { inventory: known.to_vec(), ..Report::default() };
    report.failure = prune(who, kinds, owner, known, journal, &mut report).await.err();
    report
}

async fn apply(
    who: &Impersonated,
    kinds: &Kinds,
    wish: Wish<'_>,
    journal: &dyn Journal,
    report: &mut Report,
) -> Result<()> {
    let compared = foresee(who, kinds, wish).await?;
    let wanted = entries(&compared);
    if wish.prune && inventory::union(wish.known, &wanted).len() > MAX_INVENTORY {
        // There is no room to remember both: what is wanted no more goes first.
        let gone = inventory::without(wish.known, &wanted);
        prune(who, kinds, wish.owner, &gone, journal, report).await?;
    }
    if !inventory::covers(&report.inventory, &wanted) {
        journal.still_wanted()?;
        report.inventory = inventory::union(&report.inventory, &wanted);
        journal.remember(&report.inventory).await?;
    }
    let before = report.inventory.clone();
    let stored = store_all(who, wish, compared, journal, report).await;
    let settled = match stored {
        Ok(()) => {
            let gone = inventory::without(&before, &wanted);
            if wish.prune {
                prune(who, kinds, wish.owner, &gone, journal, report).await
            } else {
                give_up(who, kinds, wish.owner, &gone, journal, report).await
            }
        }
        Err(error) => Err(error),
    };
    if report.inventory != wish.known {
        journal.remember(&report.inventory).await?;
    }
    settled
}

/// Finds out how everything is served, and tries it.
async fn foresee(who: &Impersonated, kinds: &Kinds, wish: Wish<'_>) -> Result<Vec<Compared>> {
    let Some(bundle) = wish.bundle else { return Ok(vec![]) };
    let namespace = who.account().namespace();
    let only_custom = plan::judge(bundle, namespace, wish.policy)?;
    let mut served = ServedKinds::new();
    for (api_version, kind) in plan::kinds(bundle) {
        let found = kinds.find(who, &api_version, &kind).await?;
        served.insert((api_version, kind), found);
    }
    plan::check_scope(&served)?;
    check_custom(kinds, &served, &only_custom).await?;
    let planned = plan::plan(bundle, namespace, Some(wish.owner), &served)?;
    compare(who.client(), namespace, planned, wish.claim()).await
}

/// Stores what differs, one after the other.
async fn store_all(
    who: &Impersonated,
    wish: Wish<'_>,
    compared: Vec<Compared>,
    journal: &dyn Journal,
    report: &mut Report,
) -> Result<()> {
    let mut rest = compared.into_iter();
    while let Some(mut object) = rest.next() {
        if object.change != Change::Unchanged {
            let written = match journal.still_wanted() {
                Ok(()) => store(who, &object, wish.claim()).await,
                Err(error) => Err(error),
            };
            match written {
                Ok(uid) => object.uid = uid,
                Err(error) => {
                    let left = rest.filter(|it| it.change != Change::Unchanged);
                    let left = [object].into_iter().chain(left);
                    let left: Vec<String> =
                        left.map(|it| format!("`{}`", it.planned.key)).collect();
                    report.failed = left.len();
                    return Err(unfinished(error, report.created + report.configured, &left));
                }
            }
        }
        let Planned { key, resource, .. } = &object.planned;
        report.has(Entry::of(key, object.uid.clone()));
        report.stored.push(Awaited { key: key.clone(), resource: resource.clone() });
        report.count(object);
    }
    Ok(())
}

/// Some objects were stored, and these were not.
fn unfinished(error: Error, stored: usize, left: &[String]) -> Error {
    let all = stored + left.len();
    let left = refusal::some_of(left, ", ");
    error.doing(format!("storing {all} objects, of which {stored} are there and not {left}"))
}

/// Stores an object, and returns its uid. What was there when it was tried has to be there still, and nothing
/// else.
async fn store(who: &Impersonated, object: &Compared, claim: Claim<'_>) -> Result<Option<String>> {
    let Compared { planned, uid, by_hand, .. } = object;
    let namespace = who.account().namespace();
    let client = who.client().clone();
    let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &planned.resource);
    let mut content = planned.content.clone();
    if let Some(Value::Object(metadata)) = content.get_mut("metadata") {
        match uid {
            Some(uid) => metadata.insert("uid".into(), json!(uid)),
            // What was not there has to be absent still: an apply would take over what somebody else has made since.
            None => metadata.insert("resourceVersion".into(), json!(OF_NO_OBJECT)),
        };
        if let Some(version) = by_hand {
            metadata.insert("resourceVersion".into(), json!(version));
        }
    }
    let name = &planned.key.name;
    let parameters = parameters(claim);
    let parameters = if by_hand.is_some() { parameters.force() } else { parameters };
    let written = api.patch(name, &parameters, &Patch::Apply(&content)).await;
    let written = written.map_err(|cause| {
        let error =
            refusal::of_object("patch", &cause).doing(format!("applying `{}`", planned.key));
        // The whole bundle has just been tried: whatever has changed since, the next run will see it.
        if error.kind() == Kind::CustomResourcesForbidden { error.transient() } else { error }
    })?;
    Ok(written.uid())
}

/// Takes away what is wanted no more, as far as that can be: one that stays keeps no other.
async fn prune(
    who: &Impersonated,
    kinds: &Kinds,
    owner: &str,
    gone: &[Entry],
    journal: &dyn Journal,
    report: &mut Report,
) -> Result<()> {
    kinds.forget(gone.iter().map(Entry::api_version));
    let mut failed = Vec::new();
    for entry in gone.iter().rev() {
        journal.still_wanted()?;
        match prune::take_away(who, kinds, owner, entry).await {
            Ok(pruned) => {
                report.pruned += usize::from(pruned);
                report.forget(std::slice::from_ref(entry));
            }
            Err(error) => {
                let ends = is_unreachable(&error);
                failed.push((entry.shown(), error));
                // The rest would wait as long.
                if ends {
                    break;
                }
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(together(&failed).doing("pruning what is wanted no more"))
}

/// Leaves what is wanted no more to whoever wants it next. That some of it may not be written to is no failure: it stays as
/// it is, as was asked for, and who wants it is told how.
async fn give_up(
    who: &Impersonated,
    kinds: &Kinds,
    owner: &str,
    gone: &[Entry],
    journal: &dyn Journal,
    report: &mut Report,
) -> Result<()> {
    for entry in gone {
        journal.still_wanted()?;
        match prune::give_up(who, kinds, owner, entry).await {
            Err(error) if is_unreachable(&error) => {
                return Err(error.doing(format!("giving `{}` up", entry.shown())));
            }
            Err(error) => tracing::warn!(%error, object = entry.shown(), "its label stays"),
            Ok(()) => {}
        }
        report.forget(std::slice::from_ref(entry));
    }
    Ok(())
}

fn entries(compared: &[Compared]) -> Vec<Entry> {
    compared.iter().map(|it| Entry::of(&it.planned.key, it.uid.clone())).collect()
}

// === impl Wish ===

impl<'a> Wish<'a> {
    fn claim(&self) -> Claim<'a> {
        Claim::Owner { name: self.owner, force: self.force_conflicts }
    }
}

// === impl Report ===

impl Report {
    fn count(&mut self, object: Compared) {
        let counter = match object.change {
            Change::Created => &mut self.created,
            Change::Configured { .. } => &mut self.configured,
            Change::Unchanged => &mut self.unchanged,
        };
        *counter += 1;
        let Compared { planned, change, .. } = object;
        if change != Change::Unchanged && self.changes.len() < MAX_CHANGED_OBJECTS {
            self.changes.push(ChangedObject { object: planned.key, change });
        }
    }

    /// An object is there.
    fn has(&mut self, entry: Entry) {
        match self.inventory.iter_mut().find(|it| it.is_same_object(&entry)) {
            Some(known) => *known = entry,
            None => self.inventory.push(entry),
        }
    }

    /// Objects are there no more, or not ours.
    fn forget(&mut self, gone: &[Entry]) {
        self.inventory.retain(|entry| !gone.iter().any(|it| it.is_same_object(entry)));
    }
}
