//! The operator: keeps what ImagePush objects ask for.
//!
//! Each look at an object is short: resolve the Secrets it names → validate it into options → decide, from object,
//! observation and time → write status, if it changed → start or stop an attempt. The push itself runs in a task of its own
//! (`executor`) and wakes the object when it ends. Everything can be lost at any moment and is found out again.

mod api_server;
mod claims;
mod cleanup;
mod decide;
mod deletion;
mod delivery;
mod digest_output;
mod digests;
mod endings;
mod events;
mod executor;
mod expired;
mod failure;
mod finalizer;
mod lease;
mod look;
mod metrics;
mod newcomers;
pub mod once;
mod place;
pub mod pod;
mod prepare;
mod probes;
mod reconcile;
mod removal;
mod requests;
pub mod resolve;
mod resources;
mod scope;
mod secrets;
mod status;
mod turns;
mod unreadable;
pub mod validate;
mod watch;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use kube::{Client, Config};
use tokio_util::sync::CancellationToken;

pub use executor::{Bounds, HostFolder, JobSettings, PodSettings, Task};
pub use failure::Failure;
pub use lease::ElectionConfig;
pub use metrics::ObjectMetrics;
pub use secrets::SecretWatch;

use self::claims::{Claims, Register};
use self::endings::Endings;
use self::events::Recorder;
use self::executor::{Attempts, Engine, Executors, InProcess, Jobs, Limits, RealEngine};
use self::lease::{Candidate, Leadership};
use self::look::InARow;
use self::metrics::Metrics;
use self::newcomers::Newcomers;
use self::probes::{Health, Pulse, Readiness};
use self::reconcile::Context;
use self::removal::Removals;
use self::resources::Applier;
use crate::access::{Egress, Network, NetworkSettings};
use crate::apply::Policy;
use crate::blob::{CodecMemory, Pace};
use crate::error::{Error, Kind, Result};
use crate::limits::{EVENT_DRAIN_TIMEOUT, WAKE_QUEUE};
use crate::telemetry::Tracer;

/// How the operator is to run.
#[derive(Clone, Debug)]
pub struct OperatorConfig {
    /// Namespaces whose objects are looked after; all if there are none.
    pub namespaces: Vec<String>,
    /// How several operators agree on the one that works; if not set, this one works whoever else does.
    pub election: Option<ElectionConfig>,
    /// Whether changes of Secrets are watched, beside those being read when they are needed.
    pub secret_watch: SecretWatch,
    /// Whether metrics have series for each object.
    pub object_metrics: ObjectMetrics,
    /// Where `/livez`, `/readyz` and `/metrics` are served; nowhere if not set.
    pub listen: Option<SocketAddr>,
    /// How much the pushes in the operator's process may use at the same time.
    pub bounds: Bounds,
    /// How fast they may read blobs, all together; as fast as they can if not set.
    pub bytes_per_second: Option<NonZeroU64>,
    /// How the Jobs are made that pushes run in.
    pub jobs: JobSettings,
    /// How long an attempt may take where the object doesn't say.
    pub timeout: Duration,
    /// Where connections to registries may lead, and by which way.
    pub network: NetworkSettings,
    /// Which kinds bundles may hold that are applied in the cluster; none are applied if not set.
    pub bundles: Option<Policy>,
    /// Begins the spans of looks and attempts, and exports them if it is of an exporter.
    pub tracer: Tracer,
}

impl Default for OperatorConfig {
    fn default() -> Self {
        Self {
            namespaces: vec![],
            election: None,
            secret_watch: SecretWatch::Off,
            object_metrics: ObjectMetrics::Off,
            listen: Some(SocketAddr::from(([0, 0, 0, 0], 8080))),
            bounds: Bounds {
                all: 8,
                per_namespace: None,
                per_host: 4,
                memory_bytes: 384 << 20,
                jobs: 16,
            },
            bytes_per_second: None,
            jobs: JobSettings::default(),
            timeout: Duration::from_mins(30),
            network: NetworkSettings { egress: Egress::operator(), ..NetworkSettings::default() },
            bundles: None,
            tracer: Tracer::default(),
        }
    }
}

/// A namespace that is given twice is watched once: two watches would push everything twice.
fn once_each(namespaces: Vec<String>) -> Vec<Option<String>> {
    BTreeSet::from_iter(namespaces).into_iter().map(Some).collect()
}

/// Runs the operator until `shutdown`: inside a cluster with its service account, elsewhere with the user's kubeconfig.
///
/// Returns after the running pushes have been called off and have ended. Fails if there is no cluster to talk to, the
/// address can't be listened on, or another operator has taken the lease.
pub async fn run(config: OperatorConfig, shutdown: CancellationToken) -> Result<()> {
    let unusable = |cause: String| {
        Error::new(Kind::InvalidOptions, format!("no Kubernetes cluster is configured: {cause}"))
            .hint("run inside a cluster, or set KUBECONFIG")
    };
    let mut cluster = match Config::incluster() {
        Ok(cluster) => cluster,
        Err(_) => Config::infer().await.map_err(|cause| unusable(cause.to_string()))?,
    };
    runs_no_program(&cluster)?;
    acts_as_itself(&cluster)?;
    // It would send again what may have been done, and wait for as long as the server says.
    cluster.default_retry = false;
    let client = Client::try_from(cluster).map_err(|cause| unusable(cause.to_string()))?;
    run_with(client, config, shutdown).await
}

/// A kubeconfig may name a program that identifies us. The operator runs none, whoever may have written the file.
fn runs_no_program(cluster: &Config) -> Result<()> {
    if cluster.auth_info.exec.is_none() && cluster.auth_info.auth_provider.is_none() {
        return Ok(());
    }
    let message = "the kubeconfig identifies its user by a program, and the operator runs none";
    Err(Error::new(Kind::InvalidOptions, message)
        .hint("run inside the cluster, or use a kubeconfig with a token or a certificate"))
}

/// Requests that say to be somebody else's would have that one's rights, also where they say to be an account's: of a group
/// that is added below, nobody who applies a bundle would know.
fn acts_as_itself(cluster: &Config) -> Result<()> {
    let auth = &cluster.auth_info;
    let groups = auth.impersonate_groups.as_ref().is_some_and(|groups| !groups.is_empty());
    let more = auth.impersonate_user_extra.as_ref().is_some_and(|more| !more.is_empty());
    if auth.impersonate.is_none() && auth.impersonate_uid.is_none() && !groups && !more {
        return Ok(());
    }
    let message = "the kubeconfig or the environment says to act as somebody else, and the operator acts as itself";
    Err(Error::new(Kind::InvalidOptions, message).hint(
        "leave `as`, `as-uid`, `as-groups` and `as-user-extra` out of the kubeconfig, and unset `KUBE_RS_DEBUG_IMPERSONATE_USER` and `KUBE_RS_DEBUG_IMPERSONATE_GROUP`",
    ))
}

/// The same with a client that the caller made.
pub async fn run_with(
    client: Client,
    config: OperatorConfig,
    shutdown: CancellationToken,
) -> Result<()> {
    run_engine(client, config, shutdown, Arc::new(RealEngine)).await
}

/// What the parts of an operator share.
struct Operator {
    client: Client,
    engine: Arc<dyn Engine>,
    /// Namespaces with a watch each; one for all if it has no name.
    scopes: Vec<Option<String>>,
    limits: Arc<Limits>,
    pace: Pace,
    codecs: CodecMemory,
    jobs: Arc<JobSettings>,
    metrics: Arc<Metrics>,
    endings: Arc<Endings>,
    network: Network,
    secret_watch: SecretWatch,
    readiness: Arc<Readiness>,
    pulse: Arc<Pulse>,
    timeout: Duration,
    bundles: Option<Policy>,
    tracer: Tracer,
}

async fn run_engine(
    client: Client,
    config: OperatorConfig,
    shutdown: CancellationToken,
    engine: Arc<dyn Engine>,
) -> Result<()> {
    let OperatorConfig {
        namespaces,
        election,
        secret_watch,
        object_metrics,
        listen,
        bounds,
        bytes_per_second,
        jobs,
        timeout,
        network,
        bundles,
        tracer,
    } = config;
    let network = Network::new(network);
    let metrics = Metrics::with(object_metrics, &network);
    let endings = Arc::<Endings>::default();
    let scopes = if namespaces.is_empty() { vec![None] } else { once_each(namespaces) };
    let operator = Operator {
        client: api_server::bounded(client, metrics.clone(), endings.clone()),
        engine,
        limits: Limits::new(bounds),
        pace: bytes_per_second.map(Pace::new).unwrap_or_default(),
        codecs: CodecMemory::of_process(),
        jobs: Arc::new(jobs),
        metrics,
        endings,
        network,
        secret_watch,
        pulse: Arc::default(),
        readiness: Arc::new(Readiness::new(scopes.len())),
        scopes,
        timeout,
        bundles,
        tracer,
    };
    let health = Health {
        readiness: operator.readiness.clone(),
        pulse: operator.pulse.clone(),
        metrics: operator.metrics.clone(),
    };
    let over = CancellationToken::new();
    let served = tokio::spawn(probes::serve(listen, health, over.clone()).await?);
    // The beat comes from where all looks come from: it stops when they hang.
    let worked = tokio::select! {
        worked = operator.run(election, shutdown) => worked,
        never = operator.pulse.beat() => match never {},
    };
    over.cancel();
    let served = served.await;
    worked?;
    served.map_err(|cause| Error::internal(format!("the probes ended: {cause}")))?
}

// === impl Operator ===

impl Operator {
    /// Waits for its turn, and works until `shutdown` or until it has lost the lease.
    async fn run(
        &self,
        election: Option<ElectionConfig>,
        shutdown: CancellationToken,
    ) -> Result<()> {
        let Some(election) = election else {
            self.work(Leadership::undisputed(), shutdown, "imagepush").await;
            return Ok(());
        };
        let identity = election.identity.clone();
        let mut candidate = Candidate::new(self.client.clone(), election);
        let leadership = tokio::select! {
            leadership = candidate.elected(|| self.readiness.follow()) => leadership,
            () = shutdown.cancelled() => return Ok(()),
        };
        let (over, stop) = (CancellationToken::new(), shutdown.child_token());
        // In a task of its own, so that it is renewed whatever else keeps this one busy.
        let kept = tokio::spawn(candidate.keep(leadership.clone(), over.clone(), stop.clone()));
        self.work(leadership, stop, &identity).await;
        over.cancel();
        kept.await.map_err(|cause| Error::internal(format!("the lease was let go: {cause}")))?
    }

    /// Looks after all objects until `stop`. Events say that they are from `identity`.
    async fn work(&self, leadership: Leadership, stop: CancellationToken, identity: &str) {
        self.readiness.lead();
        let (recorder, events) =
            events::recorder(self.client.clone(), self.metrics.clone(), identity);
        let events = tokio::spawn(events);
        self.look_after_all(leadership, stop, Arc::new(recorder)).await;
        // What writes them ends when the last recorder is gone.
        let abort = events.abort_handle();
        if tokio::time::timeout(EVENT_DRAIN_TIMEOUT, events).await.is_err() {
            abort.abort();
        }
    }

    async fn look_after_all(
        &self,
        leadership: Leadership,
        stop: CancellationToken,
        recorder: Arc<Recorder>,
    ) {
        let _leading = self.metrics.leading();
        let claims = Claims::new(self.scopes.len());
        let policy = self.bundles.clone();
        let applier = Arc::new(Applier::new(
            lease::while_leading(self.client.clone(), leadership.clone()),
            policy,
            leadership.clone(),
        ));
        let watches = self.scopes.iter().map(|namespace| {
            let (wake, woken) = mpsc::channel(WAKE_QUEUE);
            let register = Register::new(claims.clone(), wake.clone());
            let removals = Arc::new(Removals::new(wake.clone()));
            let prunings = Arc::new(Removals::new(wake.clone()));
            let executor = Arc::new(self.executors(namespace.as_deref(), &leadership, &stop));
            let attempts = Attempts::new(executor, self.metrics.clone(), wake);
            let newcomers = Arc::<Newcomers>::default();
            let attempts = attempts.followed_by(applier.clone()).traced_by(self.tracer.clone());
            let attempts = attempts.after(newcomers.clone());
            let context = Context {
                applier: applier.clone(),
                client: lease::while_leading(self.client.clone(), leadership.clone()),
                attempts: Arc::new(attempts),
                jobs: self.jobs.clone(),
                removals,
                prunings,
                metrics: self.metrics.clone(),
                claims: claims.clone(),
                recorder: recorder.clone(),
                newcomers,
                panics: InARow::default(),
                denials: InARow::default(),
                endings: self.endings.clone(),
                network: self.network.clone(),
                timeout: self.timeout,
                leadership: leadership.clone(),
                tracer: self.tracer.clone(),
                stopping: stop.clone(),
            };
            let listed = || self.readiness.listed();
            let (secrets, context) = (self.secret_watch, Arc::new(context));
            scope::look_after(namespace.clone(), secrets, context, woken, register, listed)
        });
        futures::future::join_all(watches).await;
    }

    /// For the objects of one namespace, or of all.
    fn executors(
        &self,
        namespace: Option<&str>,
        leadership: &Leadership,
        stop: &CancellationToken,
    ) -> Executors {
        let (limits, metrics) = (self.limits.clone(), self.metrics.clone());
        let jobs = Jobs::new(
            lease::while_leading(self.client.clone(), leadership.clone()),
            namespace,
            self.jobs.clone(),
            limits.clone(),
            metrics.clone(),
            stop.clone(),
        );
        let (engine, shared) = (self.engine.clone(), (self.pace.clone(), self.codecs.clone()));
        let in_process = InProcess::new(engine, limits, shared, metrics, leadership.clone());
        Executors { in_process, jobs }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Whether a check refuses a user of a kubeconfig.
    fn refuses(check: fn(&Config) -> Result<()>, user: &serde_json::Value) -> bool {
        let mut cluster = Config::new("https://cluster.example".parse().unwrap());
        cluster.auth_info = serde_json::from_value(user.clone()).unwrap();
        let error = check(&cluster).err();
        error.is_some_and(|error| error.kind() == Kind::InvalidOptions)
    }

    #[test]
    fn a_kubeconfig_chooses_no_program() {
        let exec =
            json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "x"}});
        let provider = json!({"auth-provider": {"name": "gcp", "config": {"cmd-path": "x"}}});
        for (user, refused) in [(json!({"token": "canary"}), false), (exec, true), (provider, true)]
        {
            assert_eq!(refuses(runs_no_program, &user), refused, "{user}");
        }
    }

    #[test]
    fn a_kubeconfig_chooses_no_other_user() {
        for (user, refused) in [
            (json!({"token": "canary"}), false),
            (json!({"as-groups": [], "as-user-extra": {}}), false),
            (json!({"as": "system:admin"}), true),
            (json!({"as-uid": "1"}), true),
            (json!({"as-groups": ["system:masters"]}), true),
            (json!({"as-user-extra": {"scopes": ["all"]}}), true),
        ] {
            assert_eq!(refuses(acts_as_itself, &user), refused, "{user}");
        }
    }
}
