//! Rules by which the registry misbehaves.

use std::future::pending;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{LOCATION, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use futures::{StreamExt as _, stream};
use tokio::sync::Notify;

use super::Seen;

/// Misbehaves on some requests.
pub(crate) struct Rule {
    method: &'static str,
    path: String,
    query: String,
    /// How many matching requests are left alone first, and how many are then not.
    skip: usize,
    times: usize,
    act: Act,
}

/// What is done instead of, or with, the right answer.
#[derive(Clone)]
pub(crate) enum Act {
    /// Answers with status, headers and body, after reading the request's body.
    Respond(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Answers with a status before the request's body has been read.
    RespondEarly(u16),
    /// Closes the connection without an answer.
    Drop,
    /// Does what it should, then closes the connection without an answer.
    DropAnswer,
    /// Does what it should, and never says so.
    KeepAnswer,
    /// Loses all blobs first.
    LoseBlobs,
    /// Does what it should, then loses all blobs.
    LoseBlobsAfter,
    /// Takes this many bytes of the body, then closes the connection without an answer.
    CutBody(usize),
    /// Takes this many bytes of the body, then answers with this status; a 401 has this challenge.
    RefuseBody(usize, u16, String),
    /// Never answers.
    Stall,
    /// Does what it should once it is told to go on.
    Hold(Arc<Notify>),
    /// Sends this many bytes of the right body, then closes the connection.
    Truncate(usize),
    /// Sends the head and this many bytes of the right body, then nothing.
    StallBody(usize),
    /// Answers 200 with a body that never ends.
    Endless,
    /// Replaces a header of the right answer; an empty value removes it.
    Header(&'static str, String),
    /// Puts this origin before the `Location` of the right answer.
    LocatedAt(String),
    /// Replaces the status of the right answer.
    Status(u16),
}

impl Rule {
    /// Each request of this method whose path holds this text.
    pub(crate) fn each(method: &'static str, path: impl Into<String>, act: Act) -> Self {
        Self { method, path: path.into(), query: String::new(), skip: 0, times: usize::MAX, act }
    }

    /// Only those whose query holds this text.
    #[must_use]
    pub(crate) fn with_query(self, query: impl Into<String>) -> Self {
        Self { query: query.into(), ..self }
    }

    /// Only the n-th of them, counted from 1.
    #[must_use]
    pub(crate) fn nth(self, n: usize) -> Self {
        Self { skip: n - 1, times: 1, ..self }
    }

    fn matches(&mut self, seen: &Seen) -> bool {
        let there = seen.path.contains(&self.path) && seen.query.contains(&self.query);
        let matches = seen.method.as_str() == self.method && there;
        if !matches || self.times == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

pub(super) fn find(rules: &mut [Rule], seen: &Seen) -> Option<Act> {
    rules.iter_mut().find_map(|rule| rule.matches(seen).then(|| rule.act.clone()))
}

impl Act {
    /// Whether the right answer isn't even made.
    pub(super) fn replaces(&self) -> bool {
        !matches!(
            self,
            Self::Truncate(_)
                | Self::StallBody(_)
                | Self::Header(..)
                | Self::LocatedAt(_)
                | Self::Status(_)
                | Self::DropAnswer
                | Self::KeepAnswer
                | Self::LoseBlobs
                | Self::LoseBlobsAfter
                | Self::CutBody(_)
                | Self::RefuseBody(..)
                | Self::Hold(_)
        )
    }

    /// Waits until the request may be answered.
    pub(super) async fn hold(&self) {
        if let Self::Hold(told) = self {
            told.notified().await;
        }
    }

    /// The request as far as it is taken. What is refused is still read, as web servers do; what is cut isn't.
    pub(super) fn cut(&self, request: Request) -> Request {
        let (Self::CutBody(left) | Self::RefuseBody(left, ..)) = *self else {
            return request;
        };
        let reads_on = matches!(self, Self::RefuseBody(..));
        request.map(|body| {
            let start = Some((body.into_data_stream(), left));
            Body::from_stream(stream::unfold(start, move |state| async move {
                let (mut rest, left) = state?;
                let chunk = match rest.next().await? {
                    Ok(chunk) => chunk,
                    Err(failure) => return Some((Err(std::io::Error::other(failure)), None)),
                };
                if left == 0 {
                    if reads_on {
                        tokio::spawn(rest.for_each(async |_| ()));
                    }
                    return Some((Err(std::io::Error::other("scripted")), None));
                }
                let taken = chunk.slice(..chunk.len().min(left));
                let left = left - taken.len();
                Some((Ok(taken), Some((rest, left))))
            }))
        })
    }

    pub(super) async fn answer(self, request: Request) -> Response {
        match self {
            Self::Respond(code, headers, body) => {
                let _ = axum::body::to_bytes(request.into_body(), usize::MAX).await;
                let mut response = Response::new(Body::from(body));
                *response.status_mut() = StatusCode::from_u16(code).unwrap();
                for (name, value) in headers {
                    response.headers_mut().append(name, HeaderValue::from_str(&value).unwrap());
                }
                response
            }
            Self::RespondEarly(code) => {
                drain(request);
                super::status(StatusCode::from_u16(code).unwrap())
            }
            Self::Stall => pending().await,
            Self::Endless => {
                let zeros =
                    stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![0; 1 << 16])));
                Response::new(Body::from_stream(zeros))
            }
            // Ends the connection's task, and with it the connection, without a message.
            _ => std::panic::resume_unwind(Box::new("scripted")),
        }
    }

    pub(super) async fn spoil(self, mut response: Response) -> Response {
        match self {
            // What was not taken makes the server close the connection.
            Self::RefuseBody(_, code, challenge) => {
                response = super::status(StatusCode::from_u16(code).unwrap());
                if !challenge.is_empty() {
                    response.headers_mut().insert(WWW_AUTHENTICATE, challenge.parse().unwrap());
                }
            }
            Self::CutBody(_) | Self::DropAnswer => std::panic::resume_unwind(Box::new("scripted")),
            Self::KeepAnswer => pending().await,
            Self::Status(code) => *response.status_mut() = StatusCode::from_u16(code).unwrap(),
            Self::Header(name, value) => {
                response.headers_mut().remove(name);
                if !value.is_empty() {
                    let name = HeaderName::from_static(name);
                    response.headers_mut().insert(name, HeaderValue::from_str(&value).unwrap());
                }
            }
            Self::LocatedAt(origin) => {
                if let Some(path) = response.headers().get(LOCATION) {
                    let there = format!("{origin}{}", path.to_str().unwrap()).parse().unwrap();
                    response.headers_mut().insert(LOCATION, there);
                }
            }
            Self::Truncate(length) => {
                let broken = stream::once(async {
                    // What went before is sent when the body makes the server wait.
                    tokio::task::yield_now().await;
                    Err(std::io::Error::other("scripted"))
                });
                response = cut(response, length, broken.boxed()).await;
            }
            Self::StallBody(length) => {
                response = cut(response, length, stream::pending().boxed()).await;
            }
            _ => {}
        }
        response
    }
}

/// As web servers do: what still comes is taken and thrown away, or closing would reset the connection and could take the
/// answer with it.
pub(super) fn drain(request: Request) {
    tokio::spawn(request.into_body().into_data_stream().for_each(async |_| ()));
}

async fn cut(
    response: Response,
    length: usize,
    then: stream::BoxStream<'static, std::io::Result<Bytes>>,
) -> Response {
    let (head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let start = stream::iter([Ok(body.slice(..length))]);
    Response::from_parts(head, Body::from_stream(start.chain(then)))
}
