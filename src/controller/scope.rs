//! Looks after the objects of one namespace, or of all: watch, looks, attempts, and the end of it all.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt as _};
use kube_runtime::reflector::{self, ObjectRef, Store};
use kube_runtime::{Controller, Predicate as _, PredicateConfig, WatchStreamExt as _, predicates};

use super::claims::Register;
use super::reconcile::{Context, on_error, reconcile};
use super::watch::{events, keep_account};
use crate::api::v1alpha1::ImagePush;

/// Looks at objects that change often together, not each time.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Looks at objects that are under way at the same time; each is a few requests to the API server.
const RECONCILES: u16 = 16;

/// Looks after the objects of one namespace, or of all.
pub(crate) async fn look_after(
    scope: Option<String>,
    context: Arc<Context>,
    woken: impl Stream<Item = ObjectRef<ImagePush>> + Send + 'static,
    register: Register,
    synced: impl FnOnce() + Send,
) {
    let client = context.client.clone();
    let api: Api<DeserializeGuard<ImagePush>> = match &scope {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let (reader, writer) = reflector::store::<ImagePush>();
    let watched = events(api, context.metrics.clone())
        .inspect_ok(keep_account(context.attempts.clone(), register))
        .default_backoff()
        .reflect(writer)
        .applied_objects()
        .predicate_filter(
            predicates::generation.combine(predicates::annotations),
            PredicateConfig::default(),
        );
    let config = kube_runtime::Config::default().concurrency(RECONCILES).debounce(DEBOUNCE);
    let controller = Controller::for_stream(watched, reader.clone())
        .with_config(config)
        .reconcile_on(woken)
        .graceful_shutdown_on(context.stopping.clone().cancelled_owned())
        .run(reconcile, on_error, context.clone())
        .for_each(async |looked_at| {
            if let Err(error) = looked_at {
                tracing::debug!(%error, "an object was not looked at");
            }
        });
    let listed = async {
        if reader.wait_until_ready().await.is_ok() {
            tracing::info!(namespace = scope.as_deref().unwrap_or("(all)"), "objects are watched");
            synced();
        }
    };
    tokio::join!(controller, listed);
    context.attempts.stop().await;
    // After the lease is lost, somebody else reports.
    if context.leadership.is_held() {
        report_the_rest(&reader, &context).await;
    }
}

/// Attempts that ended while the operator stopped are reported still.
async fn report_the_rest(objects: &Store<ImagePush>, context: &Arc<Context>) {
    for object in objects.state() {
        let uid = object.uid().unwrap_or_default();
        if context.attempts.recall(&uid).attempt.is_none() {
            continue;
        }
        let name = object.name_any();
        if let Err(error) = reconcile(object, context.clone()).await {
            tracing::warn!(%error, name, "the last status was not written");
        }
    }
}
