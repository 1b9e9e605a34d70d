//! What is attached to a manifest: artifacts that name it as their `subject` (distribution specification v1.1,
//! "Listing Referrers" and "Pushing Manifests with Subject").
//!
//! A registry keeps the list itself and says so by `OCI-Subject` when an artifact is put; for one that doesn't, `tag_schema`
//! keeps it. Only a registry's 404 says that it keeps none: one that is broken may keep a list that we don't see.

mod link;
mod listing;
mod tag_schema;

use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use tokio::time::timeout;
use url::Url;

use super::body;
use super::call::Call;
use super::client::Client;
use super::error::place;
use super::reference::Target;
use super::source::{get_manifest, media_type};
use crate::error::{Error, Kind, Result};
use crate::image::{Descriptor, Digest, MAX_MANIFEST_SIZE, Manifest, ManifestFormat, MediaType};
use crate::limits::{LISTING_TIMEOUT, MAX_UNTYPED_ATTACHMENTS};
use crate::transport::local::attachments::{entry, entry_of};
use listing::Listing;

/// Lists the attachments of a manifest; see [`crate::transport::ImageDestination::attachments`].
pub(super) async fn list(
    client: &Client,
    subject: &Digest,
    artifact_type: Option<&MediaType>,
) -> Result<Vec<Descriptor>> {
    let listed = async {
        let all = match kept(client, subject, artifact_type).await? {
            Some(kept) => kept,
            None => tag_schema::read(client, subject).await?,
        };
        wanted(client, all, artifact_type).await
    };
    in_time(client, listed).await.map_err(|error| while_listing(error, client, subject))
}

/// The same, but asks a registry that keeps no list for nothing more.
pub(super) async fn list_kept(
    client: &Client,
    subject: &Digest,
    artifact_type: Option<&MediaType>,
) -> Result<Option<Vec<Descriptor>>> {
    let listed = async {
        match kept(client, subject, artifact_type).await? {
            Some(kept) => wanted(client, kept, artifact_type).await.map(Some),
            None => Ok(None),
        }
    };
    in_time(client, listed).await.map_err(|error| while_listing(error, client, subject))
}

fn while_listing(error: Error, client: &Client, subject: &Digest) -> Error {
    let repository = client.repository();
    error.doing(format!("listing what is attached to `{subject}` in `docker://{repository}`"))
}

async fn wanted(
    client: &Client,
    listed: Vec<Descriptor>,
    artifact_type: Option<&MediaType>,
) -> Result<Vec<Descriptor>> {
    match artifact_type {
        Some(artifact_type) => of_type(client, listed, artifact_type).await,
        None => Ok(listed),
    }
}

/// The entries of this kind. Whether the registry has left out others already (`OCI-Filters-Applied`) makes no difference.
async fn of_type(
    client: &Client,
    listed: Vec<Descriptor>,
    artifact_type: &MediaType,
) -> Result<Vec<Descriptor>> {
    // One of this kind says by its annotations what it holds; a list that leaves them out is no help.
    let is_bare = |entry: &Descriptor| {
        entry.artifact_type.as_ref() == Some(artifact_type) && entry.annotations.is_empty()
    };
    let (untyped, mut entries): (Vec<_>, Vec<_>) =
        listed.into_iter().partition(|entry| is_untyped(entry) || is_bare(entry));
    if untyped.len() > MAX_UNTYPED_ATTACHMENTS {
        let message = format!(
            "the list doesn't say what kind more than the limit of {MAX_UNTYPED_ATTACHMENTS} attachments are of"
        );
        return Err(Error::new(Kind::LimitExceeded, message));
    }
    for entry in untyped {
        entries.extend(typed(client, entry).await?);
    }
    entries.retain(|entry| entry.artifact_type.as_ref() == Some(artifact_type));
    Ok(entries)
}

/// Whether the list doesn't say of what kind an attachment is. go-containerregistry's registry lists the type of the config,
/// which for an artifact without one is that of an empty config.
fn is_untyped(entry: &Descriptor) -> bool {
    entry.artifact_type.as_ref().is_none_or(|listed| *listed == MediaType::OCI_EMPTY)
}

/// The same with the kind that the attachment's manifest says, unless that has gone.
async fn typed(client: &Client, listed: Descriptor) -> Result<Option<Descriptor>> {
    let manifest = match get_manifest(client, &Target::Digest(listed.digest.clone())).await {
        Ok(manifest) => manifest,
        Err(error) if error.kind() == Kind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let image = manifest.as_image().filter(|_| *manifest.digest() == listed.digest);
    Ok(image.map(|image| Descriptor {
        artifact_type: Some(image.kind().clone()),
        annotations: image.annotations.clone(),
        ..listed
    }))
}

/// An artifact in the list of its subject.
pub(super) struct Entry {
    subject: Digest,
    descriptor: Descriptor,
}

// === impl Entry ===

impl Entry {
    /// How a list describes an artifact.
    pub(super) fn of(artifact: &Manifest) -> Result<Self> {
        let (subject, descriptor) = entry(artifact)?;
        Ok(Self { subject, descriptor })
    }

    /// The same for what is pushed as an image, if it is attached to something. Docker's formats know no attachments.
    pub(super) fn of_image(manifest: &Manifest) -> Option<Self> {
        let (subject, descriptor) =
            entry_of(manifest).filter(|_| manifest.format() == ManifestFormat::Oci)?;
        Some(Self { subject, descriptor })
    }

    /// Enters it, unless the registry has done so. It says that in its answer to the artifact's PUT; where that is lost, it is
    /// asked whether it keeps a list.
    pub(super) async fn write(&self, client: &Client, answered: Option<&HeaderMap>) -> Result<()> {
        let write = async {
            let entered = match answered {
                Some(headers) => subject(headers).as_ref() == Some(&self.subject),
                None => keeps_list(client, &self.subject).await?,
            };
            if entered {
                return Ok(());
            }
            in_time(client, tag_schema::add(client, &self.subject, &self.descriptor)).await
        };
        write.await.map_err(|error| {
            error.doing(format!("entering it into the list of `{}`", self.subject))
        })
    }
}

/// The manifest that an artifact belongs to, by the registry's own word.
fn subject(headers: &HeaderMap) -> Option<Digest> {
    headers.get("oci-subject")?.to_str().ok()?.parse().ok()
}

/// Takes an attachment off the list of its subject, and deletes it.
pub(super) async fn remove(client: &Client, subject: &Digest, attachment: &Digest) -> Result<()> {
    let keeps_list = keeps_list(client, subject).await?;
    if !keeps_list {
        in_time(client, tag_schema::remove(client, subject, attachment)).await?;
    }
    let call = Call::new(Method::DELETE, client.url(&["manifests", &attachment.to_string()])?);
    let response = client.send(&call).await?;
    match response.status().as_u16() {
        200..300 | 404 => Ok(()),
        // Off the list, it is nobody's attachment any more.
        405 if !keeps_list => Ok(()),
        _ => Err(client.refusal(response).await.hint("the registry has to allow deleting")),
    }
}

/// All pages of the registry's own list, if it keeps one.
async fn kept(
    client: &Client,
    subject: &Digest,
    artifact_type: Option<&MediaType>,
) -> Result<Option<Vec<Descriptor>>> {
    let mut listing = Listing::default();
    let Some(mut page) = first_page(client, subject, artifact_type).await? else {
        return Ok(None);
    };
    listing.open_page(&page.url)?;
    loop {
        listing.add(page.entries, page.next.is_none())?;
        let Some(next) = page.next else { return Ok(Some(listing.into_entries())) };
        listing.open_page(&next)?;
        page = match ask(client, next).await? {
            response if response.status() == StatusCode::OK => Page::read(response).await?,
            response => return Err(client.refusal(response).await),
        };
    }
}

/// Whether the registry keeps the list of a manifest's attachments itself.
async fn keeps_list(client: &Client, subject: &Digest) -> Result<bool> {
    Ok(in_time(client, first_page(client, subject, None)).await?.is_some())
}

/// The first page of the registry's own list, if it keeps one.
async fn first_page(
    client: &Client,
    subject: &Digest,
    artifact_type: Option<&MediaType>,
) -> Result<Option<Page>> {
    let mut url = client.url(&["referrers", &subject.to_string()])?;
    if let Some(artifact_type) = artifact_type {
        url.query_pairs_mut().append_pair("artifactType", artifact_type.as_str());
    }
    let response = ask(client, url).await?;
    match response.status() {
        StatusCode::OK => Page::read(response).await.map(Some),
        StatusCode::NOT_FOUND => Ok(None),
        _ => Err(client.refusal(response).await),
    }
}

/// Asks for a page. No digest says what should be in it, so it has to come from the registry itself.
async fn ask(client: &Client, url: Url) -> Result<Response> {
    let mut call = Call::new(Method::GET, url);
    let index = HeaderValue::from_static("application/vnd.oci.image.index.v1+json");
    call.headers = HeaderMap::from_iter([(ACCEPT, index)]);
    let response = client.download(call).await?;
    if client.is_elsewhere(&response) {
        let message = format!(
            "the registry has its list of attachments at `{}`, which is not believed",
            place(response.url())
        );
        return Err(Error::new(Kind::RegistryUnavailable, message).permanent());
    }
    Ok(response)
}

/// A page of the registry's list.
struct Page {
    url: Url,
    entries: Vec<Descriptor>,
    next: Option<Url>,
}

// === impl Page ===

impl Page {
    async fn read(response: Response) -> Result<Self> {
        let url = response.url().clone();
        let next = link::next(&url, response.headers())?;
        if media_type(&response) != Some(MediaType::OCI_INDEX) {
            let message = "the registry answered with something that is no list of attachments";
            return Err(Error::new(Kind::RegistryUnavailable, message).permanent());
        }
        let bytes = body::read(response, MAX_MANIFEST_SIZE, "list of attachments").await?;
        let manifest = Manifest::parse(bytes, Some(&MediaType::OCI_INDEX))?;
        let entries = manifest.as_index().map(|index| index.manifests.clone()).unwrap_or_default();
        Ok(Self { url, entries, next })
    }
}

/// A list may have many pages, and each of them may be slow. A pause that the registry has asked for doesn't count.
async fn in_time<T>(client: &Client, work: impl Future<Output = Result<T>>) -> Result<T> {
    client.ready().await?;
    let late = |_| {
        let seconds = LISTING_TIMEOUT.as_secs();
        Error::new(Kind::Timeout, format!("the list of attachments took longer than {seconds} s"))
    };
    timeout(LISTING_TIMEOUT, work).await.map_err(late)?
}
