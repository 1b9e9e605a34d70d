//! Hosts outside of a registry where it may have its blobs sent, by the word of whoever runs the program.

use std::fmt;
use std::str::FromStr;

use url::Origin;

use super::authority::Authority;
use crate::error::{Error, Kind, Result};

/// A registry, and another host that takes its uploads: `REGISTRY=HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadHost {
    /// Host with port, as in references.
    registry: String,
    place: Authority,
}

/// Where the blobs of one registry may be sent beside to itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct UploadOrigins {
    /// All of these origins.
    pub(crate) all: Vec<Origin>,
    /// Those of them that get the registry's credentials, too.
    pub(crate) with_credentials: Vec<Origin>,
}

// === impl UploadOrigins ===

impl UploadOrigins {
    /// Those that are named for a registry which is spoken to by this scheme.
    pub(super) fn of(
        registry: &str,
        scheme: &str,
        bare: &[UploadHost],
        with_credentials: &[UploadHost],
    ) -> Self {
        let named = |hosts: &[UploadHost]| -> Vec<Origin> {
            let own = hosts.iter().filter(|host| host.registry == registry);
            own.flat_map(|host| host.origins(scheme)).collect()
        };
        let with_credentials = named(with_credentials);
        let all = named(bare).into_iter().chain(with_credentials.iter().cloned()).collect();
        Self { all, with_credentials }
    }
}

// === impl UploadHost ===

impl UploadHost {
    /// Whether it is for this registry, as references name it.
    pub(crate) fn is_of(&self, registry: &str) -> bool {
        self.registry == registry
    }

    /// The host by TLS; and in plain HTTP only if the registry itself is spoken to so.
    fn origins(&self, scheme: &str) -> impl Iterator<Item = Origin> {
        let schemes: &[&str] = if scheme == "http" { &["https", "http"] } else { &["https"] };
        schemes.iter().filter_map(|scheme| self.place.origin(scheme))
    }
}

impl fmt::Display for UploadHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.registry, self.place)
    }
}

impl FromStr for UploadHost {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            let message = format!("`{text}` does not name a registry and where its uploads go");
            Error::new(Kind::InvalidOptions, message).hint(
                "the form is `REGISTRY=HOST[:PORT]`, such as `registry.example=uploads.example`",
            )
        };
        let (registry, host) = text.split_once('=').ok_or_else(invalid)?;
        Authority::parse(registry).ok_or_else(invalid)?;
        let place = Authority::parse(host).ok_or_else(invalid)?;
        Ok(Self { registry: registry.to_owned(), place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(texts: &[&str]) -> Vec<UploadHost> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn written(origins: &[Origin]) -> Vec<String> {
        origins.iter().map(Origin::ascii_serialization).collect()
    }

    #[test]
    fn a_host_takes_the_uploads_of_one_registry_by_its_own_port() {
        let bare = hosts(&[
            "r.example:5000=Up.example",
            "other.example=evil.example",
            "s.example=t.example:443",
        ]);
        let with_credentials = hosts(&["r.example:5000=login.example:444", "r.example=[::1]:80"]);
        for (registry, scheme, all, shown) in [
            (
                "r.example:5000",
                "https",
                &["https://up.example", "https://login.example:444"][..],
                &["https://login.example:444"][..],
            ),
            (
                "r.example:5000",
                "http",
                &[
                    "https://up.example",
                    "http://up.example",
                    "https://login.example:444",
                    "http://login.example:444",
                ],
                &["https://login.example:444", "http://login.example:444"],
            ),
            ("r.example", "https", &["https://[::1]:80"], &["https://[::1]:80"]),
            ("r.example:80", "http", &[], &[]),
            ("s.example", "http", &["https://t.example", "http://t.example:443"], &[]),
        ] {
            let found = UploadOrigins::of(registry, scheme, &bare, &with_credentials);
            let UploadOrigins { all: found, with_credentials: found_shown } = found;
            assert_eq!(written(&found), all, "{registry} {scheme}");
            assert_eq!(written(&found_shown), shown, "{registry} {scheme}");
        }
    }

    #[test]
    fn what_is_no_pair_of_hosts_is_bad_usage() {
        for text in ["", "r.example", "=a", "a=", "a=https://b", "a=b/c", "a=u@b", "a=b:x", "a b=c"]
        {
            let error = text.parse::<UploadHost>().unwrap_err();
            let message = format!("`{text}` does not name a registry and where its uploads go");
            assert_eq!((error.exit_code(), error.to_string()), (2, message));
        }
    }
}
