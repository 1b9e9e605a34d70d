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
    // Which Secrets a ServiceAccount names is not known here; a look that finds nothing new is cheap.
    let names = |object: &&Arc<ImagePush>| {
        object.namespace() == namespace
            && (resolve::names(&object.spec).contains(name.as_str())
                || !resolve::accounts(&object.spec).is_empty())
    };
    objects.iter().filter(names).map(|object| ObjectRef::from_obj(&**object)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whoever_names_a_secret_or_an_account_hears_of_it() {
        let object = |name: &str, namespace: &str, more: &str| {
            let mut source = json!({"reference": "docker://a.example/x:1"});
            match more {
                "" => {}
                "robot" => source["serviceAccountName"] = json!(more),
                secret => source["secretRef"] = json!({"name": secret}),
            }
            let spec =
                json!({"source": source, "destination": {"reference": "docker://b.example/x:1"}});
            let mut object = ImagePush::new(name, serde_json::from_value(spec).unwrap());
            object.metadata.namespace = Some(namespace.into());
            Arc::new(object)
        };
        let objects = [
            object("names-it", "n", "login"),
            object("names-another", "n", "other"),
            object("by-account", "n", "robot"),
            object("names-none", "n", ""),
            object("elsewhere", "m", "login"),
        ];
        let mut secret = PartialObjectMeta::<Secret>::default();
        (secret.metadata.name, secret.metadata.namespace) =
            (Some("login".into()), Some("n".into()));
        let found: Vec<String> = naming(&objects, &secret).into_iter().map(|it| it.name).collect();
        assert_eq!(found, ["names-it", "by-account"]);
    }
}
