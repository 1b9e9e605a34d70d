//! Whatever a layer's bytes are: the reader comes to an end, holds no more than it may, and says the same however the bytes
//! come in.

use imagepush::bundle::{Bundle, Folder, LayerReader, LayerView, Merge};
use imagepush::limits::{MAX_BUNDLE, MAX_BUNDLE_FILES, MAX_FILE_NAME};

/// Most bytes of a view: its files, their names, and a sentence for each that can't be used.
const MAX_VIEW: usize = MAX_BUNDLE + (MAX_BUNDLE_FILES + 1) * (MAX_FILE_NAME + 200);

pub(crate) fn check(data: &[u8]) {
    // The first byte chooses how large the chunks are.
    let Some((chunk, archive)) = data.split_first() else { return };
    let archive = &with_checksums(archive);
    let view = view(archive, archive.len().max(1));
    assert_eq!(view, self::view(archive, usize::from(*chunk) + 1));
    assert!(view.size() <= MAX_VIEW);
    let mut merge = Merge::default();
    if merge.below(&view).is_ok()
        && merge.below(&view).is_ok()
        && let Ok(files) = merge.into_files()
    {
        let _ = Bundle::of_files(&files);
    }
}

fn view(archive: &[u8], chunk: usize) -> LayerView {
    let mut reader = LayerReader::new(Folder::default());
    archive.chunks(chunk).for_each(|chunk| reader.feed(chunk));
    reader.finish()
}

/// The same with a good checksum in each header: chance would hardly ever find one.
fn with_checksums(archive: &[u8]) -> Vec<u8> {
    let mut archive = archive.to_vec();
    for header in archive.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    archive
}
