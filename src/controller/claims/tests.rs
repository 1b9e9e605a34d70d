//! Who owns what, as events come in any order.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

fn object(namespace: &str, name: &str, created: i64, destination: &str, more: &Value) -> ImagePush {
    let mut spec = json!({
        "source": {"reference": "docker://a.example/x:1"},
        "destination": {"reference": destination},
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let created = Timestamp::from_second(1_700_000_000 + created).unwrap().to_string();
    serde_json::from_value(json!({
        "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush", "spec": spec,
        "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}"),
            "creationTimestamp": created, "generation": 1},
    }))
    .unwrap()
}

fn push(name: &str, created: i64) -> ImagePush {
    object("n", name, created, "docker://r.example/app:1", &json!({}))
}

/// The name that an object claims.
fn claim(object: &ImagePush) -> Option<String> {
    stake(object).filter(|(_, stake)| stake.claims).map(|(name, _)| name)
}

/// Its image is at the destination, which it has written itself since this second, or has only found there.
fn with_image(mut object: ImagePush, since: Option<i64>) -> ImagePush {
    let since = since.map(|second| Timestamp::from_second(second).unwrap().to_string());
    let reference = &object.spec.destination.reference;
    let artifact = json!({"digest": "sha256:0", "mediaType": "x", "reference": reference,
        "heldSince": since});
    object.status = Some(serde_json::from_value(json!({"artifact": artifact})).unwrap());
    object
}

fn setup() -> (Register, mpsc::Receiver<ObjectRef<ImagePush>>) {
    let (wake, woken) = mpsc::channel(1);
    (Register::new(Claims::new(1), wake), woken)
}

fn woken(queue: &mut mpsc::Receiver<ObjectRef<ImagePush>>) -> Vec<String> {
    std::iter::from_fn(|| queue.try_recv().ok()).map(|object| object.name).collect()
}

#[tokio::test]
async fn the_oldest_owns_and_the_next_is_woken_when_it_goes() {
    let [old, twin, young] = [push("a", 1), push("b", 1), push("c", 2)];
    let (mut register, mut queue) = setup();
    for object in [&young, &twin, &old] {
        register.note(object);
    }
    let conflicts = |register: &Register| {
        [&old, &twin, &young].map(|object| register.claims.conflict(object).is_some())
    };
    assert_eq!(conflicts(&register), [false, true, true]);
    // Each owner was told that it is none any more, and the next that it is.
    assert_eq!(woken(&mut queue), ["c", "b", "b", "a"]);
    register.release(&old);
    assert_eq!((conflicts(&register)[1], woken(&mut queue)), (false, vec!["b".to_owned()]));
    register.release(&young);
    assert_eq!((conflicts(&register)[1], woken(&mut queue)), (false, vec![]));
    assert!(!register.claims.is_shared(&twin));
}

#[tokio::test]
async fn a_name_is_the_same_however_it_is_written() {
    let mut places = vec![];
    for reference in [
        "docker://r.example/app",
        "docker://r.example/app:latest",
        "docker://R.example/app:latest",
        "docker://r.example:443/app:latest",
    ] {
        places.push(claim(&object("n", "x", 1, reference, &json!({}))));
    }
    places.dedup();
    assert_eq!(places, [Some("docker://r.example/app:latest".to_owned())]);
    let plain = json!({"reference": "docker://r.example:80/app", "tlsPolicy": "PlainHTTP"});
    let plain = object("n", "x", 1, "docker://x/y", &json!({"destination": plain}));
    assert_eq!(claim(&plain).as_deref(), Some("docker://r.example/app:latest"));
    let hub =
        ["docker://app", "docker://docker.io/library/app", "docker://index.docker.io/library/app"];
    let hub = hub.map(|reference| claim(&object("n", "x", 1, reference, &json!({}))));
    assert_eq!(hub, [(); 3].map(|()| Some("docker://docker.io/library/app:latest".to_owned())));
}

#[test]
fn a_path_is_the_same_in_its_own_volume_only() {
    let claim_of = |name: &str| json!({"persistentVolumeClaim": {"claimName": name}});
    let folder = |path: &str| json!({"hostPath": {"path": path}});
    let place = |namespace: &str, reference: &str, volume: Value| {
        let destination = json!({"reference": reference, "volume": volume});
        claim(&object(namespace, "x", 1, "docker://x/y", &json!({"destination": destination})))
    };
    let first = place("n", "oci:a/b:1", claim_of("c"));
    assert_eq!(first.as_deref(), Some("n claim c oci:a/b:1"));
    assert_eq!(place("n", "oci:./a//b:1", claim_of("c")), first);
    for other in [
        place("m", "oci:a/b:1", claim_of("c")),
        place("n", "oci:a/b:1", claim_of("d")),
        place("n", "oci:a/b:2", claim_of("c")),
        place("n", "dir:a/b:1", claim_of("c")),
    ] {
        assert_ne!(other, first);
    }
    // A node is there for all namespaces.
    let first = place("n", "dir:a", folder("/srv/images"));
    assert_eq!(first.as_deref(), Some("dir:srv/images/a"));
    assert_eq!(place("m", "dir:images/a", folder("/srv/")), first);
    assert_ne!(place("n", "dir:a", folder("/srv")), first);
}

#[tokio::test]
async fn what_writes_nothing_claims_nothing() {
    let digest = format!("docker://r.example/app@sha256:{}", "0".repeat(64));
    let dry = object("n", "x", 1, "docker://r.example/app:1", &json!({"mode": "DryRun"}));
    assert_eq!(claim(&object("n", "x", 1, &digest, &json!({}))), None);
    assert_eq!(claim(&dry), None);
    let mut done = object("n", "x", 1, "docker://r.example/app:1", &json!({"runPolicy": "Once"}));
    assert!(claim(&done).is_some());
    let ready = json!({"observedGeneration": 1, "conditions": [{
        "type": "Ready", "status": "True", "reason": "PushSucceeded", "message": "",
        "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    done.status = Some(serde_json::from_value(ready).unwrap());
    assert_eq!(claim(&done), None);
    // It is done; if it is asked to look again, it gives way.
    let (mut register, _queue) = setup();
    assert_eq!(register.claims.conflict(&done), None);
    register.note(&push("other", 9));
    assert_eq!(register.claims.conflict(&done), None);
    done.annotations_mut().insert("imagepush.dev/requestedAt".into(), "now".into());
    assert!(register.claims.conflict(&done).is_some());
    done.metadata.generation = Some(2);
    assert!(claim(&done).is_some());
}

/// It may have been looked at, and have given way, before it came to own the name.
#[tokio::test]
async fn who_comes_to_own_a_name_is_woken_as_well() {
    let (mut register, mut queue) = setup();
    register.note(&push("young", 9));
    register.note(&push("old", 1));
    let mut both = woken(&mut queue);
    both.sort();
    assert_eq!(both, ["old", "young"]);
}

/// An object says what it likes; without a credential for a name it writes nothing there.
#[tokio::test]
async fn who_has_not_written_a_name_stops_nobody_elsewhere() {
    let place = "docker://r.example/app:1";
    let of =
        |namespace: &str, name: &str, created| object(namespace, name, created, place, &json!({}));
    let (mut register, mut queue) = setup();
    let victim = with_image(of("v", "victim", 5), Some(7));
    register.note(&victim);
    // Older ones of another namespace: one is only there, one has found the victim's own image, one has written elsewhere.
    let mut elsewhere = with_image(of("e", "elsewhere", 1), Some(1));
    let artifact = elsewhere.status.as_mut().unwrap().artifact.as_mut().unwrap();
    artifact.reference = Some("docker://r.example/other:1".into());
    let strangers = [of("e", "plain", 1), with_image(of("e", "found", 1), None), elsewhere];
    for stranger in &strangers {
        register.note(stranger);
        assert_eq!(register.claims.conflict(&victim), None);
        assert!(register.claims.conflict(stranger).is_some());
        assert!(!register.claims.is_shared(&victim), "what it has pushed can be taken away");
    }
    assert_eq!(woken(&mut queue), [""; 0]);

    // Of two that have written it the first one goes on, also if it is the younger object.
    let late = with_image(of("e", "plain", 1), Some(8));
    register.note(&late);
    assert_eq!(register.claims.conflict(&victim), None);
    assert!(register.claims.conflict(&late).is_some() && register.claims.is_shared(&victim));
    register.release(&victim);
    assert_eq!(woken(&mut queue), ["elsewhere"], "the oldest there may go on");
    assert_eq!(register.claims.conflict(&strangers[2]), None);
}

/// A namespace has the name, and within it the oldest, which may be another object than the one that has written it.
#[tokio::test]
async fn a_name_belongs_to_a_namespace_and_there_to_the_oldest() {
    let place = "docker://r.example/app:1";
    let of =
        |namespace: &str, name: &str, created| object(namespace, name, created, place, &json!({}));
    let (mut register, mut queue) = setup();
    let (old, writer, stranger) = (of("v", "old", 1), of("v", "writer", 2), of("e", "stranger", 3));
    for object in [&old, &writer, &stranger] {
        register.note(object);
    }
    let conflicts = |register: &Register, objects: [&ImagePush; 3]| {
        objects.map(|object| register.claims.conflict(object).is_some())
    };
    woken(&mut queue);
    // Nobody has written it yet.
    assert_eq!(conflicts(&register, [&old, &writer, &stranger]), [false, true, false]);
    let stranger = with_image(stranger, Some(9));
    register.note(&stranger);
    assert_eq!(woken(&mut queue), ["old"]);
    assert_eq!(conflicts(&register, [&old, &writer, &stranger]), [true, true, false]);
    let writer = with_image(writer, Some(7));
    register.note(&writer);
    assert_eq!(woken(&mut queue), ["stranger", "old"]);
    assert_eq!(conflicts(&register, [&old, &writer, &stranger]), [false, true, true]);
}

/// What one that ran once has pushed is not taken away with its twin.
#[tokio::test]
async fn the_image_of_one_that_is_done_is_of_use() {
    let once = json!({"runPolicy": "Once", "deletionPolicy": "Delete"});
    let done = |namespace: &str, name: &str, since| {
        let object = object(namespace, name, 1, "docker://r.example/app:1", &once);
        let mut object = with_image(object, since);
        let ready = json!([{"type": "Ready", "status": "True", "reason": "PushSucceeded",
            "message": "", "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let conditions = serde_json::from_value(ready).unwrap();
        object.status.as_mut().unwrap().conditions = conditions;
        object
    };
    let first = done("n", "build-1", Some(1));
    for (other, shared) in [
        (done("n", "build-2", None), true),
        (done("e", "build-2", Some(2)), true),
        (done("e", "build-2", None), false),
    ] {
        let (mut register, _queue) = setup();
        register.note(&first);
        assert!(!register.claims.is_shared(&first));
        register.note(&other);
        assert_eq!(claim(&other), None);
        assert_eq!(register.claims.is_shared(&first), shared, "{other:?}");
        register.release(&other);
        assert!(!register.claims.is_shared(&first));
    }
}

#[tokio::test]
async fn other_namespaces_stay_unnamed() {
    let (mut register, _queue) = setup();
    let theirs = object("theirs", "secret-name", 1, "docker://r.example/app:1", &json!({}));
    register.note(&with_image(theirs, Some(1)));
    let message = |object: &ImagePush| register.claims.conflict(object).unwrap().message;
    let stranger = message(&push("x", 2));
    assert_eq!(
        stranger,
        "an ImagePush of another namespace has pushed to `docker://r.example/app:1` before; \
         choose another destination, or have that one deleted"
    );
    let neighbour = message(&object("theirs", "y", 2, "docker://r.example/app:1", &json!({})));
    assert!(neighbour.starts_with("the older ImagePush `secret-name` pushes to"), "{neighbour}");
}

#[tokio::test(start_paused = true)]
async fn an_edit_moves_a_claim_and_a_new_list_drops_what_is_gone() {
    let (mut register, mut queue) = setup();
    let (old, young) = (push("a", 1), push("b", 2));
    assert!(!register.claims.is_complete());
    register.note(&old);
    register.note(&young);
    register.keep_only(&["uid-a", "uid-b"].map(str::to_owned).into());
    assert!(register.claims.is_complete());
    register.note(&object("n", "a", 1, "docker://r.example/elsewhere", &json!({})));
    assert_eq!(woken(&mut queue), ["b"]);
    register.note(&old);
    assert_eq!(woken(&mut queue), ["b", "a"]);
    register.keep_only(&["uid-b"].map(str::to_owned).into());
    assert_eq!(woken(&mut queue), ["b"]);
    assert_eq!(register.claims.conflict(&young), None);

    let slow = Claims::new(2);
    assert!(!slow.is_complete());
    tokio::time::advance(CLAIMS_WAIT + Duration::from_secs(1)).await;
    assert!(slow.is_complete());
}
