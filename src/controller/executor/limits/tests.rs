//! Who starts when, as names of attempts in the order in which they start.

use futures::FutureExt as _;

use std::time::Duration;

use super::super::tests::order_between;
use super::super::{JobAttempt, JobOrder, Task};
use super::*;
use crate::controller::delivery::Delivery;
use crate::controller::resolve::Secrets;
use crate::image::Compression;

const BOUNDS: Bounds =
    Bounds { all: 8, per_namespace: Some(16), per_host: 4, memory_bytes: 1 << 30, jobs: 2 };

/// An attempt that waits or runs.
struct Waiter {
    name: String,
    permit: futures::future::BoxFuture<'static, Option<Permit>>,
}

/// An attempt `name` of `namespace`, from one registry to another.
fn attempt(limits: &Arc<Limits>, namespace: &str, name: &str, route: (&str, &str)) -> Waiter {
    wait(limits, namespace, name, order_between(name, route))
}

fn wait(limits: &Arc<Limits>, namespace: &str, name: &str, mut order: Order) -> Waiter {
    order.object = order.object.within(namespace);
    let limits = limits.clone();
    let mut permit = async move { limits.acquire(&order).await }.boxed();
    // Stands in the queue from its first poll on.
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let permit = match permit.poll_unpin(&mut context) {
        std::task::Poll::Ready(permit) => futures::future::ready(permit).boxed(),
        std::task::Poll::Pending => permit,
    };
    Waiter { name: name.to_owned(), permit }
}

/// The permits of those that can start now, with their names; the others go on waiting.
fn started(waiters: &mut Vec<Waiter>) -> Vec<(String, Permit)> {
    let mut started = vec![];
    waiters.retain_mut(|waiter| match waiter.permit.as_mut().now_or_never() {
        Some(permit) => {
            started.push((waiter.name.clone(), permit.unwrap()));
            false
        }
        None => true,
    });
    started
}

fn names(started: &[(String, Permit)]) -> Vec<&str> {
    started.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn each_bound_holds() {
    let cases = [
        ("all", Bounds { all: 3, ..BOUNDS }, 3),
        ("per namespace", Bounds { per_namespace: Some(2), ..BOUNDS }, 2),
        ("half of all", Bounds { per_namespace: None, ..BOUNDS }, 4),
        ("per host", Bounds { per_host: 5, ..BOUNDS }, 5),
        ("memory of a namespace", Bounds { memory_bytes: 6 * MEMORY_OF_PUSH, ..BOUNDS }, 3),
        ("never nothing", Bounds { all: 0, memory_bytes: 0, ..BOUNDS }, 1),
    ];
    for (bound, bounds, expected) in cases {
        let limits = Limits::new(Bounds { per_host: bounds.per_host.max(4), ..bounds });
        // Each from a registry of its own, so that the destination is what they have in common.
        let sources: Vec<String> = (0..9).map(|n| format!("s{n}.example")).collect();
        let to = if bound == "per host" { |_| "d.example".into() } else { |n| format!("d{n}.io") };
        let mut waiters: Vec<_> = (0..9)
            .map(|n| attempt(&limits, "n", &format!("{n}"), (&sources[n], &to(n) as &String)))
            .collect();
        let running = started(&mut waiters);
        assert_eq!(running.len(), expected, "{bound}");
        drop(running);
        assert_eq!(started(&mut waiters).len(), expected.min(9 - expected), "{bound}");
    }
}

#[test]
fn fifty_that_hang_on_one_registry_do_not_delay_another() {
    // What hangs is the end to which, from which, or both; what is asked for shares the other one.
    let cases = [
        (("from.example", "hangs.example"), ("from.example", "well.example")),
        (("hangs.example", "to.example"), ("well.example", "to.example")),
        (("hangs.example", "hangs.example"), ("from.example", "to.example")),
    ];
    for (stuck, well) in cases {
        let limits = Limits::new(BOUNDS);
        let mut waiters: Vec<_> =
            (0..50).map(|n| attempt(&limits, "a", &format!("stuck {n}"), stuck)).collect();
        let stuck = started(&mut waiters);
        assert!(!stuck.is_empty());
        waiters.push(attempt(&limits, "b", "well", well));
        let running = started(&mut waiters);
        assert_eq!(names(&running), ["well"]);
    }
}

/// Its own namespace has places left, too, from wherever what hangs comes.
#[test]
fn fifty_that_hang_on_one_registry_leave_places_to_their_namespace() {
    for same_source in [true, false] {
        let limits = Limits::new(Bounds { per_namespace: None, ..BOUNDS });
        let mut waiters: Vec<_> = (0..50)
            .map(|n| {
                let from = if same_source { "hangs.io".into() } else { format!("s{n}.io") };
                attempt(&limits, "a", &format!("stuck {n}"), (&from, "hangs.io"))
            })
            .collect();
        let stuck = started(&mut waiters);
        assert_eq!(stuck.len(), 3);
        waiters.push(attempt(&limits, "a", "well", ("from.example", "well.example")));
        assert_eq!(names(&started(&mut waiters)), ["well"], "{same_source}");
    }
}

/// As many as can be that compress, and hang, leave memory to others: of another namespace, or at another registry.
#[test]
fn what_hangs_with_much_memory_does_not_delay_another() {
    let bounds = Bounds { memory_bytes: 384 << 20, per_namespace: None, ..BOUNDS };
    let rewrite =
        |limits: &Arc<Limits>, format, namespace: &str, name: &str, route: (&str, &str)| {
            let mut order = order_between(name, route);
            order.options.layers = Layers::Compress(Codec::new(format, None).unwrap());
            order.options.custom_resources = CustomResources::Auto;
            wait(limits, namespace, name, order)
        };
    // Nine that hang, in how many namespaces, at how many registries, and whose push is well, to a registry of its own.
    let cases = [(1, 1, "a0"), (1, 1, "b"), (1, 9, "b"), (9, 1, "b"), (2, 2, "b"), (2, 1, "b")];
    for format in [Compression::Gzip, Compression::Zstd] {
        for (namespaces, hosts, well) in cases {
            let limits = Limits::new(bounds);
            let mut waiters: Vec<_> = (0..9)
                .map(|n| {
                    let (namespace, host) = (format!("a{}", n % namespaces), n % hosts);
                    let host = format!("hangs{host}.io");
                    rewrite(&limits, format, &namespace, "stuck", (host.as_str(), host.as_str()))
                })
                .collect();
            let stuck = started(&mut waiters);
            assert!(!stuck.is_empty());
            waiters.push(attempt(&limits, well, "plain", ("from.io", "well.io")));
            let plain = started(&mut waiters);
            let case = format!("{format} {namespaces} {hosts} {well}: {} hang", stuck.len());
            assert_eq!(names(&plain), ["plain"], "{case}");
            drop(plain);
            waiters.push(rewrite(&limits, format, well, "rewrite", ("from.io", "well.io")));
            let rewrites = started(&mut waiters);
            assert_eq!(names(&rewrites), ["rewrite"], "{case}");
            drop(rewrites);
            if namespaces == 1 && hosts == 1 {
                // It may be the destination that hangs.
                waiters.push(attempt(&limits, well, "from there", ("hangs0.io", "well.io")));
                assert_eq!(names(&started(&mut waiters)), ["from there"], "{case}");
            }
        }
    }
}

/// An attempt that has a Job, from a claim to a registry.
fn job_to(limits: &Arc<Limits>, namespace: &str, name: &str, host: &str) -> Waiter {
    let mut order = order_between(name, (host, host));
    let object = serde_json::json!({
        "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
        "metadata": {"name": name, "namespace": namespace, "uid": name},
        "spec": {
            "source": {"reference": "oci:x:1",
                "volume": {"persistentVolumeClaim": {"claimName": name}}},
            "destination": {"reference": format!("docker://{host}/x:1")}, "runPolicy": "Once",
        },
    });
    let object = serde_json::from_value(object).unwrap();
    let task = Task::new(&object, &Secrets::default(), Delivery::default(), Duration::from_mins(1));
    let attempt = JobAttempt { task, uid: name.into(), work: "sha256:work".into(), failures: 0 };
    order.job = Some(JobOrder { attempt, reported: None });
    wait(limits, namespace, name, order)
}

/// Jobs wait for nodes and volumes; nobody else's push to the same registry waits for them.
#[test]
fn jobs_that_do_not_run_hold_up_their_own_namespace_only() {
    let limits = Limits::new(Bounds { jobs: 20, ..BOUNDS });
    let mut waiters: Vec<_> =
        (0..20).map(|n| job_to(&limits, "a", &format!("stuck-{n}"), "r.example")).collect();
    let stuck = started(&mut waiters);
    assert_eq!(stuck.len(), 4);
    waiters.push(attempt(&limits, "a", "in the operator", ("from.example", "r.example")));
    waiters.push(job_to(&limits, "b", "of another", "r.example"));
    assert_eq!(names(&started(&mut waiters)), ["in the operator", "of another"]);
}

/// A Job's pod has memory of its own.
#[test]
fn who_waits_for_memory_does_not_hold_up_jobs() {
    let limits = Limits::new(Bounds { memory_bytes: 3 * MEMORY_OF_PUSH, ..BOUNDS });
    let small = |name: &str| {
        let host = format!("{name}.example");
        attempt(&limits, name, name, (&host, &host))
    };
    let mut waiters = vec![small("first"), small("second")];
    let first = started(&mut waiters);
    assert_eq!(first.len(), 2);
    let mut order = order_between("large", ("t.example", "e.example"));
    order.options.layers = Layers::Compress(Codec::new(Compression::Zstd, None).unwrap());
    waiters.push(wait(&limits, "m", "large", order));
    waiters.push(small("small"));
    waiters.push(job_to(&limits, "n", "job", "j.example"));
    assert_eq!(names(&started(&mut waiters)), ["job"]);
}

#[test]
fn one_namespace_leaves_places_to_others() {
    let limits = Limits::new(Bounds { per_namespace: None, ..BOUNDS });
    let greedy = |n| {
        let host = format!("h{n}.example");
        attempt(&limits, "greedy", &format!("{n}"), (&host, &host))
    };
    let mut waiters: Vec<_> = (0..50).map(greedy).collect();
    let running = started(&mut waiters);
    assert_eq!(running.len(), 4);
    waiters.push(attempt(&limits, "modest", "modest", ("m.example", "m.example")));
    assert_eq!(names(&started(&mut waiters)), ["modest"]);
}

#[test]
fn a_freed_place_goes_to_who_waited_longest() {
    let limits = Limits::new(Bounds { all: 1, ..BOUNDS });
    let mut waiters: Vec<_> =
        ["a", "b", "c"].map(|name| attempt(&limits, "n", name, ("s.example", "d.example"))).into();
    let mut order = vec![];
    for _ in 0..3 {
        order.extend(started(&mut waiters).into_iter().map(|(name, _)| name));
    }
    assert_eq!(order, ["a", "b", "c"]);
}

#[test]
fn one_that_needs_much_is_not_overtaken_for_ever() {
    let codec = Codec::new(Compression::Zstd, None).unwrap();
    let memory_bytes = MEMORY_OF_PUSH + CodecMemory::of_blocks(codec);
    let limits = Limits::new(Bounds { memory_bytes, ..BOUNDS });
    let small = |name: &str| attempt(&limits, "n", name, ("s.example", "d.example"));
    let mut waiters = vec![small("first")];
    let first = started(&mut waiters);
    let mut order = order_between("large", ("t.example", "e.example"));
    order.options.layers = Layers::Compress(codec);
    waiters.push(wait(&limits, "n", "large", order));
    waiters.push(small("later"));
    assert!(started(&mut waiters).is_empty());
    drop(first);
    let large = started(&mut waiters);
    assert_eq!(names(&large), ["large"]);
    drop(large);
    assert_eq!(names(&started(&mut waiters)), ["later"]);
}

#[test]
fn memory_follows_from_what_is_asked_for() {
    const MIB: u64 = 1 << 20;
    let gzip = Layers::Compress(Codec::DEFAULT);
    let zstd = Layers::Compress(Codec::new(Compression::Zstd, Some(19)).unwrap());
    let (never, auto) = (CustomResources::Never, CustomResources::Auto);
    for (layers, format, bundle, expected) in [
        (Layers::Keep, None, never, 32),
        (Layers::DoNotCompress, Some(ManifestFormat::Oci), never, 32),
        (Layers::Keep, None, auto, 64),
        (Layers::Keep, Some(ManifestFormat::V2s2), never, 48),
        (gzip, None, never, 48),
        (zstd, None, auto, 128),
    ] {
        let mut options = order_between("o", ("s.example", "d.example")).options;
        (options.layers, options.format, options.custom_resources) = (layers, format, bundle);
        assert_eq!(memory(&options), expected * MIB, "{options:?}");
    }
}

#[test]
fn who_stops_waiting_takes_nothing() {
    let limits = Limits::new(Bounds { all: 1, ..BOUNDS });
    let one = |name: &str| attempt(&limits, "n", name, ("s.example", "d.example"));
    let mut waiters = vec![one("a"), one("b"), one("c")];
    let running = started(&mut waiters);
    assert_eq!(names(&running), ["a"]);
    // Once before its turn comes, once with the permit on its way.
    waiters.remove(0);
    drop(running);
    assert_eq!(waiters.len(), 1);
    drop(waiters);
    let queue = limits.queue.lock().unwrap();
    assert!(queue.taken.is_empty() && queue.waiting.is_empty());
}
