//! Names of images in registries: `//[HOST[:PORT]/]NAME[:TAG|@DIGEST]`.
//!
//! Docker's grammar with its defaults: no host means Docker Hub, one component there means `library/`, neither tag nor
//! digest means `latest`. What is printed has all of them filled in.

use std::fmt;
use std::net::Ipv6Addr;

use async_trait::async_trait;
use oci_client::{ParseError, Reference as Grammar};

use super::Docker;
use super::client::{Actions, Client};
use super::destination::DockerDestination;
use super::source::DockerSource;
use crate::access::Access;
use crate::error::{Error, Kind, Result};
use crate::image::Digest;
use crate::transport::{ImageDestination, ImageReference, ImageSource, Repository, Transport};

/// Longest name of a repository, that of Docker's grammar.
const MAX_NAME: usize = 255;

/// The name of an image in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DockerReference {
    repository: Repository,
    target: Target,
}

/// What a reference points to within its repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A tag, of the grammar `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
    Tag(String),
    /// The digest of a manifest.
    Digest(Digest),
}

// === impl DockerReference ===

impl DockerReference {
    /// Parses what follows `docker:`.
    pub(crate) fn parse(details: &str) -> Result<Self> {
        let invalid = |message: String| Error::new(Kind::InvalidReference, message);
        let name = details
            .strip_prefix("//")
            .ok_or_else(|| invalid("a name in a registry starts with `//`".into()))?;
        // The grammar's regular expression takes any Unicode letter in a tag.
        if !name.is_ascii() {
            return Err(invalid(format!("`{name}` has characters that a name may not have")));
        }
        let (address, stated) = match cut_address(name) {
            Some(cut) => cut.map_err(invalid)?,
            None => (None, name.to_owned()),
        };
        let parsed = Grammar::try_from(stated).map_err(|error| invalid(explain(name, &error)))?;
        if parsed.repository().len() > MAX_NAME {
            return Err(invalid(format!("the name is longer than {MAX_NAME} characters")));
        }
        if name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let message =
                format!("`{name}` looks like an image ID, which a registry does not know");
            return Err(invalid(message));
        }
        check_host(parsed.registry()).map_err(invalid)?;
        let target = match (parsed.tag(), parsed.digest()) {
            (Some(_), Some(_)) => {
                return Err(invalid("a tag and a digest cannot be given together".into()));
            }
            (_, Some(digest)) => Target::Digest(digest.parse()?),
            (tag, None) => Target::Tag(tag.unwrap_or("latest").to_owned()),
        };
        let repository = Repository {
            registry: match address {
                Some(address) => parsed.registry().replacen(STAND_IN, &format!("[{address}]"), 1),
                None => parsed.registry().to_owned(),
            },
            path: parsed.repository().to_owned(),
        };
        Ok(Self { repository, target })
    }

    async fn client(&self, access: &Access, actions: Actions) -> Result<Client> {
        Client::open(&self.repository, access, actions)
            .await
            .map_err(|error| error.doing(format!("opening `{self}`")))
    }
}

/// Stands for an IPv6 address, which the grammar's regular expression doesn't know; nobody has this name (RFC 6761).
const STAND_IN: &str = "address.invalid";

/// Takes out the IPv6 address that a name begins with, if it does, and puts the stand-in there.
fn cut_address(name: &str) -> Option<Result<(Option<Ipv6Addr>, String), String>> {
    let (address, rest) = name.strip_prefix('[')?.split_once(']')?;
    let repository = rest.trim_start_matches(|c: char| c == ':' || c.is_ascii_digit());
    Some(match address.parse() {
        Err(_) => Err(format!("`{address}` is not an IPv6 address")),
        Ok(_) if repository.is_empty() => Err(format!("`{name}` names a host and no repository")),
        Ok(_) if !repository.starts_with('/') => {
            Err(format!("`{name}` is not a name in a registry"))
        }
        Ok(address) => Ok((Some(address), format!("{STAND_IN}{rest}"))),
    })
}

fn check_host(host: &str) -> Result<(), String> {
    match host.split_once(':') {
        Some((_, port)) if port.parse::<u16>().unwrap_or_default() == 0 => {
            Err(format!("`{port}` is not a port"))
        }
        _ => Ok(()),
    }
}

fn explain(name: &str, error: &ParseError) -> String {
    let path = name.split_once('/').map_or(name, |(_, path)| path);
    let path = path.split(['@', ':']).next().unwrap_or_default();
    match error {
        ParseError::NameEmpty => "there is no name".into(),
        ParseError::NameTooLong => format!("the name is longer than {MAX_NAME} characters"),
        ParseError::DigestUnsupported => {
            "the digest's algorithm is not supported, only sha256 and sha512 are".into()
        }
        ParseError::DigestInvalidLength | ParseError::DigestInvalidFormat => {
            "the digest does not have the form `sha256:` with 64 hexadecimal digits".into()
        }
        _ if path.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            format!("the name of a repository must be in lower case, `{path}` is not")
        }
        _ => format!("`{name}` is not a name in a registry"),
    }
}

#[async_trait]
impl ImageReference for DockerReference {
    fn transport(&self) -> &'static dyn Transport {
        &Docker
    }

    fn repository(&self) -> Option<&Repository> {
        Some(&self.repository)
    }

    fn digest(&self) -> Option<&Digest> {
        self.target.digest()
    }

    async fn source(&self, access: &Access) -> Result<Box<dyn ImageSource>> {
        let client = self.client(access, Actions::Pull).await?;
        Ok(Box::new(DockerSource::new(client, self.target.clone())))
    }

    async fn destination(&self, access: &Access) -> Result<Box<dyn ImageDestination>> {
        let client = self.client(access, Actions::PullPush).await?;
        Ok(Box::new(DockerDestination::new(client, self.target.clone())))
    }
}

impl fmt::Display for DockerReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docker://{}{}{}", self.repository, self.target.separator(), self.target)
    }
}

// === impl Target ===

impl Target {
    /// The digest, if it is one.
    pub(super) fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Digest(digest) => Some(digest),
            Self::Tag(_) => None,
        }
    }

    fn separator(&self) -> char {
        match self {
            Self::Digest(_) => '@',
            Self::Tag(_) => ':',
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => fmt::Display::fmt(digest, f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn defaults_are_filled_in_and_stay() {
        let digest = format!("//r.io/a@sha256:{HEX}");
        let cases = [
            ("//busybox", "docker.io/library/busybox:latest"),
            ("//index.docker.io/busybox:1", "docker.io/library/busybox:1"),
            ("//user/app", "docker.io/user/app:latest"),
            ("//localhost/app", "localhost/app:latest"),
            ("//localhost:5000/a/b.c/d__e:T.a-g_1", "localhost:5000/a/b.c/d__e:T.a-g_1"),
            ("//127.0.0.1:5000/app", "127.0.0.1:5000/app:latest"),
            ("//[::1]:5000/app:1", "[::1]:5000/app:1"),
            ("//[FD00:0::1]/a/b", "[fd00::1]/a/b:latest"),
            ("//test.com:tag", "docker.io/library/test.com:tag"),
            (&digest, &digest[2..]),
        ];
        for (details, printed) in cases {
            let reference = DockerReference::parse(details).unwrap();
            assert_eq!(reference.to_string(), format!("docker://{printed}"));
            let again = DockerReference::parse(&format!("//{printed}")).unwrap();
            assert_eq!(again, reference);
        }
    }

    #[test]
    fn names_outside_the_grammar_are_refused() {
        let long = format!("//r.io/{}", "a".repeat(256));
        let cases = [
            ("busybox", "a name in a registry starts with `//`"),
            ("//", "there is no name"),
            ("//r.io/", "`r.io/` is not a name in a registry"),
            ("//r.io/App", "the name of a repository must be in lower case, `App` is not"),
            ("//r.io/a:", "`r.io/a:` is not a name in a registry"),
            ("//r.io/a b", "`r.io/a b` is not a name in a registry"),
            ("//r.io/../a", "`r.io/../a` is not a name in a registry"),
            ("//r.io/a?x=1", "`r.io/a?x=1` is not a name in a registry"),
            ("//user@r.io/a", "`user@r.io/a` is not a name in a registry"),
            ("//[::1/a", "`[::1/a` is not a name in a registry"),
            ("//[::g]/a", "`::g` is not an IPv6 address"),
            ("//[::1]", "`[::1]` names a host and no repository"),
            ("//[::1]:5000", "`[::1]:5000` names a host and no repository"),
            ("//[::1]a/b", "`[::1]a/b` is not a name in a registry"),
            ("//[::1]:0/a", "`0` is not a port"),
            ("//r.io:0/a", "`0` is not a port"),
            ("//r.io:65536/a", "`65536` is not a port"),
            ("//r.io/a:é", "`r.io/a:é` has characters that a name may not have"),
            (&long, "the name is longer than 255 characters"),
            (
                &format!("//{HEX}"),
                &format!("`{HEX}` looks like an image ID, which a registry does not know"),
            ),
            (&format!("//r.io/a:t@sha256:{HEX}"), "a tag and a digest cannot be given together"),
            (
                &format!("//r.io/a@sha256:{}", &HEX[1..]),
                "the digest does not have the form `sha256:` with 64 hexadecimal digits",
            ),
            (
                &format!("//r.io/a@md5:{HEX}"),
                "the digest's algorithm is not supported, only sha256 and sha512 are",
            ),
        ];
        for (details, message) in cases {
            let error = DockerReference::parse(details).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert_eq!(error.exit_code(), 2);
        }
    }
}
