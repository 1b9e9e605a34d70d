//! Of the objects that push to one name, those that may.
//!
//! Within a namespace it is the oldest. Another namespace is not asked for its word: what counts there is to have written the
//! name, which the registry allows to nobody without a credential for it. The namespace whose object has done so first owns
//! the name; until one has, each may try.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::channel::mpsc;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube_runtime::reflector::ObjectRef;

use crate::api::conditions::READY;
use crate::api::v1alpha1::{ImagePush, Mode, RunPolicy};
use crate::controller::status;

/// The order among objects of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seniority {
    created: Option<Timestamp>,
    pub(super) uid: String,
}

/// What an object has to do with its destination's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stake {
    pub(super) seniority: Seniority,
    pub(super) namespace: String,
    /// Whether it is going to write the name.
    pub(super) claims: bool,
    /// Whether status says that its image is there.
    has: bool,
    /// When it first wrote what is there, if it has.
    since: Option<Timestamp>,
}

#[derive(Clone)]
pub(super) struct Claimant {
    pub(super) object: ObjectRef<ImagePush>,
    pub(super) wake: mpsc::Sender<ObjectRef<ImagePush>>,
}

/// A name, and the objects that have to do with it.
#[derive(Default)]
pub(super) struct Place {
    /// Those that claim it, by namespace, the oldest first.
    claimants: BTreeMap<String, BTreeMap<Seniority, Claimant>>,
    /// Of these, those that have written it, the first one first, with their namespaces.
    writers: BTreeSet<(Timestamp, Seniority, String)>,
    /// By uid, those that claim nothing any more and have an image here.
    done: HashMap<String, Done>,
}

struct Done {
    namespace: String,
    /// Whether it has written the name.
    wrote: bool,
}

// === impl Seniority ===

impl Seniority {
    pub(super) fn of(object: &ImagePush) -> Self {
        let created = object.creation_timestamp().map(|time| time.0);
        Self { created, uid: object.uid().unwrap_or_default() }
    }
}

// === impl Stake ===

impl Stake {
    /// None if it has nothing to do with its destination's name.
    pub(super) fn of(object: &ImagePush) -> Option<Self> {
        let once = object.spec.run_policy == RunPolicy::Once;
        let done = once && status::is_true_now(object, READY);
        let claims = object.spec.mode == Mode::Apply && !done;
        let artifact = object.status.as_ref().and_then(|status| status.artifact.as_ref());
        let here = Some(object.spec.destination.reference.as_str());
        let artifact = artifact.filter(|artifact| artifact.reference.as_deref() == here);
        let since = artifact.and_then(|artifact| artifact.held_since.as_ref());
        let stake = Self {
            seniority: Seniority::of(object),
            namespace: object.namespace().unwrap_or_default(),
            claims,
            has: artifact.is_some(),
            since: since.map(|time| time.0),
        };
        (stake.claims || stake.has).then_some(stake)
    }
}

// === impl Claimant ===

impl Claimant {
    pub(super) fn wake(&self) {
        // Each clone of a sender has a place of its own in the queue. It fails only when nobody listens any more.
        let _ = self.wake.clone().try_send(self.object.clone());
    }
}

// === impl Place ===

impl Place {
    pub(super) fn insert(&mut self, stake: &Stake, claimant: Claimant) {
        let Stake { seniority, namespace, claims, has: _, since } = stake.clone();
        if !claims {
            self.done.insert(seniority.uid, Done { namespace, wrote: since.is_some() });
            return;
        }
        if let Some(since) = since {
            self.writers.insert((since, seniority.clone(), namespace.clone()));
        }
        self.claimants.entry(namespace).or_default().insert(seniority, claimant);
    }

    pub(super) fn remove(&mut self, stake: &Stake) {
        let Stake { seniority, namespace, claims: _, has: _, since } = stake;
        self.done.remove(&seniority.uid);
        if let Some(since) = since {
            self.writers.remove(&(*since, seniority.clone(), namespace.clone()));
        }
        if let Some(claimants) = self.claimants.get_mut(namespace) {
            claimants.remove(seniority);
            if claimants.is_empty() {
                self.claimants.remove(namespace);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.claimants.is_empty() && self.done.is_empty()
    }

    pub(super) fn has_claimant(&self, stake: &Stake) -> bool {
        let claimants = self.claimants.get(&stake.namespace);
        claimants.is_some_and(|claimants| claimants.contains_key(&stake.seniority))
    }

    /// Whether more than one claims it.
    pub(super) fn is_disputed(&self) -> bool {
        self.claimants.len() > 1 || self.claimants.values().any(|claimants| claimants.len() > 1)
    }

    /// Of the claimants of a namespace, the one that may write, unless the name is another namespace's.
    pub(super) fn oldest(&self, namespace: &str) -> Option<(&Seniority, &Claimant)> {
        self.claimants.get(namespace)?.first_key_value()
    }

    /// The namespace that owns the name, if one does.
    pub(super) fn owner(&self) -> Option<&str> {
        self.writers.first().map(|(_, _, namespace)| namespace.as_str())
    }

    /// Those that may write it, by uid.
    pub(super) fn writable_by(&self) -> BTreeMap<String, Claimant> {
        let namespaces: Vec<&str> = match self.owner() {
            Some(owner) => vec![owner],
            None => self.claimants.keys().map(String::as_str).collect(),
        };
        let oldest = namespaces.into_iter().filter_map(|namespace| self.oldest(namespace));
        oldest.map(|(seniority, it)| (seniority.uid.clone(), it.clone())).collect()
    }

    /// Whether the name is of use to anybody but this object: to its neighbours in any case, to others if they have written it.
    pub(super) fn is_shared(&self, namespace: &str, uid: &str) -> bool {
        let claimed = self.claimants.get(namespace).into_iter().flatten();
        let claimed = claimed.map(|(seniority, _)| seniority.uid.as_str());
        let written = self.writers.iter().map(|(_, seniority, _)| seniority.uid.as_str());
        let done = self.done.iter().filter(|(_, done)| done.wrote || done.namespace == namespace);
        let done = done.map(|(uid, _)| uid.as_str());
        claimed.chain(written).chain(done).any(|other| other != uid)
    }
}
