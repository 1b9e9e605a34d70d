//! Who owns a destination: of several objects that push to the same name, the oldest.
//!
//! An index of all objects that are watched, kept by the events of the watch, so that a look at one object needs no list of
//! the others. Who comes to own a name, or no longer does, is woken. An object that has run once and is done writes no more and
//! claims nothing; nor does a dry run, nor one whose destination names a digest, which only one image can have.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::channel::mpsc;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube_runtime::reflector::ObjectRef;
use tokio::time::Instant;

use super::failure::Failure;
use super::place::volume_name;
use super::{requests, status};
use crate::api::conditions::READY;
use crate::api::v1alpha1::{
    ImageLocation, ImagePush, ImagePushSpec, Mode, RunPolicy, TlsPolicy, VolumeSource,
};
use crate::limits::CLAIMS_WAIT;
use crate::transport;

/// Every claim of the objects that this operator watches.
pub(crate) struct Claims {
    state: Mutex<State>,
    began: Instant,
}

#[derive(Default)]
struct State {
    /// Watches whose objects are not all known yet.
    unlisted: usize,
    places: HashMap<String, BTreeMap<Seniority, Claimant>>,
    /// The place that each object claims.
    claimed: HashMap<String, (String, Seniority)>,
}

/// The order among claimants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seniority {
    created: Option<Timestamp>,
    uid: String,
}

#[derive(Clone)]
struct Claimant {
    object: ObjectRef<ImagePush>,
    wake: mpsc::Sender<ObjectRef<ImagePush>>,
}

/// The claims of the objects of one watch.
pub(crate) struct Register {
    claims: Arc<Claims>,
    wake: mpsc::Sender<ObjectRef<ImagePush>>,
    known: HashSet<String>,
    listed: bool,
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

    /// Why an object may not push: an older one claims the same.
    pub(crate) fn conflict(&self, object: &ImagePush) -> Option<Failure> {
        let claims = claim(object).is_some();
        if !claims && (object.spec.mode == Mode::DryRun || requests::pending(object).is_none()) {
            return None;
        }
        let place = place(&object.spec, &object.namespace()?)?;
        let state = self.state();
        let (seniority, owner) = state.places.get(&place)?.first_key_value()?;
        if object.uid().as_deref() == Some(&seniority.uid) || (claims && *seniority > of(object)) {
            return None;
        }
        let owner = &owner.object;
        let name = (owner.namespace == object.namespace()).then_some(owner.name.as_str());
        Some(Failure::conflict(&object.spec.destination.reference, name))
    }

    /// Whether another object claims the destination of this one.
    pub(crate) fn is_shared(&self, object: &ImagePush) -> bool {
        let place = object.namespace().and_then(|namespace| place(&object.spec, &namespace));
        let state = self.state();
        let claimants = place.and_then(|place| state.places.get(&place));
        let uid = object.uid().unwrap_or_default();
        claimants.is_some_and(|all| all.keys().any(|claimant| claimant.uid != uid))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn note(&mut self, object: &ImagePush, wake: &mpsc::Sender<ObjectRef<ImagePush>>) {
        let seniority = of(object);
        let place = claim(object);
        if self.claimed.get(&seniority.uid).map(|(place, _)| place) == place.as_ref() {
            return;
        }
        self.release(&seniority.uid);
        let Some(place) = place else { return };
        let claimant = Claimant { object: ObjectRef::from_obj(object), wake: wake.clone() };
        let newcomer = claimant.clone();
        let claimants = self.places.entry(place.clone()).or_default();
        let before = claimants.first_key_value().map(|(first, it)| (first.clone(), it.clone()));
        claimants.insert(seniority.clone(), claimant);
        self.claimed.insert(seniority.uid.clone(), (place, seniority.clone()));
        if let Some((first, owner)) = before
            && seniority < first
        {
            owner.wake();
            // It may have been looked at when it didn't own the name.
            newcomer.wake();
        }
    }

    fn release(&mut self, uid: &str) {
        let Some((place, seniority)) = self.claimed.remove(uid) else { return };
        let Some(claimants) = self.places.get_mut(&place) else { return };
        let was_first = claimants.first_key_value().is_some_and(|(first, _)| *first == seniority);
        claimants.remove(&seniority);
        match claimants.first_key_value() {
            None => drop(self.places.remove(&place)),
            Some((_, next)) if was_first => next.wake(),
            Some(_) => {}
        }
    }
}

// === impl Claimant ===

impl Claimant {
    fn wake(&self) {
        // Each clone of a sender has a place of its own in the queue. It fails only when nobody listens any more.
        let _ = self.wake.clone().try_send(self.object.clone());
    }
}

// === impl Register ===

impl Register {
    /// Keeps the claims of a watch, and wakes its objects by `wake`.
    pub(crate) fn new(claims: Arc<Claims>, wake: mpsc::Sender<ObjectRef<ImagePush>>) -> Self {
        Self { claims, wake, known: HashSet::new(), listed: false }
    }

    /// An object is there, or has changed. Returns whether it is new.
    pub(crate) fn note(&mut self, object: &ImagePush) -> bool {
        self.claims.state().note(object, &self.wake);
        self.known.insert(object.uid().unwrap_or_default())
    }

    /// Has an object looked at.
    pub(crate) fn wake(&self, object: &ImagePush) {
        Claimant { object: ObjectRef::from_obj(object), wake: self.wake.clone() }.wake();
    }

    /// An object is gone.
    pub(crate) fn release(&mut self, object: &ImagePush) {
        let uid = object.uid().unwrap_or_default();
        self.known.remove(&uid);
        self.claims.state().release(&uid);
    }

    /// The watch was listed anew: these are all.
    pub(crate) fn keep_only(&mut self, uids: &HashSet<String>) {
        let mut state = self.claims.state();
        for uid in self.known.difference(uids) {
            state.release(uid);
        }
        self.known.retain(|uid| uids.contains(uid));
        if !self.listed {
            self.listed = true;
            state.unlisted = state.unlisted.saturating_sub(1);
        }
    }
}

fn of(object: &ImagePush) -> Seniority {
    let created = object.creation_timestamp().map(|time| time.0);
    Seniority { created, uid: object.uid().unwrap_or_default() }
}

/// The place that an object claims.
fn claim(object: &ImagePush) -> Option<String> {
    let once = object.spec.run_policy == RunPolicy::Once;
    let done = once && status::is_true_now(object, READY);
    if object.spec.mode == Mode::DryRun || done {
        return None;
    }
    place(&object.spec, &object.namespace()?)
}

/// The name of a destination, in one form for all that lead to the same.
fn place(spec: &ImagePushSpec, namespace: &str) -> Option<String> {
    let destination = &spec.destination;
    let reference = transport::parse(&destination.reference).ok()?;
    if reference.digest().is_some() {
        return None;
    }
    let Some(repository) = reference.repository() else {
        return Some(in_files(destination, namespace));
    };
    let host = repository.registry.to_ascii_lowercase();
    let port = if destination.tls_policy == Some(TlsPolicy::PlainHttp) { ":80" } else { ":443" };
    let host = match host.strip_suffix(port).unwrap_or(&host) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    };
    Some(reference.to_string().replacen(&repository.registry, host, 1))
}

/// A destination on a file system: a path below a volume. A folder of a node is the same in every namespace.
fn in_files(destination: &ImageLocation, namespace: &str) -> String {
    let (transport, path) = destination.reference.split_once(':').unwrap_or_default();
    let volume = match &destination.volume {
        Some(VolumeSource { persistent_volume_claim: None, host_path: Some(host) }) => {
            return format!("{transport}:{}", plain(&format!("{}/{path}", host.path)));
        }
        Some(volume) => volume_name(volume),
        None => String::new(),
    };
    format!("{namespace} {volume} {transport}:{}", plain(path))
}

/// A path without what doesn't matter in it, such as `//` and `./`.
fn plain(path: &str) -> String {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.collect::<Vec<_>>().join("/")
}

/// How soon to look again while it isn't known who claims what.
pub(crate) const UNKNOWN: Duration = Duration::from_secs(1);

#[cfg(test)]
#[path = "claims/tests.rs"]
mod tests;
