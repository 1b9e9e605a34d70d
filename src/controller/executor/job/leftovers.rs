//! Which objects may have Jobs that nobody waits for.
//!
//! An operator that ends leaves its Jobs behind. They are listed once, by the first who asks; from then on an object without
//! any costs no request, whatever its spec says of where it is pushed.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::cluster::within;
use super::object::{MANAGED, UID_LABEL};
use crate::controller::failure::Failure;
use crate::error::Kind;
use crate::limits::{API_ERROR_WAIT, JOB_PAGE};

/// The objects of one watch that may have Jobs, by uid, with the uids of those that were found.
pub(super) struct Leftovers {
    jobs: Api<Job>,
    listed: OnceCell<()>,
    /// When listing them failed last.
    failed: Mutex<Option<Instant>>,
    found: Mutex<HashMap<String, HashSet<String>>>,
}

// === impl Leftovers ===

impl Leftovers {
    /// Of one namespace, or of all.
    pub(super) fn new(client: Client, namespace: Option<&str>) -> Self {
        let jobs = match namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let (failed, found) = (Mutex::default(), Mutex::default());
        Self { jobs, listed: OnceCell::new(), failed, found }
    }

    /// Whether an object may have Jobs.
    pub(super) async fn may_have(&self, uid: &str) -> Result<bool, Failure> {
        if !self.found().contains_key(uid) {
            self.listed.get_or_try_init(|| self.list()).await?;
        }
        Ok(self.found().contains_key(uid))
    }

    /// Whether an earlier operator has left a Job of an object beside the one that was reported. Not known is no.
    pub(super) async fn left(&self, uid: &str, reported: Option<&str>) -> bool {
        let recently = |failed: &Instant| failed.elapsed() < API_ERROR_WAIT;
        if self.failed().as_ref().is_some_and(recently) || self.may_have(uid).await.is_err() {
            return false;
        }
        let found = self.found();
        let jobs = found.get(uid).into_iter().flatten();
        jobs.into_iter().any(|job| Some(job.as_str()) != reported)
    }

    /// A Job is looked for, or made, for an object: from now on it is none that was left.
    pub(super) fn note(&self, uid: &str) {
        self.found().insert(uid.to_owned(), HashSet::new());
    }

    /// An object has none any more.
    pub(super) fn forget(&self, uid: &str) {
        self.found().remove(uid);
    }

    async fn list(&self) -> Result<(), Failure> {
        let mut page = ListParams::default().labels(MANAGED).limit(JOB_PAGE);
        loop {
            let listed = match within(self.jobs.list_metadata(&page)).await {
                Ok(listed) => listed,
                Err(cause) => {
                    let failure = cause.while_doing("listing Jobs");
                    // Who may not list them does not make them either.
                    if failure.reason == Kind::AccessDenied.as_str() {
                        return Ok(());
                    }
                    *self.failed() = Some(Instant::now());
                    return Err(failure);
                }
            };
            for job in &listed.items {
                if let (Some(object), Some(uid)) = (job.labels().get(UID_LABEL), job.uid()) {
                    self.found().entry(object.clone()).or_default().insert(uid);
                }
            }
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(()),
            }
        }
    }

    fn failed(&self) -> MutexGuard<'_, Option<Instant>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self) -> MutexGuard<'_, HashMap<String, HashSet<String>>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
