//! How long to wait before a watch that failed begins anew. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{WATCH_CALM, WATCH_DELAY};

/// What went wrong with a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// What it knows is too old to go on from.
    TooOld,
    /// Anything else; the server may have asked to wait.
    Other {
        /// For how long.
        asked: Option<Duration>,
    },
}

/// The faults of a watch lately.
#[derive(Debug, Default)]
pub(super) struct Pace {
    faults: u32,
    last: Option<Instant>,
}

// === impl Pace ===

impl Pace {
    /// The wait after a fault: none where the first thing in a while is that it knows too little, else up to a bound that
    /// doubles; `chance`, from 0 to 1, says how much of the second half.
    pub(super) fn wait(&mut self, fault: Fault, chance: f64, now: Instant) -> Duration {
        let calm = self.last.is_none_or(|last| now.duration_since(last) > WATCH_CALM);
        let before = if calm { 0 } else { self.faults };
        self.last = Some(now);
        self.faults = before.saturating_add(1);
        let (first, longest) = WATCH_DELAY;
        let bound = |faults: u32| first.saturating_mul(1 << faults.min(16)).min(longest);
        let own = |faults| bound(faults).mul_f64(0.5 + chance / 2.0);
        match fault {
            Fault::TooOld if before == 0 => Duration::ZERO,
            Fault::TooOld => own(before - 1),
            Fault::Other { asked } => own(before).max(asked.unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: Fault = Fault::Other { asked: None };

    fn waits(faults: &[Fault], distance: Duration) -> Vec<u64> {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let waits = faults.iter().map(|fault| {
            let wait = pace.wait(*fault, 1.0, now);
            now += wait + distance;
            u64::try_from(wait.as_millis()).unwrap()
        });
        waits.collect()
    }

    #[test]
    fn waits_double_up_to_ten_seconds() {
        let moment = Duration::from_millis(1);
        assert_eq!(waits(&[OTHER; 6], moment), [800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(Pace::default().wait(OTHER, 0.0, Instant::now()).as_millis(), 400);
        assert_eq!(waits(&[OTHER; 3], WATCH_CALM + moment), [800; 3], "after a while all is well");
    }

    #[test]
    fn what_is_too_old_is_listed_at_once_but_not_again_and_again() {
        let moment = Duration::from_millis(1);
        assert_eq!(waits(&[Fault::TooOld; 4], moment), [0, 800, 1600, 3200]);
        assert_eq!(waits(&[OTHER, Fault::TooOld], moment), [800, 800]);
        assert_eq!(waits(&[Fault::TooOld; 2], WATCH_CALM + moment), [0, 0]);
    }

    #[test]
    fn the_server_may_ask_for_more() {
        let asked = |seconds| Fault::Other { asked: Some(Duration::from_secs(seconds)) };
        let moment = Duration::from_millis(1);
        assert_eq!(waits(&[asked(0), asked(30), OTHER], moment), [800, 30_000, 3200]);
    }
}
