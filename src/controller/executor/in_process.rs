//! Attempts inside the operator's own process: for what is reached over the network.
//!
//! An attempt waits for a place at each registry and then for one among all; its time counts from there.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::engine::Engine;
use super::limits::Limits;
use super::{Counters, Executor, Order};
use crate::api::v1alpha1::Mode;
use crate::controller::decide::Outcome;
use crate::controller::failure::Failure;
use crate::controller::metrics::Metrics;
use crate::controller::status::timed_out;
use crate::engine::Progress;
use crate::error::{Kind, Result};

/// Runs attempts as tasks of this process.
pub(crate) struct InProcess {
    engine: Arc<dyn Engine>,
    limits: Arc<Limits>,
    metrics: Arc<Metrics>,
}

// === impl InProcess ===

impl InProcess {
    pub(crate) fn new(engine: Arc<dyn Engine>, limits: Arc<Limits>, metrics: Arc<Metrics>) -> Self {
        Self { engine, limits, metrics }
    }

    async fn work(
        &self,
        order: &Order,
        progress: &Arc<dyn Progress>,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        match order.mode {
            Mode::Apply => {
                let pushed = self.engine.push(&order.options, progress, cancel).await?;
                Ok(Outcome::Pushed(Box::new(pushed)))
            }
            Mode::DryRun => {
                let preview = self.engine.preview(&order.options, cancel).await?;
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
        let permits = tokio::select! {
            permits = self.limits.acquire(&order.options) => permits,
            () = cancel.cancelled() => return Outcome::Cancelled,
        };
        let _permits = match permits {
            Ok(permits) => permits,
            Err(error) => return Outcome::Failed(Failure::from(&error)),
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
