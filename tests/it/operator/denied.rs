//! The operator without one of the permissions that Jobs and the lease need, by a server of our own and paused time: it lives,
//! says what it lacks, and doesn't ask again and again.

use imagepush::controller::{ElectionConfig, OperatorConfig, run_with};
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::job_faults::{
    Running, ask, between, end, from_claim, jobs, next_job, pushed, refused, told, until_ready_is,
};
use super::watching::SECOND;
use crate::support::api_double::ApiDouble;

/// What a Job needs, how often it may be asked for in an hour, and what the refusal is told with.
const FOR_JOBS: [(&str, usize, &str); 5] = [
    ("POST jobs", 20, "creating Job "),
    ("GET jobs", 300, "looking at Job "),
    ("LIST jobs", 300, "listing Jobs"),
    ("LIST pods", 300, "listing pods"),
    ("GET persistentvolumeclaims", 20, "reading claim "),
];

#[tokio::test(start_paused = true)]
async fn each_permission_for_jobs_that_is_missing_is_told() {
    for (what, most, doing) in FOR_JOBS {
        let api = ApiDouble::new();
        api.fail(what, usize::MAX, refused(403));
        let operator = Running::start(&api);
        api.put("a", &from_claim(&api, "1"));
        until_ready_is(&api, "a", "AccessDenied").await;
        let (_, message) = told(&api, "a", "Ready");
        assert!(message.starts_with(doing), "{what}: {message}");
        sleep(3600 * SECOND).await;
        let asked = api.asked(what).len();
        assert!(asked <= most, "{what}: {asked} in an hour");
        // It is found out when that has changed.
        api.heal();
        next_job(&api, "a", &[]).await;
        operator.stop().await;
    }
}

/// A Job that can't be ended, and one of which can't be found out why it has no pod.
#[tokio::test(start_paused = true)]
async fn what_may_not_be_ended_or_looked_into_is_put_up_with() {
    let api = ApiDouble::new();
    for what in ["DELETE jobs", "LIST events"] {
        api.fail(what, usize::MAX, refused(403));
    }
    let operator = Running::start(&api);
    api.put("a", &between("1", &json!({})));
    let job = next_job(&api, "a", &[]).await;
    let name = job["metadata"]["name"].as_str().unwrap();
    let waits = format!("the Job `{name}` waits: it has no pod yet");
    api.until("it says so", |api| told(api, "a", "Reconciling").1 == waits).await;
    api.put("a", &between("1", &json!({"suspend": true})));
    until_ready_is(&api, "a", "Suspended").await;
    sleep(3600 * SECOND).await;
    let asked = api.asked("DELETE jobs").len();
    assert!((1..=300).contains(&asked), "{asked} in an hour");
    api.heal();
    api.until("the Job is gone", |api| jobs(api, "a").is_empty()).await;
    operator.stop().await;
}

/// Who may not ask for the lease waits for that.
#[tokio::test(start_paused = true)]
async fn a_lease_that_may_not_be_asked_for_is_waited_for() {
    for what in ["GET leases", "POST leases"] {
        let api = ApiDouble::new();
        api.fail(what, usize::MAX, refused(403));
        let election =
            ElectionConfig { lease: "imagepush".into(), namespace: None, identity: "one".into() };
        let config =
            OperatorConfig { election: Some(election), listen: None, ..OperatorConfig::default() };
        let stop = CancellationToken::new();
        let task = tokio::spawn(run_with(api.client(), config, stop.clone()));
        api.put_suspended("a");
        sleep(600 * SECOND).await;
        let asked = api.asked(what).len();
        assert!((2..=600).contains(&asked) && !task.is_finished(), "{what}: {asked}");
        assert_eq!(told(&api, "a", "Ready").0, "");
        api.heal();
        until_ready_is(&api, "a", "Suspended").await;
        stop.cancel();
        task.await.unwrap().unwrap();
    }
}

/// The ConfigMap is there, and has the digest of the push before.
#[tokio::test(start_paused = true)]
async fn a_digest_that_may_not_be_renewed_is_told() {
    let api = ApiDouble::new();
    api.fail("PATCH configmaps", usize::MAX, refused(403));
    let operator = Running::start(&api);
    let output = json!({"configMapKeyRef": {"name": "out", "key": "digest"}});
    let more = json!({"runPolicy": "Continuous", "interval": "1h", "digestOutput": output});
    api.put("a", &between("1", &more));
    let first = next_job(&api, "a", &[]).await;
    end(&api, &first, &pushed("0"));
    until_ready_is(&api, "a", "PushSucceeded").await;
    ask(&api, "1");
    let second = next_job(&api, "a", &[&first]).await;
    end(&api, &second, &pushed("1"));
    until_ready_is(&api, "a", "DigestOutputFailed").await;
    let asked = api.asked("PATCH configmaps").len();
    sleep(600 * SECOND).await;
    assert!(api.asked("PATCH configmaps").len() <= asked + 2);
    operator.stop().await;
}
