//! One file in the form of `registries.conf` version 2: from text to what it says, checked. Pure.
//!
//! Keys that we don't know are left alone, as other programs do, and logged. A file in version 1 is refused with its
//! content in the new form.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Value;

use super::entry::{Entry, Mirror, Prefix, Pulls};
use super::short_name::{self, Mode};
use super::version1::Version1;
use crate::limits::{
    MAX_CREDENTIAL_HELPERS, MAX_MIRRORS, MAX_REGISTRY_ENTRIES, MAX_SEARCH_REGISTRIES,
};

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct File {
    pub(super) entries: Vec<Entry>,
    /// Where short names are looked for, if the file says so.
    pub(super) search: Option<Vec<String>>,
    pub(super) mode: Option<Mode>,
    /// Short names and the repositories that they stand for; an empty one takes an alias of another file back.
    pub(super) aliases: BTreeMap<String, String>,
    /// Where credentials are looked for, in order; none if the file doesn't say.
    pub(super) credential_helpers: Vec<String>,
}

/// The file as it stands.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Written {
    #[serde(default)]
    registry: Vec<WrittenEntry>,
    unqualified_search_registries: Option<Vec<String>>,
    short_name_mode: Option<String>,
    credential_helpers: Option<Vec<String>>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    registries: Option<Version1>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WrittenEntry {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    pull_from_mirror: Option<String>,
    #[serde(default)]
    mirror: Vec<WrittenMirror>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WrittenMirror {
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: String,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

/// Every key of a file, in all its tables.
const KNOWN: [&str; 13] = [
    "aliases",
    "blocked",
    "credential-helpers",
    "insecure",
    "location",
    "mirror",
    "mirror-by-digest-only",
    "prefix",
    "pull-from-mirror",
    "registries",
    "registry",
    "short-name-mode",
    "unqualified-search-registries",
];

/// What is wrong with a file, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    /// Lines; none if there is nothing to say.
    pub(super) hint: Vec<String>,
}

// === impl Fault ===

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self { message, hint: vec![] }
    }
}

// === impl File ===

impl File {
    /// Parses a file; `origin` is its path.
    pub(super) fn parse(text: &str, origin: &str) -> Result<Self, Fault> {
        let written: Written =
            toml::from_str(text).map_err(|error| Fault::from(explain(text, &error)))?;
        let Written {
            registry,
            unqualified_search_registries: search,
            short_name_mode,
            credential_helpers,
            aliases,
            registries,
            unknown,
        } = written;
        if let Some(old) = registries {
            let new = !registry.is_empty() || search.is_some() || !aliases.is_empty();
            old.refuse(new || short_name_mode.is_some())?;
        }
        check_unknown(&unknown, origin)?;
        let credential_helpers = credential_helpers.unwrap_or_default();
        if credential_helpers.len() > MAX_CREDENTIAL_HELPERS {
            let message =
                format!("there are more than {MAX_CREDENTIAL_HELPERS} `credential-helpers`");
            return Err(message.into());
        }
        let mode = short_name_mode.filter(|mode| !mode.is_empty());
        let file = Self {
            entries: entries(registry, origin)?,
            search: search.map(search_registries).transpose()?,
            mode: mode.map(|mode| mode.parse()).transpose()?,
            aliases,
            credential_helpers,
        };
        file.aliases.iter().try_for_each(|(name, value)| short_name::check_alias(name, value))?;
        Ok(file)
    }
}

/// The cause and its line; the parser's own text quotes the file over several lines.
fn explain(text: &str, error: &toml::de::Error) -> String {
    let line = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count() + 1;
    let cause = error.message().replace('\n', " ");
    match error.span() {
        Some(span) => format!("line {}: {cause}", line(span.start)),
        None => cause,
    }
}

/// Logs keys that aren't known. One that differs from a known key in its case alone is an error: other programs take it
/// for that key, and a `Blocked` without effect would let through what somebody forbade.
fn check_unknown(unknown: &BTreeMap<String, Value>, origin: &str) -> Result<(), String> {
    for key in unknown.keys() {
        if let Some(known) = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(key)) {
            return Err(format!("the key `{key}` is written `{known}`"));
        }
        tracing::warn!(file = origin, key, "registries.conf has a key that is not known");
    }
    Ok(())
}

fn entries(written: Vec<WrittenEntry>, origin: &str) -> Result<Vec<Entry>, String> {
    if written.len() > MAX_REGISTRY_ENTRIES {
        return Err(format!("there are more than {MAX_REGISTRY_ENTRIES} entries `[[registry]]`"));
    }
    let mut entries: Vec<Entry> = vec![];
    for written in written {
        let entry = entry(written, origin)?;
        match entries.iter().find(|other| other.prefix == entry.prefix) {
            None => entries.push(entry),
            Some(same) if *same == entry => {}
            Some(_) => {
                return Err(format!(
                    "`{}` has two entries that say different things",
                    entry.prefix
                ));
            }
        }
    }
    Ok(entries)
}

fn entry(written: WrittenEntry, origin: &str) -> Result<Entry, String> {
    let WrittenEntry {
        prefix: written_prefix,
        location,
        insecure,
        blocked,
        mirror_by_digest_only,
        pull_from_mirror,
        mirror,
        unknown,
    } = written;
    check_unknown(&unknown, origin)?;
    let location = Some(self::location(&location)?).filter(|location| !location.is_empty());
    let prefix = match (self::location(&written_prefix)?, &location) {
        (prefix, _) if !prefix.is_empty() => self::prefix(prefix)?,
        (_, Some(location)) => self::prefix(location.clone())?,
        (_, None) => return Err("an entry has neither `prefix` nor `location`".into()),
    };
    if pull_from_mirror.is_some() {
        return Err(format!("`{prefix}` has `pull-from-mirror`, which only a mirror may have"));
    }
    if mirror.len() > MAX_MIRRORS {
        return Err(format!("`{prefix}` has more than {MAX_MIRRORS} mirrors"));
    }
    let mirrors = mirror.into_iter().map(|written| {
        let WrittenMirror { location, insecure, pull_from_mirror, unknown } = written;
        check_unknown(&unknown, origin)?;
        let location = self::location(&location)?;
        if location.is_empty() {
            return Err(format!("a mirror of `{prefix}` has no `location`"));
        }
        let pulls = pulls(mirror_by_digest_only, &pull_from_mirror)
            .map_err(|fault| format!("mirror `{location}` of `{prefix}` has {fault}"))?;
        Ok(Mirror { location, insecure, pulls })
    });
    let mirrors = mirrors.collect::<Result<_, _>>()?;
    Ok(Entry { prefix, location, insecure, blocked, mirrors, origin: origin.to_owned() })
}

fn pulls(by_digest_only: bool, written: &str) -> Result<Pulls, String> {
    if by_digest_only {
        return match written {
            "" => Ok(Pulls::DigestOnly),
            _ => Err("`pull-from-mirror`, which `mirror-by-digest-only` excludes".into()),
        };
    }
    match written {
        "" | "all" => Ok(Pulls::All),
        "digest-only" => Ok(Pulls::DigestOnly),
        "tag-only" => Ok(Pulls::TagOnly),
        other => Err(format!(
            "the `pull-from-mirror` `{other}`, which is none of `all`, `digest-only` and `tag-only`"
        )),
    }
}

/// A location without the slashes at its end.
fn location(text: &str) -> Result<String, String> {
    if text.contains("://") {
        let bare = text.split_once("://").map_or(text, |(_, bare)| bare);
        return Err(format!("the location `{text}` has a scheme; write `{bare}`"));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || !c.is_ascii()) {
        return Err(format!("the location `{text}` has characters that no name has"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn prefix(text: String) -> Result<Prefix, String> {
    let Some(domain) = text.strip_prefix('*') else {
        if text.contains('*') {
            return Err(format!(
                "`{text}` has an asterisk in it, which may only stand at the start"
            ));
        }
        return Ok(Prefix::Name(text));
    };
    let plain = domain.len() > 1 && domain.starts_with('.');
    if !plain || domain.contains(['/', '@', ':', '*']) {
        return Err(format!("`{text}` is not of the form `*.example.com`"));
    }
    Ok(Prefix::Subdomains(domain.to_ascii_lowercase()))
}

fn search_registries(written: Vec<String>) -> Result<Vec<String>, String> {
    if written.len() > MAX_SEARCH_REGISTRIES {
        return Err(format!(
            "`unqualified-search-registries` has more than {MAX_SEARCH_REGISTRIES} entries"
        ));
    }
    let host = |written: String| {
        let host = location(&written)?;
        if host.is_empty() || host.contains(['/', '@', '*']) {
            return Err(format!(
                "`unqualified-search-registries` has `{written}`, which is not `HOST` or `HOST:PORT`"
            ));
        }
        Ok(host)
    };
    written.into_iter().map(host).collect()
}

#[cfg(test)]
mod tests;
