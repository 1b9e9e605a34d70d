//! Blobs that this program has written to a registry before are linked from there, by whoever wrote them.

use imagepush::access::{Access, Network};
use imagepush::engine::Pushed;
use imagepush::transport::BlobKind;

use super::harness::*;
use crate::support::canary::secret;
use crate::support::images::{self, Content};
use crate::support::push;
use crate::support::registry::{Act, Login, Registry, Rule, Seen};

/// Config and layers of the image that is pushed.
const BLOBS: u64 = 3;

async fn registry() -> (Registry, Access) {
    let registry = Registry::start().await;
    let login = Login::bearer("alice", secret("docker::remembered"));
    registry.set_login(login.and("bob", secret("docker::remembered bob")));
    (registry, plain_as("alice", secret("docker::remembered")))
}

/// Pushes from a layout to a repository.
async fn push_to(registry: &Registry, name: &str, access: &Access, content: &Content) -> Pushed {
    let folder = tempfile::tempdir().unwrap();
    content.write_layout(folder.path(), Some("1"));
    let from = format!("oci:{}:1", folder.path().display());
    let mut options = push::options(&from, &format!("docker://{}/{name}:1", registry.host));
    options.destination.access = access.clone();
    push::run(&options).await.unwrap()
}

/// How many mounts from another repository were asked for by somebody who is let in, and the scopes of the tokens.
fn asked(registry: &Registry) -> (usize, Vec<String>) {
    let seen = registry.seen();
    let foreign = |seen: &&Seen| {
        let own = |from: &str| seen.path.starts_with(&format!("/v2/{from}/"));
        seen.status != 401 && seen.argument("from").is_some_and(|from| !own(&from))
    };
    let mounts = seen.iter().filter(foreign).count();
    let scopes = |query: &str| {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        let scopes = pairs.filter(|(key, _)| key == "scope").map(|(_, value)| value.into_owned());
        scopes.collect::<Vec<_>>().join(" ")
    };
    let tokens = seen.iter().filter(|seen| seen.path == "/token");
    (mounts, tokens.map(|seen| scopes(&seen.query)).collect())
}

#[tokio::test]
async fn what_was_written_to_one_repository_is_linked_into_the_next() {
    let (registry, access) = registry().await;
    let content = images::image(1);
    let first = push_to(&registry, "first", &access, &content).await;
    assert_eq!((first.blobs.sent, first.blobs.mounted), (BLOBS, 0));
    registry.take_log();
    let second = push_to(&registry, "second", &access, &content).await;
    assert_eq!((second.blobs.sent, second.blobs.mounted), (0, BLOBS));
    let both = "repository:first:pull repository:second:pull,push";
    let mounts = usize::try_from(BLOBS).unwrap();
    assert_eq!(asked(&registry), (mounts, vec!["repository:second:pull,push".into(), both.into()]));
    assert_eq!(registry.bytes_taken("PUT", "/blobs/"), 0);
    // What is there isn't asked to be linked, nor is what nobody has written.
    registry.take_log();
    let other = images::image(2);
    push_to(&registry, "third", &access, &other).await;
    let again = destination(&format!("{}/third:1", registry.host), &access).await;
    let layer: imagepush::image::Descriptor =
        serde_json::from_value(other.manifest()["layers"][0].clone()).unwrap();
    assert_eq!(asked(&registry).0, 0);
    registry.take_log();
    assert!(again.reuse_blob(&layer, None).await.unwrap().is_some());
    assert_eq!(registry.take_log(), [format!("HEAD /v2/third/blobs/{} 200", layer.digest)]);
}

/// By another user, over another network, or under another policy nothing is known of it.
#[tokio::test]
async fn nobody_learns_what_others_have_written() {
    let (registry, alice) = registry().await;
    let image = Image::new("x");
    let to = destination(&format!("{}/private:1", registry.host), &alice).await;
    to.put_blob(blob(&image.layer), BlobKind::Layer).await.unwrap();
    let bob = plain_as("bob", secret("docker::remembered bob")).credentials;
    let layer = image.layer_descriptor();
    for (access, mounts) in [
        (Access { credentials: bob, ..alice.clone() }, 0),
        (Access { network: Network::default(), ..alice.clone() }, 0),
        (Access { tls: imagepush::access::TlsPolicy::SkipVerifyOrPlainHttp, ..alice.clone() }, 0),
        (alice.clone(), 1),
    ] {
        registry.take_log();
        let to = destination(&format!("{}/other:1", registry.host), &access).await;
        to.reuse_blob(&layer, None).await.unwrap();
        let (asked, scopes) = asked(&registry);
        assert_eq!(asked, mounts, "{access:?}");
        assert_eq!(scopes.iter().any(|scopes| scopes.contains("private")), mounts > 0);
    }
}

/// The token server, or the registry, may not let us read there any more; or the blob has gone.
#[tokio::test]
async fn a_mount_that_is_refused_or_a_lie_costs_no_push() {
    let denied = || Act::Respond(403, vec![], vec![]);
    let content = images::image(3);
    let lies: Vec<Rule> = content
        .blobs
        .keys()
        .map(|digest| {
            let claim = vec![("docker-content-digest", digest.clone())];
            let hex = digest["sha256:".len()..].to_owned();
            Rule::each("POST", "/v2/to/", Act::Respond(201, claim, vec![])).with_query(hex)
        })
        .collect();
    let gone = Rule::each("POST", "/v2/to/", Act::LoseBlobs).with_query("mount=").nth(1);
    for rules in [
        vec![Rule::each("GET", "/token", denied()).with_query("first")],
        vec![Rule::each("POST", "/v2/to/", denied()).with_query("mount=")],
        vec![gone],
        lies,
    ] {
        let (registry, access) = registry().await;
        push_to(&registry, "first", &access, &content).await;
        for rule in rules {
            registry.add_rule(rule);
        }
        registry.take_log();
        let pushed = push_to(&registry, "to", &access, &content).await;
        assert_eq!((pushed.blobs.sent, pushed.blobs.mounted), (BLOBS, 0));
        let (mounts, scopes) = asked(&registry);
        assert!(mounts > 0 || scopes.iter().any(|scopes| scopes.contains("first")));
        // Once is enough to believe no mount any more.
        let puts = registry.seen().into_iter().filter(|seen| seen.path == "/v2/to/manifests/1");
        let puts = puts.filter(|seen| seen.method == "PUT" && seen.status != 401).count();
        assert!(puts <= 2, "{puts}");
        assert_eq!(registry.open_sessions(), 0);
        assert_eq!(registry.tags()["to:1"], content.digest());
    }
}
