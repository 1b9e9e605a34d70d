//! What holds after every decision, whatever has happened in whatever order: long random histories, each of them the same in
//! every run.

use super::tests::{failed, now, object, observed, pushed};
use super::*;
use crate::api::conditions::{DRIFTED, RECONCILING};
use crate::error::Kind;

/// Numbers that look random: `SplitMix64`.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn outcome(&mut self) -> Outcome {
        match self.below(13) {
            12 => previewed(),
            0 | 1 => pushed(false),
            2 => pushed(true),
            3 => Outcome::Unchanged,
            4 => Outcome::Cancelled,
            5 => Outcome::Failed(Failure::drifted("docker://b.example/x:1", "sha256:0")),
            6 => failed(Kind::AuthenticationFailed),
            7 => failed(Kind::AccessDenied),
            8 => failed(Kind::NotFound),
            _ => failed(Kind::NetworkError),
        }
    }
}

/// An object, and all that a decision is made of.
struct World {
    chance: Chance,
    object: ImagePush,
    now: Timestamp,
    next_check: Option<Timestamp>,
    push: u64,
    access: u64,
    /// The push that the running attempt is for.
    running: Option<u64>,
    obstacle: Option<Failure>,
    conflict: Option<Failure>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let spec = match chance.below(3) {
            0 => serde_json::json!({"runPolicy": "Once"}),
            1 => serde_json::json!({"runPolicy": "Once", "ttlSecondsAfterFinished": 900}),
            _ => serde_json::json!({"interval": "10m"}),
        };
        Self {
            chance,
            object: object(&spec, 1, None),
            now: now(),
            next_check: None,
            push: 0,
            access: 0,
            running: None,
            obstacle: None,
            conflict: None,
        }
    }

    fn something_happens(&mut self) {
        let edited = match self.chance.below(14) {
            0 => {
                self.push += 1;
                true
            }
            1 => {
                self.access += 1;
                true
            }
            2 => {
                self.object.spec.suspend = !self.object.spec.suspend;
                true
            }
            3 => true,
            4 => {
                // A Secret changed.
                self.access += 1;
                false
            }
            5 => {
                let value = self.chance.below(1000).to_string();
                let annotations = self.object.metadata.annotations.get_or_insert_default();
                annotations.insert("imagepush.dev/requestedAt".into(), value);
                false
            }
            6 => {
                let some = [
                    None,
                    Some(Failure::secret_not_found("s")),
                    Some(Failure::secret_invalid("s", "it is empty")),
                ];
                self.obstacle = some[usize::try_from(self.chance.below(3)).unwrap()].clone();
                false
            }
            7 => {
                let older = Failure::conflict("docker://b.example/x:1", None);
                self.conflict = (self.chance.below(2) == 0).then_some(older);
                false
            }
            _ => {
                let seconds = i64::try_from(self.chance.below(2000)).unwrap();
                self.now += jiff::SignedDuration::from_secs(seconds);
                false
            }
        };
        if edited {
            let generation = self.object.metadata.generation.get_or_insert(0);
            *generation += 1;
        }
    }

    /// Decides, and does what was decided.
    fn look(&mut self) {
        let outcome = self.chance.outcome();
        let progress = Progress { percent: "1%".into(), blobs_total: 1, ..Progress::default() };
        let attempt = match self.running {
            None => Attempt::None,
            Some(push) if self.chance.below(3) == 0 => {
                self.running = None;
                if push == self.push { Attempt::Ended(&outcome) } else { Attempt::None }
            }
            Some(push) if push != self.push => Attempt::Outdated,
            Some(_) => Attempt::Running((self.chance.below(2) == 0).then_some(progress)),
        };
        if matches!(attempt, Attempt::Ended(_)) && self.object.spec.interval.is_some() {
            self.next_check = Some(self.now + jiff::SignedDuration::from_mins(10));
        }
        let idle = matches!(attempt, Attempt::None);
        let (push, access) = (self.push.to_string(), self.access.to_string());
        let readable = idle && self.obstacle.is_none() && !self.object.spec.suspend;
        let mut seen = observed(attempt);
        seen.push_digest = &push;
        seen.access_digest = readable.then_some(access.as_str());
        seen.next_check = self.next_check;
        seen.conflict = self.conflict.as_ref();
        seen.obstacle = self.obstacle.as_ref().filter(|_| idle && !self.object.spec.suspend);
        let place = "docker://b.example/x:1";
        let late = landed();
        let named = Descriptor::new(late.media_type.clone(), late.digest.clone(), 7);
        // What an attempt has left that isn't the current one any more.
        seen.landed = (idle && self.chance.below(5) == 0).then_some((&late, place));
        seen.named = (idle && self.chance.below(5) == 0).then_some((named, place));
        seen.waits_for = (self.chance.below(3) == 0).then(|| "a place".to_owned());
        seen.in_job = self.chance.below(4) == 0;
        seen.stopping = self.chance.below(20) == 0;
        let mut decision = decide(&self.object, &seen, self.now);
        holds(&self.object, &decision, self.running.is_some() || seen.stopping);
        let is_ready = conditions::is_true(&decision.status.conditions, READY);
        if is_ready && self.chance.below(3) == 0 {
            // The digest can't be told where it is wanted.
            let passes = self.chance.below(2) == 0;
            let lasts = Failure::secret_invalid("s", "it is empty");
            let failure = if passes { Failure::digest_late("busy") } else { lasts };
            decision = spoil(&self.object, decision, &failure, &seen, self.now);
            holds(&self.object, &decision, self.running.is_some() || seen.stopping);
        } else if self.running.is_none() && decision.step == Step::Wait && !seen.stopping {
            quiet(&self.object, &decision, &seen, &access, self.now);
        }
        match decision.step {
            Step::Start => self.running = Some(self.push),
            Step::Cancel | Step::Wait => {}
            Step::Delete => {
                // Somebody makes another one of its name.
                self.object.status = None;
                self.running = None;
                return;
            }
        }
        self.object.status = Some(decision.status);
    }
}

fn landed() -> Pushed {
    let Outcome::Pushed(landed) = pushed(false) else { unreachable!("it is pushed") };
    *landed
}

fn previewed() -> Outcome {
    let source = landed().source;
    Outcome::Previewed(Box::new(Previewed { source, preview: Preview::default(), beside: None }))
}

fn holds(object: &ImagePush, decision: &Decision, running: bool) {
    let (before, after) = (object.status.clone().unwrap_or_default(), &decision.status);
    let is_true = |kind| conditions::is_true(&after.conditions, kind);
    assert!(!(is_true(RECONCILING) && is_true(STALLED)), "{decision:#?}");
    // With the next look at once, nothing is decided yet.
    let open = decision.step == Step::Wait && decision.again == Some(Duration::ZERO);
    if (is_true(READY) || is_true(STALLED)) && !open {
        assert_eq!(after.observed_generation, object.metadata.generation, "{decision:#?}");
    }
    assert!(!(is_true(DRIFTED) && is_true(READY)), "{decision:#?}");
    for condition in &after.conditions {
        let old = conditions::find(&before.conditions, &condition.type_);
        if let Some(old) = old.filter(|old| old.status == condition.status) {
            assert_eq!(old.last_transition_time, condition.last_transition_time, "{decision:#?}");
        }
        assert!(condition.message.len() <= 1024 && !condition.reason.is_empty());
    }
    // Nothing is called under way that isn't.
    let reconciling = conditions::find(&after.conditions, RECONCILING);
    let under_way = reconciling.is_some_and(|it| it.reason == "Progressing");
    assert!(!under_way || running || decision.step != Step::Wait, "{decision:#?}");
    // Whoever isn't done, stalled or suspended is looked at again.
    let waits = decision.step == Step::Wait && decision.again.is_none();
    let settled = is_true(READY) || is_true(STALLED) || object.spec.suspend || running;
    assert!(settled || !waits, "{decision:#?}");
}

/// The same look once more, of which nothing is news, changes nothing.
fn quiet(
    object: &ImagePush,
    decision: &Decision,
    seen: &Observed<'_>,
    access: &str,
    now: Timestamp,
) {
    let mut again = object.clone();
    again.status = Some(decision.status.clone());
    let readable = seen.obstacle.is_none() && !object.spec.suspend;
    let seen = Observed {
        attempt: Attempt::None,
        access_digest: readable.then_some(access),
        landed: None,
        named: None,
        ..seen.clone()
    };
    let second = decide(&again, &seen, now);
    if second.step == Step::Wait && decision.again != Some(Duration::ZERO) {
        assert_eq!(second.status, decision.status);
    }
}

#[test]
fn every_history_keeps_what_is_promised() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        for _ in 0..200 {
            for _ in 0..world.chance.below(3) {
                world.something_happens();
            }
            world.look();
        }
    }
}
