//! How registries have answered, counted for whoever runs the program.
//!
//! Names of registries come from outside, so that only so many are told apart; the rest is counted together.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::limits::MAX_COUNTED_REGISTRIES;

/// What registries are counted as that are too many to be told apart.
const OTHERS: &str = "other";

/// Numbers of requests, by registry and by how they were answered.
#[derive(Debug, Default)]
pub(super) struct Traffic(Mutex<BTreeMap<String, BTreeMap<&'static str, u64>>>);

// === impl Traffic ===

impl Traffic {
    /// A registry, or where it sends us, has answered with this status; with none if there was no answer.
    pub(super) fn count(&self, registry: &str, status: Option<u16>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Invented names, which never answer, don't take all of the places.
        let places = MAX_COUNTED_REGISTRIES / if status.is_some() { 1 } else { 2 };
        let known = counts.contains_key(registry) || counts.len() < places;
        let registry = if known { registry } else { OTHERS };
        let answers = counts.entry(registry.to_owned()).or_default();
        *answers.entry(code(status)).or_default() += 1;
    }

    /// The counts so far.
    pub(super) fn counts(&self) -> Vec<(String, &'static str, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = |(registry, answers): (&String, &BTreeMap<&'static str, u64>)| {
            let of = |(code, count): (&&'static str, &u64)| (registry.clone(), *code, *count);
            answers.iter().map(of).collect::<Vec<_>>()
        };
        counts.iter().flat_map(answers).collect()
    }
}

/// The few statuses that mean something by themselves, and classes of the rest.
fn code(status: Option<u16>) -> &'static str {
    match status {
        Some(200..=299) => "2xx",
        Some(300..=399) => "3xx",
        Some(401) => "401",
        Some(403) => "403",
        Some(404) => "404",
        Some(429) => "429",
        Some(400..=499) => "4xx",
        Some(500..=599) => "5xx",
        Some(_) => "invalid",
        None => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_registry_and_status() {
        let traffic = Traffic::default();
        for status in [Some(200), Some(206), Some(429), None, Some(999)] {
            traffic.count("r.example", status);
        }
        let of = |code, count| ("r.example".to_owned(), code, count);
        assert_eq!(traffic.counts(), [of("2xx", 2), of("429", 1), of("invalid", 1), of("none", 1)]);
    }

    #[test]
    fn names_that_never_answer_leave_places_to_others() {
        let traffic = Traffic::default();
        for number in 0..MAX_COUNTED_REGISTRIES {
            traffic.count(&format!("invented{number}.example"), None);
        }
        traffic.count("real.example", Some(200));
        assert!(traffic.counts().contains(&("real.example".to_owned(), "2xx", 1)));
    }

    #[test]
    fn names_do_not_pile_up() {
        let traffic = Traffic::default();
        for number in 0..MAX_COUNTED_REGISTRIES + 5 {
            traffic.count(&format!("r{number}.example"), Some(200));
        }
        traffic.count("r0.example", Some(200));
        let counts = traffic.counts();
        assert_eq!(counts.len(), MAX_COUNTED_REGISTRIES + 1);
        assert!(counts.contains(&("other".to_owned(), "2xx", 5)));
        assert!(counts.contains(&("r0.example".to_owned(), "2xx", 2)));
    }
}
