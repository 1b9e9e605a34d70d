//! Kinds, classes and words of errors.

use super::*;

#[test]
fn an_error_says_what_where_and_what_next() {
    let error = Error::new(Kind::RegistryUnavailable, "the registry answered 503")
        .doing("uploading blob `sha256:ab`")
        .doing("pushing to `docker://r/a:1`")
        .on(Side::Destination)
        .on(Side::Source)
        .hint("try later")
        .hint("an outer place's guess");
    assert_eq!(
        error.to_string(),
        "pushing to `docker://r/a:1`: uploading blob `sha256:ab`: the registry answered 503"
    );
    assert_eq!(error.side(), Some(Side::Destination));
    assert_eq!(error.next_step(), Some("try later"));
    assert_eq!(error.clone().during("something vague").to_string(), error.to_string());
    assert_eq!(Error::cancelled().during("b").to_string(), "b: the push was cancelled");
}

#[test]
fn exit_codes_follow_kind_and_class() {
    let code = |kind| Error::new(kind, "").exit_code();
    let codes = Kind::ALL.map(code);
    let expected =
        [2, 2, 1, 1, 1, 1, 1, 1, 1, 75, 1, 1, 75, 75, 75, 75, 1, 1, 1, 1, 1, 1, 75, 130, 1];
    assert_eq!(codes, expected);
    assert_eq!(Error::new(Kind::StorageFailed, "").transient().exit_code(), 75);
    assert_eq!(Error::new(Kind::RateLimited, "").permanent().exit_code(), 1);
}

#[test]
fn kinds_have_names_of_their_own() {
    let mut names = Kind::ALL.map(Kind::as_str).to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Kind::ALL.len());
}

#[test]
fn file_faults_are_classed_by_their_cause() {
    let error = |kind| Error::io("write", Path::new("/x"), &io::Error::from(kind));
    let cases = [
        (io::ErrorKind::StorageFull, Kind::StorageFailed, 75),
        (io::ErrorKind::ReadOnlyFilesystem, Kind::StorageFailed, 1),
        (io::ErrorKind::PermissionDenied, Kind::StorageFailed, 1),
        (io::ErrorKind::NotFound, Kind::NotFound, 1),
        (io::ErrorKind::Interrupted, Kind::StorageFailed, 75),
    ];
    for (cause, kind, code) in cases {
        let error = error(cause);
        assert_eq!((error.kind(), error.exit_code()), (kind, code), "{error}");
    }
}

#[test]
fn the_folder_of_a_name_alone_is_named() {
    let cause = io::Error::from(io::ErrorKind::PermissionDenied);
    let error = Error::io("write to", Path::new(""), &cause);
    assert_eq!(error.to_string(), "cannot write to `.`: permission denied");
}

#[test]
fn too_many_open_files_are_a_matter_of_time() {
    let error = Error::io("open", Path::new("/x"), &io::Error::from_raw_os_error(24));
    assert_eq!((error.kind(), error.exit_code()), (Kind::StorageFailed, 75));
    assert_eq!(error.next_step(), Some("raise the limit of open files (`ulimit -n`)"));
}

#[test]
fn control_characters_from_outside_are_escaped() {
    let error = Error::new(Kind::AccessDenied, "a\u{1b}]0;x\r\u{202e}b é");
    assert_eq!(error.to_string(), "a\\u{1b}]0;x\\r\\u{202e}b é");
}
