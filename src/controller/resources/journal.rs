//! Keeps in status what was applied.
//!
//! It has a field manager of its own: it is written before anything is applied, while what the rest of status says is not
//! known yet, and neither takes fields of the other away.

use async_trait::async_trait;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource as _};
use kube_runtime::reflector::ObjectRef;
use serde_json::json;
use tokio_util::sync::CancellationToken;

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
        Self { api, name: object.name.clone(), uid: uid.to_owned(), leadership, cancel }
    }

    /// What was applied, by whichever operator: it is read anew each time.
    pub(super) async fn read(&self) -> Result<Vec<Entry>> {
        let object = self.api.get_opt(&self.name).await.map_err(|cause| unreachable(&cause))?;
        let same = object.filter(|object| object.metadata.uid.as_deref() == Some(&self.uid));
        let status = same.ok_or_else(Error::cancelled)?.status.unwrap_or_default();
        let entries = status.inventory.map(|inventory| inventory.entries).unwrap_or_default();
        Ok(entries.into_iter().map(entry).collect())
    }
}

#[async_trait]
impl Journal for StatusJournal {
    async fn remember(&self, entries: &[Entry]) -> Result<()> {
        if entries.len() > MAX_INVENTORY {
            let message = format!("more than the limit of {MAX_INVENTORY} objects are applied");
            return Err(Error::new(Kind::LimitExceeded, message));
        }
        let entries: Vec<InventoryEntry> = entries.iter().map(written).collect();
        // What is left out disappears.
        let status = if entries.is_empty() {
            json!({})
        } else {
            json!({"inventory": Inventory { entries }})
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
            Err(cause) => Err(unreachable(&cause)),
        }
    }

    fn still_wanted(&self) -> Result<()> {
        if self.cancel.is_cancelled() || !self.leadership.is_held() {
            return Err(Error::cancelled());
        }
        Ok(())
    }
}

fn unreachable(cause: &kube::Error) -> Error {
    Error::new(Kind::NetworkError, cause.to_string()).doing("keeping what was applied in status")
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
