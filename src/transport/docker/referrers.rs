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
use super::client::{Call, Client};
use super::error::place;
use super::source::media_type;
use crate::error::{Error, Kind, Result};
use crate::image::{Descriptor, Digest, MAX_MANIFEST_SIZE, Manifest, MediaType};
use crate::limits::LISTING_TIMEOUT;
use listing::Listing;

/// Lists the attachments of a manifest; see [`crate::transport::ImageDestination::attachments`].
pub(super) async fn list(
    client: &Client,
    subject: &Digest,
    artifact_type: Option<&MediaType>,
) -> Result<Vec<Descriptor>> {
    let listed = in_time(all(client, subject, artifact_type)).await.map_err(|error| {
        error.doing(format!(
            "listing what is attached to `{subject}` in `docker://{}`",
            client.repository()
        ))
    })?;
    // Whether the registry has filtered them (`OCI-Filters-Applied`) makes no difference then.
    let wanted = |entry: &Descriptor| {
        artifact_type.is_none() || entry.artifact_type.as_ref() == artifact_type
    };
    Ok(listed.into_iter().filter(wanted).collect())
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
        let image = artifact.as_image();
        let Some((image, subject)) = image.and_then(|image| Some((image, image.subject.as_ref()?)))
        else {
            let message = format!("`{}` names no manifest that it belongs to", artifact.digest());
            return Err(Error::new(Kind::InvalidImage, message));
        };
        let descriptor = Descriptor {
            artifact_type: Some(image.kind().clone()),
            annotations: image.annotations.clone(),
            ..artifact.descriptor()
        };
        Ok(Self { subject: subject.digest.clone(), descriptor })
    }

    /// Enters it, unless the answer to the artifact's PUT says that the registry has done so.
    pub(super) async fn write(&self, client: &Client, answered: &HeaderMap) -> Result<()> {
        let entered =
            answered.get("oci-subject").and_then(|value| value.to_str().ok()?.parse().ok());
        if entered.as_ref() == Some(&self.subject) {
            return Ok(());
        }
        let added = in_time(tag_schema::add(client, &self.subject, &self.descriptor)).await;
        added.map_err(|error| {
            error.doing(format!("entering it into the list of `{}`", self.subject))
        })
    }
}

/// Takes an attachment off the list of its subject, and deletes it.
pub(super) async fn remove(client: &Client, subject: &Digest, attachment: &Digest) -> Result<()> {
    let keeps_list = in_time(first_page(client, subject, None)).await?.is_some();
    if !keeps_list {
        in_time(tag_schema::remove(client, subject, attachment)).await?;
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

async fn all(
    client: &Client,
    subject: &Digest,
    artifact_type: Option<&MediaType>,
) -> Result<Vec<Descriptor>> {
    let mut listing = Listing::default();
    let Some(mut page) = first_page(client, subject, artifact_type).await? else {
        return tag_schema::read(client, subject).await;
    };
    listing.open_page(&page.url)?;
    loop {
        listing.add(page.entries, page.next.is_none())?;
        let Some(next) = page.next else { return Ok(listing.into_entries()) };
        listing.open_page(&next)?;
        page = match ask(client, next).await? {
            response if response.status() == StatusCode::OK => Page::read(response).await?,
            response => return Err(client.refusal(response).await),
        };
    }
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

/// A list may have many pages, and each of them may be slow.
async fn in_time<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| {
        let seconds = LISTING_TIMEOUT.as_secs();
        Error::new(Kind::Timeout, format!("the list of attachments took longer than {seconds} s"))
    };
    timeout(LISTING_TIMEOUT, work).await.map_err(late)?
}
