//! Turns of those who only look at a registry, as the operator does for all of its objects again and again.
//!
//! A look is one request. Many at once would open as many connections, which cost the registry more than the answers do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::PARALLEL_CHECKS;

/// Turns by registry.
#[derive(Default)]
pub(super) struct Checks(Mutex<HashMap<String, Arc<Semaphore>>>);

/// A turn, until it is dropped.
pub(crate) struct CheckTurn(#[expect(dead_code, reason = "held")] Option<OwnedSemaphorePermit>);

// === impl Checks ===

impl Checks {
    /// Waits for a turn at a registry.
    pub(super) async fn turn(&self, registry: &str) -> CheckTurn {
        let turns = self.of(registry);
        CheckTurn(turns.acquire_owned().await.ok())
    }

    /// Those that nobody holds or waits for are forgotten: the names come from objects.
    fn of(&self, registry: &str) -> Arc<Semaphore> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, turns| Arc::strong_count(turns) > 1);
        let new = || Arc::new(Semaphore::new(PARALLEL_CHECKS));
        Arc::clone(all.entry(registry.to_owned()).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_registry_has_few_turns_and_others_have_their_own() {
        let checks = Checks::default();
        let turn = |registry: &str| checks.turn(registry).now_or_never();
        let mut held: Vec<_> = (0..PARALLEL_CHECKS).map(|_| turn("a.test").unwrap()).collect();
        assert!(turn("a.test").is_none());
        assert!(turn("b.test").is_some());
        held.pop();
        assert!(turn("a.test").is_some());
        drop(held);
        drop(turn("c.test"));
        assert_eq!(checks.0.lock().unwrap().len(), 1);
    }
}
