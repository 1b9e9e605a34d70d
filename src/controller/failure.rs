//! Why a step of a reconcile failed, in the words that a condition needs.
//!
//! Made from the product's one error, whose kind names the reason and whose class decides about trying again; Secrets
//! that are missing or wrong have reasons of their own, since their cure is in the cluster.

use std::time::Duration;

use crate::api::{FINALIZER, reasons};
use crate::error::{Class, Error, Kind, Side};
use crate::limits::{API_DENIED_WAIT, MAX_CONDITION_MESSAGE};

/// A failure as status reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The condition's reason.
    pub reason: &'static str,
    /// What happened, and what to do next.
    pub message: String,
    /// Whether trying again may help.
    pub class: Class,
    /// The end of the push it happened on.
    pub side: Option<Side>,
    /// How long the other side asks us to wait.
    pub retry_after: Option<Duration>,
    /// Whether the image itself is at the destination, and what belongs beside it is not.
    pub beside: bool,
    /// Whether the cluster took the ground from under the attempt: that is no fault of the push, and not counted as one.
    pub disrupted: bool,
}

// === impl Failure ===

impl Failure {
    /// A Secret that the spec names isn't there; it may come.
    pub(crate) fn secret_not_found(name: &str) -> Self {
        let message =
            format!("secret `{name}` is not in this namespace; create it, or correct the name");
        Self::of_cluster(reasons::SECRET_NOT_FOUND, &message, Class::Transient)
    }

    /// A ServiceAccount that the spec names isn't there; it may come.
    pub(crate) fn account_not_found(name: &str) -> Self {
        let message = format!(
            "service account `{name}` is not in this namespace; create it, or correct the name"
        );
        Self::of_cluster(reasons::SECRET_NOT_FOUND, &message, Class::Transient)
    }

    /// The API server does not let the operator read what the spec names.
    pub(crate) fn forbidden(kind: &str, name: &str, resource: &str, answer: &str) -> Self {
        let message = format!(
            "the operator may not read the {kind} `{name}`: {answer}; let its service account `get` \
             `{resource}` in this namespace"
        );
        let failure = Self::of_cluster(Kind::AccessDenied.as_str(), &message, Class::Permanent);
        Self { retry_after: Some(API_DENIED_WAIT), ..failure }
    }

    /// A Secret does not hold what it should.
    pub(crate) fn secret_invalid(name: &str, what: &str) -> Self {
        let message = format!("secret `{name}` cannot be used: {what}");
        Self::of_cluster(reasons::SECRET_INVALID, &message, Class::Permanent)
    }

    /// The API server does not let the operator keep an object until its image is cleaned up.
    pub(crate) fn unkept(answer: &str) -> Self {
        let message = format!(
            "nothing is pushed that could not be cleaned up, and the finalizer `{FINALIZER}` can't be set: {answer}; \
             let the operator `get` and `patch` `imagepushes` in this namespace, or change the policy that refuses it"
        );
        Self::of_cluster(Kind::AccessDenied.as_str(), &message, Class::Transient)
    }

    /// The destination was changed by somebody else.
    pub(crate) fn drifted(reference: &str, digest: &str) -> Self {
        let message = format!(
            "`{reference}` holds {digest}, which was not pushed from here; restore or delete it, or set \
             `overwritePolicy` to Replace"
        );
        Self {
            reason: reasons::DESTINATION_DRIFTED,
            message: bounded(&message),
            class: Class::Permanent,
            side: Some(Side::Destination),
            retry_after: None,
            beside: false,
            disrupted: false,
        }
    }

    /// An older object of the same namespace, which is named, pushes to the same place; or one of another namespace does.
    pub(crate) fn conflict(reference: &str, name: Option<&str>) -> Self {
        let message = match name {
            Some(name) => format!(
                "the older ImagePush `{name}` pushes to `{reference}`, too; choose another \
                 destination, or delete that one"
            ),
            None => format!(
                "an ImagePush of another namespace has pushed to `{reference}` before; choose another \
                 destination, or have that one deleted"
            ),
        };
        Self::of_cluster(reasons::DESTINATION_CONFLICT, &message, Class::Permanent)
    }

    /// The ConfigMap for the digest is somebody else's.
    pub(crate) fn config_map_taken(name: &str) -> Self {
        let message = format!(
            "the image is there, but the configmap `{name}` for its digest was made by somebody else; \
             choose another name, or delete it"
        );
        Self::of_cluster(reasons::CONFIG_MAP_TAKEN, &message, Class::Permanent)
    }

    /// The ConfigMap for the digest can't be written.
    pub(crate) fn digest_untold(name: &str, answer: &str) -> Self {
        let message = format!(
            "the image is there, but its digest can't be written to the configmap `{name}`: {answer}; correct \
             `digestOutput`, or let the operator write it"
        );
        Self::of_cluster(reasons::DIGEST_OUTPUT_FAILED, &message, Class::Permanent)
    }

    /// The ConfigMap for the digest can't be written now.
    pub(crate) fn digest_late(cause: &str) -> Self {
        let message = format!(
            "the image is there, but the API server does not take the configmap for its digest: {cause}"
        );
        Self::of_cluster(reasons::DIGEST_OUTPUT_FAILED, &message, Class::Transient)
    }

    /// It came so often that no further attempt is made.
    pub(crate) fn exhausted(&self, attempts: i32) -> Self {
        let message = format!(
            "{attempts} attempts failed, the last one with {}: {}",
            self.reason, self.message
        );
        Self {
            reason: reasons::RETRIES_EXHAUSTED,
            message: bounded(&message),
            class: Class::Permanent,
            ..self.clone()
        }
    }

    /// It concerns the Job of an attempt.
    pub(crate) fn of_job(reason: &'static str, message: &str, class: Class) -> Self {
        Self::of_cluster(reason, message, class)
    }

    /// What the pod of a Job told; `None` if it gave no reason that is known.
    pub(crate) fn told(
        reason: &str,
        message: &str,
        class: Class,
        side: Option<Side>,
        retry_after: Option<Duration>,
    ) -> Option<Self> {
        let reason = reasons::find(reason)?.name;
        let failure = Self::of_cluster(reason, message, class);
        Some(Self { side, retry_after, ..failure })
    }

    fn of_cluster(reason: &'static str, message: &str, class: Class) -> Self {
        let message = bounded(message);
        let (side, retry_after) = (None, None);
        Self { reason, message, class, side, retry_after, beside: false, disrupted: false }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let message = match next_step(error) {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        };
        Self {
            reason: error.reason(),
            message: bounded(&message),
            class: error.class(),
            side: error.side(),
            retry_after: error.retry_after(),
            beside: error.is_beside(),
            disrupted: false,
        }
    }
}

/// The next step for somebody who has an object and no command line. Where the two differ, the kind tells which it is.
fn next_step(error: &Error) -> Option<&str> {
    match error.kind() {
        Kind::AuthenticationFailed => Some("check the Secret that `secretRef` names"),
        // Nobody has been named to the registry.
        Kind::AccessDenied if error.is_absence() => Some("name a Secret by `secretRef`"),
        Kind::TlsVerificationFailed => {
            Some("name the authority's certificate by `certSecretRef`, or change `tlsPolicy`")
        }
        Kind::ManifestRejected => Some("choose another `format`"),
        _ => error.next_step(),
    }
}

/// Cuts a message that is longer than a condition should carry.
fn bounded(message: &str) -> String {
    if message.len() <= MAX_CONDITION_MESSAGE {
        return message.to_owned();
    }
    let mut end = MAX_CONDITION_MESSAGE - '…'.len_utf8();
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_next_step_and_a_bound() {
        let error = Error::new(Kind::NotFound, "no tag `1`").on(Side::Source).hint("push it first");
        let failure = Failure::from(&error);
        assert_eq!(failure.message, "no tag `1`; push it first");
        assert_eq!(failure.reason, "SourceNotFound");
        let error = Error::new(Kind::TlsVerificationFailed, "unknown issuer").hint("a flag");
        assert_eq!(
            Failure::from(&error).message,
            "unknown issuer; name the authority's certificate by `certSecretRef`, or change `tlsPolicy`"
        );
        let denied = Error::new(Kind::AccessDenied, "denied").hint("pass `--creds`");
        let found = [denied.clone().absence(), denied].map(|it| Failure::from(&it).message);
        assert_eq!(found, ["denied; name a Secret by `secretRef`", "denied; pass `--creds`"]);
        let long = Failure::from(&Error::new(Kind::Timeout, "é".repeat(2000))).message;
        assert!(long.len() <= MAX_CONDITION_MESSAGE && long.ends_with("é…"), "{}", long.len());
    }
}
