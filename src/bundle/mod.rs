//! Custom resources bundled with an image: what an image carries for the cluster that runs it.
//!
//! A bundle is found in the layers (`folder` knows where, `layer` reads a tar stream, `merge` lays layers over each other),
//! read (`yaml`, `scalar`, `json`, `objects`) and brought into one canonical form (`canonical`) that has a digest. All of that is
//! pure: bytes come in chunks from wherever they are read, and every one of them is hostile.
//! Around it, `search` reads an image, `attached` is the form in which a bundle goes beside one, and `companion` takes it along
//! with a push.

mod attached;
mod canonical;
mod companion;
mod folder;
mod json;
mod layer;
mod merge;
mod objects;
mod push;
mod readings;
mod scalar;
mod search;
mod yaml;

pub use attached::ARTIFACT_TYPE;
pub use folder::Folder;
pub use layer::{LayerReader, LayerView};
pub use merge::{File, Merge};
pub use objects::{Object, ObjectKey};
pub use push::{preview, push, read};
pub use search::LABEL;

use crate::error::{Error, Kind, Result};
use crate::image::Digest;
use crate::limits::{
    MAX_BUNDLE, MAX_BUNDLE_KEY, MAX_BUNDLE_NODES, MAX_BUNDLE_OBJECT, MAX_BUNDLE_OBJECTS,
};

/// The objects of an image, in their canonical form: the same objects give the same bytes, however they were written.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    objects: Vec<Object>,
    yaml: String,
    digest: Digest,
}

// === impl Bundle ===

impl Bundle {
    /// The bundle in these files; none if they hold no object.
    pub fn of_files(files: &[File]) -> Result<Option<Self>> {
        let mut objects = Vec::new();
        for file in files {
            let read = objects_of(file)
                .map_err(|error| error.doing(format!("reading `{}`", file.name)))?;
            objects.extend(read);
            at_most_objects(objects.len())?;
        }
        if objects.is_empty() { Ok(None) } else { Self::of(objects).map(Some) }
    }

    /// Reads a bundle that was written in the canonical form, or another document of objects.
    pub fn parse(yaml: &[u8]) -> Result<Self> {
        let objects = objects_in(yaml)?;
        if objects.is_empty() {
            return Err(Error::new(Kind::InvalidImage, "the bundle has no objects"));
        }
        Self::of(objects)
    }

    fn of(mut objects: Vec<Object>) -> Result<Self> {
        at_most_objects(objects.len())?;
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        check_unique(&objects)?;
        check_readable(&objects)?;
        let mut yaml = String::new();
        for object in &objects {
            let text = canonical::document(&object.content, MAX_BUNDLE_OBJECT);
            if text.len() > MAX_BUNDLE_OBJECT {
                let message = format!(
                    "`{}` has more than the limit of {MAX_BUNDLE_OBJECT} bytes",
                    object.key
                );
                return Err(Error::new(Kind::LimitExceeded, message));
            }
            yaml += &text;
            if yaml.len() > MAX_BUNDLE {
                return Err(too_large());
            }
        }
        let digest = Digest::of(yaml.as_bytes());
        Ok(Self { objects, yaml, digest })
    }

    /// Its objects, sorted.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// The canonical form: a YAML document for each object.
    pub fn yaml(&self) -> &str {
        &self.yaml
    }

    /// The digest of the canonical form. Two bundles with one digest hold the same objects.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

fn objects_of(file: &File) -> Result<Vec<Object>> {
    if !file.name.ends_with(folder::JSON) {
        return objects_in(&file.content);
    }
    check_size(&file.content)?;
    let value = json::document(&file.content).map_err(invalid)?;
    objects::unfold(value).map_err(invalid)
}

/// The objects of a YAML text.
fn objects_in(text: &[u8]) -> Result<Vec<Object>> {
    check_size(text)?;
    let text = std::str::from_utf8(text).map_err(|_| invalid("it is not UTF-8"))?;
    let mut objects = Vec::new();
    for document in yaml::documents(text).map_err(invalid)? {
        objects.extend(objects::unfold(document).map_err(invalid)?);
        at_most_objects(objects.len())?;
    }
    Ok(objects)
}

fn check_size(text: &[u8]) -> Result<()> {
    if text.len() > MAX_BUNDLE { Err(too_large()) } else { Ok(()) }
}

fn at_most_objects(count: usize) -> Result<()> {
    if count <= MAX_BUNDLE_OBJECTS {
        return Ok(());
    }
    let message = format!("the bundle has more than the limit of {MAX_BUNDLE_OBJECTS} objects");
    Err(Error::new(Kind::LimitExceeded, message))
}

/// Which of two objects of one name is meant nobody can say. Versions of a kind are one kind.
fn check_unique(objects: &[Object]) -> Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for Object { key, .. } in objects {
        if !seen.insert((key.group(), &key.kind, &key.namespace, &key.name)) {
            return Err(invalid(format!("object `{key}` occurs twice")));
        }
    }
    Ok(())
}

/// What is written has to be readable again, where it is one text whatever it came from.
fn check_readable(objects: &[Object]) -> Result<()> {
    let mut nodes = 0;
    for Object { key, content } in objects {
        let counted = objects::count(content);
        nodes += counted.nodes;
        if counted.longest_key > MAX_BUNDLE_KEY {
            let message =
                format!("`{key}` has a key of more than the limit of {MAX_BUNDLE_KEY} bytes");
            return Err(Error::new(Kind::LimitExceeded, message));
        }
    }
    if nodes <= MAX_BUNDLE_NODES {
        return Ok(());
    }
    let message =
        format!("the bundle has more than the limit of {MAX_BUNDLE_NODES} keys and values");
    Err(Error::new(Kind::LimitExceeded, message))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::InvalidImage, message)
}

fn too_large() -> Error {
    Error::new(
        Kind::LimitExceeded,
        format!("the bundle has more than the limit of {MAX_BUNDLE} bytes"),
    )
}

#[cfg(test)]
mod tests;
