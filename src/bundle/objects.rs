//! From documents to the objects of a bundle: lists unfolded, checked, and freed of what only a server writes.
//!
//! Pure. Says of what isn't an object which one it is and why.

use std::fmt;

use serde_json::{Map, Value};

use super::scalar;
use crate::limits::{MAX_BUNDLE_DEPTH, MAX_OBJECT_NAME};

/// What a cluster's server writes into an object's metadata, and what is of use in that cluster only.
const SERVER_SIDE: [&str; 9] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "uid",
];
/// Of older servers.
const SELF_LINK: &str = "selfLink";
/// A copy of the object that `kubectl apply` leaves in it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What names an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// API group, empty for the core, and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace, where the object names one.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

/// An object of a bundle.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// What names it.
    pub key: ObjectKey,
    /// All of it.
    pub content: Map<String, Value>,
}

/// Takes a document for what it is: nothing, an object, or a list of them.
pub(super) fn unfold(document: Value) -> Result<Vec<Object>, String> {
    if depth(&document) > MAX_BUNDLE_DEPTH {
        return Err(format!("it is nested deeper than {MAX_BUNDLE_DEPTH}"));
    }
    match document {
        Value::Null => Ok(vec![]),
        Value::Object(content) => match list_of(&content) {
            Some((api_version, kind)) => unfold_list(content, &api_version, &kind),
            None => object(content).map(|object| vec![object]),
        },
        _ => Err("a document is neither an object nor a list of objects".into()),
    }
}

/// For a list: the version, and the kind that its items have where they name none.
fn list_of(content: &Map<String, Value>) -> Option<(String, String)> {
    let kind = content.get("kind")?.as_str()?.strip_suffix("List")?;
    content.get("items")?.as_array()?;
    Some((content.get("apiVersion")?.as_str()?.to_owned(), kind.to_owned()))
}

fn unfold_list(
    mut content: Map<String, Value>,
    api_version: &str,
    kind: &str,
) -> Result<Vec<Object>, String> {
    let Some(Value::Array(items)) = content.remove("items") else { return Ok(vec![]) };
    let mut objects = Vec::new();
    for mut item in items {
        if let (Some(item), false) = (item.as_object_mut(), kind.is_empty()) {
            item.entry("apiVersion").or_insert_with(|| api_version.into());
            item.entry("kind").or_insert_with(|| kind.into());
        }
        if item.is_null() {
            return Err(format!("an item of `{kind}List` is empty"));
        }
        objects.extend(unfold(item)?);
    }
    Ok(objects)
}

fn object(mut content: Map<String, Value>) -> Result<Object, String> {
    let key = key_of(&content)?;
    content.remove("status");
    if let Some(Value::Object(metadata)) = content.get_mut("metadata") {
        strip(metadata);
    }
    let mut content = Value::Object(content);
    make_whole(&mut content);
    let Value::Object(content) = content else { return Err("it is no object".into()) };
    Ok(Object { key, content })
}

fn strip(metadata: &mut Map<String, Value>) {
    for field in SERVER_SIDE.iter().chain([&SELF_LINK]) {
        metadata.remove(*field);
    }
    if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
        annotations.remove(LAST_APPLIED);
    }
    for field in ["annotations", "labels"] {
        let empty = match metadata.get(field) {
            Some(Value::Object(entries)) => entries.is_empty(),
            Some(Value::Null) => true,
            _ => false,
        };
        if empty {
            metadata.remove(field);
        }
    }
}

/// Numbers that are equal to the API server become the same.
fn make_whole(value: &mut Value) {
    match value {
        Value::Number(number) => *number = scalar::whole(number),
        Value::Array(items) => items.iter_mut().for_each(make_whole),
        Value::Object(entries) => entries.values_mut().for_each(make_whole),
        _ => {}
    }
}

fn key_of(content: &Map<String, Value>) -> Result<ObjectKey, String> {
    let kind =
        text(content, "kind")?.filter(|kind| is_name(kind)).ok_or("an object has no `kind`")?;
    let api_version = text(content, "apiVersion")?
        .filter(|version| version.split('/').count() <= 2 && version.split('/').all(is_name))
        .ok_or_else(|| format!("a `{kind}` has no `apiVersion` such as `group/v1`"))?;
    let Some(Value::Object(metadata)) = content.get("metadata") else {
        return Err(format!("a `{kind}` has no `metadata`"));
    };
    let name =
        text(metadata, "name")?.ok_or_else(|| format!("a `{kind}` has no `metadata.name`"))?;
    let namespace = text(metadata, "namespace")?.filter(|namespace| !namespace.is_empty());
    for (what, value) in [("name", Some(&name)), ("namespace", namespace.as_ref())] {
        if value.is_some_and(|value| !is_name(value)) {
            return Err(format!("a `{kind}` has a {what} that no object can have"));
        }
    }
    Ok(ObjectKey { api_version, kind, namespace, name })
}

fn text(object: &Map<String, Value>, field: &str) -> Result<Option<String>, String> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("`{field}` of an object is no text; quote it")),
    }
}

/// Whether something can be a part of the path of an object in the API.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    (1..=MAX_OBJECT_NAME).contains(&text.len())
        && text.bytes().all(allowed)
        && ![".", ".."].contains(&text)
}

/// What reading an object takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Keys and values, itself included.
    pub(super) nodes: usize,
    /// Bytes of its longest key.
    pub(super) longest_key: usize,
}

/// Counts what reading an object takes.
pub(super) fn count(content: &Map<String, Value>) -> Counted {
    let mut counted = Counted { nodes: 1, longest_key: 0 };
    for (key, value) in content {
        counted.longest_key = counted.longest_key.max(key.len());
        counted.nodes += 1;
        counted.add(value);
    }
    counted
}

impl Counted {
    fn add(&mut self, value: &Value) {
        match value {
            Value::Object(entries) => {
                let below = count(entries);
                self.nodes += below.nodes;
                self.longest_key = self.longest_key.max(below.longest_key);
            }
            Value::Array(items) => {
                self.nodes += 1;
                for item in items {
                    self.add(item);
                }
            }
            _ => self.nodes += 1,
        }
    }
}

fn depth(value: &Value) -> usize {
    let below = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(entries) => entries.values().map(depth).max(),
        _ => return 0,
    };
    1 + below.unwrap_or_default()
}

// === impl ObjectKey ===

impl ObjectKey {
    /// API group; empty for the core.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { api_version, kind, namespace, name } = self;
        match namespace {
            Some(namespace) => write!(f, "{api_version} {kind} {namespace}/{name}"),
            None => write!(f, "{api_version} {kind} {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn thing(name: &str) -> Value {
        json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": name}})
    }

    fn keys(document: Value) -> Vec<String> {
        unfold(document).unwrap().iter().map(|object| object.key.to_string()).collect()
    }

    #[test]
    fn lists_are_unfolded() {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [thing("a"), thing("b")]});
        assert_eq!(keys(list.clone()), ["example.com/v1 Thing a", "example.com/v1 Thing b"]);
        let nested = json!({"apiVersion": "v1", "kind": "List", "items": [list, thing("c")]});
        assert_eq!(keys(nested).len(), 3);
        let typed = json!({
            "apiVersion": "example.com/v1", "kind": "ThingList", "metadata": {"resourceVersion": "1"},
            "items": [{"metadata": {"name": "a", "namespace": "n"}}],
        });
        assert_eq!(keys(typed), ["example.com/v1 Thing n/a"]);
        // An object whose kind happens to end so.
        let allow =
            json!({"apiVersion": "example.com/v1", "kind": "AllowList", "metadata": {"name": "a"}});
        assert_eq!(keys(allow), ["example.com/v1 AllowList a"]);
        assert_eq!(keys(Value::Null), [""; 0]);
    }

    #[test]
    fn what_a_server_writes_is_left_out() {
        let object = json!({
            "apiVersion": "example.com/v1", "kind": "Thing", "status": {"ready": true}, "spec": {"status": 1.0},
            "metadata": {
                "name": "a", "uid": "1", "resourceVersion": "2", "generation": 3, "selfLink": "/x",
                "creationTimestamp": null, "managedFields": [], "ownerReferences": [{"uid": "x"}],
                "labels": null, "annotations": {LAST_APPLIED: "{}"}, "finalizers": ["example.com/keep"],
            },
        });
        let expected = json!({
            "apiVersion": "example.com/v1", "kind": "Thing", "spec": {"status": 1},
            "metadata": {"name": "a", "finalizers": ["example.com/keep"]},
        });
        let objects = unfold(object).unwrap();
        assert_eq!(Value::Object(objects[0].content.clone()), expected);
    }

    #[test]
    fn what_is_no_object_is_named() {
        let cases = [
            (json!("text"), "a document is neither an object nor a list of objects"),
            (json!([thing("a")]), "a document is neither an object nor a list of objects"),
            (json!({}), "an object has no `kind`"),
            (json!({"kind": ""}), "an object has no `kind`"),
            (json!({"kind": true}), "`kind` of an object is no text; quote it"),
            (json!({"kind": "Thing"}), "a `Thing` has no `apiVersion` such as `group/v1`"),
            (
                json!({"kind": "Thing", "apiVersion": "a/b/c"}),
                "a `Thing` has no `apiVersion` such as `group/v1`",
            ),
            (json!({"kind": "Thing", "apiVersion": "v1"}), "a `Thing` has no `metadata`"),
            (
                json!({"kind": "Thing", "apiVersion": "v1", "metadata": {}}),
                "a `Thing` has no `metadata.name`",
            ),
            (
                json!({"kind": "Thing", "apiVersion": "v1", "metadata": {"generateName": "a-"}}),
                "a `Thing` has no `metadata.name`",
            ),
            (
                json!({"kind": "Thing", "apiVersion": "v1", "metadata": {"name": true}}),
                "`name` of an object is no text; quote it",
            ),
            (
                json!({"kind": "Thing", "apiVersion": "v1", "metadata": {"name": "../x"}}),
                "a `Thing` has a name that no object can have",
            ),
            (
                json!({"kind": "Thing", "apiVersion": "v1", "metadata": {"name": "a", "namespace": "x/y"}}),
                "a `Thing` has a namespace that no object can have",
            ),
            (
                json!({"apiVersion": "v1", "kind": "List", "items": [1]}),
                "a document is neither an object nor a list of objects",
            ),
            (
                json!({"apiVersion": "v1", "kind": "List", "items": [null]}),
                "an item of `List` is empty",
            ),
        ];
        for (document, message) in cases {
            assert_eq!(unfold(document.clone()).unwrap_err(), message, "{document}");
        }
    }
}
