//! Which executor makes an attempt.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{Counters, Executor, InProcess, JobId, Jobs, Order};
use crate::controller::decide::Outcome;
use crate::controller::failure::Failure;
use crate::limits::API_ERROR_WAIT;

/// Hands each attempt to the executor that its order is for.
pub(crate) struct Executors {
    pub(crate) in_process: InProcess,
    pub(crate) jobs: Jobs,
}

// === impl Executors ===

#[async_trait]
impl Executor for Executors {
    async fn attempt(
        &self,
        order: &Order,
        counters: Arc<Counters>,
        cancel: &CancellationToken,
    ) -> Option<Outcome> {
        match order.job {
            None => {
                tokio::select! {
                    () = self.clear(order) => {}
                    () = cancel.cancelled() => return Some(Outcome::Cancelled),
                }
                self.in_process.attempt(order, counters, cancel).await
            }
            Some(_) => self.jobs.attempt(order, counters, cancel).await,
        }
    }

    async fn sweep(&self, namespace: &str, uid: &str) -> Result<(), Failure> {
        self.jobs.sweep(namespace, uid).await
    }

    async fn has_left(&self, uid: &str, reported: Option<&str>) -> bool {
        self.jobs.has_left(uid, reported).await
    }

    async fn discard(&self, namespace: &str, job: &JobId) -> Result<(), Failure> {
        self.jobs.discard(namespace, job).await
    }

    fn forget(&self, uid: &str) {
        self.jobs.forget(uid);
    }
}

impl Executors {
    /// Ends what an earlier operator, or an earlier spec, has left in Jobs: two writers of one name are one too many.
    async fn clear(&self, order: &Order) {
        let namespace = order.object.namespace.as_deref().unwrap_or_default();
        while let Err(failure) = self.jobs.sweep(namespace, &order.uid).await {
            let (object, error) = (&order.object, failure.message);
            tracing::warn!(%object, error, "the Jobs of an object can't be looked for");
            tokio::time::sleep(API_ERROR_WAIT).await;
        }
    }
}
