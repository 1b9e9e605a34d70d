//! Whatever a file of a bundle says: an error, or a form that is within bounds and gives itself when it is read again.

use imagepush::bundle::{Bundle, File};
use imagepush::limits::{MAX_BUNDLE, MAX_BUNDLE_OBJECTS};

pub(crate) fn check(data: &[u8]) {
    // The first byte chooses the language.
    let Some((language, text)) = data.split_first() else { return };
    let name = if language % 2 == 0 { "a.yaml" } else { "a.json" };
    let file = File { name: name.to_owned(), content: text.to_vec() };
    let Ok(Some(bundle)) = Bundle::of_files(&[file]) else { return };
    assert!((1..=MAX_BUNDLE_OBJECTS).contains(&bundle.objects().len()));
    assert!(bundle.yaml().len() <= MAX_BUNDLE);
    assert_eq!(Bundle::parse(bundle.yaml().as_bytes()).ok().as_ref(), Some(&bundle));
    // In another order, and each for itself.
    let documents = bundle.yaml().split_inclusive("---\n").map(|it| it.trim_end_matches("---\n"));
    let files = documents
        .filter(|text| !text.is_empty())
        .enumerate()
        .map(|(n, text)| File { name: format!("{n}.yaml"), content: text.as_bytes().to_vec() });
    let mut files: Vec<File> = files.collect();
    files.reverse();
    if files.len() == bundle.objects().len() {
        assert_eq!(Bundle::of_files(&files).ok().flatten().as_ref(), Some(&bundle));
    }
}
