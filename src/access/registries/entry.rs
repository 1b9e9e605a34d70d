//! One `[[registry]]` of `registries.conf`: which names it is for, and where their images are read. Pure.
//!
//! Names here are full ones, `HOST[:PORT]/PATH` with `:TAG` or `@DIGEST`. Hosts are compared without regard to case.

/// An entry, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) prefix: Prefix,
    /// What stands for the prefix when an image is read; the prefix itself where it is absent.
    pub(super) location: Option<String>,
    pub(super) insecure: bool,
    pub(super) blocked: bool,
    /// In the order in which they are tried.
    pub(super) mirrors: Vec<Mirror>,
    /// The file that it stands in.
    pub(super) origin: String,
}

/// Another place for the images of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mirror {
    pub(super) location: String,
    pub(super) insecure: bool,
    pub(super) pulls: Pulls,
}

/// Which names a mirror is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulls {
    All,
    DigestOnly,
    TagOnly,
}

/// Which names an entry is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Prefix {
    /// `HOST[:PORT]`, or that with as much of a path, a tag or a digest as one likes.
    Name(String),
    /// `*.example.com`: every host below, on any port. The text is what follows the asterisk.
    Subdomains(String),
}

// === impl Prefix ===

impl Prefix {
    /// What follows the prefix in `name`, if it is one of that name.
    ///
    /// A host without a port is that host without a port: what is said of it does not hold for its other ports.
    pub(super) fn rest<'a>(&self, name: &'a str) -> Option<&'a str> {
        match self {
            Self::Name(prefix) => {
                let rest = strip_prefix(name, prefix)?;
                let ends = match rest.chars().next() {
                    None | Some('/' | '@') => true,
                    // Before the path a colon starts the port, after it the tag.
                    Some(':') => prefix.contains('/'),
                    Some(_) => false,
                };
                ends.then_some(rest)
            }
            Self::Subdomains(domain) => {
                let (authority, _) = name.split_once('/')?;
                let host = host(authority).to_ascii_lowercase();
                let below = host.strip_suffix(domain.as_str())?;
                (!below.is_empty()).then(|| &name[authority.len()..])
            }
        }
    }

    /// How much of a name it fixes: of several entries for a name, the one that fixes most counts.
    pub(super) fn weight(&self) -> (usize, bool) {
        match self {
            Self::Name(prefix) => (prefix.len(), true),
            Self::Subdomains(domain) => (domain.len() + 1, false),
        }
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(prefix) => f.write_str(prefix),
            Self::Subdomains(domain) => write!(f, "*{domain}"),
        }
    }
}

// === impl Entry ===

impl Entry {
    /// The entry for a name: that of the longest prefix.
    pub(super) fn find<'a>(
        entries: impl IntoIterator<Item = &'a Self>,
        name: &str,
    ) -> Option<&'a Self> {
        let matching = entries.into_iter().filter(|entry| entry.prefix.rest(name).is_some());
        matching.max_by_key(|entry| entry.prefix.weight())
    }

    /// The entry that forbids a name. One that blocks a host without a port blocks all of its ports, unless another fixes
    /// more of the name: `HOST:443` is the same registry.
    pub(super) fn blocking<'a>(
        entries: impl IntoIterator<Item = &'a Self> + Clone,
        name: &str,
    ) -> Option<&'a Self> {
        let without_port = name
            .split_once('/')
            .and_then(|(at, path)| Self::find(entries.clone(), &format!("{}/{path}", host(at))));
        let found = Self::find(entries, name).into_iter().chain(without_port);
        found.max_by_key(|entry| (entry.prefix.weight(), entry.blocked)).filter(|it| it.blocked)
    }

    /// Where the image of a name is read, mirrors first, each with its `insecure`.
    pub(super) fn places(&self, name: &str, by_digest: bool) -> Vec<(String, bool)> {
        let Some(rest) = self.prefix.rest(name) else { return vec![] };
        let mirrors = self.mirrors.iter().filter(|mirror| mirror.pulls.include(by_digest));
        let mirrors = mirrors.map(|mirror| (format!("{}{rest}", mirror.location), mirror.insecure));
        let own = match &self.location {
            Some(location) => format!("{location}{rest}"),
            None => name.to_owned(),
        };
        mirrors.chain([(own, self.insecure)]).collect()
    }
}

// === impl Pulls ===

impl Pulls {
    fn include(self, by_digest: bool) -> bool {
        match self {
            Self::All => true,
            Self::DigestOnly => by_digest,
            Self::TagOnly => !by_digest,
        }
    }
}

/// The host without its port. An IPv6 address has colons of its own, in brackets.
fn host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    }
}

/// What follows `prefix`, whose host may be written in another case.
fn strip_prefix<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    let (host, path) = start.split_at(start.find('/').unwrap_or(start.len()));
    let (prefix_host, prefix_path) = prefix.split_at_checked(host.len())?;
    (host.eq_ignore_ascii_case(prefix_host) && path == prefix_path).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        match text.strip_prefix('*') {
            Some(domain) => Prefix::Subdomains(domain.to_owned()),
            None => Prefix::Name(text.to_owned()),
        }
    }

    fn entry(text: &str) -> Entry {
        Entry {
            prefix: prefix(text),
            location: None,
            insecure: false,
            blocked: false,
            mirrors: vec![],
            origin: "f".into(),
        }
    }

    #[test]
    fn a_prefix_ends_where_a_part_of_the_name_does() {
        let cases = [
            ("example.com", "example.com/a:1", Some("/a:1")),
            ("example.com", "EXAMPLE.com/a:1", Some("/a:1")),
            ("example.com", "example.com:5000/a:1", None),
            ("example.com", "example.com.evil/a:1", None),
            ("example.com", "example.comm/a:1", None),
            ("example.com:5000", "example.com:5000/a:1", Some("/a:1")),
            ("example.com:500", "example.com:5000/a:1", None),
            ("example.com:5000", "example.com/a:1", None),
            ("example.com/a", "example.com/a:1", Some(":1")),
            ("example.com/a", "example.com/a/b@sha256:ab", Some("/b@sha256:ab")),
            ("example.com/a", "example.com/a@sha256:ab", Some("@sha256:ab")),
            ("example.com/a", "example.com/ab:1", None),
            ("example.com/a/b", "example.com/a:1", None),
            ("example.com/a:1", "example.com/a:1", Some("")),
            ("example.com/a:1", "example.com/a:12", None),
            ("example.com/a:v", "example.com/a:V", None),
            ("*.example.com", "a.example.com/x:1", Some("/x:1")),
            ("*.example.com", "a.b.Example.com/x:1", Some("/x:1")),
            ("*.example.com", "a.example.com:5000/x:1", Some("/x:1")),
            ("*.example.com", "example.com/x:1", None),
            ("*.example.com", ".example.com/x:1", None),
            ("*.example.com", "example.com.b.example.com/x:1", Some("/x:1")),
            ("*.example.com", "a.example.com.evil/x:1", None),
            ("*.example.com", "evil/a.example.com/x:1", None),
        ];
        for (text, name, expected) in cases {
            assert_eq!(prefix(text).rest(name), expected, "{text} {name}");
        }
    }

    #[test]
    fn the_longest_prefix_counts() {
        let entries = ["r.io", "r.io/a", "r.io/a/b", "*.io", "*.r.io", "x.r.io"].map(entry);
        let cases = [
            ("r.io/c:1", Some("r.io")),
            ("r.io/a:1", Some("r.io/a")),
            ("r.io/a/b/c:1", Some("r.io/a/b")),
            ("r.io:80/a:1", Some("*.io")),
            ("y.r.io/a:1", Some("*.r.io")),
            ("x.r.io/a:1", Some("x.r.io")),
            ("s.com/a:1", None),
        ];
        for (name, expected) in cases {
            let found = Entry::find(&entries, name).map(|entry| entry.prefix.to_string());
            assert_eq!(found.as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn a_blocked_host_is_blocked_on_all_its_ports() {
        let blocked = |text| Entry { blocked: true, ..entry(text) };
        let entries = [
            blocked("r.io"),
            entry("r.io/fine"),
            entry("r.io:5000"),
            blocked("[::1]"),
            blocked("s.io:1"),
            // A mirror for everything, say.
            entry("*.io"),
            blocked("*.all.io"),
            entry("a.all.io"),
            entry("t.io:5000"),
            blocked("t.io/long"),
        ];
        let cases = [
            ("r.io/a:1", true),
            ("R.IO/a:1", true),
            ("r.io:443/a:1", true),
            ("r.io/fine:1", false),
            ("r.io:443/fine:1", false),
            ("r.io:5000/a:1", false),
            ("[::1]/a:1", true),
            ("[::1]:80/a:1", true),
            ("[::2]:80/a:1", false),
            ("s.io/a:1", false),
            ("s.io:1/a:1", true),
            ("b.all.io:443/a:1", true),
            ("a.all.io:443/a:1", false),
            ("t.io:5000/a:1", false),
            ("t.io:5000/long:1", true),
        ];
        for (name, expected) in cases {
            assert_eq!(Entry::blocking(&entries, name).is_some(), expected, "{name}");
        }
    }

    #[test]
    fn places_are_the_mirrors_then_the_location() {
        let mirror = |location: &str, pulls| {
            let insecure = location.starts_with("http");
            Mirror { location: location.into(), insecure, pulls }
        };
        let mut entry = Entry {
            location: Some("inner.io/b".into()),
            insecure: true,
            mirrors: vec![
                mirror("m1.io", Pulls::All),
                mirror("m2.io/x", Pulls::TagOnly),
                mirror("http.io:80", Pulls::DigestOnly),
            ],
            ..entry("r.io/a")
        };
        let places = |entry: &Entry, name: &str| {
            let places = entry.places(name, name.contains('@')).into_iter();
            places.map(|(name, insecure)| format!("{name} {insecure}")).collect::<Vec<_>>()
        };
        assert_eq!(
            places(&entry, "r.io/a/c:1"),
            ["m1.io/c:1 false", "m2.io/x/c:1 false", "inner.io/b/c:1 true"]
        );
        assert_eq!(
            places(&entry, "r.io/a@sha256:ab"),
            ["m1.io@sha256:ab false", "http.io:80@sha256:ab true", "inner.io/b@sha256:ab true"]
        );
        entry.location = None;
        entry.mirrors.clear();
        assert_eq!(places(&entry, "r.io/a/c:1"), ["r.io/a/c:1 true"]);
        entry.prefix = prefix("*.io");
        assert_eq!(places(&entry, "r.io:80/c:1"), ["r.io:80/c:1 true"]);
        entry.location = Some("all.com".into());
        assert_eq!(places(&entry, "r.io:80/c:1"), ["all.com/c:1 true"]);
    }
}
