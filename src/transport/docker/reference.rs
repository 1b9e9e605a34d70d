//! Names of images in registries: `//[HOST[:PORT]/]NAME[:TAG|@DIGEST]`.
//!
//! Docker's grammar, in which a tag and a digest can't be given together. What is printed has all defaults filled in.

use std::fmt;

use async_trait::async_trait;

use super::Docker;
use super::client::{Actions, Client};
use super::destination::DockerDestination;
use super::places::{Place, Places};
use super::source::DockerSource;
use crate::access::{Access, SourcePlace, is_short_name};
use crate::error::{Error, Kind, Result};
use crate::image::{Digest, ImageName};
use crate::transport::{ImageDestination, ImageReference, ImageSource, Repository, Transport};

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
        if !name.is_ascii() {
            return Err(invalid(format!("`{name}` has characters that a name may not have")));
        }
        let parsed = ImageName::parse(name).map_err(|error| invalid(error.to_string()))?;
        if name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let message =
                format!("`{name}` looks like an image ID, which a registry does not know");
            return Err(invalid(message));
        }
        let target = match (parsed.tag, parsed.digest) {
            (Some(_), Some(_)) => {
                return Err(invalid("a tag and a digest cannot be given together".into()));
            }
            (Some(tag), None) => Target::Tag(tag),
            (None, Some(digest)) => Target::Digest(digest.parse()?),
            (None, None) => Target::Tag("latest".into()),
        };
        let repository = Repository { registry: parsed.registry, path: parsed.repository };
        Ok(Self { repository, target })
    }

    /// Parses a full name that `registries.conf` has made of this one. Nothing is filled in: it names its host.
    fn elsewhere(&self, name: &str) -> Result<Self> {
        let rewriting = || format!("rewriting `{self}` as registries.conf says");
        if is_short_name(name) {
            let message = format!("`{name}` does not start with the name of a host");
            return Err(Error::new(Kind::InvalidOptions, message).doing(rewriting()));
        }
        Self::parse(&format!("//{name}")).map_err(|error| error.doing(rewriting()))
    }

    /// Opens it for reading where it says, and nowhere else.
    pub(super) async fn open(&self, access: &Access) -> Result<DockerSource> {
        let client = self.client(access, Actions::Pull).await?;
        Ok(DockerSource::new(client, self.target.clone()))
    }

    /// The name as `registries.conf` has it: without `docker://`.
    fn name(&self) -> String {
        format!("{}{}{}", self.repository, self.target.separator(), self.target)
    }

    async fn client(&self, access: &Access, actions: Actions) -> Result<Client> {
        Client::open(&self.repository, access, actions)
            .await
            .map_err(|error| error.doing(format!("opening `{self}`")))
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
        let places = access.places(&self.name(), self.digest().is_some())?;
        let place = |place: SourcePlace| Ok((self.elsewhere(&place.name)?, place.access));
        let mut places: Vec<_> = places.into_iter().map(place).collect::<Result<_>>()?;
        if places.len() == 1
            && let Some((reference, access)) = places.pop()
        {
            return Ok(Box::new(reference.open(&access).await?));
        }
        let places = places.into_iter().map(|(reference, access)| Place::new(reference, access));
        Ok(Box::new(Places::new(places.collect())))
    }

    async fn destination(&self, access: &Access) -> Result<Box<dyn ImageDestination>> {
        let access = access.for_writing(&self.name())?;
        let client = self.client(&access, Actions::PullPush).await?;
        Ok(Box::new(DockerDestination::new(client, self.target.clone())))
    }
}

impl fmt::Display for DockerReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docker://{}", self.name())
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
    use oci_client::Reference;

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
                &format!("`sha256:{}` does not have 64 lower-case hexadecimal digits", &HEX[1..]),
            ),
            (
                &format!("//r.io/a@md5:{HEX}"),
                "digest algorithm `md5` is not supported, only sha256 and sha512 are",
            ),
        ];
        for (details, message) in cases {
            let error = DockerReference::parse(details).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert_eq!(error.exit_code(), 2);
        }
    }

    /// Names made of pieces that are right, wrong, and right only elsewhere.
    fn corpus() -> Vec<String> {
        let hosts = [
            "",
            "docker.io/",
            "index.docker.io/",
            "localhost/",
            "localhost:5000/",
            "r.io/",
            "R.io/",
            "r.io:5000/",
            "r.io:/",
            "r.io:x/",
            "-r.io/",
            "r-.io/",
            "a_b.io/",
            "r..io/",
            "user/",
            "User/",
            "/",
            "xn--n3h.com/",
            "127.0.0.1:5000/",
            "library/",
        ];
        let paths = [
            "", "a", "a/b/c", "a.b", "a..b", "a_b", "a__b", "a___b", "a---b", "-a", "a-", "a.-b",
            "A", "a/", "a//b", "a b", "a/../b", "a?x", "test.com", "0",
        ];
        let digest = format!("@sha256:{}", "0a".repeat(32));
        let long = format!(":{}", "t".repeat(128));
        let tags = [
            "",
            ":",
            ":1",
            ":T.a-g_1",
            ":.a",
            ":-a",
            ":_a",
            ":a:b",
            ":a b",
            &long,
            &format!("{long}t"),
        ];
        let ends = ["", &digest];
        let mut corpus = vec![];
        for host in hosts {
            for path in paths {
                for tag in tags {
                    corpus.extend(ends.map(|end| format!("{host}{path}{tag}{end}")));
                }
            }
        }
        corpus
    }

    /// What the regular expression of the field takes, we take, and see the same in it; but it lets pass hosts that are
    /// none, and repositories with capital letters.
    #[test]
    fn the_grammar_is_dockers() {
        for text in corpus() {
            let theirs = Reference::try_from(text.as_str()).ok().map(|theirs| ImageName {
                registry: theirs.registry().to_owned(),
                repository: theirs.repository().to_owned(),
                tag: theirs.tag().map(str::to_owned),
                digest: theirs.digest().map(str::to_owned),
            });
            let theirs = theirs.filter(|name| {
                let capitals = name.repository.bytes().any(|byte| byte.is_ascii_uppercase());
                !capitals && !name.registry.contains('_')
            });
            assert_eq!(ImageName::parse(&text).ok(), theirs, "{text}");
        }
    }
}
