//! What the API server refuses, in words that are shown to whoever may read the ImagePush: who may not do what, which fields,
//! which other manager. Never the server's own sentence, which may repeat a value of the object.

use kube::core::Status;

use super::client::Fault;
use crate::error::{Error, Kind};
use crate::limits::{MAX_FIELD_PATH, MAX_TOLD};

/// The cause by which the server says that somebody else owns a field.
const OWNED: &str = "FieldManagerConflict";
/// What verbs begin with that are granted for acting as somebody else on a resource (Kubernetes 1.36).
const IMPERSONATED: &str = "impersonate-on:";
/// The kind that a refused impersonation is about.
const ACCOUNTS: &str = "serviceaccounts";

/// Why an object could not be read, tried or written; `verb` is what we may not do.
pub(super) fn of_object(verb: &str, cause: &kube::Error) -> Error {
    match cause {
        kube::Error::Api(answer) => refused(verb, answer),
        cause => unreachable(cause),
    }
}

/// Why it can't be found out what is served.
pub(super) fn of_kinds(api_version: &str, cause: &kube::Error) -> Error {
    of_object("discover", cause).doing(format!("asking for the kinds of `{api_version}`"))
}

/// Why a definition can't be read, which the operator does with its own rights.
pub(super) fn of_definition(what: &str, cause: &kube::Error) -> Error {
    let error = match cause {
        kube::Error::Api(answer) if matches!(answer.code, 401 | 403) => {
            let message = "the operator has no permission to read definitions of custom resources";
            // Nobody is told whether it is there.
            Error::new(Kind::CustomResourcesForbidden, message)
                .absence()
                .hint("have whoever runs the operator set `customResources.enabled` of its chart")
        }
        cause => of_object("get", cause),
    };
    error.doing(format!("reading {what}"))
}

fn refused(verb: &str, answer: &Status) -> Error {
    let code = answer.code;
    match code {
        401 | 403 if is_about_accounts(answer) => {
            let message = "the operator may not act as the service account";
            Error::new(Kind::CustomResourcesForbidden, message).hint(
                "have whoever runs the operator set `customResources.enabled` of its chart, for this namespace; with `customResources.impersonation` Constrained, `customResources.resources` has to name the kind, too",
            )
        }
        401 | 403 => {
            let message = format!(
                "the service account has no permission to {verb} it, or a policy of the cluster refuses it"
            );
            Error::new(Kind::CustomResourcesForbidden, message).hint(
                "bind a Role with the verbs get, create, patch and delete to the service account",
            )
        }
        404 => {
            let message = "the API server does not serve it any more";
            Error::new(Kind::CustomResourcesPending, message)
        }
        _ if names_another_uid(answer) => {
            let message = "somebody else has made it anew in the meantime";
            Error::new(Kind::CustomResourcesConflict, message).transient()
        }
        409 => conflict(answer),
        // What is no object of its kind, such as a field that no schema has, is answered so when it is applied.
        500 if answer.reason.is_empty() => {
            let message = "the API server can't make sense of it (500)";
            Error::new(Kind::CustomResourcesInvalid, message).transient().hint(
                "`imagepush bundle diff` shows the objects to who may see them; does each field have a schema?",
            )
        }
        408 | 429 | 500.. => {
            let message = format!("the API server answered {code}");
            Error::new(Kind::NetworkError, message)
        }
        _ => {
            let message = format!("the API server refuses it ({code}){}", fields(answer));
            Error::new(Kind::CustomResourcesInvalid, message)
                .hint("`imagepush bundle diff` shows the objects to who may see them; correct them in the image")
        }
    }
}

/// Whether it is the operator that lacks a right: to act as the account at all, or to act so on what is asked for, of which
/// only the message tells.
fn is_about_accounts(answer: &Status) -> bool {
    answer.details.as_ref().is_some_and(|details| details.kind == ACCOUNTS)
        || answer.message.contains(IMPERSONATED)
}

/// Whether the object has another uid than the one that was seen: a bundle itself names none.
pub(super) fn names_another_uid(answer: &Status) -> bool {
    let mut causes = answer.details.iter().flat_map(|details| &details.causes);
    answer.code == 422 && causes.any(|cause| cause.field == "metadata.uid")
}

fn conflict(answer: &Status) -> Error {
    let causes = answer.details.iter().flat_map(|details| &details.causes);
    let owned: Vec<String> = causes
        .filter(|cause| cause.reason == OWNED)
        .map(|cause| {
            let field = shortened(cause.field.trim_start_matches('.'));
            let manager = manager(&cause.message).map(shortened);
            format!("`{field}` belongs to `{}`", manager.as_deref().unwrap_or("somebody else"))
        })
        .collect();
    if owned.is_empty() {
        let message = "somebody else was writing it at the same time";
        return Error::new(Kind::CustomResourcesConflict, message).transient();
    }
    Error::new(Kind::CustomResourcesConflict, some_of(&owned, ", ")).hint(
        "leave these fields out of the bundle, have the other one give them up, or set \
         `customResources.apply.forceConflicts`",
    )
}

/// The managers that a refused apply would take fields from; an empty name is one that can't be read.
pub(super) fn owners(cause: &kube::Error) -> Vec<&str> {
    let kube::Error::Api(answer) = cause else { return vec![] };
    let causes = answer.details.iter().flat_map(|details| &details.causes);
    causes
        .filter(|cause| answer.code == 409 && cause.reason == OWNED)
        .map(|cause| manager(&cause.message).unwrap_or_default())
        .collect()
}

/// The manager that a cause names between quotes, as it does since server-side apply is stable; no field of an answer has it.
fn manager(message: &str) -> Option<&str> {
    message.split('"').nth(1).filter(|name| !name.is_empty())
}

/// The fields that the server names.
fn fields(answer: &Status) -> String {
    let causes = answer.details.iter().flat_map(|details| &details.causes);
    let named: Vec<String> = causes
        .filter(|cause| !cause.field.is_empty())
        .map(|cause| format!("`{}` ({})", shortened(&cause.field), shortened(&cause.reason)))
        .collect();
    if named.is_empty() { String::new() } else { format!(": {}", some_of(&named, ", ")) }
}

/// The first of several, and how many more there are.
pub(super) fn some_of(all: &[String], between: &str) -> String {
    let first = all.iter().take(MAX_TOLD).map(String::as_str).collect::<Vec<_>>().join(between);
    match all.len().saturating_sub(MAX_TOLD) {
        0 => first,
        more => format!("{first}{between}and {more} more"),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_FIELD_PATH).collect()
}

/// There was no answer, or none that can be read.
fn unreachable(cause: &kube::Error) -> Error {
    let kind = match cause {
        kube::Error::Service(below) if matches!(below.downcast_ref(), Some(Fault::Late)) => {
            Kind::Timeout
        }
        kube::Error::Service(below) if matches!(below.downcast_ref(), Some(Fault::Anonymous)) => {
            return Error::internal(cause.to_string());
        }
        // It repeats what it could not read.
        kube::Error::SerdeError(_) => {
            let message = "the API server's answer can't be read";
            return Error::new(Kind::CustomResourcesInvalid, message);
        }
        _ => Kind::NetworkError,
    };
    Error::new(kind, format!("the API server can't be asked: {cause}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::error::Class;

    fn told(code: u16, details: &Value) -> (Kind, Class, String) {
        let status = json!({"code": code, "message": "canary", "reason": "x", "details": details});
        let status: Status = serde_json::from_value(status).unwrap();
        let error = of_object("patch", &kube::Error::Api(status.boxed()));
        (error.kind(), error.class(), error.to_string())
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn a_refusal_names_fields_and_managers_and_repeats_nothing() {
        use Class::{Permanent, Transient};
        let conflict = |field: &str, message: &str| json!({"reason": "FieldManagerConflict", "field": field, "message": message});
        let invalid =
            json!({"reason": "FieldValueInvalid", "field": "spec.size", "message": "canary"});
        for (code, details, expected) in [
            (
                403,
                json!({"kind": "things"}),
                (
                    Kind::CustomResourcesForbidden,
                    Permanent,
                    "the service account has no permission to patch it, or a policy of the cluster refuses it",
                ),
            ),
            (
                403,
                json!({"kind": "serviceaccounts"}),
                (
                    Kind::CustomResourcesForbidden,
                    Permanent,
                    "the operator may not act as the service account",
                ),
            ),
            (
                404,
                Value::Null,
                (
                    Kind::CustomResourcesPending,
                    Transient,
                    "the API server does not serve it any more",
                ),
            ),
            (
                409,
                json!({"causes": [
                    conflict(".spec.size", "conflict with \"kubectl-client-side-apply\" using v1"),
                    conflict(".spec.a", "?"),
                ]}),
                (
                    Kind::CustomResourcesConflict,
                    Permanent,
                    "`spec.size` belongs to `kubectl-client-side-apply`, `spec.a` belongs to `somebody else`",
                ),
            ),
            (
                409,
                Value::Null,
                (
                    Kind::CustomResourcesConflict,
                    Transient,
                    "somebody else was writing it at the same time",
                ),
            ),
            (
                422,
                json!({"causes": [invalid]}),
                (
                    Kind::CustomResourcesInvalid,
                    Permanent,
                    "the API server refuses it (422): `spec.size` (FieldValueInvalid)",
                ),
            ),
            (
                422,
                json!({"causes": [{"reason": "FieldValueInvalid", "field": "metadata.uid", "message": "canary"}]}),
                (
                    Kind::CustomResourcesConflict,
                    Transient,
                    "somebody else has made it anew in the meantime",
                ),
            ),
            (
                400,
                Value::Null,
                (Kind::CustomResourcesInvalid, Permanent, "the API server refuses it (400)"),
            ),
            (500, Value::Null, (Kind::NetworkError, Transient, "the API server answered 500")),
            (503, Value::Null, (Kind::NetworkError, Transient, "the API server answered 503")),
        ] {
            let (kind, class, message) = expected;
            assert_eq!(told(code, &details), (kind, class, message.to_owned()), "{code}");
        }
    }

    #[test]
    fn of_many_the_first_are_told() {
        let all: Vec<String> = (0..MAX_TOLD + 2).map(|at| at.to_string()).collect();
        assert!(some_of(&all, ", ").ends_with(", and 2 more"));
        assert_eq!(some_of(&all[..2], "; "), "0; 1");
    }
}
