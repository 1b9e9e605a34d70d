use std::sync::{Arc, Mutex};

use futures::FutureExt as _;

use super::*;
use crate::blob::{Codec, CodecMemory, compress};

/// What an observer has seen: the bytes, and how it ended.
type Seen = Arc<Mutex<(Vec<u8>, Option<Option<String>>)>>;

struct Watcher {
    seen: Seen,
    /// Bytes after which it has seen enough.
    enough: usize,
}

impl LayerObserver for Watcher {
    fn take(&mut self, bytes: &[u8]) -> bool {
        let mut seen = self.seen.lock().unwrap();
        seen.0.extend_from_slice(bytes);
        seen.0.len() < self.enough
    }

    fn end(self: Box<Self>, fault: Option<String>) {
        self.seen.lock().unwrap().1 = Some(fault);
    }
}

fn content() -> Vec<u8> {
    (0..300_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect()
}

async fn collect(chunks: Chunks) -> Vec<u8> {
    chunks.try_collect::<Vec<Bytes>>().await.unwrap().concat()
}

async fn form(compression: Compression) -> Vec<u8> {
    let plain = stream::iter([Ok(Bytes::from(content()))]).boxed();
    if compression == Compression::None {
        return content();
    }
    let codec = Codec::new(compression, None).unwrap();
    collect(compress(plain, codec, &CodecMemory::default())).await
}

/// Passes bytes in chunks of a size, and returns what was seen of them.
async fn pass(
    bytes: &[u8],
    chunk: usize,
    enough: usize,
    size: Option<u64>,
) -> (Vec<u8>, Option<Option<String>>) {
    let parts: Vec<Result<Bytes>> =
        bytes.chunks(chunk).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
    let seen = Seen::default();
    let watcher = Watcher { seen: Arc::clone(&seen), enough };
    let passed = collect(observe(
        stream::iter(parts).boxed(),
        size,
        Box::new(watcher),
        &Looks::in_passing(),
    ))
    .await;
    assert!(passed == bytes, "the stream was changed");
    Arc::try_unwrap(seen).unwrap().into_inner().unwrap()
}

#[tokio::test]
async fn every_form_is_seen_as_it_was() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let bytes = form(compression).await;
        for chunk in [1000, 100_000, bytes.len()] {
            let (seen, end) = pass(&bytes, chunk, usize::MAX, None).await;
            assert!(seen == content(), "{compression} in chunks of {chunk}");
            assert_eq!(end, Some(None));
        }
    }
    assert_eq!(pass(b"abc", 1, usize::MAX, None).await, (b"abc".to_vec(), Some(None)));
    assert_eq!(pass(b"", 1, usize::MAX, None).await, (vec![], Some(None)));
}

#[tokio::test]
async fn who_has_seen_enough_is_shown_no_more_and_told_of_no_fault() {
    let mut bytes = form(Compression::Gzip).await;
    let length = bytes.len();
    bytes[length - 5] ^= 1;
    let (seen, end) = pass(&bytes, 1000, 1, None).await;
    assert!(seen.len() < content().len());
    assert_eq!(end, Some(None));
}

#[tokio::test]
async fn what_can_not_be_decompressed_passes_all_the_same() {
    let gzip = form(Compression::Gzip).await;
    let (_, end) = pass(&gzip[..gzip.len() / 2], 1000, usize::MAX, None).await;
    assert!(end.unwrap().unwrap().starts_with("its data is corrupt: "));
    let mut zstd = form(Compression::Zstd).await;
    let middle = zstd.len() / 2;
    zstd[middle..].fill(7);
    let (_, end) = pass(&zstd, 1000, usize::MAX, None).await;
    assert!(end.unwrap().unwrap().starts_with("its data is corrupt: "));
    let (_, end) = pass(b"\xfd7zXZ\x00 and more", 4, usize::MAX, None).await;
    assert_eq!(end.unwrap().unwrap(), "it is compressed with xz");
}

/// A window costs memory before anybody has asked for what is in it.
#[tokio::test]
async fn a_large_window_is_for_who_looks_alone() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(24).unwrap();
    encoder.write_all(&content()).unwrap();
    let bytes = Bytes::from(encoder.finish().unwrap());
    for (looks, whole) in [(Looks::in_passing(), false), (Looks::alone(), true)] {
        let seen = Seen::default();
        let watcher = Watcher { seen: Arc::clone(&seen), enough: usize::MAX };
        let chunks = stream::iter([Ok(bytes.clone())]).boxed();
        assert!(collect(observe(chunks, None, Box::new(watcher), &looks)).await == bytes);
        let (seen, end) = Arc::try_unwrap(seen).unwrap().into_inner().unwrap();
        assert_eq!((seen == content(), end.unwrap().is_none()), (whole, whole));
    }
}

/// As many windows as there are turns; who waits for one doesn't ask for more bytes.
#[tokio::test]
async fn windows_wait_for_their_turn() {
    let bytes = Bytes::from(form(Compression::Zstd).await);
    let (looks, seen) = (Looks::in_passing(), Seen::default());
    let look = || {
        let watcher = Watcher { seen: Arc::clone(&seen), enough: usize::MAX };
        let parts = [Ok(bytes.slice(..100)), Ok(bytes.slice(100..))];
        observe(stream::iter(parts).boxed(), None, Box::new(watcher), &looks)
    };
    let mut first: Vec<Chunks> = (0..PARALLEL_LOOKS).map(|_| look()).collect();
    for chunks in &mut first {
        chunks.try_next().await.unwrap();
    }
    let mut late = look();
    assert!(late.try_next().now_or_never().is_none());
    assert!(collect(first.remove(0)).await == bytes[100..]);
    assert!(collect(late).await == bytes);
}

/// Who has seen enough needs no window any more, long as the layer may go on.
#[tokio::test]
async fn a_turn_ends_with_what_is_wanted() {
    let bytes = Bytes::from(form(Compression::Zstd).await);
    let (looks, seen, most) = (Looks::in_passing(), Seen::default(), bytes.len() - 200);
    let look = || {
        let watcher = Watcher { seen: Arc::clone(&seen), enough: 1 };
        let parts = [bytes.slice(..most), bytes.slice(most..most + 100), bytes.slice(most + 100..)];
        observe(stream::iter(parts.map(Ok)).boxed(), None, Box::new(watcher), &looks)
    };
    let mut first: Vec<Chunks> = (0..PARALLEL_LOOKS).map(|_| look()).collect();
    for chunks in &mut first {
        chunks.try_next().await.unwrap();
    }
    assert!(look().try_next().now_or_never().is_none());
    first[0].try_next().await.unwrap();
    assert!(look().try_next().now_or_never().is_some());
}

/// Who sends a body of a known length doesn't ask for what comes after its last byte.
#[tokio::test]
async fn the_end_is_known_with_the_last_byte() {
    let seen = Seen::default();
    let watcher = Watcher { seen: Arc::clone(&seen), enough: usize::MAX };
    let parts = [Ok(Bytes::from_static(b"ab")), Ok(Bytes::from_static(b"c"))];
    let mut chunks =
        observe(stream::iter(parts).boxed(), Some(3), Box::new(watcher), &Looks::in_passing());
    chunks.try_next().await.unwrap();
    assert_eq!(seen.lock().unwrap().1, None);
    chunks.try_next().await.unwrap();
    assert_eq!(seen.lock().unwrap().1, Some(None));
}

#[tokio::test]
async fn a_stream_that_breaks_off_has_no_end() {
    let seen = Seen::default();
    let watcher = Watcher { seen: Arc::clone(&seen), enough: usize::MAX };
    let parts = [Ok(Bytes::from_static(b"ab")), Err(Error::internal("x"))];
    let chunks =
        observe(stream::iter(parts).boxed(), None, Box::new(watcher), &Looks::in_passing());
    assert!(chunks.try_collect::<Vec<Bytes>>().await.is_err());
    assert_eq!(seen.lock().unwrap().1, None);
}
