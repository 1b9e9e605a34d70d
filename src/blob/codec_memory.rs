//! What decoders and encoders may hold of memory together, however many layers are rewritten at the same time: those of a
//! push, or those of all pushes of a process.
//!
//! Who waits for a share holds none of the same kind, so that nobody waits for ever. An encoder's share is held while a block
//! is compressed, whatever becomes of the block; a decoder's as long as its layer moves.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Codec;
use crate::image::Compression;
use crate::limits::{
    COMPRESSION_THREADS, DECODER_MEMORY, ENCODER_MEMORY, GZIP_BLOCK, MAX_USUAL_WINDOW_LOG,
    PARALLEL_BLOBS, SHARED_ENCODER_MEMORY, ZSTD_BLOCK,
};

/// The memory of codecs; clones share it. The default is for one push.
#[derive(Clone, Debug)]
pub struct CodecMemory {
    /// In MiB, as the other.
    decoders: Arc<Semaphore>,
    encoders: Arc<Semaphore>,
}

/// Memory that one codec may hold, until this is dropped.
pub(super) struct Share(#[expect(dead_code, reason = "held")] Option<OwnedSemaphorePermit>);

/// How far back a decoder may have to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Some hundred KiB.
    Short,
    /// A window of [`MAX_USUAL_WINDOW_LOG`].
    Usual,
    /// All that a decoder may hold.
    Far,
}

// === impl CodecMemory ===

impl CodecMemory {
    /// For all pushes of a process together.
    pub fn of_process() -> Self {
        Self::of(DECODER_MEMORY, SHARED_ENCODER_MEMORY)
    }

    /// Bytes of blocks that a push which compresses layers like this holds beside: those that nobody works on yet, and those
    /// that wait until they are sent.
    pub fn of_blocks(codec: Codec) -> u64 {
        let block = match codec.format() {
            Compression::Zstd => ZSTD_BLOCK,
            _ => GZIP_BLOCK,
        };
        (COMPRESSION_THREADS * PARALLEL_BLOBS * block) as u64
    }

    fn of(decoders: u64, encoders: u64) -> Self {
        let semaphore = |size| Arc::new(Semaphore::new(mib(size) as usize));
        Self { decoders: semaphore(decoders), encoders: semaphore(encoders) }
    }

    /// Waits until a decoder may begin.
    pub(super) async fn decoder(&self, reach: Reach) -> Share {
        let size = match reach {
            Reach::Short => return Share(None),
            Reach::Usual => 1 << MAX_USUAL_WINDOW_LOG,
            Reach::Far => DECODER_MEMORY,
        };
        Share(Arc::clone(&self.decoders).acquire_many_owned(mib(size)).await.ok())
    }

    /// Waits until a block may be compressed.
    pub(super) async fn encoder(&self, codec: Codec) -> Share {
        Share(Arc::clone(&self.encoders).acquire_many_owned(weight(codec)).await.ok())
    }
}

impl Default for CodecMemory {
    fn default() -> Self {
        Self::of(DECODER_MEMORY, ENCODER_MEMORY)
    }
}

fn mib(size: u64) -> u32 {
    u32::try_from(size >> 20).unwrap_or(u32::MAX)
}

/// MiB that are held while one block is compressed: the block before and after, and the tables of the level for its size.
fn weight(codec: Codec) -> u32 {
    match (codec.format(), codec.level()) {
        (Compression::Zstd, ..=8) => 16,
        (Compression::Zstd, 9..=11) => 40,
        (Compression::Zstd, _) => 80,
        _ => 3,
    }
}

// === impl Reach ===

impl Reach {
    /// Bytes that tell it.
    pub(super) const HEAD: usize = 18;

    /// By the first bytes of what is to be decompressed. Those of xz tell it, too, but few layers are worth a look at them.
    pub(super) fn of(compression: Compression, head: &[u8]) -> Self {
        let usual = || window(head).is_some_and(|window| window <= 1 << MAX_USUAL_WINDOW_LOG);
        match compression {
            Compression::None | Compression::Gzip | Compression::Bzip2 => Self::Short,
            Compression::Zstd if usual() => Self::Usual,
            Compression::Zstd | Compression::Xz => Self::Far,
        }
    }
}

/// The window in bytes that a zstd frame asks for (RFC 8878, section 3.1.1.1); `None` if its header is cut off.
pub(super) fn window(frame: &[u8]) -> Option<u64> {
    let (descriptor, fields) = frame.get(4..)?.split_first()?;
    let single_segment = descriptor & 0x20 != 0;
    if !single_segment {
        let window = fields.first()?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // The content is the window. Its size comes after the dictionary's number; some hundred bytes more make no difference.
    let number = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let length = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let mut size = [0; 8];
    size[..length].copy_from_slice(fields.get(number..number + length)?);
    Some(u64::from_le_bytes(size))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use futures::FutureExt as _;

    use super::*;
    use crate::limits::MAX_ZSTD_WINDOW_LOG;

    /// The first bytes of a zstd frame with this window, of content whose size is told beforehand or not.
    fn frame(window_log: u32, size: Option<u64>) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(vec![], 1).unwrap();
        encoder.window_log(window_log).unwrap();
        if size.is_some() {
            encoder.include_contentsize(true).unwrap();
            encoder.set_pledged_src_size(size).unwrap();
        }
        encoder.write_all(b"content").unwrap();
        encoder.flush().unwrap();
        encoder.get_ref().clone()
    }

    #[test]
    fn a_frame_tells_how_far_back_it_looks() {
        let mib = |mib: u64| Some(mib << 20);
        for (head, expected, reach) in [
            (frame(20, None), mib(1), Reach::Usual),
            (frame(25, None), mib(32), Reach::Usual),
            (frame(26, None), mib(64), Reach::Far),
            (frame(MAX_ZSTD_WINDOW_LOG, None), mib(128), Reach::Far),
            // One segment: its window is its content.
            (frame(27, mib(100)), mib(100), Reach::Far),
            (frame(27, Some(70_000)), Some(70_000), Reach::Usual),
            (frame(27, Some(200)), Some(200), Reach::Usual),
            (frame(20, None)[..5].to_vec(), None, Reach::Far),
            // A window of 10 MiB, which this encoder doesn't make.
            (vec![0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3 | 2], mib(10), Reach::Usual),
        ] {
            assert_eq!(window(&head), expected, "{head:?}");
            assert_eq!(Reach::of(Compression::Zstd, &head), reach, "{head:?}");
        }
        assert_eq!(Reach::of(Compression::Gzip, b""), Reach::Short);
        assert_eq!(Reach::of(Compression::Xz, b""), Reach::Far);
    }

    #[test]
    fn decoders_hold_no_more_together_than_one_may() {
        let memory = CodecMemory::default();
        let decoder = |reach| memory.decoder(reach).now_or_never();
        let usual: Vec<_> = (0..5).map_while(|_| decoder(Reach::Usual)).collect();
        assert_eq!(usual.len(), 4);
        assert!(decoder(Reach::Short).is_some());
        drop(usual);
        let far = decoder(Reach::Far);
        assert!(far.is_some());
        assert!(decoder(Reach::Usual).is_none() && decoder(Reach::Far).is_none());
        drop(far);
        assert!(decoder(Reach::Usual).is_some());
    }

    #[test]
    fn few_blocks_are_compressed_at_once_where_each_takes_much() {
        let cases = [
            (Compression::Gzip, 9, 16, 16, 16),
            (Compression::Zstd, 3, 16, 6, 64),
            (Compression::Zstd, 10, 6, 2, 64),
            (Compression::Zstd, 20, 3, 1, 64),
        ];
        for (format, level, of_push, of_process, blocks) in cases {
            let codec = Codec::new(format, Some(level)).unwrap();
            let at_once = |memory: CodecMemory| {
                let encoder = || memory.clone().encoder(codec).now_or_never();
                (0..16).map_while(|_| encoder()).collect::<Vec<_>>().len()
            };
            assert_eq!(at_once(CodecMemory::default()), of_push, "{format} {level}");
            assert_eq!(at_once(CodecMemory::of_process()), of_process, "{format} {level}");
            assert_eq!(CodecMemory::of_blocks(codec), blocks << 20, "{format} {level}");
        }
    }
}
