//! What others do between two requests of a run: what was read or tried has to be what is written to.

use std::convert::Infallible;
use std::sync::Arc;

use axum::http::{Method, Request, Response};
use imagepush::error::Class;
use kube::Client;
use kube::client::Body;
use tower::service_fn;

use super::*;

/// Which requests count.
type Counts = fn(&Request<Body>) -> bool;
/// What the API server was asked: methods and paths, but for dry runs.
type Log = Arc<Mutex<Vec<String>>>;

/// A client of the same API server. Right after the first request that counts is answered, and before anybody hears of it,
/// somebody else deletes the thing `a` and makes one of the same name and labels.
async fn meddled(place: &Place, counts: Counts) -> (Impersonated, Log) {
    let (log, client) = (Log::default(), place.plane.admin_client().await);
    let (cluster, namespace) = (place.plane, place.namespace.clone());
    let (seen, done) = (log.clone(), Arc::new(Mutex::new(false)));
    let serve = move |request: Request<Body>| {
        let (client, namespace) = (client.clone(), namespace.clone());
        let counts = counts(&request) && !std::mem::replace(&mut *done.lock().unwrap(), true);
        if !request.uri().query().unwrap_or_default().contains("dryRun") {
            seen.lock().unwrap().push(format!("{} {}", request.method(), request.uri().path()));
        }
        async move {
            let answer = client.send(request).await.unwrap();
            if counts {
                make_anew(cluster, &namespace).await;
            }
            Ok::<Response<Body>, Infallible>(answer)
        }
    };
    let account = Account::new(&place.namespace, "deployer").unwrap();
    let client = Client::new(service_fn(serve), place.namespace.as_str());
    (Impersonated::new(&client, account), log)
}

async fn make_anew(plane: &ControlPlane, namespace: &str) {
    let mut theirs = thing("a", 7);
    theirs["metadata"]["namespace"] = json!(namespace);
    theirs["metadata"]["labels"] = json!({"imagepush.dev/owner": "web"});
    let thing = format!("thing.{}/a", things::GROUP);
    plane.kubectl(&["-n", namespace, "delete", &thing]).await.succeeded();
    plane.kubectl_with(&["create", "-f", "-"], &theirs.to_string()).await.succeeded();
}

fn is_dry_run(request: &Request<Body>) -> bool {
    request.method() == Method::PATCH && request.uri().query().unwrap().contains("dryRun")
}

fn reads_a(request: &Request<Body>) -> bool {
    request.method() == Method::GET && request.uri().path().ends_with("/things/a")
}

/// What a run wants, as somebody who takes over all they can, and who they are meddled with.
async fn run_meddled(place: &Place, objects: &[Value], prune: bool, counts: Counts) -> Report {
    let bundle = (!objects.is_empty()).then(|| bundle(objects));
    let (policy, known) = (Policy::default(), place.journal.entries());
    let wish = Wish {
        bundle: bundle.as_ref(),
        policy: &policy,
        owner: "web",
        force_conflicts: true,
        prune,
        known: &known,
    };
    let (who, _) = meddled(place, counts).await;
    run(&who, &place.kinds, wish, &place.journal).await
}

/// It is deleted, given up or changed only if it still has the uid that was seen.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_makes_anew_between_two_requests_is_theirs() {
    for (objects, prune, moment, expected) in [
        (vec![], true, reads_a as Counts, [0; 5]),
        (vec![], false, reads_a, [0; 5]),
        (vec![thing("a", 2)], true, is_dry_run, [0, 0, 0, 0, 1]),
    ] {
        let place = Place::new().await;
        assert_eq!(counts(&place.apply(&[thing("a", 1)]).await), [1, 0, 0, 0, 0]);
        let report = run_meddled(&place, &objects, prune, moment).await;
        assert_eq!(counts(&report), expected, "{objects:?} {prune}: {report:?}");
        let error = report.failure.map(|error| (error.kind(), error.class()));
        let conflict = (Kind::CustomResourcesConflict, Class::Transient);
        assert_eq!(error, (!objects.is_empty()).then_some(conflict), "{prune}");
        let fields = r"jsonpath={.spec.size} {.metadata.labels.imagepush\.dev/owner}";
        let there = ["get", "thing.things.example/a", "-o", fields];
        assert_eq!(place.kubectl(&there).await, "7 web", "{objects:?} {prune}");
    }
}

/// What was applied last goes first: what comes after something may need it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_applied_last_is_taken_away_first() {
    let place = Place::new().await;
    let gadget = |name: &str| object("Gadget", name, &json!({"note": "x"}));
    let objects = [gadget("a"), gadget("b"), thing("c", 1), thing("d", 1)];
    let (who, log) = meddled(&place, |_| false).await;
    let policy = Policy::default();
    let wish = |bundle| Wish {
        bundle,
        policy: &policy,
        owner: "web",
        force_conflicts: false,
        prune: true,
        known: &[],
    };
    let first = bundle(&objects);
    let report = run(&who, &place.kinds, wish(Some(&first)), &place.journal).await;
    assert_eq!(counts(&report), [4, 0, 0, 0, 0], "{report:?}");
    let known = place.journal.entries();
    let none = Wish { known: &known, ..wish(None) };
    let report = run(&who, &place.kinds, none, &place.journal).await;
    assert_eq!(counts(&report), [0, 0, 0, 4, 0], "{report:?}");
    let log = log.lock().unwrap();
    let paths = |method: &str| -> Vec<String> {
        log.iter().filter_map(|it| it.strip_prefix(method)).map(str::to_owned).collect()
    };
    let mut written = paths("PATCH ");
    written.reverse();
    assert_eq!(written.len(), 4, "{log:?}");
    assert_eq!(paths("DELETE "), written);
}
