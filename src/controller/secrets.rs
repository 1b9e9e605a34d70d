//! Changes of Secrets, so that a rotated one takes effect in seconds instead of at the next look.
//!
//! Off by default: permission to list and watch Secrets can't be narrowed to those with a label. Of those that are labelled
//! `imagepush.dev/watch=true` only metadata is asked for; content is read as always, by name, when an attempt needs it.

use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::{Api, ResourceExt as _};
use kube_runtime::reflector::{ObjectRef, Store};
use kube_runtime::watcher::{Config, Event};

use super::reconcile::Context;
use super::resolve;
use super::watch::watch;
use crate::api::v1alpha1::ImagePush;

/// The label of Secrets that are watched.
const LABEL: &str = "imagepush.dev/watch=true";

/// Whether Secrets are watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretWatch {
    /// They are read when they are needed.
    #[default]
    Off,
    /// Those that are labelled are watched, too.
    On,
}

/// The objects that name a Secret which has changed, as they are when it does.
pub(crate) fn objects_of_changed_secrets(
    watches: SecretWatch,
    namespace: Option<&str>,
    objects: &Store<ImagePush>,
    context: &Context,
) -> BoxStream<'static, ObjectRef<ImagePush>> {
    if watches == SecretWatch::Off {
        return futures::stream::empty().boxed();
    }
    let client = context.client.clone();
    let api: Api<PartialObjectMeta<Secret>> = match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let config = Config::default().any_semantic().labels(LABEL);
    let objects = objects.clone();
    changed(watch(api, config, context.metrics.clone()))
        .flat_map(move |secret| futures::stream::iter(naming(&objects.state(), &secret)))
        .boxed()
}

/// Those of a list, too: what changed while the watch was broken is in none of its events. A look that finds nothing new costs
/// a read of the Secret.
fn changed<E>(
    events: impl Stream<Item = Result<Event<PartialObjectMeta<Secret>>, E>>,
) -> impl Stream<Item = PartialObjectMeta<Secret>> {
    events.filter_map(async |event| match event {
        Ok(Event::Apply(secret) | Event::InitApply(secret)) => Some(secret),
        _ => None,
    })
}

/// The objects that name this Secret.
fn naming(
    objects: &[Arc<ImagePush>],
    secret: &PartialObjectMeta<Secret>,
) -> Vec<ObjectRef<ImagePush>> {
    let (name, namespace) = (secret.name_any(), secret.namespace());
    let names = |object: &&Arc<ImagePush>| {
        object.namespace() == namespace && resolve::names(&object.spec).contains(name.as_str())
    };
    objects.iter().filter(names).map(|object| ObjectRef::from_obj(&**object)).collect()
}
