//! Bundles applied on a real API server, as a ServiceAccount, without an operator around it.

mod annotated;
mod hostile;
mod interrupted;
mod leaving;
mod meanwhile;

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use imagepush::apply::{
    Account, ChangedObject, Entry, Impersonated, Journal, Kinds, Policy, Report, Wish, differences,
    prune_all, run, until_current,
};
use imagepush::bundle::Bundle;
use imagepush::error::{Error, Kind, Result};
use serde_json::{Value, json};

use crate::support::control_plane::{ControlPlane, control_plane};
use crate::support::things::{self, ALL_VERBS, object};

/// A namespace with an account that applies bundles there.
struct Place {
    plane: &'static ControlPlane,
    namespace: String,
    who: Impersonated,
    kinds: Kinds,
    journal: Memory,
}

/// Remembers in memory, as status does in the cluster, and may break off.
#[derive(Default)]
struct Memory {
    entries: Mutex<Vec<Entry>>,
    writes: Mutex<usize>,
    /// How many more calls go well; all, if not set.
    left: Mutex<Option<usize>>,
}

impl Memory {
    fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap().clone()
    }

    fn break_after(&self, calls: Option<usize>) {
        *self.left.lock().unwrap() = calls;
    }

    fn step(&self) -> Result<()> {
        match &mut *self.left.lock().unwrap() {
            Some(0) => Err(Error::cancelled()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Journal for Memory {
    async fn remember(&self, entries: &[Entry]) -> Result<()> {
        self.step()?;
        if entries.len() > 1024 {
            return Err(Error::new(Kind::LimitExceeded, "as many as status takes"));
        }
        *self.writes.lock().unwrap() += 1;
        *self.entries.lock().unwrap() = entries.to_vec();
        Ok(())
    }

    fn still_wanted(&self) -> Result<()> {
        self.step()
    }
}

impl Place {
    /// One whose account may write all kinds of the tests' group.
    async fn new() -> Self {
        Self::with(&["*"], &ALL_VERBS).await
    }

    async fn with(resources: &[&str], verbs: &[&str]) -> Self {
        let plane = control_plane().await;
        things::install(plane).await;
        let namespace = plane.namespace().await;
        things::account(plane, &namespace, "deployer", resources, verbs).await;
        let client = plane.admin_client_called(&namespace).await;
        let account = Account::new(&namespace, "deployer").unwrap();
        let (who, kinds) = (Impersonated::new(&client, account), Kinds::new(&client));
        Self { plane, namespace, who, kinds, journal: Memory::default() }
    }

    async fn apply(&self, objects: &[Value]) -> Report {
        self.apply_as(objects, |wish| wish).await
    }

    /// Applies with the wish changed; a reported failure is told by the report.
    async fn apply_as(&self, objects: &[Value], change: impl Fn(Wish<'_>) -> Wish<'_>) -> Report {
        let bundle = (!objects.is_empty()).then(|| bundle(objects));
        let (policy, known) = (Policy::default(), self.journal.entries());
        let wish = Wish {
            bundle: bundle.as_ref(),
            policy: &policy,
            owner: "web",
            force_conflicts: false,
            prune: true,
            known: &known,
        };
        run(&self.who, &self.kinds, change(wish), &self.journal).await
    }

    async fn kubectl(&self, arguments: &[&str]) -> String {
        let arguments = [&["-n", self.namespace.as_str()], arguments].concat();
        self.plane.kubectl(&arguments).await.succeeded()
    }

    /// Applies, and waits for a second until the objects work.
    async fn apply_and_wait(&self, objects: &[Value]) -> Report {
        let mut report = self.apply(objects).await;
        assert!(report.failure.is_none(), "{report:?}");
        let patience = Duration::from_secs(1);
        report.failure = until_current(&self.who, &report.stored, patience).await.err();
        report
    }

    /// The objects of a kind that are there.
    async fn names(&self, kind: &str) -> Vec<String> {
        let resource = format!("{kind}.{}", things::GROUP);
        let listed = self.kubectl(&["get", &resource, "-o", "name"]).await;
        listed.lines().map(|line| line.rsplit('/').next().unwrap().to_owned()).collect()
    }

    async fn patch(&self, thing: &str, more: &[&str], patch: &Value) {
        let thing = format!("thing.{}/{thing}", things::GROUP);
        let patch = patch.to_string();
        let arguments = ["patch", &thing, "--type=merge", "-p", &patch];
        self.kubectl(&[&arguments, more].concat()).await;
    }
}

fn bundle(objects: &[Value]) -> Bundle {
    let documents = objects.iter().map(|object| format!("---\n{object}\n"));
    Bundle::parse(documents.collect::<String>().as_bytes()).unwrap()
}

fn thing(name: &str, size: i32) -> Value {
    object("Thing", name, &json!({"size": size}))
}

fn forced(wish: Wish<'_>) -> Wish<'_> {
    Wish { force_conflicts: true, ..wish }
}

/// Created, configured, unchanged, pruned, failed.
fn counts(report: &Report) -> [usize; 5] {
    let Report { created, configured, unchanged, pruned, failed, .. } = report;
    [*created, *configured, *unchanged, *pruned, *failed]
}

fn failure(report: &Report) -> (Kind, String) {
    let error = report.failure.as_ref().expect("it fails");
    (error.kind(), error.to_string())
}

fn shown(changes: &[ChangedObject]) -> Vec<String> {
    changes.iter().map(|it| format!("{} {:?}", it.object, it.change)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_applied_repaired_and_pruned() {
    let place = Place::new().await;
    let two = [thing("a", 1), object("Gadget", "b", &json!({"note": "x"}))];
    let report = place.apply(&two).await;
    assert!(report.failure.is_none(), "{report:?}");
    assert_eq!(counts(&report), [2, 0, 0, 0, 0]);
    let inventory = place.journal.entries();
    assert_eq!(inventory.len(), 2);
    assert!(inventory.iter().all(|entry| entry.uid.is_some()), "{inventory:?}");

    // Nothing to do: nothing is written, not even into the journal.
    let writes = *place.journal.writes.lock().unwrap();
    assert_eq!(counts(&place.apply(&two).await), [0, 0, 2, 0, 0]);
    assert_eq!(*place.journal.writes.lock().unwrap(), writes);

    // What the bundle says nothing of may be anything; what is gone is made anew.
    place.patch("a", &["--field-manager=somebody"], &json!({"spec": {"note": "x"}})).await;
    assert_eq!(counts(&place.apply(&two).await), [0, 0, 2, 0, 0]);
    place.kubectl(&["delete", &format!("thing.{}/a", things::GROUP)]).await;
    assert_eq!(counts(&place.apply(&two).await), [1, 0, 1, 0, 0]);

    let report = place.apply(&[thing("a", 2)]).await;
    assert_eq!(counts(&report), [0, 1, 0, 1, 0]);
    let change = r#"things.example/v1 Thing a Configured { fields: [FieldChange { path: "spec.size", sort: Changed }], count: 1 }"#;
    assert_eq!(shown(&report.changes), [change]);
    assert_eq!(place.names("gadget").await, [""; 0]);
    // The image carries nothing any more.
    assert_eq!(counts(&place.apply(&[]).await), [0, 0, 0, 1, 0]);
    assert_eq!((place.names("thing").await, place.journal.entries()), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_managers_do_not_fight_over_a_field() {
    let place = Place::new().await;
    assert_eq!(counts(&place.apply(&[thing("a", 1)]).await), [1, 0, 0, 0, 0]);
    place.patch("a", &["--field-manager=somebody"], &json!({"spec": {"size": 5}})).await;
    let report = place.apply(&[thing("a", 1), thing("b", 1)]).await;
    let message = "`things.example/v1 Thing a`: `spec.size` belongs to `somebody`".to_owned();
    assert_eq!(failure(&report), (Kind::CustomResourcesConflict, message));
    // Not even the other object is applied.
    assert_eq!((counts(&report), place.names("thing").await), ([0; 5], vec!["a".to_owned()]));
    assert_eq!(counts(&place.apply_as(&[thing("a", 1)], forced).await), [0, 1, 0, 0, 0]);
}

/// What a person has changed by kubectl is set right; what a program has taken, or who applies, is a conflict.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_edited_by_hand_is_set_right() {
    let place = Place::new().await;
    let one = [thing("a", 1)];
    assert_eq!(counts(&place.apply(&one).await), [1, 0, 0, 0, 0]);
    let size = async || {
        place
            .kubectl(&["get", &format!("thing.{}/a", things::GROUP), "-o", "jsonpath={.spec.size}"])
            .await
    };
    for manager in [&[][..], &["--field-manager=kubectl-edit"]] {
        place.patch("a", manager, &json!({"spec": {"size": 5}})).await;
        let report = place.apply(&one).await;
        assert_eq!((counts(&report), size().await.as_str()), ([0, 1, 0, 0, 0], "1"), "{report:?}");
        let change = r#"things.example/v1 Thing a Configured { fields: [FieldChange { path: "spec.size", sort: Changed }], count: 1 }"#;
        assert_eq!(shown(&report.changes), [change]);
        assert_eq!(counts(&place.apply(&one).await), [0, 0, 1, 0, 0]);
    }
    // One of two fields is somebody's who means it.
    let both = [object("Thing", "a", &json!({"size": 1, "note": "x"}))];
    assert_eq!(counts(&place.apply(&both).await), [0, 1, 0, 0, 0]);
    place.patch("a", &[], &json!({"spec": {"size": 5}})).await;
    place.patch("a", &["--field-manager=somebody"], &json!({"spec": {"note": "y"}})).await;
    let (kind, message) = failure(&place.apply(&both).await);
    assert_eq!(kind, Kind::CustomResourcesConflict);
    assert!(message.contains("`spec.note` belongs to `somebody`"), "{message}");
    assert_eq!(size().await, "5");
    assert_eq!(counts(&place.apply_as(&both, forced).await), [0, 1, 0, 0, 0]);
    assert_eq!(size().await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_before_is_taken_over_only_if_asked_for() {
    let place = Place::new().await;
    let mut theirs = thing("a", 1);
    theirs["metadata"]["namespace"] = json!(place.namespace);
    place.plane.kubectl_with(&["apply", "-f", "-"], &theirs.to_string()).await.succeeded();
    let (kind, message) = failure(&place.apply(&[thing("a", 1)]).await);
    assert_eq!(kind, Kind::CustomResourcesConflict);
    assert!(message.ends_with("it is there already, and was not applied from here"), "{message}");
    assert_eq!(counts(&place.apply_as(&[thing("a", 1)], forced).await), [0, 1, 0, 0, 0]);
    // Another ImagePush takes nothing over, whatever it asks for.
    let report = place
        .apply_as(&[thing("a", 1)], |wish| Wish { owner: "api", force_conflicts: true, ..wish })
        .await;
    let (kind, message) = failure(&report);
    assert_eq!(kind, Kind::CustomResourcesConflict);
    assert!(message.ends_with("it belongs to the ImagePush `web`"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_that_somebody_made_anew() {
    let place = Place::new().await;
    assert_eq!(counts(&place.apply(&[thing("a", 1), thing("b", 1)]).await), [2, 0, 0, 0, 0]);
    let [a, b] = ["a", "b"].map(|name| format!("thing.{}/{name}", things::GROUP));
    // With the owner's label and without it.
    let mut copy: Value =
        serde_json::from_str(&place.kubectl(&["get", &a, "-o", "json"]).await).unwrap();
    for field in ["uid", "resourceVersion", "managedFields"] {
        copy["metadata"].as_object_mut().unwrap().remove(field);
    }
    place.kubectl(&["delete", &a]).await;
    place.plane.kubectl_with(&["create", "-f", "-"], &copy.to_string()).await.succeeded();
    place.kubectl(&["label", &b, "imagepush.dev/owner-"]).await;
    let report = place.apply(&[]).await;
    assert!(report.failure.is_none(), "{report:?}");
    assert_eq!((counts(&report), report.inventory), ([0; 5], vec![]));
    assert_eq!(place.names("thing").await, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_is_missing_is_waited_for() {
    let place = Place::new().await;
    let late = [thing("a", 1), object("Latecomer", "b", &json!({}))];
    let report = place.apply(&late).await;
    let message = "the cluster does not know the kinds `things.example/v1 Latecomer`".to_owned();
    assert_eq!(failure(&report), (Kind::CustomResourcesPending, message));
    assert_eq!(place.names("thing").await, [""; 0]);
    things::define(place.plane, "Latecomer", "Namespaced").await;
    // The definition is served a moment before all of the server knows of it.
    let mut report = place.apply(&late).await;
    while report.failure.is_some() {
        tokio::time::sleep(crate::support::control_plane::POLL).await;
        report = place.apply(&late).await;
    }
    assert_eq!(place.names("latecomer").await, ["b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_waited_for_until_they_work() {
    let place = Place::new().await;
    // What says nothing of itself is fine.
    assert!(place.apply_and_wait(&[thing("a", 1)]).await.failure.is_none());
    let ready =
        |state: &str| json!({"status": {"conditions": [{"type": "Ready", "status": state}]}});
    place.patch("a", &["--subresource=status"], &ready("False")).await;
    let message =
        "what was applied does not work after 1 s: `things.example/v1 Thing a`: it is not ready";
    let report = place.apply_and_wait(&[thing("a", 1)]).await;
    assert_eq!(failure(&report), (Kind::CustomResourcesPending, message.to_owned()));
    place.patch("a", &["--subresource=status"], &ready("True")).await;
    assert!(place.apply_and_wait(&[thing("a", 1)]).await.failure.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_is_told_what_would_change() {
    let place = Place::new().await;
    assert_eq!(counts(&place.apply(&[thing("a", 1), thing("b", 1)]).await), [2, 0, 0, 0, 0]);
    let client = place.plane.admin_client().await;
    let told = async |objects: &[Value]| {
        differences(&client, &place.namespace, &bundle(objects)).await.map(|it| shown(&it))
    };
    let name = |name: &str| format!("things.example/v1 Thing {name}");
    let found = told(&[thing("a", 1), thing("b", 2), thing("c", 1)]).await.unwrap();
    let field =
        r#"Configured { fields: [FieldChange { path: "spec.size", sort: Changed }], count: 1 }"#;
    let expected = [
        format!("{} Unchanged", name("a")),
        format!("{} {field}", name("b")),
        format!("{} Created", name("c")),
    ];
    assert_eq!(found, expected);
    // Nothing was stored.
    assert_eq!(place.names("thing").await, ["a", "b"]);
    let error = told(&[object("Planet", "x", &json!({}))]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::CustomResourcesForbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_goes_with_its_owner() {
    let place = Place::new().await;
    place.apply(&[thing("a", 1), thing("b", 1)]).await;
    let known = place.journal.entries();
    let report = prune_all(&place.who, &place.kinds, "web", &known, &place.journal).await;
    assert_eq!((counts(&report), report.inventory), ([0, 0, 0, 2, 0], vec![]));
    assert_eq!(place.names("thing").await, [""; 0]);
}
