//! Attempts with an engine that does what a test wants, and paused time.

mod unreachable;

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;

use super::*;
use crate::access::Access;
use crate::api::v1alpha1::Mode;
use crate::blob::{CodecMemory, Pace};
use crate::controller::delivery::Delivery;
use crate::controller::lease::Leadership;
use crate::engine::{self, Preview, Pushed, Standing, Wanted};
use crate::error::{Kind, Result, Side};
use crate::image::{Descriptor, Digest, MediaType};
use crate::limits::MEMORY_OF_PUSH;
use crate::options::{
    BundleClues, CustomResources, Endpoint, Layers, Platforms, PushOptions, Retry,
};
use crate::transport::{self, Gate};

/// What the engine does.
#[derive(Clone, Copy)]
enum Script {
    Fail,
    Panic,
    /// Until it is cancelled.
    Run,
    /// For ever, deaf to being cancelled.
    Hang,
    /// The same to the registry `hangs.example`; others answer at once.
    HangThere,
    /// Until the destination's name would change, if the push is still wanted then.
    Name,
    /// Until the destination's name has changed, and then for ever.
    Named,
    /// Until it is found that the destination can't be reached, or, once it is up, that it has not what is asked for.
    Unreachable,
    /// Until the connection breaks in the middle of a blob.
    BreaksOff,
    /// Until ten chunks of a MiB have been read at the pace that is asked for.
    Read,
}

struct Fake {
    script: Script,
    running: AtomicUsize,
    most: AtomicUsize,
    /// Pushes begun so far.
    made: AtomicUsize,
    up: AtomicBool,
    /// Whether a push moves blobs for ever.
    slow: AtomicBool,
}

#[async_trait]
impl Engine for Fake {
    async fn push(
        &self,
        options: &PushOptions,
        progress: &Arc<dyn engine::Progress>,
        wanted: &Wanted,
    ) -> Result<Pushed> {
        self.made.fetch_add(1, Ordering::SeqCst);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let error = match self.script {
            Script::Panic => panic!("on purpose"),
            Script::Hang => std::future::pending().await,
            Script::Named => {
                progress.event(engine::Event::Named { manifest: &named() });
                std::future::pending().await
            }
            Script::HangThere if options.destination.reference.to_string().contains("hangs") => {
                std::future::pending().await
            }
            Script::Unreachable if self.slow.load(Ordering::SeqCst) => {
                progress.event(engine::Event::Planned { blobs: 1, bytes: 1 });
                std::future::pending().await
            }
            Script::Unreachable => {
                let up = self.up.load(Ordering::SeqCst);
                let kind = if up { Kind::NotFound } else { Kind::NetworkError };
                Error::new(kind, "so it is").on(Side::Destination)
            }
            Script::BreaksOff => {
                progress.event(engine::Event::Planned { blobs: 1, bytes: 1 });
                Error::new(Kind::NetworkError, "broke off").on(Side::Destination)
            }
            Script::Fail | Script::HangThere => Error::new(Kind::NetworkError, "no route"),
            Script::Read => {
                let chunks = (0..10).map(|_| Ok(Bytes::from(vec![0; 1 << 20])));
                let read = options.pace.limit(futures::stream::iter(chunks).boxed());
                read.for_each(async |_| {}).await;
                Error::new(Kind::NetworkError, "broke off")
            }
            Script::Name => match Gate::new(wanted.clone()).pass().await {
                Ok(_) => Error::new(Kind::NetworkError, "broke off"),
                Err(refused) => refused,
            },
            Script::Run => {
                wanted.cancel().cancelled().await;
                Error::cancelled()
            }
        };
        self.running.fetch_sub(1, Ordering::SeqCst);
        Err(error)
    }

    async fn preview(&self, _: &PushOptions, _: &CancellationToken) -> Result<Preview> {
        Err(Error::new(Kind::NotFound, "nothing there"))
    }

    async fn standing(&self, _: &PushOptions, _: &CancellationToken) -> Result<Standing> {
        Ok(Standing::default())
    }
}

/// What a push puts under its name.
fn named() -> Descriptor {
    Descriptor::new(MediaType::OCI_MANIFEST, Digest::of(b"named"), 5)
}

struct Setup {
    engine: Arc<Fake>,
    attempts: Arc<Attempts>,
    woken: mpsc::Receiver<ObjectRef<ImagePush>>,
}

fn setup(script: Script, all: usize, per_host: usize) -> Setup {
    let bounds =
        Bounds { all, per_namespace: Some(2 * all), per_host, memory_bytes: u64::MAX, jobs: 1 };
    setup_with(script, bounds, Pace::default())
}

fn setup_with(script: Script, bounds: Bounds, pace: Pace) -> Setup {
    setup_led(script, bounds, pace, Leadership::undisputed())
}

fn setup_led(script: Script, bounds: Bounds, pace: Pace, leadership: Leadership) -> Setup {
    let engine = Arc::new(Fake {
        script,
        running: AtomicUsize::default(),
        most: AtomicUsize::default(),
        made: AtomicUsize::default(),
        up: AtomicBool::default(),
        slow: AtomicBool::default(),
    });
    let (wake, woken) = mpsc::channel(16);
    let limits = Limits::new(bounds);
    let metrics = Metrics::new();
    let shared = (pace, CodecMemory::default());
    let executor = InProcess::new(engine.clone(), limits, shared, metrics.clone(), leadership);
    let executor = Arc::new(executor);
    Setup { engine, attempts: Arc::new(Attempts::new(executor, metrics, wake)), woken }
}

fn order(uid: &str, destination: &str) -> Order {
    order_between(uid, (&format!("source-{uid}.example"), destination))
}

/// An attempt to push from one registry to another.
pub(in crate::controller) fn order_between(
    uid: &str,
    (source, destination): (&str, &str),
) -> Order {
    let end = |name: &str| Endpoint {
        reference: transport::parse(&format!("docker://{name}/x:1")).unwrap(),
        access: Access::default(),
    };
    Order {
        object: ObjectRef::new(uid).within("n"),
        uid: uid.into(),
        work: "sha256:work".into(),
        options: PushOptions {
            source: end(source),
            destination: end(destination),
            platforms: Platforms::All,
            format: None,
            layers: Layers::Keep,
            retry: Retry::default(),
            verify_source: true,
            pace: Pace::default(),
            codecs: CodecMemory::default(),
            custom_resources: CustomResources::Never,
            clues: BundleClues::default(),
            verify_after_push: false,
            overwrites: None,
        },
        delivery: Delivery::default(),
        timeout: Duration::from_mins(5),
        apply: None,
        job: None,
        trace: Tracer::default().begin("look", None, []).place(),
    }
}

impl Setup {
    /// Starts an attempt of an object that has been looked at.
    fn start(&self, order: Order) {
        self.attempts.recall(&order.uid);
        self.attempts.start(order);
    }

    /// How an attempt ends, of which its object hears.
    async fn outcome(&mut self, uid: &str) -> Outcome {
        loop {
            let woken = self.woken.next().await.unwrap().name;
            let ended = self.attempts.recall(uid).attempt.unwrap().outcome;
            if let Some(outcome) = ended.filter(|_| woken == uid) {
                return outcome;
            }
        }
    }
}

fn failure(outcome: &Outcome) -> (&'static str, &str) {
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    (failure.reason, &failure.message)
}

/// Whatever else has not noticed yet that the lease is over.
#[tokio::test(start_paused = true)]
async fn nothing_gets_a_name_without_the_lease() {
    let bounds =
        Bounds { all: 1, per_namespace: Some(1), per_host: 1, memory_bytes: u64::MAX, jobs: 1 };
    let second = Duration::from_secs(1);
    for (lease, expected) in [(2 * second, "NetworkError"), (second / 2, "Cancelled")] {
        let leadership = Leadership::until(tokio::time::Instant::now() + lease);
        let mut setup = setup_led(Script::Name, bounds, Pace::default(), leadership);
        setup.start(order("a", "r.example"));
        assert_eq!(setup.outcome("a").await.word(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_is_remembered_and_wakes_the_object() {
    let mut setup = setup(Script::Fail, 4, 2);
    setup.start(order("a", "r.example"));
    assert_eq!(failure(&setup.outcome("a").await), ("NetworkError", "no route"));
    let mut dry = order("b", "r.example");
    dry.delivery.mode = Mode::DryRun;
    setup.start(dry);
    assert_eq!(failure(&setup.outcome("b").await), ("NotFound", "nothing there"));
}

/// What was spent waiting for others says nothing of the push.
#[tokio::test(start_paused = true)]
async fn the_wait_for_a_turn_is_no_part_of_how_long_it_took() {
    let mut setup = setup(Script::Fail, 1, 1);
    for uid in ["a", "b", "c"] {
        setup.start(order(uid, "r.example"));
    }
    for uid in ["a", "b", "c"] {
        setup.outcome(uid).await;
        let took = setup.attempts.recall(uid).attempt.unwrap().took.unwrap();
        assert_eq!(took.as_secs(), 1, "{uid}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_never_got_its_turn_took_no_time() {
    let mut setup = setup(Script::Hang, 1, 1);
    setup.start(order("a", "r.example"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    setup.start(order("b", "r.example"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    setup.attempts.cancel("b");
    assert!(matches!(setup.outcome("b").await, Outcome::Cancelled));
    assert_eq!(setup.attempts.recall("b").attempt.unwrap().took, None);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_internal_error() {
    let mut setup = setup(Script::Panic, 4, 2);
    setup.start(order("a", "r.example"));
    let outcome = setup.outcome("a").await;
    let (reason, message) = failure(&outcome);
    assert_eq!(reason, "InternalError");
    assert!(message.starts_with("the attempt ended without a result: "), "{message}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_given_up() {
    let mut setup = setup(Script::Hang, 4, 2);
    setup.start(order("a", "r.example"));
    let message =
        "the push was not done after `5m`; raise `spec.timeout` if the image needs longer";
    assert_eq!(failure(&setup.outcome("a").await), ("Timeout", message));
}

/// What is at the destination by then stays there.
#[tokio::test(start_paused = true)]
async fn it_is_known_what_the_name_has_got_though_the_attempt_is_given_up() {
    let mut setup = setup(Script::Named, 4, 2);
    setup.start(order("a", "r.example"));
    assert_eq!(setup.outcome("a").await.word(), "Timeout");
    let record = setup.attempts.recall("a").attempt.unwrap();
    assert_eq!(record.progress.named(), Some(named()));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_can_be_called_off() {
    let mut setup = setup(Script::Run, 4, 2);
    setup.start(order("a", "r.example"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    // A second start while it runs changes nothing.
    setup.start(order("a", "r.example"));
    setup.attempts.cancel("a");
    assert!(matches!(setup.outcome("a").await, Outcome::Cancelled));
    assert_eq!(setup.engine.most.load(Ordering::SeqCst), 1);
}

/// It was missing from a list, say, and is there again.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_forgotten_attempt_is_not_that_of_the_next() {
    let setup = setup(Script::Run, 4, 2);
    setup.start(order("a", "r.example"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    setup.attempts.forget("a");
    setup.start(order("a", "r.example"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let record = setup.attempts.recall("a").attempt.unwrap();
    assert!(record.outcome.is_none(), "{:?}", record.outcome);
}

#[tokio::test(start_paused = true)]
async fn limits_hold_for_all_and_for_each_registry() {
    for (all, per_host, most) in [(3, 9, 3), (9, 2, 2)] {
        let mut setup = setup(Script::Fail, all, per_host);
        for uid in ["a", "b", "c", "d", "e"] {
            setup.start(order(uid, "r.example"));
        }
        for _ in 0..5 {
            setup.woken.next().await.unwrap();
        }
        assert_eq!(setup.engine.most.load(Ordering::SeqCst), most);
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_registry_does_not_hold_up_another() {
    let mut setup = setup(Script::Run, 2, 1);
    for uid in ["a", "b", "c"] {
        setup.start(order(uid, "busy.example"));
    }
    setup.start(order("d", "idle.example"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(setup.engine.running.load(Ordering::SeqCst), 2);
    setup.attempts.cancel("d");
    assert!(matches!(setup.outcome("d").await, Outcome::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn fifty_pushes_that_hang_delay_no_other() {
    let bounds = Bounds {
        all: 8,
        per_namespace: None,
        per_host: 4,
        memory_bytes: 8 * MEMORY_OF_PUSH,
        jobs: 1,
    };
    let mut setup = setup_with(Script::HangThere, bounds, Pace::default());
    for n in 0..50 {
        setup.start(order_between(&format!("stuck-{n}"), ("from.example", "hangs.example")));
    }
    tokio::time::sleep(Duration::from_mins(1)).await;
    // Of the same namespace and from the same registry, so that nothing but its destination tells it from the others.
    let start = tokio::time::Instant::now();
    setup.start(order_between("well", ("from.example", "well.example")));
    assert_eq!(failure(&setup.outcome("well").await), ("NetworkError", "no route"));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(setup.engine.running.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn pushes_share_a_bound_on_bytes() {
    let bounds =
        Bounds { all: 8, per_namespace: None, per_host: 4, memory_bytes: u64::MAX, jobs: 1 };
    let pace = Pace::new(NonZeroU64::new(1 << 20).unwrap());
    let mut setup = setup_with(Script::Read, bounds, pace);
    let start = tokio::time::Instant::now();
    for uid in ["a", "b"] {
        setup.start(order(uid, &format!("{uid}.example")));
    }
    let mut ended = HashSet::new();
    while ended.len() < 2 {
        let uid = setup.woken.next().await.unwrap().name;
        if setup.attempts.recall(&uid).attempt.unwrap().outcome.is_some() {
            ended.insert(uid);
            // Neither waits for the other to end.
            assert!(start.elapsed() > Duration::from_secs(17), "{:?}", start.elapsed());
        }
    }
    assert!(start.elapsed() < Duration::from_secs(22), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn attempts_of_objects_that_are_gone_end() {
    let setup = setup(Script::Run, 4, 4);
    for uid in ["a", "b", "c"] {
        setup.start(order(uid, "r.example"));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    setup.attempts.forget("a");
    setup.attempts.keep_only(&HashSet::from(["c".to_owned()]));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(setup.engine.running.load(Ordering::SeqCst), 1);
    assert!(setup.attempts.recall("c").attempt.unwrap().outcome.is_none());
}

#[tokio::test(start_paused = true)]
async fn stopping_calls_everything_off_and_waits() {
    let setup = setup(Script::Run, 1, 1);
    for uid in ["a", "b"] {
        setup.start(order(uid, "r.example"));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(setup.attempts.stop().await);
    for uid in ["a", "b"] {
        let outcome = setup.attempts.recall(uid).attempt.unwrap().outcome;
        assert!(matches!(outcome, Some(Outcome::Cancelled)), "{outcome:?}");
    }
}

/// An exchange that changes a name is not interrupted, and may take longer than the operator may take to end.
#[tokio::test(start_paused = true)]
async fn it_is_known_whether_all_have_ended() {
    let setup = setup(Script::Hang, 1, 1);
    setup.start(order("a", "r.example"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!setup.attempts.stop().await);
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_for_an_object_that_is_gone() {
    let setup = setup(Script::Hang, 4, 2);
    setup.attempts.recall("a");
    setup.attempts.forget("a");
    setup.attempts.start(order("a", "r.example"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(setup.attempts.tasks.is_empty());
    assert_eq!(setup.attempts.update("a", |_| ()), None);
}

/// Whoever may write pods can have one tell what he likes.
#[test]
fn what_a_pod_claims_does_not_turn_counters_back() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let report = serde_json::json!({"outcome": "Pushed", "sourceDigest": digest, "digest": digest,
        "mediaType": "x", "sizeBytes": null, "manifests": [], "blobs": [u64::MAX, 0, 0],
        "bytesSent": u64::MAX, "alreadyPresent": false, "replaced": null, "beside": null});
    let metrics = Metrics::new();
    for _ in 0..2 {
        let outcome = report::Report::parse(&report.to_string()).unwrap().into_outcome();
        metrics.attempt(&order("a", "r.example"), &outcome, Duration::ZERO);
    }
    let text = metrics.text().unwrap();
    for name in ["bytes", "blobs"] {
        let line = format!("imagepush_{name}_total{{outcome=\"sent\"}} {}", 2_u64 << 50);
        assert!(text.contains(&line), "{text}");
    }
}
