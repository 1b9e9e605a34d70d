//! Kinds, classes and words of what registries answer.

use reqwest::header::HeaderValue;

use super::*;

fn refusal(status: u16, body: &str) -> Refusal {
    let status = StatusCode::from_u16(status).unwrap();
    let who = Who::Registry { shown: false };
    Refusal { status, first: first_error(body.as_bytes()), held: None, retry_after: None, who }
}

fn code(code: &str) -> String {
    format!(r#"{{"errors":[{{"code":"{code}","message":"m"}}]}}"#)
}

#[test]
fn status_and_code_decide_kind_and_class() {
    use Class::{Permanent, Transient};
    for (status, body, kind, class) in [
        (400, "", Kind::RegistryUnavailable, Permanent),
        (400, "DIGEST_INVALID", Kind::ContentMismatch, Permanent),
        (400, "NAME_INVALID", Kind::InvalidReference, Permanent),
        (400, "MANIFEST_BLOB_UNKNOWN", Kind::RegistryUnavailable, Transient),
        (401, "UNAUTHORIZED", Kind::AuthenticationFailed, Permanent),
        (403, "DENIED", Kind::AccessDenied, Permanent),
        (403, "TOOMANYREQUESTS", Kind::RateLimited, Transient),
        (404, "MANIFEST_UNKNOWN", Kind::NotFound, Permanent),
        (404, "BLOB_UPLOAD_UNKNOWN", Kind::RegistryUnavailable, Transient),
        (405, "UNSUPPORTED", Kind::TransportUnsupported, Permanent),
        (408, "", Kind::RegistryUnavailable, Transient),
        (413, "", Kind::AccessDenied, Permanent),
        (429, "", Kind::RateLimited, Transient),
        (500, "", Kind::RegistryUnavailable, Transient),
        (501, "", Kind::TransportUnsupported, Permanent),
        (502, "UNKNOWN", Kind::RegistryUnavailable, Transient),
        (503, "", Kind::RegistryUnavailable, Transient),
        (505, "", Kind::RegistryUnavailable, Permanent),
        (507, "", Kind::AccessDenied, Permanent),
    ] {
        let error = refusal(status, &code(body)).into_error();
        assert_eq!((error.kind(), error.class()), (kind, class), "{status} {body}");
    }
}

#[test]
fn only_the_specifications_own_document_is_shown() {
    let words = |status, body: &str| refusal(status, body).words();
    assert_eq!(
        words(
            403,
            r#"{"errors":[{"code":"DENIED","message":"no","detail":{"a":1}},{"code":"X"}]}"#
        ),
        "the registry answered 403 Forbidden (DENIED: no)"
    );
    assert_eq!(
        words(404, r#"{"errors":[{"code":"OWN_CODE"}]}"#),
        "the registry answered 404 Not Found (OWN_CODE)"
    );
    for body in ["", "<html>canary</html>", r#"{"errors":[]}"#, r#"{"details":"canary"}"#, "\u{fe}"]
    {
        assert_eq!(words(502, body), "the registry answered 502 Bad Gateway");
    }
    let long = format!(r#"{{"errors":[{{"code":"X","message":"{}"}}]}}"#, "é".repeat(9999));
    assert_eq!(words(599, &long).chars().count(), "the registry answered 599 ()".len() + 512);
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
    for (value, seconds) in [
        ("3", Some(3)),
        (" 0 ", Some(0)),
        ("Tue, 01 Jan 2030 00:01:00 GMT", Some(60)),
        ("Tue, 01 Jan 2019 00:00:00 GMT", Some(0)),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
    ] {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
        assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{value}");
    }
    for other in ["ratelimit-reset", "x-ratelimit-reset", "ratelimit"] {
        let other = reqwest::header::HeaderName::from_static(other);
        let headers = HeaderMap::from_iter([(other, HeaderValue::from_static("3"))]);
        assert_eq!(retry_after(&headers, now), None);
    }
}
