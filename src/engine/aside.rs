//! Work that takes a while and waits for nothing.

use crate::error::{Error, Result};

/// Does it where it keeps nobody waiting.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|cause| Error::internal(format!("work that was set aside stopped: {cause}")))
}
