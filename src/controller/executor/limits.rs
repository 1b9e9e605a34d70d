//! How many attempts may run at the same time: in all, and at each registry.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};
use crate::options::PushOptions;

/// How much may run at the same time.
pub(crate) struct Limits {
    all: Arc<Semaphore>,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
    per_host: usize,
}

// === impl Limits ===

impl Limits {
    pub(crate) fn new(all: usize, per_host: usize) -> Self {
        let all = Arc::new(Semaphore::new(all.max(1)));
        Self { all, hosts: Mutex::default(), per_host: per_host.max(1) }
    }

    /// Places at the registries, in their order, so that two attempts never wait for each other; then one among all.
    pub(crate) async fn acquire(&self, options: &PushOptions) -> Result<Vec<OwnedSemaphorePermit>> {
        let hosts: BTreeSet<String> = [&options.source, &options.destination]
            .into_iter()
            .filter_map(|side| side.reference.repository())
            .map(|repository| repository.registry.clone())
            .collect();
        let mut permits = vec![];
        for host in hosts {
            permits.push(acquire(self.host(&host)).await?);
        }
        permits.push(acquire(self.all.clone()).await?);
        Ok(permits)
    }

    fn host(&self, host: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody uses are forgotten, so that names from outside don't pile up.
        hosts.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        let make = || Arc::new(Semaphore::new(self.per_host));
        hosts.entry(host.to_owned()).or_insert_with(make).clone()
    }
}

async fn acquire(semaphore: Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    semaphore.acquire_owned().await.map_err(|_| Error::internal("a semaphore was closed"))
}
