//! Lists what is attached to a manifest, page by page, as registries with the referrers API do.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, LINK};
use axum::http::{HeaderValue, Response};
use imagepush::image::{Descriptor, Index, Manifest, MediaType};

use super::Seen;

/// How a registry keeps lists.
#[derive(Clone, Copy)]
pub(crate) struct Referrers {
    /// Entries on a page.
    pub(crate) page: usize,
    /// Whether it filters by kind.
    pub(crate) filters: bool,
}

/// The subject of a manifest, if it has one.
pub(super) fn subject(manifest: &Manifest) -> Option<String> {
    let subject = match manifest.as_image() {
        Some(image) => image.subject.clone(),
        None => manifest.as_index()?.subject(),
    };
    Some(subject?.digest.to_string())
}

/// The answer to `GET /v2/NAME/referrers/DIGEST`.
pub(super) fn answer(
    referrers: Referrers,
    seen: &Seen,
    manifests: &BTreeMap<String, (String, Bytes)>,
    digest: &str,
) -> Response<Body> {
    let wanted = seen.argument("artifactType").filter(|_| referrers.filters);
    let mut entries: Vec<Descriptor> = manifests
        .values()
        .filter_map(|(_, bytes)| Manifest::parse(bytes.clone(), None).ok())
        .filter(|manifest| subject(manifest).as_deref() == Some(digest))
        .map(|manifest| entry(&manifest))
        .filter(|entry| {
            let kind = entry.artifact_type.as_ref().map(MediaType::as_str);
            wanted.is_none() || kind == wanted.as_deref()
        })
        .collect();
    let start = seen.argument("start").and_then(|start| start.parse().ok()).unwrap_or(0);
    let mut page = entries.split_off(start.min(entries.len()));
    let next = (page.len() > referrers.page).then_some(start + referrers.page);
    page.truncate(referrers.page);
    let index = Manifest::from_index(Index::new(page), MediaType::OCI_INDEX);
    let mut response = Response::new(Body::from(index.bytes().clone()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(OCI_INDEX));
    if let Some(next) = next {
        let kind = wanted.as_ref().map(|kind| format!("&artifactType={kind}")).unwrap_or_default();
        let link = format!("<{}?start={next}{kind}>; rel=\"next\"", seen.path);
        headers.insert(LINK, link.parse().unwrap());
    }
    if wanted.is_some() {
        headers.insert("oci-filters-applied", HeaderValue::from_static("artifactType"));
    }
    response
}

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn entry(manifest: &Manifest) -> Descriptor {
    let (artifact_type, annotations) = match (manifest.as_image(), manifest.as_index()) {
        (Some(image), _) => (Some(image.kind().clone()), image.annotations.clone()),
        (_, Some(index)) => (index.artifact_type(), index.annotations.clone()),
        (None, None) => unreachable!("a manifest is one of the two"),
    };
    Descriptor { artifact_type, annotations, ..manifest.descriptor() }
}
