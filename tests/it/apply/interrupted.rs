//! A run that ends between any two of its steps, as when its process is killed.

use super::*;

/// The next run knows of everything that may be there, also when it wants something else.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_breaks_off_anywhere_leaves_nothing_behind() {
    let (first, second) = ([thing("a", 1), thing("b", 1)], [thing("b", 2), thing("c", 1)]);
    let mut calls = 0;
    loop {
        let place = Place::new().await;
        assert!(place.apply(&first).await.failure.is_none());
        place.journal.break_after(Some(calls));
        let report = place.apply(&second).await;
        let done = report.failure.is_none();
        assert!(done || failure(&report).0 == Kind::Cancelled, "{report:?}");
        place.journal.break_after(None);
        // The image carries something else by now; and then nothing.
        let report = place.apply(&[thing("d", 1)]).await;
        assert!(report.failure.is_none(), "after {calls} calls: {report:?}");
        assert_eq!(place.names("thing").await, ["d"], "after {calls} calls");
        place.apply(&[]).await;
        assert_eq!(place.names("thing").await, [""; 0], "after {calls} calls");
        if done {
            break;
        }
        calls += 1;
    }
    // Remember, three writes or deletions, remember: each was the last one once.
    assert!(calls >= 5, "{calls}");
}
