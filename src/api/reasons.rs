//! Every reason that a condition may have, what follows by itself, and what somebody may do.
//!
//! One table: conditions, events, metrics of pushes, logs and the command line's JSON say these words, and the manual's list is
//! made of it. The reason of a failure is the name of the error's kind, but for the few that only the cluster knows. Events
//! have a few of their own.

pub mod events;

/// `Ready`: the image was pushed.
pub const PUSH_SUCCEEDED: &str = "PushSucceeded";
/// `Ready`: the first look found everything in place.
pub const ALREADY_PRESENT: &str = "AlreadyPresent";
/// `Ready`: it is known what a push would do.
pub const DRY_RUN_SUCCEEDED: &str = "DryRunSucceeded";
/// `Ready`, `Reconciling`: an attempt is under way or about to start.
pub const PROGRESSING: &str = "Progressing";
/// `Reconciling`: an attempt failed, and there will be another one.
pub const PROGRESSING_WITH_RETRY: &str = "ProgressingWithRetry";
/// `Ready`: suspended before the push was done.
pub const SUSPENDED: &str = "Suspended";
/// `SourceResolved`: the source's manifest was read.
pub const RESOLVED: &str = "Resolved";
/// `Ready`: a Secret that the spec names is not there.
pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
/// `Ready`, `Stalled`: a Secret that the spec names does not hold what it should.
pub const SECRET_INVALID: &str = "SecretInvalid";
/// `Ready`, `Stalled`: an object that runs once has failed too often for reasons that may pass.
pub const RETRIES_EXHAUSTED: &str = "RetriesExhausted";

/// `Ready`, `Stalled`: somebody else has changed the destination, and the spec says not to overwrite that.
pub const DESTINATION_DRIFTED: &str = "DestinationDrifted";
/// `Drifted`: the destination holds another digest than the recorded one.
pub const DESTINATION_CHANGED: &str = "DestinationChanged";

/// `Ready`, `Stalled`: an older object pushes to the same name.
pub const DESTINATION_CONFLICT: &str = "DestinationConflict";
/// `Ready`, `Stalled`: the ConfigMap that the digest was to be written to is somebody else's.
pub const CONFIG_MAP_TAKEN: &str = "ConfigMapTaken";
/// `Ready`: the Job of an attempt was lost, for want of memory or because its pod was ended from outside.
pub const EXECUTOR_LOST: &str = "ExecutorLost";
/// `Ready`: a quota of the namespace does not let the Job or its pod in.
pub const QUOTA_EXCEEDED: &str = "QuotaExceeded";
/// `Ready`: a claim that the spec names is not there.
pub const VOLUME_NOT_FOUND: &str = "VolumeNotFound";

/// `Ready`, `Stalled`: the ConfigMap for the digest can't be written.
pub const DIGEST_OUTPUT_FAILED: &str = "DigestOutputFailed";

/// `CustomResourcesApplied`: the bundle was applied, or what had drifted was set right.
pub const APPLIED: &str = "Applied";
/// `CustomResourcesApplied`: all objects were as the bundle has them.
pub const UNCHANGED: &str = "Unchanged";
/// `CustomResourcesApplied`: the image carries no bundle, or nobody has looked.
pub const NO_BUNDLE: &str = "NoBundle";
/// `CustomResourcesApplied`: the image's bundle can't be used, and `Auto` left it out.
pub const SKIPPED: &str = "Skipped";
/// `CustomResourcesApplied`: the spec names nobody to apply as.
pub const NOT_CONFIGURED: &str = "NotConfigured";
/// `CustomResourcesApplied`: as `CustomResourcesConflict`.
pub const CONFLICT: &str = "Conflict";
/// `CustomResourcesApplied`: as `CustomResourcesForbidden`.
pub const FORBIDDEN: &str = "Forbidden";
/// `CustomResourcesApplied`: as `CustomResourcesInvalid`.
pub const INVALID: &str = "Invalid";
/// `CustomResourcesApplied`: as `CustomResourcesPending`.
pub const PENDING: &str = "Pending";

/// A reason, and what it means to somebody who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The word.
    pub name: &'static str,
    /// What follows by itself.
    pub follows: Follows,
    /// What it says.
    pub meaning: &'static str,
    /// What to do about it; empty where there is nothing to do.
    pub remedy: &'static str,
}

/// What the operator does by itself after a reason was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// It is done; what is `Continuous` looks again after its interval.
    Done,
    /// It is under way.
    Working,
    /// Nothing until the object is resumed.
    Resuming,
    /// It tries again at growing distances.
    Retry,
    /// It tries again if the object is `Continuous`, and stalls if it runs once.
    RetryIfContinuous,
    /// It stalls until the spec, a Secret or an annotation changes; what is `Continuous` is looked at again after its interval.
    Stall,
    /// Not a reason of conditions, but a word of metrics and of JSON.
    Nothing,
}

/// Every reason, sorted by its name.
pub static REASONS: &[Reason] = &[
    of(
        "AccessDenied",
        Follows::Stall,
        "the registry knows us and refuses, or the operator's policy does not allow the place, or its permissions or an \
         admission policy don't let it read a Secret, keep the object or make a Job",
        "grant the account what the message names, or ask whoever runs the operator",
    ),
    of(ALREADY_PRESENT, Follows::Done, "the first look found everything in place", ""),
    of(
        APPLIED,
        Follows::Done,
        "`CustomResourcesApplied`: the bundle was applied, or what had drifted was set right",
        "",
    ),
    of(
        "AuthenticationFailed",
        Follows::Stall,
        "the registry has refused the credentials three times in a row, or wants some",
        "correct the Secret that `secretRef` names",
    ),
    of(
        "Cancelled",
        Follows::Nothing,
        "an attempt was called off by an edit, a suspension or the operator's end",
        "",
    ),
    of(
        CONFIG_MAP_TAKEN,
        Follows::Stall,
        "the image is there, but the ConfigMap for its digest was made by somebody else",
        "choose another name in `digestOutput`, or delete that ConfigMap",
    ),
    of(
        CONFLICT,
        Follows::Stall,
        "`CustomResourcesApplied`: as `CustomResourcesConflict`",
        "as there",
    ),
    of(
        "ContentMismatch",
        Follows::Stall,
        "content does not have the digest or size that it should have",
        "repair the source: push the image there anew",
    ),
    of(
        "ContentMissing",
        Follows::Retry,
        "the registry keeps losing blobs that it has just taken",
        "look at the registry's storage and garbage collection",
    ),
    of(
        "CustomResourcesConflict",
        Follows::Stall,
        "the image is there, but objects of its bundle, or fields of them, belong to somebody else",
        "the message names them; leave them out of the bundle, or set `forceConflicts`",
    ),
    of(
        "CustomResourcesForbidden",
        Follows::Stall,
        "the image is there, but its bundle may not be applied: for its kinds, or for the ServiceAccount's rights",
        "the message says which; bind a Role to the ServiceAccount, or ask whoever runs the operator",
    ),
    of(
        "CustomResourcesInvalid",
        Follows::Stall,
        "the image's bundle isn't sound, so that neither was pushed, or the image is there, but its bundle holds what can't be applied",
        "correct the bundle in the image",
    ),
    of(
        "CustomResourcesNotFound",
        Follows::RetryIfContinuous,
        "the image carries no bundle, and with `Always` and `Only` it has to, so that nothing was pushed",
        "attach one or build it in, or push the image alone (`policy: Never`)",
    ),
    of(
        "CustomResourcesPending",
        Follows::Retry,
        "the image is there, but kinds of its bundle aren't known to the cluster yet, or what was applied does not work yet",
        "install the definitions, or look at the objects that the message names",
    ),
    of(
        DESTINATION_CHANGED,
        Follows::Stall,
        "`Drifted`: the destination holds another digest than the recorded one",
        "as for `DestinationDrifted`",
    ),
    of(
        DESTINATION_CONFLICT,
        Follows::Stall,
        "another ImagePush pushes to the same name, and only one may",
        "choose another destination, or delete that one",
    ),
    of(
        DESTINATION_DRIFTED,
        Follows::Stall,
        "somebody else has changed the destination, and `overwritePolicy` is `FailOnDrift`",
        "find out who; restore or delete the tag, or set `overwritePolicy` to `Replace` for once",
    ),
    of(
        "DestinationExists",
        Follows::Stall,
        "the destination holds something else that may not be overwritten",
        "choose another tag, or remove what is there",
    ),
    of(
        DIGEST_OUTPUT_FAILED,
        Follows::Stall,
        "the image is there, but the ConfigMap for its digest can't be written",
        "the message has the API server's answer: correct `digestOutput`, or grant the permission",
    ),
    of(
        DRY_RUN_SUCCEEDED,
        Follows::Done,
        "it is known what a push would do; `status.preview` tells",
        "",
    ),
    of(
        EXECUTOR_LOST,
        Follows::Retry,
        "the Job of an attempt was lost: out of memory, or with its node",
        "the message names the cause; the Job's log tells more, and its resources are the administrator's to raise",
    ),
    of(
        FORBIDDEN,
        Follows::Stall,
        "`CustomResourcesApplied`: as `CustomResourcesForbidden`",
        "as there",
    ),
    of(
        "InternalError",
        Follows::Stall,
        "a fault of the operator's own",
        "report it with the message",
    ),
    of(
        INVALID,
        Follows::Stall,
        "`CustomResourcesApplied`: as `CustomResourcesInvalid`",
        "as there",
    ),
    of(
        "InvalidImage",
        Follows::Stall,
        "the source is not an image that can be read",
        "look at the source with `imagepush inspect`",
    ),
    of(
        "InvalidOptions",
        Follows::Stall,
        "fields contradict each other, or have a value that makes no sense",
        "correct the spec",
    ),
    of("InvalidReference", Follows::Stall, "a reference does not parse", "correct the spec"),
    of(
        "LimitExceeded",
        Follows::Stall,
        "something from outside is larger than a bound of the operator's",
        "the message names the bound",
    ),
    of(
        "ManifestRejected",
        Follows::Stall,
        "the registry does not accept the manifest",
        "choose another `format`",
    ),
    of(
        "NetworkError",
        Follows::Retry,
        "the connection can't be made, or breaks",
        "look at name resolution, network policies and proxies; after five in a row, pushes of the namespace to that registry wait for one that gets through",
    ),
    of(
        NO_BUNDLE,
        Follows::Done,
        "`CustomResourcesApplied`: the image carries no bundle, or nobody has looked; the message says which. With `Always` and `Only`, `Ready` is `CustomResourcesNotFound`",
        "",
    ),
    of(
        NOT_CONFIGURED,
        Follows::Done,
        "`CustomResourcesApplied`: the spec says nothing of `apply`, so nothing is applied",
        "",
    ),
    of(
        "NotFound",
        Follows::Stall,
        "what a reference names isn't there",
        "correct the reference, or make the repository",
    ),
    of(
        PENDING,
        Follows::Retry,
        "`CustomResourcesApplied`: as `CustomResourcesPending`",
        "as there",
    ),
    of(PROGRESSING, Follows::Working, "an attempt is under way or about to start", ""),
    of(
        PROGRESSING_WITH_RETRY,
        Follows::Retry,
        "an attempt failed, and there will be another one",
        "`Ready` tells why",
    ),
    of(PUSH_SUCCEEDED, Follows::Done, "the image was pushed", ""),
    of(
        QUOTA_EXCEEDED,
        Follows::Retry,
        "a quota of the namespace does not let the Job or its pod in",
        "raise the quota, or let other Jobs end",
    ),
    of(
        "RateLimited",
        Follows::Retry,
        "the registry asks to slow down",
        "use an account with a higher limit, or a longer `interval`",
    ),
    of(
        "RegistryUnavailable",
        Follows::Retry,
        "the registry answers with an error of its own",
        "look at the registry",
    ),
    of(RESOLVED, Follows::Done, "the source's manifest was read", ""),
    of(
        RETRIES_EXHAUSTED,
        Follows::Stall,
        "an object that runs once has failed too often for reasons that may pass; the message has the last one",
        "cure that, then ask for another attempt by annotation",
    ),
    of(
        SECRET_INVALID,
        Follows::Stall,
        "a Secret that the spec names does not hold what it should",
        "the message names the key",
    ),
    of(
        SECRET_NOT_FOUND,
        Follows::Retry,
        "a Secret, or the ServiceAccount of `apply`, that the spec names is not in this namespace",
        "create it, or correct the name",
    ),
    of(
        SKIPPED,
        Follows::Done,
        "`CustomResourcesApplied`: the image's bundle can't be used or put where it belongs, and `Auto` left it out; the message says why, and what was applied before stays",
        "",
    ),
    of(
        "SourceNotFound",
        Follows::RetryIfContinuous,
        "the source has no image of this name",
        "push it there, or correct the reference",
    ),
    of(
        "StorageFailed",
        Follows::Stall,
        "a file or directory can't be read or written",
        "look at the volume",
    ),
    of(
        SUSPENDED,
        Follows::Resuming,
        "suspended before the push was done",
        "set `spec.suspend` to false",
    ),
    of(
        "TLSVerificationFailed",
        Follows::Stall,
        "a certificate is unknown, expired or for another name, or one side speaks no TLS",
        "name the authority by `certSecretRef`, or change `tlsPolicy`",
    ),
    of(
        "Timeout",
        Follows::Retry,
        "nothing happened for too long, or the attempt took longer than `timeout`",
        "raise `spec.timeout` if the image needs longer",
    ),
    of(
        "TransportUnsupported",
        Follows::Stall,
        "the operator or the destination can't do what was asked",
        "the message says what it can do",
    ),
    of(
        UNCHANGED,
        Follows::Done,
        "`CustomResourcesApplied`: all objects were as the bundle has them",
        "",
    ),
    of(
        VOLUME_NOT_FOUND,
        Follows::Retry,
        "a claim that the spec names is not in this namespace",
        "create it, or correct the name",
    ),
];

/// The reason of this name.
pub fn find(name: &str) -> Option<&'static Reason> {
    let found = REASONS.binary_search_by(|reason| reason.name.cmp(name));
    found.ok().and_then(|at| REASONS.get(at))
}

const fn of(
    name: &'static str,
    follows: Follows,
    meaning: &'static str,
    remedy: &'static str,
) -> Reason {
    Reason { name, follows, meaning, remedy }
}

/// The manual's list, as a table in Markdown.
pub fn manual() -> String {
    let head = "| reason | by itself | what it is | what to do |\n|---|---|---|---|\n".to_owned();
    let rows = REASONS.iter().map(|Reason { name, follows, meaning, remedy }| {
        format!("| `{name}` | {} | {meaning} | {remedy} |\n", follows.as_str())
    });
    head + &rows.collect::<String>()
}

// === impl Follows ===

impl Follows {
    /// It in the manual's words.
    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Working => "working",
            Self::Resuming => "waits",
            Self::Retry => "tries again",
            Self::RetryIfContinuous => "tries again if `Continuous`, else stalls",
            Self::Stall => "stalls",
            Self::Nothing => "only in metrics and JSON",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Class, Error, Kind, Side};

    #[test]
    fn every_kind_of_error_is_in_the_table_and_treated_as_it_says() {
        for kind in Kind::ALL {
            let name = Error::new(kind, "").reason();
            let reason = find(name).unwrap_or_else(|| panic!("{name} is not in the table"));
            let retried = kind.class() == Class::Transient;
            assert_eq!(reason.follows == Follows::Retry, retried, "{name}");
        }
        let missing = Error::new(Kind::NotFound, "").on(Side::Source);
        assert_eq!(find(missing.reason()).unwrap().follows, Follows::RetryIfContinuous);
    }

    #[test]
    fn the_table_is_sorted_and_says_what_to_do() {
        assert!(REASONS.is_sorted_by(|one, other| one.name < other.name));
        for reason in REASONS {
            let fails =
                !matches!(reason.follows, Follows::Done | Follows::Working | Follows::Nothing);
            assert_eq!(fails, !reason.remedy.is_empty(), "{}", reason.name);
        }
    }

    /// Who runs the operator finds each of them, too.
    #[test]
    fn every_reason_to_act_is_in_the_runbook() {
        let manual = include_str!("../../docs/operations.md");
        let (_, runbook) = manual.split_once("### By reason").unwrap();
        let (runbook, _) = runbook.split_once("\n## ").unwrap();
        let named: Vec<&str> = runbook
            .lines()
            .filter_map(|line| Some(line.strip_prefix("| `")?.split_once("` | ")?.0))
            .collect();
        let wanted = REASONS.iter().filter(|reason| !reason.remedy.is_empty());
        assert_eq!(named, wanted.map(|reason| reason.name).collect::<Vec<_>>());
    }
}
