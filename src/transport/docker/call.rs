//! A request of the distribution specification, before it is sent.

use reqwest::header::HeaderMap;
use reqwest::{Body, Method, Request};
use url::Url;

use super::auth::{Effort, Need};
use crate::transport::{Gate, Repository};

/// A request that can be sent again.
#[derive(Clone)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// The whole body, shared between attempts.
    pub(super) body: bytes::Bytes,
    /// Another repository that has to be readable, too.
    pub(super) other: Option<&'a Repository>,
    /// Whether only the registry itself can answer.
    pub(super) at_home: bool,
    /// Whether it is for a foreign layer: nobody is told who we are, and it is led to listed hosts only.
    pub(super) foreign: bool,
    /// What it is about.
    pub(super) about: About,
    /// Whether an answer led here: then the URL is meant as it is.
    pub(super) moved: bool,
    /// Bytes of a blob that are all sent before it, and are made a blob by it.
    pub(super) ends: u64,
    /// What it passes right before it is sent.
    pub(super) gate: Option<&'a Gate>,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// An upload session, which may be where the user lets the registry's credentials go, too.
    Session,
    /// Anything else.
    Other,
}

// === impl Call ===

impl Call<'_> {
    /// A request without headers or body of its own.
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: bytes::Bytes::new(),
            other: None,
            at_home: false,
            foreign: false,
            about: About::Other,
            moved: false,
            ends: 0,
            gate: None,
        }
    }

    /// A request about an upload session, at the address that an answer has given.
    pub(super) fn session(method: Method, url: Url) -> Self {
        Self { about: About::Session, moved: true, ..Self::new(method, url) }
    }

    /// A request for a layer that is not in the registry; the URL is meant as it is.
    pub(super) fn foreign(url: Url) -> Self {
        Self { foreign: true, moved: true, ..Self::new(Method::GET, url) }
    }

    /// What it needs to be let in.
    pub(super) fn need(&self, effort: Effort) -> Need<'_> {
        Need { method: &self.method, other: self.other, effort, elsewhere: None }
    }

    /// The request, without what says who we are.
    pub(super) fn request(&self) -> Request {
        let mut request = Request::new(self.method.clone(), self.url.clone());
        *request.headers_mut() = self.headers.clone();
        let may_have_body = matches!(self.method, Method::POST | Method::PUT | Method::PATCH);
        if may_have_body {
            *request.body_mut() = Some(Body::from(self.body.clone()));
        }
        request
    }
}
