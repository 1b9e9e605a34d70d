use std::io::Write as _;
use std::process::Command;

use super::*;
use crate::access::Access;
use crate::blob::{Codec, CodecMemory, compress};
use crate::transport::local::UserPath;

async fn content(archive: &Archive, name: &str) -> Vec<u8> {
    let found = archive.find(name).unwrap().unwrap();
    let chunks: Vec<Bytes> = archive.chunks(found.extent).try_collect().await.unwrap();
    chunks.concat()
}

/// An archive made by GNU tar, with a file, a long name, a link, and the order of `ls`.
fn made_by_tar(folder: &Path, format: &str) -> PathBuf {
    let long = "l".repeat(150);
    std::fs::create_dir_all(folder.join("tree/id")).unwrap();
    std::fs::write(folder.join("tree/ab.tar"), b"layer").unwrap();
    std::fs::write(folder.join("tree").join(&long), vec![7; 1000]).unwrap();
    if !folder.join("tree/id/layer.tar").exists() {
        std::os::unix::fs::symlink("../ab.tar", folder.join("tree/id/layer.tar")).unwrap();
    }
    let path = folder.join("a.tar");
    let status = Command::new("tar")
        .args(["--format", format, "-C"])
        .arg(folder.join("tree"))
        .arg("-cf")
        .arg(&path)
        .arg(".")
        .status();
    assert!(status.unwrap().success());
    path
}

#[tokio::test]
async fn archives_of_gnu_tar_are_read_in_each_of_its_formats() {
    let folder = tempfile::tempdir().unwrap();
    for format in ["gnu", "pax", "oldgnu"] {
        let archive =
            Archive::open(&UserPath::anywhere(made_by_tar(folder.path(), format))).await.unwrap();
        assert_eq!(content(&archive, "ab.tar").await, b"layer");
        assert_eq!(content(&archive, "./ab.tar").await, b"layer");
        assert_eq!(content(&archive, &"l".repeat(150)).await, vec![7; 1000]);
        let linked = archive.find("id/layer.tar").unwrap().unwrap();
        assert_eq!(linked.name, "ab.tar");
        assert_eq!(archive.find("id").unwrap(), None);
        assert_eq!(archive.find("none").unwrap(), None);
    }
}

#[tokio::test]
async fn a_compressed_archive_is_read_like_a_plain_one_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let plain = std::fs::read(made_by_tar(folder.path(), "gnu")).unwrap();
    let path = folder.path().join("compressed");
    for format in [Compression::Gzip, Compression::Zstd] {
        let codec = Codec::new(format, None).unwrap();
        let chunks = Box::pin(futures::stream::iter([Ok(Bytes::from(plain.clone()))]));
        let compressed: Vec<Bytes> =
            compress(chunks, codec, &CodecMemory::default()).try_collect().await.unwrap();
        std::fs::write(&path, compressed.concat()).unwrap();
        let archive = Archive::open(&UserPath::anywhere(&path)).await.unwrap();
        assert_eq!(content(&archive, "ab.tar").await, b"layer");
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["a.tar", "compressed", "tree"]);
    }
}

/// Below a folder, the archive's own path leads somewhere else from where the program runs.
#[tokio::test]
async fn what_is_unpacked_stays_beside_the_archive_in_its_volume() {
    let folder = tempfile::tempdir().unwrap();
    let path = made_by_tar(folder.path(), "gnu");
    let volume = folder.path().join("volume");
    std::fs::create_dir_all(volume.join("deep")).unwrap();
    let packed = Command::new("gzip").arg("--stdout").arg(&path).output().unwrap();
    std::fs::write(volume.join("deep/packed"), packed.stdout).unwrap();
    std::os::unix::fs::symlink(folder.path(), volume.join("out")).unwrap();
    let below = |path: &str| {
        let root = Some(volume.as_path().into());
        UserPath::new(path.as_ref(), &Access { root, scratch_bytes: Some(7), ..Access::default() })
    };
    let archive = Archive::open(&below("deep/packed")).await.unwrap();
    assert_eq!(content(&archive, "ab.tar").await, b"layer");
    let spooled = spool(&below("deep/packed")).unwrap();
    assert_eq!((spooled.folder.as_path(), spooled.most), (Path::new("deep"), None));
    // A link that is put in the folder's place leads nowhere: the folder for temporary files is taken.
    let spooled = spool(&below("out/packed")).unwrap();
    assert_eq!((spooled.folder, spooled.most), (std::env::temp_dir(), Some(7)));
}

/// A kubelet counts the files of a folder by their names, and ends a pod that has too much there again and again.
#[tokio::test]
async fn the_folder_for_temporary_files_has_a_bound() {
    let bytes = |most| {
        let folder = tempfile::tempdir().unwrap();
        let file = Directory::open(folder.path()).unwrap().unnamed_file().unwrap();
        let chunks = futures::stream::iter((0..4).map(|_| Ok(Bytes::from_static(b"chunk"))));
        unpack(Box::pin(chunks), Spool { file, folder: "/tmp".into(), most })
    };
    for most in [None, Some(20)] {
        assert_eq!(bytes(most).await.unwrap().metadata().unwrap().len(), 20, "{most:?}");
    }
    let error = bytes(Some(19)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::LimitExceeded);
    assert_eq!(error.to_string(), "it decompresses to more than the 19 bytes that `/tmp` may take");
    assert_eq!(error.class(), crate::error::Class::Permanent);
}

#[tokio::test]
async fn small_files_are_read_within_their_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = made_by_tar(folder.path(), "gnu");
    let archive = Archive::open(&UserPath::anywhere(&path)).await.unwrap();
    assert_eq!(archive.read("ab.tar", 5).await.unwrap().unwrap(), "layer");
    assert_eq!(archive.read("none", 5).await.unwrap(), None);
    let error = archive.read("ab.tar", 4).await.unwrap_err();
    let message = format!(
        "reading archive `{}`: member `ab.tar` has 5 bytes, more than the limit of 4",
        path.display()
    );
    assert_eq!((error.kind(), error.to_string()), (Kind::LimitExceeded, message));
}

#[tokio::test]
async fn what_is_not_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let check = async |path: &Path, kind, message: &str| {
        let error = Archive::open(&UserPath::anywhere(path)).await.err().unwrap();
        let message = message.replace("PATH", &path.display().to_string());
        assert_eq!((error.kind(), error.to_string()), (kind, message));
    };
    check(&fifo, Kind::StorageFailed, "`PATH` is a FIFO, not a regular file").await;
    let message = "`PATH` is a directory, not a regular file";
    check(folder.path(), Kind::StorageFailed, message).await;
    let none = folder.path().join("none");
    let message = "cannot open `PATH`: No such file or directory (os error 2)";
    check(&none, Kind::NotFound, message).await;
    let text = folder.path().join("text");
    std::fs::write(&text, "not an archive ".repeat(100)).unwrap();
    check(&text, Kind::InvalidImage, "reading archive `PATH`: it is not a tar archive").await;
    std::fs::File::create(&text).unwrap().write_all(b"short").unwrap();
    check(&text, Kind::InvalidImage, "reading archive `PATH`: it is not a tar archive").await;
}
