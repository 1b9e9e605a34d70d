//! What becomes of objects that a bundle has no more, and of those that somebody else makes meanwhile.

use super::*;
use crate::support::control_plane::POLL;

/// Takes what was applied away, and waits until the server has understood what was changed before.
async fn until_settled(place: &Place, objects: &[Value]) -> Report {
    for _ in 0..100 {
        let report = place.apply(objects).await;
        if report.failure.is_none() {
            return report;
        }
        tokio::time::sleep(POLL).await;
    }
    place.apply(objects).await
}

/// A kind of the tests' group in these versions, of which those are served that are said to be.
async fn versions(place: &Place, kind: &str, served: [bool; 2]) {
    let plural = format!("{}s", kind.to_lowercase());
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let version = |name: &str, served: bool| json!({"name": name, "served": served, "storage": name == "v1", "schema": schema});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{}", things::GROUP)},
        "spec": {
            "group": things::GROUP, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
            "versions": [version("v1alpha1", served[0]), version("v1", served[1])],
        },
    });
    place.plane.kubectl_with(&["apply", "-f", "-"], &definition.to_string()).await.succeeded();
    for (version, served) in [("v1alpha1", served[0]), ("v1", served[1])] {
        let path = format!("/apis/{}/{version}", things::GROUP);
        let is_there = async || {
            let asked = place.plane.kubectl(&["get", "--raw", &path]).await;
            asked.stdout.contains(&format!("\"{plural}\""))
        };
        while is_there().await != served {
            tokio::time::sleep(POLL).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_applied_under_a_version_that_has_gone_is_taken_away() {
    let place = Place::new().await;
    versions(&place, "Elder", [true, true]).await;
    let mut elder = object("Elder", "a", &json!({"size": 1}));
    elder["apiVersion"] = json!(format!("{}/v1alpha1", things::GROUP));
    let report = until_settled(&place, &[elder]).await;
    assert!(report.failure.is_none(), "{report:?}");
    assert_eq!(place.names("elder").await, ["a"]);
    versions(&place, "Elder", [false, true]).await;
    let report = place.apply(&[]).await;
    assert!(report.failure.is_none(), "{report:?}");
    assert_eq!((counts(&report), report.inventory), ([0, 0, 0, 1, 0], vec![]));
    assert_eq!(place.names("elder").await, [""; 0]);
    // With its definition, it is gone.
    versions(&place, "Elder", [true, true]).await;
    until_settled(&place, &[object("Elder", "b", &json!({}))]).await;
    let name = format!("elders.{}", things::GROUP);
    place.plane.kubectl(&["delete", "crd", &name]).await.succeeded();
    let report = until_settled(&place, &[]).await;
    assert_eq!((counts(&report), report.inventory), ([0; 5], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_deleted_keeps_no_other() {
    let place = Place::with(&["things"], &ALL_VERBS).await;
    let rule = json!([
        {"apiGroups": [things::GROUP], "resources": ["things"], "verbs": ALL_VERBS},
        {"apiGroups": [things::GROUP], "resources": ["gadgets"], "verbs": ["get", "create", "patch"]},
    ]);
    let patch = json!({"rules": rule}).to_string();
    place.kubectl(&["patch", "role/deployer", "--type=merge", "-p", &patch]).await;
    let gadget = |name: &str| object("Gadget", name, &json!({"note": "x"}));
    // Sorted, gadgets come first and last goes first: whichever the order, there is one before the thing.
    let all = [gadget("a"), thing("b", 1), thing("c", 1)];
    let report = until_settled(&place, &all).await;
    assert!(report.failure.is_none(), "{report:?}");
    for reversed in [false, true] {
        let mut known = place.journal.entries();
        known.sort();
        if reversed {
            known.reverse();
        }
        *place.journal.entries.lock().unwrap() = known;
        let report = place.apply(&[thing("c", 1)]).await;
        let (kind, message) = failure(&report);
        assert_eq!(kind, Kind::CustomResourcesForbidden, "{message}");
        let told = "`Gadget.things.example a`: the service account has no permission to delete it";
        assert!(message.contains(told), "{message}");
        assert_eq!(place.names("thing").await, ["c"], "{message}");
        assert_eq!(place.names("gadget").await, ["a"]);
        // It is remembered still, to be tried again.
        let left: Vec<String> = place.journal.entries().into_iter().map(|it| it.name).collect();
        assert_eq!(left.len(), 2, "{left:?}");
        place.apply(&[thing("b", 1), thing("c", 1)]).await;
    }
}

fn kept(wish: Wish<'_>) -> Wish<'_> {
    Wish { prune: false, ..wish }
}

fn other(wish: Wish<'_>) -> Wish<'_> {
    Wish { owner: "api", known: &[], ..wish }
}

/// Without `prune`, what a bundle has no more is free for another one, and for a bundle that has it again.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_is_free_for_others() {
    let place = Place::new().await;
    let both = [thing("a", 1), thing("b", 1)];
    assert_eq!(counts(&place.apply_as(&both, kept).await), [2, 0, 0, 0, 0]);
    let report = place.apply_as(&[thing("b", 1)], kept).await;
    assert!(report.failure.is_none(), "{report:?}");
    assert_eq!(
        (place.names("thing").await, report.inventory.len()),
        (vec!["a".into(), "b".into()], 1)
    );
    // A roll-back has it again.
    let report = place.apply_as(&both, kept).await;
    assert!(report.failure.is_none(), "{report:?}");
    assert_eq!(counts(&report), [0, 1, 1, 0, 0]);
    place.apply_as(&[thing("b", 1)], kept).await;
    let report = place.apply_as(&[thing("a", 1)], other).await;
    assert!(report.failure.is_none(), "{report:?}");
    let report = place.apply_as(&[thing("b", 1)], other).await;
    let error = report.failure.expect("it belongs to `web`");
    assert_eq!(error.kind(), Kind::CustomResourcesConflict);
    let hint = error.next_step().unwrap();
    assert!(hint.contains("take the label `imagepush.dev/owner` off it"), "{hint}");
}

/// Names that change with each release fill the inventory where nothing could be deleted; the permission cures that.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_inventory_empties_itself() {
    let place = Place::new().await;
    let of = |at: usize| Entry {
        group: things::GROUP.into(),
        kind: "Thing".into(),
        name: format!("old-{at}"),
        version: "v1".into(),
        uid: None,
    };
    place.apply(&[thing("old-7", 1)]).await;
    *place.journal.entries.lock().unwrap() = (0..1024).map(of).collect();
    let report = place.apply(&[thing("new", 1)]).await;
    assert!(report.failure.is_none(), "{report:?}");
    assert_eq!((counts(&report), report.inventory.len()), ([1, 0, 0, 1, 0], 1));
    assert_eq!(place.names("thing").await, ["new"]);
}

/// A journal in the middle of which somebody makes the object that is about to be made.
struct Intruder<'a>(&'a Place, &'a Value);

#[async_trait]
impl Journal for Intruder<'_> {
    async fn remember(&self, _: &[Entry]) -> Result<()> {
        let Self(place, theirs) = self;
        place.plane.kubectl_with(&["apply", "-f", "-"], &theirs.to_string()).await.succeeded();
        Ok(())
    }

    fn still_wanted(&self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_makes_meanwhile_is_not_taken_over() {
    let place = Place::new().await;
    let mut theirs = thing("a", 5);
    theirs["metadata"]["namespace"] = json!(place.namespace);
    let (bundle, policy) = (bundle(&[thing("a", 1)]), Policy::default());
    let wish = Wish {
        bundle: Some(&bundle),
        policy: &policy,
        owner: "web",
        force_conflicts: true,
        prune: true,
        known: &[],
    };
    let report = run(&place.who, &place.kinds, wish, &Intruder(&place, &theirs)).await;
    let error = report.failure.clone().expect("it is not taken over");
    assert_eq!(error.kind(), Kind::CustomResourcesConflict, "{error}");
    assert_eq!(error.class(), imagepush::error::Class::Transient, "{error}");
    let size = ["get", "thing.things.example/a", "-o", "jsonpath={.spec.size}"];
    assert_eq!((counts(&report), place.kubectl(&size).await), ([0, 0, 0, 0, 1], "5".to_owned()));
}
