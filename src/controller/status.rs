//! How an outcome reads in an object's status.
//!
//! A draft starts from the status that was and knows the generation that it is for, so that each condition that is set
//! carries it. `content` turns what the engine found into fields, `write` sends the whole.

mod applied;
mod content;
mod history;
mod write;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(crate) use self::content::{BUNDLE_FAILED, BUNDLE_SKIPPED, preview};
pub(crate) use self::write::{Written, write};
use super::decide::Previewed;
use super::failure::Failure;
use crate::api::conditions::{
    self, DRIFTED, READY, RECONCILING, SOURCE_RESOLVED, STALLED, Setting, State,
};
use crate::api::reasons;
use crate::api::v1alpha1::{CustomResourcesStatus, ImagePush, ImagePushStatus, Preview, Progress};
use crate::engine::{Beside, Pushed, SourceImage};
use crate::error::{Class, Kind, Side};
use crate::image::{Descriptor, Digest};

/// A status being made for one generation of an object.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) status: ImagePushStatus,
    pub(crate) now: Timestamp,
    /// How long the attempt took that is told of.
    pub(crate) took: Option<Duration>,
    generation: i64,
    /// Whether the spec wants the image's bundle applied.
    applies: bool,
}

const UNDER_WAY: &str = "the push is under way";

// === impl Draft ===

impl Draft {
    /// Starts from the status that the object has.
    pub(crate) fn new(object: &ImagePush, now: Timestamp) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let applies = object.spec.custom_resources.as_ref().is_some_and(|it| it.apply.is_some());
        let generation = object.metadata.generation.unwrap_or(0);
        Self { status, now, took: None, generation, applies }
    }

    /// Whether the last decision was about this generation.
    pub(crate) fn is_seen(&self) -> bool {
        let ready = conditions::find(&self.status.conditions, READY);
        ready.is_some_and(|ready| ready.observed_generation == Some(self.generation))
    }

    /// An attempt for this generation begins, as if nothing had been before; what the destination holds is kept.
    pub(crate) fn start_over(&mut self) {
        let message = UNDER_WAY;
        self.remove(STALLED);
        self.remove(SOURCE_RESOLVED);
        self.remove(DRIFTED);
        self.set(READY, State::Unknown, reasons::PROGRESSING, message);
        self.set(RECONCILING, State::True, reasons::PROGRESSING, message);
        self.status.retry = None;
        self.status.progress = None;
        self.status.preview = None;
    }

    /// An attempt is under way; it shows once it has something to tell.
    pub(crate) fn progress(&mut self, progress: Option<Progress>) {
        let Some(progress) = progress else { return };
        // Of a check nobody hears before there is something to copy.
        if progress.blobs_total == 0 && !conditions::is_true(&self.status.conditions, RECONCILING) {
            return;
        }
        self.remove(STALLED);
        self.remove(DRIFTED);
        let retries = conditions::find(&self.status.conditions, RECONCILING)
            .is_some_and(|condition| condition.reason == reasons::PROGRESSING_WITH_RETRY);
        if !retries {
            self.set(RECONCILING, State::True, reasons::PROGRESSING, UNDER_WAY);
        }
        self.status.progress = Some(progress);
    }

    /// An attempt is under way, and waits for something, which is told while it does. That it is one after a failure stays
    /// told, and so does the failure once it waits no more.
    pub(crate) fn waits(&mut self, what: Option<&str>) {
        if conditions::is_true(&self.status.conditions, STALLED) {
            // It is tried again quietly.
            return;
        }
        let find = |kind| conditions::find(&self.status.conditions, kind);
        let told = find(RECONCILING);
        let retries = told.is_some_and(|told| told.reason == reasons::PROGRESSING_WITH_RETRY);
        let failure = find(READY).filter(|ready| retries && ready.status == State::False.as_str());
        let otherwise = failure.map_or(UNDER_WAY, |failure| &failure.message);
        let message = what.unwrap_or(otherwise).to_owned();
        if what.is_some() || told.is_some_and(|told| told.message != message) {
            let reason =
                if retries { reasons::PROGRESSING_WITH_RETRY } else { reasons::PROGRESSING };
            self.set(RECONCILING, State::True, reason, &message);
        }
    }

    /// The destination holds the image.
    pub(crate) fn pushed(&mut self, object: &ImagePush, pushed: &Pushed, spec_digest: &str) {
        let destination = &object.spec.destination.reference;
        let digest = pushed.digest.to_string();
        let known = self.is_true_for_this_generation()
            && self.status.artifact.as_ref().is_some_and(|artifact| artifact.digest == digest);
        let known_artifact = self.status.artifact.as_ref();
        let artifact = content::artifact(pushed, destination, known_artifact, self.now);
        let before = self.skipped_of(&pushed.source.digest);
        self.settled(object, &pushed.source, spec_digest);
        self.status.artifact = Some(artifact);
        self.beside(pushed.beside.as_ref(), before.as_ref());
        self.status.preview = None;
        if pushed.already_present {
            // A check that finds what we pushed says nothing new.
            if !known {
                let message = format!("`{destination}` holds {digest} already");
                self.set(READY, State::True, reasons::ALREADY_PRESENT, &message);
                self.remember(reasons::ALREADY_PRESENT, Some(digest));
            }
            return;
        }
        self.status.last_push_time = Some(Time(self.now));
        let message = format!("pushed {digest} to `{destination}`");
        self.set(READY, State::True, reasons::PUSH_SUCCEEDED, &message);
        self.remember(reasons::PUSH_SUCCEEDED, Some(digest));
    }

    /// Nothing has changed since the last success.
    pub(crate) fn unchanged(&mut self, object: &ImagePush, spec_digest: &str) {
        let known = self.is_true_for_this_generation();
        self.resolve(object);
        self.settle(spec_digest);
        if known {
            return;
        }
        let destination = &object.spec.destination.reference;
        let digest =
            self.status.artifact.as_ref().map_or("it", |artifact| artifact.digest.as_str());
        let message = format!("`{destination}` holds {digest} already");
        self.set(READY, State::True, reasons::ALREADY_PRESENT, &message);
    }

    /// The destination at `reference` holds the image of an attempt that the spec may not ask for any more.
    pub(crate) fn landed(&mut self, pushed: &Pushed, reference: &str) {
        let known = self.status.artifact.as_ref();
        let artifact = content::artifact(pushed, reference, known, self.now);
        if !pushed.already_present {
            self.status.last_push_time = Some(Time(self.now));
            self.remember(reasons::PUSH_SUCCEEDED, Some(artifact.digest.clone()));
        }
        self.status.artifact = Some(artifact);
    }

    /// The name at `reference` has got this manifest by an attempt that has not come to its end. Which source that was of is not
    /// recorded, so that the next attempt finds out what is missing.
    pub(crate) fn named(&mut self, manifest: &Descriptor, reference: &str) {
        let known = self.status.artifact.as_ref();
        self.status.artifact = Some(content::named(manifest, reference, known, self.now));
        self.status.last_push_time = Some(Time(self.now));
        self.status.source = None;
    }

    /// The source that status has recorded is the one that is there.
    fn resolve(&mut self, object: &ImagePush) {
        let Some(source) = &self.status.source else { return };
        let message = format!("`{}` is {}", object.spec.source.reference, source.digest);
        self.set(SOURCE_RESOLVED, State::True, reasons::RESOLVED, &message);
    }

    /// It is known what a push would do.
    pub(crate) fn previewed(&mut self, object: &ImagePush, found: &Previewed, spec_digest: &str) {
        let Previewed { source, preview, beside } = found.clone();
        self.settled(object, &source, spec_digest);
        let Preview { blobs, bytes, images, already_present, .. } = &preview;
        let message = if *already_present {
            "the destination holds the image already".to_owned()
        } else {
            format!(
                "{blobs} blobs of {images} images, {bytes} bytes in all, would be checked or sent"
            )
        };
        self.set(READY, State::True, reasons::DRY_RUN_SUCCEEDED, &message);
        self.status.preview = Some(preview);
        self.beside(beside.as_ref(), None);
    }

    /// What was decided about the bundle of the image of this source, if that was that it can't be used.
    fn skipped_of(&self, source: &Digest) -> Option<CustomResourcesStatus> {
        let same = self.status.source.as_ref()?.digest == source.to_string();
        let before = self.status.custom_resources.clone();
        before.filter(|before| same && before.decision == BUNDLE_SKIPPED)
    }

    /// What was decided about the bundle; `before`, if that was that the same image's can't be used.
    fn beside(&mut self, found: Option<&Beside>, before: Option<&CustomResourcesStatus>) {
        let known = self.status.custom_resources.take();
        let applied = known.and_then(|known| known.applied);
        self.status.custom_resources =
            found.map(|found| content::custom_resources(found, before, applied));
    }

    fn settled(&mut self, object: &ImagePush, source: &SourceImage, spec_digest: &str) {
        self.status.source = Some(content::source(source, &object.spec.source.reference));
        self.resolve(object);
        self.settle(spec_digest);
    }

    fn settle(&mut self, spec_digest: &str) {
        self.status.observed_spec_digest = Some(spec_digest.to_owned());
        self.rest();
        self.remove(STALLED);
        self.remove(DRIFTED);
        self.status.retry = None;
        self.status.observed_generation = Some(self.generation);
    }

    /// An attempt failed, or can't start; there will be another one.
    pub(crate) fn retrying(&mut self, failure: &Failure) {
        self.remove(STALLED);
        self.failed(failure);
        let message = &failure.message;
        self.set(RECONCILING, State::True, reasons::PROGRESSING_WITH_RETRY, message);
    }

    /// An attempt failed, or can't start, and somebody has to change something first.
    pub(crate) fn stalled(&mut self, failure: &Failure) {
        self.remove(RECONCILING);
        self.failed(failure);
        self.set(STALLED, State::True, failure.reason, &failure.message);
        if failure.reason == reasons::DESTINATION_DRIFTED {
            self.set(DRIFTED, State::True, reasons::DESTINATION_CHANGED, &failure.message);
        }
        self.status.retry = None;
        self.status.observed_generation = Some(self.generation);
    }

    /// The only attempt that is made failed.
    pub(crate) fn gave_up(&mut self, failure: &Failure) {
        match failure.class {
            Class::Permanent => self.stalled(failure),
            Class::Transient => {
                self.failed(failure);
                self.status.observed_generation = Some(self.generation);
            }
        }
    }

    fn failed(&mut self, failure: &Failure) {
        self.set(READY, State::False, failure.reason, &failure.message);
        if failure.beside {
            let applied = self.status.custom_resources.take().and_then(|it| it.applied);
            self.status.custom_resources = Some(content::bundle_failed(&failure.message, applied));
        }
        self.fails_for_bundle(failure);
        if failure.side == Some(Side::Source) {
            self.unresolved(failure);
        }
        self.status.progress = None;
    }

    /// Something is wrong with the source, or only with what is carried by the image that was read there.
    fn unresolved(&mut self, failure: &Failure) {
        let of_bundle = [Kind::CustomResourcesInvalid, Kind::CustomResourcesNotFound];
        if of_bundle.iter().any(|kind| kind.as_str() == failure.reason) {
            let message = "the image was read; what is wrong is its bundle";
            self.set(SOURCE_RESOLVED, State::True, reasons::RESOLVED, message);
        } else {
            self.set(SOURCE_RESOLVED, State::False, failure.reason, &failure.message);
        }
    }

    /// Suspended before the push was done.
    pub(crate) fn suspended(&mut self) {
        self.rest();
        self.remove(STALLED);
        self.set(READY, State::Unknown, reasons::SUSPENDED, "suspended before the push was done");
        self.status.retry = None;
        self.status.observed_generation = Some(self.generation);
    }

    /// An attempt is called off because the operator ends; the next start begins it anew.
    pub(crate) fn interrupted(&mut self) {
        self.status.progress = None;
        // Of what is done, or has stalled, a check that nobody has heard of is no news.
        let is_true = |kind| conditions::is_true(&self.status.conditions, kind);
        let settled = self.is_seen() && (is_true(READY) || is_true(STALLED));
        if settled && !is_true(RECONCILING) {
            return;
        }
        let message = "interrupted by shutdown; the push begins anew when an operator runs again";
        self.set(RECONCILING, State::True, reasons::PROGRESSING_WITH_RETRY, message);
    }

    /// Nothing is under way.
    pub(crate) fn rest(&mut self) {
        self.remove(RECONCILING);
        self.status.progress = None;
    }

    /// What was decided for an earlier generation holds for this one, too.
    pub(crate) fn carry_over(&mut self) {
        for condition in &mut self.status.conditions {
            condition.observed_generation = Some(self.generation);
        }
        let settled =
            [READY, STALLED].map(|kind| conditions::is_true(&self.status.conditions, kind));
        if settled.contains(&true) {
            self.status.observed_generation = Some(self.generation);
        }
    }

    fn is_true_for_this_generation(&self) -> bool {
        self.is_seen() && conditions::is_true(&self.status.conditions, READY)
    }

    fn set(&mut self, kind: &str, state: State, reason: &str, message: &str) {
        let setting = Setting { kind, state, reason, message };
        conditions::set(&mut self.status.conditions, &setting, self.generation, self.now);
    }

    fn remove(&mut self, kind: &str) {
        conditions::remove(&mut self.status.conditions, kind);
    }
}

/// Whether it was decided before that the object is done, or can't be done.
pub(crate) fn is_settled(object: &ImagePush) -> bool {
    let conditions = object.status.as_ref().map(|status| status.conditions.as_slice());
    let is_true = |kind| conditions::is_true(conditions.unwrap_or_default(), kind);
    is_true(READY) || is_true(STALLED)
}

/// Whether a condition is true for what the spec says now.
pub(crate) fn is_true_now(object: &ImagePush, kind: &str) -> bool {
    let conditions = object.status.as_ref().map(|status| status.conditions.as_slice());
    let condition = conditions::find(conditions.unwrap_or_default(), kind);
    condition.is_some_and(|condition| {
        condition.status == State::True.as_str()
            && condition.observed_generation == object.metadata.generation
    })
}

/// Kubernetes has no unsigned numbers.
pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The failure of an attempt that was given up.
pub(crate) fn timed_out(timeout: Duration) -> crate::error::Error {
    let shown = humantime::format_duration(timeout);
    crate::error::Error::new(Kind::Timeout, format!("the push was not done after `{shown}`"))
        .hint("raise `spec.timeout` if the image needs longer")
}
