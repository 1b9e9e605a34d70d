//! Names of images in Docker's grammar: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`, with its defaults filled in.
//!
//! No host means Docker Hub, one component there means `library/`, neither tag nor digest means `latest`. Written out by
//! hand: the regular expression that other parsers have takes 30 ms of processor time to build, ten times what a push needs
//! that has nothing to do.

use std::net::Ipv6Addr;

use thiserror::Error;

/// Longest path of a repository in characters, that of Docker's grammar.
const MAX_REPOSITORY: usize = 255;

/// Longest tag in characters, that of the OCI distribution specification.
const MAX_TAG: usize = 128;

/// A name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName {
    /// Host, and port where one is given; `docker.io` for Docker Hub.
    pub registry: String,
    /// The path below the host.
    pub repository: String,
    /// The tag; `latest` where neither tag nor digest is given.
    pub tag: Option<String>,
    /// The digest as it stands there.
    pub digest: Option<String>,
}

/// What is wrong with a name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// There is nothing.
    #[error("there is no name")]
    Empty,
    /// The path of the repository is too long.
    #[error("the name is longer than {MAX_REPOSITORY} characters")]
    TooLong,
    /// There is no such port.
    #[error("`{0}` is not a port")]
    Port(String),
    /// What stands in brackets is not an address.
    #[error("`{0}` is not an IPv6 address")]
    Address(String),
    /// There is a host and nothing below it.
    #[error("`{0}` names a host and no repository")]
    HostOnly(String),
    /// A repository's path has upper-case letters.
    #[error("the name of a repository must be in lower case, `{0}` is not")]
    UpperCase(String),
    /// It departs from the grammar in another way.
    #[error("`{0}` is not a name in a registry")]
    Malformed(String),
}

// === impl ImageName ===

impl ImageName {
    /// Reads a name. What follows an `@` is not looked at: whether it is a digest, [`Digest`](super::Digest) says.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let malformed = || NameError::Malformed(text.to_owned());
        let (name, digest) = cut(text, text.split_once('@'));
        if digest.is_some_and(|digest| digest.contains('/') || !digest.contains(':')) {
            return Err(malformed());
        }
        if name.starts_with('[') && !name.contains('/') {
            return Err(NameError::HostOnly(text.to_owned()));
        }
        let (path, last) = name.rsplit_once('/').map_or(("", name), |(path, last)| (path, last));
        let (_, tag) = cut(last, last.split_once(':'));
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(malformed());
        }
        let name = tag.map_or(name, |tag| &name[..name.len() - tag.len() - 1]);
        let (registry, repository) = split(name, path);
        let registry = host(registry).ok_or_else(malformed)??;
        check_repository(&repository, text)?;
        let default = digest.is_none().then_some("latest");
        Ok(Self {
            registry,
            repository,
            tag: tag.or(default).map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }
}

fn cut<'a>(whole: &'a str, parts: Option<(&'a str, &'a str)>) -> (&'a str, Option<&'a str>) {
    parts.map_or((whole, None), |(before, after)| (before, Some(after)))
}

/// The host and the path below it. `path` is what stands before the last slash.
fn split<'a>(name: &'a str, path: &str) -> (&'a str, String) {
    let first = path.split('/').next().unwrap_or_default();
    let is_host = first.contains(['.', ':']) || first == "localhost";
    let (host, rest) = match name.split_once('/') {
        Some((host, rest)) if is_host => (host, rest),
        _ => ("docker.io", name),
    };
    let host = if host == "index.docker.io" { "docker.io" } else { host };
    let official = host == "docker.io" && !rest.contains('/');
    (host, if official { format!("library/{rest}") } else { rest.to_owned() })
}

/// The host and port with an address in its usual form; `None` if that departs from the grammar.
fn host(registry: &str) -> Option<Result<String, NameError>> {
    if let Some(bracketed) = registry.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        return match address.parse::<Ipv6Addr>() {
            Ok(address) => with_port(format!("[{address}]"), port),
            Err(_) => Some(Err(NameError::Address(address.to_owned()))),
        };
    }
    let (name, port) = registry.split_at(registry.find(':').unwrap_or(registry.len()));
    if name.split('.').all(is_label) { with_port(name.to_owned(), port) } else { None }
}

/// Puts a port behind a host: a colon and digits, or nothing.
fn with_port(host: String, port: &str) -> Option<Result<String, NameError>> {
    if port.is_empty() {
        return Some(Ok(host));
    }
    let digits = port.strip_prefix(':').filter(|digits| !digits.is_empty())?;
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)?;
    let possible = number.parse::<u16>().is_ok_and(|number| number > 0);
    Some(if possible { Ok(host + port) } else { Err(NameError::Port(number.to_owned())) })
}

/// Letters, digits and hyphens, none of these at an end.
fn is_label(label: &str) -> bool {
    let ends = [label.bytes().next(), label.bytes().next_back()];
    ends.iter().all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()))
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn check_repository(path: &str, text: &str) -> Result<(), NameError> {
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(NameError::UpperCase(path.to_owned()));
    }
    if !path.split('/').all(is_component) {
        return Err(NameError::Malformed(text.to_owned()));
    }
    if path.len() > MAX_REPOSITORY { Err(NameError::TooLong) } else { Ok(()) }
}

/// Runs of lower-case letters and digits with a separator between them: a dot, one or two underscores, or hyphens.
fn is_component(component: &str) -> bool {
    let is_separator =
        |run: &str| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|byte| byte == b'-');
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [component.bytes().next(), component.bytes().next_back()];
    ends.into_iter().all(|end| end.is_some_and(is_letter))
        && component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(is_separator)
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_may_be_addresses() {
        let malformed = |text: &str| Err(NameError::Malformed(text.to_owned()));
        let cases = [
            ("[::1]/a", Ok("[::1]".to_owned())),
            ("[FD00:0::1]:5000/a/b:1", Ok("[fd00::1]:5000".to_owned())),
            ("[::1/a", malformed("[::1/a")),
            ("[::1]x/a", malformed("[::1]x/a")),
            ("[::1]:/a", malformed("[::1]:/a")),
            ("::1/a", malformed("::1/a")),
            ("[::g]/a", Err(NameError::Address("::g".into()))),
            ("[127.0.0.1]/a", Err(NameError::Address("127.0.0.1".into()))),
            ("[::1]", Err(NameError::HostOnly("[::1]".into()))),
            ("[::1]:5000", Err(NameError::HostOnly("[::1]:5000".into()))),
            ("[::1]:0/a", Err(NameError::Port("0".into()))),
            ("r.io:65536/a", Err(NameError::Port("65536".into()))),
        ];
        for (text, registry) in cases {
            assert_eq!(ImageName::parse(text).map(|name| name.registry), registry, "{text}");
        }
    }
}
