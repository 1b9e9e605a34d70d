//! Keeps in status what was applied, and which bundle is to be.
//!
//! It has a field manager of its own: it is written before anything is applied, while what the rest of status says is not
//! known yet, and neither takes fields of the other away.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource as _};
use kube_runtime::reflector::ObjectRef;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Recorded;
use crate::api::INVENTORY_MANAGER;
use crate::api::v1alpha1::{ImagePush, Inventory, InventoryEntry};
use crate::apply::{Entry, Journal};
use crate::controller::lease::Leadership;
use crate::error::{Error, Kind, Result};
use crate::limits::MAX_INVENTORY;

/// The inventory of an object.
pub(super) struct StatusJournal {
    api: Api<ImagePush>,
    name: String,
    uid: String,
    leadership: Leadership,
    cancel: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Which bundle the entries are of, or will be.
    of: Option<Recorded>,
    /// Until when something is written.
    deadline: Option<Instant>,
}

/// What status has kept.
pub(super) struct Kept {
    /// What was applied, or was about to be.
    pub(super) entries: Vec<Entry>,
    /// The bundle that is to be applied, whether or not it has been.
    pub(super) of: Option<Recorded>,
}

/// The bundle that status keeps to be applied.
pub(crate) fn kept(object: &ImagePush) -> Option<Recorded> {
    let inventory = object.status.as_ref()?.inventory.as_ref()?;
    let source = inventory.source.as_ref()?.parse().ok()?;
    let bundle = inventory.digest.as_ref().map(|digest| digest.parse()).transpose().ok()?;
    Some(Recorded { source, bundle })
}

// === impl StatusJournal ===

impl StatusJournal {
    pub(super) fn new(
        client: &Client,
        object: &ObjectRef<ImagePush>,
        uid: &str,
        leadership: Leadership,
        cancel: CancellationToken,
    ) -> Self {
        let namespace = object.namespace.as_deref().unwrap_or_default();
        let api = Api::namespaced(client.clone(), namespace);
        let (name, uid) = (object.name.clone(), uid.to_owned());
        Self { api, name, uid, leadership, cancel, state: Mutex::default() }
    }

    /// What was kept, by whichever operator: it is read anew each time.
    pub(super) async fn read(&self) -> Result<Kept> {
        let object = self.api.get_opt(&self.name).await.map_err(|cause| refused(&cause))?;
        let same = object.filter(|object| object.metadata.uid.as_deref() == Some(&self.uid));
        let object = same.ok_or_else(Error::cancelled)?;
        let of = kept(&object);
        self.state().of.clone_from(&of);
        let inventory = object.status.and_then(|status| status.inventory).unwrap_or_default();
        Ok(Kept { entries: inventory.entries.into_iter().map(entry).collect(), of })
    }

    /// Keeps which bundle is to be applied from now on, before anything is done about it.
    pub(super) async fn intend(&self, entries: &[Entry], of: &Recorded) -> Result<()> {
        self.state().of = Some(of.clone());
        self.write(entries).await
    }

    /// Lets nothing be written after this.
    pub(super) fn until(&self, deadline: Instant) {
        self.state().deadline = Some(deadline);
    }

    async fn write(&self, entries: &[Entry]) -> Result<()> {
        let of = self.state().of.clone();
        let entries: Vec<InventoryEntry> = entries.iter().map(written).collect();
        // What is left out disappears.
        let status = if entries.is_empty() && of.is_none() {
            json!({})
        } else {
            let source = of.as_ref().map(|of| of.source.to_string());
            let digest = of.and_then(|of| of.bundle).map(|digest| digest.to_string());
            json!({"inventory": Inventory { source, digest, entries }})
        };
        let patch = json!({
            "apiVersion": ImagePush::api_version(&()),
            "kind": ImagePush::kind(&()),
            "metadata": {"uid": self.uid},
            "status": status,
        });
        let parameters = PatchParams::apply(INVENTORY_MANAGER).force();
        match self.api.patch_status(&self.name, &parameters, &Patch::Apply(&patch)).await {
            Ok(_) => Ok(()),
            // It is gone, and perhaps made anew.
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => {
                Err(Error::cancelled())
            }
            Err(cause) => Err(refused(&cause)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Journal for StatusJournal {
    async fn remember(&self, entries: &[Entry]) -> Result<()> {
        if entries.len() > MAX_INVENTORY {
            let message = format!("more than the limit of {MAX_INVENTORY} objects are applied");
            return Err(Error::new(Kind::LimitExceeded, message)
                .hint("let the service account delete what no image carries any more"));
        }
        self.write(entries).await
    }

    fn still_wanted(&self) -> Result<()> {
        if self.cancel.is_cancelled() || !self.leadership.is_held() {
            return Err(Error::cancelled());
        }
        match self.state().deadline {
            Some(deadline) if Instant::now() >= deadline => {
                let message = "time was over before all of the bundle was applied";
                Err(Error::new(Kind::CustomResourcesPending, message)
                    .hint("raise `customResources.apply.timeout`"))
            }
            _ => Ok(()),
        }
    }
}

/// Why status could not be read or written.
fn refused(cause: &kube::Error) -> Error {
    let error = match cause {
        kube::Error::Api(answer) if matches!(answer.code, 401 | 403) => {
            let message = "the operator has no permission for that";
            Error::new(Kind::CustomResourcesForbidden, message)
                .hint("let its service account get imagepushes, and patch imagepushes/status")
        }
        // A field that the schema doesn't have is answered by 500 and no reason.
        kube::Error::Api(answer)
            if answer.code == 422 || (answer.code == 500 && answer.reason.is_empty()) =>
        {
            let message = format!("the API server does not take it ({})", answer.code);
            Error::new(Kind::CustomResourcesForbidden, message)
                .hint("install the definition of ImagePush that came with this version")
        }
        cause => Error::new(Kind::NetworkError, cause.to_string()),
    };
    error.doing("keeping what was applied in status")
}

fn entry(stored: InventoryEntry) -> Entry {
    let InventoryEntry { group, version, kind, name, uid } = stored;
    Entry { group: group.unwrap_or_default(), kind, name, version, uid }
}

fn written(entry: &Entry) -> InventoryEntry {
    let Entry { group, kind, name, version, uid } = entry.clone();
    let group = (!group.is_empty()).then_some(group);
    InventoryEntry { group, version, kind, name, uid }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;
    use crate::error::Class;

    #[tokio::test(start_paused = true)]
    async fn nothing_is_begun_when_time_is_over() {
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:9".parse().unwrap()));
        let (cancel, object) = (CancellationToken::new(), ObjectRef::new("x").within("n"));
        let leadership = Leadership::undisputed();
        let journal =
            StatusJournal::new(&client.unwrap(), &object, "1", leadership, cancel.clone());
        assert!(journal.still_wanted().is_ok());
        journal.until(Instant::now() + std::time::Duration::from_secs(2));
        assert!(journal.still_wanted().is_ok());
        tokio::time::advance(std::time::Duration::from_secs(2)).await;
        let error = journal.still_wanted().unwrap_err();
        assert_eq!(error.kind(), Kind::CustomResourcesPending, "{error}");
        cancel.cancel();
        assert_eq!(journal.still_wanted().unwrap_err().kind(), Kind::Cancelled);
    }

    #[test]
    fn who_can_mend_it_is_told() {
        for (code, reason, kind, class, hint) in [
            (403, "Forbidden", Kind::CustomResourcesForbidden, Class::Permanent, "patch"),
            (500, "", Kind::CustomResourcesForbidden, Class::Permanent, "definition"),
            (422, "Invalid", Kind::CustomResourcesForbidden, Class::Permanent, "definition"),
            (500, "InternalError", Kind::NetworkError, Class::Transient, ""),
            (503, "ServiceUnavailable", Kind::NetworkError, Class::Transient, ""),
        ] {
            let answer = json!({"code": code, "reason": reason, "message": "no"});
            let answer: Status = serde_json::from_value(answer).unwrap();
            let error = refused(&kube::Error::Api(answer.boxed()));
            assert_eq!((error.kind(), error.class()), (kind, class), "{code} {reason}");
            assert!(error.next_step().unwrap_or_default().contains(hint), "{code}: {error}");
        }
    }
}
