use std::io::Write as _;

use futures::FutureExt as _;

use super::*;

fn gzip(input: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(input).unwrap();
    encoder.finish().unwrap()
}

fn encoded(compression: Compression, input: &[u8]) -> Vec<u8> {
    match compression {
        Compression::None => input.to_vec(),
        Compression::Gzip => gzip(input),
        Compression::Zstd => ::zstd::encode_all(input, 1).unwrap(),
        Compression::Bzip2 => {
            let mut encoder =
                ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::fast());
            encoder.write_all(input).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(input).unwrap();
            encoder.finish().unwrap()
        }
    }
}

const ALL: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Zstd, Compression::Bzip2, Compression::Xz];

async fn decompressed(input: &[u8], piece: usize) -> Result<Vec<u8>> {
    let parts: Vec<Result<Bytes>> =
        input.chunks(piece).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
    let chunks = decompress(stream::iter(parts).boxed(), &CodecMemory::default());
    chunks.map_ok(|chunk| chunk.to_vec()).try_concat().await
}

#[tokio::test]
async fn every_compression_is_recognised_and_undone() {
    let input: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7).to_le_bytes()[0]).collect();
    for compression in ALL {
        let bytes = encoded(compression, &input);
        for piece in [3, 70_000, bytes.len()] {
            // Byte by byte over megabytes would only be slow.
            let bytes =
                if piece == 3 { encoded(compression, &input[..5000]) } else { bytes.clone() };
            let expected = if piece == 3 { &input[..5000] } else { &input[..] };
            assert!(
                decompressed(&bytes, piece).await.unwrap() == expected,
                "{compression} {piece}"
            );
        }
    }
}

#[tokio::test]
async fn several_members_are_one_stream() {
    for compression in [Compression::Gzip, Compression::Zstd, Compression::Bzip2, Compression::Xz] {
        let mut bytes = encoded(compression, b"one ");
        bytes.extend(encoded(compression, b"two"));
        assert_eq!(decompressed(&bytes, 5).await.unwrap(), b"one two", "{compression}");
    }
    let padded = [gzip(b"x"), vec![0; 1000]].concat();
    assert_eq!(decompressed(&padded, 7).await.unwrap(), b"x");
}

#[tokio::test]
async fn corrupt_data_is_an_error() {
    let input = vec![7; 100_000];
    for compression in [Compression::Gzip, Compression::Zstd, Compression::Bzip2, Compression::Xz] {
        let whole = encoded(compression, &input);
        let cut = &whole[..whole.len() - 3];
        let error = decompressed(cut, 1000).await.unwrap_err();
        assert_eq!(error.kind(), Kind::ContentMismatch, "{compression}");
        let start = format!("the {compression} data is corrupt: ");
        assert!(error.to_string().starts_with(&start), "{error}");
    }
    let error = decompressed(&[gzip(b"x"), b"junk".to_vec()].concat(), 9).await.unwrap_err();
    assert_eq!(error.to_string(), "the gzip data is corrupt: garbage after its end");
}

#[tokio::test]
async fn a_bomb_is_defused() {
    let bomb = ::zstd::encode_all(&vec![0; 1 << 20][..], 19).unwrap().repeat(5);
    let within = |limit| {
        let chunks = stream::iter([Ok(Bytes::from(bomb.clone()))]).boxed();
        decompress_within(chunks, &CodecMemory::default(), limit)
            .try_fold(0, |sum, chunk| async move { Ok(sum + chunk.len()) })
    };
    let error = within((5 << 20) - 1).await.unwrap_err();
    assert_eq!(error.kind(), Kind::LimitExceeded);
    assert_eq!(error.to_string(), "the compressed data expands to more than 5242879 bytes");
    assert_eq!(within(5 << 20).await.unwrap(), 5 << 20);
}

#[tokio::test]
async fn an_error_of_the_source_comes_through_unchanged() {
    let bytes = Bytes::from(gzip(&[1; 1000]));
    let parts = vec![Ok(bytes.slice(..20)), Err(Error::cancelled())];
    let chunks = decompress(stream::iter(parts).boxed(), &CodecMemory::default());
    let error = chunks.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Cancelled);
}

#[tokio::test]
async fn a_stream_that_is_dropped_stops_its_decoder() {
    let endless = stream::repeat_with(|| Ok(Bytes::from(gzip(&[0; 4096])))).boxed();
    let mut chunks = decompress(endless, &CodecMemory::default());
    assert!(chunks.try_next().await.unwrap().is_some());
    drop(chunks);
    // The runtime waits for its blocking threads when it is dropped: a decoder still running would hang here.
}

/// A frame of zeros whose size isn't told, with this window.
fn frame(window_log: u32) -> Vec<u8> {
    let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(window_log).unwrap();
    encoder.write_all(&vec![0; 2 * CHUNK]).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_decoder_has_its_share_of_memory_until_it_is_done() {
    let memory = CodecMemory::default();
    let start = stream::iter([Ok(Bytes::from(frame(MAX_ZSTD_WINDOW_LOG)))]);
    let mut chunks = decompress(start.chain(stream::pending()).boxed(), &memory);
    assert!(chunks.try_next().await.unwrap().is_some());
    assert!(memory.decoder(Reach::Usual).now_or_never().is_none());
    drop(chunks);
    memory.decoder(Reach::Far).await;
}

#[tokio::test]
async fn a_frame_that_looks_further_back_than_the_first_is_refused() {
    let (usual, far) = (frame(MAX_USUAL_WINDOW_LOG), frame(MAX_USUAL_WINDOW_LOG + 1));
    for (frames, expected) in [
        ([&usual, &usual], Ok(())),
        ([&far, &far], Ok(())),
        ([&far, &usual], Ok(())),
        ([&usual, &far], Err(Kind::ContentMismatch)),
    ] {
        let bytes = frames.map(Clone::clone).concat();
        let result = decompressed(&bytes, 1000).await;
        let expected = expected.map(|()| vec![0; 4 * CHUNK]);
        assert!(result.map_err(|error| error.kind()) == expected);
    }
}
