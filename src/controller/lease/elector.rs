//! Decides whether the lease may be claimed, and what it says then. Pure: what the lease says and the time in, step out.
//!
//! Nobody's clock is believed but our own: another holder counts as gone when its lease has stayed the same for as long as
//! it was to last, counted from when we first saw it so. Its times are compared for being different, never with ours.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

use crate::limits::{LEASE_DURATION, LEASE_POLL, MAX_FOREIGN_LEASE};

/// One who wants the lease.
#[derive(Debug)]
pub(crate) struct Elector {
    identity: String,
    /// What another holder's lease says, and since when we have seen it say so.
    seen: Option<(LeaseSpec, Instant)>,
}

/// What to do about the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write it, with our name: it is ours, nobody's, or that of somebody who is gone.
    Claim,
    /// Somebody has it; look again after this.
    Wait(Duration),
}

// === impl Elector ===

impl Elector {
    pub(crate) fn new(identity: &str) -> Self {
        Self { identity: identity.to_owned(), seen: None }
    }

    /// Decides about the lease as it is; `None` if there is none.
    pub(crate) fn look(&mut self, lease: Option<&Lease>, now: Instant) -> Step {
        let Some(spec) = lease.and_then(|lease| lease.spec.as_ref()) else { return Step::Claim };
        if holder(spec).is_none_or(|holder| holder == self.identity) {
            return Step::Claim;
        }
        let since = match &self.seen {
            Some((seen, since)) if seen == spec => *since,
            _ => {
                self.seen = Some((spec.clone(), now));
                now
            }
        };
        let left = (since + lasts(spec)).saturating_duration_since(now);
        if left.is_zero() { Step::Claim } else { Step::Wait(left.min(LEASE_POLL)) }
    }

    /// The lease with our name, for a write that succeeds only if nobody has changed it since it was read.
    pub(crate) fn claim(&self, lease: Option<Lease>, name: &str, now: Timestamp) -> Lease {
        let mut lease = lease.unwrap_or_default();
        lease.metadata.name = Some(name.to_owned());
        lease.metadata.managed_fields = None;
        let spec = lease.spec.get_or_insert_default();
        let now = MicroTime(now);
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            let before = spec.lease_transitions;
            spec.lease_transitions = Some(before.map_or(0, |count| count.saturating_add(1)));
            spec.acquire_time = Some(now.clone());
            spec.holder_identity = Some(self.identity.clone());
        }
        spec.lease_duration_seconds = i32::try_from(LEASE_DURATION.as_secs()).ok();
        spec.renew_time = Some(now);
        lease
    }

    /// The lease as nobody's, so that the next one needs not wait. It lasts a second, for those that look at that first.
    pub(crate) fn give_up(mut lease: Lease, now: Timestamp) -> Lease {
        lease.metadata.managed_fields = None;
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(now));
        lease
    }

    /// Who has it, if that is somebody else.
    pub(crate) fn rival<'a>(&self, lease: &'a Lease) -> Option<&'a str> {
        let holder = lease.spec.as_ref().and_then(holder)?;
        (holder != self.identity).then_some(holder)
    }
}

fn holder(spec: &LeaseSpec) -> Option<&str> {
    spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// How long a lease is good without being renewed.
fn lasts(spec: &LeaseSpec) -> Duration {
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let told = seconds.map_or(LEASE_DURATION, Duration::from_secs);
    told.clamp(LEASE_DURATION, MAX_FOREIGN_LEASE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, renewed: i64, seconds: i32) -> Lease {
        let spec = LeaseSpec {
            holder_identity: Some(holder.into()),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            lease_duration_seconds: Some(seconds),
            ..LeaseSpec::default()
        };
        Lease { spec: Some(spec), ..Lease::default() }
    }

    #[test]
    fn what_nobody_has_is_claimed() {
        let now = Instant::now();
        for lease in
            [None, Some(Lease::default()), Some(lease("", 1, 15)), Some(lease("me", 1, 15))]
        {
            assert_eq!(Elector::new("me").look(lease.as_ref(), now), Step::Claim, "{lease:?}");
        }
    }

    /// The holder's clock may be an hour off either way: only that its lease changes tells that it lives.
    #[test]
    fn a_holder_is_gone_when_its_lease_stays_the_same() {
        let second = Duration::from_secs(1);
        for renewed in [0, 4_000_000_000] {
            let mut elector = Elector::new("me");
            let start = Instant::now();
            let mut look = |renewed, after: u32| {
                elector.look(Some(&lease("other", renewed, 15)), start + second * after)
            };
            assert_eq!(look(renewed, 0), Step::Wait(LEASE_POLL));
            assert_eq!(look(renewed, 14), Step::Wait(second));
            assert_eq!(look(renewed + 1, 14), Step::Wait(LEASE_POLL), "renewed: it counts anew");
            assert_eq!(look(renewed + 1, 28), Step::Wait(second));
            assert_eq!(look(renewed + 1, 29), Step::Claim);
        }
    }

    #[test]
    fn a_lease_lasts_as_long_as_it_says_within_bounds() {
        for (seconds, lasts) in [(1, 15), (15, 15), (30, 30), (i32::MAX, 60), (-1, 15)] {
            let mut elector = Elector::new("me");
            let (start, lease) = (Instant::now(), lease("other", 1, seconds));
            elector.look(Some(&lease), start);
            let moment = Duration::from_millis(1);
            let end = start + Duration::from_secs(lasts);
            assert_eq!(elector.look(Some(&lease), end - moment), Step::Wait(moment), "{seconds}");
            assert_eq!(elector.look(Some(&lease), end), Step::Claim, "{seconds}");
        }
    }

    #[test]
    fn a_claim_tells_who_since_when_and_how_often() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let elector = Elector::new("me");
        let told = |lease: &Lease| {
            let spec = lease.spec.clone().unwrap();
            (spec.holder_identity, spec.acquire_time, spec.renew_time, spec.lease_transitions)
        };
        let (me, time) = (Some("me".to_owned()), |second| Some(MicroTime(at(second))));
        let first = elector.claim(None, "x", at(1));
        assert_eq!(told(&first), (me.clone(), time(1), time(1), Some(0)));
        let renewed = elector.claim(Some(first), "x", at(6));
        assert_eq!(told(&renewed), (me, time(1), time(6), Some(0)));
        let other = Elector::new("other");
        assert_eq!(other.rival(&renewed), Some("me"));
        let taken = other.claim(Some(renewed), "x", at(40));
        assert_eq!(told(&taken), (Some("other".into()), time(40), time(40), Some(1)));
        assert_eq!(taken.spec.as_ref().unwrap().lease_duration_seconds, Some(15));
        let free = Elector::give_up(taken, at(50));
        assert_eq!(told(&free), (None, time(40), time(50), Some(1)));
        assert_eq!(elector.rival(&free), None);
    }
}
