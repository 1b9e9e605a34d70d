//! The part of a Docker archive that readers older than `manifest.json` (Docker before 1.10) look at.
//!
//! Pure. Each layer has a folder named by its legacy ID, with a link to the layer and a small JSON object; `repositories`
//! maps names to the ID of the top layer. The ID is the digest of that object, so that the same image always has the
//! same ones.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::name::TaggedName;
use crate::error::{Error, Result};
use crate::image::Digest;

/// The folder of one layer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LegacyLayer {
    /// Its name, the layer's legacy ID.
    pub(super) id: String,
    /// The content of its member `json`.
    pub(super) json: String,
}

/// Fields of the config that the object of the top layer repeats.
const COPIED: [&str; 7] =
    ["architecture", "config", "container", "container_config", "created", "docker_version", "os"];

/// The folders of an image's layers, bottom first.
pub(super) fn layers(config: &[u8], diff_ids: &[Digest]) -> Result<Vec<LegacyLayer>> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(config).map_err(|cause| {
        Error::internal(format!("a config that was read is malformed: {cause}"))
    })?;
    let mut layers: Vec<LegacyLayer> = Vec::with_capacity(diff_ids.len());
    let mut chain: Option<Digest> = None;
    for (index, diff_id) in diff_ids.iter().enumerate() {
        let next = match &chain {
            None => diff_id.clone(),
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        };
        let mut object: BTreeMap<&str, String> = BTreeMap::new();
        if let Some(below) = layers.last() {
            object.insert("parent", quoted(&below.id));
        }
        if index + 1 == diff_ids.len() {
            let copied =
                |field| fields.get(field).map_or("null".to_owned(), |raw| as_go(raw.get()));
            object.extend(COPIED.map(|field| (field, copied(field))));
        }
        object.insert("layer_id", quoted(&next.to_string()));
        let id = Digest::of(written(&object).as_bytes()).hex().to_owned();
        object.remove("layer_id");
        object.insert("id", quoted(&id));
        layers.push(LegacyLayer { id, json: written(&object) });
        chain = Some(next);
    }
    Ok(layers)
}

/// The content of `repositories`: for each name the legacy ID of its image's top layer.
pub(super) fn repositories(names: &[(TaggedName, String)]) -> String {
    let mut repositories: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for (name, top) in names {
        repositories.entry(&name.repository).or_default().insert(&name.tag, top);
    }
    // Maps of text: there is nothing in them that serde_json refuses.
    serde_json::to_string(&repositories).unwrap_or_default()
}

/// Names and digests have no character that JSON escapes.
fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn written(object: &BTreeMap<&str, String>) -> String {
    let fields: Vec<_> = object.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// A JSON value as Go writes one that it copies: no blanks outside of strings, and what HTML gives a meaning to escaped.
fn as_go(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in raw.chars() {
        match c {
            ' ' | '\t' | '\n' | '\r' if !in_string => continue,
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            _ => text.push(c),
        }
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_copied_the_way_go_copies_them() {
        let raw = "{ \"a b\" : [ 1,\n\t\"x <&> \\\" y\" ] , \"\u{2028}\" : \"\\\\\" }";
        let copied = "{\"a b\":[1,\"x \\u003c\\u0026\\u003e \\\" y\"],\"\\u2028\":\"\\\\\"}";
        assert_eq!(as_go(raw), copied);
    }

    #[test]
    fn ids_chain_from_the_bottom_layer() {
        let diff_ids = [Digest::of(b"one"), Digest::of(b"two")];
        let config = br#"{"os":"linux","config":{"Cmd":["a","b"]},"x":1}"#;
        let layers = layers(config, &diff_ids).unwrap();
        let bottom = Digest::of(format!(r#"{{"layer_id":"{}"}}"#, diff_ids[0]).as_bytes());
        let chain = Digest::of(format!("{} {}", diff_ids[0], diff_ids[1]).as_bytes());
        let common = r#""architecture":null,"config":{"Cmd":["a","b"]},"container":null,"container_config":null,"created":null,"docker_version":null,"#;
        let bottom = bottom.hex();
        let top = format!(r#"{{{common}"layer_id":"{chain}","os":"linux","parent":"{bottom}"}}"#);
        let top = Digest::of(top.as_bytes());
        let expected = [
            LegacyLayer { id: bottom.to_owned(), json: format!(r#"{{"id":"{bottom}"}}"#) },
            LegacyLayer {
                id: top.hex().to_owned(),
                json: format!(
                    r#"{{{common}"id":"{}","os":"linux","parent":"{bottom}"}}"#,
                    top.hex()
                ),
            },
        ];
        assert_eq!(layers, expected);
    }

    #[test]
    fn names_are_grouped_by_repository() {
        let name = |text| TaggedName::parse(text).unwrap();
        let names = [
            (name("b"), "1".to_owned()),
            (name("r.io/a:x"), "2".to_owned()),
            (name("b:v"), "3".to_owned()),
        ];
        let expected = r#"{"docker.io/library/b":{"latest":"1","v":"3"},"r.io/a":{"x":"2"}}"#;
        assert_eq!(repositories(&names), expected);
        assert_eq!(repositories(&[]), "{}");
    }
}
