//! Registries with habits: whatever they are, the right image ends up in them, and no session stays open.

use std::time::Duration;

use imagepush::blob::Codec;
use imagepush::error::{Class, Error, Kind};
use imagepush::image::{Compression, ManifestFormat, MediaType};
use imagepush::options::{Layers, PushOptions, Retry};
use imagepush::transport::{BlobKind, Role};

use super::harness::*;
use crate::support::images::{self, Content, Form};
use crate::support::push;
use crate::support::registry::{Act, Quirk, Registry, Rule};

/// An image with a layer that is longer than two of the longest pieces that any of them takes, and one that isn't.
fn image(seed: u64) -> Content {
    let large = images::layer(seed, 11 << 20, Form::Gzip);
    Content::image("linux", "amd64", &[large, images::layer(seed + 1, 3000, Form::Gzip)])
}

struct Job {
    registry: Registry,
    quirk: Quirk,
    folder: tempfile::TempDir,
}

impl Job {
    async fn new(quirk: Quirk, content: &Content) -> Self {
        let folder = tempfile::tempdir().unwrap();
        content.write_layout(folder.path(), Some("1"));
        Self { registry: Registry::start_as(quirk).await, quirk, folder }
    }

    /// To push as `app:1`.
    fn options(&self) -> PushOptions {
        let source = format!("oci:{}:1", self.folder.path().display());
        let to = format!("docker://{}/app:1", self.registry.host);
        let mut options = push::options(&source, &to);
        options.destination.access = plain();
        options
    }

    /// Pushes as `app:1`, trying again up to `retries` times.
    async fn push(&self, layers: Layers, retries: u32) -> Result<(), Error> {
        let mut options = self.options();
        options.layers = layers;
        options.verify_after_push = true;
        options.retry = Retry::new(retries, Some(Duration::from_millis(1))).unwrap();
        push::run(&options).await.map(drop)
    }

    /// The image, if every byte that the registry has of it is right.
    async fn check(&self, digest: Option<&str>) {
        let from = source(&format!("{}/app:1", self.registry.host), &plain()).await;
        let manifest = from.manifest(None).await.unwrap();
        if let Some(digest) = digest {
            assert_eq!(manifest.digest().to_string(), digest, "{:?}", self.quirk);
        }
        for blob in manifest.as_image().unwrap().blobs() {
            let bytes = collect(from.blob(blob).await.unwrap()).await.unwrap();
            assert_eq!(images::digest(&bytes), blob.digest.to_string(), "{:?}", self.quirk);
        }
        let log = self.registry.take_log();
        assert_eq!(self.registry.open_sessions(), 0, "{:?} {log:#?}", self.quirk);
    }
}

#[tokio::test]
async fn a_push_reaches_every_registry_with_one_attempt() {
    let content = image(1);
    for quirk in Quirk::ALL {
        let job = Job::new(quirk, &content).await;
        job.push(Layers::DoNotCompress, 0)
            .await
            .unwrap_or_else(|error| panic!("{quirk:?} {error}"));
        job.check(Some(content.digest())).await;
        job.push(Layers::DoNotCompress, 0).await.unwrap();
        assert_eq!(job.registry.take_log(), ["HEAD /v2/app/manifests/1 200"], "{quirk:?}");
    }
}

#[tokio::test]
async fn layers_that_are_made_on_their_way_reach_every_registry() {
    let layer = images::layer(7, 11 << 20, Form::Plain);
    let content = Content::image("linux", "amd64", &[layer]);
    for quirk in Quirk::ALL {
        let job = Job::new(quirk, &content).await;
        let gzip = Layers::Compress(Codec::new(Compression::Gzip, Some(1)).unwrap());
        job.push(gzip, 0).await.unwrap_or_else(|error| panic!("{quirk:?} {error}"));
        job.check(None).await;
    }
}

#[tokio::test]
async fn a_push_through_breaks_reaches_every_registry() {
    let content = image(1);
    for quirk in Quirk::ALL {
        let job = Job::new(quirk, &content).await;
        for (method, act) in [
            ("POST", Act::Drop),
            ("PUT", Act::CutBody(1 << 20)),
            ("PATCH", Act::CutBody(1 << 20)),
            ("PATCH", Act::RefuseBody(2 << 20, 503, String::new())),
            ("PUT", Act::DropAnswer),
        ] {
            job.registry.add_rule(Rule::each(method, "/uploads/", act).nth(1));
        }
        job.registry.add_rule(Rule::each("PUT", "/manifests/", Act::DropAnswer).nth(1));
        job.push(Layers::DoNotCompress, 6)
            .await
            .unwrap_or_else(|error| panic!("{quirk:?} {error}"));
        job.check(Some(content.digest())).await;
    }
}

#[tokio::test]
async fn a_registry_that_takes_blobs_whole_never_gets_pieces() {
    for quirk in [Quirk::None, Quirk::Ecr, Quirk::Aliyun, Quirk::Quay, Quirk::Harbor] {
        let job = Job::new(quirk, &image(1)).await;
        job.push(Layers::DoNotCompress, 0).await.unwrap();
        assert!(!job.registry.take_log().iter().any(|line| line.starts_with("PATCH")), "{quirk:?}");
    }
}

/// Sends blobs one after another; returns how many requests were refused for each.
async fn refusals(registry: &Registry, sizes: &[usize]) -> Vec<usize> {
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    let mut refused = vec![];
    for size in sizes {
        let bytes = bytes::Bytes::from(vec![u8::try_from(refused.len()).unwrap(); *size]);
        registry.take_log();
        while let Err(error) = to.put_blob(blob(&bytes), BlobKind::Layer).await {
            assert!(error.wants_sending_again(), "{error}");
        }
        let log = registry.take_log();
        refused.push(log.iter().filter(|line| line.contains(" 4")).count());
    }
    refused
}

#[tokio::test]
async fn what_a_registry_wants_of_large_and_of_all_blobs_is_known_for_good() {
    let registry = Registry::start_as(Quirk::ProxiedJfrog).await;
    let (large, small) = (9 << 20, 3000);
    let found = refusals(&registry, &[large, small, large, small, large]).await;
    // The first two teach what the registry wants.
    assert_eq!(found, [1, 1, 0, 0, 0]);
    assert_eq!(registry.open_sessions(), 0);
}

/// As ECR does, which says 201 to a piece; others say that they stand where they stood.
#[tokio::test]
async fn a_registry_that_does_not_keep_pieces_is_given_up() {
    for act in [Act::Status(201), Act::Header("range", "0-0".to_owned())] {
        let registry = Registry::start().await;
        let too_large = Act::Respond(413, vec![], vec![]);
        registry.add_rule(Rule::each("PUT", "/uploads/", too_large).nth(1));
        registry.add_rule(Rule::each("PATCH", "/uploads/", act));
        let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
        let bytes = bytes::Bytes::from(vec![7; 9 << 20]);
        let error = to.put_blob(blob(&bytes), BlobKind::Layer).await.unwrap_err();
        assert!(error.wants_sending_again(), "{error}");
        let error = to.put_blob(blob(&bytes), BlobKind::Layer).await.unwrap_err();
        let message = "the registry takes blobs in pieces only, and does not keep the pieces";
        assert_eq!(error.class(), Class::Permanent, "{error}");
        assert!(error.to_string().ends_with(message), "{error}");
        assert_eq!(registry.open_sessions(), 0);
    }
}

#[tokio::test]
async fn a_tag_that_may_not_change_is_told_by_name() {
    for (quirk, status) in [(Quirk::Ecr, "400"), (Quirk::Harbor, "412")] {
        let (old, new) = (images::image(1), images::image(2));
        let job = Job::new(quirk, &old).await;
        job.push(Layers::DoNotCompress, 0).await.unwrap();
        let other = tempfile::tempdir().unwrap();
        new.write_layout(other.path(), Some("1"));
        let job = Job { folder: other, ..job };
        let error = job.push(Layers::DoNotCompress, 3).await.unwrap_err();
        assert_eq!(error.kind(), Kind::DestinationExists, "{error}");
        let found = format!("the tag is there with `{}` and may not change: ", old.digest());
        assert!(error.to_string().contains(&found), "{error}");
        assert!(error.to_string().contains(&format!("the registry answered {status}")), "{error}");
        job.check(Some(old.digest())).await;
    }
}

#[tokio::test]
async fn a_tag_that_may_not_change_may_have_our_image() {
    for quirk in [Quirk::Ecr, Quirk::Harbor] {
        let registry = Registry::start_as(quirk).await;
        let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
        let image = Image::new("x");
        put(&*to, &image).await.unwrap();
        registry.take_log();
        to.put_manifest(&image.manifest, Role::Named).await.unwrap();
        let log = registry.take_log();
        assert!(log[0].starts_with("PUT /v2/app/manifests/1 4"), "{log:?}");
    }
}

/// Pushes one image in Docker's format and another in OCI's under the same tag, and returns what comes of the second push.
async fn push_over_docker_format(
    quirk: Quirk,
    act: Option<Act>,
    format: Option<ManifestFormat>,
) -> Result<ManifestFormat, String> {
    let job = Job::new(quirk, &images::image(1)).await;
    let mut options = job.options();
    options.format = Some(ManifestFormat::V2s2);
    let old = push::run(&options).await.unwrap();
    let other = tempfile::tempdir().unwrap();
    images::image(2).write_layout(other.path(), Some("1"));
    let job = Job { folder: other, ..job };
    if let Some(act) = act {
        job.registry.add_rule(Rule::each("PUT", "/manifests/1", act).nth(1));
    }
    let pushed = push::run(&PushOptions { format, ..job.options() }).await;
    pushed.map_err(|error| told(&error).replace(&old.digest.to_string(), "OLD"))?;
    let to = destination(&format!("{}/app:1", job.registry.host), &plain()).await;
    let docker = MediaType::DOCKER_MANIFEST;
    let is_docker = to.current().await.unwrap().unwrap().media_type == docker;
    Ok(if is_docker { ManifestFormat::V2s2 } else { ManifestFormat::Oci })
}

#[tokio::test]
async fn a_tag_that_is_called_invalid_may_only_want_another_format() {
    let body = br#"{"errors":[{"code":"TAG_INVALID","message":"said"}]}"#.to_vec();
    let old_registry = || Some(Act::Respond(400, vec![], body.clone()));
    let pushed = push_over_docker_format(Quirk::None, old_registry(), None).await;
    assert_eq!(pushed, Ok(ManifestFormat::V2s2));
    let error = push_over_docker_format(Quirk::Ecr, None, None).await.unwrap_err();
    let locked = "the tag is there with `OLD` and may not change: the registry answered 400";
    assert!(error.starts_with("DestinationExists") && error.contains(locked), "{error}");
    let only = Some(ManifestFormat::Oci);
    let error = push_over_docker_format(Quirk::Ecr, None, only).await.unwrap_err();
    let either = "; the tag is there with `OLD`, in another format // choose another format with \
                  `--format`, or another tag: this one may be locked";
    assert!(error.starts_with("ManifestRejected") && error.ends_with(either), "{error}");
}
