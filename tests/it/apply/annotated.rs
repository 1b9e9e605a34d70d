//! What objects say of themselves: some are made once, and some stay.

use super::*;

fn annotated(name: &str, size: i32, annotation: (&str, &str)) -> Value {
    let mut thing = thing(name, size);
    let (name, value) = annotation;
    thing["metadata"]["annotations"] = json!({name: value});
    thing
}

const ONCE: (&str, &str) = ("imagepush.dev/ssa", "IfNotPresent");
const KEPT: (&str, &str) = ("imagepush.dev/prune", "disabled");

/// What was made once is whoever's it is then, and made again if it goes.
#[tokio::test(flavor = "multi_thread")]
async fn some_are_made_once_and_left_alone() {
    let place = Place::new().await;
    let sizes = ["get", "things.things.example", "-o", "jsonpath={.items[*].spec.size}"];
    let of = |size| [annotated("a", size, ONCE), thing("b", size)];
    assert_eq!(counts(&place.apply(&of(1)).await), [2, 0, 0, 0, 0]);
    assert_eq!(counts(&place.apply(&of(2)).await), [0, 1, 1, 0, 0]);
    assert_eq!(place.kubectl(&sizes).await, "1 2");
    // Whoever may write the object may say so, too.
    let said = format!("{}={}", ONCE.0, ONCE.1);
    place.kubectl(&["annotate", "thing.things.example/b", &said]).await;
    assert_eq!(counts(&place.apply(&of(3)).await), [0, 0, 2, 0, 0]);
    place.kubectl(&["delete", "thing.things.example/a"]).await;
    assert_eq!(counts(&place.apply(&of(3)).await), [1, 0, 1, 0, 0]);
    assert_eq!(place.kubectl(&sizes).await, "3 2");
    // It takes nothing over.
    let report = place
        .apply_as(&of(4), |wish| Wish { owner: "api", force_conflicts: true, known: &[], ..wish })
        .await;
    assert_eq!(failure(&report).0, Kind::CustomResourcesConflict);
    // When it is wanted no more it goes, as it is ours still.
    assert_eq!(counts(&place.apply(&[]).await), [0, 0, 0, 2, 0]);
}

/// What stays is nobody's any more, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn some_stay_where_others_are_pruned() {
    let place = Place::new().await;
    let managed = r"jsonpath={.metadata.labels.app\.kubernetes\.io/managed-by} {.metadata.labels.imagepush\.dev/owner}";
    let labels = ["get", "thing.things.example/a", "-o", managed];
    for all in [false, true] {
        let both = [annotated("a", 1, KEPT), thing("b", 1)];
        let report = place.apply(&both).await;
        assert!(report.failure.is_none(), "{report:?}");
        assert_eq!(place.kubectl(&labels).await, "imagepush web");
        let report = if all {
            let known = place.journal.entries();
            prune_all(&place.who, &place.kinds, "web", &known, &place.journal).await
        } else {
            place.apply(&[]).await
        };
        assert!(report.failure.is_none(), "{report:?}");
        assert_eq!((counts(&report), report.inventory), ([0, 0, 0, 1, 0], vec![]), "{all}");
        assert_eq!(place.names("thing").await, ["a"]);
        assert_eq!(place.kubectl(&labels).await, " ");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_that_nobody_knows_is_refused_before_anything_is_applied() {
    let place = Place::new().await;
    let all = [thing("b", 1), annotated("a", 1, ("imagepush.dev/ssa", "Override"))];
    let report = place.apply(&all).await;
    let message = "planning `things.example/v1 Thing a`: the annotation `imagepush.dev/ssa` has another value than `IfNotPresent`";
    assert_eq!(failure(&report), (Kind::CustomResourcesInvalid, message.to_owned()));
    assert_eq!(place.names("thing").await, [""; 0]);
}
