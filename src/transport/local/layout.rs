//! What OCI layouts have in common, be they directories or archives (OCI image specification v1.1, image layout).
//!
//! The names of their files, the grammar of references to their images, and `index.json` as a value: which entry
//! a reference means, and how a new one is merged in. No I/O. Entries and fields that have no meaning here
//! are kept as they were, malformed ones included, so that pushing one image harms no other.

use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::attachments::{Changes, is_list_name, list_name};
use crate::error::{Error, Kind, Result};
use crate::image::{
    Descriptor, Digest, Hasher, MAX_MANIFEST_SIZE, Manifest, ManifestFormat, MediaType,
};
use crate::transport::{Capabilities, ImageIdentity, LayerForm, Verifier};

/// The file that marks a layout.
pub(crate) const LAYOUT_FILE: &str = "oci-layout";
/// What that file says in the layouts we make.
pub(crate) const LAYOUT_CONTENT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// The file that lists the images.
pub(crate) const INDEX_FILE: &str = "index.json";
/// The directory with a directory of content for each digest algorithm.
pub(crate) const BLOBS: &str = "blobs";
/// Largest `oci-layout` that is read; it holds one short field.
pub(crate) const MAX_LAYOUT_FILE: u64 = 4096;

/// What a layout can hold, wherever its files are.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    formats: &[ManifestFormat::Oci],
    index: true,
    artifacts: true,
    attachments: true,
    layers: LayerForm::Compressed,
    foreign_layers: true,
    identity: ImageIdentity::Manifest,
    verifier: Verifier::Engine,
};

/// The annotation that names an image in `index.json`.
const NAME_ANNOTATION: &str = "org.opencontainers.image.ref.name";
/// The name of an image that was given none, where there are lists of attachments beside it.
const DEFAULT_NAME: &str = "latest";
/// Most names that an error lists.
const SHOWN: usize = 10;

/// Which image of a layout is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// The only one there.
    Only,
    /// The one with this name.
    Named(String),
    /// The one at this place of `index.json`, counted from 0.
    At(usize),
}

/// `index.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LayoutIndex {
    #[serde(default = "schema_version")]
    schema_version: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<Value>,
    #[serde(default)]
    manifests: Option<Vec<Value>>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// Cuts `PATH[:NAME|:@INDEX]` at its first colon, as containers/image does: such a path holds no colon.
pub(crate) fn parse_details(details: &str) -> Result<(PathBuf, Selection)> {
    let (path, name) = details.split_once(':').unwrap_or((details, ""));
    if path.is_empty() {
        return Err(Error::new(Kind::InvalidReference, "the path is empty"));
    }
    if path.contains('\0') {
        return Err(Error::new(Kind::InvalidReference, "the path holds a NUL character"));
    }
    let selection = match name.strip_prefix('@') {
        Some(place) => Selection::At(parse_place(place)?),
        None if name.is_empty() => Selection::Only,
        None if is_name(name) => Selection::Named(name.to_owned()),
        None => {
            let message = format!("`{name}` is not a name that an image of a layout can have");
            return Err(Error::new(Kind::InvalidReference, message));
        }
    };
    Ok((path.into(), selection))
}

fn parse_place(place: &str) -> Result<usize> {
    let digits = !place.is_empty() && place.bytes().all(|byte| byte.is_ascii_digit());
    place.parse().ok().filter(|_| digits).ok_or_else(|| {
        let message = format!("`@{place}` is not a place in `index.json`, such as `@0`");
        Error::new(Kind::InvalidReference, message)
    })
}

/// Whether this is a reference name of the OCI image specification v1.1, annex on annotations: components of letters and
/// digits with single separators (or `--`) between them, joined by slashes.
fn is_name(name: &str) -> bool {
    name.split('/').all(|component| {
        let separators = |run: &str| run == "--" || matches!(run.len(), 0 | 1);
        let ends_well = component.starts_with(|c: char| c.is_ascii_alphanumeric())
            && component.ends_with(|c: char| c.is_ascii_alphanumeric());
        ends_well
            && component.chars().all(|c| c.is_ascii_alphanumeric() || "-._:@+".contains(c))
            && component.split(|c: char| c.is_ascii_alphanumeric()).all(separators)
    })
}

/// Checks the content of the file that marks a layout.
pub(crate) fn check_version(content: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Layout {
        image_layout_version: String,
    }
    let layout: Layout = serde_json::from_slice(content).map_err(|cause| {
        Error::new(Kind::InvalidImage, format!("`{LAYOUT_FILE}` is malformed: {cause}"))
    })?;
    if layout.image_layout_version.starts_with("1.") {
        return Ok(());
    }
    let version = layout.image_layout_version;
    let message = format!("version `{version}` of the OCI layout is not supported");
    Err(Error::new(Kind::TransportUnsupported, message))
}

/// How many bytes of a manifest may be read, which has `found` bytes as far as that is known. Many are read at the same time, so
/// none of them gets more memory than its descriptor says.
pub(crate) fn readable(descriptor: &Descriptor, found: Option<u64>) -> Result<u64> {
    match found {
        Some(found) if found != descriptor.size => Err(other_size(descriptor, found)),
        _ => Ok(descriptor.size.min(MAX_MANIFEST_SIZE)),
    }
}

fn other_size(descriptor: &Descriptor, found: u64) -> Error {
    let Descriptor { digest, size, .. } = descriptor;
    let message = format!("manifest `{digest}` has {found} bytes instead of {size}");
    Error::new(Kind::ContentMismatch, message)
}

/// Reads a manifest that a descriptor points to. Bytes that are others are an error, before anything is made of them.
pub(crate) fn manifest_of(bytes: Bytes, descriptor: &Descriptor) -> Result<Manifest> {
    let algorithm = descriptor.digest.algorithm();
    let mut hasher = Hasher::new(algorithm);
    hasher.update(&bytes);
    let actual = hasher.finish();
    if bytes.len() as u64 != descriptor.size {
        return Err(other_size(descriptor, bytes.len() as u64));
    }
    if actual != descriptor.digest {
        let message = format!("manifest `{}` has the digest `{actual}`", descriptor.digest);
        return Err(Error::new(Kind::ContentMismatch, message));
    }
    Manifest::parse_with(bytes, Some(&descriptor.media_type), algorithm).map_err(|cause| {
        Error::from(cause).doing(format!("reading manifest `{}`", descriptor.digest))
    })
}

// === impl LayoutIndex ===

impl LayoutIndex {
    /// One without images.
    pub(crate) fn new() -> Self {
        Self {
            schema_version: schema_version(),
            media_type: Some(MediaType::OCI_INDEX.as_str().into()),
            manifests: Some(vec![]),
            other: Map::new(),
        }
    }

    /// Reads `index.json`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|cause| {
            Error::new(Kind::InvalidImage, format!("`{INDEX_FILE}` is malformed: {cause}"))
        })
    }

    /// Writes `index.json`.
    pub(crate) fn to_bytes(&self) -> Result<Bytes> {
        let written = serde_json::to_vec(self);
        written.map(Bytes::from).map_err(|cause| Error::internal(format!("{INDEX_FILE}: {cause}")))
    }

    /// The image that is meant. `layout` is the path of the layout or archive, for messages.
    pub(crate) fn choose(&self, selection: &Selection, layout: &str) -> Result<Descriptor> {
        let entry = match selection {
            // Beside lists, an image that was pushed without a name has this one.
            Selection::Only => {
                self.only_image().or_else(|| self.named(self.name_for(None, false)?))
            }
            Selection::Named(name) => self.named(name),
            Selection::At(place) => self.entries().get(*place),
        };
        match entry {
            Some(entry) => typed(entry),
            None => Err(self.not_chosen(selection, layout)),
        }
    }

    fn not_chosen(&self, selection: &Selection, layout: &str) -> Error {
        let count = match selection {
            // Every entry has a place.
            Selection::At(_) => self.entries().len(),
            Selection::Only | Selection::Named(_) => self.image_entries().count(),
        };
        let message = match selection {
            _ if count == 0 => format!("`{layout}` holds no image"),
            Selection::Only => {
                format!("`{layout}` holds {count} images and the reference names none")
            }
            Selection::Named(name) => format!("no image in `{layout}` is named `{name}`"),
            Selection::At(place) => {
                format!("`{layout}` holds {count} images, counted from 0, and none at {place}")
            }
        };
        let unclear = *selection == Selection::Only && count > 0;
        let kind = if unclear { Kind::InvalidReference } else { Kind::NotFound };
        Error::new(kind, message).hint(self.listed())
    }

    /// The names there are, for a hint.
    fn listed(&self) -> String {
        let names: Vec<&str> = self.image_entries().filter_map(name_of).collect();
        let unnamed = self.image_entries().count() - names.len();
        let mut listed =
            names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>();
        if names.len() > SHOWN {
            listed.push(format!("{} more", names.len() - SHOWN));
        }
        if unnamed > 0 {
            listed.push(format!("{unnamed} without a name (chosen by place, as in `@0`)"));
        }
        if listed.is_empty() {
            "the layout is empty".into()
        } else {
            format!("there are: {}", listed.join(", "))
        }
    }

    /// The image that a push under this name would replace, if there is one. Without a name: the only image, unless
    /// it has one.
    pub(crate) fn current(&self, name: Option<&str>) -> Option<Descriptor> {
        let named = self.name_for(name, false).and_then(|name| self.named(name));
        let unnamed =
            || self.only_image().filter(|entry| name.is_none() && name_of(entry).is_none());
        typed(named.or_else(unnamed)?).ok()
    }

    /// The name that an image is to have: beside lists of attachments, whose entries have names, it needs one.
    pub(crate) fn name_for<'a>(&self, name: Option<&'a str>, attaching: bool) -> Option<&'a str> {
        name.or((attaching || self.entries().iter().any(is_list)).then_some(DEFAULT_NAME))
    }

    /// The entry of the list of what is attached to a manifest.
    pub(crate) fn list(&self, subject: &Digest) -> Option<Descriptor> {
        typed(self.named(&list_name(subject)).filter(|entry| is_list(entry))?).ok()
    }

    /// Every list of attachments.
    pub(crate) fn lists(&self) -> Vec<Descriptor> {
        self.entries()
            .iter()
            .filter(|entry| is_list(entry))
            .filter_map(|it| typed(it).ok())
            .collect()
    }

    /// The manifests that the lists belong to, as far as their names tell: they repeat no more of a digest than SHA-256 has.
    pub(crate) fn subjects(&self) -> Vec<Digest> {
        let names = self.entries().iter().filter(|entry| is_list(entry)).filter_map(name_of);
        names.filter_map(|name| name.replacen('-', ":", 1).parse().ok()).collect()
    }

    /// Drops the lists but those of these manifests.
    pub(crate) fn keep_lists_of<'a>(&mut self, subjects: impl Iterator<Item = &'a Digest>) {
        let names: std::collections::BTreeSet<String> = subjects.map(list_name).collect();
        let stays =
            |entry: &Value| !is_list(entry) || name_of(entry).is_some_and(|it| names.contains(it));
        self.manifests.get_or_insert_default().retain(stays);
    }

    /// Enters an image, and what a push changes of attachments. `read` and `write` are for their lists.
    ///
    /// Without an image, the one that has the name is there already; it gets another if that is needed now.
    pub(crate) fn merge(
        &mut self,
        image: Option<&Descriptor>,
        name: Option<&str>,
        changes: &Changes,
        read: impl Fn(&Descriptor) -> Result<Manifest>,
        mut write: impl FnMut(&Manifest) -> Result<()>,
    ) -> Result<()> {
        let own_name = self.name_for(name, !changes.is_empty());
        if let Some(image) = image.cloned().or_else(|| self.current(name)) {
            self.put(image, own_name)?;
        }
        for subject in changes.subjects() {
            let before = self.list(subject).map(|list| read(&list)).transpose()?;
            let after = changes.applied(subject, before.as_ref())?;
            after.as_ref().map_or(Ok(()), &mut write)?;
            self.put_list(subject, after.map(|list| list.descriptor()))?;
        }
        Ok(())
    }

    /// Puts a list in the place of the one there is, or removes it.
    fn put_list(&mut self, subject: &Digest, list: Option<Descriptor>) -> Result<()> {
        let name = list_name(subject);
        self.manifests.get_or_insert_default().retain(|entry| name_of(entry) != Some(&name));
        list.map_or(Ok(()), |list| self.put(list, Some(&name)))
    }

    /// Gives an image its entry.
    ///
    /// A name moves to it; the images that had the name stay, without one. An entry of the same image without a name is
    /// replaced. An entry that has both is left as it is, if it is the one that is found by the name.
    pub(crate) fn put(&mut self, mut descriptor: Descriptor, name: Option<&str>) -> Result<()> {
        let digest = Value::from(descriptor.digest.to_string());
        let same = |entry: &Value| entry.get("digest") == Some(&digest);
        let is_there = match name {
            Some(name) => self.named(name).is_some_and(same),
            None => self.entries().iter().any(|entry| same(entry) && name_of(entry).is_none()),
        };
        if is_there {
            return Ok(());
        }
        let entries = self.manifests.get_or_insert_default();
        if let Some(name) = name {
            entries.iter_mut().filter(|entry| name_of(entry) == Some(name)).for_each(remove_name);
            descriptor.annotations.insert(NAME_ANNOTATION.into(), name.into());
        }
        let new = serde_json::to_value(descriptor)
            .map_err(|cause| Error::internal(format!("{INDEX_FILE}: {cause}")))?;
        match entries.iter_mut().find(|entry| same(entry) && name_of(entry).is_none()) {
            Some(entry) => *entry = new,
            None => entries.push(new),
        }
        Ok(())
    }

    /// Drops the images without a name, and the one with this name.
    pub(crate) fn keep_named(&mut self, name: Option<&str>) {
        let stays = |entry: &Value| name_of(entry).is_some_and(|other| Some(other) != name);
        self.manifests.get_or_insert_default().retain(stays);
    }

    /// The images there are; entries that make no sense are left out.
    pub(crate) fn images(&self) -> Vec<Descriptor> {
        self.image_entries().filter_map(|entry| typed(entry).ok()).collect()
    }

    /// The entry of the only image.
    fn only_image(&self) -> Option<&Value> {
        let mut images = self.image_entries();
        images.next().filter(|_| images.next().is_none())
    }

    /// The entries but those of lists of attachments.
    fn image_entries(&self) -> impl Iterator<Item = &Value> {
        self.entries().iter().filter(|entry| !is_list(entry))
    }

    fn entries(&self) -> &[Value] {
        self.manifests.as_deref().unwrap_or_default()
    }

    fn named(&self, name: &str) -> Option<&Value> {
        self.entries().iter().find(|entry| name_of(entry) == Some(name))
    }
}

fn schema_version() -> Value {
    2.into()
}

fn typed(entry: &Value) -> Result<Descriptor> {
    Descriptor::deserialize(entry).map_err(|cause| {
        let message = format!("an entry of `{INDEX_FILE}` is malformed: {cause}");
        Error::new(Kind::InvalidImage, message)
    })
}

/// Whether an entry is that of a list of attachments.
fn is_list(entry: &Value) -> bool {
    let index =
        entry.get("mediaType").and_then(Value::as_str) == Some(MediaType::OCI_INDEX.as_str());
    index && name_of(entry).is_some_and(is_list_name)
}

fn name_of(entry: &Value) -> Option<&str> {
    let name = entry.get("annotations")?.get(NAME_ANNOTATION)?.as_str()?;
    (!name.is_empty()).then_some(name)
}

fn remove_name(entry: &mut Value) {
    let Some(Value::Object(annotations)) = entry.get_mut("annotations") else { return };
    annotations.remove(NAME_ANNOTATION);
    if annotations.is_empty()
        && let Some(entry) = entry.as_object_mut()
    {
        entry.remove("annotations");
    }
}

#[cfg(test)]
mod tests;
