//! What became of the image's bundle in the cluster, in the fields of a status.

use super::{BUNDLE_SKIPPED, Draft, number};
use crate::api::conditions::{self, CUSTOM_RESOURCES_APPLIED, READY, RECONCILING, STALLED, State};
use crate::api::reasons::{
    APPLIED, CONFLICT, DRY_RUN_SUCCEEDED, FORBIDDEN, INVALID, NO_BUNDLE, NOT_CONFIGURED, PENDING,
    SECRET_NOT_FOUND, SKIPPED, UNCHANGED,
};
use crate::api::v1alpha1::{
    AppliedStatus, ChangedObjectStatus, CustomResourcesPolicy, ImagePush, ImagePushStatus,
};
use crate::apply::{Change, ChangedObject, Report};
use crate::controller::decide::Outcome;
use crate::controller::failure::Failure;
use crate::controller::resources::{Finding, Ran};
use crate::error::Kind;

/// The reasons of the condition for those of `Ready`.
const SHORT: [(Kind, &str); 5] = [
    (Kind::CustomResourcesConflict, CONFLICT),
    (Kind::CustomResourcesForbidden, FORBIDDEN),
    (Kind::CustomResourcesInvalid, INVALID),
    (Kind::CustomResourcesNotFound, NO_BUNDLE),
    (Kind::CustomResourcesPending, PENDING),
];

// === impl Draft ===

impl Draft {
    /// An attempt has ended well: tells what became of the bundle. Returns why it isn't as it should be.
    pub(crate) fn applied(
        &mut self,
        object: &ImagePush,
        found: Option<&Finding>,
    ) -> Option<Failure> {
        let wish = object.spec.custom_resources.as_ref();
        let Some(wish) = wish.filter(|wish| wish.policy != CustomResourcesPolicy::Never) else {
            self.remove(CUSTOM_RESOURCES_APPLIED);
            return None;
        };
        if wish.apply.is_none() {
            self.forget_applied();
            let message = "nothing is applied: `customResources.apply` is not set".to_owned();
            let (word, message) = match self.skipped() {
                Some(reason) => (SKIPPED, reason.to_owned()),
                None => (NOT_CONFIGURED, message),
            };
            self.set(CUSTOM_RESOURCES_APPLIED, State::False, word, &message);
            return None;
        }
        match found? {
            Finding::Nothing(reason) => {
                let skipped = self.skipped().map(str::to_owned);
                let word = if skipped.is_some() { SKIPPED } else { NO_BUNDLE };
                let reason = skipped.as_ref().unwrap_or(reason);
                let message = format!("{reason}; what was applied before stays");
                self.set(CUSTOM_RESOURCES_APPLIED, State::False, word, &message);
                None
            }
            Finding::Ran(ran) => self.ran(ran),
        }
    }

    /// Why the image's bundle was left out, if it was.
    fn skipped(&self) -> Option<&str> {
        let decided = self.status.custom_resources.as_ref()?;
        decided.reason.as_deref().filter(|_| decided.decision == BUNDLE_SKIPPED)
    }

    /// An attempt failed: if for the bundle, the condition says so, too.
    pub(super) fn fails_for_bundle(&mut self, failure: &Failure) {
        let short = SHORT.iter().find(|(kind, _)| kind.as_str() == failure.reason);
        if let Some((_, reason)) = short.filter(|_| self.applies) {
            self.set(CUSTOM_RESOURCES_APPLIED, State::False, reason, &failure.message);
        }
    }

    fn ran(&mut self, ran: &Ran) -> Option<Failure> {
        if let Some(failure) = &ran.failure {
            if is_news(&ran.report) {
                self.record(ran);
            }
            let reason = match failure.reason {
                // The account that it names may come.
                SECRET_NOT_FOUND => PENDING,
                reason => {
                    let short = SHORT.iter().find(|(kind, _)| kind.as_str() == reason);
                    short.map_or(reason, |(_, reason)| reason)
                }
            };
            self.set(CUSTOM_RESOURCES_APPLIED, State::False, reason, &failure.message);
            return Some(failure.clone());
        }
        if ran.is_preview {
            self.record(ran);
            self.remove(CUSTOM_RESOURCES_APPLIED);
            self.add_to_ready(&format!("in the cluster {}", would(&ran.report)));
        } else if is_news(&ran.report) || !self.knows(ran) {
            self.record(ran);
            let reason = if is_news(&ran.report) { APPLIED } else { UNCHANGED };
            self.set(CUSTOM_RESOURCES_APPLIED, State::True, reason, &counts(&ran.report));
        }
        None
    }

    /// The image is where it belongs, but that is not all: `Ready` and what belongs to it is as it was, so that what
    /// becomes of it next looks like no transition by way of success.
    pub(crate) fn take_back(&mut self, before: &ImagePushStatus, outcome: &Outcome) {
        self.pass_over(before);
        self.status.retry.clone_from(&before.retry);
        self.status.observed_generation = before.observed_generation;
        if !matches!(outcome, Outcome::Pushed(pushed) if !pushed.already_present) {
            self.status.history.clone_from(&before.history);
        }
    }

    /// What was passed through on the way here is no transition: conditions begin from what they were.
    pub(crate) fn pass_over(&mut self, before: &ImagePushStatus) {
        for kind in [READY, RECONCILING, STALLED] {
            self.remove(kind);
            self.status.conditions.extend(conditions::find(&before.conditions, kind).cloned());
        }
    }

    /// Whether status says the same already.
    fn knows(&mut self, ran: &Ran) -> bool {
        let known = self.status.custom_resources.as_mut().and_then(|it| it.applied.as_mut());
        let digest = digest_of(ran);
        let same = known.as_ref().is_some_and(|known| known.digest == digest && !known.dry_run);
        if let Some(known) = known.filter(|_| same) {
            // The same bundle may have come with another image.
            known.source = source_of(ran);
        }
        let generation = self.generation;
        let condition =
            self.status.conditions.iter_mut().find(|it| {
                it.type_ == CUSTOM_RESOURCES_APPLIED && it.status == State::True.as_str()
            });
        match condition {
            Some(condition) if same => {
                condition.observed_generation = Some(generation);
                true
            }
            _ => false,
        }
    }

    fn record(&mut self, ran: &Ran) {
        let Report { created, configured, unchanged, pruned, failed, changes, .. } = &ran.report;
        let count = |count: usize| number(count as u64);
        let applied = AppliedStatus {
            dry_run: ran.is_preview,
            digest: digest_of(ran),
            source: source_of(ran),
            created: count(*created),
            configured: count(*configured),
            unchanged: count(*unchanged),
            pruned: count(*pruned),
            failed: count(*failed),
            changes: changes.iter().map(changed).collect(),
        };
        self.status.custom_resources.get_or_insert_default().applied = Some(applied);
    }

    fn forget_applied(&mut self) {
        if let Some(status) = &mut self.status.custom_resources {
            status.applied = None;
        }
    }

    fn add_to_ready(&mut self, more: &str) {
        let ready = conditions::find(&self.status.conditions, READY);
        let message = ready.map(|ready| format!("{}; {more}", ready.message));
        if let Some(message) = message {
            self.set(READY, State::True, DRY_RUN_SUCCEEDED, &message);
        }
    }
}

fn digest_of(ran: &Ran) -> Option<String> {
    ran.of.as_ref()?.bundle.as_ref().map(ToString::to_string)
}

fn source_of(ran: &Ran) -> Option<String> {
    ran.of.as_ref().filter(|of| of.bundle.is_some()).map(|of| of.source.to_string())
}

/// Whether anything was written, or should have been.
fn is_news(report: &Report) -> bool {
    let Report { created, configured, unchanged: _, pruned, failed, .. } = report;
    created + configured + pruned + failed > 0
}

fn counts(report: &Report) -> String {
    let Report { created, configured, unchanged, pruned, .. } = report;
    format!("{created} created, {configured} configured, {unchanged} unchanged, {pruned} pruned")
}

fn would(report: &Report) -> String {
    let Report { created, configured, pruned, .. } = report;
    format!("{created} would be created, {configured} configured, {pruned} pruned")
}

fn changed(ChangedObject { object, change }: &ChangedObject) -> ChangedObjectStatus {
    let fields = match change {
        Change::Created | Change::Unchanged => vec![],
        Change::Configured { fields, count } => {
            let more = count.saturating_sub(fields.len());
            let rest = (more > 0).then(|| format!("and {more} more"));
            fields.iter().map(ToString::to_string).chain(rest).collect()
        }
    };
    ChangedObjectStatus { object: object.to_string(), fields }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::controller::resources::Recorded;
    use crate::error::Error;
    use crate::image::Digest;

    fn object(custom_resources: &Value) -> ImagePush {
        let side = json!({"reference": "docker://a.example/x:1"});
        let mut spec = json!({"source": side, "destination": side});
        if !custom_resources.is_null() {
            spec["customResources"] = custom_resources.clone();
        }
        ImagePush::new("x", serde_json::from_value(spec).unwrap())
    }

    fn applying() -> ImagePush {
        object(&json!({"policy": "Always", "apply": {"serviceAccountName": "a"}}))
    }

    fn ran(counts: [usize; 5], failure: Option<Kind>) -> Finding {
        let [created, configured, unchanged, pruned, failed] = counts;
        let report = Report { created, configured, unchanged, pruned, failed, ..Report::default() };
        let of = Recorded { source: Digest::of(b"source"), bundle: Some(Digest::of(b"bundle")) };
        let failure = failure.map(|kind| Failure::from(&Error::new(kind, "because")));
        let (is_preview, again) = (false, false);
        Finding::Ran(Box::new(Ran { of: Some(of), report, failure, is_preview, again }))
    }

    /// State, reason and message of the condition.
    fn told(draft: &Draft) -> Option<[String; 3]> {
        let found = conditions::find(&draft.status.conditions, CUSTOM_RESOURCES_APPLIED)?;
        Some([&found.status, &found.reason, &found.message].map(Clone::clone))
    }

    fn draft(object: &ImagePush) -> Draft {
        Draft::new(object, "2026-01-01T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn the_condition_says_what_became_of_the_bundle() {
        let words = |words: [&str; 3]| Some(words.map(str::to_owned));
        let only_pushed = "nothing is applied: `customResources.apply` is not set";
        for (object, found, expected, fails) in vec![
            (object(&Value::Null), None, None, false),
            (object(&json!({"policy": "Never"})), None, None, false),
            (
                object(&json!({"policy": "Auto"})),
                None,
                words(["False", "NotConfigured", only_pushed]),
                false,
            ),
            (
                applying(),
                Some(ran([1, 2, 3, 4, 0], None)),
                words(["True", "Applied", "1 created, 2 configured, 3 unchanged, 4 pruned"]),
                false,
            ),
            (
                applying(),
                Some(ran([0, 0, 3, 0, 0], None)),
                words(["True", "Unchanged", "0 created, 0 configured, 3 unchanged, 0 pruned"]),
                false,
            ),
            (
                applying(),
                Some(Finding::Nothing("nobody has looked".into())),
                words(["False", "NoBundle", "nobody has looked; what was applied before stays"]),
                false,
            ),
            (
                applying(),
                Some(ran([0; 5], Some(Kind::CustomResourcesConflict))),
                words(["False", "Conflict", "because"]),
                true,
            ),
            (
                applying(),
                Some(ran([1, 0, 0, 0, 2], Some(Kind::CustomResourcesForbidden))),
                words(["False", "Forbidden", "because"]),
                true,
            ),
            (
                applying(),
                Some(ran([0; 5], Some(Kind::NetworkError))),
                words(["False", "NetworkError", "because"]),
                true,
            ),
        ] {
            let mut draft = draft(&object);
            let failure = draft.applied(&object, found.as_ref());
            assert_eq!((told(&draft), failure.is_some()), (expected, fails), "{found:?}");
        }
    }

    #[test]
    fn the_same_bundle_may_come_with_another_image() {
        let mut draft = draft(&applying());
        let Finding::Ran(first) = ran([2, 0, 0, 0, 0], None) else { unreachable!() };
        let other =
            Recorded { source: Digest::of(b"other"), bundle: first.of.clone().unwrap().bundle };
        draft.applied(&applying(), Some(&Finding::Ran(first)));
        let Finding::Ran(mut second) = ran([0, 0, 2, 0, 0], None) else { unreachable!() };
        second.of = Some(other);
        draft.applied(&applying(), Some(&Finding::Ran(second)));
        let applied = draft.status.custom_resources.unwrap().applied.unwrap();
        let expected = (Some(Digest::of(b"other").to_string()), 2, 0);
        assert_eq!((applied.source, applied.created, applied.unchanged), expected);
    }

    #[test]
    fn what_was_done_last_is_told_until_something_is_done_again() {
        let mut draft = draft(&applying());
        let applied = |draft: &Draft| {
            let status = draft.status.custom_resources.clone();
            status.and_then(|status| status.applied).map(|it| (it.created, it.unchanged, it.failed))
        };
        for (found, expected, reason) in [
            (ran([2, 0, 0, 0, 0], None), (2, 0, 0), "Applied"),
            (ran([0, 0, 2, 0, 0], None), (2, 0, 0), "Applied"),
            // A failure before anything was written.
            (ran([0; 5], Some(Kind::CustomResourcesPending)), (2, 0, 0), "Pending"),
            (ran([0, 0, 2, 0, 0], None), (0, 2, 0), "Unchanged"),
            // A failure in the middle.
            (ran([1, 0, 0, 0, 1], Some(Kind::CustomResourcesForbidden)), (1, 0, 1), "Forbidden"),
        ] {
            draft.applied(&applying(), Some(&found));
            assert_eq!(applied(&draft), Some(expected), "{found:?}");
            assert_eq!(told(&draft).unwrap()[1], reason, "{found:?}");
        }
    }
}
