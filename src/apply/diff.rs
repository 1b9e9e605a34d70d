//! In which fields two forms of an object differ. Pure; names fields and never their values, which may be secret.

use std::fmt;

use serde_json::{Map, Value};

use crate::limits::{MAX_CHANGED_FIELDS, MAX_FIELD_PATH};

/// What only a server writes into `metadata`.
const SERVER_SIDE: [&str; 5] =
    ["creationTimestamp", "generation", "managedFields", "resourceVersion", "uid"];

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// Where it is, such as `spec.rules[0].host`.
    pub path: String,
    /// How it differs.
    pub sort: Sort,
}

/// How a field differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// It comes.
    Added,
    /// It gets another value.
    Changed,
    /// It goes.
    Removed,
}

/// The fields of an object that become others: the first ones, and how many there are in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) first: Vec<FieldChange>,
    pub(super) count: usize,
}

/// The fields in which `next` differs from `live`, but for status and what only a server writes.
pub(super) fn fields(live: &Value, next: &Value) -> Fields {
    let mut found = Fields::default();
    let (live, next) = (own_part(live), own_part(next));
    entries(&live, &next, "", &mut found);
    found
}

fn own_part(object: &Value) -> Map<String, Value> {
    let mut object = object.as_object().cloned().unwrap_or_default();
    object.remove("status");
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.retain(|field, _| !SERVER_SIDE.contains(&field.as_str()));
    }
    object
}

fn compare(live: &Value, next: &Value, path: &str, found: &mut Fields) {
    match (live, next) {
        (Value::Object(live), Value::Object(next)) => entries(live, next, path, found),
        (Value::Array(live), Value::Array(next)) => items(live, next, path, found),
        _ if live == next => {}
        _ => found.add(path, Sort::Changed),
    }
}

fn entries(live: &Map<String, Value>, next: &Map<String, Value>, path: &str, found: &mut Fields) {
    for (key, value) in next {
        let path = below(path, key);
        match live.get(key) {
            Some(live) => compare(live, value, &path, found),
            None => found.add(&path, Sort::Added),
        }
    }
    for key in live.keys().filter(|key| !next.contains_key(*key)) {
        found.add(&below(path, key), Sort::Removed);
    }
}

fn items(live: &[Value], next: &[Value], path: &str, found: &mut Fields) {
    for at in 0..live.len().max(next.len()) {
        let path = format!("{path}[{at}]");
        match (live.get(at), next.get(at)) {
            (Some(live), Some(next)) => compare(live, next, &path, found),
            (None, _) => found.add(&path, Sort::Added),
            (_, None) => found.add(&path, Sort::Removed),
        }
    }
}

/// The path of an entry, whose key is put in brackets where it could be read as something else.
fn below(path: &str, key: &str) -> String {
    let simple =
        !key.is_empty() && key.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c));
    match (path, simple) {
        ("", true) => key.to_owned(),
        (_, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{key:?}]"),
    }
}

// === impl Fields ===

impl Fields {
    fn add(&mut self, path: &str, sort: Sort) {
        self.count += 1;
        if self.first.len() < MAX_CHANGED_FIELDS {
            self.first.push(FieldChange { path: shortened(path), sort });
        }
    }
}

/// A path that is longer than anybody reads ends early.
fn shortened(path: &str) -> String {
    match path.char_indices().nth(MAX_FIELD_PATH) {
        Some((end, _)) => format!("{}…", &path[..end]),
        None => path.to_owned(),
    }
}

// === impl Sort ===

impl Sort {
    /// The sign that is put before the path.
    pub fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Changed => '~',
            Self::Removed => '-',
        }
    }
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.sort.sign(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(live: &Value, next: &Value) -> Vec<String> {
        fields(live, next).first.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn fields_are_named_and_values_are_not() {
        let live = json!({"spec": {
            "size": 1, "gone": "secret", "same": [1, {"a": 2}], "list": [1, 2], "kind": {"a": 1},
        }});
        let next = json!({"spec": {
            "size": 2, "new": {"b": 1}, "same": [1, {"a": 2}], "list": [1, 3, 4], "kind": "text",
        }});
        let expected = [
            "~spec.kind",
            "~spec.list[1]",
            "+spec.list[2]",
            "+spec.new",
            "~spec.size",
            "-spec.gone",
        ];
        assert_eq!(shown(&live, &next), expected);
        assert_eq!(shown(&json!({"a": [1, 2]}), &json!({"a": [1]})), ["-a[1]"]);
    }

    #[test]
    fn what_the_server_writes_is_no_difference() {
        let object = |number: i32| {
            json!({"metadata": {"name": "a", "uid": number, "resourceVersion": number, "generation": number,
                "creationTimestamp": number, "managedFields": [number]}, "status": {"at": number}})
        };
        assert_eq!(shown(&object(1), &object(2)), [""; 0]);
        let labelled = json!({"metadata": {"name": "a", "labels": {"x.y/z": "1"}}});
        assert_eq!(shown(&object(1), &labelled), ["+metadata.labels"]);
        let other = json!({"metadata": {"name": "a", "labels": {"x.y/z": "2", "": "3"}}});
        assert_eq!(
            shown(&labelled, &other),
            [r#"+metadata.labels[""]"#, r#"~metadata.labels["x.y/z"]"#]
        );
    }

    #[test]
    fn neither_paths_nor_their_number_grow_without_bound() {
        let many: Map<String, Value> =
            (0..1000).map(|at| (format!("{at:0>1000}"), json!(at))).collect();
        let found = fields(&json!({}), &Value::Object(many));
        assert_eq!((found.first.len(), found.count), (MAX_CHANGED_FIELDS, 1000));
        assert!(found.first.iter().all(|field| field.path.chars().count() == MAX_FIELD_PATH + 1));
    }
}
