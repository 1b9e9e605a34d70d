//! Objects that change all the time, and many that are made at once, with an API server of our own and paused time.

use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::watching::{Running, SECOND};
use crate::support::api_double::{Act, ApiDouble};

/// Runs once, and is refused before anything is sent: by default no connection may lead to this machine.
fn denied(name: &str, tag: u32) -> Value {
    let side =
        |side: &str| json!({"reference": format!("docker://127.0.0.1:1/{side}/{name}:{tag}")});
    json!({"source": side("a"), "destination": side("b"), "runPolicy": "Once"})
}

/// Looks at edits wait for the next one, but not for ever; and the last edit has one, too.
#[tokio::test(start_paused = true)]
async fn an_object_that_is_edited_all_the_time_is_looked_at() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    let looked_at = |api: &ApiDouble| {
        let conditions = &api.get("imagepushes", "n", "a")["status"]["conditions"];
        conditions[0]["observedGeneration"].as_i64().unwrap_or(0)
    };
    let mut seen = vec![];
    for edit in 1..=100 {
        api.put("a", &denied("a", edit));
        sleep(Duration::from_millis(100)).await;
        seen.push(looked_at(&api));
    }
    seen.dedup();
    assert!((3..=6).contains(&seen.len()), "a look in two or three seconds: {seen:?}");
    sleep(2 * SECOND).await;
    assert_eq!(looked_at(&api), 100);
    operator.stop().await;
}

/// Each has its first status before any push begins whose end would have to be written, too.
#[tokio::test(start_paused = true)]
async fn of_many_that_are_made_at_once_each_has_a_status_first() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    api.until("it watches", |api| !api.asked("LIST imagepushes").is_empty()).await;
    sleep(SECOND).await;
    api.fail("PATCH imagepushes/status", usize::MAX, Act::Late(Duration::from_millis(100)));
    for number in 0..200 {
        api.put(&format!("a{number}"), &denied(&format!("a{number}"), 1));
    }
    api.until("all are denied", |api| {
        let stalled = |object: &Value| object["status"].to_string().contains("AccessDenied");
        api.all("imagepushes").iter().all(stalled)
    })
    .await;
    let written = api.asked("PATCH imagepushes/status");
    let names: Vec<&str> = written.iter().map(|asked| asked.name.as_str()).collect();
    let firsts: std::collections::BTreeSet<&str> = names.iter().take(200).copied().collect();
    assert_eq!((firsts.len(), names.len()), (200, 400), "two each: {names:?}");
    operator.stop().await;
}
