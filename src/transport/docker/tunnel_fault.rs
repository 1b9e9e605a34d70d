//! What a proxy says instead of making a connection for us.

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use tower_service::Service;

use crate::error::{Error, Kind};

/// hyper-util doesn't export the name of this type, so that it has to be described. This can go once it does.
pub(super) type Fault = <Tunnel<HttpConnector> as Service<Uri>>::Error;

/// The error for a connection to the server at `place` that a proxy has not made; `None` if it wasn't the proxy's fault.
pub(super) fn explain(fault: &Fault, place: &str) -> Option<Error> {
    match fault {
        Fault::ProxyAuthRequired => Some(wants_credentials()),
        Fault::TunnelUnsuccessful | Fault::ProxyHeadersTooLong => {
            let message = format!("the proxy makes no connection to `{place}`");
            let hint = "check what the proxy allows, or name the host in `NO_PROXY`";
            Some(Error::new(Kind::NetworkError, message).hint(hint))
        }
        Fault::TunnelUnexpectedEof => {
            let message = format!("the proxy hung up instead of connecting to `{place}`");
            Some(Error::new(Kind::NetworkError, message))
        }
        _ => None,
    }
}

/// The error for a proxy that doesn't know us.
pub(super) fn wants_credentials() -> Error {
    Error::new(Kind::AccessDenied, "the proxy wants credentials")
        .hint("put them into its URL in `HTTPS_PROXY` or `HTTP_PROXY`: `http://USER:PASSWORD@HOST`")
}
