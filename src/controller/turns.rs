//! Turns at places that differ, such as registries or namespaces: so many at a time at each, whatever happens at the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

/// Turns by place.
pub(crate) struct Turns {
    width: usize,
    places: Mutex<HashMap<String, Arc<Semaphore>>>,
}

// === impl Turns ===

impl Turns {
    /// So many at a time at each place.
    pub(crate) fn new(width: usize) -> Self {
        Self { width, places: Mutex::default() }
    }

    /// Those of a place. A place where nobody has or awaits a turn is forgotten.
    pub(crate) fn of(&self, place: &str) -> Arc<Semaphore> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|_, turns| Arc::strong_count(turns) > 1);
        let turns = places.entry(place.to_owned());
        turns.or_insert_with(|| Arc::new(Semaphore::new(self.width))).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_apart_and_forgotten() {
        let turns = Turns::new(1);
        let (a, b) = (turns.of("a"), turns.of("b"));
        let held = a.try_acquire().unwrap();
        assert!(turns.of("a").try_acquire().is_err() && b.try_acquire().is_ok());
        drop(held);
        drop((a, b));
        turns.of("c");
        assert_eq!(turns.places.lock().unwrap().len(), 1);
    }
}
