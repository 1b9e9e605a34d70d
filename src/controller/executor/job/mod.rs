//! Attempts in Jobs: one Job for each, in the object's own namespace.
//!
//! Labels say which object and which work a Job is for. Whoever makes an attempt finds the Job that is there and waits for
//! its end, or creates it; so an attempt survives the operator, and is not made twice. Jobs that share a volume run one after
//! another. A Job that was called off is gone, with its pod, before the attempt counts as ended. What has been reported stays
//! until the next attempt, for whoever wants to read its log, unless it said nothing new.

mod cluster;
pub(crate) mod host_folders;
mod leftovers;
pub(crate) mod object;
mod outcome;
pub(crate) mod report;
mod seen;
pub(crate) mod settings;
pub(crate) mod task;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::batch::v1::Job;
use kube::{Client, ResourceExt as _};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::cluster::Cluster;
use self::leftovers::Leftovers;
use self::object::Attempt;
use self::outcome::{State, lost};
use self::seen::Seen;
use self::settings::JobSettings;
use super::limits::{Limits, Permit};
use super::{Counters, Executor, JobId, Order, Stage};
use crate::api::reasons;
use crate::controller::decide::Outcome;
use crate::controller::failure::Failure;
use crate::controller::metrics::Metrics;
use crate::error::{Class, Error, Kind};
use crate::limits::{
    JOB_DENIED_PATIENCE, JOB_GONE_TIMEOUT, JOB_POD_WAIT, JOB_POLL, JOB_START_ALLOWANCE,
};

/// Runs attempts as Jobs.
pub(crate) struct Jobs {
    client: Client,
    settings: Arc<JobSettings>,
    limits: Arc<Limits>,
    metrics: Arc<Metrics>,
    leftovers: Leftovers,
    /// Cancelled when the operator ends: its Jobs go on.
    stopping: CancellationToken,
}

/// What an attempt in a Job is made of.
#[derive(Clone, Debug)]
pub(crate) struct JobOrder {
    pub(crate) attempt: Attempt,
    /// Identity of the Job whose end is in the object's status already.
    pub(crate) reported: Option<String>,
}

/// How an attempt ended; a failure may also be that it never began.
type Ended = Result<Outcome, Failure>;

// === impl JobOrder ===

impl JobOrder {
    /// The volumes that it uses, each once: the namespace that each is of, which a folder of a node has none of, and its label.
    pub(crate) fn volumes(&self) -> BTreeSet<(String, String)> {
        let task = &self.attempt.task;
        let place = |volume: &crate::api::v1alpha1::VolumeSource| {
            let shared = volume.host_path.is_some();
            let namespace = if shared { String::new() } else { task.namespace.clone() };
            (namespace, object::volume_label(volume))
        };
        object::volumes(task).map(|(_, volume)| place(volume)).collect()
    }
}

// === impl Jobs ===

impl Jobs {
    /// For the objects of one namespace, or of all.
    pub(crate) fn new(
        client: Client,
        namespace: Option<&str>,
        settings: Arc<JobSettings>,
        limits: Arc<Limits>,
        metrics: Arc<Metrics>,
        stopping: CancellationToken,
    ) -> Self {
        let leftovers = Leftovers::new(client.clone(), namespace);
        Self { client, settings, limits, metrics, leftovers, stopping }
    }

    /// Finds or makes the Job of the attempt, and waits for its end.
    async fn run(&self, order: &Order, job: &JobOrder, counters: &Counters) -> Ended {
        let cluster = Cluster::new(&self.client, &job.attempt.task.namespace);
        self.leftovers.note(&job.attempt.uid);
        // One that is there runs already, whatever the bounds are.
        let (made, _permit) = match find_patiently(&cluster, job).await? {
            Some(found) => (found, None),
            None => self.begin(&cluster, order, job, counters).await?,
        };
        counters.set_job(JobId {
            name: made.name_any(),
            uid: made.uid().unwrap_or_default(),
            // One that was made by an earlier operator belongs to a trace of that.
            trace: object::trace_of(&made),
        });
        let _running = self.metrics.running();
        self.end_of(&cluster, job, made, counters).await
    }

    /// Makes the Job, once its volumes are free. What it needs besides is left to others until then.
    async fn begin(
        &self,
        cluster: &Cluster,
        order: &Order,
        job: &JobOrder,
        counters: &Counters,
    ) -> Result<(Job, Option<Permit>), Failure> {
        let deadline = Instant::now() + order.timeout;
        let _waiting = self.metrics.waiting();
        loop {
            require_claims(cluster, job).await?;
            let permit = self.limits.acquire(order).await;
            let Some(user) = user_of(cluster, job).await? else {
                counters.wait_for(None);
                let image = self.settings.image.as_deref().unwrap_or_default();
                let made = object::job(&job.attempt, image, &self.settings, order.trace);
                return Ok((cluster.create(&made).await?, permit));
            };
            drop(permit);
            let message = format!("a volume is in use by {user}");
            if Instant::now() >= deadline {
                let message = format!("{message}, which does not end; look at it, or delete it");
                return Err(Failure::of_job(reasons::EXECUTOR_LOST, &message, Class::Transient));
            }
            counters.wait_for(Some(message));
            sleep(JOB_POLL).await;
        }
    }

    async fn end_of(
        &self,
        cluster: &Cluster,
        order: &JobOrder,
        made: Job,
        counters: &Counters,
    ) -> Ended {
        let name = made.name_any();
        let timeout = Duration::from_secs(order.attempt.task.timeout_seconds);
        let began = Instant::now();
        let (mut allowed, mut seen) = (began, Seen::new());
        while began.elapsed() < timeout + 2 * JOB_START_ALLOWANCE {
            sleep(poll_after(began.elapsed())).await;
            let (job, pods) = match cluster.look_at(&name).await {
                Ok(Some(seen)) => seen,
                Ok(None) => return Ok(lost("somebody has deleted it")),
                // The Job goes on whether we see it or not, and the next attempt finds it.
                Err(failure) if is_denied(&failure) && allowed.elapsed() > JOB_DENIED_PATIENCE => {
                    counters.leave_job();
                    return Err(failure);
                }
                Err(failure) => {
                    let error = failure.message;
                    tracing::debug!(job = name, error, "a Job can't be looked at");
                    continue;
                }
            };
            allowed = Instant::now();
            seen.note(&pods);
            // Also by a pod in whose place another one comes.
            if let Some(manifest) = outcome::named(&pods) {
                counters.name(&manifest);
            }
            let disrupted = seen.disrupted.as_deref();
            let waits_for = match outcome::state(&job, &pods, seen.gone_for(), disrupted) {
                State::Ended(outcome) => return Ok(outcome),
                State::Going(waits_for) => waits_for,
            };
            let waited = seen.waited(waits_for.is_some());
            if waits_for.is_none() {
                counters.enter(Stage::Running);
            }
            if let Some(failure) = never_starts(&job, waits_for.as_deref(), waited) {
                cluster.delete(&job).await?;
                return Err(Failure { disrupted: seen.disrupted.is_some(), ..failure });
            }
            // After a disruption the next pod may take its time, and what refused the first one once is no news.
            if pods.is_empty()
                && seen.disrupted.is_none()
                && waited >= JOB_POD_WAIT
                && let Some(refusal) = cluster.refusal(&job).await
            {
                cluster.delete(&job).await?;
                return Err(refusal);
            }
            let waits_for = waits_for.filter(|_| waited >= JOB_POD_WAIT);
            counters.wait_for(waits_for.map(|what| format!("the Job `{name}` waits: {what}")));
        }
        Ok(lost("it did not end in its time"))
    }

    /// Ends the Job of an attempt that was called off.
    async fn call_off(&self, order: &JobOrder) -> Outcome {
        let Attempt { task, uid, .. } = &order.attempt;
        if let Err(failure) = self.sweep(&task.namespace, uid).await {
            // The next attempt, or the object's end, removes what is left.
            tracing::warn!(error = failure.message, "a Job that was called off was not removed");
        }
        Outcome::Cancelled
    }

    async fn remove_all(&self, namespace: &str, uid: &str) -> Result<(), Failure> {
        let cluster = Cluster::new(&self.client, namespace);
        for job in cluster.jobs_of(uid).await? {
            remove(&cluster, &job).await?;
        }
        self.leftovers.forget(uid);
        Ok(())
    }
}

#[async_trait]
impl Executor for Jobs {
    async fn attempt(
        &self,
        order: &Order,
        counters: Arc<Counters>,
        cancel: &CancellationToken,
    ) -> Option<Outcome> {
        let Some(job) = &order.job else {
            let error = Error::internal("an attempt in a Job has nothing that a Job is made of");
            return Some(Outcome::Failed(Failure::from(&error)));
        };
        // Objects of the API are large.
        let work = Box::pin(self.run(order, job, &counters));
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => None,
            () = cancel.cancelled() => Some(self.call_off(job).await),
            outcome = work => Some(outcome.unwrap_or_else(Outcome::Failed)),
        }
    }

    /// Removes the Jobs of an object, such as those that an earlier operator left, with their pods. When the operator ends,
    /// the next one does it.
    async fn sweep(&self, namespace: &str, uid: &str) -> Result<(), Failure> {
        if !self.leftovers.may_have(uid).await? {
            return Ok(());
        }
        tokio::select! {
            removed = self.remove_all(namespace, uid) => removed,
            () = self.stopping.cancelled() => Ok(()),
        }
    }

    async fn has_left(&self, uid: &str, reported: Option<&str>) -> bool {
        self.leftovers.left(uid, reported).await
    }

    async fn discard(&self, namespace: &str, job: &JobId) -> Result<(), Failure> {
        Cluster::new(&self.client, namespace).delete_by(&job.name, Some(job.uid.clone())).await
    }

    fn forget(&self, uid: &str) {
        self.leftovers.forget(uid);
    }
}

/// How soon a Job is looked at again. One that takes long is in no hurry.
fn poll_after(elapsed: Duration) -> Duration {
    (elapsed / 20).clamp(JOB_POLL, 5 * JOB_POLL)
}

fn is_denied(failure: &Failure) -> bool {
    failure.reason == Kind::AccessDenied.as_str()
}

/// Why a Job is given up whose pod has not begun for too long. Who suspends it, such as a queue of the cluster, may take his
/// time.
fn never_starts(job: &Job, waits_for: Option<&str>, waited: Duration) -> Option<Failure> {
    let suspended = job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true);
    let what = waits_for.filter(|_| waited >= JOB_START_ALLOWANCE && !suspended)?;
    let minutes = JOB_START_ALLOWANCE.as_secs() / 60;
    let message = format!(
        "the pod of Job `{}` has not begun within {minutes} minutes: {what}",
        job.name_any()
    );
    Some(Failure::of_job(reasons::EXECUTOR_LOST, &message, Class::Transient))
}

async fn require_claims(cluster: &Cluster, order: &JobOrder) -> Result<(), Failure> {
    for (_, volume) in object::volumes(&order.attempt.task) {
        if let Some(claim) = &volume.persistent_volume_claim
            && !cluster.has_claim(&claim.claim_name).await?
        {
            let message =
                format!("claim `{}` is not in this namespace; create it", claim.claim_name);
            return Err(Failure::of_job(reasons::VOLUME_NOT_FOUND, &message, Class::Transient));
        }
    }
    Ok(())
}

/// Who uses a volume of an attempt. The Jobs of this operator take turns by themselves: this is for what an earlier one has
/// left.
async fn user_of(cluster: &Cluster, order: &JobOrder) -> Result<Option<String>, Failure> {
    for (_, label) in order.volumes() {
        if let Some(user) = cluster.user_of(&label).await? {
            return Ok(Some(user));
        }
    }
    Ok(None)
}

/// The same as [`find`]; trouble that passes is no failed attempt, after which a Job that goes on would be another's.
async fn find_patiently(cluster: &Cluster, order: &JobOrder) -> Result<Option<Job>, Failure> {
    let began = Instant::now();
    let patience = Duration::from_secs(order.attempt.task.timeout_seconds);
    loop {
        let failure = match find(cluster, order).await {
            Ok(found) => return Ok(found),
            Err(failure) => failure,
        };
        // A server that has just started refuses what it doesn't know the permissions of yet.
        let patience = if is_denied(&failure) { JOB_DENIED_PATIENCE } else { patience };
        if began.elapsed() >= patience {
            return Err(failure);
        }
        tracing::debug!(error = failure.message, "the Jobs of an object can't be found");
        sleep(poll_after(began.elapsed())).await;
    }
}

/// The Job that does this work, if there is one whose end was not reported yet: the latest. Others of the object are removed.
async fn find(cluster: &Cluster, order: &JobOrder) -> Result<Option<Job>, Failure> {
    let mut jobs = cluster.jobs_of(&order.attempt.uid).await?;
    jobs.sort_by_key(|job| job.metadata.creation_timestamp.clone());
    let mut found = None;
    for job in jobs.into_iter().rev() {
        let reported = job.uid().is_some() && job.uid() == order.reported;
        let goes = job.metadata.deletion_timestamp.is_some();
        if found.is_none() && !reported && !goes && object::is_for(&job, &order.attempt) {
            found = Some(job);
        } else {
            remove(cluster, &job).await?;
        }
    }
    Ok(found)
}

/// Removes a Job and waits until its pod has ended: two pods must not write to one place.
async fn remove(cluster: &Cluster, job: &Job) -> Result<(), Failure> {
    cluster.delete(job).await?;
    let gone = tokio::time::timeout(JOB_GONE_TIMEOUT, cluster.wait_until_gone(job)).await;
    gone.unwrap_or_else(|_| {
        let message = format!("the Job `{}` of an earlier attempt does not end", job.name_any());
        // Such as on a node that is gone: no fault of the push.
        let failure = Failure::of_job(reasons::EXECUTOR_LOST, &message, Class::Transient);
        Err(Failure { disrupted: true, ..failure })
    })
}
