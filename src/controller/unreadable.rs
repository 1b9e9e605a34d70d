//! Objects that can't be read: made by a newer version of the definition, or by one whose schema was loosened.
//!
//! One of them doesn't hold up the others. Its status and an event say what is wrong with it, once for each of its
//! generations; nothing else is done for it.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::channel::mpsc;
use jiff::{Timestamp, Unit};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::{Api, Client, Resource as _};
use kube_runtime::watcher::Event;
use serde_json::json;

use super::events::{Recorder, Told};
use super::failure::Failure;
use crate::api::FIELD_MANAGER;
use crate::api::conditions::{self, READY, STALLED, Setting, State};
use crate::api::v1alpha1::ImagePush;
use crate::error::{Error, Kind};

/// Takes what can be read out of an event of the watch, and hands the rest on to be reported.
pub(crate) fn readable(
    event: Event<DeserializeGuard<ImagePush>>,
    rest: &mut mpsc::Sender<InvalidObject>,
) -> Option<Event<ImagePush>> {
    let mut take = |object: DeserializeGuard<ImagePush>| match object.0 {
        Ok(mut object) => {
            object.metadata.managed_fields = None;
            Some(object)
        }
        Err(object) => {
            tracing::warn!(
                name = object.metadata.name,
                namespace = object.metadata.namespace,
                error = object.error,
                "an ImagePush can't be read"
            );
            // Where a great many wait already, the log has to do.
            let _ = rest.try_send(object);
            None
        }
    };
    match event {
        Event::Apply(object) => take(object).map(Event::Apply),
        Event::InitApply(object) => take(object).map(Event::InitApply),
        Event::Delete(object) => object.0.ok().map(Event::Delete),
        Event::Init => Some(Event::Init),
        Event::InitDone => Some(Event::InitDone),
    }
}

/// Reports what comes, until nothing can come any more.
pub(crate) async fn report(
    mut unreadable: mpsc::Receiver<InvalidObject>,
    client: Client,
    recorder: Arc<Recorder>,
) {
    // By uid, the generation that was reported: our own write comes back as a change.
    let mut told: HashMap<String, Option<i64>> = HashMap::new();
    while let Some(object) = unreadable.next().await {
        let uid = object.metadata.uid.clone().unwrap_or_default();
        if told.get(&uid) == Some(&object.metadata.generation) {
            continue;
        }
        match report_one(&object, &client, &recorder).await {
            Ok(()) => drop(told.insert(uid, object.metadata.generation)),
            Err(error) => {
                tracing::warn!(%error, name = object.metadata.name, "it can't be told so either");
            }
        }
    }
}

async fn report_one(
    object: &InvalidObject,
    client: &Client,
    recorder: &Recorder,
) -> Result<(), kube::Error> {
    let failure = failure(&object.error);
    let metadata = &object.metadata;
    let (name, namespace) = (metadata.name.clone(), metadata.namespace.clone());
    recorder.tell(
        ObjectReference {
            api_version: Some(ImagePush::api_version(&()).into_owned()),
            kind: Some(ImagePush::kind(&()).into_owned()),
            name: name.clone(),
            namespace: namespace.clone(),
            uid: metadata.uid.clone(),
            ..ObjectReference::default()
        },
        Told::warning(failure.reason, "Read", failure.message.clone()),
    );
    let resource = ApiResource::erase::<ImagePush>(&());
    let namespace = namespace.unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
    let generation = metadata.generation.unwrap_or(0);
    let mut conditions = vec![];
    let now = Timestamp::now().round(Unit::Second).unwrap_or_else(|_| Timestamp::now());
    for (kind, state) in [(READY, State::False), (STALLED, State::True)] {
        let (reason, message) = (failure.reason, failure.message.as_str());
        let setting = Setting { kind, state, reason, message };
        conditions::set(&mut conditions, &setting, generation, now);
    }
    let patch = json!({
        "apiVersion": ImagePush::api_version(&()),
        "kind": ImagePush::kind(&()),
        "metadata": {"uid": metadata.uid},
        "status": {"observedGeneration": generation, "conditions": conditions},
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    api.patch_status(&name.unwrap_or_default(), &parameters, &Patch::Apply(&patch)).await?;
    Ok(())
}

fn failure(cause: &str) -> Failure {
    let message = format!("the object can't be read: {cause}");
    Failure::from(
        &Error::new(Kind::InvalidOptions, message)
            .hint("correct it, or update the operator if the object is newer"),
    )
}
