//! The bundles of an index's images, which have to be the same one.
//!
//! Pure. Most images of an index have the very same files: these are read once. Files that say the same in other words are
//! read as well, within a bound, since an index may list thousands of images.

use std::collections::HashSet;

use super::{Bundle, File, Folder, Merge};
use crate::error::{Error, Kind, Result};
use crate::image::Digest;
use crate::limits::MAX_BUNDLE_VIEWS;

/// What the images so far carry.
pub(super) struct Readings {
    /// The first image, and its bundle.
    first: Option<(Digest, Option<Bundle>)>,
    /// Files that have that bundle.
    known: HashSet<Vec<File>>,
    /// Bytes of all files that were read.
    read: usize,
}

// === impl Readings ===

impl Readings {
    /// Of no image yet.
    pub(super) fn new() -> Self {
        Self { first: None, known: HashSet::new(), read: 0 }
    }

    /// With the next image, whose bundle is read from this folder. Fails if it isn't that of the others.
    pub(super) fn and(mut self, merge: Merge, image: &Digest, folder: &Folder) -> Result<Self> {
        self.read(merge, image, folder)?;
        Ok(self)
    }

    fn read(&mut self, merge: Merge, image: &Digest, folder: &Folder) -> Result<()> {
        let doing = |error: Error| {
            let folder = folder.as_str();
            error.doing(format!("looking for the bundle in `{folder}` of `{image}`"))
        };
        let files = merge.into_files().map_err(doing)?;
        if self.known.contains(&files) {
            return Ok(());
        }
        self.read += files.iter().map(|file| file.content.len()).sum::<usize>();
        if self.read > MAX_BUNDLE_VIEWS {
            let message = format!(
                "the images write their bundle in so many ways that it takes more than the limit of {MAX_BUNDLE_VIEWS} bytes to compare them"
            );
            return Err(Error::new(Kind::LimitExceeded, message));
        }
        let bundle = Bundle::of_files(&files).map_err(doing)?;
        match &self.first {
            None => self.first = Some((image.clone(), bundle)),
            Some((_, first)) if *first == bundle => {}
            Some((first, _)) => return Err(different(first, image)),
        }
        self.known.insert(files);
        Ok(())
    }

    /// The bundle of all of them.
    pub(super) fn into_bundle(self) -> Option<Bundle> {
        self.first.and_then(|(_, bundle)| bundle)
    }
}

fn different(one: &Digest, other: &Digest) -> Error {
    let message = format!("images `{one}` and `{other}` carry different bundles");
    Error::new(Kind::InvalidImage, message)
        .hint("an index has one bundle: push each platform for itself, or make them equal")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::LayerReader;

    /// An image whose one layer has this text.
    fn image(text: &str) -> Merge {
        let mut entry = tar_core::builder::EntryBuilder::new_ustar();
        entry.path("metadata/a.yaml").size(text.len() as u64).unwrap();
        entry.mode(0o644).unwrap().mtime(0).unwrap().uid(0).unwrap().gid(0).unwrap();
        let mut reader = LayerReader::new(Folder::default());
        reader.feed(&entry.finish_bytes());
        reader.feed(text.as_bytes());
        let mut merge = Merge::default();
        merge.below(&reader.finish()).unwrap();
        merge
    }

    fn digest(n: usize) -> Digest {
        Digest::of(n.to_string().as_bytes())
    }

    fn thing(name: &str) -> String {
        format!("apiVersion: example.com/v1\nkind: Thing\nmetadata: {{name: {name}}}\n")
    }

    #[test]
    fn equal_files_are_read_once() {
        let (mut readings, text) = (Readings::new(), thing("a"));
        for n in 0..4096 {
            readings.read(image(&text), &digest(n), &Folder::default()).unwrap();
        }
        assert_eq!(readings.read, text.len());
        assert_eq!(readings.into_bundle().unwrap(), Bundle::parse(text.as_bytes()).unwrap());
    }

    #[test]
    fn other_words_are_compared_within_a_bound() {
        let mut readings = Readings::new();
        let mut read = |n: usize| {
            let comment = "x".repeat(1 << 20);
            readings.read(
                image(&format!("# {n} {comment}\n{}", thing("a"))),
                &digest(n),
                &Folder::default(),
            )
        };
        for n in 0..31 {
            read(n).unwrap();
        }
        let error = (31..33).find_map(|n| read(n).err()).unwrap();
        assert_eq!(error.kind(), Kind::LimitExceeded);
    }

    #[test]
    fn a_different_one_is_told_with_both_images() {
        let mut readings = Readings::new();
        readings.read(image(&thing("a")), &digest(1), &Folder::default()).unwrap();
        let error = readings.read(image(&thing("b")), &digest(2), &Folder::default()).unwrap_err();
        let message = format!("images `{}` and `{}` carry different bundles", digest(1), digest(2));
        assert_eq!(error.to_string(), message);
    }
}
