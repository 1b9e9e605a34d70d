//! Writes manifests, and believes no registry that merely sounds content.
//!
//! A manifest counts as written if the answer is 201 with its digest, or if the registry gives back its very bytes. That is
//! asked where the answer says less, or is lost.

use oci_client::errors::OciErrorCode as Code;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};

use super::call::Call;
use super::client::Client;
use super::error::{Refusal, unexpected};
use super::named;
use super::presence::{agrees, content_digest};
use super::readback::as_read;
use super::reference::Target;
use super::source::get_manifest;
use crate::error::{Error, Kind, Result};
use crate::image::{Manifest, ManifestFormat, MediaType};
use crate::transport::{Current, Gate};

/// Writes a manifest, and returns what the registry says of it beside 201. `None`: the manifest is there, but the answer
/// was lost, or says nothing that counts. The request passes the gate, if there is one.
pub(super) async fn write(
    client: &Client,
    manifest: &Manifest,
    target: &Target,
    gate: Option<&Gate>,
) -> Result<Option<HeaderMap>> {
    if let Some(pinned) = target.digest().filter(|pinned| *pinned != manifest.digest()) {
        let message = format!("the manifest is `{}` and not `{pinned}`", manifest.digest());
        return Err(Error::new(Kind::ContentMismatch, message)
            .hint("name a tag, or copy the image without changing it"));
    }
    let response = match client.send(&Call { gate, ..call(client, manifest, target)? }).await {
        Ok(response) => response,
        Err(error) if [Kind::NetworkError, Kind::Timeout].contains(&error.kind()) => {
            let there = gives_back(client, manifest, target).await.unwrap_or(false);
            return if there { Ok(None) } else { Err(error) };
        }
        Err(error) => return Err(error),
    };
    let (status, headers) = (response.status(), response.headers().clone());
    match status {
        StatusCode::CREATED if content_digest(&headers).as_ref() == Some(manifest.digest()) => {
            Ok(Some(headers))
        }
        StatusCode::CREATED => {
            agrees(&headers, manifest.digest()).map_err(stored_otherwise)?;
            confirm(client, manifest, target, status).await.map(|()| Some(headers))
        }
        _ if status.is_success() => {
            // It may not have come from a registry, so nothing else that it says counts.
            confirm(client, manifest, target, status).await.map(|()| None)
        }
        _ => {
            let refusal = client.read_refusal(response).await;
            refused(client, manifest, target, refusal).await.map(|()| None)
        }
    }
}

fn call(client: &Client, manifest: &Manifest, target: &Target) -> Result<Call<'static>> {
    let mut call = Call::new(Method::PUT, client.url(&["manifests", &target.to_string()])?);
    let media_type = HeaderValue::from_str(manifest.media_type().as_str())
        .map_err(|_| Error::internal("a media type is not fit for a header"))?;
    call.headers = HeaderMap::from_iter([(CONTENT_TYPE, media_type)]);
    call.body = manifest.bytes().clone();
    Ok(call)
}

/// Whether the registry gives back the very bytes under this name.
async fn gives_back(client: &Client, manifest: &Manifest, target: &Target) -> Result<bool> {
    Ok(get_manifest(client, target).await?.bytes() == manifest.bytes())
}

/// An answer that doesn't tell that the manifest is written, though it may be.
async fn confirm(
    client: &Client,
    manifest: &Manifest,
    target: &Target,
    status: StatusCode,
) -> Result<()> {
    match get_manifest(client, target).await {
        Ok(found) if found.bytes() == manifest.bytes() => Ok(()),
        Ok(found) if status == StatusCode::CREATED => {
            let message = format!("the registry has stored `{}` instead", found.digest());
            Err(stored_otherwise(as_read(Error::new(Kind::ContentMismatch, message), target)))
        }
        // It may take a while until it is everywhere.
        Err(error) if status == StatusCode::CREATED && error.kind() == Kind::NotFound => {
            Err(error.transient())
        }
        Err(error) if status == StatusCode::CREATED => Err(error),
        _ => Err(unexpected(status)),
    }
}

fn stored_otherwise(error: Error) -> Error {
    error.hint("the name may point to that now: something changes manifests on their way, or is no registry")
}

/// What a refusal means. One is none: a tag that may not change, and needn't.
async fn refused(
    client: &Client,
    manifest: &Manifest,
    target: &Target,
    refusal: Refusal,
) -> Result<()> {
    if lacks_content(&refusal) {
        return Err(Error::new(Kind::ContentMissing, refusal.words()));
    }
    if matches!(target, Target::Tag(_)) && may_be_immutable(&refusal) {
        match named::look(client, target).await {
            Ok(Some(current)) if current.digest == *manifest.digest() => return Ok(()),
            Ok(Some(current)) => return Err(kept(&current, manifest, &refusal)),
            // It is refused for another reason.
            Ok(None) | Err(_) => {}
        }
    }
    if rejects_format(&refusal) {
        return Err(Error::new(Kind::ManifestRejected, refusal.words())
            .hint("choose another format with `--format`"));
    }
    // The bytes are the digest's, so they were read otherwise: docker-registry 2.8 does when several write the same manifest.
    let misread = refusal.code() == Some(&Code::DigestInvalid);
    let error = client.explain(refusal);
    Err(if misread { error.transient() } else { error })
}

/// The error for a tag that keeps what it has. By some refusals a registry may mean either that the tag is there, or that it
/// knows no manifests of OCI: old versions of docker/distribution find no tag in them (`TAG_INVALID`). If the tag has one,
/// the registry knows them.
fn kept(current: &Current, manifest: &Manifest, refusal: &Refusal) -> Error {
    let (found, words) = (&current.digest, refusal.words());
    let knows_oci = [MediaType::OCI_MANIFEST, MediaType::OCI_INDEX].contains(&current.media_type);
    if manifest.format() == ManifestFormat::Oci && !knows_oci && rejects_format(refusal) {
        let message = format!("{words}; the tag is there with `{found}`, in another format");
        return Error::new(Kind::ManifestRejected, message)
            .hint("choose another format with `--format`, or another tag: this one may be locked");
    }
    let message = format!("the tag is there with `{found}` and may not change: {words}");
    Error::new(Kind::DestinationExists, message)
        .hint("push under another tag, or have this one unlocked in the registry")
}

/// Whether something that the manifest points to has gone, or never came.
fn lacks_content(refusal: &Refusal) -> bool {
    let codes = [Some(Code::ManifestBlobUnknown), Some(Code::BlobUnknown)];
    refusal.status.is_client_error() && codes.iter().any(|code| code.as_ref() == refusal.code())
}

/// Harbor answers 412, ECR 400 `TAG_INVALID`, ACR 405, others 409 or a code of their own.
fn may_be_immutable(refusal: &Refusal) -> bool {
    let status = matches!(refusal.status.as_u16(), 405 | 409 | 412);
    let code = match refusal.code() {
        Some(Code::TagInvalid) => true,
        Some(Code::Other(code)) => code.to_ascii_uppercase().contains("IMMUTABLE"),
        _ => false,
    };
    status || (code && refusal.status.is_client_error())
}

/// Whether another format may be taken.
fn rejects_format(refusal: &Refusal) -> bool {
    let code = matches!(
        refusal.code(),
        Some(Code::ManifestInvalid | Code::TagInvalid | Code::Unsupported)
    );
    (code && refusal.status.is_client_error())
        || refusal.status == StatusCode::UNSUPPORTED_MEDIA_TYPE
}
