//! Where blobs have been written to, so that the next push of the same blob to the same registry can have it linked.
//!
//! Known only to whoever wrote it: what one credential has written is never looked up for another one. Kept in memory only, and
//! bounded; the oldest half is forgotten at a time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::Terms;
use crate::image::Digest;
use crate::limits::MAX_KNOWN_BLOBS;

/// Repositories by blob.
#[derive(Default)]
pub(crate) struct KnownBlobs(Mutex<Generations>);

/// A blob of a registry, and as whom we know of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BlobKey {
    /// Host and port, as references name it.
    pub(crate) registry: String,
    pub(crate) terms: Terms,
    pub(crate) digest: Digest,
}

/// Paths of repositories.
#[derive(Default)]
struct Generations {
    young: HashMap<BlobKey, String>,
    old: HashMap<BlobKey, String>,
}

// === impl KnownBlobs ===

impl KnownBlobs {
    /// A repository has a blob.
    pub(crate) fn remember(&self, key: BlobKey, repository: &str) {
        let mut known = self.lock();
        if known.young.len() >= MAX_KNOWN_BLOBS / 2 && !known.young.contains_key(&key) {
            known.old = std::mem::take(&mut known.young);
        }
        known.young.insert(key, repository.to_owned());
    }

    /// The repository that a blob was written to last.
    pub(crate) fn find(&self, key: &BlobKey) -> Option<String> {
        let known = self.lock();
        known.young.get(key).or_else(|| known.old.get(key)).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Credential, Fingerprint, Secret, TlsPolicy};

    fn key(registry: &str, user: Option<&str>, content: &str) -> BlobKey {
        let credential = user.map(|user| Credential::basic(user, Secret::new("canary")));
        let owner = Fingerprint::of(credential.as_ref());
        let terms = Terms { policy: TlsPolicy::Verify, trust: Fingerprint::of(None), owner };
        let digest = Digest::of(content.as_bytes());
        BlobKey { registry: registry.to_owned(), terms, digest }
    }

    #[test]
    fn a_blob_is_known_to_whoever_wrote_it() {
        let known = KnownBlobs::default();
        known.remember(key("r.test", Some("alice"), "x"), "first");
        known.remember(key("r.test", Some("alice"), "x"), "app");
        for (key, expected) in [
            (key("r.test", Some("alice"), "x"), Some("app")),
            (key("r.test", Some("bob"), "x"), None),
            (key("r.test", None, "x"), None),
            (key("other.test", Some("alice"), "x"), None),
            (key("r.test", Some("alice"), "y"), None),
        ] {
            assert_eq!(known.find(&key).as_deref(), expected, "{key:?}");
        }
        let other_policy =
            Terms { policy: TlsPolicy::SkipVerify, ..key("", Some("alice"), "").terms };
        let unverified = BlobKey { terms: other_policy, ..key("r.test", Some("alice"), "x") };
        assert_eq!(known.find(&unverified), None);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let known = KnownBlobs::default();
        let numbered = |number: usize| key("r.test", None, &number.to_string());
        for number in 0..=MAX_KNOWN_BLOBS {
            known.remember(numbered(number), "app");
        }
        let found = |number| known.find(&numbered(number)).is_some();
        assert!(!found(0) && found(MAX_KNOWN_BLOBS) && found(MAX_KNOWN_BLOBS - 100));
        let held = known.lock();
        assert!(held.young.len() + held.old.len() <= MAX_KNOWN_BLOBS);
    }
}
