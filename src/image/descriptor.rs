//! Descriptors: media type, digest and size of content that stands elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{Annotations, Digest, MediaType, Platform};

/// Largest size a descriptor may give, in bytes: what a signed 64-bit number holds, since the other
/// readers of a manifest keep it in one.
pub const MAX_BLOB_SIZE: u64 = i64::MAX as u64;

/// Points at content: a layer, a config, or a manifest in an index (OCI image specification v1.1,
/// descriptor). Fields this product has no use for are kept in `other`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the content.
    #[serde(default = "untyped")]
    pub media_type: MediaType,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    #[serde(deserialize_with = "size")]
    pub size: u64,
    /// Places outside the registry that hold the content. Never fetched: see docs/security.md.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// What its author noted of the content.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Annotations::is_empty"
    )]
    pub annotations: Annotations,
    /// In an index: the platform the manifest is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// In a listing of attachments: what kind of artifact the manifest is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<MediaType>,
    /// Fields that have no meaning here.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

// === impl Descriptor ===

impl Descriptor {
    /// A descriptor with nothing but its three required fields.
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self {
            media_type,
            digest,
            size,
            urls: vec![],
            annotations: Annotations::new(),
            platform: None,
            artifact_type: None,
            other: BTreeMap::new(),
        }
    }

    /// Describes `bytes`, with their SHA-256.
    pub fn of(media_type: MediaType, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }
}

fn untyped() -> MediaType {
    MediaType::new("")
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let size = u64::deserialize(deserializer)?;
    if size > MAX_BLOB_SIZE {
        return Err(serde::de::Error::custom(format_args!("size {size} is absurd")));
    }
    Ok(size)
}

/// Go writes an empty list or map as `null`.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_size(size: &str) -> String {
        let digest = Digest::of(b"");
        format!(r#"{{"mediaType":"m","digest":"{digest}","size":{size}}}"#)
    }

    #[test]
    fn absurd_sizes_are_refused() {
        for (size, message) in [
            ("-1", "invalid value: integer `-1`, expected u64"),
            ("1.5", "invalid type: floating point `1.5`, expected u64"),
            ("\"1\"", "invalid type: string \"1\", expected u64"),
            ("9223372036854775808", "size 9223372036854775808 is absurd"),
        ] {
            let error = serde_json::from_str::<Descriptor>(&with_size(size)).unwrap_err();
            assert!(error.to_string().starts_with(message), "{error}");
        }
        let largest = serde_json::from_str::<Descriptor>(&with_size("9223372036854775807"));
        assert_eq!(largest.unwrap().size, MAX_BLOB_SIZE);
    }

    #[test]
    fn unknown_fields_are_kept_and_written_in_one_order() {
        let digest = Digest::of(b"");
        let text = format!(
            r#"{{"zeta":[1],"size":0,"annotations":{{"b":"2","a":"1"}},"alpha":{{"y":1,"x":2}},"digest":"{digest}","mediaType":"m","urls":null}}"#
        );
        let descriptor: Descriptor = serde_json::from_str(&text).unwrap();
        let expected = format!(
            r#"{{"mediaType":"m","digest":"{digest}","size":0,"annotations":{{"a":"1","b":"2"}},"alpha":{{"x":2,"y":1}},"zeta":[1]}}"#
        );
        assert_eq!(serde_json::to_string(&descriptor).unwrap(), expected);
    }
}
