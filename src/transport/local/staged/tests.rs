use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};

use super::*;
use crate::error::Kind;
use crate::transport::local::UserPath;

fn names(folder: &Path) -> Vec<String> {
    let names = Directory::open(folder).unwrap().names().unwrap();
    names.into_iter().map(|name| name.into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_published_file_replaces_the_old_one_whole() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("image.tar");
    std::fs::write(&target, "old").unwrap();

    let staged = StagedFile::create(&UserPath::anywhere(&target)).await.unwrap();
    staged.file().write_all_at(b"new content", 0).unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), b"old");
    assert_eq!(staged.path().metadata().unwrap().mode() & 0o777, 0o600);
    staged.settled().await.unwrap().publish().await.unwrap();

    assert_eq!(std::fs::read(&target).unwrap(), b"new content");
    assert_eq!(target.metadata().unwrap().mode() & 0o777, 0o644);
    assert_eq!(names(folder.path()), ["image.tar"]);
}

#[tokio::test]
async fn a_dropped_file_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let staged = StagedFile::create(&UserPath::anywhere(folder.path().join("a"))).await.unwrap();
    assert_eq!(names(folder.path()).len(), 1);
    drop(staged);
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_killed_process_left_is_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let kept = [
        ".a.imagepush-0123.tmp",
        ".a.imagepush-0123456789abcdef.txt",
        ".ab.imagepush-0123456789abcdef.tmp",
        "oci-put-blob1",
    ];
    for name in kept.iter().chain(&[".a.imagepush-0123456789abcdef.tmp"]) {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let target = folder.path().join("a");
    let first = StagedFile::create(&UserPath::anywhere(&target)).await.unwrap();
    let second = StagedFile::create(&UserPath::anywhere(&target)).await.unwrap();
    assert!(first.path().exists(), "the file of a process that lives was removed");
    drop((first, second));
    assert_eq!(names(folder.path()), kept);
}

#[tokio::test]
async fn the_file_behind_a_link_is_what_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    std::fs::write(&real, "old").unwrap();
    symlink("real", &link).unwrap();
    let staged = StagedFile::create(&UserPath::anywhere(&link)).await.unwrap();
    staged.file().write_all_at(b"new", 0).unwrap();
    staged.settled().await.unwrap().publish().await.unwrap();
    assert!(link.is_symlink());
    assert_eq!(std::fs::read(&real).unwrap(), b"new");
}

#[tokio::test]
async fn targets_that_are_no_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let fifo = folder.join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    symlink("nowhere", folder.join("dangling")).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    let cases = [
        (path("fifo"), "is a FIFO, not a regular file", Kind::StorageFailed),
        (path("socket"), "is a socket, not a regular file", Kind::StorageFailed),
        ("/dev/null".to_owned(), "is a device, not a regular file", Kind::StorageFailed),
        (path(""), "is a directory, not a regular file", Kind::StorageFailed),
        ("/".to_owned(), "is the root directory", Kind::DestinationExists),
    ];
    for (target, problem, kind) in cases {
        let error = StagedFile::create(&UserPath::anywhere(Path::new(&target))).await.unwrap_err();
        assert_eq!((error.to_string(), error.kind()), (format!("`{target}` {problem}"), kind));
    }
    let missing = "No such file or directory (os error 2)";
    for (target, message) in [
        (path("dangling"), format!("cannot resolve `{}`: {missing}", path("dangling"))),
        (path("no/file"), format!("cannot open `{}`: {missing}", path("no"))),
    ] {
        let error = StagedFile::create(&UserPath::anywhere(Path::new(&target))).await.unwrap_err();
        assert_eq!((error.to_string(), error.kind()), (message, Kind::NotFound));
    }
    assert_eq!(names(&folder), ["dangling", "fifo", "socket"]);
}

#[tokio::test]
async fn a_failed_publication_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let target = folder.join("a");
    let staged = StagedFile::create(&UserPath::anywhere(&target)).await.unwrap();
    // Somebody puts a directory in the way.
    std::fs::create_dir(&target).unwrap();
    let error = staged.settled().await.unwrap().publish().await.unwrap_err();
    let cause = "Is a directory (os error 21)";
    assert_eq!(error.to_string(), format!("cannot replace `{}`: {cause}", target.display()));
    assert_eq!(names(&folder), ["a"]);
}
