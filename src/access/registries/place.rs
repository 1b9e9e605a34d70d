//! What the entries mean for one side of a push: where an image is read or written, and with what.

use std::sync::Arc;

use super::RegistriesConf;
use super::entry::Entry;
use crate::access::{Access, Certificates, Credentials, TlsPolicy};
use crate::error::{Error, Kind, Result};

/// `registries.conf` as one side uses it. By default it is empty: an image is where its name says.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    /// What the files say.
    pub conf: Arc<RegistriesConf>,
    /// What the user says of TLS by hand. It goes before `insecure`: `true` for every host, `false` for the one that the
    /// image's name has.
    pub tls_verify: Option<bool>,
    /// Credentials for hosts that the image's name doesn't have: a mirror never gets those of the registry it is one of.
    pub other_credentials: Credentials,
    /// The same for certificates.
    pub other_certificates: Certificates,
}

/// A place where an image is read.
#[derive(Clone, Debug)]
pub struct SourcePlace {
    /// The image's full name there, `HOST[:PORT]/PATH` with its tag or digest.
    pub name: String,
    /// What may be used there.
    pub access: Access,
}

// === impl Access ===

impl Access {
    /// The places where the image of a full name is read, in the order in which they are tried; at least one.
    ///
    /// A place that is blocked is left out. Fails with `AccessDenied` if all are.
    pub fn places(&self, name: &str, by_digest: bool) -> Result<Vec<SourcePlace>> {
        let conf = &self.registries.conf;
        let mut places = match conf.entry(name) {
            Some(entry) => entry.places(name, by_digest),
            None => vec![(name.to_owned(), false)],
        };
        // The entry's `blocked` is about the image's own place, not about its mirrors.
        if conf.blocking(name).is_some() {
            places.pop();
        }
        places.retain(|(place, _)| conf.blocking(place).is_none());
        if places.is_empty() {
            return Err(self.registries.refused(name));
        }
        let place = |(place, insecure): (String, bool)| {
            let access = self.at(name, &place, insecure);
            SourcePlace { name: place, access }
        };
        Ok(places.into_iter().map(place).collect())
    }

    /// What may be used to write the image of a full name. It is written where its name says: mirrors and locations are
    /// for reading.
    pub fn for_writing(&self, name: &str) -> Result<Self> {
        let conf = &self.registries.conf;
        if conf.blocking(name).is_some() {
            return Err(self.registries.refused(name));
        }
        let insecure = conf.entry(name).is_some_and(|entry| entry.insecure);
        Ok(self.at(name, name, insecure))
    }

    /// What may be used for `name` at `place`.
    fn at(&self, name: &str, place: &str, insecure: bool) -> Self {
        let Registries { conf: _, tls_verify, other_credentials, other_certificates } =
            &self.registries;
        if authority(name).eq_ignore_ascii_case(authority(place)) {
            let tls = if insecure && tls_verify.is_none() { INSECURE } else { self.tls };
            return Self { tls, ..self.clone() };
        }
        let insecure = insecure && *tls_verify != Some(true);
        Self {
            credentials: other_credentials.clone(),
            certificates: other_certificates.clone(),
            tls: if insecure { INSECURE } else { TlsPolicy::Verify },
            ..self.clone()
        }
    }
}

/// What `insecure = true` means, as for `--tls-verify=false`.
const INSECURE: TlsPolicy = TlsPolicy::SkipVerifyOrPlainHttp;

// === impl RegistriesConf ===

impl RegistriesConf {
    /// Whether the image of a full name is read at other hosts only, so that nothing which is meant for its own is of use.
    pub fn is_read_elsewhere(&self, name: &str, by_digest: bool) -> bool {
        let elsewhere =
            |(place, _): (String, bool)| !authority(name).eq_ignore_ascii_case(authority(&place));
        let places = self.entry(name).map(|entry| entry.places(name, by_digest));
        places.is_some_and(|places| places.into_iter().all(elsewhere))
    }
}

// === impl Registries ===

impl Registries {
    fn refused(&self, name: &str) -> Error {
        let entry = self.conf.blocking(name).or_else(|| self.conf.entry(name));
        let by = match entry {
            Some(Entry { prefix, origin, .. }) => format!(": entry `{prefix}` in `{origin}`"),
            None => String::new(),
        };
        Error::new(Kind::AccessDenied, format!("`{name}` is blocked by registries.conf{by}"))
            .absence()
            .hint("whoever set up this machine does not want that registry to be used")
    }
}

/// Host and port of a full name.
fn authority(name: &str) -> &str {
    name.split_once('/').map_or(name, |(authority, _)| authority)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Credential, Secret};

    const CONF: &str = r#"
        [[registry]]
        prefix = "up.io"
        insecure = true
        [[registry.mirror]]
        location = "m1.io/cache"
        [[registry.mirror]]
        location = "m2.io"
        insecure = true
        [[registry.mirror]]
        location = "up.io/copy"

        [[registry]]
        prefix = "moved.io/a"
        location = "inner.io/b"

        [[registry]]
        prefix = "never.io"
        blocked = true
        [[registry.mirror]]
        location = "m1.io"

        [[registry]]
        prefix = "bad.io"
        location = "elsewhere.io"
        blocked = true

        [[registry]]
        prefix = "via.io"
        [[registry.mirror]]
        location = "bad.io/x"
    "#;

    fn access(tls_verify: Option<bool>) -> Access {
        let own = Credential::basic("up", Secret::new("canary"));
        Access {
            credentials: Credentials::Explicit(own),
            certificates: Certificates::Directory("/own".into()),
            tls: match tls_verify {
                Some(false) => INSECURE,
                _ => TlsPolicy::Verify,
            },
            registries: Registries {
                conf: Arc::new(RegistriesConf::parse(CONF, "f.conf").unwrap()),
                tls_verify,
                other_credentials: Credentials::Anonymous,
                other_certificates: Certificates::System,
            },
            ..Access::default()
        }
    }

    /// Name, whose credentials and certificates, and whether TLS is verified.
    fn shown(name: &str, access: &Access) -> String {
        let own = matches!(access.credentials, Credentials::Explicit(_));
        assert_eq!(own, matches!(access.certificates, Certificates::Directory(_)));
        let verified = if access.tls == TlsPolicy::Verify { "verified" } else { "insecure" };
        format!("{name} {} {verified}", if own { "own" } else { "other" })
    }

    fn read(name: &str, tls_verify: Option<bool>) -> Vec<String> {
        let places = access(tls_verify).places(name, false);
        match places {
            Ok(places) => places.iter().map(|place| shown(&place.name, &place.access)).collect(),
            Err(error) => vec![format!("{}: {error}", error.kind())],
        }
    }

    #[test]
    fn each_place_has_its_own_credentials_and_strictness() {
        assert_eq!(
            read("up.io/app:1", None),
            [
                "m1.io/cache/app:1 other verified",
                "m2.io/app:1 other insecure",
                "up.io/copy/app:1 own verified",
                "up.io/app:1 own insecure",
            ]
        );
        assert_eq!(read("moved.io/a/app:1", None), ["inner.io/b/app:1 other verified"]);
        assert_eq!(read("free.io/app:1", None), ["free.io/app:1 own verified"]);
    }

    #[test]
    fn a_name_that_is_moved_is_read_elsewhere_only() {
        let conf = RegistriesConf::parse(CONF, "f.conf").unwrap();
        let elsewhere =
            ["up.io/a:1", "moved.io/a/b:1", "moved.io/c:1", "via.io/a:1", "free.io/a:1"]
                .map(|name| conf.is_read_elsewhere(name, false));
        assert_eq!(elsewhere, [false, true, false, false, false]);
    }

    #[test]
    fn what_the_user_says_of_tls_goes_before_the_files() {
        assert_eq!(
            read("up.io/app:1", Some(true)),
            [
                "m1.io/cache/app:1 other verified",
                "m2.io/app:1 other verified",
                "up.io/copy/app:1 own verified",
                "up.io/app:1 own verified",
            ]
        );
        // It is said of the host that was named, and of no other.
        assert_eq!(
            read("up.io/app:1", Some(false)),
            [
                "m1.io/cache/app:1 other verified",
                "m2.io/app:1 other insecure",
                "up.io/copy/app:1 own insecure",
                "up.io/app:1 own insecure",
            ]
        );
        assert_eq!(read("moved.io/a/app:1", Some(false)), ["inner.io/b/app:1 other verified"]);
    }

    #[test]
    fn what_is_blocked_is_not_read() {
        // What OpenShift writes for `NeverContactSource`.
        assert_eq!(read("never.io/app:1", None), ["m1.io/app:1 other verified"]);
        let refused = |name: &str, prefix: &str| {
            format!(
                "AccessDenied: `{name}` is blocked by registries.conf: entry `{prefix}` in `f.conf`"
            )
        };
        assert_eq!(read("bad.io/app:1", None), [refused("bad.io/app:1", "bad.io")]);
        assert_eq!(read("bad.io:443/app:1", None), [refused("bad.io:443/app:1", "bad.io")]);
        assert_eq!(read("via.io/app:1", None), ["via.io/app:1 own verified"]);
    }

    #[test]
    fn an_image_is_written_where_its_name_says() {
        let written = |name: &str, tls_verify| match access(tls_verify).for_writing(name) {
            Ok(access) => shown(name, &access),
            Err(error) => format!("{}: {error}", error.kind()),
        };
        let cases = [
            ("up.io/app:1", None, "up.io/app:1 own insecure"),
            ("up.io/app:1", Some(true), "up.io/app:1 own verified"),
            ("moved.io/a/app:1", None, "moved.io/a/app:1 own verified"),
            ("moved.io/a/app:1", Some(false), "moved.io/a/app:1 own insecure"),
            (
                "never.io/app:1",
                None,
                "AccessDenied: `never.io/app:1` is blocked by registries.conf: entry `never.io` in `f.conf`",
            ),
        ];
        for (name, tls_verify, expected) in cases {
            assert_eq!(written(name, tls_verify), expected);
        }
    }
}
