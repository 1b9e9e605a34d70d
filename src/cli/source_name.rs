//! The name of an image that is read, as it may stand on the command line: `transport:details`, or a short name such as
//! `busybox` that `registries.conf` resolves. Nobody is ever asked which image is meant.
//!
//! Only the command line knows short names: what they mean depends on the machine, so an ImagePush object has full ones.

use tokio_util::sync::CancellationToken;

use super::output::Printer;
use crate::access::{Candidates, RegistriesConf, is_short_name};
use crate::engine;
use crate::error::{Error, Kind, Result, Side};
use crate::options::{Endpoint, Retry};
use crate::transport::{self, Reference};

/// What a name stands for.
#[derive(Debug)]
pub(crate) struct SourceName {
    /// The image; of a short name, what it stands for first.
    pub(crate) reference: Reference,
    /// Where the name is a short one: what there is to choose and to tell.
    pub(crate) alternatives: Option<Alternatives>,
}

/// What a short name may stand for.
#[derive(Debug)]
pub(crate) struct Alternatives {
    given: String,
    because: String,
    /// Beside the first.
    others: Vec<Reference>,
}

// === impl SourceName ===

impl SourceName {
    /// Parses a name; reads `registries.conf` if it is short.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        let conf = || RegistriesConf::load(|name| std::env::var_os(name));
        Self::parse_with(name, conf).map_err(|error| error.on(Side::Source))
    }

    fn parse_with(name: &str, conf: impl FnOnce() -> Result<RegistriesConf>) -> Result<Self> {
        if !is_short(name) {
            return Ok(Self { reference: transport::parse(name)?, alternatives: None });
        }
        let Candidates { names, because } = conf()?.resolve(name)?;
        let references = names.iter().map(|name| transport::parse(&format!("docker://{name}")));
        let mut references = references.collect::<Result<Vec<_>>>()?.into_iter();
        let reference =
            references.next().ok_or_else(|| Error::internal("a short name stands for nothing"))?;
        let alternatives =
            Alternatives { given: name.to_owned(), because, others: references.collect() };
        Ok(Self { reference, alternatives: Some(alternatives) })
    }
}

/// Whether a name has neither a transport nor a host.
fn is_short(name: &str) -> bool {
    let transport = name.split_once(':').map(|(prefix, _)| prefix);
    let transport = transport.is_some_and(|prefix| transport::names().contains(&prefix));
    !transport && is_short_name(name) && transport::parse(&format!("docker://{name}")).is_ok()
}

/// The error for a push without a destination: a short name says what to read, not where to write.
pub(crate) fn no_destination(name: &str) -> Error {
    let message = format!("`{name}` is a short name, which says nothing about where to write it");
    Error::new(Kind::InvalidOptions, message)
        .on(Side::Destination)
        .hint(format!("name the destination, as in `imagepush push {name} docker://HOST/{name}`"))
}

// === impl Alternatives ===

impl Alternatives {
    /// What the user has given.
    pub(crate) fn given(&self) -> &str {
        &self.given
    }

    /// Whether there is more than one.
    pub(crate) fn are_several(&self) -> bool {
        !self.others.is_empty()
    }

    /// Finds the image that is meant, and says which it is. All may use what the first may.
    pub(crate) async fn choose(
        self,
        first: Endpoint,
        retry: Retry,
        cancel: &CancellationToken,
        printer: &Printer,
    ) -> Result<Endpoint> {
        let Self { given, because, others } = self;
        let access = first.access.clone();
        let others = others.into_iter();
        let others = others.map(|reference| Endpoint { reference, access: access.clone() });
        let candidates = std::iter::once(first).chain(others).collect();
        let chosen = engine::choose(candidates, retry, cancel)
            .await
            .map_err(|error| error.doing(format!("looking for `{given}` by {because}")))?;
        printer.say(&format!("`{given}` is `{}` by {because}", chosen.reference));
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str, conf: &str) -> String {
        match SourceName::parse_with(name, || RegistriesConf::parse(conf, "f.conf")) {
            Err(error) => format!("{}: {error}", error.exit_code()),
            Ok(SourceName { reference, alternatives: None }) => reference.to_string(),
            Ok(SourceName { reference, alternatives: Some(alternatives) }) => {
                let Alternatives { given, because, others } = alternatives;
                format!("{given}: {reference} {others:?} by {because}")
                    .replace("DockerReference", "")
            }
        }
    }

    #[test]
    fn only_names_without_transport_and_host_are_short() {
        let one = "unqualified-search-registries = [\"a.io\"]\n[aliases]\nbox = \"r.io/x/box\"";
        let searched = "by `unqualified-search-registries` in `f.conf`";
        let cases = [
            ("docker://box", "docker://docker.io/library/box:latest".to_owned()),
            ("oci:box", "oci:box".to_owned()),
            ("box", "box: docker://r.io/x/box:latest [] by the alias `box` in `f.conf`".to_owned()),
            ("app:1", format!("app:1: docker://a.io/app:1 [] {searched}")),
            ("team/app", format!("team/app: docker://a.io/team/app:latest [] {searched}")),
            ("frob:x", format!("frob:x: docker://a.io/frob:x [] {searched}")),
            (
                "r.io/box",
                "2: `r.io/box` names an image in local containers-storage, which is not supported yet"
                    .to_owned(),
            ),
            ("foo://x", "2: `foo://x` is not an image name, and `foo` is not a transport".to_owned()),
        ];
        for (name, expected) in cases {
            assert_eq!(shown(name, one), expected);
        }
    }

    #[test]
    fn several_registries_are_several_alternatives() {
        let conf = "unqualified-search-registries = [\"a.io\", \"docker.io\"]";
        let conf = RegistriesConf::parse(conf, "f.conf").unwrap();
        let SourceName { reference, alternatives } =
            SourceName::parse_with("app:1", || Ok(conf)).unwrap();
        assert_eq!(reference.to_string(), "docker://a.io/app:1");
        let others: Vec<_> = alternatives.unwrap().others.iter().map(ToString::to_string).collect();
        assert_eq!(others, ["docker://docker.io/library/app:1"]);
    }
}
