//! Registries that nobody can reach: who pushes there waits until one attempt has found that it answers.
//!
//! After [`BREAKER_FAILURES`] attempts in a row that could not reach a registry, none is made there any more but one each
//! [`BREAKER_REST`], to see whether that has changed; the others wait, use up no attempt, and go on together once it has. Each
//! namespace finds that out by itself, so that nobody's attempts can keep those of others from a registry. What a Job can
//! reach is its node's business.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::Order;
use crate::controller::decide::Outcome;
use crate::controller::failure::Failure;
use crate::controller::metrics::{Counted, Metrics};
use crate::error::{Kind, Side};
use crate::limits::{BREAKER_FAILURES, BREAKER_MEMORY, BREAKER_REST, MAX_BREAKERS};
use crate::options::Endpoint;

/// What is known of registries that could not be reached.
pub(super) struct Breakers {
    known: Mutex<HashMap<Place, Breaker>>,
    metrics: Arc<Metrics>,
    /// Told of whenever somebody who waits may go on.
    changed: watch::Sender<()>,
}

/// A registry, for the objects of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    namespace: String,
    registry: String,
}

struct Breaker {
    /// Attempts in a row that did not reach it.
    failures: u32,
    failed_at: Instant,
    /// When the next attempt may be made, and that none may be before, once it is open.
    open: Option<(Instant, Counted)>,
}

// === impl Breakers ===

impl Breakers {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { known: Mutex::default(), metrics, changed: watch::Sender::default() }
    }

    /// Waits until an attempt may be made, as far as is known; `told` hears what is waited for.
    pub(super) async fn wait(&self, order: &Order, told: impl Fn(String)) {
        let mut changes = self.changed.subscribe();
        while let Some((registry, next)) = self.obstacle(order) {
            told(format!(
                "registry `{registry}` can't be reached; an attempt is made every {} s, and this push goes on once one gets through",
                BREAKER_REST.as_secs()
            ));
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    fn obstacle(&self, order: &Order) -> Option<(String, Instant)> {
        let mut known = self.known();
        forget_old(&mut known);
        obstacle(&known, order)
    }

    /// Whether an attempt may be made now. If it is the one that finds out, no other one is for a while.
    pub(super) fn pass(&self, order: &Order) -> bool {
        let mut known = self.known();
        // All who wait wake up together.
        if obstacle(&known, order).is_some() {
            return false;
        }
        for (_, place) in places(order) {
            if let Some((next, _)) = known.get_mut(&place).and_then(|it| it.open.as_mut()) {
                *next = Instant::now() + BREAKER_REST;
            }
        }
        true
    }

    /// Whether an attempt is one that finds out.
    pub(super) fn doubts(&self, order: &Order) -> bool {
        let known = self.known();
        places(order).any(|(_, place)| known.get(&place).is_some_and(|it| it.open.is_some()))
    }

    /// Both registries have answered.
    pub(super) fn reached(&self, order: &Order) {
        for (_, place) in places(order) {
            self.answered(&place);
        }
    }

    /// An attempt has ended, which had got through to both registries or not.
    pub(super) fn learn(&self, order: &Order, outcome: &Outcome, got_through: bool) {
        let failure = match outcome {
            Outcome::Pushed(_) | Outcome::Unchanged | Outcome::Previewed(_) => {
                return self.reached(order);
            }
            Outcome::Failed(failure) => failure,
            Outcome::Cancelled => return,
        };
        let Some((_, place)) = places(order).find(|(side, _)| failure.side == Some(*side)) else {
            return;
        };
        if !got_through && is_unreachable(failure) {
            self.failed(place);
        } else {
            self.answered(&place);
        }
    }

    fn answered(&self, place: &Place) {
        let removed = self.known().remove(place);
        if removed.is_some_and(|breaker| breaker.open.is_some()) {
            self.changed.send_replace(());
        }
    }

    fn failed(&self, place: Place) {
        let now = Instant::now();
        let mut known = self.known();
        forget_old(&mut known);
        if known.len() >= MAX_BREAKERS && !known.contains_key(&place) {
            return;
        }
        let fresh = Breaker { failures: 0, failed_at: now, open: None };
        let breaker = known.entry(place).or_insert(fresh);
        breaker.failures = breaker.failures.saturating_add(1);
        breaker.failed_at = now;
        if breaker.failures >= BREAKER_FAILURES {
            let counted = breaker.open.take().map(|(_, counted)| counted);
            let counted = counted.unwrap_or_else(|| self.metrics.unreachable());
            breaker.open = Some((now + BREAKER_REST, counted));
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Place, Breaker>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What nobody has tried for long is nothing that pushes wait for.
fn forget_old(known: &mut HashMap<Place, Breaker>) {
    known.retain(|_, breaker| breaker.failed_at.elapsed() < BREAKER_MEMORY);
}

/// The registry because of which an attempt has to wait, and until when.
fn obstacle(known: &HashMap<Place, Breaker>, order: &Order) -> Option<(String, Instant)> {
    let next = |place: Place| {
        let (next, _) = known.get(&place)?.open.as_ref()?;
        Some((place.registry, *next))
    };
    let now = Instant::now();
    places(order).filter_map(|(_, place)| next(place)).find(|(_, next)| *next > now)
}

/// Where an attempt reads and writes.
fn places(order: &Order) -> impl Iterator<Item = (Side, Place)> {
    let namespace = order.object.namespace.clone().unwrap_or_default();
    let place = move |side: &Endpoint| {
        let registry = side.reference.repository()?.registry.clone();
        Some(Place { namespace: namespace.clone(), registry })
    };
    let source = place(&order.options.source).map(|place| (Side::Source, place));
    let destination = place(&order.options.destination).map(|place| (Side::Destination, place));
    source.into_iter().chain(destination)
}

/// Whether a failure is that there was no answer.
fn is_unreachable(failure: &Failure) -> bool {
    [Kind::NetworkError, Kind::Timeout].map(Kind::as_str).contains(&failure.reason)
}
