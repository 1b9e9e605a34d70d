//! Who may push to a destination: of several objects with the same one in a namespace the oldest; of several namespaces the one
//! that has pushed there first.
//!
//! An index of all objects that are watched, kept by the events of the watch, so that a look at one object needs no list of
//! the others. Who comes to own a name, or no longer does, is woken. An object that has run once and is done writes no more and
//! claims nothing, but what it has pushed is still of use; a dry run claims nothing, nor does one whose destination names a
//! digest, which only one image can have.

mod names;
mod place;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::channel::mpsc;
use kube::ResourceExt as _;
use kube_runtime::reflector::ObjectRef;
use tokio::time::Instant;

use self::place::{Claimant, Place, Seniority, Stake};
use super::failure::Failure;
use super::requests;
use crate::api::v1alpha1::{ImagePush, Mode};
use crate::limits::CLAIMS_WAIT;

/// Every claim of the objects that this operator watches.
pub(crate) struct Claims {
    state: Mutex<State>,
    began: Instant,
}

#[derive(Default)]
struct State {
    /// Watches whose objects are not all known yet.
    unlisted: usize,
    places: HashMap<String, Place>,
    /// By uid, the place that each object has to do with.
    noted: HashMap<String, (String, Stake)>,
}

/// The objects of one watch, and their claims.
pub(crate) struct Register {
    claims: Arc<Claims>,
    wake: mpsc::Sender<ObjectRef<ImagePush>>,
    /// By uid, the version that was seen last.
    known: HashMap<String, u64>,
    listed: bool,
}

/// What is new about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// It was known.
    Known,
    /// It was not.
    New,
    /// It was known in a later version.
    SetBack,
}

// === impl Claims ===

impl Claims {
    /// For so many watches.
    pub(crate) fn new(watches: usize) -> Arc<Self> {
        let state = State { unlisted: watches, ..State::default() };
        Arc::new(Self { state: Mutex::new(state), began: Instant::now() })
    }

    /// Whether it is known who claims what. A watch that never comes to an end of its first list does not hold up the others
    /// for long.
    pub(crate) fn is_complete(&self) -> bool {
        self.state().unlisted == 0 || self.began.elapsed() > CLAIMS_WAIT
    }

    /// Why an object may not push: the name is another's.
    pub(crate) fn conflict(&self, object: &ImagePush) -> Option<Failure> {
        let claims = Stake::of(object).is_some_and(|stake| stake.claims);
        if !claims && (object.spec.mode == Mode::DryRun || requests::pending(object).is_none()) {
            return None;
        }
        let namespace = object.namespace()?;
        let name = names::place(&object.spec, &namespace)?;
        let state = self.state();
        let place = state.places.get(&name)?;
        let reference = &object.spec.destination.reference;
        if place.owner().is_some_and(|owner| owner != namespace) {
            return Some(Failure::conflict(reference, None));
        }
        let (seniority, oldest) = place.oldest(&namespace)?;
        let own = Seniority::of(object);
        if own.uid == seniority.uid || (claims && *seniority > own) {
            return None;
        }
        Some(Failure::conflict(reference, Some(&oldest.object.name)))
    }

    /// Whether the destination of an object is of use to another one, too.
    pub(crate) fn is_shared(&self, object: &ImagePush) -> bool {
        let (uid, namespace) =
            (object.uid().unwrap_or_default(), object.namespace().unwrap_or_default());
        let state = self.state();
        let place = names::place(&object.spec, &namespace).and_then(|name| state.places.get(&name));
        place.is_some_and(|place| place.is_shared(&namespace, &uid))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn note(&mut self, object: &ImagePush, wake: &mpsc::Sender<ObjectRef<ImagePush>>) {
        let (uid, noted) = (object.uid().unwrap_or_default(), stake(object));
        if self.noted.get(&uid) == noted.as_ref() {
            return;
        }
        let before = self.noted.remove(&uid);
        if let Some((name, stake)) = &before
            && noted.as_ref().is_none_or(|(now, _)| now != name)
        {
            self.change(name, stake, |place| place.remove(stake));
        }
        let Some((name, stake)) = noted else { return };
        let claimant = Claimant { object: ObjectRef::from_obj(object), wake: wake.clone() };
        self.change(&name, &stake, |place| {
            if let Some((_, before)) = &before {
                place.remove(before);
            }
            place.insert(&stake, claimant);
        });
        self.noted.insert(uid, (name, stake));
    }

    fn release(&mut self, uid: &str) {
        let Some((name, stake)) = self.noted.remove(uid) else { return };
        self.change(&name, &stake, |place| place.remove(&stake));
    }

    /// Changes the stake of one object in a place, and wakes those that may write there no more, and those that may now.
    fn change(&mut self, name: &str, stake: &Stake, edit: impl FnOnce(&mut Place)) {
        let place = self.places.entry(name.to_owned()).or_default();
        let before = place.writable_by();
        edit(place);
        let after = place.writable_by();
        let uid = &stake.seniority.uid;
        // Who is alone is looked at anyway; among others it may have been looked at when it didn't own the name.
        let heard = |it: &String| it != uid || (place.has_claimant(stake) && place.is_disputed());
        let lost = before.iter().filter(|(uid, _)| !after.contains_key(*uid));
        let gained = after.iter().filter(|(uid, _)| !before.contains_key(*uid));
        lost.chain(gained).filter(|(uid, _)| heard(uid)).for_each(|(_, it)| it.wake());
        if place.is_empty() {
            self.places.remove(name);
        }
    }
}

// === impl Register ===

impl Register {
    /// Keeps the claims of a watch, and wakes its objects by `wake`.
    pub(crate) fn new(claims: Arc<Claims>, wake: mpsc::Sender<ObjectRef<ImagePush>>) -> Self {
        Self { claims, wake, known: HashMap::new(), listed: false }
    }

    /// Whether the watch has come to the end of a list.
    pub(crate) fn has_listed(&self) -> bool {
        self.listed
    }

    /// An object is there, or has changed.
    pub(crate) fn note(&mut self, object: &ImagePush) -> Noted {
        self.claims.state().note(object, &self.wake);
        // Kubernetes counts versions of a resource upwards.
        let version = object.resource_version().and_then(|it| it.parse().ok()).unwrap_or(0);
        match self.known.insert(object.uid().unwrap_or_default(), version) {
            None => Noted::New,
            Some(before) if version < before => Noted::SetBack,
            Some(_) => Noted::Known,
        }
    }

    /// Has an object looked at.
    pub(crate) fn wake(&self, object: &ObjectRef<ImagePush>) {
        Claimant { object: object.clone(), wake: self.wake.clone() }.wake();
    }

    /// An object is gone.
    pub(crate) fn release(&mut self, object: &ImagePush) {
        let uid = object.uid().unwrap_or_default();
        self.known.remove(&uid);
        self.claims.state().release(&uid);
    }

    /// The watch was listed anew: these are all. Returns those that are gone.
    pub(crate) fn keep_only(&mut self, uids: &HashSet<String>) -> Vec<String> {
        let gone: Vec<String> =
            self.known.keys().filter(|uid| !uids.contains(*uid)).cloned().collect();
        let mut state = self.claims.state();
        for uid in &gone {
            state.release(uid);
            self.known.remove(uid);
        }
        if !self.listed {
            self.listed = true;
            state.unlisted = state.unlisted.saturating_sub(1);
        }
        gone
    }
}

/// What an object has to do with which place.
fn stake(object: &ImagePush) -> Option<(String, Stake)> {
    Some((names::place(&object.spec, &object.namespace()?)?, Stake::of(object)?))
}

/// How soon to look again while it isn't known who claims what.
pub(crate) const UNKNOWN: Duration = Duration::from_secs(1);

#[cfg(test)]
#[path = "claims/tests.rs"]
mod tests;
