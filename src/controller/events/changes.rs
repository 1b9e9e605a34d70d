//! What a change of status has to tell. Pure: two statuses in, events out.
//!
//! A status that says the same again tells nothing, so that checks, retries and progress pass in silence.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::Told;
use crate::api::conditions::{self, CUSTOM_RESOURCES_APPLIED, READY};
use crate::api::reasons::events::{
    CREDENTIALS_ROTATED, DRIFT_DETECTED, PUSH_STARTED, REQUESTED, RESUMED, RETRY_SCHEDULED,
};
use crate::api::reasons::{self, NO_BUNDLE, PROGRESSING, REASONS, SKIPPED, SUSPENDED};
use crate::api::v1alpha1::{ImagePush, ImagePushStatus, RetryStatus};
use crate::error::Kind;

/// Failed attempts after which a retry is told.
const TOLD_RETRIES: [i32; 3] = [1, 3, 10];

/// The events for a change of an object's status from what it has to `after`.
pub(crate) fn changes(object: &ImagePush, after: &ImagePushStatus) -> Vec<Told> {
    let before = object.status.clone().unwrap_or_default();
    let mut told = vec![];
    let was = conditions::find(&before.conditions, READY);
    if let Some(is) = conditions::find(&after.conditions, READY) {
        told.extend(of_ready(object, was, is));
    }
    if pushed_again(&before, after) {
        let digest = after.artifact.as_ref().map_or("", |artifact| artifact.digest.as_str());
        let note =
            format!("the destination did not have {digest} any more, which was pushed again");
        told.insert(0, Told::warning(DRIFT_DETECTED, "Check", note));
    } else if after.last_push_time > before.last_push_time && told.is_empty() {
        // Another push under the same reason. One that failed after it had changed the name tells why.
        let is = conditions::find(&after.conditions, READY).filter(|is| is.status == "True");
        told.extend(is.map(|is| Told::normal(reasons::PUSH_SUCCEEDED, "Push", is.message.clone())));
    }
    told.extend(of_bundle(&before, after));
    told.extend(after.retry.as_ref().and_then(|retry| retried(before.retry.as_ref(), retry)));
    told.extend(requested(&before, after));
    told.extend(is_rotated(&before, after).then(|| {
        let note = "what the named Secrets hold has changed, or which ones they are; the sides are asked with that now";
        Told::normal(CREDENTIALS_ROTATED, "Check", note.to_owned())
    }));
    told
}

/// Somebody has asked for a look, which has begun.
fn requested(before: &ImagePushStatus, after: &ImagePushStatus) -> Option<Told> {
    let value = after.last_handled_reconcile_at.as_ref()?;
    let known = before.last_handled_reconcile_at.as_ref() == Some(value);
    let note = format!("somebody has asked for a look by annotation (`{value}`)");
    (!known).then(|| Told::normal(REQUESTED, "Check", note))
}

/// Whether the sides are reached in another way, though the spec says what it said.
fn is_rotated(before: &ImagePushStatus, after: &ImagePushStatus) -> bool {
    let generation = |status: &ImagePushStatus| {
        conditions::find(&status.conditions, READY).and_then(|ready| ready.observed_generation)
    };
    let access = [before, after].map(|status| status.observed_access_digest.as_deref());
    let known = access[0].is_some() && access[1].is_some();
    known && access[0] != access[1] && generation(before) == generation(after)
}

/// What `Ready` has to tell, if it says something new.
fn of_ready(object: &ImagePush, was: Option<&Condition>, is: &Condition) -> Vec<Told> {
    if was.is_some_and(|was| was.status == is.status && was.reason == is.reason) {
        return vec![];
    }
    let resumed = was.is_some_and(|was| was.reason == SUSPENDED);
    match (is.status.as_str(), is.reason.as_str()) {
        (_, SUSPENDED) => vec![Told::normal(SUSPENDED, "Suspend", is.message.clone())],
        ("Unknown", PROGRESSING) => {
            let (source, destination) = (&object.spec.source, &object.spec.destination);
            let note = format!("`{}` goes to `{}`", source.reference, destination.reference);
            let started = Told::normal(PUSH_STARTED, "Push", note);
            let resumed = resumed.then(|| Told::normal(RESUMED, "Resume", "resumed".to_owned()));
            resumed.into_iter().chain([started]).collect()
        }
        ("True", reason) => vec![Told::normal(known(reason), "Push", is.message.clone())],
        ("False", reason) => vec![Told::warning(known(reason), "Push", is.message.clone())],
        _ => vec![],
    }
}

/// What became of the bundle in the cluster, if that is something new. Why it was not applied, `Ready` tells.
fn of_bundle(before: &ImagePushStatus, after: &ImagePushStatus) -> Option<Told> {
    let applied = |status: &ImagePushStatus| {
        let status = status.custom_resources.as_ref();
        status.and_then(|status| status.applied.clone())
    };
    let was = conditions::find(&before.conditions, CUSTOM_RESOURCES_APPLIED);
    let is = conditions::find(&after.conditions, CUSTOM_RESOURCES_APPLIED)?;
    let ready = conditions::find(&after.conditions, READY);
    // It was wanted, and that is told with `Ready`.
    let lacks = ready.is_some_and(|it| it.reason == Kind::CustomResourcesNotFound.as_str());
    let told = is.status == "True" || [NO_BUNDLE, SKIPPED].contains(&is.reason.as_str()) && !lacks;
    let same = was.is_some_and(|was| was.status == is.status && was.reason == is.reason);
    let news = told && !(same && applied(before) == applied(after));
    news.then(|| Told::normal(known(&is.reason), "Apply", is.message.clone()))
}

/// Whether what was there before had to be pushed again, for the same spec.
fn pushed_again(before: &ImagePushStatus, after: &ImagePushStatus) -> bool {
    let digest = |status: &ImagePushStatus| status.artifact.as_ref().map(|it| it.digest.clone());
    before.last_push_time.is_some()
        && after.last_push_time > before.last_push_time
        && before.observed_generation == after.observed_generation
        && conditions::is_true(&before.conditions, READY)
        && digest(before) == digest(after)
}

fn retried(before: Option<&RetryStatus>, retry: &RetryStatus) -> Option<Told> {
    let known = before.is_some_and(|before| before.count == retry.count);
    if known || !TOLD_RETRIES.contains(&retry.count) {
        return None;
    }
    let next = retry.next_retry_time.as_ref()?;
    let note = format!("attempt {} failed; the next one is at {}", retry.count, next.0);
    Some(Told::normal(RETRY_SCHEDULED, "Retry", note))
}

/// The reason as the table has it.
fn known(reason: &str) -> &'static str {
    let found = REASONS.iter().find(|known| known.name == reason);
    found.map_or("Changed", |known| known.name)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;
    use crate::api::conditions::{Setting, State};
    use crate::api::v1alpha1::{AppliedStatus, Artifact, CustomResourcesStatus};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// `Ready` is so, and the destination was last written then, if at all.
    fn status(state: State, reason: &str, pushed: Option<(i64, &str)>) -> ImagePushStatus {
        let mut status = ImagePushStatus { observed_generation: Some(1), ..Default::default() };
        let message = &format!("it is {reason}");
        let setting = Setting { kind: READY, state, reason, message };
        conditions::set(&mut status.conditions, &setting, 1, at(0));
        status.last_push_time = pushed.map(|(second, _)| Time(at(second)));
        status.artifact =
            pushed.map(|(_, digest)| Artifact { digest: digest.to_owned(), ..Artifact::default() });
        status
    }

    fn retrying(count: i32) -> ImagePushStatus {
        let mut status = status(State::False, "NetworkError", None);
        let next_retry_time = Some(Time(at(60)));
        status.retry = Some(RetryStatus { count, next_retry_time, ..RetryStatus::default() });
        status
    }

    /// The same, by this access.
    fn reached(status: ImagePushStatus, access: &str) -> ImagePushStatus {
        ImagePushStatus { observed_access_digest: Some(access.to_owned()), ..status }
    }

    fn asked(status: ImagePushStatus, value: &str) -> ImagePushStatus {
        ImagePushStatus { last_handled_reconcile_at: Some(value.to_owned()), ..status }
    }

    /// Of another generation.
    fn edited(mut status: ImagePushStatus) -> ImagePushStatus {
        status.conditions[0].observed_generation = Some(2);
        status
    }

    fn told(before: Option<ImagePushStatus>, after: &ImagePushStatus) -> Vec<String> {
        let side = |name: &str| json!({"reference": format!("docker://r.example/{name}:1")});
        let mut object: ImagePush = serde_json::from_value(json!({
            "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": {"name": "x"},
            "spec": {"source": side("a"), "destination": side("b"), "runPolicy": "Once"},
        }))
        .unwrap();
        object.status = before;
        let told = changes(&object, after);
        told.iter().map(|it| format!("{:?} {}: {}", it.weight, it.reason, it.note)).collect()
    }

    #[test]
    fn what_became_of_a_bundle_is_told() {
        use State::{False, True};
        let with = |state: State, reason: &str, created: i64| {
            let mut status = status(State::True, "PushSucceeded", Some((1, "d")));
            let message = &format!("{created} created");
            let setting = Setting { kind: CUSTOM_RESOURCES_APPLIED, state, reason, message };
            conditions::set(&mut status.conditions, &setting, 1, at(0));
            let applied = Some(AppliedStatus { created, ..AppliedStatus::default() });
            status.custom_resources = Some(CustomResourcesStatus { applied, ..Default::default() });
            status
        };
        for (before, after, expected) in [
            (
                with(False, "Pending", 0),
                with(True, "Applied", 2),
                vec!["Normal Applied: 2 created"],
            ),
            (with(True, "Applied", 2), with(True, "Applied", 2), vec![]),
            // Set right again.
            (with(True, "Applied", 2), with(True, "Applied", 1), vec!["Normal Applied: 1 created"]),
            (
                with(True, "Applied", 2),
                with(False, "NoBundle", 2),
                vec!["Normal NoBundle: 2 created"],
            ),
            (with(True, "Applied", 2), with(False, "Forbidden", 2), vec![]),
            (with(True, "Applied", 2), with(False, "NotConfigured", 0), vec![]),
            // Nobody asked for it to be applied, and it was not even pushed.
            (
                with(False, "NotConfigured", 0),
                with(False, "Skipped", 0),
                vec!["Normal Skipped: 0 created"],
            ),
        ] {
            assert_eq!(told(Some(before.clone()), &after), expected, "{before:?}");
        }
        // Of one that has to be there, `Ready` tells.
        let mut lacking = with(False, "NoBundle", 2);
        lacking.conditions[0] = status(False, "CustomResourcesNotFound", None).conditions.remove(0);
        assert_eq!(
            told(Some(with(True, "Applied", 2)), &lacking),
            ["Warning CustomResourcesNotFound: it is CustomResourcesNotFound"]
        );
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn each_change_is_told_and_nothing_else() {
        use State::{False, True, Unknown};
        let started =
            "Normal PushStarted: `docker://r.example/a:1` goes to `docker://r.example/b:1`";
        let progressing = || status(Unknown, PROGRESSING, None);
        let pushed = |second, digest| status(True, "PushSucceeded", Some((second, digest)));
        let cases: Vec<(Option<ImagePushStatus>, ImagePushStatus, Vec<&str>)> = vec![
            (None, progressing(), vec![started]),
            (Some(progressing()), progressing(), vec![]),
            (
                Some(progressing()),
                pushed(1, "d"),
                vec!["Normal PushSucceeded: it is PushSucceeded"],
            ),
            (Some(pushed(1, "d")), pushed(1, "d"), vec![]),
            (
                Some(pushed(1, "d")),
                pushed(2, "d"),
                vec![
                    "Warning DriftDetected: the destination did not have d any more, which was pushed again",
                ],
            ),
            (
                Some(pushed(1, "d")),
                pushed(2, "e"),
                vec!["Normal PushSucceeded: it is PushSucceeded"],
            ),
            (
                Some(progressing()),
                status(True, "AlreadyPresent", None),
                vec!["Normal AlreadyPresent: it is AlreadyPresent"],
            ),
            (
                Some(progressing()),
                status(Unknown, SUSPENDED, None),
                vec!["Normal Suspended: it is Suspended"],
            ),
            (
                Some(status(Unknown, SUSPENDED, None)),
                progressing(),
                vec!["Normal Resumed: resumed", started],
            ),
            (
                Some(progressing()),
                status(False, "AccessDenied", None),
                vec!["Warning AccessDenied: it is AccessDenied"],
            ),
            (
                Some(status(False, "AccessDenied", None)),
                status(False, "AccessDenied", None),
                vec![],
            ),
            (
                Some(status(False, "Timeout", None)),
                status(False, "AccessDenied", None),
                vec!["Warning AccessDenied: it is AccessDenied"],
            ),
            (
                Some(progressing()),
                retrying(1),
                vec![
                    "Warning NetworkError: it is NetworkError",
                    "Normal RetryScheduled: attempt 1 failed; the next one is at 1970-01-01T00:01:00Z",
                ],
            ),
            (Some(retrying(1)), retrying(2), vec![]),
            (
                Some(retrying(2)),
                retrying(3),
                vec![
                    "Normal RetryScheduled: attempt 3 failed; the next one is at 1970-01-01T00:01:00Z",
                ],
            ),
            (Some(retrying(3)), retrying(3), vec![]),
            (
                Some(pushed(1, "d")),
                asked(pushed(1, "d"), "now"),
                vec!["Normal Requested: somebody has asked for a look by annotation (`now`)"],
            ),
            (Some(asked(pushed(1, "d"), "now")), asked(pushed(1, "d"), "now"), vec![]),
            (
                Some(reached(retrying(2), "one")),
                reached(retrying(2), "other"),
                vec![
                    "Normal CredentialsRotated: what the named Secrets hold has changed, or which ones they are; \
                     the sides are asked with that now",
                ],
            ),
            (Some(reached(retrying(2), "one")), edited(reached(retrying(2), "other")), vec![]),
            (Some(retrying(2)), reached(retrying(2), "one"), vec![]),
        ];
        for (number, (before, after, expected)) in cases.into_iter().enumerate() {
            assert_eq!(told(before, &after), expected, "case {number}");
        }
    }
}
