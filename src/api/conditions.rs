//! Conditions of an ImagePush: their types, and how one is set.
//!
//! Types and reasons are part of the API: scripts and dashboards compare them. The reasons are in `reasons`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// True when the destination holds the image.
pub const READY: &str = "Ready";

/// True while the operator works on the object or waits to try again; absent otherwise.
pub const RECONCILING: &str = "Reconciling";

/// True while it takes somebody's change to get done: what runs once is not tried again, and what is `Continuous` only at its
/// interval. Absent otherwise.
pub const STALLED: &str = "Stalled";

/// True while the destination holds something else than what was pushed, which may not be overwritten; absent otherwise.
pub const DRIFTED: &str = "Drifted";

/// Whether the source could be read.
pub const SOURCE_RESOLVED: &str = "SourceResolved";

/// Whether the bundle of the image is applied in the cluster; absent where nobody wants that to be known.
pub const CUSTOM_RESOURCES_APPLIED: &str = "CustomResourcesApplied";

/// The types that the operator writes; others belong to whoever wrote them.
pub const OURS: &[&str] =
    &[READY, RECONCILING, STALLED, DRIFTED, SOURCE_RESOLVED, CUSTOM_RESOURCES_APPLIED];

/// The state of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known yet.
    Unknown,
}

/// What a condition is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<'a> {
    /// Its type.
    pub kind: &'a str,
    /// Its state.
    pub state: State,
    /// Why, in one word.
    pub reason: &'a str,
    /// Why, in a sentence.
    pub message: &'a str,
}

/// The condition of this type.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether the condition of this type is there and true.
pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == State::True.as_str())
}

/// Sets a condition for a generation of the spec. The time of its last transition is kept unless its state changes.
pub fn set(
    conditions: &mut Vec<Condition>,
    setting: &Setting<'_>,
    generation: i64,
    now: Timestamp,
) {
    let state = setting.state.as_str();
    let since = find(conditions, setting.kind)
        .filter(|condition| condition.status == state)
        .map_or_else(|| Time(now), |condition| condition.last_transition_time.clone());
    let condition = Condition {
        type_: setting.kind.to_owned(),
        status: state.to_owned(),
        reason: setting.reason.to_owned(),
        message: setting.message.to_owned(),
        observed_generation: Some(generation),
        last_transition_time: since,
    };
    match conditions.iter_mut().find(|condition| condition.type_ == setting.kind) {
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
}

/// Leaves only those that the operator writes.
pub fn keep_ours(conditions: &mut Vec<Condition>) {
    conditions.retain(|condition| OURS.contains(&condition.type_.as_str()));
}

/// Takes a condition away.
pub fn remove(conditions: &mut Vec<Condition>, kind: &str) {
    conditions.retain(|condition| condition.type_ != kind);
}

// === impl State ===

impl State {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// One that is missing from the list would be lost at each restart.
    #[test]
    fn every_type_is_ours() {
        let types = include_str!("conditions.rs").lines().filter_map(|line| {
            let (_, value) = line.strip_prefix("pub const ")?.split_once(": &str = \"")?;
            value.strip_suffix("\";")
        });
        assert_eq!(types.collect::<Vec<_>>(), OURS);
        let mut conditions = vec![];
        for kind in [READY, "Scanned", STALLED] {
            let setting = Setting { kind, state: State::True, reason: "R", message: "" };
            set(&mut conditions, &setting, 1, at(0));
        }
        keep_ours(&mut conditions);
        let kept: Vec<&str> = conditions.iter().map(|it| it.type_.as_str()).collect();
        assert_eq!(kept, [READY, STALLED]);
    }

    #[test]
    fn the_time_of_a_transition_moves_only_with_the_state() {
        let mut conditions = vec![];
        let mut setting =
            Setting { kind: READY, state: State::Unknown, reason: "Progressing", message: "one" };
        set(&mut conditions, &setting, 1, at(10));
        setting.message = "two";
        set(&mut conditions, &setting, 2, at(20));
        assert_eq!(conditions[0].last_transition_time, Time(at(10)));
        assert_eq!(conditions[0].message, "two");
        assert_eq!(conditions[0].observed_generation, Some(2));
        assert!(!is_true(&conditions, READY));

        setting.state = State::True;
        set(&mut conditions, &setting, 2, at(30));
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].last_transition_time, Time(at(30)));
        assert!(is_true(&conditions, READY));

        remove(&mut conditions, READY);
        assert_eq!(find(&conditions, READY), None);
    }
}
