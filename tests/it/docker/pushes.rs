//! Whole pushes from registry to registry, by the engine.

use std::sync::Arc;

use imagepush::access::Access;
use imagepush::blob::{CodecMemory, Pace};
use imagepush::engine::{BlobCounts, NoProgress, Progress, Pushed, push};
use imagepush::error::Result;
use imagepush::options::{
    BundleClues, CustomResources, Endpoint, Layers, Platforms, PushOptions, Retry,
};
use imagepush::transport::{self, Role};
use tokio_util::sync::CancellationToken;

use super::harness::*;
use crate::support::canary::secret;
use crate::support::docker_registry::DockerRegistry;
use crate::support::registry::{Login, Registry};

async fn pushed(from: (&str, &Access), to: (&str, &Access)) -> Result<Pushed> {
    let endpoint = |(name, access): (&str, &Access)| Endpoint {
        reference: transport::parse(&format!("docker://{name}")).unwrap(),
        access: access.clone(),
    };
    let options = PushOptions {
        source: endpoint(from),
        destination: endpoint(to),
        platforms: Platforms::All,
        format: None,
        layers: Layers::Keep,
        retry: Retry::new(0, None).unwrap(),
        verify_source: false,
        pace: Pace::default(),
        codecs: CodecMemory::default(),
        custom_resources: CustomResources::Never,
        clues: BundleClues::default(),
        verify_after_push: false,
        overwrites: None,
    };
    let progress: Arc<dyn Progress> = Arc::new(NoProgress);
    push(&options, &progress, &CancellationToken::new()).await
}

#[tokio::test]
async fn a_push_that_finds_everything_costs_one_request() {
    let from = DockerRegistry::plain();
    let (amd, arm) = (Image::new("amd64"), Image::new("arm64"));
    let both = index(&[&amd, &arm]);
    let source_name = format!("{}/multi:all", from.host);
    let seed = destination(&source_name, &plain()).await;
    for image in [&amd, &arm] {
        put_blobs(&*seed, image).await.unwrap();
        seed.put_manifest(&image.manifest, Role::Instance).await.unwrap();
    }
    seed.put_manifest(&both, Role::Named).await.unwrap();

    let to = Registry::start().await;
    to.set_login(Login::bearer("alice", secret("docker::pushes")));
    let access = plain_as("alice", secret("docker::pushes"));
    for target in ["copy:1".to_owned(), format!("copy@{}", both.digest())] {
        let name = format!("{}/{target}", to.host);
        let first = pushed((&source_name, &plain()), (&name, &access)).await.unwrap();
        assert_eq!(&first.digest, both.digest());
        to.take_log();
        let again = pushed((&source_name, &plain()), (&name, &access)).await.unwrap();
        assert!(again.already_present);
        assert_eq!(again.blobs, BlobCounts::default());
        let path = target.replacen(['@', ':'], "/manifests/", 1);
        assert_eq!(to.take_log(), [format!("HEAD /v2/{path} 200")]);
    }
}

#[tokio::test]
async fn within_one_registry_blobs_are_mounted() {
    let registry = Registry::start().await;
    let image = Image::new("x");
    let from = format!("{}/from:1", registry.host);
    put(&*destination(&from, &plain()).await, &image).await.unwrap();
    registry.take_log();
    let to = format!("{}/to:1", registry.host);
    let pushed = pushed((&from, &plain()), (&to, &plain())).await.unwrap();
    assert_eq!(pushed.blobs, BlobCounts { mounted: 2, ..BlobCounts::default() });
    let mut log = registry.take_log();
    log.retain(|line| line.contains("/v2/to/"));
    assert_eq!(
        log,
        [
            "HEAD /v2/to/manifests/1 404",
            "POST /v2/to/blobs/uploads/ 201",
            "POST /v2/to/blobs/uploads/ 201",
            "PUT /v2/to/manifests/1 201",
        ]
    );
}
