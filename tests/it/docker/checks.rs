//! Many looks at what names have, as the operator takes them: few at once at each registry, over connections that are kept.

use std::time::Duration;

use futures::future::join_all;
use imagepush::engine;
use imagepush::limits::PARALLEL_CHECKS;
use imagepush::options::PushOptions;
use tokio_util::sync::CancellationToken;

use super::harness::*;
use crate::support::push;
use crate::support::registry::{Act, Registry, Rule};
use crate::support::relay::Relay;

const LOOKS: usize = 16;

/// From one name to another one of the same registry.
fn options(host: &str) -> PushOptions {
    let mut options =
        push::options(&format!("docker://{host}/a:1"), &format!("docker://{host}/b:1"));
    let access = plain();
    options.source.access = access.clone();
    options.destination.access = access;
    options
}

async fn look(options: &PushOptions) {
    let cancel = CancellationToken::new();
    let looks = (0..LOOKS).map(|_| engine::standing(options, &cancel));
    join_all(looks).await.into_iter().for_each(|found| drop(found.unwrap()));
}

#[tokio::test]
async fn a_registry_is_looked_at_by_few_at_once() {
    let registry = Registry::start().await;
    registry.add_rule(Rule::each("HEAD", "/manifests/", Act::Stall));
    let options = options(&registry.host);
    let asked = async {
        while registry.seen().len() < PARALLEL_CHECKS {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // More than these would have come by now.
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    tokio::select! {
        () = look(&options) => panic!("nothing answers"),
        () = asked => assert_eq!(registry.seen().len(), PARALLEL_CHECKS),
    }
}

#[tokio::test]
async fn looks_that_follow_each_other_need_no_more_connections() {
    let registry = Registry::start().await;
    let relay = Relay::start(&registry.host, &[]).await;
    let options = options(&relay.host);
    for _ in 0..3 {
        look(&options).await;
    }
    assert_eq!(registry.seen().len(), 3 * 2 * LOOKS);
    assert!(relay.connections() <= PARALLEL_CHECKS, "{} connections", relay.connections());
}
