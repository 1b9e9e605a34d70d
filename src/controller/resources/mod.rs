//! What becomes of an image's bundle in the cluster, once the image is where it belongs.
//!
//! It follows an attempt, wherever that was made: the attempt says which bundle the image has; the bundle is read from where the
//! image is now, and has to have the digest that was found at the source, so that nobody who may write to the destination can
//! put another one in its place. Then it is applied as the ServiceAccount that the object names and that has agreed to it.
//! Which bundle that is, status keeps before anything is done about it: whatever ends the process, the next attempt knows.

mod account;
mod cleanup;
mod journal;
mod wanted;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube_runtime::reflector::ObjectRef;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use self::cleanup::{Course, course, ended, is_wanted, left, prune};
pub(crate) use self::journal::kept;
use self::journal::{Kept, StatusJournal};
use self::wanted::{Place, Wanted, wanted};
use super::decide::Outcome;
use super::executor::Order;
use super::failure::Failure;
use super::lease::Leadership;
use super::metrics::Metrics;
use super::turns::Turns;
use super::validate;
use crate::api::conditions::{self, CUSTOM_RESOURCES_APPLIED};
use crate::api::v1alpha1::{Apply, ImagePush};
use crate::apply::{self, Entry, Impersonated, Kinds, Policy, Report, Wish, owner_value};
use crate::bundle::{self, Bundle};
use crate::error::{Error, Kind, Result};
use crate::image::Digest;
use crate::limits::{APPLIERS, APPLIERS_PER_NAMESPACE, APPLY_GRACE, APPLY_TIMEOUT};
use crate::options::Platforms;

/// Applies bundles.
pub(crate) struct Applier {
    client: Client,
    kinds: Kinds,
    /// Which kinds; nothing is applied where it is not set.
    policy: Option<Policy>,
    leadership: Leadership,
    /// Bundles are held in memory while they are applied.
    all: Semaphore,
    /// The same for each namespace, so that none keeps the others waiting.
    namespaces: Turns,
}

/// What the spec asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orders {
    /// The ServiceAccount, in the object's namespace.
    pub(crate) account: String,
    pub(crate) prune: bool,
    pub(crate) force_conflicts: bool,
    pub(crate) wait: bool,
    pub(crate) timeout: Duration,
    /// The bundle that was applied as a whole, as status has it.
    pub(crate) settled: Option<Digest>,
}

/// An image that was looked into, and the bundle that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Digest of the source's manifest or index.
    pub(crate) source: Digest,
    /// Digest of the bundle; none if it carries none.
    pub(crate) bundle: Option<Digest>,
}

/// What became of the bundle.
#[derive(Clone, Debug)]
pub(crate) enum Finding {
    /// There is nothing to apply, or nobody knows, for this reason; what was applied stays.
    Nothing(String),
    /// It was applied, or tried.
    Ran(Box<Ran>),
}

/// A bundle that was applied, or tried.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    /// Which, of which image; not set where that could not be found out.
    pub(crate) of: Option<Recorded>,
    pub(crate) report: Report,
    /// Why it was not done, or not to its end.
    pub(crate) failure: Option<Failure>,
    /// Whether nothing was to be written.
    pub(crate) is_preview: bool,
    /// Whether the same had been applied before, so that what was changed now had drifted.
    pub(crate) again: bool,
}

/// A bundle that is to be applied.
struct Task<'a> {
    order: &'a Order,
    orders: &'a Orders,
    of: Recorded,
    place: Place,
    cancel: &'a CancellationToken,
}

/// What an object's spec asks for; nothing if it doesn't want its bundle applied.
pub(crate) fn orders(object: &ImagePush) -> Option<Orders> {
    let Apply { service_account_name, prune, force_conflicts, wait, timeout } =
        object.spec.custom_resources.as_ref()?.apply.as_ref()?;
    let timeout = timeout.as_deref().and_then(|text| validate::duration(text).ok());
    Some(Orders {
        account: service_account_name.clone(),
        prune: *prune,
        force_conflicts: *force_conflicts,
        wait: *wait,
        timeout: timeout.unwrap_or(APPLY_TIMEOUT),
        settled: settled(object),
    })
}

/// The bundle that was applied as a whole.
fn settled(object: &ImagePush) -> Option<Digest> {
    let status = object.status.as_ref()?;
    let applied = status.custom_resources.as_ref()?.applied.as_ref()?;
    let whole = conditions::is_true(&status.conditions, CUSTOM_RESOURCES_APPLIED);
    applied.digest.as_ref().filter(|_| whole && !applied.dry_run)?.parse().ok()
}

// === impl Ran ===

impl Ran {
    /// It was not even found out which bundle is meant.
    fn failed(failure: Failure) -> Self {
        let (report, failure) = (Report::default(), Some(failure));
        Self { of: None, report, failure, is_preview: false, again: false }
    }
}

// === impl Applier ===

impl Applier {
    pub(crate) fn new(client: Client, policy: Option<Policy>, leadership: Leadership) -> Self {
        let kinds = Kinds::new(&client);
        let (all, namespaces) = (Semaphore::new(APPLIERS), Turns::new(APPLIERS_PER_NAMESPACE));
        Self { client, kinds, policy, leadership, all, namespaces }
    }

    /// What follows from how an attempt ended, if anything; `None` also if it was called off. A panic ends as an error like
    /// any other.
    pub(crate) async fn follow(
        self: &Arc<Self>,
        order: &Order,
        outcome: &Outcome,
        metrics: &Metrics,
        cancel: &CancellationToken,
    ) -> Option<Finding> {
        order.apply.as_ref()?;
        let (applier, order, outcome) = (self.clone(), order.clone(), outcome.clone());
        let token = cancel.clone();
        let finding = apart(async move {
            token.run_until_cancelled(applier.go_on(&order, &outcome, &token)).await.flatten()
        })
        .await?;
        if let Finding::Ran(ran) = &finding {
            metrics.applied(ran);
        }
        Some(finding)
    }

    async fn go_on(
        &self,
        order: &Order,
        outcome: &Outcome,
        cancel: &CancellationToken,
    ) -> Option<Finding> {
        let orders = order.apply.as_ref()?;
        if matches!(outcome, Outcome::Failed(_) | Outcome::Cancelled) {
            return None;
        }
        let journal = self.journal(&order.object, &order.uid, cancel);
        let ran = match journal.read().await {
            Err(error) => Ran::failed(Failure::from(&error)),
            Ok(kept) => {
                match wanted(outcome, kept.of.as_ref(), order.delivery.known.source.as_ref())? {
                    Wanted::Leave(reason) => return Some(Finding::Nothing(reason)),
                    Wanted::Have { of, place } => {
                        self.have(Task { order, orders, of, place, cancel }, kept, &journal).await
                    }
                }
            }
        };
        Some(Finding::Ran(Box::new(ran)))
    }

    async fn have(&self, task: Task<'_>, kept: Kept, journal: &StatusJournal) -> Ran {
        let (report, failure) = match self.apply(&task, kept, journal).await {
            Ok(report) => {
                let failure = report.failure.as_ref().map(Failure::from);
                (report, failure)
            }
            Err(failure) => (Report::default(), Some(failure)),
        };
        let Task { orders, of, place, .. } = task;
        let again = of.bundle.is_some() && of.bundle == orders.settled;
        Ran { of: Some(of), report, failure, is_preview: place.is_preview(), again }
    }

    async fn apply(
        &self,
        task: &Task<'_>,
        Kept { entries, of }: Kept,
        journal: &StatusJournal,
    ) -> Result<Report, Failure> {
        let Task { order, orders, .. } = task;
        if !task.place.is_preview() && of.as_ref() != Some(&task.of) {
            let intended = journal.intend(&entries, &task.of).await;
            intended.map_err(|error| Failure::from(&error))?;
        }
        if task.of.bundle.is_none() && entries.is_empty() {
            return Ok(Report::default());
        }
        let of_namespace =
            self.namespaces.of(order.object.namespace.as_deref().unwrap_or_default());
        let turns = (of_namespace.acquire().await, self.all.acquire().await);
        let began = Instant::now();
        journal.until(began + orders.timeout);
        let limit = orders.timeout + APPLY_GRACE;
        let stored = timeout(limit, self.store(task, &entries, journal)).await;
        let (who, mut report) = stored.unwrap_or_else(|_| Err(not_done_in(limit)))?;
        drop(turns);
        let stored = std::mem::take(&mut report.stored);
        if orders.wait && report.failure.is_none() {
            let patience = orders.timeout.saturating_sub(began.elapsed());
            report.failure = apply::until_current(&who, &stored, patience).await.err();
        }
        Ok(report)
    }

    async fn store(
        &self,
        task: &Task<'_>,
        known: &[Entry],
        journal: &StatusJournal,
    ) -> Result<(Impersonated, Report), Failure> {
        let Task { order, orders, of, place, cancel } = task;
        let who = self.who(&order.object, &orders.account).await?;
        // To whom it is read from, an image is a source, whichever end of the push it is at.
        let told = |error: Error| Failure { side: Some(place.side()), ..Failure::from(&error) };
        let bundle = match &of.bundle {
            Some(digest) => Some(self.read(order, digest, *place, cancel).await.map_err(told)?),
            None => None,
        };
        let policy = self.policy.clone().unwrap_or_default();
        let wish = Wish {
            bundle: bundle.as_ref(),
            policy: &policy,
            owner: &owner_value(&order.object.name),
            force_conflicts: orders.force_conflicts,
            prune: orders.prune,
            known,
        };
        let report = if order.is_preview() {
            apply::preview(&who, &self.kinds, wish).await
        } else {
            apply::run(&who, &self.kinds, wish, journal).await
        };
        Ok((who, report))
    }

    /// As whom an object's bundle is applied.
    async fn who(
        &self,
        object: &ObjectRef<ImagePush>,
        account: &str,
    ) -> Result<Impersonated, Failure> {
        if self.policy.is_none() {
            let message = "this operator applies no bundles";
            let error = Error::new(Kind::CustomResourcesForbidden, message).hint(
                "leave `customResources.apply` out, or have whoever runs the operator set `customResources.enabled` of its chart",
            );
            return Err(Failure::from(&error));
        }
        let namespace = object.namespace.as_deref().unwrap_or_default();
        let account = account::agreed(&self.client, namespace, account).await?;
        Ok(Impersonated::new(&self.client, account))
    }

    /// Reads the bundle that has this digest.
    async fn read(
        &self,
        order: &Order,
        digest: &Digest,
        place: Place,
        cancel: &CancellationToken,
    ) -> Result<Bundle> {
        let options = &order.options;
        let (endpoint, platforms) = match place {
            Place::Source => (options.source.clone(), options.platforms.clone()),
            // Whatever was pushed is there.
            Place::Destination | Place::Nowhere { .. } => {
                (options.destination.clone(), Platforms::All)
            }
        };
        let reference = endpoint.reference.to_string();
        let found = Box::pin(bundle::read(endpoint, platforms, options.retry, cancel)).await?;
        if found.digest() == digest {
            return Ok(found);
        }
        let message = format!(
            "the newest bundle at `{reference}` is {}, and the image's own is {digest}",
            found.digest()
        );
        let error = Error::new(Kind::CustomResourcesInvalid, message).transient();
        Err(error.hint("delete the attached bundle that was not pushed from here"))
    }

    fn journal(
        &self,
        object: &ObjectRef<ImagePush>,
        uid: &str,
        cancel: &CancellationToken,
    ) -> StatusJournal {
        StatusJournal::new(&self.client, object, uid, self.leadership.clone(), cancel.clone())
    }
}

/// Does the work in a task of its own, so that a panic in it is one of the ways in which it may end.
async fn apart(work: impl Future<Output = Option<Finding>> + Send + 'static) -> Option<Finding> {
    tokio::spawn(work).await.unwrap_or_else(|cause| {
        let error = Error::internal(format!("applying the bundle ended without a result: {cause}"));
        Some(Finding::Ran(Box::new(Ran::failed(Failure::from(&error)))))
    })
}

fn not_done_in(limit: Duration) -> Failure {
    let message = format!("the bundle was not applied after {} s", limit.as_secs());
    let error = Error::new(Kind::CustomResourcesPending, message);
    Failure::from(&error.hint("raise `customResources.apply.timeout`"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_internal_error() {
        let Some(Finding::Ran(ran)) = apart(async { panic!("on purpose") }).await else {
            unreachable!("it ends")
        };
        let failure = ran.failure.unwrap();
        assert_eq!(failure.reason, "InternalError");
        let message = "applying the bundle ended without a result: ";
        assert!(failure.message.starts_with(message), "{}", failure.message);
    }

    /// Only what was applied as a whole can have drifted.
    #[test]
    fn a_bundle_that_failed_half_way_is_not_settled() {
        let digest = Digest::of(b"bundle");
        let object = |state: &str, dry_run: bool| -> ImagePush {
            let side = json!({"reference": "docker://a.example/x:1"});
            let condition = json!({"type": CUSTOM_RESOURCES_APPLIED, "status": state, "reason": "x",
                "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let counts =
                json!({"created": 1, "configured": 0, "unchanged": 0, "pruned": 0, "failed": 0});
            let mut applied = json!({"dryRun": dry_run, "digest": digest.to_string()});
            applied.as_object_mut().unwrap().extend(counts.as_object().unwrap().clone());
            let apply = json!({"serviceAccountName": "a"});
            let object: Value = json!({
                "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush", "metadata": {"name": "x"},
                "spec": {"source": side, "destination": side, "customResources": {"apply": apply}},
                "status": {"conditions": [condition], "customResources": {"decision": "pushed", "applied": applied}},
            });
            serde_json::from_value(object).unwrap()
        };
        let settled = |state, dry_run| orders(&object(state, dry_run)).unwrap().settled;
        assert_eq!(settled("True", false), Some(digest.clone()));
        assert_eq!(settled("False", false), None);
        assert_eq!(settled("True", true), None);
    }
}
