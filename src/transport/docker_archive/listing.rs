//! `manifest.json`: the images that a Docker archive holds, and what each consists of.
//!
//! Pure. Fields without a meaning here are kept, so that the images beside the one being written stay what they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::name::TaggedName;
use super::reference::Selector;
use crate::error::{Error, Kind, Result};

/// The member that holds the listing.
pub(super) const LISTING: &str = "manifest.json";

/// One image of an archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Item {
    /// The member that holds its config.
    #[serde(rename = "Config")]
    pub(super) config: String,
    /// Its names, as they stand.
    #[serde(rename = "RepoTags", default, deserialize_with = "or_default")]
    pub(super) tags: Vec<String>,
    /// The members that hold its layers, bottom first.
    #[serde(rename = "Layers", default, deserialize_with = "or_default")]
    pub(super) layers: Vec<String>,
    /// Fields that have no meaning here.
    #[serde(flatten)]
    pub(super) other: BTreeMap<String, Value>,
}

/// Names that readers of the listing give a meaning to; Go's take them in any case.
const FIELDS: [&str; 3] = ["Config", "RepoTags", "Layers"];

/// Most names that a message lists.
const SHOWN: usize = 10;

/// Reads a listing. Errors have the kind `InvalidImage`.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Item>> {
    let malformed = |cause: String| {
        Error::new(Kind::InvalidImage, format!("`{LISTING}` is malformed: {cause}"))
    };
    let items: Vec<Item> =
        serde_json::from_slice(bytes).map_err(|cause| malformed(cause.to_string()))?;
    for (index, item) in items.iter().enumerate() {
        let misspelt = |key: &&String| FIELDS.iter().any(|field| field.eq_ignore_ascii_case(key));
        if let Some(key) = item.other.keys().find(misspelt) {
            let cause =
                format!("key `{key}` differs from a field's name in upper and lower case only");
            return Err(malformed(cause));
        }
        item.names().map_err(|cause| malformed(format!("image {index} has a bad tag: {cause}")))?;
    }
    Ok(items)
}

/// Finds the image that is meant; `None` means the only one.
pub(super) fn choose(items: &[Item], selector: Option<&Selector>) -> Result<usize> {
    let not_found = |message: String| Error::new(Kind::NotFound, message);
    match selector {
        None if items.len() == 1 => Ok(0),
        None if items.is_empty() => Err(not_found("the archive holds no image".to_owned())),
        None => {
            let message = format!("the archive holds {} images, and none was chosen", items.len());
            Err(Error::new(Kind::InvalidReference, message).hint(choices(items)))
        }
        Some(Selector::Index(index)) if *index < items.len() => Ok(*index),
        Some(Selector::Index(index)) => {
            let message =
                format!("there is no image `@{index}`: the archive holds {}", items.len());
            Err(not_found(message).hint("images are counted from 0"))
        }
        Some(Selector::Name(name)) => {
            let found = items.iter().position(|item| item.has(name));
            let missing = || not_found(format!("no image of the archive has the name `{name}`"));
            found.ok_or_else(|| missing().hint(choices(items)))
        }
    }
}

/// The listing once an image has been added.
///
/// Its name is taken from the image that has it; one that has no name left is dropped. An image that is there already
/// is not listed twice: its names come to the new one. `is_same` tells whether an item is that image.
pub(super) fn merge(
    items: Vec<Item>,
    mut new: Item,
    name: Option<&TaggedName>,
    is_same: impl Fn(usize, &Item) -> bool,
) -> Vec<Item> {
    let mut merged = Vec::with_capacity(items.len() + 1);
    let mut place = None;
    for (index, mut item) in items.into_iter().enumerate() {
        if is_same(index, &item) {
            place.get_or_insert(merged.len());
            new.add_tags(item.tags);
            continue;
        }
        if let Some(name) = name.filter(|name| item.has(name)) {
            item.tags.retain(|tag| TaggedName::parse(tag).as_ref() != Ok(name));
            if item.tags.is_empty() {
                place.get_or_insert(merged.len());
                continue;
            }
        }
        merged.push(item);
    }
    merged.insert(place.unwrap_or(merged.len()), new);
    merged
}

// === impl Item ===

impl Item {
    /// Its names in full.
    pub(super) fn names(&self) -> Result<Vec<TaggedName>, String> {
        self.tags.iter().map(|tag| TaggedName::parse(tag)).collect()
    }

    fn has(&self, name: &TaggedName) -> bool {
        self.tags.iter().any(|tag| TaggedName::parse(tag).as_ref() == Ok(name))
    }

    /// Adds names that aren't there in any spelling.
    fn add_tags(&mut self, tags: Vec<String>) {
        for tag in tags {
            if TaggedName::parse(&tag).is_ok_and(|name| !self.has(&name)) {
                self.tags.push(tag);
            }
        }
    }
}

fn choices(items: &[Item]) -> String {
    let tags: Vec<_> = items.iter().flat_map(|item| &item.tags).take(SHOWN).cloned().collect();
    let last = items.len().saturating_sub(1);
    match tags.as_slice() {
        [] => format!("name one by its place, from `@0` to `@{last}`"),
        _ => format!("it holds {}; `@0` to `@{last}` name images by place", tags.join(", ")),
    }
}

/// Docker writes an empty list as `null`.
fn or_default<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
