//! Registries that are known for taking blobs in a way of their own, each by what has been reported of it.

use axum::http::header::{CONTENT_LENGTH, RANGE};
use axum::http::{Method, StatusCode};
use axum::response::Response;

use super::store::Store;
use super::{Seen, refusal, status};

/// Whose habits a registry has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Quirk {
    /// As the specification says.
    #[default]
    None,
    /// Answers 201 to PATCH and drops all but the first; its `Range` stands still. Tells nothing of sessions, mounts nothing,
    /// knows repositories before they are written to, and its tags don't change.
    Ecr,
    /// Takes no request above 4 MiB.
    Ghcr,
    /// Says that it has one byte more than it has.
    Aliyun,
    /// Loses a blob before it is asked to store the first manifest. Mounts only where it is told from where. Says of a wrong
    /// digest only that the upload is invalid. Where it is asked how much it has, and where it refuses a piece that doesn't
    /// belong there, it says one byte too many.
    Quay,
    /// Takes bytes by PATCH only.
    Jfrog,
    /// The same behind a proxy that takes no request above 4 MiB.
    ProxiedJfrog,
    /// Forgets an upload whose connection broke. Its tags don't change.
    Harbor,
    /// Wants pieces of 5 MiB at least, and stands behind a proxy that takes no more.
    Gitlab,
}

const MIB: u64 = 1 << 20;

impl Quirk {
    /// All of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::None,
        Self::Ecr,
        Self::Ghcr,
        Self::Aliyun,
        Self::Quay,
        Self::Jfrog,
        Self::ProxiedJfrog,
        Self::Harbor,
        Self::Gitlab,
    ];

    /// The most bytes of a request.
    fn most(self) -> (u64, StatusCode) {
        match self {
            Self::Ghcr => (4 * MIB, StatusCode::RANGE_NOT_SATISFIABLE),
            Self::ProxiedJfrog => (4 * MIB, StatusCode::PAYLOAD_TOO_LARGE),
            Self::Gitlab => (5 * MIB, StatusCode::PAYLOAD_TOO_LARGE),
            _ => (u64::MAX, StatusCode::OK),
        }
    }

    /// Refuses what this registry doesn't take, before it reads the body.
    pub(super) fn refuse(self, seen: &Seen, store: &mut Store) -> Option<Response> {
        let length = seen.headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
        let upload = seen.path.contains("/blobs/uploads/");
        let sends = upload && matches!(seen.method, Method::PATCH | Method::PUT);
        let (most, too_large) = self.most();
        // What has no length may become as long as it likes.
        if sends && most < u64::MAX && length.is_none_or(|length| length > most) {
            return Some(refusal(too_large, "SIZE_INVALID", "the request body is too large"));
        }
        match self {
            Self::Ecr if upload && seen.method == Method::GET => {
                Some(status(StatusCode::METHOD_NOT_ALLOWED))
            }
            Self::Ecr if seen.path.contains("/tags/") => Some(status(StatusCode::OK)),
            Self::Ecr if store.would_move(seen) => {
                let message = "the image tag already exists and cannot be overwritten";
                Some(refusal(StatusCode::BAD_REQUEST, "TAG_INVALID", message))
            }
            Self::Harbor if store.would_move(seen) => {
                let message = "configured as immutable, cannot be updated";
                Some(refusal(StatusCode::PRECONDITION_FAILED, "PRECONDITION", message))
            }
            Self::Harbor if upload && seen.method == Method::GET => {
                store.end_session(seen);
                Some(refusal(StatusCode::NOT_FOUND, "BLOB_UPLOAD_INVALID", "blob upload invalid"))
            }
            Self::Jfrog | Self::ProxiedJfrog
                if sends && seen.method == Method::PUT && length != Some(0) =>
            {
                Some(refusal(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry"))
            }
            Self::Quay if seen.method == Method::POST && mounts_from_nowhere(seen) => {
                Some(refusal(StatusCode::BAD_REQUEST, "UNKNOWN", "from is missing"))
            }
            Self::Quay if seen.method == Method::PUT && seen.path.contains("/manifests/") => {
                store.lose_a_blob_once();
                None
            }
            Self::Gitlab if seen.method == Method::PATCH && store.is_short(seen, 5 * MIB) => {
                Some(refusal(StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID", "too short"))
            }
            _ => None,
        }
    }

    /// Whether the body of this request is read and dropped.
    pub(super) fn drops(self, seen: &Seen, store: &Store) -> bool {
        self == Self::Ecr && seen.method == Method::PATCH && store.has_bytes(seen)
    }

    /// Tells beside the refusal of a piece that doesn't belong there how much of it there is.
    pub(super) fn misplaced(self, seen: &Seen, store: &Store, mut refused: Response) -> Response {
        if self == Self::Quay {
            let range = format!("0-{}", store.held(seen));
            refused.headers_mut().insert(RANGE, range.parse().unwrap());
        }
        refused
    }

    /// Answers in its own way.
    pub(super) fn bend(self, seen: &Seen, mut response: Response) -> Response {
        let patched = seen.method == Method::PATCH && response.status() == StatusCode::ACCEPTED;
        match self {
            Self::Ecr if patched => *response.status_mut() = StatusCode::CREATED,
            Self::Aliyun => add_a_byte(&mut response, ""),
            Self::Quay if seen.method == Method::GET => add_a_byte(&mut response, "bytes="),
            Self::Quay if refuses_blob(seen, &response) => {
                let message = "blob upload invalid";
                response = refusal(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", message);
            }
            Self::Gitlab if seen.method == Method::POST => {
                let minimum = (5 * MIB).to_string().parse().unwrap();
                response.headers_mut().insert("oci-chunk-min-length", minimum);
            }
            _ => {}
        }
        response
    }
}

/// Has an answer say that there is one byte more of an upload.
fn add_a_byte(response: &mut Response, prefix: &str) {
    if let Some(range) = response.headers_mut().get_mut(RANGE) {
        let end = range.to_str().unwrap().trim_start_matches("0-").parse::<u64>();
        *range = format!("{prefix}0-{}", end.unwrap() + 1).parse().unwrap();
    }
}

fn mounts_from_nowhere(seen: &Seen) -> bool {
    seen.argument("mount").is_some() && seen.argument("from").is_none()
}

fn refuses_blob(seen: &Seen, response: &Response) -> bool {
    let ends = seen.method == Method::PUT && seen.path.contains("/blobs/uploads/");
    ends && response.status() == StatusCode::BAD_REQUEST
}
