//! Attempts in Jobs: one Job for each, in the object's own namespace.
//!
//! The Job's name says which attempt it is for. Whoever makes the attempt finds the Job that is there and waits for its end,
//! or creates it; so an attempt survives the operator, and is not made twice. Jobs that share a volume run one after another.
//! A Job that was called off is gone, with its pod, before the attempt counts as ended. What has been reported stays until
//! the next attempt, for whoever wants to read its log.

mod cluster;
pub(crate) mod host_folders;
pub(crate) mod object;
mod outcome;
pub(crate) mod report;
pub(crate) mod settings;
pub(crate) mod task;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::{Client, ResourceExt as _};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::cluster::Cluster;
use self::object::Attempt;
use self::outcome::{State, lost};
use self::settings::JobSettings;
use super::limits::Limits;
use super::{Counters, Executor, JobId, Order};
use crate::api::reasons;
use crate::controller::decide::Outcome;
use crate::controller::failure::Failure;
use crate::controller::metrics::Metrics;
use crate::error::{Class, Error};
use crate::limits::{JOB_GONE_TIMEOUT, JOB_POLL, JOB_START_ALLOWANCE};

/// Runs attempts as Jobs.
pub(crate) struct Jobs {
    client: Client,
    settings: Arc<JobSettings>,
    limits: Arc<Limits>,
    metrics: Arc<Metrics>,
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
    /// The volumes that it uses, each once.
    pub(crate) fn volumes(&self) -> BTreeSet<String> {
        object::volumes(&self.attempt.task)
            .map(|(_, volume)| object::volume_label(volume))
            .collect()
    }
}

// === impl Jobs ===

impl Jobs {
    pub(crate) fn new(
        client: Client,
        settings: Arc<JobSettings>,
        limits: Arc<Limits>,
        metrics: Arc<Metrics>,
        stopping: CancellationToken,
    ) -> Self {
        Self { client, settings, limits, metrics, stopping }
    }

    /// Removes the Jobs of an object, such as those that an earlier operator left, with their pods.
    pub(crate) async fn remove_all(&self, namespace: &str, uid: &str) -> Result<(), Failure> {
        let cluster = Cluster::new(&self.client, namespace);
        for job in cluster.jobs_of(uid).await? {
            remove(&cluster, &job).await?;
        }
        Ok(())
    }

    /// Finds or makes the Job of the attempt, and waits for its end.
    async fn run(&self, order: &Order, job: &JobOrder, counters: &Counters) -> Ended {
        let cluster = Cluster::new(&self.client, &job.attempt.task.namespace);
        // One that is there runs already, whatever the bounds are.
        let (made, _permit) = if let Some(found) = find(&cluster, job).await? {
            (found, None)
        } else {
            let permit = self.limits.acquire(order).await;
            (self.make(&cluster, job).await?, permit)
        };
        counters.set_job(JobId { name: made.name_any(), uid: made.uid().unwrap_or_default() });
        let _running = self.metrics.running();
        self.end_of(&cluster, job, made).await
    }

    async fn make(&self, cluster: &Cluster, order: &JobOrder) -> Result<Job, Failure> {
        for (_, volume) in object::volumes(&order.attempt.task) {
            if let Some(claim) = &volume.persistent_volume_claim
                && !cluster.has_claim(&claim.claim_name).await?
            {
                let message =
                    format!("claim `{}` is not in this namespace; create it", claim.claim_name);
                let reason = reasons::VOLUME_NOT_FOUND;
                return Err(Failure::of_job(reason, &message, Class::Transient));
            }
            cluster.wait_until_unused(&object::volume_label(volume)).await?;
        }
        let image = self.settings.image.as_deref().unwrap_or_default();
        cluster.create(&object::job(&order.attempt, image, &self.settings)).await
    }

    async fn end_of(&self, cluster: &Cluster, order: &JobOrder, job: Job) -> Ended {
        let name = job.name_any();
        let timeout = std::time::Duration::from_secs(order.attempt.task.timeout_seconds);
        let deadline = Instant::now() + timeout + 2 * JOB_START_ALLOWANCE;
        while Instant::now() < deadline {
            sleep(JOB_POLL).await;
            let (job, pods) = match cluster.look_at(&name).await {
                Ok(Some(seen)) => seen,
                Ok(None) => return Ok(lost("somebody has deleted it")),
                // The Job goes on whether we see it or not.
                Err(failure) => {
                    tracing::debug!(
                        job = name,
                        error = failure.message,
                        "a Job can't be looked at"
                    );
                    continue;
                }
            };
            match outcome::state(&job, &pods, Timestamp::now()) {
                State::Ended(outcome) => return Ok(outcome),
                State::Going(waits_for) => {
                    if let Some(refusal) = cluster.refusal(&job, &pods).await {
                        cluster.delete(&job).await?;
                        return Err(refusal);
                    }
                    tracing::debug!(job = name, waits_for, "a Job goes on");
                }
            }
        }
        Ok(lost("it did not end in its time"))
    }

    /// Ends the Job of an attempt that was called off.
    async fn call_off(&self, order: &JobOrder) -> Outcome {
        let Attempt { task, uid, .. } = &order.attempt;
        if let Err(failure) = self.remove_all(&task.namespace, uid).await {
            // The next attempt, or the object's end, removes what is left.
            tracing::warn!(error = failure.message, "a Job that was called off was not removed");
        }
        Outcome::Cancelled
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
}

/// The Job that makes this attempt, if there is one whose end was not reported yet. Others of the object are removed.
async fn find(cluster: &Cluster, order: &JobOrder) -> Result<Option<Job>, Failure> {
    let name = object::name(&order.attempt);
    let mut found = None;
    for job in cluster.jobs_of(&order.attempt.uid).await? {
        let reported = job.uid().is_some() && job.uid() == order.reported;
        if job.name_any() == name && !reported && job.metadata.deletion_timestamp.is_none() {
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
        Err(Failure::of_job(reasons::EXECUTOR_LOST, &message, Class::Transient))
    })
}
