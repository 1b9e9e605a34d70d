use std::os::unix::fs::symlink;

use super::*;
use crate::transport::local::Directory;
use crate::transport::local::UserPath;

const SIZE: usize = 5 * CHUNK + 17;

fn content() -> Vec<u8> {
    (0..SIZE).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

async fn read(path: &Path, offset: usize, length: usize) -> Result<Vec<u8>> {
    let file = Arc::new(open_file(path, OFlags::RDONLY)?);
    let chunks: Vec<Bytes> =
        read_range(file, path.to_owned(), offset as u64, length as u64).try_collect().await?;
    assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK));
    Ok(chunks.concat())
}

#[tokio::test]
async fn ranges_are_read_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let content = content();
    std::fs::write(&path, &content).unwrap();
    for (offset, length) in
        [(0, SIZE), (5, 1), (5, CHUNK), (CHUNK - 1, CHUNK + 2), (SIZE, 0), (SIZE - 1, 1)]
    {
        let got = read(&path, offset, length).await.unwrap();
        assert!(got == content[offset..offset + length], "{length} bytes from {offset}");
    }
    let error = read(&path, SIZE - 1, 2).await.unwrap_err();
    let expected = format!("`{}` ends after {SIZE} bytes, before its content does", path.display());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn what_is_in_memory_is_read_in_place_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let content = content();
    std::fs::write(&path, &content).unwrap();
    let file = open_file(&path, OFlags::RDONLY).unwrap();
    // What was just written is in memory, unless the file system can't tell.
    let chunk = read_in_place(&file, 5, CHUNK);
    assert!(chunk.is_none_or(|chunk| chunk == content[5..5 + CHUNK]));
    // The end of a file is not made up for.
    assert_eq!(read_in_place(&file, (SIZE - 1) as u64, 2), None);
    assert_eq!(read_in_place(&file, 0, 0), None);
    assert_eq!(read_in_place(&File::open("/proc/self/status").unwrap(), 0, 10), None);
}

#[tokio::test]
async fn streams_are_written_in_order_and_their_errors_kept() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("f");
    let parts: Vec<Bytes> = content().chunks(1000).map(Bytes::copy_from_slice).collect();

    let staged = StagedFile::create(&UserPath::anywhere(&target)).await.unwrap();
    let whole = stream::iter(parts.clone().into_iter().map(Ok)).boxed();
    assert_eq!(write_chunks(&staged, whole).await.unwrap(), SIZE as u64);
    staged.settled().await.unwrap().publish().await.unwrap();
    assert!(std::fs::read(&target).unwrap() == content());

    let staged = StagedFile::create(&UserPath::anywhere(&target)).await.unwrap();
    let broken = Error::new(Kind::NetworkError, "the connection broke");
    let broken = stream::iter([Ok(parts[0].clone()), Err(broken)]).boxed();
    let error = write_chunks(&staged, broken).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (Kind::NetworkError, "the connection broke".into())
    );
}

#[test]
fn small_files_are_regular_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), "12345").unwrap();
    symlink("f", folder.path().join("link")).unwrap();
    std::fs::create_dir(folder.path().join("below")).unwrap();
    let directory = Directory::open(folder.path()).unwrap();
    assert_eq!(directory.read_small("f", 5).unwrap(), "12345");
    let cases = [
        ("f", "has 5 bytes, more than the limit of 4", Kind::LimitExceeded),
        ("link", "is a symbolic link, not a regular file", Kind::StorageFailed),
        ("below", "is a directory, not a regular file", Kind::StorageFailed),
    ];
    for (name, problem, kind) in cases {
        let error = directory.read_small(name, 4).unwrap_err();
        let expected = format!("`{}` {problem}", folder.path().join(name).display());
        assert_eq!((error.to_string(), error.kind()), (expected, kind));
    }
    let devices = Directory::open(Path::new("/dev")).unwrap();
    let error = devices.read_small("zero", 5).unwrap_err();
    assert_eq!(error.to_string(), "`/dev/zero` is a device, not a regular file");
    // Says it is empty, and isn't.
    let processes = Directory::open(Path::new("/proc/self")).unwrap();
    let error = processes.read_small("status", 5).unwrap_err();
    assert_eq!(error.kind(), Kind::LimitExceeded);
}
