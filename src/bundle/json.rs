//! Reads JSON whose meaning must not depend on who reads it: no key twice, and every number to its last digit.
//!
//! Pure. The JSON library rounds some numbers on its way to a value, so they are taken from the text.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use crate::limits::{MAX_BUNDLE_DEPTH, MAX_BUNDLE_NODES};

/// Reads one document.
pub(super) fn document(text: &[u8]) -> Result<Value, String> {
    let raw: &RawValue = serde_json::from_slice(text).map_err(|cause| cause.to_string())?;
    value(raw.get(), 0, &mut 0)
}

/// Reads a value; `values` counts all there are so far, with their keys, as they are seen and before they are read.
fn value(text: &str, depth: usize, values: &mut usize) -> Result<Value, String> {
    if depth > MAX_BUNDLE_DEPTH {
        return Err(format!("it is nested deeper than {MAX_BUNDLE_DEPTH}"));
    }
    match text.as_bytes() {
        [b'{', ..] => {
            let Entries(entries) = read(text)?;
            count(values, 2 * entries.len())?;
            let entry =
                |(key, raw): (String, &RawValue)| Ok((key, value(raw.get(), depth + 1, values)?));
            entries.into_iter().map(entry).collect::<Result<_, String>>().map(Value::Object)
        }
        [b'[', ..] => {
            let Items(items) = read(text)?;
            count(values, items.len())?;
            let items = items.into_iter().map(|raw| value(raw.get(), depth + 1, values));
            items.collect::<Result<_, String>>().map(Value::Array)
        }
        [b'-' | b'0'..=b'9', ..] => number(text),
        _ => read(text),
    }
}

fn count(values: &mut usize, more: usize) -> Result<(), String> {
    *values += more;
    if *values > MAX_BUNDLE_NODES { Err(too_many()) } else { Ok(()) }
}

fn too_many() -> String {
    format!("it has more than {MAX_BUNDLE_NODES} values")
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|cause| cause.to_string())
}

fn number(text: &str) -> Result<Value, String> {
    if let Ok(whole) = text.parse::<i64>() {
        return Ok(whole.into());
    }
    if let Ok(whole) = text.parse::<u64>() {
        return Ok(whole.into());
    }
    let number = text.parse().ok().and_then(Number::from_f64);
    number.map(Value::Number).ok_or_else(|| format!("`{text}` is too large a number"))
}

/// The entries of an object, not read yet.
struct Entries<'a>(BTreeMap<String, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Unique;

        impl<'de> Visitor<'de> for Unique {
            type Value = BTreeMap<String, &'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    if entries.len() >= MAX_BUNDLE_NODES / 2 {
                        return Err(A::Error::custom(too_many()));
                    }
                    if entries.contains_key(&key) {
                        return Err(A::Error::custom(format_args!("key `{key}` occurs twice")));
                    }
                    entries.insert(key, value);
                }
                Ok(entries)
            }
        }

        deserializer.deserialize_map(Unique).map(Entries)
    }
}

/// The items of an array, not read yet.
struct Items<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;

        impl<'de> Visitor<'de> for Bounded {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    if items.len() >= MAX_BUNDLE_NODES {
                        return Err(A::Error::custom(too_many()));
                    }
                    items.push(item);
                }
                Ok(items)
            }
        }

        deserializer.deserialize_seq(Bounded).map(Items)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_read_exactly() {
        let text = r#" {"a": [1, -2.5, 18446744073709551615, "x\u00e9", null, true, {}], "b": {"c": []}} "#;
        let expected = json!({"a": [1, -2.5, u64::MAX, "xé", null, true, {}], "b": {"c": []}});
        assert_eq!(document(text.as_bytes()).unwrap(), expected);
        let exact: f64 = "3.558292936013533e-10".parse().unwrap();
        assert_eq!(document(b"3.558292936013533e-10").unwrap(), json!(exact));
    }

    #[test]
    fn what_is_ambiguous_or_endless_is_refused() {
        let deep = "[".repeat(100) + &"]".repeat(100);
        for (text, message) in [
            (r#"{"a":{"b":1,"b":2}}"#, "key `b` occurs twice"),
            (deep.as_str(), "it is nested deeper than 64"),
            ("1e400", "`1e400` is too large a number"),
            ("{} {}", "trailing characters"),
            ("{", "EOF while parsing"),
            ("[1,]", "expected value"),
            ("\u{feff}{}", "expected value"),
        ] {
            let fault = document(text.as_bytes()).unwrap_err();
            assert!(fault.starts_with(message), "{text}: {fault}");
        }
        assert!(document(&b"[".repeat(1 << 20)).is_err());
        let zeros = |count| format!("[{}]", vec!["0"; count].join(","));
        let (many, some) = (zeros(MAX_BUNDLE_NODES + 1), zeros(MAX_BUNDLE_NODES / 2));
        let keys =
            (0..MAX_BUNDLE_NODES / 2).map(|n| format!("\"{n}\":0,")).collect::<Vec<_>>().concat();
        for text in [&many, &format!("[{some},{some}]"), &format!("{{{keys}\"\":0}}")] {
            let fault = document(text.as_bytes()).unwrap_err();
            assert!(fault.starts_with("it has more than 524288 values"), "{fault}");
        }
        assert!(document(some.as_bytes()).is_ok());
    }
}
