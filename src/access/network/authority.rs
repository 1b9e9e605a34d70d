//! Hosts with their ports, as flags name them.

use std::fmt;

use url::{Host, Origin, Url};

/// A host, and its port if one is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) host: Host<String>,
    pub(super) port: Option<u16>,
}

// === impl Authority ===

impl Authority {
    /// Reads `HOST[:PORT]`; `None` if it is anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        // Nothing but host and port: what the parser has normalised still has to be all of it.
        if text.is_empty() || text.contains(['/', '\\', '@', '?', '#', '*']) {
            return None;
        }
        let url = Url::parse(&format!("https://{text}")).ok()?;
        // The parser forgets the port that HTTPS has without being told.
        let told = || text.rsplit_once(':')?.1.parse().ok().filter(|port| *port == 443);
        Some(Self { host: url.host()?.to_owned(), port: url.port().or_else(told) })
    }

    /// Its origin by a scheme; without a port, by the one that the scheme has.
    pub(super) fn origin(&self, scheme: &str) -> Option<Origin> {
        Url::parse(&format!("{scheme}://{self}")).ok().map(|url| url.origin())
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match port {
            Some(port) => write!(f, "{host}:{port}"),
            None => host.fmt(f),
        }
    }
}
