//! When a name may still be left as it was: up to the request that changes it, and not in the middle of that.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use imagepush::error::{Error, Kind, Result};
use imagepush::transport::{Gate, ImageDestination, StillWanted, Wanted};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::harness::*;
use crate::support::registry::{Act, Registry, Rule};

const PUT: &str = "PUT /v2/app/manifests";

/// Somebody else's lease.
struct Lost;

#[async_trait]
impl StillWanted for Lost {
    async fn check(&self) -> Result<()> {
        Err(Error::new(Kind::Cancelled, "another one leads by now"))
    }
}

/// A registry with the blobs of an image, and where its manifest is to go.
async fn halfway(image: &Image) -> (Registry, Box<dyn ImageDestination>) {
    let registry = Registry::start().await;
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    put_blobs(&*to, image).await.unwrap();
    registry.take_log();
    (registry, to)
}

fn asked(registry: &Registry) -> bool {
    registry.take_log().iter().any(|line| line.starts_with(PUT))
}

#[tokio::test]
async fn a_pause_before_the_name_changes_can_be_interrupted() {
    let image = Image::new("x");
    let (registry, to) = halfway(&image).await;
    let pause = Act::Respond(429, vec![("retry-after", "200".into())], vec![]);
    registry.add_rule(Rule::each("HEAD", "/manifests/", pause));
    to.current().await.unwrap_err();
    let cancel = CancellationToken::new();
    let gate = Gate::new(Wanted::until_cancelled(&cancel));
    let put = gate.unless_cancelled(to.put_named(&image.manifest, &gate));
    let cancelling = async {
        sleep(Duration::from_millis(50)).await;
        cancel.cancel();
    };
    let put = async { tokio::join!(put, cancelling).0 };
    let put = timeout(Duration::from_secs(20), put).await.expect("it waited on");
    assert_eq!(put.unwrap_err().kind(), Kind::Cancelled);
    assert!(!gate.may_have_changed().await);
    assert!(!asked(&registry));
}

#[tokio::test]
async fn the_request_that_changes_the_name_is_not_interrupted() {
    let image = Image::new("x");
    let (registry, to) = halfway(&image).await;
    registry.add_rule(Rule::each("PUT", "/manifests/", Act::Stall));
    let cancel = CancellationToken::new();
    let gate = Gate::new(Wanted::until_cancelled(&cancel));
    let mut put = Box::pin(gate.unless_cancelled(to.put_named(&image.manifest, &gate)));
    tokio::select! {
        result = &mut put => panic!("it ended: {result:?}"),
        () = registry.received(PUT) => cancel.cancel(),
    }
    timeout(Duration::from_millis(300), &mut put).await.expect_err("it was interrupted");
}

#[tokio::test]
async fn a_name_is_not_changed_for_a_push_that_is_not_wanted() {
    let image = Image::new("x");
    let (registry, to) = halfway(&image).await;
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let lost = Wanted::until_cancelled(&CancellationToken::new()).while_holds(Arc::new(Lost));
    for wanted in [Wanted::until_cancelled(&cancelled), lost] {
        let gate = Gate::new(wanted);
        let error = to.put_named(&image.manifest, &gate).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Cancelled);
        assert!(!asked(&registry));
    }
}

#[tokio::test]
async fn what_an_answer_leaves_open_is_known() {
    let image = Image::new("x");
    let answer = |status| Act::Respond(status, vec![], vec![]);
    for (act, open) in [
        (answer(401), false),
        (answer(403), false),
        (answer(429), false),
        (answer(503), false),
        (answer(302), false),
        (answer(500), true),
        (answer(502), true),
        (Act::Drop, true),
        (Act::Status(201), true),
    ] {
        let (registry, to) = halfway(&image).await;
        registry.add_rule(Rule::each("PUT", "/manifests/", act));
        let gate = Gate::new(Wanted::until_cancelled(&CancellationToken::new()));
        let put = to.put_named(&image.manifest, &gate).await;
        assert_eq!(gate.may_have_changed().await, open, "{put:?}");
    }
    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let to = destination(&format!("{closed}/app:1"), &plain()).await;
    let gate = Gate::new(Wanted::until_cancelled(&CancellationToken::new()));
    to.put_named(&image.manifest, &gate).await.unwrap_err();
    assert!(!gate.may_have_changed().await);
}
