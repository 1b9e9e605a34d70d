//! What is wrong with TLS, in words, and what to do about it. None of it goes away by trying again.

use rustls::{AlertDescription, CertificateError, OtherError};

use crate::error::{Error, Kind};

const SKIP: &str =
    "pass the authority with `--cert-dir`, or trust any certificate with `--tls-verify=false`";
const PLAIN: &str = "allow plain HTTP to this registry with `--tls-verify=false`";
const RENEW: &str = "renew the certificate, and check this machine's clock";
const CLOCK: &str = "check this machine's clock";
const NAMED: &str = "use a name that the certificate lists";
const REISSUE: &str =
    "have the registry's certificate made anew, or trust any with `--tls-verify=false`";
const PROXY: &str = "have the registry's certificate verified, with `--cert-dir` if need be, or name a proxy by `http://`, \
                     or leave the registry to `NO_PROXY`";
const IDENTITY: &str =
    "if the registry wants a client certificate, put it into the directory of `--cert-dir`";

/// The error for a handshake with the server at `place` that failed.
pub(super) fn explain(fault: &rustls::Error, place: &str) -> Error {
    let (message, hint) = match fault {
        // What our own verifier says of anybody but the registry, where the registry's certificate is taken as it is.
        rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => {
            let what = "shows a certificate, which is not verified where the registry's is not";
            (format!("the proxy on the way to `{place}` {what}"), PROXY)
        }
        rustls::Error::InvalidCertificate(cause) => {
            let (what, hint) = of_certificate(cause);
            (format!("the certificate of `{place}` {what}"), hint)
        }
        rustls::Error::InvalidMessage(_) => (format!("`{place}` does not speak TLS"), PLAIN),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            (format!("`{place}` wants a client certificate"), IDENTITY)
        }
        rustls::Error::AlertReceived(alert) => {
            (format!("`{place}` refused the TLS handshake: {alert:?}"), IDENTITY)
        }
        other => (format!("TLS with `{place}` failed: {other}"), SKIP),
    };
    Error::new(Kind::TlsVerificationFailed, message).hint(hint)
}

fn of_certificate(cause: &CertificateError) -> (String, &'static str) {
    use CertificateError as C;
    let (what, hint) = match cause {
        // An authority of the same name with another key signs badly.
        C::UnknownIssuer | C::BadSignature => ("is signed by an unknown authority", SKIP),
        C::Expired | C::ExpiredContext { .. } => ("has expired", RENEW),
        C::NotValidYet | C::NotValidYetContext { .. } => ("is not valid yet", CLOCK),
        C::NotValidForName | C::NotValidForNameContext { .. } => ("is for another name", NAMED),
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => ("is not for servers", REISSUE),
        C::UnsupportedSignatureAlgorithmContext { .. }
        | C::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            ("is signed in a way that is too weak, or unknown", REISSUE)
        }
        C::Other(OtherError(inner)) => match inner.downcast_ref::<webpki::Error>() {
            Some(webpki::Error::CaUsedAsEndEntity) => ("is that of an authority", REISSUE),
            Some(webpki::Error::NameConstraintViolation) => {
                ("has a name that its authority may not vouch for", REISSUE)
            }
            Some(webpki::Error::UnsupportedCertVersion) => ("is of an outdated form", REISSUE),
            _ => return (format!("is not accepted: {cause}"), SKIP),
        },
        other => return (format!("is not accepted: {other}"), SKIP),
    };
    (what.to_owned(), hint)
}
