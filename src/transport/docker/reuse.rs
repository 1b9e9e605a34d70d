//! Finds blobs that need not be sent, with as few questions as that takes.
//!
//! A mount tells and does everything in one request. Otherwise a HEAD tells whether a blob is there, unless the repository
//! turned out to be new: then nothing can be, and the question is saved. Only a push that broke off may have left blobs in
//! such a repository; they are found by opening the session as a mount from the repository itself, which costs nothing more.
//!
//! Blobs are mounted from the source, where that is a repository of the same registry, else from another one that this program
//! has written them to as the same user.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use reqwest::{Method, Response, StatusCode};
use tokio::sync::OnceCell;

use super::call::Call;
use super::client::Client;
use super::presence::{Presence, content_digest, presence};
use super::session::{Session, Sessions};
use crate::error::{Kind, Result};
use crate::image::{Descriptor, Digest};
use crate::limits::FRUITLESS_MOUNTS;
use crate::transport::{Repository, Reused};

/// What is known of a repository that blobs may be in.
pub(super) struct Reuse {
    sessions: Arc<Sessions>,
    /// Whether the name that is written to was looked for and isn't there.
    name_absent: AtomicBool,
    /// Whether there is no such repository yet.
    new: OnceCell<bool>,
    mounts: Mounts,
    /// Whether content has gone missing, so that nothing is linked any more but what the engine names.
    doubted: AtomicBool,
}

/// Whether the registry mounts blobs, by what it has done so far.
#[derive(Default)]
struct Mounts {
    refused: AtomicBool,
    succeeded: AtomicBool,
    fruitless: AtomicU32,
    failed: AtomicU32,
}

/// What came of asking for a mount.
enum Mount {
    /// The blob is there now.
    Mounted,
    /// It has to be sent, by this session.
    Session(Session),
    /// The registry doesn't do it.
    No,
}

// === impl Reuse ===

impl Reuse {
    pub(super) fn new(sessions: Arc<Sessions>) -> Self {
        let (new, mounts) = (OnceCell::new(), Mounts::default());
        let (name_absent, doubted) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { sessions, name_absent, new, mounts, doubted }
    }

    /// Content has gone missing: from now on each blob is asked for, and none that somebody else doesn't vouch for is linked.
    pub(super) fn doubt(&self) {
        self.set_name_absent(false);
        self.doubted.store(true, Ordering::Relaxed);
    }

    /// Tells whether the name that is written to is there.
    pub(super) fn set_name_absent(&self, absent: bool) {
        self.name_absent.store(absent, Ordering::Relaxed);
    }

    /// Looks for a blob. Where that opened a session, it is kept for the blob.
    pub(super) async fn find(
        &self,
        blob: &Descriptor,
        mount_from: Option<&Repository>,
    ) -> Result<Option<Reused>> {
        // An upload that broke off may have been complete; its session would not say so.
        if self.sessions.has(&blob.digest) {
            return self.look(blob).await;
        }
        let remembered = match mount_from {
            None if !self.doubted.load(Ordering::Relaxed) => self.client().elsewhere(&blob.digest),
            _ => None,
        };
        let from = mount_from.or(remembered.as_ref());
        if let Some(from) = from.filter(|_| self.mounts.are_worth_trying()) {
            if self.mount(&blob.digest, blob.size, from).await? {
                self.mounts.succeeded.store(true, Ordering::Relaxed);
                return Ok(Some(Reused::Mounted));
            }
            self.mounts.fruitless.fetch_add(1, Ordering::Relaxed);
        }
        if !self.is_new().await {
            return self.look(blob).await;
        }
        let asked = self.sessions.has(&blob.digest) || self.mounts.are_refused();
        let own = self.client().repository();
        let there = !asked && self.mount(&blob.digest, blob.size, own).await?;
        Ok(there.then_some(Reused::Present))
    }

    async fn look(&self, blob: &Descriptor) -> Result<Option<Reused>> {
        let found = presence(self.client(), &blob.digest, blob.size).await?;
        if !matches!(found, Presence::Present(_)) {
            return Ok(None);
        }
        self.sessions.forget(&blob.digest).await;
        Ok(Some(Reused::Present))
    }

    /// Whether the blob is there now; if not, there may be a session for it.
    async fn mount(&self, digest: &Digest, size: u64, from: &Repository) -> Result<bool> {
        let sessions = Arc::clone(&self.sessions);
        let (wanted, source) = (digest.clone(), from.clone());
        let mount = async move { mount(&sessions, &wanted, size, &source).await };
        let mounted = self.sessions.opening(mount).await.inspect_err(|_| {
            self.mounts.failed.fetch_add(1, Ordering::Relaxed);
        });
        match mounted? {
            Mount::Mounted => return Ok(true),
            Mount::Session(session) => self.sessions.keep(digest, session, 0),
            Mount::No => self.mounts.refused.store(true, Ordering::Relaxed),
        }
        Ok(false)
    }

    /// Whether the registry doesn't know the repository. Only that is believed: some have to be made before they are
    /// written to, and are known and empty.
    async fn is_new(&self) -> bool {
        if !self.name_absent.load(Ordering::Relaxed) {
            return false;
        }
        *self.new.get_or_init(|| async { is_unknown(self.client()).await.unwrap_or(false) }).await
    }

    fn client(&self) -> &Client {
        self.sessions.client()
    }
}

// === impl Mounts ===

impl Mounts {
    /// A refusal costs a request for each blob. A session instead of a mount costs none, but leads past blobs that are there.
    fn are_worth_trying(&self) -> bool {
        !self.are_refused() && !self.is_too_often(&self.fruitless)
    }

    fn are_refused(&self) -> bool {
        // A registry that only ever fails to mount is not to fail the push.
        self.refused.load(Ordering::Relaxed) || self.is_too_often(&self.failed)
    }

    fn is_too_often(&self, without_success: &AtomicU32) -> bool {
        let often = without_success.load(Ordering::Relaxed) >= FRUITLESS_MOUNTS;
        often && !self.succeeded.load(Ordering::Relaxed)
    }
}

/// Whether the registry says that there is no such repository.
async fn is_unknown(client: &Client) -> Result<bool> {
    let mut url = client.url(&["tags", "list"])?;
    url.query_pairs_mut().append_pair("n", "1");
    let response = client.send(&Call::new(Method::GET, url)).await?;
    Ok(response.status() == StatusCode::NOT_FOUND)
}

/// Asks the registry to link a blob from one of its repositories.
async fn mount(
    sessions: &Arc<Sessions>,
    digest: &Digest,
    size: u64,
    from: &Repository,
) -> Result<Mount> {
    let client = sessions.client();
    let mut url = client.url(&["blobs", "uploads", ""])?;
    url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", &from.path);
    let call = Call { other: Some(from), ..Call::new(Method::POST, url) };
    let response = match client.send(&call).await {
        Ok(response) => response,
        // The token server may not let us read there; we may still write here.
        Err(error) if [Kind::AuthenticationFailed, Kind::AccessDenied].contains(&error.kind()) => {
            return Ok(Mount::No);
        }
        Err(error) => return Err(error),
    };
    match response.status() {
        StatusCode::CREATED if tells(&response, digest) => Ok(Mount::Mounted),
        StatusCode::CREATED => match presence(client, digest, size).await? {
            Presence::Present(_) => Ok(Mount::Mounted),
            Presence::Absent | Presence::Unknown => Ok(Mount::No),
        },
        StatusCode::ACCEPTED => sessions.opened(&response).map(Mount::Session),
        status if passes(status) => Err(client.refusal(response).await),
        // It may refuse for want of a right to read there, or know no mounts.
        status if status.is_client_error() || status.is_server_error() => Ok(Mount::No),
        _ => Err(client.refusal(response).await),
    }
}

/// Whether a refusal says nothing of mounts, only that now is a bad time.
fn passes(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

fn tells(response: &Response, digest: &Digest) -> bool {
    content_digest(response.headers()).as_ref() == Some(digest)
}
