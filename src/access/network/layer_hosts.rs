//! Hosts that foreign layers may be fetched from, by the word of whoever runs the program.

use std::fmt;
use std::str::FromStr;

use url::Url;

use super::authority::Authority;
use crate::error::{Error, Kind, Result};

/// A host that layers' `urls` may lead to: `HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerHost(Authority);

// === impl LayerHost ===

impl LayerHost {
    /// Whether a URL leads to this host, by the port that is named, else by the one of the URL's scheme. How well protected
    /// that is, is for others to see to.
    pub(crate) fn admits(&self, url: &Url) -> bool {
        matches!(url.scheme(), "http" | "https")
            && self.0.origin(url.scheme()).is_some_and(|origin| origin == url.origin())
    }
}

impl fmt::Display for LayerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for LayerHost {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Authority::parse(text).map(Self).ok_or_else(|| {
            let message = format!("`{text}` does not name a host");
            Error::new(Kind::InvalidOptions, message)
                .hint("the form is `HOST[:PORT]`, such as `mcr.microsoft.com`")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_named_with_its_port() {
        for (host, url, admitted) in [
            ("Up.example", "https://up.example/x", true),
            ("up.example", "http://up.example/x", true),
            ("up.example", "https://up.example:443/x", true),
            ("up.example", "https://up.example:444/x", false),
            ("up.example", "https://sub.up.example/x", false),
            ("up.example", "https://up.example.evil.test/x", false),
            ("up.example", "https://up.example@evil.test/x", false),
            ("up.example", "ftp://up.example/x", false),
            ("up.example:444", "https://up.example:444/x", true),
            ("up.example:444", "https://up.example/x", false),
            ("[::1]", "https://[::1]/x", true),
            ("up.example:443", "https://up.example/x", true),
            ("up.example:443", "http://up.example/x", false),
            ("up.example:443", "http://up.example:443/x", true),
        ] {
            let (host, url) = (host.parse::<LayerHost>().unwrap(), Url::parse(url).unwrap());
            assert_eq!(host.admits(&url), admitted, "{host} {url}");
        }
        for text in ["", "https://a", "a/b", "u@a", "a:x", "a b", "*.a"] {
            let found = text.parse::<LayerHost>().map(|host| host.to_string());
            assert_eq!(found.map_err(|error| error.exit_code()), Err(2), "{text}");
        }
    }
}
