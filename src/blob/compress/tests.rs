use std::io::Read as _;

use futures::FutureExt as _;

use super::*;

/// Bytes that compress somewhat, the same each time.
fn sample(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if state >> 31 == 0 { b'a' } else { (state >> 24) as u8 }
    };
    std::iter::repeat_with(next).take(len).collect()
}

async fn compressed(input: &[u8], piece: usize, codec: Codec, threads: usize) -> Vec<u8> {
    let parts: Vec<Result<Bytes>> =
        input.chunks(piece.max(1)).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
    let chunks = compress_on(
        stream::iter(parts).boxed(),
        Workers { codec, memory: CodecMemory::default() },
        threads,
    );
    chunks.map_ok(|chunk| chunk.to_vec()).try_concat().await.unwrap()
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
    out
}

fn codec(format: Compression) -> Codec {
    Codec::new(format, None).unwrap()
}

const LENGTHS: [usize; 6] = [0, 1, GZIP_BLOCK - 1, GZIP_BLOCK, GZIP_BLOCK + 1, 5 * GZIP_BLOCK + 77];

#[tokio::test]
async fn what_is_compressed_decompresses_to_the_same_bytes() {
    for len in LENGTHS {
        let input = sample(len);
        let gzip = compressed(&input, 100_000, codec(Compression::Gzip), 2).await;
        assert!(gunzip(&gzip) == input, "gzip of {len} bytes");
        let zstd = compressed(&input, 100_000, codec(Compression::Zstd), 2).await;
        assert!(::zstd::decode_all(&zstd[..]).unwrap() == input, "zstd of {len} bytes");
    }
}

#[tokio::test]
async fn the_bytes_depend_on_neither_threads_nor_chunks() {
    let input = sample(3 * ZSTD_BLOCK + 5);
    for format in [Compression::Gzip, Compression::Zstd] {
        let one = compressed(&input, 1 << 20, codec(format), 1).await;
        for (threads, piece) in [(2, 1 << 20), (8, 65_537), (3, input.len())] {
            let other = compressed(&input, piece, codec(format), threads).await;
            assert!(one == other, "{format}, {threads} threads, pieces of {piece}");
        }
    }
}

#[test]
fn blocks_refer_back_to_the_block_before() {
    let bytes = Bytes::from(sample(20_000));
    let size = |window| deflate(&Block { window, bytes: bytes.clone() }, 6).unwrap().bytes.len();
    let (alone, after_the_same) = (size(Bytes::new()), size(bytes.clone()));
    assert!(after_the_same < alone / 10, "{after_the_same} bytes instead of {alone}");
}

#[tokio::test]
async fn higher_levels_compress_better() {
    let text = include_str!("../compress.rs").repeat(40);
    for (format, high) in [(Compression::Gzip, 9), (Compression::Zstd, 19)] {
        let fast = Codec::new(format, Some(1)).unwrap();
        let best = Codec::new(format, Some(high)).unwrap();
        let fast = compressed(text.as_bytes(), 1 << 16, fast, 2).await.len();
        let best = compressed(text.as_bytes(), 1 << 16, best, 2).await.len();
        assert!(best < fast, "{format}: {best} is not less than {fast}");
    }
}

#[tokio::test]
async fn an_error_of_the_stream_comes_through() {
    let parts = vec![Ok(Bytes::from_static(b"x")), Err(Error::cancelled())];
    let chunks = compress(stream::iter(parts).boxed(), Codec::DEFAULT, &CodecMemory::default());
    let error = chunks.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.to_string(), "the push was cancelled");
}

/// Time stands still while a thread is at work, and goes on at once where all wait.
#[tokio::test(start_paused = true)]
async fn a_block_waits_for_its_share_of_memory() {
    let codec = Codec::new(Compression::Zstd, Some(20)).unwrap();
    let memory = CodecMemory::default();
    let mut held = vec![];
    while let Some(share) = memory.encoder(codec).now_or_never() {
        held.push(share);
    }
    let block = stream::iter([Ok(Bytes::from_static(b"block"))]).boxed();
    let mut chunks = compress(block, codec, &memory);
    let second = std::time::Duration::from_secs(1);
    assert!(tokio::time::timeout(second, chunks.try_next()).await.is_err());
    held.pop();
    assert!(chunks.try_next().await.unwrap().is_some());
}

/// Of a network that takes nothing more of one push, others must not feel anything.
#[tokio::test(start_paused = true)]
async fn who_is_not_asked_for_more_holds_no_share() {
    let codec = Codec::new(Compression::Zstd, Some(20)).unwrap();
    let memory = CodecMemory::of_process();
    let block = || Ok(Bytes::from(vec![0; ZSTD_BLOCK]));
    let mut stuck = compress_on(
        stream::iter([block(), block(), block(), block()]).boxed(),
        Workers { codec, memory: memory.clone() },
        4,
    );
    // The first block is taken, and nothing after it.
    assert!(stuck.try_next().await.unwrap().is_some());
    let other = compress(stream::iter([block()]).boxed(), codec, &memory);
    let minute = std::time::Duration::from_mins(1);
    let compressed = tokio::time::timeout(minute, other.try_collect::<Vec<_>>()).await;
    assert!(compressed.expect("it has its turn").is_ok());
    drop(stuck);
}
