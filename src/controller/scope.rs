//! Looks after the objects of one namespace, or of all: watch, looks, attempts, and the end of it all.

use std::sync::Arc;

use futures::channel::mpsc;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt as _};
use kube_runtime::reflector::{self, ObjectRef, Store};
use kube_runtime::watcher::Config;
use kube_runtime::{Controller, Predicate as _, PredicateConfig, WatchStreamExt as _, predicates};
use tokio::time::{sleep, timeout};

use super::claims::Register;
use super::look::{look, on_error, traits};
use super::reconcile::{Context, reconcile};
use super::secrets::{SecretWatch, objects_of_changed_secrets};
use super::unreadable;
use super::watch::{calmed, keep_account, watch};
use crate::api::v1alpha1::ImagePush;
use crate::limits::{DEBOUNCE, LAST_STATUS_TIMEOUT, RECONCILES, STOP_TIMEOUT, UNREADABLE_QUEUE};

/// Looks after the objects of one namespace, or of all, until the operator is to stop.
pub(crate) async fn look_after(
    namespace: Option<String>,
    secrets: SecretWatch,
    context: Arc<Context>,
    woken: impl Stream<Item = ObjectRef<ImagePush>> + Send + 'static,
    register: Register,
    listed: impl FnOnce() + Send,
) {
    let api: Api<DeserializeGuard<ImagePush>> = match &namespace {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    };
    let (reader, writer) = reflector::store::<ImagePush>();
    let (mut rest, unreadable) = mpsc::channel(UNREADABLE_QUEUE);
    let watched = watch(api, Config::default().any_semantic(), context.metrics.clone())
        .try_filter_map(move |event| {
            futures::future::ready(Ok(unreadable::readable(event, &mut rest)))
        })
        .inspect_ok(keep_account(context.clone(), register))
        .reflect(writer)
        .applied_objects()
        .predicate_filter(
            predicates::generation.combine(predicates::annotations),
            PredicateConfig::default(),
        );
    let changed = objects_of_changed_secrets(secrets, namespace.as_deref(), &reader, &context);
    let config = kube_runtime::Config::default().concurrency(RECONCILES).debounce(DEBOUNCE);
    let controller = Controller::for_stream(calmed(watched), reader.clone())
        .with_config(config)
        .reconcile_on(futures::stream::select(woken, changed))
        .graceful_shutdown_on(context.stopping.clone().cancelled_owned())
        .run(look, on_error, context.clone())
        .for_each(async |looked_at| {
            if let Err(error) = looked_at {
                tracing::debug!(%error, "an object was not looked at");
            }
        });
    let told_when_listed = async {
        if reader.wait_until_ready().await.is_ok() {
            tracing::info!(
                namespace = namespace.as_deref().unwrap_or("(all)"),
                "objects are watched"
            );
            listed();
        }
    };
    let reports = unreadable::report(unreadable, context.client.clone(), context.recorder.clone());
    let looks = async { tokio::join!(controller, told_when_listed) };
    // Only the end of the looks ends the reports.
    let work = async {
        tokio::select! { _ = looks => {}, () = reports => {} }
    };
    let stopped = async {
        context.stopping.cancelled().await;
        let (pushes, removals, prunings) =
            tokio::join!(context.attempts.stop(), context.removals.stop(), context.prunings.stop());
        pushes && removals && prunings
    };
    // What a look still has to say to an API server that doesn't answer is found out again at the next start.
    let given_up = async {
        context.stopping.cancelled().await;
        sleep(STOP_TIMEOUT).await;
    };
    let ((), ended) = tokio::join!(
        async {
            tokio::select! { () = work => {}, () = given_up => {} }
        },
        stopped
    );
    // After the lease is lost, somebody else reports.
    if context.leadership.is_held() {
        let reported = timeout(LAST_STATUS_TIMEOUT, report_the_rest(&reader, &context)).await;
        if reported.is_err() {
            tracing::warn!("not every status was written in time; the next start finds out");
        }
    }
    if !ended {
        // What is still being written must not meet what the next one writes: that one waits until the lease has run out.
        context.leadership.end();
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
        let parent = context.attempts.trace_of(&uid);
        let traced = context.tracer.begin("last report", parent, traits(&object));
        if let Err(error) = reconcile(object, context.clone(), traced.place()).await {
            tracing::warn!(%error, name, "the last status was not written");
        }
    }
}
