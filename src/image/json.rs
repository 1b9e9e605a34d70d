//! JSON of documents whose meaning must not depend on who reads it.
//!
//! Readers differ on duplicate keys, and Go's reader also takes `MANIFESTS` for `manifests`: the same
//! bytes could be an image to one and an index to another (CVE-2021-41190). Such documents are refused.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// Annotations or labels: sorted, so that the same ones give the same bytes.
pub type Annotations = BTreeMap<String, String>;

/// A document is not JSON of the expected shape.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, a duplicate key, or a field of the wrong type.
    #[error("{0}")]
    Syntax(#[from] serde_json::Error),
    /// A key differs from a field's name in its case only.
    #[error("key `{0}` differs from a field's name in upper and lower case only")]
    Case(String),
}

/// Parses `bytes` into an object without duplicate keys at any depth.
///
/// `fields` are the names that the document's readers give a meaning to.
pub(super) fn parse_object(bytes: &[u8], fields: &[&str]) -> Result<Map<String, Value>, JsonError> {
    let Unique(value) = serde_json::from_slice(bytes)?;
    let Value::Object(object) = value else {
        return Err(JsonError::Syntax(serde_json::Error::custom("not a JSON object")));
    };
    check_case(&object, fields)?;
    for (_, descriptor) in object.iter().filter(|(key, _)| POINTERS.contains(&key.as_str())) {
        for descriptor in
            descriptor.as_array().map_or(std::slice::from_ref(descriptor), Vec::as_slice)
        {
            descriptor.as_object().map_or(Ok(()), |entry| check_case(entry, &DESCRIPTOR))?;
        }
    }
    Ok(object)
}

/// Fields that hold descriptors.
const POINTERS: [&str; 4] = ["config", "layers", "manifests", "subject"];

/// Fields of a descriptor that decide what it points to.
const DESCRIPTOR: [&str; 5] = ["mediaType", "digest", "size", "urls", "platform"];

/// Fails if a key is a field's name to a reader that doesn't tell upper from lower case.
fn check_case(object: &Map<String, Value>, fields: &[&str]) -> Result<(), JsonError> {
    let misspelt = object.keys().find(|key| {
        !fields.contains(&key.as_str()) && fields.iter().any(|field| folded(field) == folded(key))
    });
    misspelt.map_or(Ok(()), |key| Err(JsonError::Case(key.clone())))
}

/// As Go compares keys: it also takes the long s and the Kelvin sign for letters.
fn folded(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}

/// Gives an object its type.
pub(super) fn typed<T: DeserializeOwned>(object: Map<String, Value>) -> Result<T, JsonError> {
    Ok(serde_json::from_value(Value::Object(object))?)
}

/// A JSON value in which no object has the same key twice.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Unique)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, Unique(value))) = entries.next_entry::<String, Unique>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("duplicate key `{key}`")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ambiguous_documents_are_refused() {
        let cases = [
            (r#"{"a":1,"a":2}"#, "duplicate key `a` at line 1 column 13"),
            (r#"{"x":[{"b":1,"b":1}]}"#, "duplicate key `b` at line 1 column 19"),
            (
                r#"{"MANIFESTS":[]}"#,
                "key `MANIFESTS` differs from a field's name in upper and lower case only",
            ),
            (
                "{\"manife\u{17f}ts\":[]}",
                "key `manife\u{17f}ts` differs from a field's name in upper and lower case only",
            ),
            (
                r#"{"layers":[{"digest":"a","Digest":"b"}]}"#,
                "key `Digest` differs from a field's name in upper and lower case only",
            ),
            ("[]", "not a JSON object"),
            ("", "EOF while parsing a value at line 1 column 0"),
            ("{} {}", "trailing characters at line 1 column 4"),
        ];
        for (text, message) in cases {
            let error = parse_object(text.as_bytes(), &["manifests"]).unwrap_err();
            assert_eq!(error.to_string(), message, "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_crash() {
        let deep = "[".repeat(100_000);
        let error = parse_object(format!("{{\"a\":{deep}").as_bytes(), &[]).unwrap_err();
        assert!(error.to_string().starts_with("recursion limit exceeded"), "{error}");
    }
}
