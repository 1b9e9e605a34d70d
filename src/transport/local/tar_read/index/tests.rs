use std::io::Write as _;

use tar_core::Header;
use tar_core::builder::PaxBuilder;

use super::*;

/// Builds archives, right and wrong ones.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn member(self, name: &str, kind: EntryType, body: &[u8]) -> Self {
        self.linked(name, kind, "", body)
    }

    fn file(self, name: &str, body: &[u8]) -> Self {
        self.member(name, EntryType::Regular, body)
    }

    fn linked(self, name: &str, kind: EntryType, link: &str, body: &[u8]) -> Self {
        self.sized(name, kind, link, body.len() as u64, body)
    }

    fn sized(mut self, name: &str, kind: EntryType, link: &str, size: u64, body: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_path(name.as_bytes()).unwrap();
        header.set_link_name(link.as_bytes()).unwrap();
        header.set_entry_type(kind);
        for set in [Header::set_uid, Header::set_gid, Header::set_mtime] {
            set(&mut header, 0).unwrap();
        }
        header.set_mode(0o644).unwrap();
        header.set_size(size).unwrap();
        header.set_checksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(body);
        self.0.resize(self.0.len().next_multiple_of(HEADER_SIZE), 0);
        self
    }

    fn pax(self, kind: EntryType, key: &str, value: &str) -> Self {
        let mut records = PaxBuilder::new();
        records.add(key, value);
        let records = records.finish();
        self.member("pax", kind, &records)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * HEADER_SIZE, 0);
        self.0
    }
}

fn indexed(bytes: &[u8]) -> Result<Members, Fault> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    index(&file, bytes.len() as u64)
}

fn refused(bytes: &[u8], message: &str) {
    assert_eq!(indexed(bytes).unwrap_err().to_string(), message);
}

fn file(offset: u64, size: u64) -> Member {
    Member::File(Extent { offset, size })
}

#[test]
fn members_are_found_where_they_stand() {
    let tar = Tar::default()
        .member("blobs/", EntryType::Directory, b"")
        .member("blobs/", EntryType::Directory, b"")
        .file("./blobs/a", &[1; 513])
        .file("old/", b"")
        .file("b", b"")
        .linked("id/l", EntryType::Symlink, "../b", b"");
    let expected = BTreeMap::from([
        ("blobs/a".to_owned(), file(1536, 513)),
        ("b".to_owned(), file(3584, 0)),
        ("id/l".to_owned(), Member::Link("b".to_owned())),
    ]);
    assert_eq!(indexed(&tar.end()).unwrap(), expected);
}

#[test]
fn an_extended_header_says_more_than_the_one_it_extends() {
    let long = "n".repeat(200);
    let named = Tar::default().pax(EntryType::XHeader, "path", &long).file("short", b"ab");
    assert_eq!(indexed(&named.end()).unwrap(), BTreeMap::from([(long, file(1536, 2))]));
    let sized = Tar::default().pax(EntryType::XHeader, "size", "700").sized(
        "big",
        EntryType::Regular,
        "",
        0,
        &[1; 700],
    );
    let expected =
        BTreeMap::from([("big".to_owned(), file(1536, 700)), ("after".to_owned(), file(3072, 1))]);
    assert_eq!(indexed(&sized.file("after", b"x").end()).unwrap(), expected);
}

#[test]
fn members_that_could_mean_two_things_are_refused() {
    let tar = Tar::default;
    let nul = tar().pax(EntryType::XHeader, "path", "a\0b");
    let cases: [(Tar, &str); 15] = [
        (tar().file("../a", b""), "member `../a` has a name with `..`"),
        (tar().file("/etc/passwd", b""), "member `/etc/passwd` has an absolute name"),
        (nul.file("x", b""), "member `a\0b` has a zero byte in its name"),
        (tar().file("./.", b""), "member `./.` has no name"),
        (tar().linked("l", EntryType::Link, "b", b""), "member `l` is a hard link"),
        (
            tar().linked("l", EntryType::Symlink, "/etc/passwd", b""),
            "member `l` is a link to an absolute path",
        ),
        (
            tar().linked("a/l", EntryType::Symlink, "../../x", b""),
            "member `a/l` is a link that leaves the archive",
        ),
        (
            tar().linked("l", EntryType::Symlink, "b", b"body"),
            "member `l` has a body, though it is not a file",
        ),
        (tar().file("a", b"1").file("./a", b"2"), "member `./a` occurs twice"),
        (
            tar().member("f", EntryType::Fifo, b""),
            "member `f` is neither a file, a directory nor a symbolic link",
        ),
        (
            tar().pax(EntryType::XHeader, "size", "2").file("a", b"1"),
            "member `a` has two different sizes",
        ),
        (
            tar().pax(EntryType::XHeader, "GNU.sparse.map", "0,1").file("a", b"1"),
            "member `a` is a sparse file",
        ),
        (
            tar().pax(EntryType::XGlobalHeader, "path", "b").file("a", b"1"),
            "a header for all members changes their `path`",
        ),
        (
            tar().pax(EntryType::XGlobalHeader, "GNU.sparse.map", "0,1").file("a", b"1"),
            "a header for all members changes their `GNU.sparse.map`",
        ),
        (
            tar().file("a", b"").pax(EntryType::XHeader, "path", &"n".repeat(5000)).file("b", b""),
            "the header at byte 512 is damaged: path exceeds limit: 5000 bytes > 4096 bytes",
        ),
    ];
    for (tar, message) in cases {
        refused(&tar.end(), message);
    }
}

#[test]
fn a_comment_for_all_members_does_no_harm() {
    let tar = Tar::default().pax(EntryType::XGlobalHeader, "comment", "c").file("a", b"1");
    assert_eq!(indexed(&tar.end()).unwrap(), BTreeMap::from([("a".to_owned(), file(1536, 1))]));
}

#[test]
fn a_torso_is_refused_wherever_it_ends() {
    let whole = Tar::default().file("a", &[1; 700]).file("b", &[2; 10]).end();
    assert_eq!(whole.len(), 3584);
    assert_eq!(indexed(&whole).unwrap().len(), 2);
    for length in 1..whole.len() {
        let error = indexed(&whole[..length]).unwrap_err().to_string();
        let expected = match length {
            0..512 => "it is not a tar archive".to_owned(),
            512..1536 => {
                format!("it is truncated: it ends at byte {length}, in the middle of member `a`")
            }
            2048..2560 => {
                format!("it is truncated: it ends at byte {length}, in the middle of member `b`")
            }
            _ => format!("it is truncated: it ends at byte {length}, without an end marker"),
        };
        assert_eq!(error, expected, "{length}");
    }
}

#[test]
fn damage_is_told_from_the_end() {
    refused(b"", "it is empty");
    let mut damaged = Tar::default().file("a", b"1").file("b", b"2").end();
    damaged[1024] = b'x';
    let error = indexed(&damaged).unwrap_err().to_string();
    assert!(error.starts_with("the header at byte 1024 is damaged: header error: "), "{error}");
}

#[test]
fn a_size_beyond_the_end_is_a_torso_and_not_an_overflow() {
    for size in [1 << 40, i64::MAX as u64, u64::MAX] {
        let tar = Tar::default().sized("a", EntryType::Regular, "", size, b"1").end();
        let error = indexed(&tar).unwrap_err();
        assert!(matches!(error, Fault::Cut { .. } | Fault::NotTar), "{error}");
    }
}

#[test]
fn an_endless_map_of_a_sparse_file_is_not_read_to_its_end() {
    let mut records = PaxBuilder::new();
    records.add("GNU.sparse.major", "1").add("GNU.sparse.minor", "0");
    records.add("GNU.sparse.realsize", "1").add("GNU.sparse.name", "a");
    let tar = Tar::default()
        .member("pax", EntryType::XHeader, &records.finish())
        .file("a", &vec![b'1'; 1 << 20])
        .end();
    refused(&tar, "the headers at byte 0 have no end within 131072 bytes");
}
