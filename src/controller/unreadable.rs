//! Objects that can't be read: made by a newer version of the definition, or by one whose schema was loosened.
//!
//! One of them doesn't hold up the others. Its status and an event say what is wrong with it, once for each of its
//! generations; what it asked for before is no longer done, and one that is deleted is let go.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::channel::mpsc;
use jiff::{Timestamp, Unit};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::{Api, Client, Resource as _};
use kube_runtime::watcher::Event;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::api_server::wait_after;
use super::events::{Recorder, Told};
use super::failure::Failure;
use super::finalizer;
use super::reconcile::chance;
use crate::api::FIELD_MANAGER;
use crate::api::conditions::{self, READY, RECONCILING, STALLED, Setting, State};
use crate::api::reasons::events::DELETION_SKIPPED;
use crate::api::v1alpha1::ImagePush;
use crate::error::{Error, Kind};
use crate::limits::MAX_UNREADABLE;

/// Takes what can be read out of an event of the watch, and hands the rest on to be reported.
///
/// What can't be read any more is gone as far as the rest of the operator is concerned: what it asked for before does not
/// count, its attempt ends, and its destination is free.
pub(crate) fn readable(
    event: Event<DeserializeGuard<ImagePush>>,
    rest: &mut mpsc::Sender<InvalidObject>,
) -> Option<Event<ImagePush>> {
    match event {
        Event::Apply(object) => match object.0 {
            Ok(object) => Some(Event::Apply(ours(object))),
            Err(object) => {
                let gone = stub(&object.metadata).map(Event::Delete);
                hand_on(object, rest);
                gone
            }
        },
        Event::InitApply(object) => match object.0 {
            Ok(object) => Some(Event::InitApply(ours(object))),
            Err(object) => {
                hand_on(object, rest);
                None
            }
        },
        Event::Delete(object) => match object.0 {
            Ok(object) => Some(Event::Delete(object)),
            Err(object) => stub(&object.metadata).map(Event::Delete),
        },
        Event::Init => Some(Event::Init),
        Event::InitDone => Some(Event::InitDone),
    }
}

/// An object without what others tell in status, which we neither repeat nor keep.
fn ours(mut object: ImagePush) -> ImagePush {
    object.metadata.managed_fields = None;
    if let Some(status) = &mut object.status {
        conditions::keep_ours(&mut status.conditions);
    }
    object
}

fn hand_on(object: InvalidObject, rest: &mut mpsc::Sender<InvalidObject>) {
    tracing::warn!(
        name = object.metadata.name,
        namespace = object.metadata.namespace,
        error = object.error,
        "an ImagePush can't be read"
    );
    // Where a great many wait already, the log has to do.
    let _ = rest.try_send(object);
}

/// An object of which only the metadata is known.
fn stub(metadata: &ObjectMeta) -> Option<ImagePush> {
    let unknown = json!({"reference": "docker://unreadable.invalid/unreadable"});
    let spec = json!({"source": unknown, "destination": unknown});
    let mut object = ImagePush::new("", serde_json::from_value(spec).ok()?);
    object.metadata = metadata.clone();
    Some(object)
}

/// Reports what comes, until nothing can come any more. What fails is tried again, in the state that came last.
pub(crate) async fn report(
    mut unreadable: mpsc::Receiver<InvalidObject>,
    client: Client,
    recorder: Arc<Recorder>,
) {
    // By uid, the generation that was reported: our own write comes back as a change.
    let mut told: HashMap<String, Option<i64>> = HashMap::new();
    let mut later = Later::default();
    loop {
        let next = tokio::select! {
            next = unreadable.next() => next,
            object = later.next() => Some(object),
        };
        let Some(object) = next else { return };
        let uid = object.metadata.uid.clone().unwrap_or_default();
        later.0.remove(&uid);
        if told.get(&uid) == Some(&object.metadata.generation) {
            continue;
        }
        match report_one(&object, &client, &recorder).await {
            Ok(()) => {
                if told.len() >= MAX_UNREADABLE {
                    told.clear();
                }
                told.insert(uid, object.metadata.generation);
            }
            Err(error) => {
                let wait = wait_after(&error, chance());
                tracing::warn!(%error, ?wait, name = object.metadata.name, "it can't be told so now");
                later.put(uid, object, wait);
            }
        }
    }
}

/// Objects by uid that are to be told so later, and when.
#[derive(Default)]
struct Later(HashMap<String, (Instant, InvalidObject)>);

// === impl Later ===

impl Later {
    fn put(&mut self, uid: String, object: InvalidObject, wait: Duration) {
        // Beyond that, the next list brings them again.
        if self.0.len() < MAX_UNREADABLE {
            self.0.insert(uid, (Instant::now() + wait, object));
        }
    }

    /// Waits until one is due; for ever if there is none.
    async fn next(&mut self) -> InvalidObject {
        let due = self.0.iter().min_by_key(|(_, (due, _))| *due);
        let Some((uid, due)) = due.map(|(uid, (due, _))| (uid.clone(), *due)) else {
            return pending().await;
        };
        sleep_until(due).await;
        match self.0.remove(&uid) {
            Some((_, object)) => object,
            None => pending().await,
        }
    }
}

async fn report_one(
    object: &InvalidObject,
    client: &Client,
    recorder: &Recorder,
) -> Result<(), kube::Error> {
    let metadata = &object.metadata;
    let (name, namespace) = (metadata.name.clone(), metadata.namespace.clone());
    let reference = ObjectReference {
        api_version: Some(ImagePush::api_version(&()).into_owned()),
        kind: Some(ImagePush::kind(&()).into_owned()),
        name: name.clone(),
        namespace: namespace.clone(),
        uid: metadata.uid.clone(),
        ..ObjectReference::default()
    };
    let (name, namespace) = (name.unwrap_or_default(), namespace.unwrap_or_default());
    if metadata.deletion_timestamp.is_some() {
        return let_go(metadata, client, recorder, reference).await;
    }
    let failure = failure(&object.error);
    recorder.tell(reference, Told::warning(failure.reason, "Read", failure.message.clone()));
    let resource = ApiResource::erase::<ImagePush>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
    let Some(found) = api.get_opt(&name).await? else { return Ok(()) };
    if found.metadata.uid != metadata.uid {
        return Ok(());
    }
    let generation = metadata.generation.unwrap_or(0);
    let patch = json!({
        "apiVersion": ImagePush::api_version(&()),
        "kind": ImagePush::kind(&()),
        "metadata": {"uid": metadata.uid},
        "status": status(&found.data["status"], &failure, generation),
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    api.patch_status(&name, &parameters, &Patch::Apply(&patch)).await?;
    Ok(())
}

/// Nobody can tell what it has pushed, and whether that is to be taken away: it stays.
async fn let_go(
    metadata: &ObjectMeta,
    client: &Client,
    recorder: &Recorder,
    reference: ObjectReference,
) -> Result<(), kube::Error> {
    let Some(stub) = stub(metadata).filter(finalizer::is_set) else { return Ok(()) };
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<ImagePush> = Api::namespaced(client.clone(), namespace);
    finalizer::set(&api, &stub, false).await?;
    let note = "the object can't be read, so what it has pushed stays".to_owned();
    recorder.tell(reference, Told::warning(DELETION_SKIPPED, "Delete", note));
    Ok(())
}

/// The status that there is, which says now that the object can't be read. The rest is kept for when it can be again: a
/// server-side apply takes away what it leaves out.
fn status(before: &Value, failure: &Failure, generation: i64) -> Value {
    let mut status = before.clone();
    let mut conditions: Vec<Condition> =
        serde_json::from_value(status["conditions"].take()).unwrap_or_default();
    conditions::keep_ours(&mut conditions);
    conditions::remove(&mut conditions, RECONCILING);
    let now = Timestamp::now().round(Unit::Second).unwrap_or_else(|_| Timestamp::now());
    for (kind, state) in [(READY, State::False), (STALLED, State::True)] {
        let (reason, message) = (failure.reason, failure.message.as_str());
        let setting = Setting { kind, state, reason, message };
        conditions::set(&mut conditions, &setting, generation, now);
    }
    status["conditions"] = json!(conditions);
    status["observedGeneration"] = json!(generation);
    if let Some(fields) = status.as_object_mut() {
        fields.remove("progress");
        // It has a manager of its own.
        fields.remove("inventory");
    }
    status
}

fn failure(cause: &str) -> Failure {
    let message = format!("the object can't be read: {cause}");
    Failure::from(
        &Error::new(Kind::InvalidOptions, message)
            .hint("correct it, or update the operator if the object is newer"),
    )
}
