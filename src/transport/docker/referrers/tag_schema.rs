//! The list of a manifest's attachments where the registry keeps none: an index under a tag that is named after the
//! manifest (distribution specification v1.1, "Referrers Tag Schema").
//!
//! A registry has no way to change an index that somebody else may be changing, so a change is read back: a writer is
//! done when what it reads is what it wanted. It waits before that for as long as another one takes that has read the
//! index before it was written.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH};
use reqwest::{Method, StatusCode};
use tokio::time::{Instant, sleep};

use super::super::body;
use super::super::call::Call;
use super::super::client::Client;
use super::super::reference::Target;
use super::super::source::{ask_manifest, media_type};
use super::listing::bounded;
use crate::error::{Error, Kind, Result};
use crate::image::{Descriptor, Digest, Index, MAX_MANIFEST_SIZE, Manifest, MediaType};
use crate::limits::{MAX_LIST_CHANGES, OTHER_WRITERS};

/// Longest parts of a digest that the tag repeats.
const SHOWN_ALGORITHM: usize = 32;
const SHOWN_HEX: usize = 64;

/// The index, and what tells it from a later one.
struct Listed {
    index: Index,
    version: Option<HeaderValue>,
}

/// Lists the attachments. Without an index there are none.
pub(super) async fn read(client: &Client, subject: &Digest) -> Result<Vec<Descriptor>> {
    let listed = fetch(client, &tag(subject)).await?;
    let entries = listed.index.manifests;
    bounded(entries.len())?;
    Ok(entries)
}

/// Adds an attachment, or puts this entry in the place of an older one of its digest.
pub(super) async fn add(client: &Client, subject: &Digest, entry: &Descriptor) -> Result<()> {
    change(client, subject, |entries| with(entries, entry)).await
}

/// Removes an attachment.
pub(super) async fn remove(client: &Client, subject: &Digest, attachment: &Digest) -> Result<()> {
    change(client, subject, |entries| without(entries, attachment)).await
}

/// Reads, changes and writes the index until `edit` finds nothing more to change in it.
async fn change(
    client: &Client,
    subject: &Digest,
    edit: impl Fn(&[Descriptor]) -> Option<Vec<Descriptor>>,
) -> Result<()> {
    let tag = tag(subject);
    for _ in 0..MAX_LIST_CHANGES {
        let started = Instant::now();
        let Listed { mut index, version } = fetch(client, &tag).await?;
        let Some(entries) = edit(&index.manifests) else { return Ok(()) };
        bounded(entries.len())?;
        index.manifests = entries;
        write(client, &tag, index, version).await?;
        sleep(patience(started.elapsed())).await;
    }
    let message = format!("others kept changing the list of attachments `{tag}`");
    Err(Error::new(Kind::RegistryUnavailable, message))
}

async fn fetch(client: &Client, tag: &Target) -> Result<Listed> {
    let response = ask_manifest(client, Method::GET, tag).await?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => {
            return Ok(Listed { index: Index::new(vec![]), version: None });
        }
        _ => return Err(client.refusal(response).await),
    }
    let (declared, version) = (media_type(&response), version(response.headers()));
    let bytes = body::read(response, MAX_MANIFEST_SIZE, "list of attachments").await?;
    let manifest = Manifest::parse(bytes, declared.as_ref())?;
    match manifest.as_index() {
        Some(index) => Ok(Listed { index: index.clone(), version }),
        None => Err(Error::new(
            Kind::InvalidImage,
            format!("the tag `{tag}` has an image, where a list of attachments should be"),
        )
        .hint("remove the tag, or attach nothing to this image")),
    }
}

/// What the registry calls this state of the index. A weak name, which a proxy makes of a strong one, matches nothing.
fn version(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(ETAG).filter(|version| !version.as_bytes().starts_with(b"W/")).cloned()
}

/// Writes the index, unless the registry says that it is no longer the one that was read.
async fn write(
    client: &Client,
    tag: &Target,
    index: Index,
    version: Option<HeaderValue>,
) -> Result<()> {
    let manifest = Manifest::from_index(index, MediaType::OCI_INDEX);
    let mut call = Call::new(Method::PUT, client.url(&["manifests", &tag.to_string()])?);
    let index_type = HeaderValue::from_static("application/vnd.oci.image.index.v1+json");
    call.headers = HeaderMap::from_iter([(CONTENT_TYPE, index_type)]);
    call.headers.extend(version.map(|version| (IF_MATCH, version)));
    call.body = manifest.bytes().clone();
    let response = client.send(&call).await?;
    match response.status() {
        // Whatever else it says, the index is read back.
        status if status.is_success() => Ok(()),
        StatusCode::PRECONDITION_FAILED => Ok(()),
        _ => Err(client.refusal(response).await),
    }
}

/// The tag that the list of a manifest's attachments is kept under.
fn tag(subject: &Digest) -> Target {
    let (algorithm, hex) = (subject.algorithm().as_str(), subject.hex());
    let cut = |text: &str, length: usize| text.chars().take(length).collect::<String>();
    Target::Tag(format!("{}-{}", cut(algorithm, SHOWN_ALGORITHM), cut(hex, SHOWN_HEX)))
}

/// How long to wait until those who have read the index before we wrote it have written theirs.
fn patience(took: Duration) -> Duration {
    let (least, most) = OTHER_WRITERS;
    // Twice as long as we took, and not in step with one that has written at the same time.
    (took * 2).clamp(least, most).mul_f64(1.0 + jitter())
}

/// A number from 0 to 1.
fn jitter() -> f64 {
    let random = RandomState::new().hash_one(0u8);
    f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

/// The entries with one more; none if it is there.
fn with(entries: &[Descriptor], entry: &Descriptor) -> Option<Vec<Descriptor>> {
    if entries.contains(entry) {
        return None;
    }
    let mut changed = without(entries, &entry.digest).unwrap_or_else(|| entries.to_vec());
    changed.push(entry.clone());
    Some(changed)
}

/// The entries but that one; none if it isn't there.
fn without(entries: &[Descriptor], digest: &Digest) -> Option<Vec<Descriptor>> {
    let left: Vec<Descriptor> =
        entries.iter().filter(|entry| entry.digest != *digest).cloned().collect();
    (left.len() < entries.len()).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_named_after_its_subject() {
        let hex = "0123456789abcdef".repeat(8);
        for (subject, expected) in [
            (format!("sha256:{}", &hex[..64]), format!("sha256-{}", &hex[..64])),
            // A tag has at most 128 characters.
            (format!("sha512:{hex}"), format!("sha512-{}", &hex[..64])),
        ] {
            assert_eq!(tag(&subject.parse().unwrap()), Target::Tag(expected));
        }
    }

    #[test]
    fn entries_of_others_stay() {
        let entry = |text: &str| Descriptor::of(MediaType::OCI_MANIFEST, text.as_bytes());
        let (a, b, c) = (entry("a"), entry("b"), entry("c"));
        let entries = [a.clone(), b.clone()];
        assert_eq!(with(&entries, &c), Some(vec![a.clone(), b.clone(), c.clone()]));
        assert_eq!(with(&entries, &b), None);
        let typed = Descriptor { artifact_type: Some(MediaType::OCI_CONFIG), ..a.clone() };
        assert_eq!(with(&entries, &typed), Some(vec![b.clone(), typed]));
        assert_eq!(without(&entries, &a.digest), Some(vec![b]));
        assert_eq!(without(&entries, &c.digest), None);
    }

    #[test]
    fn the_slow_are_waited_for_within_bounds() {
        let (least, most) = OTHER_WRITERS;
        for (took, shortest) in [
            (Duration::ZERO, least),
            (Duration::from_millis(300), Duration::from_millis(600)),
            (Duration::from_mins(10), most),
        ] {
            let wait = patience(took);
            assert!(shortest <= wait && wait <= shortest * 2, "{took:?}: {wait:?}");
        }
    }

    #[test]
    fn only_strong_versions_are_compared() {
        let named = |value| {
            version(&HeaderMap::from_iter([(ETAG, HeaderValue::from_static(value))])).is_some()
        };
        assert_eq!(["\"a\"", "W/\"a\""].map(named), [true, false]);
    }
}
