//! Upload sessions: where they are, how far each has got, and that none stays open for nothing.
//!
//! A session is opened by POST and lives at the address that the registry's latest answer gives (distribution specification
//! v1.1, "Pushing Blobs"). Each ends by the PUT that makes a blob of it, or by a DELETE. One whose upload broke off is kept
//! for the next attempt at the same blob, which goes on where the registry stands. All of these requests go to where the
//! session is, which may be another host than the registry's if the user allows that.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;
use reqwest::header::{HeaderMap, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use url::Url;

use super::call::Call;
use super::client::Client;
use super::error::Refusal;
use crate::error::{Error, Kind, Result};
use crate::image::Digest;
use crate::limits::UPLOAD_CANCEL_TIMEOUT;

/// The open sessions of one destination. Those that are left when it is dropped are cancelled by a task of their own.
pub(super) struct Sessions {
    client: Arc<Client>,
    open: Mutex<Open>,
    /// Requests that open a session. They run to their end even if nobody waits for it any more: the registry may have
    /// opened the session by then.
    opening: TaskTracker,
    /// The shortest piece in bytes that the registry says it takes.
    shortest: AtomicU64,
}

#[derive(Default)]
struct Open {
    /// Sessions that wait for their blob.
    kept: HashMap<Digest, Place>,
    /// Sessions that nobody is going to use.
    left: Vec<Url>,
}

/// Where a session is, and how far it may have got.
struct Place {
    url: Url,
    /// The most bytes that the registry can have: those that left us.
    sent: u64,
    /// Where it goes on, if the registry has told by a refusal.
    corrected: Option<u64>,
}

/// A session in use. Dropping it without [`Session::ended`] leaves it to be cancelled.
pub(super) struct Session {
    /// Where the next request goes; each answer may change it.
    url: Url,
    sessions: Arc<Sessions>,
    open: bool,
    /// Whether the registry has told by a refusal where it goes on. It is believed once.
    corrected: bool,
}

/// A session that was kept, looked at again.
pub(super) enum Resumed {
    /// It goes on at this offset.
    At(Session, u64),
    /// The registry has nothing of it that could be used.
    Lost,
}

// === impl Sessions ===

impl Sessions {
    pub(super) fn new(client: Arc<Client>) -> Arc<Self> {
        let (opening, shortest) = (TaskTracker::new(), AtomicU64::new(0));
        Arc::new(Self { client, open: Mutex::default(), opening, shortest })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The shortest piece in bytes that the registry takes, as far as it has told; 0 if any will do.
    pub(super) fn shortest_piece(&self) -> u64 {
        self.shortest.load(Ordering::Relaxed)
    }

    /// Opens a session.
    pub(super) async fn start(self: &Arc<Self>) -> Result<Session> {
        let sessions = Arc::clone(self);
        let start = async move {
            let client = sessions.client();
            let call = Call::new(Method::POST, client.url(&["blobs", "uploads", ""])?);
            let response = client.send(&call).await?;
            match response.status() {
                StatusCode::ACCEPTED => sessions.opened(&response),
                _ => Err(no_place(client.refusal(response).await)),
            }
        };
        self.opening(start).await
    }

    /// Does what may open a session. If the caller goes away meanwhile, the session is left to be cancelled.
    pub(super) async fn opening<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        self.opening.spawn(async move {
            // A session that nobody takes is dropped, which leaves it.
            let _ = sender.send(work.await);
        });
        receiver.await.map_err(|_| Error::internal("opening an upload session stopped"))?
    }

    /// The session that an answer opens.
    pub(super) fn opened(self: &Arc<Self>, response: &Response) -> Result<Session> {
        let url = self.client.session_url(response)?;
        self.shortest.fetch_max(shortest(response.headers()), Ordering::Relaxed);
        Ok(self.session(url))
    }

    /// Keeps a session for the next attempt at a blob. The registry has at most `sent` bytes of it.
    pub(super) fn keep(&self, digest: &Digest, session: Session, sent: u64) {
        self.keep_at(digest, session, sent, None);
    }

    /// The same for an upload that was refused because it goes on at `offset`.
    pub(super) fn keep_corrected(&self, digest: &Digest, session: Session, offset: u64) {
        self.keep_at(digest, session, offset, Some(offset));
    }

    fn keep_at(&self, digest: &Digest, mut session: Session, sent: u64, corrected: Option<u64>) {
        session.open = false;
        let place = Place { url: session.url.clone(), sent, corrected };
        let mut open = self.lock();
        // Two descriptors with one digest: either session would do.
        let other = open.kept.insert(digest.clone(), place);
        open.left.extend(other.map(|other| other.url));
    }

    /// Whether a session is kept for a blob.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.lock().kept.contains_key(digest)
    }

    /// Gives back the session that is kept for a blob, at its offset; `None` if there is none.
    pub(super) async fn resume(self: &Arc<Self>, digest: &Digest) -> Result<Option<Resumed>> {
        let place = self.lock().kept.remove(digest);
        let Some(Place { url, sent, corrected }) = place else { return Ok(None) };
        let mut session = self.session(url);
        session.corrected = corrected.is_some();
        if let Some(offset) = corrected {
            return Ok(Some(Resumed::At(session, offset)));
        }
        if sent == 0 {
            return Ok(Some(Resumed::At(session, 0)));
        }
        match session.offset().await {
            Ok(Some((url, offset))) if offset <= sent => {
                Ok(Some(Resumed::At(session.moved(url), offset)))
            }
            Ok(_) => {
                session.cancel().await;
                Ok(Some(Resumed::Lost))
            }
            Err(error) => {
                self.keep(digest, session, sent);
                Err(error)
            }
        }
    }

    /// Cancels the session that is kept for a blob, which has turned out to be there.
    pub(super) async fn forget(self: &Arc<Self>, digest: &Digest) {
        let place = self.lock().kept.remove(digest);
        if let Some(place) = place {
            self.session(place.url).cancel().await;
        }
    }

    /// Cancels all that is open and in nobody's hands.
    pub(super) async fn close(&self) {
        self.opening.close();
        // What is opened later than that is cancelled when the last of it is dropped.
        let _ = timeout(UPLOAD_CANCEL_TIMEOUT, self.opening.wait()).await;
        let urls = self.take_open();
        cancel_all(&self.client, urls).await;
    }

    fn session(self: &Arc<Self>, url: Url) -> Session {
        Session { url, sessions: Arc::clone(self), open: true, corrected: false }
    }

    fn take_open(&self) -> Vec<Url> {
        let Open { kept, left } = std::mem::take(&mut *self.lock());
        kept.into_values().map(|place| place.url).chain(left).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        let urls = self.take_open();
        // Outside of a runtime nothing can be sent; the registry lets them expire.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !urls.is_empty() {
            let client = Arc::clone(&self.client);
            // Nobody is left who could wait for it; its time is bounded.
            runtime.spawn(async move { cancel_all(&client, urls).await });
        }
    }
}

// === impl Session ===

impl Session {
    /// Where the next request goes.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Goes to where an answer says.
    pub(super) fn follow(&mut self, response: &Response) -> Result<()> {
        self.url = self.sessions.client().session_url(response)?;
        Ok(())
    }

    /// Where an upload goes on that was refused when it went on at `start`; `None` if the registry doesn't tell, or has told
    /// before. One that says just what it has refused counts a byte too many, as Quay does.
    pub(super) fn correction(&self, start: u64, refusal: &Refusal) -> Option<u64> {
        let misplaced = refusal.status == StatusCode::RANGE_NOT_SATISFIABLE && start > 0;
        let held = refusal.held.filter(|_| misplaced && !self.corrected)?;
        let offset = if held == start { held - 1 } else { held };
        (offset > 0).then_some(offset)
    }

    /// The registry has made a blob of it, or has lost it.
    pub(super) fn ended(mut self) {
        self.open = false;
    }

    /// Tells the registry to forget it. Whether it does makes no difference to us.
    pub(super) async fn cancel(mut self) {
        // From here on the session counts as cancelled, even if nobody waits for the end.
        self.open = false;
        cancel_all(self.sessions.client(), vec![self.url.clone()]).await;
    }

    fn moved(mut self, url: Url) -> Self {
        self.url = url;
        self
    }

    /// The offset that the registry expects next, and where; `None` if it doesn't know, or has nothing.
    async fn offset(&self) -> Result<Option<(Url, u64)>> {
        let client = self.sessions.client();
        let response = client.send(&Call::session(Method::GET, self.url.clone())).await?;
        let status = response.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(client.refusal(response).await);
        }
        // Some registries say `0-0` of an empty session: one byte is not worth the doubt.
        let held = held(response.headers()).filter(|held| *held > 1 && status.is_success());
        Ok(held.and_then(|held| Some((status_url(client, &response)?, held))))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.open {
            self.sessions.lock().left.push(self.url.clone());
        }
    }
}

/// A refusal to open a session. Where there is no repository, it may have to be made first: a push makes none everywhere.
fn no_place(refusal: Error) -> Error {
    match refusal.kind() {
        Kind::NotFound => refusal.hint(
            "check the repository's name, and make the repository first where the registry wants that",
        ),
        _ => refusal,
    }
}

/// The address of a session by an answer about it; without `Location`, the one that was asked.
fn status_url(client: &Client, response: &Response) -> Option<Url> {
    if response.headers().contains_key(LOCATION) {
        return client.session_url(response).ok();
    }
    Some(response.url().clone())
}

/// How many bytes of a session a registry has, by `Range: 0-LAST`.
pub(super) fn held(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(RANGE)?.to_str().ok()?;
    let (first, last) = value.trim_start_matches("bytes=").split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    (first.trim() == "0").then(|| last.saturating_add(1))
}

fn shortest(headers: &HeaderMap) -> u64 {
    let shortest = headers.get("oci-chunk-min-length").and_then(|value| value.to_str().ok());
    shortest.and_then(|shortest| shortest.trim().parse().ok()).unwrap_or_default()
}

/// Cancels sessions, all within one bound of time. Failures are of no interest: sessions expire, and whatever made
/// us cancel is what counts.
async fn cancel_all(client: &Client, urls: Vec<Url>) {
    let cancelled = join_all(urls.into_iter().map(|url| cancel(client, url)));
    let all = timeout(UPLOAD_CANCEL_TIMEOUT, cancelled).await;
    if !all.is_ok_and(|each| each.into_iter().all(|cancelled| cancelled)) {
        tracing::debug!("an upload session could not be cancelled, and is left to expire");
    }
}

async fn cancel(client: &Client, url: Url) -> bool {
    let delete = async |url| client.send(&Call::session(Method::DELETE, url)).await.ok();
    let Some(response) = delete(url.clone()).await else { return false };
    if response.status() != StatusCode::RANGE_NOT_SATISFIABLE {
        return response.status().is_success();
    }
    // distribution 3 keeps the offset in the address, and wants the one where it stands even for this.
    let Ok(status) = client.send(&Call::session(Method::GET, url)).await else { return false };
    let Some(url) = status_url(client, &status) else { return false };
    delete(url).await.is_some_and(|response| response.status().is_success())
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn what_a_registry_has_is_read_from_its_range() {
        for (range, expected) in [
            ("0-0", Some(1)),
            ("0-41", Some(42)),
            ("bytes=0-41", Some(42)),
            ("0-18446744073709551615", Some(u64::MAX)),
            ("1-41", None),
            ("0-", None),
            ("41", None),
            ("0--1", None),
            ("0-18446744073709551616", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_static(range))]);
            assert_eq!(held(&headers), expected, "{range}");
        }
        assert_eq!(held(&HeaderMap::new()), None);
    }
}
