//! What becomes of an image's bundle in the cluster, once the image is where it belongs.
//!
//! It follows an attempt, wherever that was made: the attempt says which bundle the image has; the bundle is read from where the
//! image is now, and has to have the digest that was found at the source, so that nobody who may write to the destination can
//! put another one in its place. Then it is applied as the ServiceAccount that the object names and that has agreed to it.

mod account;
mod cleanup;
mod journal;
mod wanted;

use std::time::Duration;

use kube::Client;
use kube_runtime::reflector::ObjectRef;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) use self::cleanup::{Tried, is_wanted, settle};
use self::journal::StatusJournal;
use self::wanted::{Place, Wanted, wanted};
use super::decide::Outcome;
use super::executor::Order;
use super::failure::Failure;
use super::lease::Leadership;
use super::metrics::Metrics;
use super::validate;
use crate::api::v1alpha1::{Apply, ImagePush};
use crate::apply::{self, Impersonated, Kinds, Policy, Report, Wish, owner_value};
use crate::bundle::{self, Bundle};
use crate::error::{Error, Kind, Result};
use crate::image::Digest;
use crate::limits::{APPLIERS, APPLY_GRACE, APPLY_TIMEOUT};
use crate::options::Platforms;

/// Applies bundles.
pub(crate) struct Applier {
    client: Client,
    kinds: Kinds,
    /// Which kinds; nothing is applied where it is not set.
    policy: Option<Policy>,
    leadership: Leadership,
    /// Bundles are held in memory while they are applied.
    turns: Semaphore,
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
    /// What was applied last, as status has it.
    pub(crate) recorded: Option<Recorded>,
}

/// A bundle, and the image that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Digest of the source's manifest or index.
    pub(crate) source: Digest,
    /// Digest of the bundle.
    pub(crate) bundle: Digest,
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
    /// Which, of which image; none if the image carries none any more.
    pub(crate) of: Option<Recorded>,
    pub(crate) report: Report,
    /// Why it was not done, or not to its end.
    pub(crate) failure: Option<Failure>,
    /// Whether nothing was to be written.
    pub(crate) is_preview: bool,
    /// Whether the same had been applied before, so that what was changed now had drifted.
    pub(crate) again: bool,
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
        recorded: recorded(object),
    })
}

fn recorded(object: &ImagePush) -> Option<Recorded> {
    let applied = object.status.as_ref()?.custom_resources.as_ref()?.applied.as_ref()?;
    let parse = |text: &Option<String>| text.as_ref()?.parse().ok();
    let recorded = Recorded { source: parse(&applied.source)?, bundle: parse(&applied.digest)? };
    (!applied.dry_run).then_some(recorded)
}

// === impl Applier ===

impl Applier {
    pub(crate) fn new(client: Client, policy: Option<Policy>, leadership: Leadership) -> Self {
        let (kinds, turns) = (Kinds::new(&client), Semaphore::new(APPLIERS));
        Self { client, kinds, policy, leadership, turns }
    }

    /// What follows from how an attempt ended, if anything; `None` also if it was called off.
    pub(crate) async fn follow(
        &self,
        order: &Order,
        outcome: &Outcome,
        metrics: &Metrics,
        cancel: &CancellationToken,
    ) -> Option<Finding> {
        let orders = order.apply.as_ref()?;
        let wanted = wanted(outcome, orders.recorded.as_ref())?;
        let work = async {
            let _turn = self.turns.acquire().await;
            match wanted {
                Wanted::Leave(reason) => Finding::Nothing(reason),
                Wanted::Have { of, place } => self.have(order, orders, of, place, cancel).await,
            }
        };
        let finding = cancel.run_until_cancelled(work).await?;
        if let Finding::Ran(ran) = &finding {
            metrics.applied(ran);
        }
        Some(finding)
    }

    async fn have(
        &self,
        order: &Order,
        orders: &Orders,
        of: Option<Recorded>,
        place: Place,
        cancel: &CancellationToken,
    ) -> Finding {
        let limit = orders.timeout + APPLY_GRACE;
        let work = self.apply(order, orders, of.as_ref(), place, cancel);
        let ended = timeout(limit, work).await.unwrap_or_else(|_| {
            let message = format!("the bundle was not applied after {} s", limit.as_secs());
            let error = Error::new(Kind::CustomResourcesPending, message);
            Err(Failure::from(&error.hint("raise `customResources.apply.timeout`")))
        });
        let (report, failure) = match ended {
            Ok(report) => {
                let failure = report.failure.as_ref().map(Failure::from);
                (report, failure)
            }
            Err(failure) => (Report::default(), Some(failure)),
        };
        let again = of.is_some() && of == orders.recorded;
        let is_preview = matches!(place, Place::Source | Place::Nowhere { preview: true });
        Finding::Ran(Box::new(Ran { of, report, failure, is_preview, again }))
    }

    async fn apply(
        &self,
        order: &Order,
        orders: &Orders,
        of: Option<&Recorded>,
        place: Place,
        cancel: &CancellationToken,
    ) -> Result<Report, Failure> {
        let who = self.who(&order.object, &orders.account).await?;
        let told = |error: Error| Failure::from(&error);
        let bundle = match of {
            Some(of) => Some(self.read(order, &of.bundle, place, cancel).await.map_err(told)?),
            None => None,
        };
        let journal = self.journal(&order.object, &order.uid, cancel);
        let known = journal.read().await.map_err(told)?;
        let policy = self.policy.clone().unwrap_or_default();
        let wish = Wish {
            bundle: bundle.as_ref(),
            policy: &policy,
            owner: &owner_value(&order.object.name),
            force_conflicts: orders.force_conflicts,
            prune: orders.prune,
            wait: orders.wait.then_some(orders.timeout),
            known: &known,
        };
        Ok(if order.is_preview() {
            apply::preview(&who, &self.kinds, wish).await
        } else {
            apply::run(&who, &self.kinds, wish, &journal).await
        })
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
