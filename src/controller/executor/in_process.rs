//! Attempts inside the operator's own process: for what is reached over the network.
//!
//! An attempt waits until it gets what it needs of the process and of each registry; its time counts from there.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::engine::Engine;
use super::limits::Limits;
use super::{Counters, Executor, Order};
use crate::api::v1alpha1::Mode;
use crate::blob::Pace;
use crate::controller::decide::Outcome;
use crate::controller::failure::Failure;
use crate::controller::metrics::Metrics;
use crate::controller::status::timed_out;
use crate::engine::Progress;
use crate::error::{Kind, Result};
use crate::options::PushOptions;

/// Runs attempts as tasks of this process.
pub(crate) struct InProcess {
    engine: Arc<dyn Engine>,
    limits: Arc<Limits>,
    /// Shared by all pushes of this process.
    pace: Pace,
    metrics: Arc<Metrics>,
}

// === impl InProcess ===

impl InProcess {
    pub(crate) fn new(
        engine: Arc<dyn Engine>,
        limits: Arc<Limits>,
        pace: Pace,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { engine, limits, pace, metrics }
    }

    async fn work(
        &self,
        order: &Order,
        progress: &Arc<dyn Progress>,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let options = PushOptions { pace: self.pace.clone(), ..order.options.clone() };
        match order.mode {
            Mode::Apply => {
                let pushed = self.engine.push(&options, progress, cancel).await?;
                Ok(Outcome::Pushed(Box::new(pushed)))
            }
            Mode::DryRun => {
                let preview = self.engine.preview(&options, cancel).await?;
                Ok(Outcome::Previewed(Box::new(preview)))
            }
        }
    }
}

#[async_trait]
impl Executor for InProcess {
    async fn attempt(
        &self,
        order: &Order,
        counters: Arc<Counters>,
        cancel: &CancellationToken,
    ) -> Outcome {
        let _permit = tokio::select! {
            permit = self.limits.acquire(order) => permit,
            () = cancel.cancelled() => return Outcome::Cancelled,
        };
        let _running = self.metrics.running();
        let progress: Arc<dyn Progress> = counters;
        let work = self.work(order, &progress, cancel);
        let ended = tokio::time::timeout(order.timeout, work).await;
        match ended.unwrap_or_else(|_| Err(timed_out(order.timeout))) {
            Ok(outcome) => outcome,
            Err(error) if error.kind() == Kind::Cancelled => Outcome::Cancelled,
            Err(error) => Outcome::Failed(Failure::from(&error)),
        }
    }
}
