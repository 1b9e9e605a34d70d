//! Brings blobs into a registry, and decides what follows when that goes wrong.
//!
//! A blob of known size goes in one PUT, one that is still being made in one PATCH and a PUT that tells its digest; `manner`
//! knows what else there is. An upload that breaks off is kept, and goes on where the registry stands if the engine comes back
//! with the same blob. A PUT whose answer is lost may have been carried out, so the registry is asked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use oci_client::errors::OciErrorCode as Code;

use super::manner::{Lesson, Manner, Manners, Next, Refused, next};
use super::presence::{Presence, Word, presence};
use super::sending::{Failure, Passing, Sending};
use super::session::{Resumed, Session, Sessions};
use crate::blob::{Blob, Chunks, Identity};
use crate::error::{Class, Error, Kind, Result};
use crate::image::Digest;
use crate::limits::MIN_RESUMED;

/// Uploads to one repository.
pub(super) struct Uploads {
    sessions: Arc<Sessions>,
    /// How this registry takes blobs, as far as is known by now.
    manners: Mutex<Manners>,
    /// Whether an upload that went on where the registry said it stood has turned out wrong.
    misled: AtomicBool,
}

/// What becomes of an upload that failed.
struct Outcome {
    error: Error,
    /// Whether the session is worth keeping for another attempt.
    keep: bool,
}

/// How a blob was sent.
#[derive(Clone, Copy)]
struct Sent {
    used: Manner,
    /// The blob's size; the largest number, if it isn't known.
    size: u64,
    /// Where an earlier upload was gone on with.
    start: u64,
    /// Whether all bytes of a blob whose digest was known have left us.
    complete: bool,
}

// === impl Uploads ===

impl Uploads {
    pub(super) fn new(sessions: Arc<Sessions>) -> Self {
        Self { sessions, manners: Mutex::default(), misled: AtomicBool::new(false) }
    }

    /// Sends a blob. Errors of its stream come back unchanged, others say what was being done.
    pub(super) async fn send(&self, blob: Blob) -> Result<()> {
        let (chunks, identity) = blob.into_parts();
        let passing = Passing::default();
        let sent = match identity.get() {
            Some((digest, size)) => self.send_known(digest, size, chunks, &passing).await,
            None => self.send_unknown(&identity, chunks, &passing).await,
        };
        match sent {
            Ok(Word::Confirmed) => identity.confirm(),
            Ok(Word::Silence) => {}
            Err(error) => {
                return Err(match passing.failure() {
                    Some(failure) => failure,
                    None => error.doing(self.writing(&identity)),
                });
            }
        }
        Ok(())
    }

    async fn send_known(
        &self,
        digest: &Digest,
        size: u64,
        chunks: Chunks,
        passing: &Passing,
    ) -> Result<Word> {
        let (mut session, start) = self.place(digest, size).await?;
        let chunks = passing.observe(chunks, start);
        let used = self.manner(Some(size));
        let client = self.sessions.client();
        let mut sending = Sending { client, session: &mut session, manner: used };
        let failure = match sending.known((digest, size), start, chunks).await {
            Ok(word) => {
                session.ended();
                return Ok(word);
            }
            Err(failure) => failure,
        };
        let sent = start + passing.bytes();
        if sent == size
            && is_unknown(&failure)
            && let Some(word) = self.arrived(digest, size).await
        {
            session.ended();
            return Ok(word);
        }
        if let Failure::Refused(refusal) = &failure
            && let Some(offset) = session.correction(start, refusal)
        {
            tracing::debug!(%digest, start, offset, "the registry stands elsewhere than it said");
            self.sessions.keep_corrected(digest, session, offset);
            return Err(misplaced(start, offset).send_again());
        }
        let complete = sent == size;
        let Outcome { error, keep } = match passing.failure() {
            Some(error) => Outcome { keep: error.class() == Class::Transient, error },
            None => self.judge(failure, Sent { used, size, start, complete }),
        };
        let misled = self.misled.load(Ordering::Relaxed);
        if keep && !misled && sent > 0 && size >= MIN_RESUMED {
            self.sessions.keep(digest, session, sent);
        } else {
            session.cancel().await;
        }
        Err(error)
    }

    async fn send_unknown(
        &self,
        identity: &Identity,
        chunks: Chunks,
        passing: &Passing,
    ) -> Result<Word> {
        let mut session = self.sessions.start().await?;
        let chunks = passing.observe(chunks, 0);
        let used = self.manner(None);
        let client = self.sessions.client();
        let mut sending = Sending { client, session: &mut session, manner: used };
        let failure = match sending.unknown(identity, chunks).await {
            Ok(word) => {
                session.ended();
                return Ok(word);
            }
            Err(failure) => failure,
        };
        if let (true, Some((digest, size))) = (is_unknown(&failure), identity.get())
            && let Some(word) = self.arrived(digest, size).await
        {
            session.ended();
            return Ok(word);
        }
        // What is made anew may come out with other bytes: nothing could be gone on with.
        session.cancel().await;
        let sent = Sent { used, size: u64::MAX, start: 0, complete: false };
        Err(self.judge(failure, sent).error)
    }

    /// The session for a blob, and the offset to go on from.
    async fn place(&self, digest: &Digest, size: u64) -> Result<(Session, u64)> {
        match self.sessions.resume(digest).await? {
            Some(Resumed::At(session, offset)) if offset <= size => {
                tracing::debug!(%digest, offset, "going on with an upload session");
                return Ok((session, offset));
            }
            Some(Resumed::At(session, _)) => session.cancel().await,
            Some(Resumed::Lost) | None => {}
        }
        Ok((self.sessions.start().await?, 0))
    }

    /// Decides about a failure.
    fn judge(&self, failure: Failure, sent: Sent) -> Outcome {
        let refusal = match failure {
            Failure::Forgetful => return Outcome { error: forgetful(), keep: false },
            Failure::Broken(error) => {
                let keep = error.class() == Class::Transient;
                // A token that was renewed while the body was on its way is no failure of an attempt.
                let renewed = keep && error.kind() == Kind::AuthenticationFailed;
                return Outcome { error: if renewed { error.send_again() } else { error }, keep };
            }
            Failure::Refused(refusal) => refusal,
        };
        let next = next(&Refused {
            used: sent.used,
            resumed: sent.start > 0,
            length: match sent.used {
                Manner::Pieces(piece) => piece,
                Manner::Whole | Manner::Patch => sent.size - sent.start,
            },
            minimum: self.sessions.shortest_piece(),
            refusal: &refusal,
        });
        let doubted = sent.complete && refusal.code() == Some(&Code::BlobUploadInvalid);
        let error = match next {
            // Quay says no more than this of a digest that doesn't match.
            Next::GiveUp if doubted => {
                let error = Error::new(Kind::ContentMismatch, refusal.words()).transient();
                return Outcome { error, keep: false };
            }
            _ => self.sessions.client().explain(refusal),
        };
        match next {
            Next::GiveUp => Outcome { keep: error.class() == Class::Transient, error },
            Next::Restart => {
                self.misled.store(true, Ordering::Relaxed);
                Outcome { error: error.send_again(), keep: false }
            }
            Next::Learn(lesson) => {
                self.learn(lesson);
                Outcome { error: error.send_again(), keep: false }
            }
        }
    }

    /// Sends blobs otherwise from now on.
    fn learn(&self, lesson: Lesson) {
        let mut manners = self.manners.lock().unwrap_or_else(PoisonError::into_inner);
        let known = manners.learn(lesson);
        if *manners != known {
            tracing::info!(?lesson, "the registry wants blobs in another manner");
            *manners = known;
        }
    }

    fn manner(&self, size: Option<u64>) -> Manner {
        self.manners.lock().unwrap_or_else(PoisonError::into_inner).manner(size)
    }

    /// What the registry says of a blob whose last request had no answer, if it is there all the same.
    async fn arrived(&self, digest: &Digest, size: u64) -> Option<Word> {
        match presence(self.sessions.client(), digest, size).await {
            Ok(Presence::Present(word)) => Some(word),
            Ok(Presence::Absent | Presence::Unknown) | Err(_) => None,
        }
    }

    fn writing(&self, identity: &Identity) -> String {
        let repository = self.sessions.client().repository();
        let named = identity.get().map(|(digest, _)| format!(" `{digest}`")).unwrap_or_default();
        format!("writing blob{named} to `docker://{repository}`")
    }
}

/// Whether nobody knows if the request was carried out.
fn is_unknown(failure: &Failure) -> bool {
    let kinds = [Kind::NetworkError, Kind::Timeout];
    matches!(failure, Failure::Broken(error) if kinds.contains(&error.kind()))
}

fn misplaced(start: u64, offset: u64) -> Error {
    let message =
        format!("the upload goes on at byte {offset}, and not at {start} as the registry said");
    Error::new(Kind::RegistryUnavailable, message)
}

fn forgetful() -> Error {
    let message = "the registry takes blobs in pieces only, and does not keep the pieces";
    Error::new(Kind::RegistryUnavailable, message).permanent()
}
