//! A look at an object with whatever may go wrong with it: it is timed, told in logs, and a panic in it hurts nobody else.

use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use jiff::{Timestamp, Unit};
use kube::{Api, Resource as _, ResourceExt as _};
use kube_runtime::controller::Action;
use kube_runtime::reflector::ObjectRef;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::api_server::{asked_wait, is_denied, wait_after};
use super::events::Told;
use super::failure::Failure;
use super::reconcile::{Context, chance, reconcile};
use super::status::{self, Draft, Written};
use crate::api::v1alpha1::ImagePush;
use crate::error::{Error, Kind};
use crate::limits::{API_ERROR_WAIT, PANIC_DELAY};
use crate::telemetry::Value;

/// How often in a row something has happened to looks at an object, by uid.
#[derive(Debug, Default)]
pub(crate) struct InARow(Mutex<HashMap<String, u32>>);

/// Why a look failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    /// The API server could not be asked, or refused.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// A fault of ours.
    #[error("the look panicked: {message}")]
    Panic {
        /// What the panic said.
        message: String,
        /// When to look again.
        wait: Duration,
    },
}

/// Looks at an object.
pub(crate) async fn look(
    object: Arc<ImagePush>,
    context: Arc<Context>,
) -> Result<Action, LookError> {
    let uid = object.uid().unwrap_or_default();
    // What an attempt is looked at for belongs to its trace, from the look that starts it to the one that tells of its end.
    let parent = context.attempts.trace_of(&uid);
    let mut traced = context.tracer.begin("reconcile", parent, traits(&object));
    let span = tracing::error_span!(
        "reconcile",
        object = %ObjectRef::from_obj(&*object),
        uid,
        generation = object.metadata.generation,
        attempt = number_of_attempt(&object),
        trace_id = traced.place().trace_id(),
    );
    let work = reconcile(object.clone(), context.clone(), traced.place());
    let looked = Box::pin(guarded(object, context, work).instrument(span)).await;
    if let Err(error) = &looked {
        traced.fail(error.word());
    }
    looked
}

/// What the span of a look says of it.
pub(super) fn traits(object: &ImagePush) -> [(&'static str, Value); 5] {
    [
        ("k8s.namespace.name", object.namespace().unwrap_or_default().into()),
        ("imagepush.name", object.name_any().into()),
        ("imagepush.uid", object.uid().unwrap_or_default().into()),
        ("imagepush.generation", object.metadata.generation.unwrap_or_default().into()),
        ("imagepush.attempt", i64::from(number_of_attempt(object)).into()),
    ]
}

/// One more than have failed since the last success.
fn number_of_attempt(object: &ImagePush) -> i32 {
    let retry = object.status.as_ref().and_then(|status| status.retry.as_ref());
    retry.map_or(0, |retry| retry.count).saturating_add(1)
}

/// Waits after a look that failed.
#[expect(clippy::needless_pass_by_value, reason = "the controller runtime fixes the signature")]
pub(crate) fn on_error(object: Arc<ImagePush>, error: &LookError, context: Arc<Context>) -> Action {
    let uid = object.uid().unwrap_or_default();
    // A server that has just started refuses what it doesn't know the permissions of yet.
    let passes = error.is_denied() && context.denials.count(&uid) == 0;
    let wait = if passes { API_ERROR_WAIT.mul_f64(0.5 + chance()) } else { error.wait() };
    let (name, namespace) = (object.name_any(), object.namespace());
    tracing::warn!(%error, name, namespace, ?wait, "a look failed");
    Action::requeue(wait)
}

async fn guarded(
    object: Arc<ImagePush>,
    context: Arc<Context>,
    work: impl Future<Output = Result<Action, kube::Error>> + Send,
) -> Result<Action, LookError> {
    let started = Instant::now();
    let uid = object.uid().unwrap_or_default();
    let looked = match AssertUnwindSafe(work).catch_unwind().await {
        Ok(looked) => {
            context.panics.forget(&uid);
            if looked.is_ok() {
                context.denials.forget(&uid);
            }
            if let Err(kube::Error::Api(answer)) = &looked
                && is_denied(answer.code)
                && context.denials.has(&uid)
            {
                // A status can't say what doesn't get into it.
                context.recorder.tell(object.object_ref(&()), refused(&answer.message));
            }
            looked.map_err(LookError::Api)
        }
        Err(panic) => {
            let message = words(&*panic);
            let wait = after_panic(context.panics.count(&uid));
            tracing::error!(message, "a fault in the operator: the look at this object panicked");
            if let Err(error) = confess(&object, &context, &message).await {
                tracing::warn!(%error, "it can't be told so");
            }
            Err(LookError::Panic { message, wait })
        }
    };
    context.newcomers.forget(&uid);
    context.metrics.look(looked.as_ref().err().map(LookError::word), started.elapsed());
    looked
}

/// Says in the object's status that we failed it.
async fn confess(object: &ImagePush, context: &Context, message: &str) -> Result<(), kube::Error> {
    let error = Error::internal(format!("the look at this object panicked: {message}"));
    let failure = Failure::from(&error.transient());
    let now = Timestamp::now().round(Unit::Second).unwrap_or_else(|_| Timestamp::now());
    let mut draft = Draft::new(object, now);
    draft.retrying(&failure);
    let api = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let written = status::write(&api, object, &draft.status).await?;
    if let Written::Done(version) | Written::Cut(version) = &written {
        // The next look compares with this.
        let uid = object.uid().unwrap_or_default();
        let (cut, written) = (matches!(written, Written::Cut(_)), (draft.status, version.clone()));
        context.attempts.update(&uid, |memory| (memory.written, memory.cut) = (Some(written), cut));
    }
    Ok(())
}

fn refused(answer: &str) -> Told {
    let note = format!(
        "the API server refuses what the operator has to write: {answer}; grant it the permission, or change the policy"
    );
    Told::warning(Kind::AccessDenied.as_str(), "Report", note)
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "it said nothing".to_owned())
}

// === impl LookError ===

impl LookError {
    /// When to look again.
    fn wait(&self) -> Duration {
        match self {
            Self::Api(error) => wait_after(error, chance()),
            Self::Panic { wait, .. } => *wait,
        }
    }

    fn is_denied(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if is_denied(status.code))
    }

    /// It in a word, for metrics.
    fn word(&self) -> &'static str {
        match self {
            Self::Api(kube::Error::Api(status)) => match status.code {
                401 | 403 => "denied",
                429 | 503 => "busy",
                400..=499 => "refused",
                _ => "failed",
            },
            // The client below makes no status of an answer that asks to wait.
            Self::Api(error) if asked_wait(error).is_some() => "busy",
            Self::Api(_) => "unreachable",
            Self::Panic { .. } => "panic",
        }
    }
}

// === impl InARow ===

impl InARow {
    /// One more; returns how many there were before.
    fn count(&self, uid: &str) -> u32 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(uid.to_owned()).or_default();
        let before = *count;
        *count = count.saturating_add(1);
        before
    }

    /// Whether there was one.
    fn has(&self, uid: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(uid)
    }

    /// A look went well, or the object is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// The wait after a panic, which doubles each time.
fn after_panic(before: u32) -> Duration {
    let (first, longest) = PANIC_DELAY;
    first.saturating_mul(1 << before.min(16)).min(longest)
}

#[cfg(test)]
pub(super) mod tests;
