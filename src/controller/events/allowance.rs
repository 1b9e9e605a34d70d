//! How many events may be written about an object: so that one that fails all the time doesn't fill the cluster's store.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{EVENT_BURST, EVENT_PERIOD, MAX_EVENT_OBJECTS};

/// What may still be told, by object.
#[derive(Debug, Default)]
pub(super) struct Allowance(HashMap<String, Account>);

/// Of one object.
#[derive(Debug)]
struct Account {
    /// Events that may be written now.
    left: u32,
    /// Since when one more is due.
    counted: Instant,
    /// When something was last told of a subject, for as long as that matters.
    told: HashMap<Subject, Instant>,
}

/// What an event is about: its reason, and a number that tells it from others of that reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Subject(pub(super) &'static str, pub(super) u64);

// === impl Allowance ===

impl Allowance {
    /// Whether an event may be written; then it counts.
    pub(super) fn take(&mut self, uid: &str, subject: Subject, now: Instant) -> bool {
        if !self.0.contains_key(uid) && self.0.len() >= MAX_EVENT_OBJECTS {
            self.0.retain(|_, account| !account.is_full(now));
            if self.0.len() >= MAX_EVENT_OBJECTS {
                return false;
            }
        }
        let full = || Account { left: EVENT_BURST, counted: now, told: HashMap::new() };
        self.0.entry(uid.to_owned()).or_insert_with(full).take(subject, now)
    }
}

// === impl Account ===

impl Account {
    fn take(&mut self, subject: Subject, now: Instant) -> bool {
        self.refill(now);
        self.told.retain(|_, last| now.duration_since(*last) < EVENT_PERIOD);
        if self.told.contains_key(&subject) || self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.told.insert(subject, now);
        true
    }

    fn refill(&mut self, now: Instant) {
        let periods = periods(now.duration_since(self.counted));
        self.counted += EVENT_PERIOD * periods;
        self.left = self.left.saturating_add(periods).min(EVENT_BURST);
    }

    /// Nothing is known of it that a new one wouldn't know.
    fn is_full(&self, now: Instant) -> bool {
        let due = periods(now.duration_since(self.counted));
        due > 0 && self.left.saturating_add(due) >= EVENT_BURST
    }
}

fn periods(time: Duration) -> u32 {
    u32::try_from(time.as_secs() / EVENT_PERIOD.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that differ, as a real set of reasons does.
    const REASONS: [&str; 30] = [
        "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r",
        "s", "t", "u", "v", "w", "x", "y", "z", "A", "B", "C", "D",
    ];

    #[test]
    fn the_same_reason_is_told_once_in_five_minutes() {
        let (mut allowance, start) = (Allowance::default(), Instant::now());
        let mut take = |uid, reason, seconds| {
            allowance.take(uid, Subject(reason, 0), start + Duration::from_secs(seconds))
        };
        assert!(take("a", "NetworkError", 0));
        assert!(!take("a", "NetworkError", 299));
        assert!(take("a", "Timeout", 299) && take("b", "NetworkError", 299), "others don't count");
        assert!(take("a", "NetworkError", 300));
    }

    #[test]
    fn an_object_has_25_and_then_one_in_five_minutes() {
        let (mut allowance, start) = (Allowance::default(), Instant::now());
        let mut told = |after: Duration| {
            let mut take = |reason| allowance.take("a", Subject(reason, 0), start + after);
            REASONS.iter().filter(|reason| take(**reason)).count()
        };
        assert_eq!(told(Duration::ZERO), 25);
        assert_eq!(told(Duration::from_secs(299)), 0);
        assert_eq!(told(Duration::from_secs(301)), 1);
        assert_eq!(told(Duration::from_secs(901)), 2);
        assert_eq!(told(Duration::from_hours(24)), 25);
    }

    #[test]
    fn objects_that_are_not_told_of_are_forgotten() {
        let (mut allowance, start) = (Allowance::default(), Instant::now());
        for number in 0..MAX_EVENT_OBJECTS {
            assert!(allowance.take(&number.to_string(), Subject("a", 0), start));
        }
        assert!(!allowance.take("one more", Subject("a", 0), start));
        assert!(allowance.take("one more", Subject("a", 0), start + EVENT_PERIOD));
        assert!(allowance.take("one more", Subject("a", 1), start + EVENT_PERIOD), "another one");
        assert_eq!(allowance.0.len(), 1);
    }
}
