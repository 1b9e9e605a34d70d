//! Which of several operators works: by an API server of our own with paused time, and by the real one.

use std::time::Duration;

use imagepush::controller::{ElectionConfig, OperatorConfig, run_with};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::api_double::{Act, ApiDouble};

/// An operator that stands for election at the double.
struct Candidate {
    stop: CancellationToken,
    task: JoinHandle<imagepush::error::Result<()>>,
}

impl Candidate {
    fn start(api: &ApiDouble, identity: &str) -> Self {
        let stop = CancellationToken::new();
        let election = ElectionConfig {
            lease: "imagepush".into(),
            namespace: None,
            identity: identity.into(),
        };
        let config =
            OperatorConfig { election: Some(election), listen: None, ..OperatorConfig::default() };
        let task = tokio::spawn(run_with(api.client(), config, stop.clone()));
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn lease(api: &ApiDouble) -> Value {
    api.get("leases", "home", "imagepush")["spec"].clone()
}

fn holder(api: &ApiDouble) -> Option<String> {
    lease(api)["holderIdentity"].as_str().map(str::to_owned)
}

/// Whether the object says that it was looked at.
fn is_seen(api: &ApiDouble, name: &str) -> bool {
    api.get("imagepushes", "n", name)["status"]["observedGeneration"] == 1
}

#[tokio::test(start_paused = true)]
async fn one_works_and_the_other_takes_over_when_it_is_told() {
    let api = ApiDouble::new();
    let one = Candidate::start(&api, "one");
    api.until("one leads", |api| holder(api).as_deref() == Some("one")).await;
    let other = Candidate::start(&api, "other");
    api.put_suspended("a");
    api.until("a is seen", |api| is_seen(api, "a")).await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(holder(&api).as_deref(), Some("one"));
    assert_eq!(api.asked("LIST imagepushes").len(), 1, "only who leads lists");
    let renewals = api.asked("PUT leases").len();
    assert!((58..=62).contains(&renewals), "{renewals} renewals in five minutes");

    let stopped = Instant::now();
    one.stop().await;
    assert_eq!(holder(&api), None, "given back");
    api.until("the other leads", |api| holder(api).as_deref() == Some("other")).await;
    assert!(stopped.elapsed() < Duration::from_secs(3), "{:?}", stopped.elapsed());
    assert_eq!(lease(&api)["leaseTransitions"], 1);
    api.put_suspended("b");
    api.until("b is seen", |api| is_seen(api, "b")).await;
    other.stop().await;
}

/// A leader that vanishes is missed after the fifteen seconds of its lease, whatever its clock said.
#[tokio::test(start_paused = true)]
async fn a_leader_that_vanishes_is_replaced() {
    let api = ApiDouble::new();
    let gone = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"namespace": "home", "name": "imagepush"},
        "spec": {"holderIdentity": "gone", "leaseDurationSeconds": 15, "leaseTransitions": 3,
            "renewTime": "1999-01-01T00:00:00.000000Z"},
    });
    api.write("leases", "home", "imagepush", gone);
    let started = Instant::now();
    let one = Candidate::start(&api, "one");
    api.until("one leads", |api| holder(api).as_deref() == Some("one")).await;
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(15) && waited < Duration::from_secs(18), "{waited:?}");
    assert_eq!(lease(&api)["leaseTransitions"], 4);
    one.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stolen_lease_ends_the_process() {
    let api = ApiDouble::new();
    let one = Candidate::start(&api, "one");
    api.until("one leads", |api| holder(api).as_deref() == Some("one")).await;
    let mut stolen = api.get("leases", "home", "imagepush");
    stolen["spec"]["holderIdentity"] = json!("thief");
    api.write("leases", "home", "imagepush", stolen);
    let error = one.task.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the lease `imagepush` was lost: `thief` has it now");
    assert_eq!(error.exit_code(), 75);
    assert_eq!(holder(&api).as_deref(), Some("thief"), "not given back by us");
}

/// Its lease would be free after fifteen seconds: it gives up before, whether the server is silent or refuses.
#[tokio::test(start_paused = true)]
async fn a_leader_that_can_not_renew_gives_up_in_time() {
    let answers = [
        Act::Hang,
        Act::Answer(500, vec![], "no".into()),
        Act::Answer(403, vec![], "may not".into()),
        Act::Late(Duration::from_mins(1)),
    ];
    for act in answers {
        let api = ApiDouble::new();
        let one = Candidate::start(&api, "one");
        api.until("one leads", |api| holder(api).as_deref() == Some("one")).await;
        let last = api.asked("POST leases")[0].at;
        api.fail("PUT leases", usize::MAX, act);
        let error = one.task.await.unwrap().unwrap_err();
        let message = "the lease `imagepush` was lost: it could not be renewed for 10s";
        assert_eq!(error.to_string(), message);
        let waited = last.elapsed();
        assert!(
            waited >= Duration::from_secs(10) && waited < Duration::from_secs(12),
            "{waited:?}"
        );
    }
}

/// An answer that got lost is no lost lease, and neither is somebody who removes the object.
#[tokio::test(start_paused = true)]
async fn small_mishaps_cost_no_lease() {
    let api = ApiDouble::new();
    let one = Candidate::start(&api, "one");
    api.until("one leads", |api| holder(api).as_deref() == Some("one")).await;
    for status in [500, 429, 503] {
        api.fail("PUT leases", 2, Act::Answer(status, vec![], "scripted".into()));
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    // Written by us, as far as the server knows; we have not heard of it.
    let ours = api.get("leases", "home", "imagepush");
    api.write("leases", "home", "imagepush", ours);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!one.task.is_finished());
    assert_eq!(holder(&api).as_deref(), Some("one"));
    one.stop().await;
}

/// Two operators that see a free lease at the same time: the version decides.
#[tokio::test(start_paused = true)]
async fn of_two_that_claim_at_once_one_wins() {
    let api = ApiDouble::new();
    api.fail("POST leases", 2, Act::Late(Duration::from_secs(1)));
    let both = [Candidate::start(&api, "one"), Candidate::start(&api, "other")];
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(api.asked("LIST imagepushes").len(), 1);
    assert_eq!(lease(&api)["leaseTransitions"], 0);
    for candidate in both {
        candidate.stop().await;
    }
}
