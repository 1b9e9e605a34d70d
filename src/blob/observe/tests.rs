use std::sync::{Arc, Mutex};

use futures::FutureExt as _;

use super::*;
use crate::blob::{Codec, CodecMemory, compress};

/// How many small windows there is memory for.
const SHARES: u32 = 4;

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
    let passed =
        collect(observe(stream::iter(parts).boxed(), size, Box::new(watcher), &Looks::default()))
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
    assert!(end.unwrap().unwrap().starts_with("its data can't be decompressed: "));
    let mut zstd = form(Compression::Zstd).await;
    let middle = zstd.len() / 2;
    zstd[middle..].fill(7);
    let (_, end) = pass(&zstd, 1000, usize::MAX, None).await;
    assert!(end.unwrap().unwrap().starts_with("its data can't be decompressed: "));
    let (_, end) = pass(b"\xfd7zXZ\x00 and more", 4, usize::MAX, None).await;
    assert_eq!(end.unwrap().unwrap(), "it is compressed with xz");
}

/// A window costs memory before anybody has asked for what is in it.
#[tokio::test]
async fn a_window_is_decoded_within_bounds_alone() {
    let limit = 1_u64 << MAX_LOOK_WINDOW_LOG;
    for (log, fault) in
        [(23, None), (24, None), (25, None), (26, Some(2 * limit)), (27, Some(4 * limit))]
    {
        for chunk in [1 << 20, 5] {
            let bytes = with_window(log);
            let (seen, end) = pass(&bytes, chunk, usize::MAX, None).await;
            assert_eq!(
                (seen == content(), end),
                (fault.is_none(), Some(fault.map(too_far))),
                "{log}"
            );
        }
    }
}

/// A frame with the content, whose size isn't told.
fn with_window(log: u32) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(log).unwrap();
    encoder.write_all(&content()).unwrap();
    encoder.finish().unwrap()
}

/// Nothing was set aside for it.
#[tokio::test]
async fn a_later_frame_has_no_larger_window() {
    let bytes = [with_window(23), with_window(24)].concat();
    let (seen, end) = pass(&bytes, 1 << 20, usize::MAX, None).await;
    let fault = end.unwrap().unwrap();
    assert!(seen == content() && fault.starts_with("its data can't be decompressed: "), "{fault}");
    let (seen, end) =
        pass(&[with_window(24), with_window(23)].concat(), 1 << 20, usize::MAX, None).await;
    assert_eq!((seen.len(), end), (2 * content().len(), Some(None)));
}

#[tokio::test]
async fn what_is_shorter_than_its_head_is_decoded() {
    let frame = zstd::encode_all(&b"abc"[..], 3).unwrap();
    assert!(frame.len() < Reach::HEAD);
    assert_eq!(pass(&frame, 4, usize::MAX, None).await, (b"abc".to_vec(), Some(None)));
}

/// As many windows as there is memory for; who waits for it doesn't ask for more bytes.
#[tokio::test]
async fn windows_wait_for_memory() {
    let (bytes, large) = (Bytes::from(form(Compression::Zstd).await), Bytes::from(with_window(25)));
    let (looks, seen) = (Looks::default(), Seen::default());
    let look = |bytes: &Bytes| {
        let watcher = Watcher { seen: Arc::clone(&seen), enough: usize::MAX };
        let parts = [Ok(bytes.slice(..100)), Ok(bytes.slice(100..))];
        observe(stream::iter(parts).boxed(), None, Box::new(watcher), &looks)
    };
    let mut first: Vec<Chunks> = (0..SHARES).map(|_| look(&bytes)).collect();
    for chunks in &mut first {
        chunks.try_next().await.unwrap();
    }
    let mut late = look(&bytes);
    assert!(late.try_next().now_or_never().is_none());
    assert!(collect(first.remove(0)).await == bytes[100..]);
    assert!(collect(late).await == bytes);

    // The largest window takes all of it.
    let mut alone = look(&large);
    assert!(alone.try_next().now_or_never().is_none());
    for chunks in first {
        assert!(collect(chunks).await == bytes[100..]);
    }
    alone.try_next().await.unwrap();
    let mut late = look(&bytes);
    assert!(late.try_next().now_or_never().is_none());
    assert!(collect(alone).await == large[100..]);
    assert!(collect(late).await == bytes);
}

/// Who has seen enough needs no window any more, long as the layer may go on.
#[tokio::test]
async fn a_share_is_given_back_with_what_is_wanted() {
    let bytes = Bytes::from(form(Compression::Zstd).await);
    let (looks, seen, most) = (Looks::default(), Seen::default(), bytes.len() - 200);
    let look = || {
        let watcher = Watcher { seen: Arc::clone(&seen), enough: 1 };
        let parts = [bytes.slice(..most), bytes.slice(most..most + 100), bytes.slice(most + 100..)];
        observe(stream::iter(parts.map(Ok)).boxed(), None, Box::new(watcher), &looks)
    };
    let mut first: Vec<Chunks> = (0..SHARES).map(|_| look()).collect();
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
        observe(stream::iter(parts).boxed(), Some(3), Box::new(watcher), &Looks::default());
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
    let chunks = observe(stream::iter(parts).boxed(), None, Box::new(watcher), &Looks::default());
    assert!(chunks.try_collect::<Vec<Bytes>>().await.is_err());
    assert_eq!(seen.lock().unwrap().1, None);
}
