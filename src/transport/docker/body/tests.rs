use futures::{FutureExt as _, TryStreamExt as _};

use super::*;

const S: fn(u64) -> Duration = Duration::from_secs;

/// An answer whose body comes in chunks of `size` bytes, each after a wait.
fn answer(size: usize, waits: Vec<Duration>) -> Response {
    let chunks = stream::iter(waits).then(move |wait| async move {
        tokio::time::sleep(wait).await;
        Ok::<_, std::io::Error>(Bytes::from(vec![0; size]))
    });
    axum::http::Response::new(Body::wrap_stream(chunks)).into()
}

/// Reads an answer to its end, with a rest after each chunk. Returns how long that took and how it ended.
async fn receive(response: Response, rest: Duration) -> (u64, Result<usize, String>) {
    let (start, mut total) = (Instant::now(), 0);
    let mut incoming = Incoming::new(response);
    let end = loop {
        match incoming.next().await {
            Ok(Some(chunk)) => total += chunk.len(),
            Ok(None) => break Ok(total),
            Err(error) => {
                assert_eq!((error.kind(), error.exit_code()), (Kind::Timeout, 75));
                break Err(error.to_string());
            }
        }
        tokio::time::sleep(rest).await;
    };
    (start.elapsed().as_secs(), end)
}

#[tokio::test(start_paused = true)]
async fn a_peer_has_to_keep_sending() {
    let sent = |what: &str| Err(format!("`no.url.provided.local` sent {what}"));
    let slow = |what: &str| sent(&format!("{what}, fewer than 1024 a second"));
    let large = 1 << 20;
    for (size, waits, rest, expected) in [
        (1, vec![S(0), S(3600)], S(0), (60, sent("nothing for 60 s"))),
        (1, vec![S(10); 100], S(0), (60, slow("6 bytes in 60 s"))),
        (59 << 10, vec![S(60); 9], S(0), (60, slow("60416 bytes in 60 s"))),
        (59 << 10, vec![S(59), S(59)], S(0), (118, Ok(118 << 10))),
        (58 << 10, vec![S(59), S(59)], S(0), (118, slow("118784 bytes in 118 s"))),
        (20 << 10, vec![S(19); 10], S(0), (190, Ok(200 << 10))),
        // It is us who take our time.
        (large, vec![S(0); 3], S(1000), (3000, Ok(3 * large))),
        (1, vec![S(0); 100], S(10), (1000, Ok(100))),
    ] {
        assert_eq!(receive(answer(size, waits), rest).await, expected, "{size}");
    }
}

/// How long it takes until a body is given up, which is polled so often and then never again.
async fn given_up(chunks: Chunks, polls: usize) -> (u64, String) {
    let (body, watch) = outgoing(chunks);
    let mut response = Response::from(axum::http::Response::new(body));
    let start = Instant::now();
    let send = async {
        for _ in 0..polls {
            response.chunk().await.unwrap();
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        error = watch.stalled() => (start.elapsed().as_secs(), error.to_string()),
        () = send => unreachable!(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_has_to_keep_taking() {
    let idle = |seconds: u64| {
        (seconds, format!("the registry took nothing and answered nothing for {seconds} s"))
    };
    let two = || stream::iter([Ok(Bytes::from_static(b"a")), Ok(Bytes::from_static(b"b"))]).boxed();
    assert_eq!(given_up(two(), 0).await, idle(90));
    assert_eq!(given_up(two(), 1).await, idle(60));
    assert_eq!(given_up(two(), 3).await, idle(60));
    // The more the peer has got, the longer it may be busy with that: a second for 16 MiB.
    let large = stream::iter(vec![Ok(Bytes::from(vec![0; 1 << 20])); 160]).boxed();
    assert_eq!(given_up(large, 160 * 16 + 1).await, idle(70));
    let silent = stream::pending().boxed();
    assert_eq!(given_up(silent, 1).await, (900, "there was nothing to send for 900 s".to_owned()),);
}

/// How long it takes until a body is given up, and why, or until all of it has been taken: a chunk after each wait.
async fn taken(size: usize, waits: Vec<Duration>, source: Duration) -> (u64, Option<String>) {
    let chunks = stream::iter(vec![Bytes::from(vec![7; size]); waits.len()])
        .then(move |chunk| tokio::time::sleep(source).map(move |()| Ok(chunk)));
    let (body, watch) = outgoing(chunks.boxed());
    let mut response = Response::from(axum::http::Response::new(body));
    let start = Instant::now();
    let take = async {
        for wait in waits {
            response.chunk().await.unwrap().unwrap();
            tokio::time::sleep(wait).await;
        }
        response.chunk().await.unwrap()
    };
    tokio::select! {
        error = watch.stalled() => {
            assert_eq!((error.kind(), error.exit_code()), (Kind::Timeout, 75));
            (start.elapsed().as_secs(), Some(error.to_string()))
        }
        rest = take => {
            assert_eq!(rest, None);
            (start.elapsed().as_secs(), None)
        }
    }
}

/// A trickle is noticed at the next look, which is 10 s away at most.
#[tokio::test(start_paused = true)]
async fn a_peer_has_to_take_more_than_a_trickle() {
    let slow = |what: &str| Some(format!("the registry took {what}, fewer than 1024 a second"));
    for (size, waits, source, expected) in [
        (1, vec![S(11); 100], S(0), (70, slow("6 bytes in 66 s"))),
        (29 << 10, vec![S(59); 9], S(0), (119, slow("59392 bytes in 118 s"))),
        (60 << 10, vec![S(59); 9], S(0), (531, None)),
        (1 << 10, vec![S(1); 100], S(0), (100, None)),
        // It is the source that takes its time.
        (1, vec![S(0); 100], S(30), (3000, None)),
    ] {
        assert_eq!(taken(size, waits, source).await, expected, "{size}");
    }
}

#[test]
fn a_stall_is_told_of_the_side_that_stalls() {
    let now = Instant::now();
    assert_eq!(Phase::Waiting(now).stalled().side(), Some(Side::Source));
    assert_eq!(Phase::Handed(now, 1).stalled().side(), None);
}

#[tokio::test]
async fn a_stream_is_handed_over_in_pieces() {
    let sizes = [0, 1, SENT_PIECE, SENT_PIECE + 1, 5 * SENT_PIECE, 0];
    let chunks: Vec<Bytes> = sizes.iter().map(|size| Bytes::from(vec![7; *size])).collect();
    let (body, _watch) = outgoing(stream::iter(chunks.into_iter().map(Ok)).boxed());
    let mut response = Response::from(axum::http::Response::new(body));
    let mut pieces = vec![];
    while let Some(piece) = response.chunk().await.unwrap() {
        pieces.push(piece.len());
    }
    assert_eq!(pieces.iter().sum::<usize>(), sizes.iter().sum::<usize>());
    assert!(pieces.iter().all(|size| (1..=SENT_PIECE).contains(size)), "{pieces:?}");
}

/// Else nobody would find out that an answer has come.
#[tokio::test]
async fn the_runtime_has_its_turn_between_pieces() {
    let chunks = (0..3).map(|_| Ok(Bytes::from(vec![7; 5 * SENT_PIECE])));
    let (body, _watch) = outgoing(stream::iter(chunks).boxed());
    let mut response = Response::from(axum::http::Response::new(body));
    let (mut total, mut at_once) = (0, 0);
    while total + at_once < 15 * SENT_PIECE {
        // Without an answer here, whoever polls it has the runtime go on with others.
        if let Some(piece) = response.chunk().now_or_never() {
            at_once += piece.unwrap().unwrap().len();
        } else {
            (total, at_once) = (total + at_once, 0);
        }
        assert!(at_once <= SENT_PIECE, "{at_once}");
    }
}

#[tokio::test]
async fn the_error_of_a_stream_ends_the_body() {
    let failing = stream::iter([Err(Error::new(Kind::ContentMismatch, "it differs"))]).boxed();
    let (body, _watch) = outgoing(failing);
    let mut response = Response::from(axum::http::Response::new(body));
    assert!(response.chunk().await.is_err());
    let none: Chunks = stream::empty().boxed();
    assert_eq!(none.try_collect::<Vec<_>>().await.unwrap().len(), 0);
}
