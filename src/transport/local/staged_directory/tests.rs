use std::path::Path;

use super::*;
use crate::transport::local::StagedFile;

fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        }
        found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    found.sort();
    found
}

fn staged(parent: &Directory, file: &str) -> StagedDirectory {
    let staged = StagedDirectory::beside(parent, OsStr::new("target")).unwrap();
    let below = staged.directory().make_subdirectory("below").unwrap();
    StagedFile::write_small(&below, file, b"content").unwrap();
    staged
}

#[test]
fn one_directory_takes_the_place_of_another_in_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let parent = Directory::open(folder.path()).unwrap();
    let target = OsStr::new("target");

    let first = staged(&parent, "first");
    assert_eq!(first.publish_exchange(target).unwrap(), Published::Conflict);
    assert_eq!(first.publish_new(target).unwrap(), Published::Done);
    drop(first);
    assert_eq!(tree(folder.path()), ["below", "first", "target"]);

    let second = staged(&parent, "second");
    assert_eq!(second.publish_new(target).unwrap(), Published::Conflict);
    assert_eq!(second.publish_exchange(target).unwrap(), Published::Done);
    drop(second);
    assert_eq!(tree(folder.path()), ["below", "second", "target"]);
}

#[test]
fn a_directory_that_is_not_published_goes_away_links_and_all() {
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("precious"), "").unwrap();
    let parent = Directory::open(folder.path()).unwrap();

    let staged = staged(&parent, "file");
    std::os::unix::fs::symlink(&outside, parent.path_of(&staged.name).join("link")).unwrap();
    drop(staged);
    assert_eq!(tree(folder.path()), ["outside", "precious"]);
}

#[test]
fn what_a_killed_process_left_is_removed_unless_it_lives() {
    let folder = tempfile::tempdir().unwrap();
    let stale = folder.path().join(".target.imagepush-0123456789abcdef.tmp");
    std::fs::create_dir_all(stale.join("blobs")).unwrap();
    std::fs::write(stale.join("blobs/a"), "").unwrap();
    let parent = Directory::open(folder.path()).unwrap();
    let first = staged(&parent, "first");
    let second = staged(&parent, "second");
    assert!(!stale.exists());
    assert!(first.directory().is_at(&parent, &first.name), "a living one's work was removed");
    drop((first, second));
    assert_eq!(tree(folder.path()), Vec::<String>::new());
}
