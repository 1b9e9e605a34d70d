//! From a directory with flat files to a published one.
//!
//! First the OCI layout is added. Then the directory takes its place: by a rename if nothing is there, else by one
//! exchange, so that a reader sees the old image or the new. A mount point can't be exchanged, nor can some file
//! systems do it: there the files are moved in one by one, content first, `manifest.json` last, and what is stale is
//! removed after that. A reader then may see new content beside the old manifest, but no manifest without its content.
//! Everything blocks.

use std::fs::File;

use super::super::local::attachments::Changes;
use super::super::local::layout::{BLOBS, INDEX_FILE, LAYOUT_CONTENT, LAYOUT_FILE, LayoutIndex};
use super::super::local::{Directory, Published, StagedFile};
use super::destination::{Location, Place, Staging};
use super::store::{
    DirStore, MANIFEST_FILE, VERSION_FILE, check_writable, digest_of, instance_name, is_content,
    version,
};
use crate::error::{Error, Kind, Result};
use crate::image::{Algorithm, Descriptor, Digest, Manifest};

/// Attempts to publish while another process replaces the same directory.
const ATTEMPTS: usize = 8;

/// Adds the OCI layout and the `version` file to a directory of flat files, and makes it all durable.
///
/// `index` has what stays of an older one: the image's own attachments.
pub(super) fn complete(
    directory: &Directory,
    image: &Descriptor,
    mut index: LayoutIndex,
    changes: &Changes,
) -> Result<()> {
    let store = DirStore::new(directory.clone());
    let write = |list: &_| put_instance(directory, list);
    index.merge(Some(image), None, changes, |list| store.instance(list), write)?;
    let mut algorithms = vec![];
    for name in directory.names()? {
        let Some(name) = name.to_str() else { continue };
        let named = (name == MANIFEST_FILE).then(|| image.digest.clone());
        if let Some(digest) = named.or_else(|| digest_of(name)) {
            algorithms.push(digest.algorithm());
            add_to_layout(directory, name, &digest)?;
        }
    }
    StagedFile::write_small(directory, INDEX_FILE, &index.to_bytes()?)?;
    StagedFile::write_small(directory, LAYOUT_FILE, LAYOUT_CONTENT)?;
    StagedFile::write_small(directory, VERSION_FILE, version(&algorithms).as_bytes())?;
    sync(directory)
}

/// Writes a manifest that isn't the one that the directory stands for.
pub(super) fn put_instance(directory: &Directory, manifest: &Manifest) -> Result<()> {
    StagedFile::write_small(directory, &instance_name(manifest.digest()), manifest.bytes())
}

fn add_to_layout(directory: &Directory, name: &str, digest: &Digest) -> Result<()> {
    let blobs = directory.make_subdirectory(BLOBS)?;
    let blobs = blobs.make_subdirectory(digest.algorithm().as_str())?;
    link_or_copy(directory, name, &blobs, digest.hex())
}

/// Gives a file another name; a copy stands in for a link on file systems without.
pub(super) fn link_or_copy(from: &Directory, name: &str, to: &Directory, new: &str) -> Result<()> {
    match from.link(name, to, new) {
        Ok(()) => Ok(()),
        Err(_) => copy(from, name, to, new),
    }
}

/// For file systems without hard links.
fn copy(from: &Directory, name: &str, to: &Directory, new: &str) -> Result<()> {
    let staged = StagedFile::create_in(to, new)?;
    let mut target: &File = staged.file();
    std::io::copy(&mut from.open_file(name)?, &mut target)
        .map_err(|cause| Error::io("write", &staged.target(), &cause))?;
    staged.place(to, new)
}

fn sync(directory: &Directory) -> Result<()> {
    if let Some(blobs) = directory.subdirectory(BLOBS)? {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            if let Some(blobs) = blobs.subdirectory(algorithm.as_str())? {
                blobs.sync()?;
            }
        }
        blobs.sync()?;
    }
    directory.sync()
}

/// Puts the finished directory in its place.
pub(super) fn publish(staging: &Staging, place: &Place) -> Result<()> {
    if let Location::Inside(target) = &staging.location {
        check_writable(target)?;
        return move_in(staging.directory(), target);
    }
    for _ in 0..ATTEMPTS {
        let there = match place.parent.stat(&place.target)? {
            Some(_) => Some(place.parent.directory(&place.target)?),
            None => None,
        };
        let published = if let Some(there) = &there {
            // It may be another one than when we came.
            check_writable(there)?;
            staging.directory().set_mode(there.mode()?)?;
            staging.staged.publish_exchange(&place.target)?
        } else {
            staging.directory().set_mode(0o755)?;
            staging.staged.publish_new(&place.target)?
        };
        match (published, there) {
            (Published::Done, _) => return Ok(()),
            (Published::Conflict, _) => {}
            (Published::Unsupported, Some(there)) => return move_in(staging.directory(), &there),
            (Published::Unsupported, None) => {
                let made = place.parent.make_subdirectory(&place.target.to_string_lossy())?;
                place.parent.sync()?;
                return move_in(staging.directory(), &made);
            }
        }
    }
    let path = place.parent.path_of(&place.target);
    let message = format!("`{}` is being changed by other processes all the time", path.display());
    Err(Error::new(Kind::StorageFailed, message).transient())
}

/// Moves the files of a finished directory to one that can't be exchanged with it.
pub(super) fn move_in(from: &Directory, to: &Directory) -> Result<()> {
    // First, so that a directory whose filling was cut short is known for one of ours.
    from.rename(VERSION_FILE, to, VERSION_FILE)?;
    let kept = contents(from)?;
    for name in kept.iter().filter(|name| is_content(name)) {
        from.rename(name, to, name)?;
    }
    let mut kept_blobs = vec![];
    for (algorithm, blobs) in blobs_of(from)? {
        let target = to.make_subdirectory(BLOBS)?.make_subdirectory(algorithm.as_str())?;
        for name in contents(&blobs)? {
            blobs.rename(&name, &target, &name)?;
            kept_blobs.push((algorithm, name));
        }
    }
    sync(to)?;
    for name in [LAYOUT_FILE, INDEX_FILE, MANIFEST_FILE] {
        from.rename(name, to, name)?;
    }
    to.sync()?;

    let stale = |name: &String| is_content(name) && !kept.contains(name);
    for name in contents(to)?.iter().filter(|name| stale(name)) {
        to.remove_file(name)?;
    }
    for (algorithm, blobs) in blobs_of(to)? {
        for name in contents(&blobs)? {
            if !kept_blobs.contains(&(algorithm, name.clone())) {
                blobs.remove_file(&name)?;
            }
        }
    }
    Ok(())
}

fn blobs_of(directory: &Directory) -> Result<Vec<(Algorithm, Directory)>> {
    let Some(blobs) = directory.subdirectory(BLOBS)? else { return Ok(vec![]) };
    let mut found = vec![];
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        if let Some(blobs) = blobs.subdirectory(algorithm.as_str())? {
            found.push((algorithm, blobs));
        }
    }
    Ok(found)
}

/// The names in a directory; others than text are not ours.
fn contents(directory: &Directory) -> Result<Vec<String>> {
    let names = directory.names()?.into_iter();
    Ok(names.filter_map(|name| name.into_string().ok()).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::path::Path;

    use super::*;
    use crate::image::{Manifest, MediaType};
    use crate::transport::dir::store::{DirStore, blob_name};

    /// A finished directory with an image whose one layer holds `content`.
    fn finished(parent: &Path, name: &str, content: &[u8]) -> (Directory, Digest) {
        let parent = Directory::open(parent).unwrap();
        let directory = parent.make_subdirectory(name).unwrap();
        let config = Descriptor::of(MediaType::OCI_CONFIG, b"{}");
        let layer = Descriptor::of(MediaType::OCTET_STREAM, content);
        for (blob, bytes) in [(&config, &b"{}"[..]), (&layer, content)] {
            StagedFile::write_small(&directory, &blob_name(&blob.digest), bytes).unwrap();
        }
        let text = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [layer]});
        let manifest = Manifest::parse(text.to_string().into(), None).unwrap();
        StagedFile::write_small(&directory, MANIFEST_FILE, manifest.bytes()).unwrap();
        let (index, changes) = (LayoutIndex::new(), Changes::default());
        complete(&directory, &manifest.descriptor(), index, &changes).unwrap();
        (directory, manifest.digest().clone())
    }

    #[test]
    fn the_layout_shares_its_bytes_with_the_flat_files() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, digest) = finished(folder.path(), "new", b"layer");
        assert_eq!(DirStore::new(directory).current().unwrap().digest(), &digest);
        let inode = |name: &str| folder.path().join("new").join(name).metadata().unwrap().ino();
        assert_eq!(inode("manifest.json"), inode(&format!("blobs/sha256/{}", digest.hex())));
    }

    #[test]
    fn a_copy_stands_in_for_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        StagedFile::write_small(&directory, "a", b"content").unwrap();
        let below = directory.make_subdirectory("below").unwrap();
        copy(&directory, "a", &below, "b").unwrap();
        assert_eq!(std::fs::read(folder.path().join("below/b")).unwrap(), b"content");
    }

    #[test]
    fn files_are_moved_in_where_nothing_can_be_exchanged() {
        let folder = tempfile::tempdir().unwrap();
        let (old, _) = finished(folder.path(), "old", b"old layer");
        let target = folder.path().join("old");
        std::fs::write(target.join("signature-1"), "of the old image").unwrap();
        std::fs::write(target.join("notes.txt"), "of somebody else").unwrap();
        let (new, digest) = finished(folder.path(), "new", b"new layer");
        move_in(&new, &old).unwrap();

        let now = DirStore::new(old.clone()).current().unwrap();
        assert_eq!(now.digest(), &digest);
        let (fresh, _) = finished(folder.path(), "fresh", b"new layer");
        let mut expected = contents(&fresh).unwrap();
        expected.insert(
            expected.iter().position(|name| name == "oci-layout").unwrap(),
            "notes.txt".into(),
        );
        assert_eq!(contents(&old).unwrap(), expected);
        let blobs = |directory: &Directory| contents(&blobs_of(directory).unwrap()[0].1).unwrap();
        assert_eq!(blobs(&old), blobs(&fresh));
    }
}
