//! The content of a registry, and the answers of one that behaves (distribution specification v1.1).

use std::collections::{BTreeMap, BTreeSet};

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use axum::http::{HeaderName, Method, Response, StatusCode};
use imagepush::image::{Body as Content, Digest, Manifest};

use super::referrers::{self, Referrers};
use super::{Seen, refusal, status};

#[derive(Default)]
pub(super) struct Store {
    repositories: BTreeMap<String, Repository>,
    uploads: BTreeMap<String, Vec<u8>>,
    opened: usize,
    has_lost: bool,
    /// Whether the latest piece of a session was a short one.
    short: BTreeMap<String, bool>,
    /// How it keeps lists of attachments, if it does.
    referrers: Option<Referrers>,
}

#[derive(Default)]
struct Repository {
    blobs: BTreeMap<String, Bytes>,
    /// Manifests by digest: media type and bytes.
    manifests: BTreeMap<String, (String, Bytes)>,
    tags: BTreeMap<String, String>,
}

type Answer = Response<Body>;

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

impl Store {
    pub(super) fn answer(&mut self, seen: &Seen, body: &Bytes) -> Answer {
        if seen.path == "/v2/" {
            return status(StatusCode::OK);
        }
        let Some(path) = seen.path.strip_prefix("/v2/") else { return not_found("NAME_UNKNOWN") };
        for part in ["/manifests/", "/blobs/uploads/", "/blobs/", "/tags/", "/referrers/"] {
            if let Some((name, rest)) = path.split_once(part) {
                return match part {
                    "/manifests/" => self.manifest(seen, name, rest, body),
                    "/blobs/uploads/" => self.upload(seen, name, rest),
                    "/blobs/" => self.blob(seen, name, rest),
                    "/referrers/" => self.referrers(seen, name, rest),
                    _ => self.tags(name),
                };
            }
        }
        not_found("NAME_UNKNOWN")
    }

    /// Refuses the body of a request before it is read.
    pub(super) fn begin(&self, seen: &Seen) -> Option<Answer> {
        let session = self.session(seen)?;
        let range = seen.headers.get(CONTENT_RANGE)?.to_str().unwrap();
        let (first, last) = range.split_once('-').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        let length = seen.headers.get(CONTENT_LENGTH).unwrap().to_str().unwrap().parse().ok();
        let sound = Some(last - first + 1) == length && first == self.uploads[&session].len();
        (!sound).then(|| refusal(StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_INVALID", "range"))
    }

    /// Loses all blobs, of every repository.
    pub(super) fn lose_blobs(&mut self) {
        self.repositories.values_mut().for_each(|repository| repository.blobs.clear());
    }

    /// Loses one blob, the first time that this is asked for.
    pub(super) fn lose_a_blob_once(&mut self) {
        if !std::mem::replace(&mut self.has_lost, true) {
            self.repositories
                .values_mut()
                .for_each(|repository| drop(repository.blobs.pop_first()));
        }
    }

    /// Whether this request would have a tag point to something else.
    pub(super) fn would_move(&self, seen: &Seen) -> bool {
        let Some((name, tag)) = seen.path.trim_start_matches("/v2/").split_once("/manifests/")
        else {
            return false;
        };
        let tags = self.repositories.get(name).map(|repository| &repository.tags);
        seen.method == Method::PUT && tags.is_some_and(|tags| tags.contains_key(tag))
    }

    /// Forgets the session that a request names.
    pub(super) fn end_session(&mut self, seen: &Seen) {
        if let Some((_, session)) = seen.path.split_once("/blobs/uploads/") {
            self.uploads.remove(session);
        }
    }

    /// Whether a piece is shorter than this, though it can't be the last: nobody sends two short ones.
    pub(super) fn is_short(&mut self, seen: &Seen, least: u64) -> bool {
        let length = seen.headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
        let short = length.is_some_and(|length: u64| length < least);
        let Some(session) = self.session(seen) else { return false };
        let before = self.short.insert(session, short);
        before == Some(true)
    }

    /// Whether the session that a request sends to has bytes already.
    pub(super) fn has_bytes(&self, seen: &Seen) -> bool {
        self.held(seen) > 0
    }

    /// How many bytes the session has that a request sends to.
    pub(super) fn held(&self, seen: &Seen) -> usize {
        self.session(seen).map_or(0, |session| self.uploads[&session].len())
    }

    /// Takes a part of a body, if it belongs to an upload. What came stays, though the rest may not come.
    pub(super) fn receive(&mut self, seen: &Seen, chunk: &[u8]) -> bool {
        let Some(session) = self.session(seen) else { return false };
        self.uploads.entry(session).or_default().extend_from_slice(chunk);
        true
    }

    /// The open session that a request sends to.
    fn session(&self, seen: &Seen) -> Option<String> {
        let sends = matches!(seen.method, Method::PATCH | Method::PUT);
        let (_, session) = seen.path.split_once("/blobs/uploads/")?;
        (sends && self.uploads.contains_key(session)).then(|| session.to_owned())
    }

    fn manifest(&mut self, seen: &Seen, name: &str, target: &str, body: &Bytes) -> Answer {
        match seen.method {
            Method::PUT => return self.put_manifest(seen, name, target, body),
            Method::GET | Method::HEAD => {}
            Method::DELETE => {
                let repository = self.repositories.entry(name.to_owned()).or_default();
                // A tag alone; or a manifest, whose tags then lead nowhere.
                if repository.tags.remove(target).is_none() {
                    repository.manifests.remove(target);
                }
                return status(StatusCode::ACCEPTED);
            }
            _ => return refusal(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", ""),
        }
        let Some(repository) = self.repositories.get(name) else {
            return not_found("MANIFEST_UNKNOWN");
        };
        let digest = repository.tags.get(target).map_or(target, String::as_str);
        let Some((media_type, bytes)) = repository.manifests.get(digest) else {
            return not_found("MANIFEST_UNKNOWN");
        };
        content(seen, media_type, digest, bytes)
    }

    fn put_manifest(&mut self, seen: &Seen, name: &str, target: &str, body: &Bytes) -> Answer {
        let declared = seen.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let declared = declared.unwrap_or_default().to_owned();
        let Ok(manifest) = Manifest::parse(body.clone(), None) else {
            return refusal(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", "manifest invalid");
        };
        let repository = self.repositories.entry(name.to_owned()).or_default();
        let missing = match manifest.body() {
            Content::Image(image) => {
                // As real ones do, it leaves foreign layers where they are.
                let mut own = image.blobs().filter(|blob| blob.urls.is_empty());
                own.any(|blob| !repository.blobs.contains_key(&blob.digest.to_string()))
            }
            Content::Index(index) => index
                .manifests
                .iter()
                .any(|entry| !repository.manifests.contains_key(&entry.digest.to_string())),
        };
        if missing {
            return refusal(StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN", "blob unknown");
        }
        let digest = manifest.digest().to_string();
        if target.contains(':') && target != digest {
            return refusal(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "digest invalid");
        }
        if !target.contains(':') {
            repository.tags.insert(target.to_owned(), digest.clone());
        }
        repository.manifests.insert(digest.clone(), (declared, body.clone()));
        let mut response = created(&format!("/v2/{name}/manifests/{digest}"), &digest);
        if let Some(subject) = referrers::subject(&manifest).filter(|_| self.referrers.is_some()) {
            response.headers_mut().insert("oci-subject", subject.parse().unwrap());
        }
        response
    }

    pub(super) fn keep_referrers(&mut self, referrers: Referrers) {
        self.referrers = Some(referrers);
    }

    fn referrers(&self, seen: &Seen, name: &str, digest: &str) -> Answer {
        match (self.referrers, self.repositories.get(name)) {
            (Some(referrers), Some(repository)) => {
                referrers::answer(referrers, seen, &repository.manifests, digest)
            }
            _ => not_found("NAME_UNKNOWN"),
        }
    }

    fn blob(&mut self, seen: &Seen, name: &str, digest: &str) -> Answer {
        let blobs = self.repositories.get(name).map(|repository| &repository.blobs);
        match blobs.and_then(|blobs| blobs.get(digest)) {
            Some(bytes) => content(seen, "application/octet-stream", digest, bytes),
            None => not_found("BLOB_UNKNOWN"),
        }
    }

    fn upload(&mut self, seen: &Seen, name: &str, session: &str) -> Answer {
        if seen.method == Method::POST {
            return self.open(seen, name);
        }
        let Some(bytes) = self.uploads.get(session) else {
            return not_found("BLOB_UPLOAD_UNKNOWN");
        };
        if seen.method == Method::DELETE {
            self.uploads.remove(session);
            return status(StatusCode::NO_CONTENT);
        }
        let end = bytes.len().saturating_sub(1);
        match seen.method {
            Method::PATCH | Method::GET => {
                let get = seen.method == Method::GET;
                let code = if get { StatusCode::NO_CONTENT } else { StatusCode::ACCEPTED };
                let mut response = located(code, &seen.path);
                response.headers_mut().insert(RANGE, format!("0-{end}").parse().unwrap());
                response
            }
            Method::PUT => self.close(seen, name, session),
            _ => refusal(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", ""),
        }
    }

    fn open(&mut self, seen: &Seen, name: &str) -> Answer {
        if let (Some(digest), Some(from)) = (seen.argument("mount"), seen.argument("from")) {
            let blob = self.repositories.get(&from).and_then(|from| from.blobs.get(&digest));
            if let Some(blob) = blob.cloned() {
                let repository = self.repositories.entry(name.to_owned()).or_default();
                repository.blobs.insert(digest.clone(), blob);
                return created(&format!("/v2/{name}/blobs/{digest}"), &digest);
            }
        }
        self.opened += 1;
        let session = format!("session-{}", self.opened);
        self.uploads.insert(session.clone(), vec![]);
        located(StatusCode::ACCEPTED, &format!("/v2/{name}/blobs/uploads/{session}"))
    }

    fn close(&mut self, seen: &Seen, name: &str, session: &str) -> Answer {
        let bytes = Bytes::from(self.uploads.remove(session).unwrap_or_default());
        let digest = seen.argument("digest").unwrap_or_default();
        if Digest::of(&bytes).to_string() != digest {
            return refusal(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "digest invalid");
        }
        let repository = self.repositories.entry(name.to_owned()).or_default();
        repository.blobs.insert(digest.clone(), bytes);
        created(&format!("/v2/{name}/blobs/{digest}"), &digest)
    }

    fn tags(&self, name: &str) -> Answer {
        let Some(repository) = self.repositories.get(name) else {
            return not_found("NAME_UNKNOWN");
        };
        let tags: BTreeSet<&String> = repository.tags.keys().collect();
        let body = serde_json::json!({"name": name, "tags": tags});
        Response::new(Body::from(body.to_string()))
    }

    /// The digest of each tag, by `repository:tag`.
    pub(super) fn all_tags(&self) -> BTreeMap<String, String> {
        let tags = |(name, repository): (&String, &Repository)| {
            let named =
                |(tag, digest): (&String, &String)| (format!("{name}:{tag}"), digest.clone());
            repository.tags.iter().map(named).collect::<Vec<_>>()
        };
        self.repositories.iter().flat_map(tags).collect()
    }

    pub(super) fn open_sessions(&self) -> usize {
        self.uploads.len()
    }
}

impl Seen {
    /// A parameter of the query.
    pub(crate) fn argument(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }
}

fn content(seen: &Seen, media_type: &str, digest: &str, bytes: &Bytes) -> Answer {
    let range = seen.headers.get(RANGE).and_then(|value| value.to_str().ok());
    let start =
        range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let part = bytes.slice(start.unwrap_or(0).min(bytes.len())..);
    let mut response = status(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, media_type.parse().unwrap());
    headers.insert(CONTENT_LENGTH, part.len().into());
    headers.insert(DIGEST, digest.parse().unwrap());
    if let Some(start) = start {
        let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
        headers.insert(CONTENT_RANGE, range.parse().unwrap());
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    if seen.method == Method::GET {
        *response.body_mut() = Body::from(part);
    }
    response
}

fn located(code: StatusCode, location: &str) -> Answer {
    let mut response = status(code);
    response.headers_mut().insert(LOCATION, location.parse().unwrap());
    response
}

fn created(location: &str, digest: &str) -> Answer {
    let mut response = located(StatusCode::CREATED, location);
    response.headers_mut().insert(DIGEST, digest.parse().unwrap());
    response
}

fn not_found(code: &str) -> Answer {
    let message = code.to_lowercase().replace('_', " ");
    refusal(StatusCode::NOT_FOUND, code, &message)
}
