//! What the operator does when the API server doesn't do as it should, with a server of our own and paused time.

use std::time::Duration;

use imagepush::controller::{OperatorConfig, run_with};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::support::api_double::{Act, ApiDouble};

/// An operator that works alone.
pub(super) struct Running {
    stop: CancellationToken,
    task: JoinHandle<imagepush::error::Result<()>>,
}

impl Running {
    pub(super) fn start(api: &ApiDouble) -> Self {
        let stop = CancellationToken::new();
        let config = OperatorConfig { listen: None, ..OperatorConfig::default() };
        let task = tokio::spawn(run_with(api.client(), config, stop.clone()));
        Self { stop, task }
    }

    pub(super) async fn stop(self) {
        assert!(!self.task.is_finished());
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn is_seen(api: &ApiDouble, name: &str) -> bool {
    api.get("imagepushes", "n", name)["status"]["observedGeneration"] == 1
}

/// Makes an object, and returns how long it takes the operator to see it.
pub(super) async fn seen_after(api: &ApiDouble, name: &str) -> Duration {
    let made = Instant::now();
    api.put_suspended(name);
    api.until(&format!("{name} is seen"), |api| is_seen(api, name)).await;
    made.elapsed()
}

fn lists(api: &ApiDouble) -> usize {
    api.asked("LIST imagepushes").len()
}

pub(super) const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_watch_that_knows_too_little_lists_anew_at_once() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    assert!(seen_after(&api, "a").await < 2 * SECOND);
    api.end_watches();
    api.delete("a");
    api.forget_history();
    assert!(seen_after(&api, "b").await < 3 * SECOND);
    assert_eq!(lists(&api), 2);
    // Again and again would be too much.
    let before = lists(&api);
    for _ in 0..60 {
        api.end_watches();
        api.forget_history();
        sleep(SECOND).await;
    }
    assert!(lists(&api) - before < 12, "{} lists in a minute", lists(&api) - before);
    operator.stop().await;
}

/// In the middle of a list that comes in pages, too: nothing of the half that was there is taken for the whole.
#[tokio::test(start_paused = true)]
async fn a_list_that_gets_too_old_between_its_pages_begins_anew() {
    let api = ApiDouble::new();
    for number in 0..1600 {
        api.put_suspended(&format!("push-{number}"));
    }
    let expired = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410,
        "reason": "Expired", "message": "the provided continue parameter is too old"});
    let answer = Act::Answer(410, vec![], expired.to_string());
    api.fail_after("LIST imagepushes", 2, 1, answer);
    let operator = Running::start(&api);
    api.until("all are seen", |api| api.asked("PATCH imagepushes/status").len() == 1600).await;
    // Two pages and the refusal, and then all four.
    assert_eq!(lists(&api), 7);
    assert!(seen_after(&api, "b").await < 3 * SECOND);
    operator.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fell_silent_is_missed_within_five_minutes() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    seen_after(&api, "a").await;
    api.silence_watches();
    let silence = seen_after(&api, "b").await;
    assert!(silence < Duration::from_mins(5), "{silence:?}");
    operator.stop().await;
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_again_and_again_cost_little() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    seen_after(&api, "a").await;
    for _ in 0..600 {
        sleep(SECOND).await;
        api.end_watches();
    }
    assert!(seen_after(&api, "b").await < 3 * SECOND);
    assert_eq!(lists(&api), 1);
    // Those that end as soon as they begin.
    let before = api.asked("WATCH imagepushes").len();
    api.fail("WATCH imagepushes", usize::MAX, Act::Answer(200, vec![], String::new()));
    api.end_watches();
    sleep(60 * SECOND).await;
    let watches = api.asked("WATCH imagepushes").len() - before;
    assert!(watches <= 61, "{watches} watches in a minute");
    operator.stop().await;
}

/// The definition may not be there yet, or permissions, or the server: it waits, and asks ever more seldom.
#[tokio::test(start_paused = true)]
async fn what_is_missing_at_the_start_is_waited_for() {
    let answers =
        [(404, "404 page not found"), (403, "forbidden"), (500, "no etcd"), (503, "busy")];
    for (status, text) in answers {
        let api = ApiDouble::new();
        api.put_suspended("a");
        api.fail("LIST imagepushes", usize::MAX, Act::Answer(status, vec![], text.into()));
        let operator = Running::start(&api);
        sleep(300 * SECOND).await;
        let asked = lists(&api);
        assert!((30..=65).contains(&asked), "{status}: {asked} lists in five minutes");
        api.heal();
        let healed = Instant::now();
        api.until("a is seen", |api| is_seen(api, "a")).await;
        assert!(healed.elapsed() < 12 * SECOND, "{status}: {:?}", healed.elapsed());
        operator.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_is_removed_may_come_back() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    seen_after(&api, "a").await;
    api.delete("a");
    for what in ["LIST imagepushes", "WATCH imagepushes"] {
        api.fail(what, usize::MAX, Act::Answer(404, vec![], "404 page not found".into()));
    }
    api.end_watches();
    sleep(300 * SECOND).await;
    assert!(lists(&api) < 65, "{}", lists(&api));
    api.heal();
    assert!(seen_after(&api, "b").await < 12 * SECOND);
    operator.stop().await;
}

/// After a backup was restored, what is new has versions that the watch believes to have seen.
#[tokio::test(start_paused = true)]
async fn after_an_outage_everything_is_listed_anew() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    seen_after(&api, "a").await;
    api.fail("WATCH imagepushes", 3, Act::Answer(500, vec![], "starting".into()));
    api.restore_backup();
    assert!(seen_after(&api, "b").await < 10 * SECOND);
    assert!(lists(&api) > 1);
    operator.stop().await;
}

/// One is told to wait for a day, and one is never answered: both wait for a minute or so, and the others don't.
#[tokio::test(start_paused = true)]
async fn a_busy_or_silent_server_has_bounds() {
    let wait = vec![("Retry-After", "99999".to_owned())];
    let cases = [
        (Act::Answer(429, wait.clone(), "Too many requests".into()), 60..62),
        (Act::Answer(503, wait, "starting".into()), 60..62),
        (Act::Answer(500, vec![], "etcd is slow".into()), 15..47),
        (Act::Hang, 45..77),
    ];
    for (act, expected) in cases {
        let api = ApiDouble::new();
        api.fail_for("PATCH imagepushes/status", "slow", 1, act.clone());
        let operator = Running::start(&api);
        api.put_suspended("slow");
        assert!(seen_after(&api, "other").await < 2 * SECOND, "{act:?}");
        let started = Instant::now();
        api.until("slow is seen", |api| is_seen(api, "slow")).await;
        assert!(expected.contains(&started.elapsed().as_secs()), "{act:?} {:?}", started.elapsed());
        operator.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_forbidden_is_asked_for_seldom() {
    for (status, expected) in [(403, 6..=8), (422, 6..=8)] {
        let api = ApiDouble::new();
        let answer = Act::Answer(status, vec![], "no".into());
        api.fail_for("PATCH imagepushes/status", "a", usize::MAX, answer);
        let operator = Running::start(&api);
        api.put_suspended("a");
        sleep(3600 * SECOND).await;
        let asked = api.asked("PATCH imagepushes/status").len();
        assert!(expected.contains(&asked), "{status}: {asked} in an hour");
        assert!(seen_after(&api, "b").await < 2 * SECOND);
        operator.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_can_not_be_read_is_told_so_once() {
    let api = ApiDouble::new();
    api.put("bad", &json!({"source": 7}));
    api.put_suspended("good");
    let operator = Running::start(&api);
    api.until("good is seen", |api| is_seen(api, "good")).await;
    api.until("bad is told so", |api| is_seen(api, "bad")).await;
    sleep(3600 * SECOND).await;
    let bad = api.get("imagepushes", "n", "bad");
    let told: Vec<String> = bad["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| format!("{}={} {}", it["type"], it["status"], it["reason"]).replace('"', ""))
        .collect();
    assert_eq!(told, ["Ready=False InvalidOptions", "Stalled=True InvalidOptions"]);
    let message = bad["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("the object can't be read: "), "{message}");
    let patches = api.asked("PATCH imagepushes/status");
    assert_eq!(patches.iter().filter(|asked| asked.name == "bad").count(), 1);
    let events: Vec<Value> = api.all("events");
    assert!(events.iter().any(|it| it["regarding"]["name"] == "bad" && it["type"] == "Warning"));
    operator.stop().await;
}

/// Events are a courtesy: a server that refuses them, or never answers, holds nothing up.
#[tokio::test(start_paused = true)]
async fn events_tell_changes_and_are_not_waited_for() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    seen_after(&api, "a").await;
    api.until("it is told", |api| !api.all("events").is_empty()).await;
    sleep(60 * SECOND).await;
    let [event] = &api.all("events")[..] else { panic!("{:#?}", api.all("events")) };
    let told = ["type", "reason", "action", "note"].map(|field| event[field].as_str().unwrap());
    assert_eq!(told, ["Normal", "Suspended", "Suspend", "suspended before the push was done"]);
    assert_eq!(event["regarding"]["uid"], api.get("imagepushes", "n", "a")["metadata"]["uid"]);
    assert_eq!(event["reportingController"], "imagepush.dev/controller");
    for act in [Act::Answer(403, vec![], "forbidden".into()), Act::Hang] {
        api.fail("POST events", usize::MAX, act.clone());
        for name in ["b", "c", "d"].map(|name| format!("{name}-{}", lists(&api))) {
            assert!(seen_after(&api, &name).await < 2 * SECOND, "{act:?}");
            api.delete(&name);
        }
    }
    let stopped = Instant::now();
    operator.stop().await;
    assert!(stopped.elapsed() < 5 * SECOND, "{:?}", stopped.elapsed());
}

/// Ten thousand objects come in pages, and a start that finds nothing to say writes nothing.
#[tokio::test(start_paused = true)]
async fn many_objects_come_in_pages_and_cost_no_write_when_nothing_changed() {
    const COUNT: usize = 10_000;
    let api = ApiDouble::new();
    for number in 0..COUNT {
        api.put_suspended(&format!("push-{number}"));
    }
    let operator = Running::start(&api);
    api.until("the last is seen", |api| api.asked("PATCH imagepushes/status").len() == COUNT).await;
    assert_eq!(lists(&api), COUNT / 500);
    assert!(api.asked("LIST imagepushes").iter().all(|it| it.query["limit"] == "500"));
    operator.stop().await;
    let operator = Running::start(&api);
    sleep(600 * SECOND).await;
    assert_eq!(lists(&api), 2 * COUNT / 500);
    assert_eq!(api.asked("PATCH imagepushes/status").len(), COUNT);
    operator.stop().await;
}
