//! The search for a credential. What stands in files is found at once; a program is asked only when the credential is needed.
//!
//! A helper may ask the user something, or take seconds. A registry that lets everybody in never needs one.

use tokio::sync::OnceCell;

use super::auth_files::{AuthFiles, Walk};
use super::helper::Question;
use super::{Fingerprint, Lookup};
use crate::error::Result;

/// The search for the credential of one repository: at its end, or at a helper that has to be asked.
pub(crate) struct Search {
    owner: Fingerprint,
    state: State,
}

enum State {
    Over(Lookup),
    AtHelper { stop: Box<Stop>, files: AuthFiles, found: OnceCell<Lookup> },
}

/// Where a search waits.
pub(super) struct Stop {
    /// The place that names the helper, counted from 0.
    pub(super) place: usize,
    pub(super) question: Question,
    /// What was looked at before.
    pub(super) lookup: Lookup,
    pub(super) registry: String,
    pub(super) repository: String,
}

// === impl Search ===

impl Search {
    /// A search that has come to its end.
    pub(super) fn over(lookup: Lookup) -> Self {
        Self { owner: Fingerprint::of(lookup.credential.as_ref()), state: State::Over(lookup) }
    }

    /// A search through files, as far as it got.
    pub(super) fn of_files(files: &AuthFiles, walk: Walk) -> Self {
        match walk {
            Walk::Over(lookup) => Self::over(lookup),
            Walk::Stopped(stop) => Self {
                owner: Fingerprint::of_helper(&stop.question),
                state: State::AtHelper {
                    stop: Box::new(stop),
                    files: files.clone(),
                    found: OnceCell::new(),
                },
            },
        }
    }

    /// Who we are to the registry: whom the credential belongs to, or whom a helper is going to name.
    pub(crate) fn owner(&self) -> Fingerprint {
        self.owner
    }

    /// What is known without asking a program; `None` if one has to be asked.
    pub(crate) fn known(&self) -> Option<&Lookup> {
        match &self.state {
            State::Over(lookup) => Some(lookup),
            State::AtHelper { found, .. } => found.get(),
        }
    }

    /// What was found by now, and where.
    pub(crate) fn so_far(&self) -> &Lookup {
        match &self.state {
            State::Over(lookup) => lookup,
            State::AtHelper { found, stop, .. } => found.get().unwrap_or(&stop.lookup),
        }
    }

    /// Searches to the end. Helpers are asked once, however many wait for them; a failure is not kept.
    pub(crate) async fn finish(&self) -> Result<&Lookup> {
        match &self.state {
            State::Over(lookup) => Ok(lookup),
            State::AtHelper { stop, files, found } => {
                found.get_or_try_init(|| files.ask_from(stop)).await
            }
        }
    }

    /// The same, for whoever asks but once.
    pub(super) async fn into_lookup(self) -> Result<Lookup> {
        self.finish().await.cloned()
    }
}
