//! Attempts inside the operator's own process: for what is reached over the network.
//!
//! An attempt waits until it gets what it needs of the process and of each registry; its time counts from there.

use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::breakers::Breakers;
use super::engine::Engine;
use super::limits::{Limits, Permit};
use super::{Counters, Executor, Order, Stage};
use crate::blob::{CodecMemory, Pace};
use crate::controller::decide::Outcome;
use crate::controller::delivery::deliver;
use crate::controller::failure::Failure;
use crate::controller::lease::Leadership;
use crate::controller::metrics::Metrics;
use crate::controller::status::timed_out;
use crate::engine::{Progress, Wanted};
use crate::error::Kind;
use crate::limits::BREAKER_POLL;
use crate::options::PushOptions;

/// Runs attempts as tasks of this process.
pub(crate) struct InProcess {
    engine: Arc<dyn Engine>,
    limits: Arc<Limits>,
    breakers: Breakers,
    /// Both are shared by all pushes of this process.
    pace: Pace,
    codecs: CodecMemory,
    metrics: Arc<Metrics>,
    /// Nothing gets a name but while this is held.
    leadership: Leadership,
}

// === impl InProcess ===

impl InProcess {
    pub(crate) fn new(
        engine: Arc<dyn Engine>,
        limits: Arc<Limits>,
        (pace, codecs): (Pace, CodecMemory),
        metrics: Arc<Metrics>,
        leadership: Leadership,
    ) -> Self {
        let breakers = Breakers::new(metrics.clone());
        Self { engine, limits, breakers, pace, codecs, metrics, leadership }
    }

    /// Waits until an attempt may reach its registries, and for all that it needs.
    async fn turn(&self, order: &Order, counters: &Counters) -> Option<Permit> {
        loop {
            self.breakers.wait(order, |what| counters.wait_for(Some(what))).await;
            let permit = self.limits.acquire(order).await;
            // Much may have been found out meanwhile.
            if self.breakers.pass(order) {
                counters.wait_for(None);
                return permit;
            }
        }
    }

    /// Does the work of an attempt. Others may wait for it to get through to its registries, not for its end.
    async fn watched<T>(
        &self,
        order: &Order,
        counters: &Counters,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        while self.breakers.doubts(order) {
            tokio::select! {
                ended = &mut work => return ended,
                () = sleep(BREAKER_POLL) => {}
            }
            if counters.has_come_to(Stage::Copying) {
                self.breakers.reached(order);
            }
        }
        work.await
    }
}

#[async_trait]
impl Executor for InProcess {
    async fn attempt(
        &self,
        order: &Order,
        counters: Arc<Counters>,
        cancel: &CancellationToken,
    ) -> Option<Outcome> {
        let waiting = self.metrics.waiting();
        let _permit = tokio::select! {
            permit = self.turn(order, &counters) => permit,
            () = cancel.cancelled() => return Some(Outcome::Cancelled),
        };
        drop(waiting);
        counters.begin(Stage::Resolving);
        let _running = self.metrics.running();
        let progress: Arc<dyn Progress> = counters.clone();
        let (pace, codecs) = (self.pace.clone(), self.codecs.clone());
        let options = PushOptions { pace, codecs, ..order.options.clone() };
        let leads = Arc::new(self.leadership.clone());
        let wanted = Wanted::until_cancelled(cancel).while_holds(leads);
        let work = deliver(&*self.engine, &options, &order.delivery, &progress, &wanted);
        let work = self.watched(order, &counters, work);
        let ended = tokio::time::timeout(order.timeout, work).await;
        let outcome = match ended.unwrap_or_else(|_| Err(timed_out(order.timeout))) {
            Ok(outcome) => outcome,
            Err(error) if error.kind() == Kind::Cancelled => Outcome::Cancelled,
            Err(error) => Outcome::Failed(Failure::from(&error)),
        };
        self.breakers.learn(order, &outcome, counters.has_come_to(Stage::Copying));
        Some(outcome)
    }
}
