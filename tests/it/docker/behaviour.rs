//! What holds of every registry: one set of checks, run against docker-registry and ours.

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use imagepush::access::{Access, TlsPolicy};
use imagepush::blob::Blob;
use imagepush::error::{Error, Kind};
use imagepush::image::{Descriptor, Digest, MediaType};
use imagepush::transport::{self, BlobKind, Current, Repository, Reused, Role};

use super::harness::*;
use crate::support::canary::secret;
use crate::support::certificates::{Authority, Life};
use crate::support::docker_registry::{DockerRegistry, Program, Setup};
use crate::support::registry::{Login, Registry};

pub(crate) async fn check(host: &str, access: &Access) {
    an_image_goes_in_and_comes_out(host, access).await;
    blobs_are_found_or_mounted(host, access).await;
    an_index_holds_instances(host, access).await;
    what_is_not_there_is_not_found(host, access).await;
    a_failing_stream_comes_back_unchanged(host, access).await;
    a_blob_made_on_the_way_arrives(host, access).await;
    a_pinned_name_takes_one_manifest(host, access).await;
}

async fn an_image_goes_in_and_comes_out(host: &str, access: &Access) {
    let image = Image::new("one");
    let name = format!("{host}/team/app:1");
    let to = destination(&name, access).await;
    assert_eq!(to.current().await.unwrap(), None);
    put(&*to, &image).await.unwrap();
    let expected = Current {
        digest: image.manifest.digest().clone(),
        media_type: MediaType::OCI_MANIFEST,
        size: image.manifest.bytes().len() as u64,
        config: None,
    };
    assert_eq!(to.current().await.unwrap(), Some(expected));
    to.commit().await.unwrap();

    let from = source(&name, access).await;
    assert_eq!(from.manifest(None).await.unwrap(), image.manifest);
    let layer = from.blob(&image.layer_descriptor()).await.unwrap();
    assert_eq!(collect(layer).await.unwrap(), image.layer);
    let pinned = format!("{host}/team/app@{}", image.manifest.digest());
    let pinned = source(&pinned, access).await;
    assert_eq!(pinned.manifest(None).await.unwrap(), image.manifest);
}

async fn blobs_are_found_or_mounted(host: &str, access: &Access) {
    let image = Image::new("shared");
    let layer = image.layer_descriptor();
    let first = destination(&format!("{host}/first:1"), access).await;
    assert_eq!(first.reuse_blob(&layer, None).await.unwrap(), None);
    put(&*first, &image).await.unwrap();
    assert_eq!(first.reuse_blob(&layer, None).await.unwrap(), Some(Reused::Present));
    let other_size = Descriptor { size: layer.size + 1, ..layer.clone() };
    assert_eq!(first.reuse_blob(&other_size, None).await.unwrap(), None);

    let second = destination(&format!("{host}/second:1"), access).await;
    let from = |path: &str| Repository { registry: host.to_owned(), path: path.to_owned() };
    assert_eq!(second.reuse_blob(&layer, Some(&from("none"))).await.unwrap(), None);
    second.put_blob(blob(&image.layer), BlobKind::Layer).await.unwrap();
    assert_eq!(second.reuse_blob(&layer, None).await.unwrap(), Some(Reused::Present));
    let third = destination(&format!("{host}/third:1"), access).await;
    let mounted = third.reuse_blob(&layer, Some(&from("first"))).await.unwrap();
    assert_eq!(mounted, Some(Reused::Mounted));
    assert_eq!(third.reuse_blob(&layer, None).await.unwrap(), Some(Reused::Present));
}

async fn an_index_holds_instances(host: &str, access: &Access) {
    let (amd, arm) = (Image::new("amd64"), Image::new("arm64"));
    let both = index(&[&amd, &arm]);
    let name = format!("{host}/multi:all");
    let to = destination(&name, access).await;
    for image in [&amd, &arm] {
        put_blobs(&*to, image).await.unwrap();
        to.put_manifest(&image.manifest, Role::Instance).await.unwrap();
    }
    assert_eq!(to.current().await.unwrap(), None);
    to.put_manifest(&both, Role::Named).await.unwrap();
    let from = source(&name, access).await;
    assert_eq!(from.manifest(None).await.unwrap(), both);
    let instance = from.manifest(Some(&arm.manifest.descriptor())).await.unwrap();
    assert_eq!(instance, arm.manifest);
}

async fn what_is_not_there_is_not_found(host: &str, access: &Access) {
    let name = format!("{host}/nothing");
    let from = source(&format!("{name}:1"), access).await;
    let error = from.manifest(None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(
        error.to_string(),
        format!(
            "reading manifest `1` of `docker://{name}`: \
             the registry answered 404 Not Found (MANIFEST_UNKNOWN: manifest unknown)"
        )
    );
    let absent = Descriptor::of(MediaType::OCTET_STREAM, b"absent");
    let error = from.blob(&absent).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let digest = &absent.digest;
    let doing = format!("reading blob `{digest}` of `docker://{name}`: the registry answered 404");
    assert!(error.to_string().starts_with(&doing), "{error}");
}

async fn a_failing_stream_comes_back_unchanged(host: &str, access: &Access) {
    let to = destination(&format!("{host}/failing:1"), access).await;
    let bytes = Bytes::from(vec![7; 1 << 20]);
    let failure = || Error::new(Kind::StorageFailed, "the disk is on fire").transient();
    let failing = || stream::iter([Ok(bytes.slice(..1 << 19)), Err(failure())]).boxed();
    let descriptor = Descriptor::of(MediaType::OCTET_STREAM, &bytes);
    let wrong = Descriptor { digest: Digest::of(b"other"), ..descriptor.clone() };
    for blob in [Blob::verified(failing(), &descriptor), Blob::measured(failing())] {
        let error = to.put_blob(blob, BlobKind::Layer).await.unwrap_err();
        assert_eq!(told(&error), told(&failure()));
    }
    let error = to.put_blob(Blob::verified(chunks(&bytes), &wrong), BlobKind::Layer).await;
    assert_eq!(error.unwrap_err().kind(), Kind::ContentMismatch);
    assert_eq!(to.reuse_blob(&descriptor, None).await.unwrap(), None);
}

async fn a_blob_made_on_the_way_arrives(host: &str, access: &Access) {
    let to = destination(&format!("{host}/measured:1"), access).await;
    for bytes in [Bytes::from_static(b"made on the way"), Bytes::from(vec![3; 3 << 20])] {
        let blob = Blob::measured(chunks(&bytes));
        to.put_blob(blob, BlobKind::Layer).await.unwrap();
        let descriptor = Descriptor::of(MediaType::OCTET_STREAM, &bytes);
        let found = to.reuse_blob(&descriptor, None).await.unwrap();
        assert_eq!(found, Some(Reused::Present));
    }
}

async fn a_pinned_name_takes_one_manifest(host: &str, access: &Access) {
    let (image, other) = (Image::new("pinned"), Image::new("other"));
    let name = format!("{host}/pinned@{}", image.manifest.digest());
    let reference = transport::parse(&format!("docker://{name}")).unwrap();
    assert_eq!(reference.digest(), Some(image.manifest.digest()));
    let to = destination(&name, access).await;
    put(&*to, &image).await.unwrap();
    assert_eq!(to.current().await.unwrap().unwrap().digest, *image.manifest.digest());
    let error = to.put_manifest(&other.manifest, Role::Named).await.unwrap_err();
    assert_eq!(error.kind(), Kind::ContentMismatch);
}

#[tokio::test]
async fn docker_registry_behaves() {
    let registry = DockerRegistry::plain();
    check(&registry.host, &plain()).await;
}

#[tokio::test]
async fn docker_registry_with_tls_and_login_behaves() {
    let authority = Authority::new();
    let files = authority.server("127.0.0.1", Life::Valid);
    let login = Some(("alice", secret("docker::behaviour")));
    let setup = Setup { tls: Some(&files), login, ..Setup::default() };
    let registry = DockerRegistry::start(&setup);
    let verified = tls(TlsPolicy::Verify, Some(&authority.directory()));
    let access = Access {
        credentials: plain_as("alice", secret("docker::behaviour")).credentials,
        ..verified
    };
    check(&registry.host, &access).await;
    let unverified = Access { tls: TlsPolicy::SkipVerifyOrPlainHttp, ..access };
    let from = source(&format!("{}/team/app:1", registry.host), &unverified).await;
    from.manifest(None).await.unwrap();
}

#[tokio::test]
async fn version_3_behaves() {
    let registry = DockerRegistry::of(Program::Version3);
    check(&registry.host, &plain()).await;
}

#[tokio::test]
async fn our_registry_behaves() {
    let registry = Registry::start().await;
    check(&registry.host, &tls(TlsPolicy::SkipVerifyOrPlainHttp, None)).await;
}

#[tokio::test]
async fn our_registry_behaves_with_either_login() {
    for login in [
        Login::basic("alice", secret("docker::behaviour")),
        Login::bearer("alice", secret("docker::behaviour")),
    ] {
        let registry = Registry::start().await;
        registry.set_login(login);
        check(&registry.host, &plain_as("alice", secret("docker::behaviour"))).await;
    }
}
