//! What looking for a bundle costs: requests and reads.

use imagepush::engine::Decision;
use imagepush::error::{Kind, Result};
use imagepush::options::CustomResources::{self, Always, Auto, Never, Only};

use serde_json::Value;

use super::harness::*;
use crate::support::docker_registry::{DockerRegistry, Request};
use crate::support::images::{Content, Form, layer};
use crate::support::registry::{Act, Referrers, Registry, Rule};

/// The requests that something sends to a registry, as `METHOD path` below the repository.
async fn requests(registry: &DockerRegistry, work: impl Future<Output = ()>) -> Vec<String> {
    let before = registry.requests().len();
    work.await;
    let shown =
        |it: &Request| format!("{} {}", it.method, it.path.trim_start_matches("/v2/team/app/"));
    registry.requests()[before..].iter().map(shown).collect()
}

fn to(registry: &DockerRegistry) -> String {
    format!("docker://{}/team/app:1", registry.host)
}

#[tokio::test]
async fn a_push_with_nothing_to_do_stays_one_request() {
    let registry = DockerRegistry::plain();
    let folder = tempfile::tempdir().unwrap();
    let from = layout(
        folder.path(),
        "a",
        &Content::image("linux", "amd64", &[layer(1, 3000, Form::Gzip)]),
    );
    let push = async || assert_eq!(decisions(&from, &to(&registry), Auto).await.0, "pushed");
    let first = requests(&registry, push()).await;
    assert!(
        !first.iter().any(|it| it.contains("sha256-") || it.contains("referrers")),
        "{first:?}"
    );
    let again = async {
        let expected = ("unchanged", "notSearched".to_owned());
        assert_eq!(decisions(&from, &to(&registry), Auto).await, expected);
    };
    assert_eq!(requests(&registry, again).await, ["HEAD manifests/1"]);
}

#[tokio::test]
async fn layers_are_read_once_for_both() {
    let (source, destination) = (DockerRegistry::plain(), DockerRegistry::plain());
    let folder = tempfile::tempdir().unwrap();
    let image = image_with(&thing("a"));
    run(&layout(folder.path(), "a", &image), &to(&source), Never).await.unwrap();
    let layers = image.manifest()["layers"].as_array().unwrap().len();
    for (policy, expected) in [
        // Everything moves and is seen on its way.
        (Auto, ("pushed", "pushed")),
        // Nothing moves: what is attached at the destination isn't at the source.
        (Auto, ("unchanged", "notSearched")),
        // Read because that was asked for.
        (Always, ("unchanged", "unchanged")),
        (Only, ("left", "unchanged")),
    ] {
        let work = async {
            let found = decisions(&to(&source), &to(&destination), policy).await;
            assert_eq!((found.0, found.1.as_str()), expected, "{policy:?}");
        };
        let requests = requests(&source, work).await;
        let blobs: std::collections::BTreeSet<&String> =
            requests.iter().filter(|it| it.starts_with("GET blobs/")).collect();
        let read = requests.iter().filter(|it| it.starts_with("GET blobs/")).count();
        assert_eq!(blobs.len(), read, "{policy:?} reads something twice: {requests:#?}");
        if expected.1 == "notSearched" {
            assert_eq!(requests, ["GET manifests/1"]);
        } else {
            // The config, and the layers.
            assert_eq!(read, layers + 1, "{policy:?}: {requests:#?}");
        }
    }
}

/// Between repositories of one registry nothing has to move, so nothing but the registry's own list is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn what_stays_in_its_registry_is_asked_for_its_list_alone() {
    for (keeps_list, expected) in [(false, "notSearched"), (true, "pushed")] {
        let registry = Registry::start().await;
        if keeps_list {
            registry.keep_referrers(Referrers { page: 10, filters: false });
        }
        let folder = tempfile::tempdir().unwrap();
        let name = |name: &str| format!("docker://{}/{name}:1", registry.host);
        // With a label in its config, which nobody reads for that.
        let image = labelled(&thing("a"));
        let from = layout(folder.path(), "a", &image);
        assert_eq!(decisions(&from, &name("bare"), Never).await.0, "pushed");
        let blobs = image.blobs.len() - 1;
        registry.take_log();
        let found = decisions(&name("bare"), &name("other"), Auto).await;
        assert_eq!(found, ("pushed", "notSearched".to_owned()), "{keeps_list}");
        let log = registry.take_log();
        assert!(log.len() <= blobs + 4, "{keeps_list}: {log:#?}");
        assert!(!log.iter().any(|it| it.starts_with("GET") && it.contains("/blobs/")), "{log:#?}");

        assert_eq!(decisions(&from, &name("from"), Always).await.1, "pushed");
        let found = decisions(&name("from"), &name("to"), Auto).await;
        assert_eq!((found.0, found.1.as_str()), ("pushed", expected), "{keeps_list}");
        // Who asks for it gets it.
        assert_eq!(decisions(&name("from"), &name("asked"), Always).await.1, "pushed");
        for to in if keeps_list { &["asked", "to"][..] } else { &["asked"] } {
            let name = format!("{}/{to}:1", registry.host);
            assert_eq!(got(&name, &[&registry.host]), canonical("a"), "{keeps_list} {to}");
        }
    }
}

/// A registry that doesn't link is sent the layers, and then they are looked into like any others.
#[tokio::test(flavor = "multi_thread")]
async fn what_moves_within_its_registry_is_looked_into() {
    for image in [image_with(&thing("a")), labelled(&thing("a"))] {
        let registry = Registry::start().await;
        let folder = tempfile::tempdir().unwrap();
        let name = |name: &str| format!("docker://{}/{name}:1", registry.host);
        run(&layout(folder.path(), "a", &image), &name("from"), Never).await.unwrap();
        let refuses = Act::Respond(405, vec![], vec![]);
        registry.add_rule(Rule::each("POST", "/v2/to/", refuses).with_query("mount="));
        let found = decisions(&name("from"), &name("to"), Auto).await;
        assert_eq!(found, ("pushed", "pushed".to_owned()));
        assert_eq!(got(&format!("{}/to:1", registry.host), &[&registry.host]), canonical("a"));
    }
}

/// Where everything moves, each blob is fetched once, whole, and sent once: whatever is asked for, and with nothing to be found.
#[tokio::test(flavor = "multi_thread")]
async fn what_moves_is_fetched_once_whatever_is_asked_for() {
    let none =
        Content::image("linux", "amd64", &[layer(1, 3000, Form::Gzip), layer(2, 900, Form::Plain)]);
    for (name, image, policy, expected) in [
        ("always", image_with(&thing("a")), Always, Some("pushed")),
        ("auto", image_with(&thing("a")), Auto, Some("pushed")),
        ("none", none.clone(), Auto, Some("absent")),
        // Nothing may be published then, but that takes no second look, either.
        ("refused", none, Always, None),
    ] {
        let (found, _) = fetched_once(&image, policy).await;
        assert_eq!(found.ok().as_deref(), expected, "{name}");
    }
}

/// However a layer is compressed it is looked into on its way or not at all, also where all of them have to be read: what takes
/// a larger window than there is memory for is refused or left out.
#[tokio::test(flavor = "multi_thread")]
async fn what_moves_is_fetched_once_however_it_is_compressed() {
    let too_far =
        "decompressing it takes a window of 134217728 bytes, which is beyond the limit of 33554432";
    for (form, fault) in [
        (Form::Plain, None),
        (Form::Gzip, None),
        (Form::Zstd, None),
        (Form::ZstdWindow(23), None),
        (Form::ZstdWindow(24), None),
        (Form::ZstdWindow(25), None),
        (Form::ZstdWindow(27), Some(too_far)),
    ] {
        let layers = [
            files(&[("metadata/base.yaml", &thing("base"))], form),
            // It is this one that has all others read under `auto`.
            files(&[("metadata/top.yaml", &thing("top"))], Form::Gzip),
        ];
        for policy in [Always, Auto] {
            let image = Content::image("linux", "amd64", &layers);
            let (found, to) = fetched_once(&image, policy).await;
            match (fault, found) {
                (None, found) => {
                    assert_eq!(found.unwrap(), "pushed", "{form:?} {policy:?}");
                    let name = format!("{}/team/app:1", to.host);
                    assert_eq!(got(&name, &[&to.host]), canonical("base") + &canonical("top"));
                }
                (Some(fault), Ok(skipped)) => {
                    assert_eq!(policy, Auto);
                    assert!(
                        skipped.starts_with("skipped: ") && skipped.contains(fault),
                        "{skipped}"
                    );
                }
                (Some(fault), Err(error)) => {
                    assert_eq!((policy, error.kind()), (Always, Kind::CustomResourcesInvalid));
                    assert!(error.to_string().contains(fault), "{error}");
                }
            }
        }
    }
}

/// Pushes an image between two registries, which fetches each blob once, and sends each once unless it fails. Returns what
/// was done about its bundle.
async fn fetched_once(image: &Content, policy: CustomResources) -> (Result<String>, Registry) {
    let folder = tempfile::tempdir().unwrap();
    let (source, destination) = (DockerRegistry::plain(), Registry::start().await);
    run(&layout(folder.path(), "a", image), &to(&source), Never).await.unwrap();
    let copy = format!("docker://{}/team/app:1", destination.host);
    let mut pushed = None;
    let work = async { pushed = Some(run(&to(&source), &copy, policy).await) };
    let mut fetched = requests(&source, work).await;
    fetched.retain(|it| it.starts_with("GET blobs/"));
    fetched.sort();
    let manifest = image.manifest();
    let config = std::slice::from_ref(&manifest["config"]);
    let blobs: Vec<&Value> = config.iter().chain(manifest["layers"].as_array().unwrap()).collect();
    let digest = |blob: &&Value| format!("GET blobs/{}", blob["digest"].as_str().unwrap());
    let mut all: Vec<String> = blobs.iter().map(digest).collect();
    all.sort();
    assert_eq!(fetched, all, "{policy:?}");

    let pushed = pushed.unwrap().map(|pushed| pushed.beside.unwrap());
    let size = |blob: &Value| usize::try_from(blob["size"].as_u64().unwrap()).unwrap();
    let sent: usize = ["POST", "PATCH", "PUT"]
        .map(|method| destination.bytes_taken(method, "/blobs/uploads/"))
        .iter()
        .sum();
    match &pushed {
        Ok(beside) => {
            let name = format!("{}/team/app:1", destination.host);
            let bundle = if beside.decision == Decision::Pushed {
                got(&name, &[&destination.host]).len() + "{}".len()
            } else {
                0
            };
            assert_eq!(sent, blobs.into_iter().map(size).sum::<usize>() + bundle);
        }
        Err(_) => assert!(destination.tags().is_empty()),
    }
    (pushed.map(|beside| decision(&beside)), destination)
}

/// What an annotation says is known with the manifest: an image that stays is asked for more only then.
#[tokio::test]
async fn an_annotation_has_a_registry_asked_for_more() {
    let (source, destination) = (DockerRegistry::plain(), DockerRegistry::plain());
    let folder = tempfile::tempdir().unwrap();
    let layers = [files(&[("deploy/config.yaml", &thing("a"))], Form::Gzip)];
    let image =
        Content::image("linux", "amd64", &layers).annotated("imagepush.dev/bundle", "deploy");
    run(&layout(folder.path(), "a", &image), &to(&source), Never).await.unwrap();
    run(&to(&source), &to(&destination), Never).await.unwrap();
    for expected in ["pushed", "unchanged"] {
        let found = decisions(&to(&source), &to(&destination), Auto).await;
        assert_eq!((found.0, found.1.as_str()), ("unchanged", expected));
    }
    let name = format!("{}/team/app:1", destination.host);
    assert_eq!(got(&name, &[&destination.host]), canonical("a"));
}

/// Of an image that has changed in the folder, layers that the destination has already are read from the source only.
#[tokio::test]
async fn layers_that_do_not_move_are_read_if_one_that_does_touches_the_folder() {
    let registry = DockerRegistry::plain();
    let folder = tempfile::tempdir().unwrap();
    let base = files(&[("metadata/base.yaml", &thing("base"))], Form::Gzip);
    let image = |top: &[(&str, &str)]| {
        Content::image("linux", "amd64", &[base.clone(), files(top, Form::Gzip)])
    };
    let one = layout(folder.path(), "1", &image(&[("bin/app", "1")]));
    let two = layout(folder.path(), "2", &image(&[("bin/app", "2")]));
    let three = layout(folder.path(), "3", &image(&[("metadata/top.yaml", &thing("top"))]));
    let push = async |from: &str| decisions(from, &to(&registry), Auto).await.1;
    assert_eq!(push(&one).await, "pushed");
    // The layer that moves has nothing of it, and the others aren't read only to look.
    assert_eq!(push(&two).await, "notSearched");
    assert_eq!(push(&three).await, "pushed");
    let name = format!("{}/team/app:1", registry.host);
    assert_eq!(got(&name, &[&registry.host]), canonical("base") + &canonical("top"));
}
