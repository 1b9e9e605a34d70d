//! Jobs, when the API server or the cluster doesn't do as it should, with a server of our own and paused time. The test is
//! the Job controller and the kubelet.

use std::time::Duration;

use imagepush::controller::{JobSettings, OperatorConfig, run_with};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::watching::SECOND;
use crate::support::api_double::{Act, ApiDouble};

/// An operator that makes Jobs.
pub(super) struct Running {
    stop: CancellationToken,
    task: JoinHandle<imagepush::error::Result<()>>,
}

impl Running {
    pub(super) fn start(api: &ApiDouble) -> Self {
        let stop = CancellationToken::new();
        let image = Some("registry.example/imagepush:1".to_owned());
        let config = OperatorConfig {
            listen: None,
            jobs: JobSettings { image, ..JobSettings::default() },
            ..OperatorConfig::default()
        };
        let task = tokio::spawn(run_with(api.client(), config, stop.clone()));
        Self { stop, task }
    }

    pub(super) async fn stop(self) {
        assert!(!self.task.is_finished());
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// Between two registries that the operator itself may not connect to.
pub(super) fn between(tag: &str, more: &Value) -> Value {
    let side = |name: &str| json!({"reference": format!("docker://127.0.0.1:1/{name}:{tag}")});
    let mut spec = json!({"source": side("a"), "destination": side("b"), "runPolicy": "Once",
        "executor": "Job"});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

/// From the claim `images`, which is there.
pub(super) fn from_claim(api: &ApiDouble, tag: &str) -> Value {
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"namespace": "n", "name": "images", "uid": "c"}});
    api.write("persistentvolumeclaims", "n", "images", claim);
    let volume = json!({"persistentVolumeClaim": {"claimName": "images"}});
    between(tag, &json!({"source": {"reference": "oci:app", "volume": volume}}))
}

pub(super) fn object(api: &ApiDouble, name: &str) -> Value {
    api.get("imagepushes", "n", name)
}

/// Reason and message of a condition.
pub(super) fn told(api: &ApiDouble, name: &str, kind: &str) -> (String, String) {
    let object = object(api, name);
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == kind);
    let text = |field: &str| found.and_then(|it| it[field].as_str()).unwrap_or_default().to_owned();
    (text("reason"), text("message"))
}

pub(super) async fn until_ready_is(api: &ApiDouble, name: &str, reason: &str) {
    api.until(&format!("{name} is {reason}"), |api| told(api, name, "Ready").0 == reason).await;
}

pub(super) fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// The Jobs of an object.
pub(super) fn jobs(api: &ApiDouble, name: &str) -> Vec<Value> {
    let owned = |job: &Value| job["metadata"]["ownerReferences"][0]["name"] == name;
    api.all("jobs").into_iter().filter(owned).collect()
}

/// Waits for a Job that isn't one of these.
pub(super) async fn next_job(api: &ApiDouble, name: &str, before: &[&Value]) -> Value {
    let new = |api: &ApiDouble| {
        jobs(api, name).into_iter().find(|job| before.iter().all(|it| uid(it) != uid(job)))
    };
    api.until("a Job is made", |api| new(api).is_some()).await;
    new(api).unwrap()
}

/// Makes the pod of a Job, with its container in this state.
pub(super) fn make_pod(api: &ApiDouble, job: &Value, state: &Value) {
    let name = format!("{}-x", job["metadata"]["name"].as_str().unwrap());
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "n", "name": name, "uid": name,
            "labels": {"batch.kubernetes.io/controller-uid": job["metadata"]["uid"]}},
        "status": {"containerStatuses": [{"name": "push", "image": "i", "imageID": "i",
            "ready": false, "restartCount": 0, "state": state}]}});
    api.write("pods", "n", &name, pod);
}

pub(super) fn end(api: &ApiDouble, job: &Value, report: &Value) {
    make_pod(api, job, &json!({"terminated": {"exitCode": 0, "message": report.to_string()}}));
}

pub(super) fn pushed(digit: &str) -> Value {
    let digest = format!("sha256:{}", digit.repeat(64));
    json!({"outcome": "Pushed", "sourceDigest": digest, "digest": digest,
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "sizeBytes": 7, "manifests": [],
        "blobs": [1, 0, 0], "bytesSent": 7, "alreadyPresent": false, "replaced": null,
        "beside": null})
}

fn failed() -> Value {
    json!({"outcome": "Failed", "reason": "RegistryUnavailable", "message": "m",
        "transient": true, "side": null, "retryAfterSeconds": null})
}

/// Asks for a look at `a` by annotation.
pub(super) fn ask(api: &ApiDouble, value: &str) {
    let mut asked = object(api, "a");
    asked["metadata"]["annotations"] = json!({"imagepush.dev/requestedAt": value});
    api.write("imagepushes", "n", "a", asked);
}

pub(super) fn refused(code: u16) -> Act {
    Act::Answer(code, vec![], "scripted".into())
}

/// Trouble of the API server is no failed attempt, and no reason to begin anew what goes on.
#[tokio::test(start_paused = true)]
async fn a_job_is_found_again_whatever_happens_meanwhile() {
    for (what, code) in [("LIST jobs", 500), ("LIST jobs", 403), ("GET jobs", 500)] {
        let api = ApiDouble::new();
        let operator = Running::start(&api);
        api.put("a", &between("1", &json!({})));
        let job = next_job(&api, "a", &[]).await;
        operator.stop().await;
        api.fail(what, 4, refused(code));
        let operator = Running::start(&api);
        sleep(120 * SECOND).await;
        assert_eq!(
            jobs(&api, "a").iter().map(uid).collect::<Vec<_>>(),
            [uid(&job)],
            "{what} {code}"
        );
        assert_eq!(object(&api, "a")["status"]["retry"], Value::Null, "{what} {code}");
        end(&api, &job, &pushed("0"));
        until_ready_is(&api, "a", "PushSucceeded").await;
        operator.stop().await;
    }
}

/// It ends while nobody looks: the next operator tells of it, once.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_job_that_nobody_saw_counts_once() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    api.put("a", &between("1", &json!({"runPolicy": "Continuous", "interval": "24h"})));
    let job = next_job(&api, "a", &[]).await;
    operator.stop().await;
    end(&api, &job, &pushed("1"));
    for _ in 0..2 {
        let operator = Running::start(&api);
        until_ready_is(&api, "a", "PushSucceeded").await;
        sleep(60 * SECOND).await;
        assert_eq!(jobs(&api, "a").iter().map(uid).collect::<Vec<_>>(), [uid(&job)]);
        let status = object(&api, "a")["status"].clone();
        assert_eq!(status["history"].as_array().unwrap().len(), 1, "{status:#}");
        assert_eq!(status["history"][0]["count"].as_u64().unwrap_or(1), 1, "{status:#}");
        assert_eq!(status["executor"]["attemptId"], uid(&job));
        operator.stop().await;
    }
}

/// Also one that was begun anew after failures, for an edited spec or because somebody asked.
#[tokio::test(start_paused = true)]
async fn a_job_after_an_edit_is_found_again() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    api.put("a", &between("1", &json!({})));
    let first = next_job(&api, "a", &[]).await;
    end(&api, &first, &failed());
    let second = next_job(&api, "a", &[&first]).await;
    assert_eq!(object(&api, "a")["status"]["retry"]["count"], 1);
    api.put("a", &between("2", &json!({})));
    let third = next_job(&api, "a", &[&first, &second]).await;
    operator.stop().await;
    let operator = Running::start(&api);
    sleep(60 * SECOND).await;
    assert_eq!(jobs(&api, "a").iter().map(uid).collect::<Vec<_>>(), [uid(&third)]);
    operator.stop().await;
}

/// The end of a check that said nothing new is no answer to who asks later, of the next operator.
#[tokio::test(start_paused = true)]
async fn what_was_reported_answers_no_later_request() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    let more = json!({"runPolicy": "Continuous", "interval": "1h"});
    api.put("a", &between("1", &more));
    let first = next_job(&api, "a", &[]).await;
    end(&api, &first, &pushed("0"));
    until_ready_is(&api, "a", "PushSucceeded").await;
    ask(&api, "1");
    let check = next_job(&api, "a", &[&first]).await;
    end(&api, &check, &json!({"outcome": "Unchanged"}));
    api.until("the check is told", |api| jobs(api, "a").is_empty()).await;
    operator.stop().await;
    // It is asked for before the next operator starts.
    ask(&api, "2");
    let operator = Running::start(&api);
    let answer = next_job(&api, "a", &[]).await;
    assert!(![uid(&first), uid(&check)].contains(&uid(&answer)));
    operator.stop().await;
}

/// Nobody waits for an interval to hear of what a check has begun to push.
#[tokio::test(start_paused = true)]
async fn the_job_of_a_check_is_looked_after_by_the_next_operator() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    api.put("a", &between("1", &json!({"runPolicy": "Continuous", "interval": "24h"})));
    let first = next_job(&api, "a", &[]).await;
    end(&api, &first, &pushed("0"));
    until_ready_is(&api, "a", "PushSucceeded").await;
    // What was reported is none that was left.
    operator.stop().await;
    let operator = Running::start(&api);
    sleep(60 * SECOND).await;
    assert_eq!(jobs(&api, "a").iter().map(uid).collect::<Vec<_>>(), [uid(&first)]);
    ask(&api, "1");
    let check = next_job(&api, "a", &[&first]).await;
    operator.stop().await;
    let operator = Running::start(&api);
    sleep(60 * SECOND).await;
    end(&api, &check, &pushed("1"));
    let digest = format!("sha256:{}", "1".repeat(64));
    api.until("it is told", |api| object(api, "a")["status"]["artifact"]["digest"] == digest).await;
    operator.stop().await;
}

/// What an earlier operator has left goes on only for what is still wanted of it.
#[tokio::test(start_paused = true)]
async fn jobs_that_nobody_wants_any_more_are_ended() {
    let cases = [
        ("in the operator", json!({"executor": "InProcess"}), "AccessDenied"),
        (
            "held up",
            json!({"destination": {"reference": "docker://r.example/b:2",
            "secretRef": {"name": "missing"}}}),
            "SecretNotFound",
        ),
        ("suspended", json!({"executor": "InProcess", "suspend": true}), "Suspended"),
    ];
    for (case, edit, reason) in cases {
        let api = ApiDouble::new();
        let operator = Running::start(&api);
        api.put("a", &between("1", &json!({})));
        next_job(&api, "a", &[]).await;
        operator.stop().await;
        api.put("a", &between("1", &edit));
        // It is repeated when it fails.
        api.fail("DELETE jobs", 1, refused(500));
        let operator = Running::start(&api);
        until_ready_is(&api, "a", reason).await;
        api.until(&format!("{case}: the Job is gone"), |api| jobs(api, "a").is_empty()).await;
        operator.stop().await;
    }
}

/// Whoever has no Jobs costs no request about them.
#[tokio::test(start_paused = true)]
async fn jobs_are_listed_once_for_all() {
    let api = ApiDouble::new();
    for number in 0..200 {
        api.put_suspended(&format!("push-{number}"));
    }
    let operator = Running::start(&api);
    sleep(60 * SECOND).await;
    assert_eq!(api.asked("LIST jobs").len(), 1);
    operator.stop().await;
}

/// It says who has the volume, gives up after its time, and keeps no place from others.
#[tokio::test(start_paused = true)]
async fn a_volume_that_is_in_use_is_waited_for_with_an_end() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    api.put("a", &from_claim(&api, "1"));
    let mut hung = next_job(&api, "a", &[]).await;
    operator.stop().await;
    // One that goes on for an object that is none of this operator's; and one by hand, which counts for nothing.
    let label =
        hung["metadata"]["labels"].as_object().unwrap().keys().find(|it| it.starts_with("volume"));
    let labels = json!({label.unwrap(): ""});
    api.delete("a");
    for (name, owners) in
        [("theirs", hung["metadata"]["ownerReferences"].take()), ("by-hand", json!([]))]
    {
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": "n",
            "name": name, "uid": name, "labels": labels, "ownerReferences": owners}});
        api.write("jobs", "n", name, job);
    }
    let name = hung["metadata"]["name"].as_str().unwrap();
    let mut over = api.get("jobs", "n", name);
    over["status"] = json!({"conditions": [{"type": "Failed", "status": "True"}]});
    api.write("jobs", "n", name, over);
    let operator = Running::start(&api);
    let mut spec = from_claim(&api, "2");
    spec["timeout"] = json!("10m");
    api.put("b", &spec);
    let busy = "a volume is in use by the Job `theirs`";
    api.until("it says so", |api| told(api, "b", "Reconciling").1 == busy).await;
    assert_eq!(jobs(&api, "b"), [] as [Value; 0]);
    until_ready_is(&api, "b", "ExecutorLost").await;
    let (_, message) = told(&api, "b", "Ready");
    assert_eq!(message, format!("{busy}, which does not end; look at it, or delete it"));
    // Whoever ends it is noticed without being asked.
    let mut theirs = api.get("jobs", "n", "theirs");
    theirs["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    api.write("jobs", "n", "theirs", theirs);
    next_job(&api, "b", &[]).await;
    operator.stop().await;
}

/// A pod that can't start says why, and is given up before the attempt's whole time is over.
#[tokio::test(start_paused = true)]
async fn a_pod_that_does_not_start_is_told() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    api.put("a", &between("1", &json!({"timeout": "24h"})));
    let job = next_job(&api, "a", &[]).await;
    let why = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
    make_pod(&api, &job, &why);
    let name = job["metadata"]["name"].as_str().unwrap();
    let waits = format!("the Job `{name}` waits: ImagePullBackOff: no such image");
    api.until("it says so", |api| told(api, "a", "Reconciling").1 == waits).await;
    // It isn't said any more when it isn't true any more.
    make_pod(&api, &job, &json!({"running": {}}));
    let under_way = "the push is under way";
    api.until("it runs", |api| told(api, "a", "Reconciling").1 == under_way).await;
    make_pod(&api, &job, &why);
    until_ready_is(&api, "a", "ExecutorLost").await;
    let (_, message) = told(&api, "a", "Ready");
    assert_eq!(
        message,
        format!(
            "the pod of Job `{name}` has not begun within 5 minutes: ImagePullBackOff: no such image"
        )
    );
    assert!(!jobs(&api, "a").iter().any(|it| uid(it) == uid(&job)));
    operator.stop().await;
}

/// Makes the pod of a Job as a drain leaves it.
fn evict_pod(api: &ApiDouble, job: &Value) {
    let report = json!({"outcome": "Cancelled"}).to_string();
    make_pod(api, job, &json!({"terminated": {"exitCode": 130, "message": report}}));
    let name = format!("{}-x", job["metadata"]["name"].as_str().unwrap());
    let mut pod = api.get("pods", "n", &name);
    pod["status"]["conditions"] = json!([{"type": "DisruptionTarget", "status": "True",
        "reason": "EvictionByEvictionAPI", "message": "a node is drained"}]);
    api.write("pods", "n", &name, pod);
}

/// The Job goes on with another pod, and the push has not failed.
#[tokio::test(start_paused = true)]
async fn a_pod_that_is_drained_is_no_failed_attempt() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    api.put("a", &between("1", &json!({"timeout": "24h"})));
    let job = next_job(&api, "a", &[]).await;
    make_pod(&api, &job, &json!({"running": {}}));
    sleep(Duration::from_hours(1)).await;
    evict_pod(&api, &job);
    let name = job["metadata"]["name"].as_str().unwrap();
    let waits = format!(
        "the Job `{name}` waits: another pod is to come, since its pod was ended: EvictionByEvictionAPI: a node is drained"
    );
    api.until("it says so", |api| told(api, "a", "Reconciling").1 == waits).await;
    assert_eq!(object(&api, "a")["status"]["retry"], Value::Null);
    api.take("pods", "n", &format!("{name}-x"));
    sleep(60 * SECOND).await;
    assert_eq!(told(&api, "a", "Reconciling").1, waits);
    end(&api, &job, &pushed("0"));
    until_ready_is(&api, "a", "PushSucceeded").await;
    assert_eq!(jobs(&api, "a").len(), 1);
    operator.stop().await;
}

/// Without a permission to see how it ends, a Job is not taken for lost.
#[tokio::test(start_paused = true)]
async fn what_may_not_be_looked_at_is_named() {
    let api = ApiDouble::new();
    api.fail("LIST pods", usize::MAX, refused(403));
    let operator = Running::start(&api);
    api.put("a", &between("1", &json!({})));
    let job = next_job(&api, "a", &[]).await;
    let asked = tokio::time::Instant::now();
    until_ready_is(&api, "a", "AccessDenied").await;
    assert!(asked.elapsed() < 60 * SECOND, "{:?}", asked.elapsed());
    let (_, message) = told(&api, "a", "Ready");
    assert!(message.starts_with("looking at Job "), "{message}");
    // It goes on, and is found when it may be.
    end(&api, &job, &pushed("0"));
    api.heal();
    until_ready_is(&api, "a", "PushSucceeded").await;
    operator.stop().await;
}

/// A quota that two requests meet on is no failure; a Job of the same name that is somebody else's is.
#[tokio::test(start_paused = true)]
async fn only_the_same_job_is_the_same() {
    let api = ApiDouble::new();
    let conflict = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 409,
        "reason": "Conflict", "message": "Operation cannot be fulfilled on resourcequotas"});
    api.fail("POST jobs", 2, Act::Answer(409, vec![], conflict.to_string()));
    let operator = Running::start(&api);
    api.put("a", &between("1", &json!({})));
    let job = next_job(&api, "a", &[]).await;
    assert_eq!(object(&api, "a")["status"]["retry"], Value::Null);
    operator.stop().await;
    let mut theirs = job.clone();
    theirs["metadata"]["labels"]["imagepush.dev/uid"] = json!("another");
    let name = job["metadata"]["name"].as_str().unwrap();
    api.write("jobs", "n", name, theirs);
    let operator = Running::start(&api);
    until_ready_is(&api, "a", "ExecutorLost").await;
    assert_eq!(told(&api, "a", "Ready").1, format!("another Job has the name `{name}`"));
    operator.stop().await;
}

/// A Job that takes a day is no burden, and the end of the operator is none to it.
#[tokio::test(start_paused = true)]
async fn a_long_job_costs_little() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    api.put("a", &between("1", &json!({"timeout": "24h"})));
    let job = next_job(&api, "a", &[]).await;
    make_pod(&api, &job, &json!({"running": {}}));
    sleep(Duration::from_mins(10)).await;
    let before = api.asked("GET jobs").len();
    sleep(Duration::from_hours(1)).await;
    let asked = api.asked("GET jobs").len() - before;
    assert!(asked <= 361, "{asked} in an hour");
    let status = object(&api, "a")["status"].clone();
    operator.stop().await;
    assert_eq!(object(&api, "a")["status"], status);
    assert_eq!(jobs(&api, "a").len(), 1);
}

/// An object that was deleted while nobody could hear of it is missed when everything is listed anew.
#[tokio::test(start_paused = true)]
async fn what_was_deleted_in_the_gap_of_a_watch_is_ended() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    api.put("a", &between("1", &json!({})));
    next_job(&api, "a", &[]).await;
    api.end_watches();
    api.delete("a");
    api.forget_history();
    api.until("its Job is gone", |api| jobs(api, "a").is_empty()).await;
    operator.stop().await;
}

/// A list from a server that lags behind lacks an object, which is then there again as it was: for what compares versions,
/// nothing has changed, but its push was called off.
#[tokio::test(start_paused = true)]
async fn a_push_that_an_older_list_lacked_is_begun_anew() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    let old = api.version();
    api.put("a", &between("1", &json!({})));
    let job = next_job(&api, "a", &[]).await;
    let stale = json!({"kind": "List", "apiVersion": "v1", "items": [],
        "metadata": {"resourceVersion": old.to_string()}});
    api.fail("WATCH imagepushes", 1, refused(500));
    api.fail("LIST imagepushes", 1, Act::Answer(200, vec![], stale.to_string()));
    api.end_watches();
    next_job(&api, "a", &[&job]).await;
    assert_eq!(jobs(&api, "a").len(), 1);
    operator.stop().await;
}
