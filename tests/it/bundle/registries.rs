//! Bundles beside images in registries: with one that lists what is attached, and with one that leaves that to its clients.

use imagepush::error::{Kind, Side};
use imagepush::options::CustomResources::{Always, Auto, Never, Only};
use serde_json::json;

use super::harness::*;
use crate::support::docker_registry::{DockerRegistry, Program};
use crate::support::images::{Content, Form, layer};
use crate::support::{peers, tools};

const PROGRAMS: [Program; 2] = [Program::Debian, Program::Referrers];

#[tokio::test]
async fn a_bundle_goes_beside_its_image_and_others_read_it() {
    for program in PROGRAMS {
        let registry = DockerRegistry::of(program);
        let folder = tempfile::tempdir().unwrap();
        let from = layout(folder.path(), "a", &image_with(&thing("a")));
        let name = format!("{}/team/app:1", registry.host);
        let done = run(&from, &format!("docker://{name}"), Auto).await.unwrap();
        let report = done.beside.unwrap();
        assert_eq!((decision(&report).as_str(), report.objects), ("pushed", Some(1)));
        let artifact = report.artifact.unwrap().to_string();

        let hosts = [registry.host.as_str()];
        assert_eq!(listed(&name, &hosts), [artifact.as_str()], "{program:?}");
        assert_eq!(got(&name, &hosts), canonical("a"));
        let by_digest = format!("{}/team/app@{artifact}", registry.host);
        let crane = peers::program("crane");
        let manifest = tools::run(crane.to_str().unwrap(), &["manifest", "--insecure", &by_digest]);
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(manifest["artifactType"], TYPE);
        assert_eq!(manifest["subject"]["digest"], done.digest.to_string());
        assert_eq!(manifest["layers"][0]["mediaType"], "application/yaml");
        let raw = ["inspect", "--raw", "--tls-verify=false", &format!("docker://{by_digest}")];
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&tools::skopeo(&raw)).unwrap(),
            manifest
        );
    }
}

/// All policies, with a bundle that isn't at the destination, is the same there, and has changed beside the same image.
#[tokio::test]
async fn each_policy_does_what_it_says() {
    for program in PROGRAMS {
        let registry = DockerRegistry::of(program);
        let folder = tempfile::tempdir().unwrap();
        let from = layout(folder.path(), "a", &image_with(&thing("a")));
        let name = format!("{}/team/app:1", registry.host);
        let (to, hosts) = (format!("docker://{name}"), [registry.host.as_str()]);
        let check = async |policy, expected: (&'static str, &str)| {
            let found = decisions(&from, &to, policy).await;
            assert_eq!((found.0, found.1.as_str()), expected, "{program:?} {policy:?}");
        };

        let error = run(&from, &to, Only).await.unwrap_err();
        assert_eq!((error.kind(), error.side()), (Kind::NotFound, Some(Side::Destination)));
        assert!(
            error.to_string().ends_with("is not there, so that nothing can be put beside it"),
            "{error}"
        );
        check(Never, ("pushed", "none")).await;
        assert_eq!(listed(&name, &hosts), [""; 0]);
        // Nothing moves, and nothing says that there is one.
        check(Auto, ("unchanged", "notSearched")).await;
        check(Only, ("left", "pushed")).await;
        let first = listed(&name, &hosts);
        check(Only, ("left", "unchanged")).await;
        check(Always, ("unchanged", "unchanged")).await;
        assert_eq!(listed(&name, &hosts), first);

        // The same image with another bundle attached at its source.
        let source = DockerRegistry::of(program);
        let copy = format!("{}/team/app:1", source.host);
        let from_copy = format!("docker://{copy}");
        assert_eq!(decisions(&from, &from_copy, Never).await.0, "pushed");
        let yaml = folder.path().join("other.yaml");
        std::fs::write(&yaml, thing("other")).unwrap();
        let put = [
            "artifact",
            "put",
            "--subject",
            &copy,
            "--artifact-type",
            TYPE,
            "--file-media-type",
            "application/yaml",
            "--file",
            yaml.to_str().unwrap(),
        ];
        regctl(&put, &[&source.host]);
        // The image is in place, and its registry isn't asked only to know.
        assert_eq!(decisions(&from_copy, &to, Auto).await, ("unchanged", "notSearched".to_owned()));
        assert_eq!(decisions(&from_copy, &to, Always).await, ("unchanged", "pushed".to_owned()));
        let second = listed(&name, &hosts);
        assert_eq!(
            (second.len(), second != first),
            (1, true),
            "{program:?}: the old one is replaced"
        );
        assert_eq!(got(&name, &hosts), canonical("other"));
        assert_eq!(decisions(&from_copy, &to, Only).await, ("left", "unchanged".to_owned()));

        // It goes along where the image moves, before what is in the layers.
        let other = format!("{}/other/app:1", registry.host);
        let to_other = format!("docker://{other}");
        assert_eq!(decisions(&from_copy, &to_other, Auto).await, ("pushed", "pushed".to_owned()));
        assert_eq!(got(&other, &hosts), canonical("other"));
    }
}

/// What others have attached stays, whatever its kind.
#[tokio::test]
async fn what_others_have_attached_is_left_alone() {
    for program in PROGRAMS {
        let registry = DockerRegistry::of(program);
        let folder = tempfile::tempdir().unwrap();
        let name = format!("{}/team/app:1", registry.host);
        let (to, hosts) = (format!("docker://{name}"), [registry.host.as_str()]);
        let from = layout(folder.path(), "a", &image_with(&thing("a")));
        run(&from, &to, Never).await.unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, thing("foreign")).unwrap();
        for kind in [TYPE, "application/vnd.example.other"] {
            let put = [
                "artifact",
                "put",
                "--subject",
                &name,
                "--artifact-type",
                kind,
                "--file",
                file.to_str().unwrap(),
            ];
            regctl(&put, &hosts);
        }
        run(&from, &to, Always).await.unwrap();
        run(&from, &to, Always).await.unwrap();
        let list = regctl(&["artifact", "list", "--format", "{{json .}}", &name], &hosts);
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        assert_eq!(list["descriptors"].as_array().unwrap().len(), 3, "{program:?}: {list}");
    }
}

#[tokio::test]
async fn an_index_has_one_bundle() {
    let registry = DockerRegistry::of(Program::Referrers);
    let folder = tempfile::tempdir().unwrap();
    let bundle = |name: &str| files(&[("metadata/config.yaml", &thing(name))], Form::Gzip);
    let image = |n: u64, architecture: &str, name: &str| {
        let platform = json!({"os": "linux", "architecture": architecture});
        (
            platform,
            Content::image("linux", architecture, &[layer(n, 3000, Form::Gzip), bundle(name)]),
        )
    };
    let equal = Content::index(vec![image(1, "amd64", "a"), image(2, "arm64", "a")]);
    let from = layout(folder.path(), "equal", &equal);
    let name = format!("{}/team/app:1", registry.host);
    let done = run(&from, &format!("docker://{name}"), Always).await.unwrap();
    assert_eq!(done.digest.to_string(), equal.digest());
    assert_eq!(got(&name, &[&registry.host]), canonical("a"));

    let (one, other) = (image(1, "amd64", "a"), image(2, "arm64", "b"));
    let digests = (one.1.digest().to_owned(), other.1.digest().to_owned());
    let from = layout(folder.path(), "different", &Content::index(vec![one, other]));
    let to = format!("docker://{}/team/app:2", registry.host);
    let error = run(&from, &to, Always).await.unwrap_err();
    let message = format!("images `{}` and `{}` carry different bundles", digests.0, digests.1);
    assert!(error.to_string().ends_with(&message), "{error}");
    // Not even the image, whose bundle was wanted.
    let tags = registry
        .requests()
        .iter()
        .filter(|it| it.method == "PUT" && it.path.ends_with("/manifests/2"))
        .count();
    assert_eq!(tags, 0);
    // Its layers are there by now and wouldn't move; to another repository they do.
    let to = format!("docker://{}/other/app:2", registry.host);
    assert_eq!(decisions(&from, &to, Auto).await.1, format!("skipped: {message}"));
}

/// Which folder it is, each image says for itself; what is listed beside images says nothing.
#[tokio::test]
async fn the_images_of_an_index_name_their_own_folders() {
    let registry = DockerRegistry::of(Program::Referrers);
    let folder = tempfile::tempdir().unwrap();
    let bundle = |path: &str| files(&[(path, &thing("a"))], Form::Gzip);
    let platform = |architecture: &str| json!({"os": "linux", "architecture": architecture});
    let plain = Content::image("linux", "amd64", &[bundle("metadata/config.yaml")]);
    let elsewhere = |architecture: &str, path: &str| {
        let layers = [layer(3, 300, Form::Gzip), bundle(&format!("{path}/config.yaml"))];
        let label = [("imagepush.dev/bundle", path)];
        Content::labelled_image("linux", architecture, &layers, &label)
    };
    let (arm, s390x) = (elsewhere("arm64", "deploy"), elsewhere("s390x", "opt/bundle"));
    let (name, beside) =
        (format!("{}/team/app", registry.host), crate::support::images::artifact(5));
    for (tag, entries) in [
        vec![(platform("amd64"), plain), (platform("arm64"), arm.clone())],
        vec![(platform("arm64"), arm.clone()), (platform("s390x"), s390x)],
        vec![(platform("unknown"), beside), (platform("arm64"), arm)],
    ]
    .into_iter()
    .enumerate()
    {
        let from = layout(folder.path(), &tag.to_string(), &Content::index(entries));
        let name = format!("{name}:{tag}");
        let (image, bundle) = decisions(&from, &format!("docker://{name}"), Always).await;
        assert_eq!((image, bundle.as_str()), ("pushed", "pushed"), "{tag}");
        assert_eq!(got(&name, &[&registry.host]), canonical("a"), "{tag}");
    }
}

#[tokio::test]
async fn a_bundle_that_is_wanted_and_not_sound_keeps_the_image_back() {
    let registry = DockerRegistry::of(Program::Referrers);
    let folder = tempfile::tempdir().unwrap();
    let to = format!("docker://{}/team/app:1", registry.host);
    let broken = layout(folder.path(), "broken", &image_with("a: ["));
    let absent = layout(
        folder.path(),
        "absent",
        &Content::image("linux", "amd64", &[layer(1, 300, Form::Gzip)]),
    );
    let text = "reading `config.yaml`: line ";
    for policy in [Always, Auto] {
        let found = run(&broken, &to, policy).await;
        match (policy, found) {
            (Always, Err(error)) => {
                assert_eq!(
                    (error.kind(), error.side()),
                    (Kind::CustomResourcesInvalid, Some(Side::Source))
                );
                assert!(error.to_string().contains(text), "{error}");
                assert!(
                    !registry
                        .requests()
                        .iter()
                        .any(|it| it.path.ends_with("/manifests/1") && it.method == "PUT")
                );
            }
            (Auto, Ok(done)) => {
                let decision = decision(&done.beside.unwrap());
                assert!(decision.starts_with("skipped: ") && decision.contains(text), "{decision}");
            }
            (_, found) => panic!("{policy:?}: {found:?}"),
        }
    }
    let error = run(&absent, &to, Always).await.unwrap_err();
    assert!(error.to_string().ends_with(
        "the image carries no custom resources: nothing is attached to it, and its folder `metadata` has none"
    ), "{error}");
    // Elsewhere, where all of it moves.
    let to = format!("docker://{}/team/other:1", registry.host);
    assert_eq!(decisions(&absent, &to, Auto).await, ("pushed", "absent".to_owned()));
}

#[tokio::test]
async fn a_label_leads_to_the_bundle() {
    let registry = DockerRegistry::of(Program::Debian);
    let folder = tempfile::tempdir().unwrap();
    let from = layout(folder.path(), "a", &labelled(&thing("a")));
    let name = format!("{}/team/app:1", registry.host);
    let to = format!("docker://{name}");
    assert_eq!(decisions(&from, &to, Never).await.0, "pushed");
    // Though nothing moves: the label says where to look.
    assert_eq!(decisions(&from, &to, Auto).await, ("unchanged", "pushed".to_owned()));
    assert_eq!(got(&name, &[&registry.host]), canonical("a"));
    assert_eq!(decisions(&from, &to, Auto).await, ("unchanged", "unchanged".to_owned()));
}
