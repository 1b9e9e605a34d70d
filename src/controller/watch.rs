//! Watches: what is listed and seen, and how soon one that failed begins anew.
//!
//! The watcher of the controller runtime does the listing and watching; here is what it leaves to others. A version that is
//! too old is listed anew at once. A watch that can't be started is listed anew, too, since the server may have been set
//! back to an earlier state meanwhile. Waits grow to ten seconds, or to what the server asks for.

mod calm;
mod pace;

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use kube::{Api, Resource, ResourceExt as _};
use kube_runtime::reflector::ObjectRef;
use kube_runtime::watcher::{self, Config, Event, watcher};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

pub(crate) use self::calm::calmed;
use self::pace::{Fault, Pace};
use super::api_server::asked_wait;
use super::claims::{Noted, Register};
use super::metrics::Metrics;
use super::reconcile::{Context, chance};
use crate::api::v1alpha1::ImagePush;

/// Watches objects for ever. Faults are logged, counted and waited out; none gets out of here.
pub(crate) fn watch<K>(
    api: Api<K>,
    config: Config,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let begin = move || watcher(api.clone(), config.clone()).boxed();
    let state = Watch { events: begin(), pace: Pace::default() };
    futures::stream::unfold((state, begin, metrics), async |(mut state, begin, metrics)| {
        let event = state.next(&begin, &metrics).await;
        Some((Ok(event), (state, begin, metrics)))
    })
}

struct Watch<K> {
    events: BoxStream<'static, Result<Event<K>, watcher::Error>>,
    pace: Pace,
}

// === impl Watch ===

impl<K> Watch<K> {
    async fn next(
        &mut self,
        begin: &impl Fn() -> BoxStream<'static, Result<Event<K>, watcher::Error>>,
        metrics: &Metrics,
    ) -> Event<K> {
        loop {
            match self.events.next().await {
                Some(Ok(event)) => return event,
                Some(Err(error)) => {
                    let wait = self.pace.wait(fault(&error), chance(), Instant::now());
                    metrics.watch_error();
                    tracing::warn!(%error, ?wait, "a watch fails; is the CRD installed?");
                    if matches!(error, watcher::Error::WatchStartFailed(_)) {
                        self.events = begin();
                    }
                    sleep(wait).await;
                }
                None => self.events = begin(),
            }
        }
    }
}

fn fault(error: &watcher::Error) -> Fault {
    let cause = match error {
        watcher::Error::WatchError(status) if status.code == 410 => return Fault::TooOld,
        watcher::Error::InitialListFailed(cause)
        | watcher::Error::WatchStartFailed(cause)
        | watcher::Error::WatchFailed(cause) => cause,
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => {
            return Fault::Other { asked: None };
        }
    };
    match cause {
        kube::Error::Api(status) if status.code == 410 => Fault::TooOld,
        cause => Fault::Other { asked: asked_wait(cause) },
    }
}

/// Keeps account of who is there and who claims what. An object without finalizers is gone at once, and nobody looks at it
/// again: its attempt is called off from here. One that went while the watch was broken is missed by the next list.
///
/// For who compares generations, what comes back is as it was, though what was known of it is forgotten or worth nothing: a
/// list may have come from a server that lagged behind, and have lacked it; or the server was set back to a backup. Then it
/// is looked at from here.
pub(crate) fn keep_account(
    context: Arc<Context>,
    mut register: Register,
) -> impl FnMut(&Event<ImagePush>) + Send {
    let (mut listed, mut back) = (HashSet::new(), vec![]);
    move |event| match event {
        Event::Init => {
            listed.clear();
            back.clear();
        }
        Event::InitApply(object) => {
            listed.insert(object.uid().unwrap_or_default());
            if is_back(&context, &mut register, object) {
                back.push(ObjectRef::from_obj(object));
            }
        }
        Event::InitDone => {
            context.attempts.keep_only(&listed);
            context.removals.keep_only(&listed);
            context.prunings.keep_only(&listed);
            context.newcomers.keep_only(&listed);
            for uid in register.keep_only(&listed) {
                gone(&context, &uid);
            }
            // Not before, since they can't be looked at until all are there.
            back.drain(..).for_each(|object| register.wake(&object));
        }
        Event::Delete(object) => {
            let uid = object.uid().unwrap_or_default();
            context.attempts.forget(&uid);
            context.removals.forget(&uid);
            context.prunings.forget(&uid);
            gone(&context, &uid);
            register.release(object);
        }
        Event::Apply(object) => {
            if is_back(&context, &mut register, object) {
                register.wake(&ObjectRef::from_obj(object));
            }
        }
    }
}

/// Notes an object. Whether it was forgotten, or is of an earlier version than it was.
fn is_back(context: &Context, register: &mut Register, object: &ImagePush) -> bool {
    match register.note(object) {
        Noted::Known => false,
        Noted::New => {
            // Of what is known already, no look may follow: our own writes come back, too.
            context.newcomers.note(object);
            register.has_listed()
        }
        Noted::SetBack => {
            context.attempts.forget_written(&object.uid().unwrap_or_default());
            true
        }
    }
}

/// What is counted of an object goes with it.
fn gone(context: &Context, uid: &str) {
    context.panics.forget(uid);
    context.denials.forget(uid);
    context.newcomers.forget(uid);
    context.metrics.gone(uid);
}

#[cfg(test)]
mod tests;
