//! What the operator does when its writes meet those of others, with an API server of our own and paused time.

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::job_faults::{self, between, next_job};
use super::watching::{Running, SECOND, seen_after};
use crate::support::api_double::{Act, ApiDouble};

/// Runs once, and is refused before anything is sent: by default no connection may lead to this machine.
fn denied(tag: &str, more: &Value) -> Value {
    let side = |name: &str| json!({"reference": format!("docker://127.0.0.1:1/{name}:{tag}")});
    let mut spec = json!({"source": side("a"), "destination": side("b"), "runPolicy": "Once"});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn refused(code: u16) -> Act {
    Act::Answer(code, vec![], "scripted".into())
}

/// The reason why an object has stalled, if it has.
fn stalled(api: &ApiDouble, name: &str) -> Option<String> {
    let object = api.get("imagepushes", "n", name);
    let conditions = object["status"]["conditions"].as_array()?;
    let stalled = conditions.iter().find(|condition| condition["type"] == "Stalled")?;
    Some(stalled["reason"].as_str()?.to_owned())
}

async fn until_denied(api: &ApiDouble, name: &str) {
    let denied = Some("AccessDenied");
    api.until(&format!("{name} is denied"), |api| stalled(api, name).as_deref() == denied).await;
}

/// Whatever comes between a decision and its write, the object that was decided on is told, and no other.
#[tokio::test(start_paused = true)]
async fn a_status_that_meets_another_write_is_written_anew() {
    let api = ApiDouble::new();
    api.fail_for("PATCH imagepushes/status", "a", 3, refused(409));
    let operator = Running::start(&api);
    let made = Instant::now();
    api.put("a", &denied("1", &json!({})));
    until_denied(&api, "a").await;
    assert!(made.elapsed() < 3 * SECOND, "{:?}", made.elapsed());

    // Without an end: it is not asked for without an end.
    let before = api.asked("PATCH imagepushes/status").len();
    api.fail_for("PATCH imagepushes/status", "b", usize::MAX, refused(409));
    api.put("b", &denied("2", &json!({})));
    assert!(seen_after(&api, "other").await < 2 * SECOND);
    sleep(3600 * SECOND).await;
    let asked = api.asked("PATCH imagepushes/status").len() - before;
    assert!((80 * 6..240 * 6 + 9).contains(&asked), "{asked} in an hour");
    api.heal();
    until_denied(&api, "b").await;

    // The object is replaced by another one of its name while its status is on the way.
    api.fail_for("PATCH imagepushes/status", "c", 1, Act::Late(5 * SECOND));
    api.put("c", &denied("3", &json!({"suspend": true})));
    sleep(2 * SECOND).await;
    api.delete("c");
    api.put("c", &denied("3", &json!({})));
    until_denied(&api, "c").await;
    let uid = api.get("imagepushes", "n", "c")["metadata"]["uid"].clone();
    let told = api.asked("PATCH imagepushes/status").into_iter().filter(|asked| asked.name == "c");
    let old = told.filter(|asked| asked.body["metadata"]["uid"] != uid).count();
    assert_eq!(old, 1, "the one that is gone is told of nothing more");
    operator.stop().await;
}

fn finalizers(api: &ApiDouble, name: &str) -> Value {
    api.get("imagepushes", "n", name)["metadata"]["finalizers"].clone()
}

/// The finalizer is set before anything is pushed, and those of others stay.
#[tokio::test(start_paused = true)]
async fn a_finalizer_that_meets_another_write_is_set_anew() {
    for (code, times, expected) in
        [(409, 3, 0..3), (500, 1, 15..48), (422, 1, 15..48), (422, 2, 615..651)]
    {
        let api = ApiDouble::new();
        api.fail("PATCH imagepushes", times, refused(code));
        let operator = Running::start(&api);
        let made = Instant::now();
        let mut object = json!({
            "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": {"namespace": "n", "name": "a", "uid": "a", "generation": 1,
                "finalizers": ["theirs"]},
            "status": {"observedGeneration": -1},
        });
        object["spec"] = denied("1", &json!({"deletionPolicy": "Delete"}));
        api.write("imagepushes", "n", "a", object);
        until_denied(&api, "a").await;
        assert!(expected.contains(&made.elapsed().as_secs()), "{code}: {:?}", made.elapsed());
        let patches = api.asked("PATCH imagepushes");
        let set: Vec<&Value> = patches[times..].iter().map(|asked| &asked.body).collect();
        let names = |body: &Value| body["metadata"]["finalizers"].clone();
        let ours = json!(["theirs", "imagepush.dev/cleanup"]);
        assert_eq!(set.iter().map(|body| names(body)).collect::<Vec<_>>()[0], ours, "{code}");
        let statuses = api.asked("PATCH imagepushes/status");
        let begun =
            statuses.iter().find(|asked| asked.body.to_string().contains("\"Progressing\""));
        assert!(patches[times].at <= begun.unwrap().at, "{code}: the finalizer comes first");
        // Nothing was pushed, so there is nothing to clean up.
        api.until("it is taken away", |api| finalizers(api, "a") == json!(["theirs"])).await;
        operator.stop().await;
    }
}

/// Without its Secret, an image can't be taken away; that is tried for ten minutes from the first try, however long nobody
/// was there to try.
#[tokio::test(start_paused = true)]
async fn an_object_goes_although_its_secret_went_first() {
    for minutes in [0, 60] {
        let api = ApiDouble::new();
        let deleted = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes);
        let mut spec = denied("1", &json!({"deletionPolicy": "Delete"}));
        spec["destination"]["secretRef"] = json!({"name": "login"});
        let reference = spec["destination"]["reference"].clone();
        let digest = format!("sha256:{}", "0".repeat(64));
        let object = json!({
            "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": {"namespace": "n", "name": "a", "uid": "a", "generation": 1,
                "deletionTimestamp": deleted.to_string(), "finalizers": ["imagepush.dev/cleanup"]},
            "spec": spec,
            "status": {"artifact": {"digest": digest, "mediaType": "x", "reference": reference}},
        });
        api.write("imagepushes", "n", "a", object);
        let operator = Running::start(&api);
        sleep(590 * SECOND).await;
        assert!(!api.get("imagepushes", "n", "a").is_null(), "deleted for {minutes} minutes");
        let reads = api.asked("GET secrets").len();
        assert!((18..22).contains(&reads), "{reads} reads of the Secret");
        sleep(60 * SECOND).await;
        assert!(api.get("imagepushes", "n", "a").is_null(), "deleted for {minutes} minutes");
        let [event] = &api.all("events")[..] else { panic!("{:#?}", api.all("events")) };
        assert_eq!(
            (&event["reason"], &event["type"]),
            (&json!("DeletionSkipped"), &json!("Warning"))
        );
        let note = event["note"].as_str().unwrap();
        assert!(note.contains("docker://127.0.0.1:1/b:1") && note.contains("`login`"), "{note}");
        operator.stop().await;
    }
}

/// What tools wait for is said in any case.
#[tokio::test(start_paused = true)]
async fn of_a_status_that_is_not_taken_the_least_is() {
    let api = ApiDouble::new();
    api.refuse_field("history");
    let operator = Running::start(&api);
    api.put("a", &denied("1", &json!({})));
    until_denied(&api, "a").await;
    let status = api.get("imagepushes", "n", "a")["status"].clone();
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(status["history"], Value::Null);
    // It is said once.
    let told = api.asked("PATCH imagepushes/status").len();
    sleep(3600 * SECOND).await;
    assert_eq!(api.asked("PATCH imagepushes/status").len(), told);
    operator.stop().await;
}

/// Requests without a valid token pass like any other trouble: somebody renews it.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_for_a_while_ends_nothing() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    seen_after(&api, "a").await;
    for what in ["LIST imagepushes", "WATCH imagepushes", "PATCH imagepushes/status"] {
        api.fail(what, usize::MAX, refused(401));
    }
    api.end_watches();
    sleep(90 * SECOND).await;
    api.heal();
    assert!(seen_after(&api, "b").await < 12 * SECOND);
    operator.stop().await;
}

/// What somebody else has made of a status, such as who restored a backup, is noticed at the next look.
#[tokio::test(start_paused = true)]
async fn a_status_that_somebody_wiped_is_written_again() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    api.put("a", &denied("1", &json!({})));
    until_denied(&api, "a").await;
    sleep(10 * SECOND).await;
    let mut object = api.get("imagepushes", "n", "a");
    object["status"] = json!({"observedGeneration": -1});
    object["metadata"]["annotations"] = json!({"look": "again"});
    api.write("imagepushes", "n", "a", object);
    until_denied(&api, "a").await;
    operator.stop().await;
}

/// A list from a server that lags behind lacks an object, which is then there again as it was.
#[tokio::test(start_paused = true)]
async fn an_object_that_an_older_list_lacked_is_looked_after_again() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    let mut spec = denied("1", &json!({}));
    spec["source"]["secretRef"] = json!({"name": "missing"});
    let old = api.version();
    api.put("a", &spec);
    api.until("it looks for the Secret", |api| api.asked("GET secrets").len() == 1).await;
    let stale = json!({"kind": "List", "apiVersion": "v1", "items": [],
        "metadata": {"resourceVersion": old.to_string()}});
    api.fail("WATCH imagepushes", 1, refused(500));
    api.fail("LIST imagepushes", 1, Act::Answer(200, vec![], stale.to_string()));
    api.end_watches();
    sleep(10 * SECOND).await;
    assert_eq!(api.asked("LIST imagepushes").len(), 2);
    let before = api.asked("GET secrets").len();
    sleep(300 * SECOND).await;
    let looks = api.asked("GET secrets").len() - before;
    assert!((4..=6).contains(&looks), "{looks} in five minutes");
    operator.stop().await;
}

/// An object that can't be read any more doesn't go on as it was before; and it can be deleted.
#[tokio::test(start_paused = true)]
async fn an_object_that_can_not_be_read_any_more_is_let_go() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    let place = json!({"reference": "docker://127.0.0.1:1/b:1"});
    let mut object = json!({
        "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
        "metadata": {"namespace": "n", "name": "a", "uid": "a", "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["imagepush.dev/cleanup"]},
        "status": {"artifact": {"digest": format!("sha256:{}", "0".repeat(64)), "mediaType": "x",
            "reference": place["reference"]}},
    });
    object["spec"] = denied("1", &json!({"deletionPolicy": "Delete"}));
    api.write("imagepushes", "n", "a", object);
    until_denied(&api, "a").await;
    // The younger one for the same destination waits.
    let mut younger = json!({
        "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
        "metadata": {"namespace": "n", "name": "b", "uid": "b", "generation": 1,
            "creationTimestamp": "2026-01-02T00:00:00Z"},
        "status": {"observedGeneration": -1},
    });
    younger["spec"] = denied("1", &json!({}));
    api.write("imagepushes", "n", "b", younger);
    let conflict = Some("DestinationConflict".to_owned());
    api.until("b gives way", |api| stalled(api, "b") == conflict).await;

    let mut object = api.get("imagepushes", "n", "a");
    object["metadata"]["generation"] = json!(2);
    object["spec"]["source"] = json!(7);
    api.write("imagepushes", "n", "a", object);
    let unreadable = Some("InvalidOptions".to_owned());
    api.until("a is told so", |api| stalled(api, "a") == unreadable).await;
    let status = api.get("imagepushes", "n", "a")["status"].clone();
    assert_eq!(status["artifact"]["reference"], place["reference"], "what is known stays known");
    until_denied(&api, "b").await;

    let mut object = api.get("imagepushes", "n", "a");
    object["metadata"]["generation"] = json!(3);
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    // A fault that passes is waited out: nothing else brings the object again.
    api.fail_for("PATCH imagepushes", "a", 1, refused(500));
    api.write("imagepushes", "n", "a", object);
    let deleted = Instant::now();
    api.until("a is gone", |api| api.get("imagepushes", "n", "a").is_null()).await;
    assert!((15..48).contains(&deleted.elapsed().as_secs()), "{:?}", deleted.elapsed());
    operator.stop().await;
}

/// What the API server's clock says of the deletion counts for nothing: a Job that still pushes is ended first.
#[tokio::test(start_paused = true)]
async fn an_object_that_seems_deleted_long_ago_has_its_job_ended_first() {
    let api = ApiDouble::new();
    let operator = job_faults::Running::start(&api);
    api.put("a", &between("1", &json!({"deletionPolicy": "Delete"})));
    next_job(&api, "a", &[]).await;
    operator.stop().await;
    let mut object = api.get("imagepushes", "n", "a");
    let deleted = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(60);
    object["metadata"]["deletionTimestamp"] = json!(deleted.to_string());
    api.write("imagepushes", "n", "a", object);
    let operator = job_faults::Running::start(&api);
    api.until("a is gone", |api| api.get("imagepushes", "n", "a").is_null()).await;
    assert_eq!(api.all("jobs"), [Value::Null; 0]);
    operator.stop().await;
}

/// Nobody needs to know what a Secret holds while nothing is due, and nobody is told of trouble that passes.
#[tokio::test(start_paused = true)]
async fn secrets_are_read_when_something_is_due_and_not_before() {
    let done = |generation: u32| {
        let mut spec = denied("1", &json!({}));
        spec["destination"]["secretRef"] = json!({"name": "login"});
        let ready = json!({"type": "Ready", "status": "True", "reason": "PushSucceeded",
            "message": "", "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"});
        json!({"apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush", "spec": spec,
            "metadata": {"namespace": "n", "name": "a", "uid": "a", "generation": generation},
            "status": {"observedGeneration": 1, "conditions": [ready]}})
    };
    let api = ApiDouble::new();
    api.write("imagepushes", "n", "a", done(1));
    let operator = Running::start(&api);
    assert!(seen_after(&api, "other").await < 2 * SECOND);
    sleep(600 * SECOND).await;
    assert_eq!(api.asked("GET secrets").len(), 0);
    // Something is due, and the API server can't be asked: what is known stays until it can.
    api.fail("GET secrets", 1, refused(500));
    api.write("imagepushes", "n", "a", done(2));
    api.until("it is asked", |api| api.asked("GET secrets").len() == 1).await;
    sleep(10 * SECOND).await;
    assert_eq!(api.get("imagepushes", "n", "a")["status"], done(1)["status"]);
    let missing = Some("SecretNotFound");
    api.until("it is asked again", |api| {
        let conditions = api.get("imagepushes", "n", "a")["status"]["conditions"].clone();
        conditions[0]["reason"].as_str() == missing
    })
    .await;
    operator.stop().await;
}
