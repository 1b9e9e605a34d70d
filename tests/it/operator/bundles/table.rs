//! Every policy, whatever the image carries and the destination has, applied or only pushed.

use futures::{StreamExt as _, stream};
use imagepush::access::Access;
use imagepush::bundle::{ARTIFACT_TYPE, Bundle};
use imagepush::transport;

use super::cluster::{Cluster, is_settled};
use super::*;

/// What is there when the push begins that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// Nothing.
    Nothing,
    /// The destination has the image, and nothing beside it.
    Image,
    /// The object has pushed, and applied, image 1 with bundle 1. With `Only`, the image was there.
    All,
}

/// A case: the policy, what is there, the image at the source by what it carries; and what follows: the reason of `Ready`
/// and that of `CustomResourcesApplied` if the bundle is to be applied, the decision about the bundle, the image and the
/// bundle at the destination, and the thing in the cluster.
type Case = (&'static str, Before, &'static str, [&'static str; 3], [&'static str; 3]);

const ABSENT: &str = "-";

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    use Before::{All, Image, Nothing};
    vec![
        // Always: the image has to carry a bundle; else nothing is pushed, and what is there stays.
        ("Always", Nothing, "none",   ["CustomResourcesNotFound", "NoBundle", ""],     ["-", "-", "-"]),
        ("Always", Nothing, "1",      ["PushSucceeded", "Applied", "pushed"],          ["1", "1", "1"]),
        ("Always", Nothing, "broken", ["CustomResourcesInvalid", "Invalid", ""],             ["-", "-", "-"]),
        ("Always", Image,   "none",   ["CustomResourcesNotFound", "NoBundle", ""],     ["none", "-", "-"]),
        ("Always", Image,   "1",      ["AlreadyPresent", "Applied", "pushed"],         ["1", "1", "1"]),
        ("Always", Image,   "broken", ["CustomResourcesInvalid", "Invalid", ""],             ["broken", "-", "-"]),
        ("Always", All,     "none",   ["CustomResourcesNotFound", "NoBundle", "pushed"],["1", "1", "1"]),
        ("Always", All,     "1",      ["PushSucceeded", "Applied", "unchanged"],       ["1", "1", "1"]),
        ("Always", All,     "2",      ["PushSucceeded", "Applied", "pushed"],          ["2", "2", "2"]),
        ("Always", All,     "broken", ["CustomResourcesInvalid", "Invalid", "pushed"],           ["1", "1", "1"]),
        // Never: nobody looks.
        ("Never",  Nothing, "none",   ["PushSucceeded", "", ""],                       ["none", "-", "-"]),
        ("Never",  Nothing, "1",      ["PushSucceeded", "", ""],                       ["1", "-", "-"]),
        ("Never",  Nothing, "broken", ["PushSucceeded", "", ""],                       ["broken", "-", "-"]),
        ("Never",  Image,   "none",   ["AlreadyPresent", "", ""],                      ["none", "-", "-"]),
        ("Never",  Image,   "1",      ["AlreadyPresent", "", ""],                      ["1", "-", "-"]),
        ("Never",  Image,   "broken", ["AlreadyPresent", "", ""],                      ["broken", "-", "-"]),
        ("Never",  All,     "none",   ["PushSucceeded", "", ""],                       ["none", "-", "-"]),
        ("Never",  All,     "1",      ["PushSucceeded", "", ""],                       ["1", "-", "-"]),
        ("Never",  All,     "2",      ["PushSucceeded", "", ""],                       ["2", "-", "-"]),
        ("Never",  All,     "broken", ["PushSucceeded", "", ""],                       ["broken", "-", "-"]),
        // Only: the image has to be there, and stays as it is.
        ("Only",   Nothing, "none",   ["NotFound", "", ""],                            ["-", "-", "-"]),
        ("Only",   Nothing, "1",      ["NotFound", "", ""],                            ["-", "-", "-"]),
        ("Only",   Nothing, "broken", ["NotFound", "", ""],                            ["-", "-", "-"]),
        ("Only",   Image,   "none",   ["CustomResourcesNotFound", "NoBundle", ""],     ["none", "-", "-"]),
        ("Only",   Image,   "1",      ["AlreadyPresent", "Applied", "pushed"],         ["1", "1", "1"]),
        ("Only",   Image,   "broken", ["CustomResourcesInvalid", "Invalid", ""],             ["broken", "-", "-"]),
        ("Only",   All,     "none",   ["CustomResourcesNotFound", "NoBundle", "pushed"],["1", "1", "1"]),
        ("Only",   All,     "1",      ["AlreadyPresent", "Applied", "unchanged"],      ["1", "1", "1"]),
        ("Only",   All,     "2",      ["AlreadyPresent", "Applied", "pushed"],         ["1", "2", "2"]),
        ("Only",   All,     "broken", ["CustomResourcesInvalid", "Invalid", "pushed"],           ["1", "1", "1"]),
        // Auto: what differs, as far as it is seen; what can't be used is left out.
        ("Auto",   Nothing, "none",   ["PushSucceeded", "Unchanged", "absent"],        ["none", "-", "-"]),
        ("Auto",   Nothing, "1",      ["PushSucceeded", "Applied", "pushed"],          ["1", "1", "1"]),
        ("Auto",   Nothing, "broken", ["PushSucceeded", "Skipped", "skipped"],        ["broken", "-", "-"]),
        ("Auto",   Image,   "none",   ["AlreadyPresent", "Unchanged", "absent"],       ["none", "-", "-"]),
        ("Auto",   Image,   "1",      ["AlreadyPresent", "Applied", "pushed"],         ["1", "1", "1"]),
        ("Auto",   Image,   "broken", ["AlreadyPresent", "Skipped", "skipped"],       ["broken", "-", "-"]),
        ("Auto",   All,     "none",   ["PushSucceeded", "Applied", "absent"],          ["none", "-", "-"]),
        ("Auto",   All,     "1",      ["PushSucceeded", "Applied", "notSearched"],     ["1", "1", "1"]),
        ("Auto",   All,     "2",      ["PushSucceeded", "Applied", "pushed"],          ["2", "2", "2"]),
        ("Auto",   All,     "broken", ["PushSucceeded", "Skipped", "skipped"],        ["broken", "-", "1"]),
    ]
}

/// What follows where the bundle is only pushed.
fn only_pushed(
    (policy, before, image, [ready, applied, decision], [there, bundle, _]): Case,
) -> Case {
    // Of a push that failed, and has never been done, nothing is said but by `Ready`.
    let failed = ready.starts_with("CustomResources") && before != Before::All;
    // What doesn't move is looked into for a cluster only; here, the bundle's layer moves.
    let unseen =
        policy == "Auto" && (before == Before::Image || (before == Before::All && image == "none"));
    let (decision, bundle) = if unseen { ("notSearched", ABSENT) } else { (decision, bundle) };
    let applied = match applied {
        applied if applied.is_empty() || failed => "",
        "Skipped" if !unseen => "Skipped",
        _ => "NotConfigured",
    };
    (policy, before, image, [ready, applied, decision], [there, bundle, ABSENT])
}

/// The images of one case.
struct Images {
    /// What they carry, and their digest.
    all: Vec<(&'static str, Content, String)>,
    thing: String,
}

impl Images {
    fn new(number: u64) -> Self {
        let thing = format!("thing-{number}");
        // A layer of its own for each case: what another has pushed does not move.
        let base = layer(1000 + number, 300, Form::Gzip);
        let content = |name: &str, text: &str| {
            let file = [(name, text.as_bytes())];
            Content::image("linux", "amd64", &[base.clone(), Layer::of(&tar(&file), Form::Gzip)])
        };
        let bundle = |size| things_of(&[(&thing, size)]);
        let all = [
            ("none", content("etc/motd", &thing)),
            ("1", content("metadata/config.yaml", &bundle(1))),
            ("2", content("metadata/config.yaml", &bundle(2))),
            // No case's layer is another's, which the operator would mount.
            ("broken", content("metadata/config.yaml", &format!("kind: Thing # {thing}"))),
        ];
        let all = all.map(|(carries, image)| {
            let digest = image.digest().to_owned();
            (carries, image, digest)
        });
        Self { all: all.into(), thing }
    }

    async fn put(&self, carries: &str, name: &str) {
        let (_, image, _) = self.all.iter().find(|(it, ..)| *it == carries).unwrap();
        let folder = tempfile::tempdir().unwrap();
        image.write_layout(folder.path(), Some("1"));
        let from = format!("oci:{}:1", folder.path().display());
        let mut options = push::options(&from, name);
        options.destination.access.tls = TlsPolicy::PlainHttp;
        push::run(&options).await.unwrap();
    }

    /// Which of the images, and which of the bundles, a destination has.
    async fn at(&self, name: &str) -> [&'static str; 2] {
        let access = Access { tls: TlsPolicy::PlainHttp, ..Access::default() };
        let destination = transport::parse(name).unwrap().destination(&access).await.unwrap();
        let Some(current) = destination.current().await.unwrap() else { return [ABSENT; 2] };
        let digest = current.digest.to_string();
        let image = self.all.iter().find(|(.., it)| *it == digest).map_or("?", |(it, ..)| *it);
        let attached =
            destination.attachments(&current.digest, Some(&ARTIFACT_TYPE)).await.unwrap();
        let bundle = match &attached[..] {
            [] => ABSENT,
            [one] => self.bundle(&one.annotations["imagepush.dev/bundle.digest"]),
            _ => "several",
        };
        [image, bundle]
    }

    fn bundle(&self, digest: &str) -> &'static str {
        let is = |size| {
            let bundle = Bundle::parse(things_of(&[(&self.thing, size)]).as_bytes()).unwrap();
            bundle.digest().to_string() == digest
        };
        ["1", "2"][[1, 2].into_iter().position(is).expect("a bundle of the case")]
    }
}

/// Runs a case; what follows, as the table has it.
async fn follows(
    place: &Place,
    to: &DockerRegistry,
    cluster: &Cluster,
    number: u64,
    (case, apply): (Case, bool),
) -> Case {
    let (policy, before, image, ..) = case;
    let (name, images) = (format!("case-{number}"), Images::new(number));
    let [source, destination] =
        [&place.registry, to].map(|registry| format!("docker://{}/{name}:1", registry.host));
    let first = if before == Before::All { "1" } else { image };
    images.put(first, &source).await;
    if before == Before::Image || (before == Before::All && policy == "Only") {
        images.put(first, &destination).await;
    }
    let wish =
        if apply { applying(policy, &json!({"prune": true})) } else { json!({"policy": policy}) };
    let mut spec = place.spec("", "", &wish);
    spec["source"]["reference"] = json!(source);
    spec["destination"]["reference"] = json!(destination);
    cluster.make(&name, &spec).await;
    let mut object = cluster.until(&name, is_settled).await;
    if before == Before::All {
        assert_eq!(condition(&object, "Ready")["status"], "True", "{object:#}");
        images.put(image, &source).await;
        object = cluster.look(&name, "now").await;
    }
    let text = |value: &Value| -> &'static str {
        String::leak(value.as_str().unwrap_or_default().to_owned())
    };
    let [ready, applied] = ["Ready", APPLIED].map(|kind| text(&condition(&object, kind)["reason"]));
    let decision = match text(&object["status"]["customResources"]["decision"]) {
        // The second request of a look may come after the push: the image is in place, and its layers are not read again.
        "notSearched" if before == Before::All && image == "none" && apply => "absent",
        decision => decision,
    };
    let [there, bundle] = images.at(&destination).await;
    let thing = cluster.things().await.get(&images.thing).map(|live| live.size);
    let thing = thing.map_or(ABSENT, |size| ["1", "2"][usize::try_from(size).unwrap() - 1]);
    (policy, before, image, [ready, applied, decision], [there, bundle, thing])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_policy_does_what_it_says_whatever_is_there() {
    let place = Place::new().await;
    // Nothing is mounted from a registry into another: what isn't there moves.
    let to = DockerRegistry::plain();
    let operator = &place.operator;
    let cluster = Cluster::of(operator.plane, &operator.namespace).await;
    let applied = cases().into_iter().filter(|case| case.0 != "Never").map(|case| (case, true));
    let pushed = cases().into_iter().map(|case| (only_pushed(case), false));
    let runs = applied.chain(pushed).zip(0..).map(|((case, apply), number)| {
        let (place, to, cluster) = (&place, &to, &cluster);
        async move { (case, apply, follows(place, to, cluster, number, (case, apply)).await) }
    });
    let runs: Vec<_> = stream::iter(runs).buffer_unordered(6).collect().await;
    let wrong: Vec<_> = runs.into_iter().filter(|(case, _, found)| case != found).collect();
    assert!(wrong.is_empty(), "expected, whether it is to be applied, and found: {wrong:#?}");
    place.operator.stop().await;
}
