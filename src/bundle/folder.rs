//! The folder of an image that holds its bundle, and where the members of a layer stand to it.
//!
//! Pure. Names come from images: they are compared and never used as paths.

use crate::error::{Error, Kind, Result};
use crate::limits::{MAX_FILE_NAME, MAX_TAR_DEPTH, MAX_TAR_NAME};

/// The folder where an image doesn't say otherwise.
const DEFAULT: &str = "metadata";
/// What the names of files with objects end with.
const ENDINGS: [&str; 3] = [".yaml", ".yml", JSON];
/// Of which those with this ending hold JSON, the others YAML.
pub(super) const JSON: &str = ".json";
/// Says that what the rest of the name names is gone (OCI image specification v1.1, "Whiteouts").
const WHITEOUT: &str = ".wh.";
/// Says that all that lower layers have in this directory is gone.
const OPAQUE: &str = ".wh..wh..opq";

/// A folder of an image's file system, by its path from the root.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Folder(String);

/// Where a member of a layer stands to the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It has nothing to do with the folder.
    Elsewhere,
    /// It is the folder, or one above it.
    Above,
    /// It says that the folder of lower layers, or all in it, is gone.
    HidesFolder,
    /// It is a file of this name in the folder.
    File(String),
    /// It is below something of this name in the folder, which so is a directory.
    Below(String),
    /// It says that this file of lower layers is gone.
    HidesFile(String),
    /// Its name leads into the folder by `..`.
    Devious,
}

// === impl Folder ===

impl Folder {
    /// The folder that a label names.
    pub fn parse(path: &str) -> Result<Self> {
        let parts: Vec<&str> =
            path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let fault = if parts.is_empty() {
            "is the root of the image"
        } else if parts.contains(&"..") {
            "has `..` in it"
        } else if path.len() > MAX_TAR_NAME as usize || parts.len() > MAX_TAR_DEPTH {
            "is too long"
        } else if path.contains(char::is_control) {
            "has control characters in it"
        } else {
            return Ok(Self(parts.join("/")));
        };
        let message = format!("the folder `{path}` that the image's label names {fault}");
        Err(Error::new(Kind::CustomResourcesInvalid, message))
    }

    /// The path from the root, without a slash before it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where a member of this name stands.
    pub(super) fn place(&self, name: &[u8]) -> Place {
        // Names that aren't UTF-8 are no folder's that a label can name.
        let Ok(name) = std::str::from_utf8(name) else { return Place::Elsewhere };
        let (parts, devious) = clean(name);
        let place = self.place_of(&parts);
        if devious && place != Place::Elsewhere { Place::Devious } else { place }
    }

    fn place_of(&self, parts: &[&str]) -> Place {
        let Some((last, directory)) = parts.split_last() else { return Place::Above };
        if *last == OPAQUE {
            return if self.is_at_or_below(directory) {
                Place::HidesFolder
            } else {
                Place::Elsewhere
            };
        }
        if let Some(hidden) = last.strip_prefix(WHITEOUT) {
            let hidden = [directory, &[hidden]].concat();
            return match self.place_of_entry(&hidden) {
                Place::Above => Place::HidesFolder,
                Place::File(name) => Place::HidesFile(name),
                _ => Place::Elsewhere,
            };
        }
        self.place_of_entry(parts)
    }

    fn place_of_entry(&self, parts: &[&str]) -> Place {
        if self.is_at_or_below(parts) {
            return Place::Above;
        }
        let mut own = self.0.split('/');
        let inside = own.by_ref().zip(parts).all(|(own, part)| own == *part);
        match parts.get(self.depth()) {
            Some(name) if !(inside && is_wanted(name)) => Place::Elsewhere,
            Some(name) if parts.len() > self.depth() + 1 => Place::Below((*name).to_owned()),
            Some(name) => Place::File((*name).to_owned()),
            None => Place::Elsewhere,
        }
    }

    /// Whether the folder is this directory or below it.
    fn is_at_or_below(&self, directory: &[&str]) -> bool {
        let mut own = self.0.split('/');
        directory.iter().all(|part| own.next() == Some(part))
    }

    fn depth(&self) -> usize {
        self.0.split('/').count()
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self(DEFAULT.to_owned())
    }
}

/// Whether a file of this name is to hold objects.
fn is_wanted(name: &str) -> bool {
    let ends_so = |ending: &&str| name.len() > ending.len() && name.ends_with(*ending);
    name.len() <= MAX_FILE_NAME && ENDINGS.iter().any(ends_so)
}

/// The parts of a name, as an unpacker takes them, and whether it climbed.
fn clean(name: &str) -> (Vec<&str>, bool) {
    let (mut parts, mut devious) = (Vec::new(), false);
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                devious = true;
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    (parts, devious)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_names_a_folder() {
        for (path, expected) in
            [("deploy", "deploy"), ("/deploy/crs/", "deploy/crs"), ("./deploy//crs", "deploy/crs")]
        {
            assert_eq!(Folder::parse(path).unwrap().as_str(), expected);
        }
        for (path, fault) in [
            ("", "is the root of the image"),
            ("/.", "is the root of the image"),
            ("a/../b", "has `..` in it"),
            ("a\u{1b}[2J", "has control characters in it"),
        ] {
            let error = Folder::parse(path).unwrap_err();
            assert!(error.to_string().ends_with(fault), "{error}");
        }
    }

    #[test]
    fn members_have_a_place() {
        let file = |name: &str| Place::File(name.into());
        let cases = [
            ("metadata/config.yaml", file("config.yaml")),
            ("./metadata//a.json", file("a.json")),
            ("/metadata/b.yml", file("b.yml")),
            ("metadata/README.md", Place::Elsewhere),
            ("metadata/.yaml", Place::Elsewhere),
            ("metadata/sub/c.yaml", Place::Elsewhere),
            ("metadata/a.yaml/b", Place::Below("a.yaml".into())),
            ("metadata/a.yaml/b.yaml/c", Place::Below("a.yaml".into())),
            ("metadata2/a.yaml", Place::Elsewhere),
            ("opt/metadata/a.yaml", Place::Elsewhere),
            ("metadata", Place::Above),
            ("./", Place::Above),
            (".wh.metadata", Place::HidesFolder),
            ("metadata/.wh..wh..opq", Place::HidesFolder),
            (".wh..wh..opq", Place::HidesFolder),
            ("opt/.wh..wh..opq", Place::Elsewhere),
            ("metadata/sub/.wh..wh..opq", Place::Elsewhere),
            ("metadata/.wh.a.yaml", Place::HidesFile("a.yaml".into())),
            ("metadata/.wh.README.md", Place::Elsewhere),
            ("metadata/a.yaml/.wh.b", Place::Elsewhere),
            ("x/../metadata/a.yaml", Place::Devious),
            ("../metadata/a.yaml", Place::Devious),
            ("metadata/../../metadata", Place::Devious),
            ("metadata/../etc/passwd", Place::Elsewhere),
            ("metadata/\u{430}.yaml", file("\u{430}.yaml")),
        ];
        for (name, expected) in cases {
            assert_eq!(Folder::default().place(name.as_bytes()), expected, "{name}");
        }
        assert_eq!(Folder::default().place(b"metadata/\xff.yaml"), Place::Elsewhere);
        let longest = "n".repeat(MAX_FILE_NAME - ".yaml".len()) + ".yaml";
        let place = |name: String| Folder::default().place(name.as_bytes());
        assert_eq!(place(format!("metadata/{longest}")), file(&longest));
        for prefix in ["n", ".wh.n"] {
            assert_eq!(place(format!("metadata/{prefix}{longest}")), Place::Elsewhere);
        }
    }

    #[test]
    fn a_folder_may_lie_deep() {
        let folder = Folder::parse("opt/app/crs").unwrap();
        for (name, expected) in [
            ("opt", Place::Above),
            ("opt/app/crs", Place::Above),
            ("opt/.wh.app", Place::HidesFolder),
            ("opt/app/.wh..wh..opq", Place::HidesFolder),
            ("opt/.wh.crs", Place::Elsewhere),
            ("opt/app/crs/a.yaml", Place::File("a.yaml".into())),
            ("opt/app/a.yaml", Place::Elsewhere),
            ("opt/app/other/a.yaml", Place::Elsewhere),
            ("metadata/a.yaml", Place::Elsewhere),
        ] {
            assert_eq!(folder.place(name.as_bytes()), expected, "{name}");
        }
    }
}
