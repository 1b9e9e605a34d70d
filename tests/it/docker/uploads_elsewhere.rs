//! Registries that have their blobs sent to another host: what that one is sent, and what it isn't.

use imagepush::access::{Access, Egress, Elsewhere, Network, NetworkSettings};
use imagepush::blob::Blob;
use imagepush::error::Error;
use imagepush::image::{Descriptor, MediaType};
use imagepush::transport::{BlobKind, ImageDestination};

use super::harness::*;
use crate::support::canary::secret;
use crate::support::images;
use crate::support::registry::{Act, Login, Registry, Rule};

/// A registry, the host that takes its uploads, and that host's name.
struct Places {
    registry: Registry,
    uploads: Registry,
    name: String,
}

/// What the user says of the host.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Allowed {
    Bare,
    WithCredentials,
    ForAnother,
}

impl Places {
    async fn start(login: Login) -> Self {
        let registry = Registry::start().await;
        let uploads = registry.start_beside().await;
        registry.set_login(login);
        let name = uploads.host.replace("127.0.0.1", "localhost");
        let there = Act::LocatedAt(format!("http://{name}"));
        registry.add_rule(Rule::each("POST", "/uploads/", there));
        Self { registry, uploads, name }
    }

    fn settings(&self, allowed: Allowed) -> NetworkSettings {
        let host = |registry: &str| vec![format!("{registry}={}", self.name).parse().unwrap()];
        let elsewhere = match allowed {
            Allowed::Bare => {
                Elsewhere { upload_hosts: host(&self.registry.host), ..Elsewhere::default() }
            }
            Allowed::ForAnother => {
                Elsewhere { upload_hosts: host("other.example"), ..Elsewhere::default() }
            }
            Allowed::WithCredentials => Elsewhere {
                upload_hosts_with_credentials: host(&self.registry.host),
                ..Elsewhere::default()
            },
        };
        NetworkSettings { elsewhere, ..NetworkSettings::default() }
    }

    async fn destination(&self, settings: NetworkSettings) -> Box<dyn ImageDestination> {
        let access = plain_as("alice", secret("docker::uploads"));
        let access = Access { network: Network::new(settings), ..access };
        destination(&format!("{}/app:1", self.registry.host), &access).await
    }

    /// What the host has been sent, with what it was shown; forgets it.
    fn sent(&self) -> Vec<String> {
        let seen = self.uploads.seen();
        let shown = seen.iter().map(|seen| match seen.authorization() {
            Some(value) => format!("{seen} {}", value.split(' ').next().unwrap_or_default()),
            None => format!("{seen}"),
        });
        let sent = shown.collect();
        self.uploads.take_log();
        sent
    }

    /// What the registry was shown when the session was opened.
    fn shown_at_home(&self) -> Option<String> {
        let seen = self.registry.seen();
        let post = seen.iter().rfind(|seen| seen.method == "POST" && seen.path != "/token");
        post.unwrap().authorization().map(str::to_owned)
    }
}

const SESSION: &str = "/v2/app/blobs/uploads/session-1";

fn logins() -> [(&'static str, Login); 2] {
    let password = || secret("docker::uploads");
    [("Basic", Login::basic("alice", password())), ("Bearer", Login::bearer("alice", password()))]
}

async fn put(to: &dyn ImageDestination, image: &Image) -> Result<(), Error> {
    to.put_blob(blob(&image.layer), BlobKind::Layer).await
}

#[tokio::test]
async fn an_allowed_host_gets_the_blob_without_credentials() {
    for (_, login) in logins() {
        let places = Places::start(login).await;
        let to = places.destination(places.settings(Allowed::Bare)).await;
        let image = Image::new("x");
        put(&*to, &image).await.unwrap();
        assert_eq!(places.uploads.bytes_taken("PUT", SESSION), image.layer.len());
        assert_eq!(places.sent(), [format!("PUT {SESSION} 201")]);
        assert!(places.shown_at_home().is_some());
        assert!(to.reuse_blob(&image.layer_descriptor(), None).await.unwrap().is_some());
        // What is still being made goes there in two requests.
        let other = Image::new("y");
        to.put_blob(Blob::measured(chunks(&other.layer)), BlobKind::Layer).await.unwrap();
        let session = SESSION.replace('1', "2");
        assert_eq!(places.sent(), [format!("PATCH {session} 202"), format!("PUT {session} 201")]);
        assert!(to.reuse_blob(&other.layer_descriptor(), None).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn an_allowed_host_gets_credentials_if_that_is_said() {
    for (scheme, login) in logins() {
        let places = Places::start(login).await;
        let to = places.destination(places.settings(Allowed::WithCredentials)).await;
        let image = Image::new("x");
        places.uploads.may_see(secret("docker::uploads"));
        put(&*to, &image).await.unwrap();
        let seen = places.uploads.seen();
        let shown: Vec<_> = seen.iter().map(|seen| seen.authorization().unwrap()).collect();
        let at_home = places.shown_at_home().unwrap();
        assert!(at_home.starts_with(scheme));
        assert_eq!(shown, [at_home]);
        assert_eq!(places.sent(), [format!("PUT {SESSION} 201 {scheme}")]);
        assert!(to.reuse_blob(&image.layer_descriptor(), None).await.unwrap().is_some());
    }
}

/// It may ask for them as the registry does.
#[tokio::test]
async fn an_allowed_host_may_ask_for_the_credentials_that_it_is_to_get() {
    let login = || Login::basic("alice", secret("docker::uploads"));
    for (allowed, status) in [(Allowed::WithCredentials, 201), (Allowed::Bare, 401)] {
        let places = Places::start(Login::default()).await;
        places.uploads.set_login(login());
        let to = places.destination(places.settings(allowed)).await;
        let put = put(&*to, &Image::new("x")).await;
        if status == 201 {
            put.unwrap();
            let expected = [format!("PUT {SESSION} 401"), format!("PUT {SESSION} 201 Basic")];
            assert_eq!(places.sent(), expected);
            continue;
        }
        let error = put.unwrap_err();
        let end = format!(
            "`{}`, where the registry wants the blob to be sent, wants credentials that it is not \
             given // `--upload-host-with-credentials`, of the command line or of the operator, lets \
             it have the registry's",
            places.name
        );
        assert!(told(&error).starts_with("AccessDenied Permanent: writing blob"), "{error}");
        assert!(told(&error).ends_with(&end), "{}", told(&error));
        let sent = places.sent();
        assert!(sent.iter().all(|line| !line.ends_with("Basic")), "{sent:?}");
    }
}

/// What is read from there has its own signature in its address.
#[tokio::test]
async fn a_download_from_an_allowed_host_shows_nothing() {
    let places = Places::start(Login::basic("alice", secret("docker::uploads"))).await;
    places.uploads.may_see(secret("docker::uploads"));
    let to = places.destination(places.settings(Allowed::WithCredentials)).await;
    let image = Image::new("x");
    put(&*to, &image).await.unwrap();
    assert_eq!(places.sent(), [format!("PUT {SESSION} 201 Basic")]);
    let path = format!("/v2/app/blobs/{}", image.layer_descriptor().digest);
    let there = vec![("location", format!("http://{}{path}", places.name))];
    places.registry.add_rule(Rule::each("HEAD", &path, Act::Respond(307, there, vec![])));
    assert!(to.reuse_blob(&image.layer_descriptor(), None).await.unwrap().is_some());
    assert_eq!(places.sent(), [format!("HEAD {path} 200")]);
}

/// What it asks for is not what the registry asks for.
#[tokio::test]
async fn what_an_allowed_host_asks_for_is_for_that_request_alone() {
    let password = secret("docker::uploads");
    let places = Places::start(Login::bearer("alice", password)).await;
    places.uploads.set_login(Login::basic("alice", password));
    let to = places.destination(places.settings(Allowed::WithCredentials)).await;
    put(&*to, &Image::new("x")).await.unwrap();
    assert_eq!(
        places.sent(),
        [format!("PUT {SESSION} 401 Bearer"), format!("PUT {SESSION} 201 Basic")]
    );
    // From then on it is known: a large blob couldn't be sent a second time.
    put(&*to, &Image::new("y")).await.unwrap();
    assert_eq!(places.sent(), [format!("PUT {} 201 Basic", SESSION.replace('1', "2"))]);
    let schemes = |seen: Vec<crate::support::registry::Seen>| -> Vec<String> {
        let own = seen.iter().filter(|seen| seen.path != "/token");
        let shown = own.filter_map(|seen| seen.authorization());
        shown.map(|value| value.split(' ').next().unwrap().to_owned()).collect()
    };
    assert!(schemes(places.registry.seen()).iter().all(|scheme| scheme == "Bearer"));
}

#[tokio::test]
async fn what_follows_an_upload_elsewhere_goes_there_without_credentials() {
    let places = Places::start(Login::basic("alice", secret("docker::uploads"))).await;
    let to = places.destination(places.settings(Allowed::Bare)).await;
    let bytes: bytes::Bytes = images::random(1, 3 << 20).into();
    let large = || blob(&bytes);
    places.uploads.add_rule(Rule::each("PUT", "/uploads/", Act::CutBody(1 << 20)).nth(1));
    to.put_blob(large(), BlobKind::Layer).await.unwrap_err();
    to.put_blob(large(), BlobKind::Layer).await.unwrap();
    let mut sent = places.sent();
    sent.retain(|line| !line.starts_with("HEAD "));
    assert_eq!(
        sent,
        [
            format!("PUT {SESSION} 0"),
            format!("GET {SESSION} 204"),
            format!("PATCH {SESSION} 202"),
            format!("PUT {SESSION} 201"),
        ]
    );
    let descriptor = Descriptor::of(MediaType::OCTET_STREAM, &bytes);
    assert!(to.reuse_blob(&descriptor, None).await.unwrap().is_some());
    // One that fails for good is cancelled where it is.
    places.uploads.add_rule(Rule::each("PUT", "/uploads/", Act::RespondEarly(400)));
    put(&*to, &Image::new("x")).await.unwrap_err();
    to.abandon().await;
    let sent = places.sent();
    let session = SESSION.replace('1', "2");
    assert_eq!(sent, [format!("PUT {session} 400"), format!("DELETE {session} 204")]);
    assert_eq!(places.registry.open_sessions(), 0);
    let home = places.registry.take_log();
    assert!(home.iter().all(|line| !line.contains("session-")), "{home:?}");
}

#[tokio::test]
async fn a_host_is_allowed_for_one_registry_and_where_connections_may_lead() {
    let login = || Login::basic("alice", secret("docker::uploads"));
    let places = Places::start(login()).await;
    let to = places.destination(places.settings(Allowed::ForAnother)).await;
    let error = put(&*to, &Image::new("x")).await.unwrap_err();
    let message = format!("wants the blob to be sent to `http://{}`, which is not", places.name);
    assert!(error.to_string().contains(&message), "{error}");
    let egress = Egress::default().deny("localhost".parse().unwrap());
    for allowed in [Allowed::Bare, Allowed::WithCredentials] {
        let settings = NetworkSettings { egress: egress.clone(), ..places.settings(allowed) };
        let error = put(&*places.destination(settings).await, &Image::new("x")).await.unwrap_err();
        assert!(error.to_string().contains("the egress policy"), "{error}");
    }
    assert_eq!(places.sent(), [""; 0]);
}
