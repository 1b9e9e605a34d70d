use tar_core::builder::EntryBuilder;

use super::*;

/// A member of a test's layer.
struct Member<'a> {
    name: &'a str,
    entry_type: EntryType,
    content: &'a [u8],
}

fn file<'a>(name: &'a str, content: &'a str) -> Member<'a> {
    Member { name, entry_type: EntryType::Regular, content: content.as_bytes() }
}

fn other(name: &str, entry_type: EntryType) -> Member<'_> {
    Member { name, entry_type, content: b"" }
}

fn tar(members: &[Member<'_>]) -> Vec<u8> {
    let mut archive = Vec::new();
    for Member { name, entry_type, content } in members {
        let mut entry = EntryBuilder::new_ustar();
        entry.path(name).entry_type(*entry_type);
        entry.size(content.len() as u64).unwrap().mode(0o644).unwrap().mtime(0).unwrap();
        entry.uid(0).unwrap().gid(0).unwrap();
        if matches!(entry_type, EntryType::Symlink | EntryType::Link) {
            entry.link_name("/etc/passwd");
        }
        archive.extend(entry.finish_bytes());
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(HEADER_SIZE), 0);
    }
    archive.resize(archive.len() + 2 * HEADER_SIZE, 0);
    archive
}

fn read(archive: &[u8], chunk: usize) -> LayerView {
    let mut reader = LayerReader::new(Folder::default());
    archive.chunks(chunk).for_each(|chunk| reader.feed(chunk));
    reader.finish()
}

fn view(members: &[Member<'_>]) -> LayerView {
    let archive = tar(members);
    let views = [1, 7, 512, 700, archive.len()].map(|chunk| read(&archive, chunk));
    assert!(views.iter().all(|view| *view == views[0]), "{views:?}");
    let [view, ..] = views;
    view
}

fn items(view: &LayerView) -> Vec<(&str, String)> {
    let shown = |item: &Item| match item {
        Item::File(content) => String::from_utf8_lossy(content).into_owned(),
        Item::Gone => "(gone)".to_owned(),
        Item::Unusable(reason) => format!("({reason})"),
    };
    view.items.iter().map(|(name, item)| (name.as_str(), shown(item))).collect()
}

#[test]
fn files_of_the_folder_are_collected() {
    let long = format!("x/{}", "n".repeat(300));
    let big = "x".repeat(70_000);
    let view = view(&[
        other("metadata/", EntryType::Directory),
        file("bin/app", &big),
        file("metadata/config.yaml", "a: 1"),
        file(&long, "content"),
        file("./metadata/b.json", "{}"),
        file("metadata/README.md", "# read me"),
        file("metadata/empty.yml", ""),
    ]);
    let expected =
        [("b.json", "{}".to_owned()), ("config.yaml", "a: 1".into()), ("empty.yml", String::new())];
    assert_eq!((items(&view), view.fault(), view.hides_below), (expected.to_vec(), None, false));
    assert_eq!((view.touches(), view.size()), (true, 6 + "b.jsonconfig.yamlempty.yml".len()));
}

#[test]
fn a_layer_without_the_folder_says_nothing_of_it() {
    for members in [&[][..], &[file("a", "1"), other("metadata/", EntryType::Directory)]] {
        let view = view(members);
        assert_eq!((view.touches(), view.fault()), (false, None));
    }
    assert_eq!(read(b"", 1), LayerView::default());
}

#[test]
fn links_and_devices_are_never_files() {
    let view = view(&[
        other("metadata/a.yaml", EntryType::Symlink),
        other("metadata/b.yaml", EntryType::Link),
        other("metadata/c.yaml", EntryType::Char),
        other("metadata/d.yaml", EntryType::Fifo),
        other("metadata/e.yaml", EntryType::Directory),
        // It would be taken for what stands above it.
        file("metadata/e.yaml/part", "a: 1"),
    ]);
    let link = "(is a link, and links in an image are not followed)".to_owned();
    let device = "(is not a regular file)".to_owned();
    let expected = [
        ("a.yaml", link.clone()),
        ("b.yaml", link),
        ("c.yaml", device.clone()),
        ("d.yaml", device),
        ("e.yaml", "(gone)".into()),
    ];
    assert_eq!(items(&view), expected);
}

#[test]
fn the_last_member_of_a_name_counts_and_whiteouts_are_for_lower_layers() {
    let twice = view(&[
        other("metadata/a.yaml", EntryType::Symlink),
        file("metadata/a.yaml", "2"),
        file("metadata/.wh.a.yaml", ""),
        file("metadata/.wh.b.yaml", ""),
        file("metadata/.wh..wh..opq", ""),
    ]);
    assert_eq!(items(&twice), [("a.yaml", "2".to_owned()), ("b.yaml", "(gone)".into())]);
    assert!(twice.hides_below);
    let link = view(&[file("metadata/a.yaml", "1"), other("metadata", EntryType::Symlink)]);
    assert_eq!(link.blocked, Some("a link, and links in an image are not followed"));
    assert_eq!((items(&link), link.hides_below), (vec![], true));
    let gone = view(&[file(".wh.metadata", ""), file("metadata/a.yaml", "1")]);
    assert_eq!((items(&gone), gone.hides_below), (vec![("a.yaml", "1".to_owned())], true));
}

#[test]
fn too_much_is_refused_without_being_held() {
    let large = "x".repeat(MAX_BUNDLE + 1);
    let large = read(&tar(&[file("metadata/a.yaml", &large), file("metadata/b.yaml", "1")]), 4096);
    let reason = "(takes the bundle beyond the limit of 4194304 bytes)".to_owned();
    assert_eq!(items(&large), [("a.yaml", reason), ("b.yaml", "1".into())]);
    let names: Vec<String> = (0..20_000).map(|n| format!("metadata/{n}.yaml")).collect();
    let members: Vec<Member<'_>> = names.iter().map(|name| file(name, "")).collect();
    let many = read(&tar(&members), 4096);
    assert_eq!(many.fault(), Some("the folder has more than the limit of 512 files"));
    assert_eq!(many.items.len(), MAX_BUNDLE_FILES + 1);
}

#[test]
fn what_readers_of_tar_differ_about_is_refused() {
    let content = "x".repeat(600);
    let whole = tar(&[file("metadata/a.yaml", &content)]);
    for length in [100, 512, 1111, 1536 + 100, 1536 + 512 + 100] {
        let view = read(&whole[..length], 64);
        assert_eq!(view.fault(), Some("its tar archive is cut off"), "{length}");
    }
    // Without an end marker or padding, but with all of the content: some tools write it so.
    for length in [1112, 1113, 1535, 1536, 1536 + 512, whole.len()] {
        let view = read(&whole[..length], 64);
        assert_eq!((items(&view), view.fault()), (vec![("a.yaml", content.clone())], None));
    }
    let devious = view(&[file("x/../metadata/a.yaml", "1")]);
    assert_eq!(devious.fault(), Some("a member's name leads into the folder by `..`"));
    let mut damaged = whole.clone();
    damaged[0] = b'n';
    let fault = read(&damaged, 512).fault.unwrap();
    assert!(fault.starts_with("its tar archive is damaged: "), "{fault}");
    assert!(read(&[7; 4096], 512).fault.is_some());
}

#[test]
fn a_time_before_1970_and_what_else_is_of_no_interest_passes() {
    for (record, fault) in [
        ("mtime=-3600.5", None),
        ("uid=nobody", None),
        ("size=one", Some("its tar archive has a member whose size is no number")),
        ("size=-1", Some("its tar archive has a member whose size is no number")),
    ] {
        let record = format!("{} {record}\n", record.len() + 4);
        let archive = tar(&[
            Member { name: "x", entry_type: EntryType::XHeader, content: record.as_bytes() },
            file("metadata/a.yaml", "1"),
        ]);
        assert_eq!(read(&archive, 100).fault(), fault, "{record}");
    }
}

#[test]
fn a_size_that_wraps_ends_nothing_early() {
    let mut archive = tar(&[file("a", "")]);
    // The largest size that base 256 can tell of, with its checksum.
    archive[124..136]
        .copy_from_slice(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    archive[148..156].fill(b' ');
    let sum: u32 = archive[..512].iter().map(|byte| u32::from(*byte)).sum();
    archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive.truncate(512);
    archive.extend(tar(&[file("metadata/a.yaml", "1")]));
    let view = read(&archive, 512);
    assert!(view.fault.is_some() && view.items.is_empty(), "{view:?}");
}
