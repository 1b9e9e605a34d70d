//! The turns of the companion that come once, however often the copy is begun anew.

use tokio::sync::OnceCell;

use super::Session;
use crate::engine::companion::{Ends, Motion};
use crate::error::Result;

/// Which of them are over.
#[derive(Default)]
pub(super) struct Turns {
    prepared: OnceCell<()>,
    asked: OnceCell<()>,
}

impl Session<'_> {
    pub(super) async fn prepare(&self, image: Motion) -> Result<()> {
        let prepare = || async { self.companion.prepare(&self.ends(), image).await };
        self.turns.prepared.get_or_try_init(prepare).await.copied()
    }

    pub(super) async fn meanwhile(&self) -> Result<()> {
        let ask = || async { self.companion.meanwhile(&self.ends()).await };
        self.turns.asked.get_or_try_init(ask).await.copied()
    }

    pub(super) fn ends(&self) -> Ends<'_> {
        Ends {
            origin: self.origin(),
            destination: self.destination.as_ref(),
            one_registry: self.mount_from().is_some(),
            transport: self.options.destination.reference.transport().name(),
            retry: self.options.retry,
            progress: self.progress.as_ref(),
        }
    }
}
