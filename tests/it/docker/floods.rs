//! Servers that send HTTP/2 frames without an end: what the library stops, what our own bound does, and what the deadline.
//!
//! The frames are written by hand, since no library sends such things.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use imagepush::access::TlsPolicy;
use imagepush::error::{Class, Kind};
use imagepush::limits::{MAX_TALK, RESPONSE_TIMEOUT};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, advance};
use tokio_rustls::server::TlsStream;

use super::harness::*;
use crate::support::measured::measure;
use crate::support::tls_server::{Shown, TlsServer, config, listen};

/// Types and flags of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// `:status: 200` and `:status: 103` as header compression writes them (RFC 7541, appendix A).
const OK: &[u8] = &[0x88];
const EARLY_HINTS: &[u8] = b"\x08\x03103";

/// Frames that are sent at a time, with some of the clock's time between two times.
const BATCH: usize = 100;
const BETWEEN: Duration = Duration::from_millis(500);

/// The same of a server that stays below the bound.
const FEW: usize = 10;

/// Batches after which a server gives up: more than the time of an answer has.
const MOST: usize = 400;

/// Batches that come to much more than the bound and all that sockets hold: 130 MB of the shortest frames.
const ENDLESS: usize = 100_000;

/// What a server answers to the first request, and then says again and again.
#[derive(Clone)]
struct Flood {
    first: Vec<u8>,
    again: Vec<u8>,
}

impl Flood {
    fn new(first: &[u8], again: &[u8]) -> Self {
        Self { first: first.to_vec(), again: again.to_vec() }
    }

    /// Frames without a beginning.
    fn of(again: &[u8]) -> Self {
        Self::new(&[], again)
    }
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Reads frames up to the first request, past the client's preface.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<()> {
    stream.read_exact(&mut [0; 24]).await.ok()?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await.ok()?;
        if head[3] == HEADERS {
            return Some(());
        }
    }
}

/// Sends the flood until nobody takes it, or `batches` have gone; what is answered is read all the time.
async fn send(
    mut stream: TlsStream<TcpStream>,
    flood: Flood,
    (batches, between): (usize, Option<Duration>),
    sent: Arc<AtomicUsize>,
) -> Option<()> {
    request(&mut stream).await?;
    let (mut answers, mut stream) = tokio::io::split(stream);
    tokio::spawn(async move { tokio::io::copy(&mut answers, &mut tokio::io::sink()).await });
    stream.write_all(&[frame(SETTINGS, 0, 0, &[]), flood.first].concat()).await.ok()?;
    let batch = flood.again.repeat(if between.is_some() { FEW } else { BATCH });
    for _ in 0..batches {
        stream.write_all(&batch).await.ok()?;
        stream.flush().await.ok()?;
        sent.fetch_add(batch.len(), Ordering::Relaxed);
        if let Some(between) = between {
            advance(between).await;
        }
    }
    stream.shutdown().await.ok()
}

/// The host of a server that floods for so long, and how many bytes it has sent. It advances a clock that stands still.
async fn server(flood: Flood, length: (usize, Option<Duration>)) -> (String, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let serve = move |stream| {
        let (flood, counted) = (flood.clone(), Arc::clone(&counted));
        async move { send(stream, flood, length, counted).await.unwrap_or_default() }
    };
    let mut config = config(Shown::unknown(), None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (host, _) = listen(config, serve).await;
    (host, sent)
}

/// Frames that the library takes any number of: they want to be answered, say that something has changed, or say nothing.
fn endless() -> [(&'static str, Flood); 5] {
    [
        ("settings", Flood::of(&frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]))),
        ("pings", Flood::of(&frame(PING, 0, 0, &[7; 8]))),
        ("windows", Flood::of(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))),
        ("early hints", Flood::of(&frame(HEADERS, END_HEADERS, 1, EARLY_HINTS))),
        ("unknown", Flood::of(&frame(0xbe, 0, 0, &[0; 64]))),
    ]
}

#[tokio::test(start_paused = true)]
async fn frames_that_are_no_answer_do_not_outlast_the_deadline() {
    for (name, flood) in endless() {
        let (host, sent) = server(flood, (MOST, Some(BETWEEN))).await;
        let start = Instant::now();
        let from = source(&format!("{host}/app:1"), &tls(TlsPolicy::SkipVerify, None)).await;
        let error = from.manifest(None).await.unwrap_err();
        assert_eq!((error.kind(), error.class()), (Kind::Timeout, Class::Transient), "{name}");
        let said = error.to_string();
        assert!(said.ends_with(&format!("`{host}` did not answer within 60 s")), "{name}: {said}");
        assert!(start.elapsed() < Duration::from_secs(100), "{name}: {:?}", start.elapsed());
        assert!(sent.load(Ordering::Relaxed) > 0, "{name}");
    }
}

#[tokio::test]
async fn frames_that_are_no_answer_end_by_our_own_bound() {
    for (name, flood) in endless() {
        let (host, sent) = server(flood, (ENDLESS, None)).await;
        let start = Instant::now();
        let from = source(&format!("{host}/app:1"), &tls(TlsPolicy::SkipVerify, None)).await;
        let error = from.manifest(None).await.unwrap_err();
        assert_eq!((error.kind(), error.class()), (Kind::NetworkError, Class::Transient), "{name}");
        let said = format!("the peer has sent more than {MAX_TALK} bytes that are no answer");
        assert!(error.to_string().ends_with(&said), "{name}: {error}");
        assert!(start.elapsed() < RESPONSE_TIMEOUT / 2, "{name}: {:?}", start.elapsed());
        // What has left the server may be in sockets.
        assert!(sent.load(Ordering::Relaxed) < 32 << 20, "{name}: {sent:?}");
    }
}

/// Most memory that a flood may take beyond what a short answer takes, of the program that tests are built with: some
/// 12 MiB for [`MAX_TALK`] of the shortest early hints in each of four attempts, and as much again. Without that bound the
/// processor is what is in short supply: the test of the bound itself shows that it holds.
const GROWTH: u64 = 24 << 20;

/// The most memory that the program takes while it asks a server for a manifest until it gives up.
async fn peak(host: String) -> u64 {
    let image = format!("docker://{host}/app:1");
    let script = "timeout 120 \"$@\" 2>&1 || true";
    let program = env!("CARGO_BIN_EXE_imagepush");
    let asks = move || {
        let ask = ["-c", script, "sh", program, "inspect", "--tls-verify=false", &image];
        measure("sh", &ask).peak_memory
    };
    tokio::task::spawn_blocking(asks).await.unwrap()
}

/// Bytes of early hints by HTTP/1.1 after which a server closes: few enough to be read in time on a machine that is busy.
const HINTS: usize = 1 << 20;

/// Most memory for them, which are dropped one by one: kept, they would take several times what was sent.
const GROWTH_BY_HINTS: u64 = 2 << 20;

/// A server that sends so many early hints to each connection, and how many bytes of them have gone.
async fn server_of_hints() -> (String, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n".repeat(BATCH);
    let serve = move |mut stream: TlsStream<TcpStream>| {
        let (hints, counted) = (hints.clone(), Arc::clone(&counted));
        async move {
            for _ in 0..HINTS.div_ceil(hints.len()) {
                if stream.write_all(hints.as_bytes()).await.is_err() {
                    return;
                }
                counted.fetch_add(hints.len(), Ordering::Relaxed);
            }
        }
    };
    let (host, _) = listen(config(Shown::unknown(), None), serve).await;
    (host, sent)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_a_flood_has_a_bound() {
    let silent = TlsServer::start(config(Shown::unknown(), None)).await;
    let base = peak(silent.host.clone()).await;
    let (host, sent) = server_of_hints().await;
    let mut floods = vec![("early hints by HTTP/1.1", host, sent, HINTS, GROWTH_BY_HINTS)];
    for (name, flood) in endless() {
        let (host, sent) = server(flood, (ENDLESS, None)).await;
        floods.push((name, host, sent, MAX_TALK, GROWTH));
    }
    for (name, host, sent, least, most) in floods {
        let grown = peak(host).await.saturating_sub(base);
        let sent = sent.load(Ordering::Relaxed);
        println!("{name}: {} KiB more for {} KiB", grown >> 10, sent >> 10);
        assert!(sent >= least, "{name}: only {sent} bytes were sent");
        assert!(grown <= most, "{name}: {} KiB more", grown >> 10);
    }
}

#[tokio::test(start_paused = true)]
async fn floods_of_an_answers_frames_end_by_the_librarys_limits() {
    let start = frame(HEADERS, 0, 1, OK);
    let answer = frame(HEADERS, END_HEADERS, 1, OK);
    let promise = [&[0, 0, 0, 2], OK].concat();
    let long = [&b"\x00\x01x\x7f\x81\x7b"[..], &[b'y'; 15_999]].concat();
    for (name, flood, said) in [
        ("resets", Flood::of(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])), "stream error received"),
        ("promises", Flood::of(&frame(PUSH_PROMISE, END_HEADERS, 1, &promise)), "protocol error"),
        ("continuations", Flood::new(&start, &frame(CONTINUATION, 0, 1, &[])), "excessive load"),
        ("long headers", Flood::new(&start, &frame(CONTINUATION, 0, 1, &long)), "protocol error"),
        ("empty data", Flood::new(&answer, &frame(DATA, 0, 1, &[])), "excessive load"),
        ("small data", Flood::new(&answer, &frame(DATA, 0, 1, b" ")), "excessive load"),
    ] {
        let (host, sent) = server(flood, (MOST, None)).await;
        let from = source(&format!("{host}/app:1"), &tls(TlsPolicy::SkipVerify, None)).await;
        let error = from.manifest(None).await.unwrap_err();
        assert_eq!((error.kind(), error.class()), (Kind::NetworkError, Class::Transient), "{name}");
        assert!(error.to_string().contains(said), "{name}: {error}");
        assert!(sent.load(Ordering::Relaxed) < 4 << 20, "{name}");
    }
}
