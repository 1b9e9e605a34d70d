//! The operator: keeps what ImagePush objects ask for.
//!
//! Each look at an object is short: resolve the Secrets it names → validate it into options → decide, from object,
//! observation and time → write status, if it changed → start or stop an attempt. The push itself runs in a task of its own
//! (`executor`) and wakes the object when it ends. Everything can be lost at any moment and is found out again.

mod decide;
mod digests;
mod executor;
mod failure;
mod metrics;
pub mod once;
mod probes;
mod reconcile;
mod requests;
pub mod resolve;
mod status;
pub mod validate;

use std::collections::BTreeSet;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::channel::mpsc;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use kube::core::DeserializeGuard;
use kube::{Api, Client, Config, ResourceExt as _};
use kube_runtime::reflector::{self, Store};
use kube_runtime::watcher::{self, Event, watcher};
use kube_runtime::{Controller, Predicate as _, PredicateConfig, WatchStreamExt as _, predicates};
use tokio_util::sync::CancellationToken;

pub use failure::Failure;

use self::executor::{Attempts, Engine, InProcess, Limits, RealEngine};
use self::metrics::Metrics;
use self::probes::Health;
use self::reconcile::{Context, on_error, reconcile};
use crate::access::{Egress, Network, NetworkSettings};
use crate::api::v1alpha1::ImagePush;
use crate::error::{Error, Kind, Result};
use crate::limits::WAKE_QUEUE;

/// How the operator is to run.
#[derive(Clone, Debug)]
pub struct OperatorConfig {
    /// Namespaces whose objects are looked after; all if there are none.
    pub namespaces: Vec<String>,
    /// Where `/livez`, `/readyz` and `/metrics` are served; nowhere if not set.
    pub listen: Option<SocketAddr>,
    /// Pushes that run at the same time.
    pub concurrency: usize,
    /// Of those, how many may use the same registry.
    pub per_host: usize,
    /// How long an attempt may take where the object doesn't say.
    pub timeout: Duration,
    /// Where connections to registries may lead, and by which way.
    pub network: NetworkSettings,
}

/// Looks at objects that change often together, not each time.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Looks at objects that are under way at the same time; each is a few requests to the API server.
const RECONCILES: u16 = 16;

impl Default for OperatorConfig {
    fn default() -> Self {
        Self {
            namespaces: vec![],
            listen: Some(SocketAddr::from(([0, 0, 0, 0], 8080))),
            concurrency: 4,
            per_host: 2,
            timeout: Duration::from_mins(30),
            network: NetworkSettings { egress: Egress::operator(), ..NetworkSettings::default() },
        }
    }
}

/// A namespace that is given twice is watched once: two watches would push everything twice.
fn once_each(namespaces: Vec<String>) -> Vec<Option<String>> {
    BTreeSet::from_iter(namespaces).into_iter().map(Some).collect()
}

/// Runs the operator until `shutdown`: inside a cluster with its service account, elsewhere with the user's kubeconfig.
///
/// Returns after the running pushes have been called off and have ended. Fails if there is no cluster to talk to,
/// or the address can't be listened on.
pub async fn run(config: OperatorConfig, shutdown: CancellationToken) -> Result<()> {
    let unusable = |cause: String| {
        Error::new(Kind::InvalidOptions, format!("no Kubernetes cluster is configured: {cause}"))
            .hint("run inside a cluster, or set KUBECONFIG")
    };
    let cluster = match Config::incluster() {
        Ok(cluster) => cluster,
        Err(_) => Config::infer().await.map_err(|cause| unusable(cause.to_string()))?,
    };
    let client = Client::try_from(cluster).map_err(|cause| unusable(cause.to_string()))?;
    run_with(client, config, shutdown).await
}

/// The same with a client that the caller made.
pub async fn run_with(
    client: Client,
    config: OperatorConfig,
    shutdown: CancellationToken,
) -> Result<()> {
    run_engine(client, config, shutdown, Arc::new(RealEngine)).await
}

async fn run_engine(
    client: Client,
    config: OperatorConfig,
    shutdown: CancellationToken,
    engine: Arc<dyn Engine>,
) -> Result<()> {
    let OperatorConfig { namespaces, listen, concurrency, per_host, timeout, network } = config;
    let metrics = Metrics::new();
    let network = Network::new(network);
    let limits = Arc::new(Limits::new(concurrency, per_host));
    let scopes: Vec<Option<String>> =
        if namespaces.is_empty() { vec![None] } else { once_each(namespaces) };
    let ready = Arc::new(AtomicBool::new(false));
    let unsynced = Arc::new(AtomicUsize::new(scopes.len()));
    let health = Health { ready: ready.clone(), metrics: metrics.clone() };
    let served = tokio::spawn(serve(listen, health, shutdown.clone()).await?);
    let watches = scopes.into_iter().map(|scope| {
        let (wake, woken) = mpsc::channel(WAKE_QUEUE);
        let executor = InProcess::new(engine.clone(), limits.clone(), metrics.clone());
        let attempts = Attempts::new(Arc::new(executor), metrics.clone(), wake);
        let context = Arc::new(Context {
            client: client.clone(),
            attempts: Arc::new(attempts),
            metrics: metrics.clone(),
            network: network.clone(),
            timeout,
            stopping: shutdown.clone(),
        });
        let (ready, unsynced) = (ready.clone(), unsynced.clone());
        let synced = move || {
            if unsynced.fetch_sub(1, Ordering::Relaxed) == 1 {
                ready.store(true, Ordering::Relaxed);
            }
        };
        look_after(scope, context, woken, synced)
    });
    futures::future::join_all(watches).await;
    served.await.map_err(|cause| Error::internal(format!("the probes ended: {cause}")))?
}

/// Looks after the objects of one namespace, or of all.
async fn look_after(
    scope: Option<String>,
    context: Arc<Context>,
    woken: impl Stream<Item = reflector::ObjectRef<ImagePush>> + Send + 'static,
    synced: impl FnOnce() + Send,
) {
    let client = context.client.clone();
    let api: Api<DeserializeGuard<ImagePush>> = match &scope {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let (reader, writer) = reflector::store::<ImagePush>();
    let watched = events(api, context.metrics.clone())
        .inspect_ok(forget_the_gone(context.attempts.clone()))
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
    report_the_rest(&reader, &context).await;
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

/// The watch. One object that can't be read doesn't block the others.
fn events(
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

/// An object without finalizers is gone at once, and nobody looks at it again: its attempt is called off from here.
/// One that went while the watch was broken is missed by the next list.
fn forget_the_gone(attempts: Arc<Attempts>) -> impl FnMut(&Event<ImagePush>) + Send {
    let mut listed = HashSet::new();
    move |event| match event {
        Event::Init => listed.clear(),
        Event::InitApply(object) => drop(listed.insert(object.uid().unwrap_or_default())),
        Event::InitDone => attempts.keep_only(&listed),
        Event::Delete(object) => attempts.forget(&object.uid().unwrap_or_default()),
        Event::Apply(_) => {}
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

/// Starts to listen; what it returns serves.
async fn serve(
    listen: Option<SocketAddr>,
    health: Health,
    shutdown: CancellationToken,
) -> Result<impl Future<Output = Result<()>> + Send> {
    let failed = |cause: std::io::Error| {
        Error::new(Kind::InvalidOptions, format!("cannot serve probes and metrics: {cause}"))
    };
    let listener = match listen {
        Some(address) => Some(tokio::net::TcpListener::bind(address).await.map_err(failed)?),
        None => None,
    };
    Ok(async move {
        match listener {
            Some(listener) => probes::serve(listener, health, shutdown).await.map_err(failed),
            None => Ok(()),
        }
    })
}
