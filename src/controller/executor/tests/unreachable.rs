//! Registries that can't be reached, with paused time.

use super::*;
use crate::limits::{BREAKER_FAILURES, BREAKER_REST};

const SECOND: Duration = Duration::from_secs(1);

fn made(setup: &Setup) -> usize {
    setup.engine.made.load(Ordering::SeqCst)
}

fn ended(setup: &Setup, uid: &str) -> bool {
    setup.attempts.recall(uid).attempt.unwrap().outcome.is_some()
}

/// Attempts of many objects at one registry, started at once.
fn started(script: Script, count: usize) -> (Setup, Vec<String>) {
    let mut setup = setup(script, 64, 4);
    // Nobody listens: what is told waits for no one.
    setup.woken.close();
    let uids: Vec<String> = (0..count).map(|number| format!("o-{number}")).collect();
    for uid in &uids {
        setup.start(order(uid, "lost.example"));
    }
    (setup, uids)
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_reached_is_asked_by_one_at_a_time() {
    let (setup, uids) = started(Script::Unreachable, 100);
    tokio::time::sleep(10 * SECOND).await;
    let first = made(&setup);
    // Those under way when it was found out, and no more.
    assert!((BREAKER_FAILURES as usize..=8).contains(&first), "{first}");
    let waiting: Vec<&String> = uids.iter().filter(|uid| !ended(&setup, uid)).collect();
    assert_eq!(waiting.len(), 100 - first);
    let progress = setup.attempts.recall(waiting[50]).attempt.unwrap().progress;
    assert_eq!(
        progress.waits_for().unwrap(),
        "registry `lost.example` can't be reached; an attempt is made every 30 s, and this push goes on once one gets through"
    );
    tokio::time::sleep(10 * BREAKER_REST).await;
    let probes = made(&setup) - first;
    assert!((9..=10).contains(&probes), "{probes} in five minutes");
    let text = setup.attempts.metrics.text().unwrap();
    assert!(text.contains("imagepush_unreachable_registries 1\n"), "{text}");

    // Elsewhere, and for another namespace, nothing has happened.
    let before = made(&setup);
    setup.start(order("elsewhere", "other.example"));
    let mut of_another = order("of-another", "lost.example");
    of_another.object = ObjectRef::new("of-another").within("m");
    setup.start(of_another);
    tokio::time::sleep(SECOND / 2).await;
    assert!(made(&setup) >= before + 2, "{}", made(&setup) - before);

    setup.engine.up.store(true, Ordering::SeqCst);
    tokio::time::sleep(BREAKER_REST + 30 * SECOND).await;
    assert!(uids.iter().all(|uid| ended(&setup, uid)), "they go on together");
    assert_eq!(setup.attempts.recall(waiting[50]).attempt.unwrap().progress.waits_for(), None);
    let text = setup.attempts.metrics.text().unwrap();
    assert!(text.contains("imagepush_unreachable_registries 0\n"), "{text}");
}

/// A push that has got through takes as long as it takes; the others don't wait for its end.
#[tokio::test(start_paused = true)]
async fn who_has_got_through_lets_the_others_go_on() {
    let (setup, uids) = started(Script::Unreachable, 20);
    tokio::time::sleep(10 * SECOND).await;
    let before = made(&setup);
    setup.engine.slow.store(true, Ordering::SeqCst);
    tokio::time::sleep(BREAKER_REST).await;
    assert!(made(&setup) >= before + 4, "{}", made(&setup) - before);
    assert!(!uids.iter().all(|uid| ended(&setup, uid)));
}

/// What a registry answers, however bad that is, is an answer.
#[tokio::test(start_paused = true)]
async fn only_what_gets_no_answer_counts() {
    let (setup, uids) = started(Script::Unreachable, 0);
    assert_eq!(uids, [] as [String; 0]);
    setup.engine.up.store(true, Ordering::SeqCst);
    for number in 0..20 {
        setup.start(order(&format!("n-{number}"), "lost.example"));
    }
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(made(&setup), 20);
    // Four in a row, an answer, and four more.
    for (name, up) in [("a", false), ("b", true), ("c", false)] {
        setup.engine.up.store(up, Ordering::SeqCst);
        for number in 0..4 {
            setup.start(order(&format!("{name}-{number}"), "lost.example"));
        }
        tokio::time::sleep(2 * SECOND).await;
    }
    assert_eq!(made(&setup), 32);
}

#[tokio::test(start_paused = true)]
async fn a_registry_whose_connections_break_has_been_reached() {
    let (setup, uids) = started(Script::BreaksOff, 40);
    tokio::time::sleep(20 * SECOND).await;
    assert_eq!(made(&setup), 40);
    assert!(uids.iter().all(|uid| ended(&setup, uid)));
}

/// One that waits can be called off.
#[tokio::test(start_paused = true)]
async fn waiting_for_a_registry_can_be_called_off() {
    let (setup, uids) = started(Script::Unreachable, 100);
    tokio::time::sleep(10 * SECOND).await;
    let waiting = uids.iter().find(|uid| !ended(&setup, uid)).unwrap();
    setup.attempts.cancel(waiting);
    tokio::time::sleep(SECOND).await;
    assert!(ended(&setup, waiting));
}
