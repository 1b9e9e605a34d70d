//! Short names: names of images without a registry, such as `busybox:1`, and what they stand for. Pure.

use std::collections::BTreeMap;
use std::str::FromStr;

/// What is done where several registries are searched. Nobody is ever asked: a push has no one to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// More than one registry is an error.
    Enforcing,
    /// All are tried in order.
    #[default]
    Permissive,
    /// The same: the two differ only where somebody can be asked.
    Disabled,
}

/// A repository that a short name stands for, and the file that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alias {
    pub(super) repository: String,
    pub(super) origin: String,
}

/// Where short names are looked for, and the file that says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Search {
    pub(super) registries: Vec<String>,
    pub(super) origin: String,
}

/// The full names that a short one may stand for, in the order in which they are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates {
    /// `HOST[:PORT]/PATH`, with the tag or digest of the short name; at least one.
    pub names: Vec<String>,
    /// Which setting of which file says so, in words.
    pub because: String,
}

/// Whether a name without a transport names no registry: nothing before its first slash looks like a host.
pub fn is_short_name(name: &str) -> bool {
    match base(name).split_once('/') {
        Some((first, _)) => !is_host(first),
        None => true,
    }
}

/// The names that `name` may stand for; or why there is none.
pub(super) fn resolve(
    name: &str,
    aliases: &BTreeMap<String, Alias>,
    search: &Search,
    mode: Mode,
) -> Result<Candidates, String> {
    let base = base(name);
    let suffix = &name[base.len()..];
    if let Some(Alias { repository, origin }) = aliases.get(base) {
        let because = format!("the alias `{base}` in `{origin}`");
        return Ok(Candidates { names: vec![format!("{repository}{suffix}")], because });
    }
    let Search { registries, origin } = search;
    if mode == Mode::Enforcing && registries.len() > 1 {
        return Err(format!(
            "`{origin}` has `short-name-mode` `enforcing` and several registries to search: `{}`",
            registries.join("`, `")
        ));
    }
    let names = registries.iter().map(|registry| format!("{registry}/{name}")).collect();
    let because = format!("`unqualified-search-registries` in `{origin}`");
    Ok(Candidates { names, because })
}

/// Checks an alias: a short name, and a repository with its registry or nothing, both without tag and digest.
pub(super) fn check_alias(name: &str, repository: &str) -> Result<(), String> {
    if name.is_empty() || base(name) != name || !is_short_name(name) || !is_plain(name) {
        return Err(format!("the alias `{name}` is not a short name without tag and digest"));
    }
    let full = repository.split_once('/').is_some_and(|(host, path)| {
        is_host(host) && !path.is_empty() && is_plain(path) && base(path) == path
    });
    if !repository.is_empty() && !full {
        let message = format!(
            "the alias `{name}` stands for `{repository}`, which is not `HOST/PATH` without tag and digest"
        );
        return Err(message);
    }
    Ok(())
}

/// A name without its tag and digest.
fn base(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    match name.rsplit_once(':') {
        // The colon of a port stands before a slash.
        Some((base, tag)) if !tag.contains('/') => base,
        _ => name,
    }
}

fn is_host(text: &str) -> bool {
    text.contains(['.', ':']) || text == "localhost"
}

/// Whether it is made of what names of repositories are made of; their grammar is checked where they are used.
fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/".contains(&byte))
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "enforcing" => Ok(Self::Enforcing),
            "permissive" => Ok(Self::Permissive),
            "disabled" => Ok(Self::Disabled),
            other => Err(format!(
                "`short-name-mode` is `{other}`, which is none of `enforcing`, `permissive` and `disabled`"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_has_no_host() {
        let short = ["busybox", "busybox:1.2", "team/app", "localhost", "a/b/c@sha256:ab", "a:b@c"];
        let full = ["r.io/a", "r.io/a:1", "localhost/a", "host:5000/a", "host:5000/a@sha256:ab"];
        for name in short {
            assert!(is_short_name(name), "{name}");
        }
        for name in full {
            assert!(!is_short_name(name), "{name}");
        }
    }

    #[test]
    fn an_alias_goes_before_the_search() {
        let alias = Alias { repository: "r.io/x/busybox".into(), origin: "a.conf".into() };
        let aliases = BTreeMap::from([("busybox".to_owned(), alias)]);
        let search = |registries: &[&str]| Search {
            registries: registries.iter().map(ToString::to_string).collect(),
            origin: "s.conf".into(),
        };
        let (two, one) = (search(&["a.io", "b.io:5000"]), search(&["a.io"]));
        let shown = |name, search: &Search, mode| match resolve(name, &aliases, search, mode) {
            Ok(Candidates { names, because }) => format!("{} by {because}", names.join(" ")),
            Err(message) => message,
        };
        let digest = "busybox@sha256:ab";
        let alias = "by the alias `busybox` in `a.conf`";
        let searched = "by `unqualified-search-registries` in `s.conf`";
        let cases = [
            ("busybox", &two, Mode::Enforcing, format!("r.io/x/busybox {alias}")),
            ("busybox:1", &two, Mode::Permissive, format!("r.io/x/busybox:1 {alias}")),
            (digest, &two, Mode::Disabled, format!("r.io/x/busybox@sha256:ab {alias}")),
            ("x/app:1", &two, Mode::Permissive, format!("a.io/x/app:1 b.io:5000/x/app:1 {searched}")),
            ("app", &two, Mode::Disabled, format!("a.io/app b.io:5000/app {searched}")),
            ("app", &one, Mode::Enforcing, format!("a.io/app {searched}")),
            (
                "app",
                &two,
                Mode::Enforcing,
                "`s.conf` has `short-name-mode` `enforcing` and several registries to search: `a.io`, `b.io:5000`"
                    .into(),
            ),
        ];
        for (name, search, mode, expected) in cases {
            assert_eq!(shown(name, search, mode), expected);
        }
    }

    #[test]
    fn aliases_are_checked() {
        for (name, repository) in
            [("a", "r.io/a"), ("a/b", "host:5000/x/y"), ("a", ""), ("l", "localhost/l")]
        {
            assert_eq!(check_alias(name, repository), Ok(()), "{name} {repository}");
        }
        for name in ["", "a:1", "a@sha256:ab", "r.io/a", "localhost/a", "A", "a b"] {
            let message = format!("the alias `{name}` is not a short name without tag and digest");
            assert_eq!(check_alias(name, "r.io/a"), Err(message));
        }
        for repository in ["a", "a/b", "r.io", "r.io/", "r.io/a:1", "r.io/a@sha256:ab", "r.io/A"] {
            let message = format!(
                "the alias `x` stands for `{repository}`, which is not `HOST/PATH` without tag and digest"
            );
            assert_eq!(check_alias("x", repository), Err(message));
        }
    }
}
