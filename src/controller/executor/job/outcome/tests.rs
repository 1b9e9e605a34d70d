//! States of Jobs and pods, and what is made of them.

use serde_json::{Value, json};

use super::super::seen::Seen;
use super::*;

/// `going`, `going: what it waits for`, or the reason and message of the end.
fn read(job: &Value, pods: &[Value]) -> String {
    read_after(job, pods, Duration::ZERO)
}

/// The same after the latest pod has been going for so long.
fn read_after(job: &Value, pods: &[Value], gone_for: Duration) -> String {
    let job = serde_json::from_value(json!({"metadata": {}, "status": job})).unwrap();
    let pods: Vec<Pod> =
        pods.iter().map(|pod| serde_json::from_value(pod.clone()).unwrap()).collect();
    match state(&job, &pods, gone_for, disruption(&pods).as_deref()) {
        State::Going(None) => "going".to_owned(),
        State::Going(Some(what)) => format!("going: {what}"),
        State::Ended(Outcome::Failed(failure)) => {
            assert_eq!(failure.class, Class::Transient, "{failure:?}");
            format!("{}: {}", failure.reason, failure.message)
        }
        State::Ended(outcome) => outcome.word().to_owned(),
    }
}

fn pod(status: &Value) -> Value {
    json!({"metadata": {"creationTimestamp": "2026-11-22T12:00:00Z"}, "status": status})
}

fn with_container(state: &Value) -> Value {
    pod(&json!({
        "containerStatuses": [
            {"name": "mesh", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": {"terminated": {"exitCode": 3}}},
            {"name": "push", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state},
        ],
    }))
}

fn terminated(fields: &Value) -> Value {
    with_container(&json!({"terminated": fields}))
}

fn over(kind: &str, reason: &str) -> Value {
    json!({"conditions": [{"type": kind, "status": "True", "reason": reason}]})
}

#[test]
fn what_ended_a_pod_without_a_report_is_named() {
    let cancelled = json!({"exitCode": 130, "message": r#"{"outcome": "Cancelled"}"#});
    let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"});
    let cases = [
        (vec![terminated(&cancelled)], "its pod was told to end"),
        (
            vec![terminated(&json!({"exitCode": 137, "reason": "OOMKilled"}))],
            "its pod needed more memory than its limit; raise the limit of Jobs",
        ),
        (
            vec![terminated(&json!({"exitCode": 137, "reason": "Error"}))],
            "its pod was killed; if that was for want of memory, raise the limit of Jobs",
        ),
        (
            vec![terminated(&json!({"exitCode": 2, "message": "not a report"}))],
            "its pod ended with exit code 2 and no report; see its log",
        ),
        (vec![pod(&evicted)], "its pod was ended: Evicted: low on memory"),
        (vec![pod(&json!({"phase": "Failed"}))], "its pod failed"),
    ];
    for (pods, expected) in cases {
        let expected = format!("ExecutorLost: the Job was lost: {expected}");
        assert_eq!(read(&json!({}), &pods), expected, "{pods:?}");
    }
}

#[test]
fn each_state_is_told() {
    let none = json!({});
    let told = r#"{"outcome": "Failed", "reason": "Timeout", "message": "m", "transient": true, "side": null, "retryAfterSeconds": null}"#;
    let report = json!({"exitCode": 75, "message": told});
    let unscheduled = json!({
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node has the claim"}],
    });
    let cases = [
        (&none, vec![], "going: it has no pod yet"),
        (&none, vec![pod(&json!({"phase": "Pending"}))], "going: its pod has not started"),
        (&none, vec![pod(&unscheduled)], "going: no node has the claim"),
        (
            &none,
            vec![with_container(
                &json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}),
            )],
            "going: ImagePullBackOff: no such image",
        ),
        (&none, vec![with_container(&json!({"running": {}}))], "going"),
        // The report is there before the Job is over, and stays when it is.
        (&none, vec![terminated(&report)], "Timeout: m"),
        (&over("Failed", "BackoffLimitExceeded"), vec![terminated(&report)], "Timeout: m"),
        (&over("Failed", "DeadlineExceeded"), vec![terminated(&report)], "Timeout: m"),
        (
            &over("Failed", "DeadlineExceeded"),
            vec![pod(&unscheduled)],
            "Timeout: the Job ran out of time before its pod ended: no node has the claim",
        ),
        (
            &over("Failed", "DeadlineExceeded"),
            vec![with_container(&json!({"running": {}}))],
            "Timeout: the Job ran out of time before its pod ended",
        ),
        (
            &over("Failed", "BackoffLimitExceeded"),
            vec![],
            "ExecutorLost: the Job ended without its pod's report (BackoffLimitExceeded)",
        ),
        (
            &over("Complete", "CompletionsReached"),
            vec![],
            "ExecutorLost: the Job ended without its pod's report (CompletionsReached)",
        ),
    ];
    for (job, pods, expected) in cases {
        assert_eq!(read(job, &pods), expected, "{job} {pods:?}");
    }
}

#[test]
fn a_pod_that_never_ends_counts_as_lost_after_a_while() {
    let lost = "ExecutorLost: the Job was lost: its node does not answer";
    // Whatever its time says: that is by another clock.
    for deleted in ["2020-01-01T00:00:00Z", "2040-01-01T00:00:00Z"] {
        for (seconds, expected) in [(0, "going"), (89, "going"), (91, lost)] {
            let mut pod = with_container(&json!({"running": {}}));
            pod["metadata"]["deletionTimestamp"] = deleted.into();
            let found = read_after(&json!({}), &[pod], Duration::from_secs(seconds));
            assert_eq!(found, expected, "{deleted} {seconds}");
        }
    }
}

#[test]
fn the_latest_pod_counts() {
    let mut old = terminated(&json!({"exitCode": 137, "reason": "OOMKilled"}));
    old["metadata"]["creationTimestamp"] = "2026-11-22T11:00:00Z".into();
    let new = with_container(&json!({"running": {}}));
    assert_eq!(read(&json!({}), &[new.clone(), old.clone()]), "going");
    assert_eq!(read(&json!({}), &[old, new]), "going");
}

/// A pod that the cluster makes go, in this state of its container.
fn disrupted(state: &Value) -> Value {
    let mut pod = with_container(state);
    pod["status"]["conditions"] = json!([{"type": "DisruptionTarget", "status": "True",
        "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}]);
    pod
}

/// The Job makes another pod of one that was drained, evicted or preempted: that is no end, and if it is, no fault of the push.
#[test]
fn a_disrupted_pod_is_replaced_and_counts_for_nothing() {
    let (none, because) =
        (json!({}), "its pod was ended: EvictionByEvictionAPI: Eviction API: evicting");
    let cancelled = json!({"exitCode": 130, "message": r#"{"outcome": "Cancelled"}"#});
    let killed = json!({"exitCode": 137, "reason": "Error"});
    let over = over("Failed", "BackoffLimitExceeded");
    let late = json!({"conditions": [
        {"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"}]});
    let going = format!("going: another pod is to come, since {because}");
    let lost = format!("ExecutorLost: the Job was lost: {because}");
    let timeout = format!(
        "Timeout: the Job ran out of time before its pod ended: another pod is to come, since {because}"
    );
    let own = json!({"exitCode": 2});
    for (job, end, expected, counts) in [
        (&none, json!({"running": {}}), "going", true),
        (&none, json!({"terminated": cancelled}), going.as_str(), true),
        (&none, json!({"terminated": killed}), &going, true),
        (&over, json!({"terminated": cancelled}), &lost, false),
        (&late, json!({"terminated": cancelled}), &timeout, false),
        // What a push says itself is its end.
        (&none, json!({"terminated": own}), &lost, true),
        (
            &none,
            json!({"terminated": {"exitCode": 0, "message": r#"{"outcome": "Unchanged"}"#}}),
            "AlreadyPresent",
            true,
        ),
    ] {
        let pods = [disrupted(&end)];
        assert_eq!(read(job, &pods), expected, "{job} {end}");
        let job: Job = serde_json::from_value(json!({"metadata": {}, "status": job})).unwrap();
        let pods = pods.map(|pod| serde_json::from_value(pod).unwrap());
        let seen = disruption(&pods);
        if let State::Ended(Outcome::Failed(failure)) =
            state(&job, &pods, Duration::ZERO, seen.as_deref())
        {
            assert_eq!(failure.disrupted, !counts, "{job:?} {end}");
        }
    }
    // It is gone, and the other one not there yet.
    let job: Job = serde_json::from_value(json!({"metadata": {}})).unwrap();
    let State::Going(waits) = state(&job, &[], Duration::ZERO, Some(because)) else { panic!() };
    assert_eq!(waits.unwrap(), format!("another pod is to come, since {because}"));
}

/// What was seen of an earlier pod is no excuse for the one that works now.
#[test]
fn a_pod_that_works_in_the_place_of_another_counts() {
    let pod = |pod: &Value| serde_json::from_value(pod.clone()).unwrap();
    let (running, waiting) = (json!({"running": {}}), json!({"waiting": {"reason": "x"}}));
    let mut seen = Seen::new();
    seen.note(&[pod(&disrupted(&running))]);
    assert!(seen.disrupted.is_some());
    for (pods, still) in [
        (vec![], true),
        (vec![pod(&with_container(&waiting))], true),
        (vec![pod(&with_container(&running))], false),
    ] {
        seen.note(&pods);
        assert_eq!(seen.disrupted.is_some(), still, "{pods:?}");
    }
}

/// A pod that took too long is told to end, and that it was is not the cause.
#[test]
fn what_takes_too_long_is_told_as_that() {
    let cancelled = json!({"exitCode": 130, "message": r#"{"outcome": "Cancelled"}"#});
    let late = json!({"conditions": [
        {"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"}]});
    let told = "Timeout: the Job ran out of time before its pod ended";
    assert_eq!(read(&late, &[with_container(&json!({"running": {}}))]), "going");
    assert_eq!(read(&late, &[terminated(&cancelled)]), told);
    let ended = json!({"conditions": [{"type": "Failed", "status": "True",
        "reason": "PodFailurePolicy", "message": "Container push failed with exit code 2"}]});
    assert_eq!(
        read(&ended, &[]),
        "ExecutorLost: the Job ended without its pod's report (PodFailurePolicy); Container push failed with exit code 2"
    );
}
