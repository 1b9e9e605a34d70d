//! The engine, as attempts use it; tests put another one in its place.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::bundle;
use crate::engine::{self, Preview, Pushed, Standing, Wanted};
use crate::error::Result;
use crate::options::PushOptions;

/// What does the work; the engine, but for tests.
#[async_trait]
pub(crate) trait Engine: Send + Sync {
    /// Makes the destination hold the image.
    async fn push(
        &self,
        options: &PushOptions,
        progress: &Arc<dyn engine::Progress>,
        wanted: &Wanted,
    ) -> Result<Pushed>;

    /// Tells what a push would do.
    async fn preview(&self, options: &PushOptions, cancel: &CancellationToken) -> Result<Preview>;

    /// Tells which digests the two names have.
    async fn standing(&self, options: &PushOptions, cancel: &CancellationToken)
    -> Result<Standing>;
}

/// The engine itself, which takes along what the image carries.
pub(crate) struct RealEngine;

#[async_trait]
impl Engine for RealEngine {
    async fn push(
        &self,
        options: &PushOptions,
        progress: &Arc<dyn engine::Progress>,
        wanted: &Wanted,
    ) -> Result<Pushed> {
        bundle::push(options, progress, wanted.clone()).await
    }

    async fn preview(&self, options: &PushOptions, cancel: &CancellationToken) -> Result<Preview> {
        bundle::preview(options, cancel).await
    }

    async fn standing(
        &self,
        options: &PushOptions,
        cancel: &CancellationToken,
    ) -> Result<Standing> {
        engine::standing(options, cancel).await
    }
}
