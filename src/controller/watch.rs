//! The watch of ImagePush objects: what it lists and sees, and what follows from an object that is gone.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt as _};
use kube_runtime::watcher::{self, Event, watcher};

use super::claims::Register;
use super::executor::Attempts;
use super::metrics::Metrics;
use crate::api::v1alpha1::ImagePush;
use crate::error::Result;

/// The watch. One object that can't be read doesn't block the others.
pub(crate) fn events(
    api: Api<DeserializeGuard<ImagePush>>,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = Result<Event<ImagePush>, watcher::Error>> + Send {
    watcher(api, watcher::Config::default().any_semantic())
        .inspect_err(move |error| {
            metrics.watch_error();
            tracing::warn!(%error, "watching ImagePush objects fails; is the CRD installed?");
        })
        // A watch that is too old is listed anew at once, instead of after one more wait.
        .filter(|event| {
            let old =
                matches!(event, Err(watcher::Error::WatchError(status)) if status.code == 410);
            futures::future::ready(!old)
        })
        .try_filter_map(async |event| {
            Ok(match event {
                Event::Apply(object) => readable(object).map(Event::Apply),
                Event::InitApply(object) => readable(object).map(Event::InitApply),
                Event::Delete(object) => readable(object).map(Event::Delete),
                Event::Init => Some(Event::Init),
                Event::InitDone => Some(Event::InitDone),
            })
        })
}

/// Keeps account of who is there and who claims what. An object without finalizers is gone at once, and nobody looks at it
/// again: its attempt is called off from here. One that went while the watch was broken is missed by the next list.
pub(crate) fn keep_account(
    attempts: Arc<Attempts>,
    mut register: Register,
) -> impl FnMut(&Event<ImagePush>) + Send {
    let mut listed = HashSet::new();
    move |event| match event {
        Event::Init => listed.clear(),
        Event::InitApply(object) => {
            listed.insert(object.uid().unwrap_or_default());
            register.note(object);
        }
        Event::InitDone => {
            attempts.keep_only(&listed);
            register.keep_only(&listed);
        }
        Event::Delete(object) => {
            attempts.forget(&object.uid().unwrap_or_default());
            register.release(object);
        }
        Event::Apply(object) => register.note(object),
    }
}

fn readable(object: DeserializeGuard<ImagePush>) -> Option<ImagePush> {
    match object.0 {
        Ok(mut object) => {
            object.metadata.managed_fields = None;
            Some(object)
        }
        Err(unreadable) => {
            let (name, namespace) = (&unreadable.metadata.name, &unreadable.metadata.namespace);
            tracing::warn!(
                ?name,
                ?namespace,
                error = unreadable.error,
                "an ImagePush can't be read"
            );
            None
        }
    }
}
