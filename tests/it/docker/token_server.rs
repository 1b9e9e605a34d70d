//! docker-registry with token authentication, and tokens that live for seconds.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use imagepush::access::Access;
use imagepush::blob::{Blob, Chunks};
use imagepush::error::Kind;
use imagepush::image::{Descriptor, MediaType};
use imagepush::transport::{BlobKind, Repository, Reused, Role};

use super::behaviour;
use super::harness::*;
use crate::support::canary::secret;
use crate::support::docker_registry::{DockerRegistry, Setup};
use crate::support::token_server::TokenServer;

async fn registry(life: Duration) -> (TokenServer, DockerRegistry, Access) {
    let server = TokenServer::start("alice", secret("docker::token_server"), life).await;
    let setup = Setup { tokens: Some(server.setup()), ..Setup::default() };
    let registry = DockerRegistry::start(&setup);
    (server, registry, plain_as("alice", secret("docker::token_server")))
}

#[tokio::test]
async fn docker_registry_with_tokens_behaves() {
    let (server, registry, access) = registry(Duration::from_mins(5)).await;
    behaviour::check(&registry.host, &access).await;
    let given = server.given();
    let mut once = given.clone();
    once.sort();
    once.dedup();
    assert_eq!(given.len(), once.len(), "{given:?}");
}

#[tokio::test]
async fn a_wrong_password_is_told_with_the_token_servers_words() {
    let (server, registry, _) = registry(Duration::from_mins(5)).await;
    let wrong = secret("docker::token_server wrong");
    server.may_see(wrong);
    let to = destination(&format!("{}/app:1", registry.host), &plain_as("alice", wrong)).await;
    let error = to.current().await.unwrap_err();
    assert_eq!(
        told(&error).replace(&registry.host, "HOST"),
        "AuthenticationFailed Permanent: reading manifest `1` of `docker://HOST/app`: `HOST` does not accept \
         the credentials of `alice` (the credentials given): its token server answered 401 Unauthorized \
         (UNAUTHORIZED: who is it) // check user and password, and what the user may do"
    );
}

#[tokio::test]
async fn tokens_that_expire_during_a_push_cost_no_upload() {
    let (server, registry, access) = registry(Duration::from_secs(2)).await;
    let to = destination(&format!("{}/app:1", registry.host), &access).await;
    assert_eq!(to.current().await.unwrap(), None);
    let image = Image::new("x");
    // Longer than a token is good for: what follows on a blob has to be done under another one.
    to.put_blob(Blob::measured(slow(&image.config)), BlobKind::Config).await.unwrap();
    let verified = Blob::verified(slow(&image.layer), &image.layer_descriptor());
    to.put_blob(verified, BlobKind::Layer).await.unwrap();
    to.put_manifest(&image.manifest, Role::Named).await.unwrap();
    assert_eq!(to.current().await.unwrap().unwrap().digest, *image.manifest.digest());
    let log: Vec<String> = registry
        .requests()
        .iter()
        .filter(|request| request.method.starts_with('P'))
        .map(|request| format!("{} {}", request.method, request.status))
        .collect();
    let measured = ["POST 202", "PATCH 202", "PUT 401", "PUT 201"];
    let verified = ["POST 202", "PUT 201"];
    let manifest = ["PUT 401", "PUT 201"];
    assert_eq!(log, [&measured[..], &verified, &manifest].concat());
    assert_eq!(server.given().len(), 3);
}

/// The bytes in four chunks, over more than two seconds.
fn slow(bytes: &Bytes) -> Chunks {
    let part = bytes.len().div_ceil(4);
    let parts: Vec<Bytes> = bytes.chunks(part).map(Bytes::copy_from_slice).collect();
    let wait = async |part| {
        tokio::time::sleep(Duration::from_millis(700)).await;
        Ok(part)
    };
    stream::iter(parts).then(wait).boxed()
}

#[tokio::test]
async fn a_mount_asks_for_both_repositories() {
    let (server, registry, access) = registry(Duration::from_mins(5)).await;
    let image = Image::new("shared");
    let first = destination(&format!("{}/first:1", registry.host), &access).await;
    put(&*first, &image).await.unwrap();
    let second = destination(&format!("{}/second:1", registry.host), &access).await;
    let from = Repository { registry: registry.host.clone(), path: "first".into() };
    second.current().await.unwrap();
    let mounted = second.reuse_blob(&image.layer_descriptor(), Some(&from)).await.unwrap();
    assert_eq!(mounted, Some(Reused::Mounted));
    assert_eq!(
        server.given(),
        [
            "repository:first:pull,push",
            "repository:second:pull,push",
            "repository:first:pull repository:second:pull,push",
        ]
    );
}

#[tokio::test]
async fn a_session_is_ended_with_the_right_to_delete() {
    let (server, registry, access) = registry(Duration::from_mins(5)).await;
    let to = destination(&format!("{}/app:1", registry.host), &access).await;
    to.current().await.unwrap();
    let bytes = Bytes::from(vec![1; 1 << 20]);
    let failure = imagepush::error::Error::new(Kind::StorageFailed, "scripted");
    let failing = stream::iter([Ok(bytes.slice(..9)), Err(failure)]).boxed();
    let blob = Blob::verified(failing, &Descriptor::of(MediaType::OCTET_STREAM, &bytes));
    to.put_blob(blob, BlobKind::Layer).await.unwrap_err();
    let deleted = || {
        let requests = registry.requests();
        let deletions = requests.iter().filter(|request| request.method == "DELETE");
        deletions.map(|request| request.status).collect::<Vec<_>>()
    };
    for _ in 0..100 {
        if deleted().contains(&204) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(deleted(), [401, 204]);
    let wide = "repository:app:pull,push,delete".to_owned();
    assert_eq!(server.given(), ["repository:app:pull,push".to_owned(), wide]);
}
