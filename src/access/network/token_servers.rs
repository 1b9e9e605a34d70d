//! Token servers that whoever runs the program trusts with the credentials of a registry, though nothing shows that they
//! belong to it.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

use super::authority::Authority;
use crate::error::{Error, Kind, Result};

/// The port of HTTPS.
const HTTPS: u16 = 443;

/// A registry, and a token server that may get its credentials: `REGISTRY=HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenServer {
    /// Host with port, as in references.
    registry: String,
    host: Host<String>,
    port: u16,
}

// === impl TokenServer ===

impl TokenServer {
    /// Whether this lets the registry of this name send credentials to a URL: host and port are compared. That the URL is
    /// protected is for others to see to.
    pub(crate) fn admits(&self, registry: &str, url: &Url) -> bool {
        let host = url.host().map(|host| host.to_owned());
        self.registry == registry
            && host.as_ref() == Some(&self.host)
            && url.port_or_known_default() == Some(self.port)
    }
}

impl fmt::Display for TokenServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}:{}", self.registry, self.host, self.port)
    }
}

impl FromStr for TokenServer {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            let message = format!("`{text}` does not name a registry and its token server");
            Error::new(Kind::InvalidOptions, message).hint(
                "the form is `REGISTRY=HOST[:PORT]`, such as `registry.example=login.example`",
            )
        };
        let (registry, server) = text.split_once('=').ok_or_else(invalid)?;
        Authority::parse(registry).ok_or_else(invalid)?;
        let Authority { host, port } = Authority::parse(server).ok_or_else(invalid)?;
        let port = port.unwrap_or(HTTPS);
        Ok(Self { registry: registry.to_owned(), host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_server_is_trusted_for_one_registry_and_port() {
        let server: TokenServer = "r.example:5000=login.example".parse().unwrap();
        for (registry, url, admitted) in [
            ("r.example:5000", "https://login.example/token", true),
            ("r.example:5000", "https://LOGIN.example:443/x?y", true),
            ("r.example:5000", "https://login.example:444/token", false),
            ("r.example:5000", "http://login.example/token", false),
            ("r.example:5000", "https://sub.login.example/token", false),
            ("r.example", "https://login.example/token", false),
            ("other.example", "https://login.example/token", false),
        ] {
            let found = server.admits(registry, &Url::parse(url).unwrap());
            assert_eq!(found, admitted, "{registry} {url}");
        }
    }

    #[test]
    fn what_is_no_pair_of_hosts_is_bad_usage() {
        for text in ["", "r.example", "=a", "a=", "a=https://b", "a=b/c", "a=u@b", "a=b:x", "a b=c"]
        {
            let error = text.parse::<TokenServer>().unwrap_err();
            let message = format!("`{text}` does not name a registry and its token server");
            assert_eq!((error.exit_code(), error.to_string()), (2, message));
        }
    }
}
