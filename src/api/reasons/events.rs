//! The reasons that only events have: what happens, where a condition's reason says how things are.

/// The image was not at the destination any more.
pub const DRIFT_DETECTED: &str = "DriftDetected";
/// A Secret has changed.
pub const CREDENTIALS_ROTATED: &str = "CredentialsRotated";
/// The image of a deleted object is gone.
pub const DELETED: &str = "Deleted";
/// The image of a deleted object stays.
pub const DELETION_SKIPPED: &str = "DeletionSkipped";
/// What was applied for a deleted object is gone.
pub const PRUNED: &str = "Pruned";
/// What was applied for a deleted object stays.
pub const PRUNE_SKIPPED: &str = "PruneSkipped";
/// An attempt has begun.
pub const PUSH_STARTED: &str = "PushStarted";
/// Somebody asked for a look.
pub const REQUESTED: &str = "Requested";
/// It is not suspended any more.
pub const RESUMED: &str = "Resumed";
/// An attempt has failed, and another one will follow.
pub const RETRY_SCHEDULED: &str = "RetryScheduled";

/// Each of them, sorted, with what it tells.
pub static EVENTS: &[(&str, &str)] = &[
    (
        CREDENTIALS_ROTATED,
        "a Secret that the object uses has changed, or its ServiceAccount names other ones",
    ),
    (DELETED, "the image of a deleted object was taken away, or was gone already"),
    (DELETION_SKIPPED, "the image of a deleted object stays; as a warning where it was to go"),
    (
        DRIFT_DETECTED,
        "the destination did not have the image any more, which was pushed again; a warning",
    ),
    (PRUNE_SKIPPED, "what was applied for a deleted object stays; as a warning where it was to go"),
    (PRUNED, "what was applied for a deleted object was taken away"),
    (PUSH_STARTED, "the first attempt at a spec has begun"),
    (REQUESTED, "a look was asked for by annotation"),
    (RESUMED, "the object is not suspended any more"),
    (RETRY_SCHEDULED, "the first, third or tenth attempt has failed, and another one follows"),
];

/// The manual's list, as a table in Markdown.
pub fn manual() -> String {
    let rows = EVENTS.iter().map(|(name, told)| format!("| `{name}` | {told} |\n"));
    "| event | what it tells |\n|---|---|\n".to_owned() + &rows.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::reasons;

    /// One word has one meaning, wherever it stands.
    #[test]
    fn the_list_is_sorted_and_none_is_a_reason_of_conditions() {
        assert!(EVENTS.is_sorted_by(|one, other| one.0 < other.0));
        for (name, _) in EVENTS {
            assert_eq!(reasons::find(name), None, "{name}");
        }
    }
}
