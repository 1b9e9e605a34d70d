//! What goes wrong beside an image: under `auto` it is delivered all the same, and the reason is told.

use axum::http::header::CONTENT_TYPE;
use imagepush::error::{Class, Kind};
use imagepush::image::Digest;
use imagepush::options::CustomResources::{Always, Auto, Never, Only};
use imagepush::options::{BundleClues, PushOptions};
use serde_json::json;

use super::harness::*;
use crate::support::images::{Content, Form, Layer, digest, layer};
use crate::support::registry::{Act, Referrers, Registry, Rule};
use crate::support::tools;

/// A registry that keeps lists, with an image and its bundle; and the image's name in it.
async fn registry() -> (Registry, String) {
    let registry = Registry::start().await;
    registry.keep_referrers(Referrers { page: 100, filters: true });
    let name = format!("docker://{}/app:1", registry.host);
    (registry, name)
}

/// The path of the blob that a bundle is in.
fn blob_of(bundle: &str) -> String {
    format!("/v2/app/blobs/{}", digest(bundle.as_bytes()))
}

/// Whoever may attach something to the source could stop its delivery.
#[tokio::test]
async fn an_attachment_that_is_not_what_it_should_be_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let (source, name) = registry().await;
    let from = layout(folder.path(), "a", &image_with(&thing("a")));
    run(&from, &name, Always).await.unwrap();
    let other = canonical("b").into_bytes();
    assert_eq!(other.len(), canonical("a").len());
    source.add_rule(Rule::each("GET", blob_of(&canonical("a")), Act::Respond(200, vec![], other)));
    let to = |to: &str| format!("oci:{}:1", folder.path().join(to).display());
    let (image, bundle) = decisions(&name, &to("auto"), Auto).await;
    assert_eq!(image, "pushed");
    assert!(bundle.starts_with("skipped: reading the bundle `sha256:"), "{bundle}");
    assert!(folder.path().join("auto/index.json").exists());
    let error = run(&name, &to("always"), Always).await.unwrap_err();
    assert_eq!(error.kind(), Kind::ContentMismatch);
    assert!(!folder.path().join("always").exists());
}

#[tokio::test]
async fn a_registry_that_takes_no_artifacts_gets_the_image() {
    let folder = tempfile::tempdir().unwrap();
    let from = layout(folder.path(), "a", &image_with(&thing("a")));
    for status in [403, 404, 405, 415] {
        let (registry, name) = registry().await;
        registry.add_rule(Rule::each(
            "PUT",
            "/manifests/sha256:",
            Act::Respond(status, vec![], vec![]),
        ));
        let (image, bundle) = decisions(&from, &name, Auto).await;
        assert_eq!(image, "pushed", "{status}");
        assert!(bundle.starts_with("skipped: "), "{status}: {bundle}");
        assert!(registry.tags().contains_key("app:1"), "{status}");
        assert!(run(&from, &name, Always).await.is_err(), "{status}");
    }
}

/// The image comes first; a push that ends before its bundle goes on there.
#[tokio::test]
async fn a_push_that_ends_between_image_and_bundle_is_completed_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let from = layout(folder.path(), "a", &image_with(&thing("a")));
    for (policy, next) in [(Always, Always), (Auto, Only)] {
        let (registry, name) = registry().await;
        registry.add_rule(Rule::each("PUT", "/manifests/sha256:", Act::Drop));
        let error = run(&from, &name, policy).await.unwrap_err();
        assert_eq!(error.class(), Class::Transient, "{error}");
        let told = "putting beside the image, which is at the destination, what belongs to it";
        assert!(error.to_string().contains(told), "{error}");
        assert!(registry.tags().contains_key("app:1"));
        assert!(error.is_beside(), "{error}");
        registry.clear_rules();
        assert_eq!(decisions(&from, &name, next).await.1, "pushed");
        assert_eq!(decisions(&from, &name, Always).await, ("unchanged", "unchanged".to_owned()));
    }
}

/// Who knows that a bundle was left over has it looked for, though nothing says that there is one and no layer moves.
#[tokio::test]
async fn a_bundle_that_was_left_over_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let from = layout(folder.path(), "a", &image_with(&thing("a")));
    let (source, name) = registry().await;
    let (_destination, to) = registry().await;
    run(&from, &name, Never).await.unwrap();
    run(&from, &to, Never).await.unwrap();
    let decided = async |from: &str, clues: BundleClues| {
        let done = run_with(&PushOptions { clues, ..options(from, &to, Auto) }).await.unwrap();
        decision(&done.beside.unwrap())
    };
    source.take_log();
    assert_eq!(decided(&name, BundleClues::default()).await, "notSearched");
    assert!(!source.take_log().iter().any(|line| line.contains("/blobs/")));
    // The last push that came to its end was of this image; or of another one, and who has pushed this may have been cut off.
    let finished = |digest: &str| BundleClues {
        finished: Some(digest.parse().unwrap()),
        ..BundleClues::default()
    };
    let own = image_with(&thing("a"));
    assert_eq!(decided(&name, finished(own.digest())).await, "notSearched");
    assert_eq!(decided(&name, finished(&digest(b"another"))).await, "pushed");
    // It is there now, and says of what it was made: no layer is read to find that out.
    source.take_log();
    assert_eq!(decided(&name, finished(&digest(b"another"))).await, "unchanged");
    let log = source.take_log();
    assert_eq!(
        log.iter().filter(|line| line.contains("/blobs/")).count(),
        1,
        "the config: {log:#?}"
    );
    let left_over = BundleClues { left_over: true, ..BundleClues::default() };
    assert_eq!(decided(&name, left_over.clone()).await, "unchanged");
    assert_eq!(decided(&from, left_over).await, "unchanged");
}

/// What is to be applied in a cluster is looked for once in each image, and the destination isn't believed.
#[tokio::test]
async fn a_bundle_for_a_cluster_is_looked_for_once() {
    let folder = tempfile::tempdir().unwrap();
    let image = image_with(&thing("a")).annotated("imagepush.dev/bundle", "metadata");
    let from = layout(folder.path(), "a", &image);
    let (source, name) = registry().await;
    let (_destination, to) = registry().await;
    run(&from, &name, Never).await.unwrap();
    let digest = run(&name, &to, Always).await.unwrap().beside.unwrap().digest.unwrap();
    let read = async |clues: BundleClues| {
        source.take_log();
        let done = run_with(&PushOptions { clues, ..options(&name, &to, Auto) }).await.unwrap();
        let beside = done.beside.unwrap();
        assert_eq!(
            (decision(&beside).as_str(), beside.digest.as_ref()),
            ("unchanged", Some(&digest))
        );
        source.take_log().iter().filter(|line| line.contains("/blobs/")).count()
    };
    // By its own word the artifact there was made of this image.
    assert_eq!(read(BundleClues::default()).await, 0);
    let seen: Digest = image.digest().parse().unwrap();
    let new = BundleClues { for_cluster: true, ..BundleClues::default() };
    assert!(read(new.clone()).await > 0);
    let other = BundleClues { seen: Some(seen.clone()), bundle: Some(seen.clone()), ..new.clone() };
    assert!(read(other).await > 0);
    assert_eq!(
        read(BundleClues { seen: Some(seen), bundle: Some(digest.clone()), ..new }).await,
        0
    );
}

/// What a bundle is equal to can't be seen in such a list; its manifest says it.
#[tokio::test]
async fn a_list_without_annotations_is_completed() {
    let folder = tempfile::tempdir().unwrap();
    let from = layout(folder.path(), "a", &image_with(&thing("a")));
    let (registry, name) = registry().await;
    let artifact = run(&from, &name, Always).await.unwrap().beside.unwrap().artifact.unwrap();
    let size = registry.bytes_taken("PUT", &artifact.to_string());
    let list = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": TYPE,
            "digest": artifact.to_string(), "size": size,
        }],
    });
    let kind = (CONTENT_TYPE.as_str(), "application/vnd.oci.image.index.v1+json".to_owned());
    let act = Act::Respond(200, vec![kind], list.to_string().into_bytes());
    registry.add_rule(Rule::each("GET", "/referrers/", act));
    assert_eq!(decisions(&from, &name, Always).await, ("unchanged", "unchanged".to_owned()));
}

/// One layer that can't be looked into is no reason to read all the others.
#[tokio::test]
async fn a_layer_that_is_no_archive_has_no_other_read() {
    let folder = tempfile::tempdir().unwrap();
    let (source, name) = registry().await;
    let (_destination, to) = registry_with_base(folder.path()).await;
    let mut odd = layer(9, 300, Form::Plain);
    odd.bytes.fill(7);
    odd.diff_id = digest(&odd.bytes);
    let image = Content::image("linux", "amd64", &[odd, base(1), base(2)]);
    run(&layout(folder.path(), "odd", &image), &name, Never).await.unwrap();
    source.take_log();
    let (image, bundle) = decisions(&name, &to, Auto).await;
    assert_eq!(image, "pushed");
    assert!(bundle.contains("its tar archive is damaged"), "{bundle}");
    // The config, and the layer that moves.
    let read = source.take_log();
    let blobs = read.iter().filter(|line| line.starts_with("GET") && line.contains("/blobs/"));
    assert_eq!(blobs.count(), 2, "{read:#?}");
}

fn base(seed: u64) -> Layer {
    layer(seed, 3000, Form::Gzip)
}

/// A registry that has the base already.
async fn registry_with_base(folder: &std::path::Path) -> (Registry, String) {
    let (registry, name) = registry().await;
    let image = Content::image("linux", "amd64", &[base(1), base(2)]);
    run(&layout(folder, "base", &image), &name, Auto).await.unwrap();
    (registry, name)
}

/// Readers take the newest: where nothing can be deleted, an older bundle stays and is read by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_deleted_the_newest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, name) = registry().await;
    registry.add_rule(Rule::each("DELETE", "", Act::Respond(405, vec![], vec![])));
    let [a, b] = ["a", "b"].map(|it| layout(folder.path(), it, &image_with(&thing(it))));
    let shown = || {
        let program = env!("CARGO_BIN_EXE_imagepush");
        tools::run(program, &["bundle", "show", "--tls-verify=false", &name])
    };
    run(&a, &name, Always).await.unwrap();
    // The same second, another bundle; and then the first one again.
    for (from, bundle) in [(&b, "b"), (&a, "a")] {
        registry.take_log();
        assert_eq!(decisions(from, &name, Only).await, ("left", "pushed".to_owned()));
        assert!(registry.take_log().iter().any(|line| line.starts_with("DELETE ")), "{bundle}");
        assert_eq!(shown(), canonical(bundle));
        assert_eq!(decisions(from, &name, Only).await, ("left", "unchanged".to_owned()));
    }
}
