//! Where spans are sent to.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// The address of a collector that speaks OTLP over HTTP, without the path for a kind of telemetry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Url);

/// A text is no such address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the form is `http://HOST:PORT` or `https://HOST:PORT`, without credentials; headers are given by \
     OTEL_EXPORTER_OTLP_HEADERS"
)]
pub struct ParseEndpointError;

// === impl Endpoint ===

impl Endpoint {
    /// Whether TLS is spoken.
    pub fn is_secure(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Where spans go (OTLP specification 1.10, "OTLP/HTTP Request").
    pub(super) fn of_traces(&self) -> String {
        format!("{}/v1/traces", self.0.as_str().trim_end_matches('/'))
    }
}

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, ParseEndpointError> {
        let url = Url::parse(text).map_err(|_| ParseEndpointError)?;
        let plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        let speaks = matches!(url.scheme(), "http" | "https") && url.has_host();
        if plain && speaks { Ok(Self(url)) } else { Err(ParseEndpointError) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_plain_address() {
        for (text, expected) in [
            ("http://collector:4318", Some("http://collector:4318/v1/traces")),
            ("http://collector:4318/", Some("http://collector:4318/v1/traces")),
            ("https://collector.example/otlp/", Some("https://collector.example/otlp/v1/traces")),
            ("collector:4318", None),
            ("grpc://collector:4317", None),
            ("http://alice:secret@collector:4318", None),
            ("http://collector:4318?key=secret", None),
            ("", None),
        ] {
            let found = text.parse::<Endpoint>().ok().map(|endpoint| endpoint.of_traces());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
