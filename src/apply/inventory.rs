//! What was applied for an ImagePush, so that it can be taken away. Pure.
//!
//! An object is known by its kind, its name and its uid: whoever deletes one and makes another of the same name has made
//! something else. Its version says by which path it is reached.

use std::collections::BTreeSet;

use crate::bundle::ObjectKey;
use crate::image::Digest;

/// Longest value of a label, the bound that Kubernetes has.
const MAX_LABEL: usize = 63;
/// Letters of a digest that tell two long names apart.
const DIGEST_LETTERS: usize = 10;

/// An object that was applied, or is about to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// API group; empty for the core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name, in the namespace of the ImagePush.
    pub name: String,
    /// The version of the group under which it was applied.
    pub version: String,
    /// Its uid; not set where it may never have been made.
    pub uid: Option<String>,
}

/// The value of the owner's label for an ImagePush: its name, or where that is too long, a part of it with a digest.
///
/// It isn't the uid: an ImagePush that was deleted and made again goes on with what it had applied.
pub fn owner_value(name: &str) -> String {
    if name.len() <= MAX_LABEL {
        return name.to_owned();
    }
    let digest = Digest::of(name.as_bytes()).to_string();
    let (_, letters) = digest.split_once(':').unwrap_or(("", &digest));
    let kept: String = name.chars().take(MAX_LABEL - DIGEST_LETTERS - 1).collect();
    format!("{kept}-{}", &letters[..DIGEST_LETTERS.min(letters.len())])
}

/// What is to be remembered before anything is applied: all that was, and all that will be.
pub(super) fn union(known: &[Entry], wanted: &[Entry]) -> Vec<Entry> {
    let mut all: Vec<Entry> = wanted.to_vec();
    for entry in &mut all {
        let before = known.iter().find(|known| known.is_same_object(entry));
        entry.uid = entry.uid.take().or_else(|| before.and_then(|before| before.uid.clone()));
    }
    all.extend(without(known, wanted));
    all
}

/// What was applied and is wanted no more.
pub(super) fn without(known: &[Entry], wanted: &[Entry]) -> Vec<Entry> {
    let wanted: BTreeSet<_> = wanted.iter().map(Entry::identity).collect();
    known.iter().filter(|entry| !wanted.contains(&entry.identity())).cloned().collect()
}

/// Whether all that will be applied is remembered already.
pub(super) fn covers(known: &[Entry], wanted: &[Entry]) -> bool {
    without(wanted, known).is_empty()
}

// === impl Entry ===

impl Entry {
    /// The entry of an object.
    pub(super) fn of(key: &ObjectKey, uid: Option<String>) -> Self {
        let version = key.api_version.rsplit('/').next().unwrap_or_default();
        Self {
            group: key.group().to_owned(),
            kind: key.kind.clone(),
            name: key.name.clone(),
            version: version.to_owned(),
            uid,
        }
    }

    /// Its `apiVersion`.
    pub(super) fn api_version(&self) -> String {
        let Self { group, version, .. } = self;
        if group.is_empty() { version.clone() } else { format!("{group}/{version}") }
    }

    /// It in a message.
    pub(super) fn shown(&self) -> String {
        let Self { group, kind, name, .. } = self;
        if group.is_empty() { format!("{kind} {name}") } else { format!("{kind}.{group} {name}") }
    }

    /// Versions of a kind are one kind.
    fn identity(&self) -> (&str, &str, &str) {
        (&self.group, &self.kind, &self.name)
    }

    pub(super) fn is_same_object(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, version: &str, uid: Option<&str>) -> Entry {
        Entry {
            group: "example.com".into(),
            kind: "Thing".into(),
            name: name.into(),
            version: version.into(),
            uid: uid.map(str::to_owned),
        }
    }

    #[test]
    fn what_is_remembered_grows_before_it_shrinks() {
        let known = [entry("a", "v1", Some("1")), entry("b", "v1", Some("2"))];
        let wanted = [entry("b", "v2", None), entry("c", "v1", None)];
        let all = union(&known, &wanted);
        let expected =
            [entry("b", "v2", Some("2")), entry("c", "v1", None), entry("a", "v1", Some("1"))];
        assert_eq!(all, expected);
        assert_eq!(without(&known, &wanted), [entry("a", "v1", Some("1"))]);
        assert!(covers(&all, &wanted) && covers(&all, &known) && !covers(&known, &wanted));
    }

    #[test]
    fn an_owner_fits_into_a_label() {
        assert_eq!(owner_value("web"), "web");
        let long = ["a".repeat(70), "a".repeat(71)].map(|name| owner_value(&name));
        assert!(long.iter().all(|value| value.len() == MAX_LABEL), "{long:?}");
        assert_ne!(long[0], long[1]);
    }

    #[test]
    fn an_entry_has_a_path_and_a_name() {
        let thing = entry("a", "v1", None);
        assert_eq!(
            (thing.api_version().as_str(), thing.shown().as_str()),
            ("example.com/v1", "Thing.example.com a")
        );
        let core = Entry { group: String::new(), kind: "ConfigMap".into(), ..thing };
        assert_eq!((core.api_version().as_str(), core.shown().as_str()), ("v1", "ConfigMap a"));
    }
}
