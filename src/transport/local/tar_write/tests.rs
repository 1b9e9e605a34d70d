use std::path::PathBuf;
use std::process::Command;

use futures::StreamExt as _;

use super::*;
use crate::transport::local::UserPath;
use crate::transport::local::tar_read::Archive;

struct Scratch {
    folder: tempfile::TempDir,
    writer: TarWriter,
}

impl Scratch {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        let file = Arc::new(file);
        Self { writer: TarWriter::new(file, path, 0o644), folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a.tar")
    }

    async fn content(&self, name: &str) -> Option<Bytes> {
        let archive = Archive::open(&UserPath::anywhere(self.path())).await.unwrap();
        archive.read(name, 1 << 20).await.unwrap()
    }

    fn listed(&self, options: &[&str]) -> String {
        let output = Command::new("tar").args(options).arg(self.path()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }
}

fn stream(parts: &[&'static [u8]]) -> Chunks {
    let parts: Vec<Result<Bytes>> = parts.iter().map(|part| Ok(Bytes::from_static(part))).collect();
    futures::stream::iter(parts).boxed()
}

fn broken(parts: &[&'static [u8]]) -> Chunks {
    let end = futures::stream::iter([Err(Error::cancelled())]);
    stream(parts).chain(end).boxed()
}

#[tokio::test]
async fn gnu_tar_lists_what_was_written() {
    let scratch = Scratch::new();
    let long = "n".repeat(150);
    scratch.writer.directory("blobs").await.unwrap();
    scratch.writer.file("blobs/a", 3, stream(&[b"ab", b"c"])).await.unwrap();
    scratch.writer.symlink("id/layer.tar", "../blobs/a").await.unwrap();
    scratch.writer.append(stream(&[b"tail"]), || Ok("blobs/b".to_owned())).await.unwrap();
    scratch.writer.bytes(&long, Bytes::from_static(b"")).await.unwrap();
    scratch.writer.finish().await.unwrap();
    let listed = scratch.listed(&["--utc", "--numeric-owner", "-tvf"]);
    let expected = format!(
        "drwxr-xr-x 0/0               0 1970-01-01 00:00 blobs/\n\
         -rw-r--r-- 0/0               3 1970-01-01 00:00 blobs/a\n\
         lrwxrwxrwx 0/0               0 1970-01-01 00:00 id/layer.tar -> ../blobs/a\n\
         -rw-r--r-- 0/0               4 1970-01-01 00:00 blobs/b\n\
         -rw-r--r-- 0/0               0 1970-01-01 00:00 {long}\n"
    );
    assert_eq!(listed, expected);
    assert_eq!(scratch.content("id/layer.tar").await.unwrap(), "abc");
    assert_eq!(scratch.content("blobs/b").await.unwrap(), "tail");
}

#[tokio::test]
async fn members_written_at_the_same_time_do_not_touch_each_other() {
    let scratch = Scratch::new();
    let body = |n: u8| Bytes::from(vec![n; 300_000 + usize::from(n)]);
    let write = |n: u8| {
        let (writer, body) = (&scratch.writer, body(n));
        let parts: Vec<_> =
            body.chunks(7000).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
        let chunks = futures::stream::iter(parts)
            .then(|part| async {
                tokio::task::yield_now().await;
                part
            })
            .boxed();
        async move {
            if n.is_multiple_of(3) {
                writer.append(chunks, || Ok(n.to_string())).await
            } else {
                writer.file(&n.to_string(), body.len() as u64, chunks).await
            }
        }
    };
    futures::future::try_join_all((0..20).map(write)).await.unwrap();
    scratch.writer.finish().await.unwrap();
    for n in 0..20 {
        assert!(scratch.content(&n.to_string()).await.unwrap() == body(n), "{n}");
    }
}

#[tokio::test]
async fn a_blob_that_breaks_off_is_written_again_in_its_place() {
    let scratch = Scratch::new();
    let writer = &scratch.writer;
    let message = "the push was cancelled";
    assert_eq!(writer.file("a", 4, broken(&[b"zz"])).await.unwrap_err().to_string(), message);
    let name = || Ok("b".to_owned());
    let garbage = [&[b'z'; 5000][..]];
    assert_eq!(writer.append(broken(&garbage), name).await.unwrap_err().to_string(), message);
    let unfinished = writer.finish().await.unwrap_err().to_string();
    assert_eq!(unfinished, "member `a` was begun and never finished");
    writer.file("a", 4, stream(&[b"good"])).await.unwrap();
    writer.append(stream(&[b"also"]), name).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(scratch.content("a").await.unwrap(), "good");
    assert_eq!(scratch.content("b").await.unwrap(), "also");
    let bytes = std::fs::read(scratch.path()).unwrap();
    assert_eq!(bytes.len(), 4 * 512 + 1024);
    assert!(!bytes.contains(&b'z'), "a broken blob left bytes behind");
}

#[tokio::test]
async fn what_is_there_is_not_written_twice() {
    let scratch = Scratch::new();
    let writer = &scratch.writer;
    writer.file("a", 1, stream(&[b"1"])).await.unwrap();
    writer.file("a", 1, broken(&[])).await.unwrap();
    writer.append(stream(&[b"2"]), || Ok("a".to_owned())).await.unwrap();
    let error = writer.file("a", 2, stream(&[b"22"])).await.unwrap_err();
    assert_eq!(error.to_string(), "member `a` has 1 bytes and should have 2");
    writer.finish().await.unwrap();
    assert_eq!(scratch.listed(&["-tf"]), "a\n");
    assert_eq!(scratch.content("a").await.unwrap(), "1");
}

#[tokio::test]
async fn what_was_given_up_can_come_again_from_elsewhere() {
    let scratch = Scratch::new();
    let writer = &scratch.writer;
    writer.file("a", 4, broken(&[b"zz"])).await.unwrap_err();
    writer.append(stream(&[b"go", b"od"]), || Ok("a".to_owned())).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(scratch.listed(&["-tf"]), "a\n");
    assert_eq!(scratch.content("a").await.unwrap(), "good");
}

#[tokio::test]
async fn a_stream_of_the_wrong_length_is_a_bug_and_not_a_broken_archive() {
    let scratch = Scratch::new();
    let writer = &scratch.writer;
    let error = writer.file("a", 2, stream(&[b"123"])).await.unwrap_err();
    assert_eq!(error.to_string(), "a blob is longer than the range it was given");
    let error = writer.file("a", 2, stream(&[b"1"])).await.unwrap_err();
    assert_eq!(error.to_string(), "member `a` got 1 bytes instead of 2");
    assert!(writer.finish().await.is_err());
}

#[test]
fn large_sizes_are_understood_by_readers() {
    let size = (8 << 30) + 5;
    let header = header("big", &Kind::File { mode: 0o644, size }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big.tar");
    let file = File::create(&path).unwrap();
    file.write_all_at(&header, 0).unwrap();
    file.set_len(512 + padded(size) + 1024).unwrap();
    let output = Command::new("tar").arg("-tvf").arg(&path).output().unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    assert!(listed.contains(&format!(" {size} ")), "{listed}");
}
