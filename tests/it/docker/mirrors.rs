//! Mirrors and other settings of `registries.conf`: where images are read then, and who gets to see which credential.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imagepush::access::{
    Access, AuthFile, Credential, Credentials, Registries, RegistriesConf, Secret,
};
use imagepush::blob::{CodecMemory, Pace};
use imagepush::engine::{NoProgress, Progress, Pushed, push};
use imagepush::error::Result;
use imagepush::options::{
    BundleClues, CustomResources, Endpoint, Layers, Platforms, PushOptions, Retry,
};
use imagepush::transport;
use tokio_util::sync::CancellationToken;

use super::harness::*;
use crate::support::canary::secret;
use crate::support::registry::{Act, Login, Registry, Rule};

/// A registry with this image as `path:1`, and an empty log.
async fn with(path: &str, image: &Image) -> Registry {
    let registry = Registry::start().await;
    let to = destination(&format!("{}/{path}:1", registry.host), &plain()).await;
    put(&*to, image).await.unwrap();
    registry.take_log();
    registry
}

/// An address that nobody listens at.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().to_string()
}

fn conf(text: &str) -> Access {
    let conf = Arc::new(RegistriesConf::parse(text, "registries.conf").unwrap());
    Access { registries: Registries { conf, ..Registries::default() }, ..Access::default() }
}

/// An entry for `host`, with mirrors in this order; all speak plain HTTP.
fn mirrored(host: &str, mirrors: &[&str]) -> String {
    let entry = format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true\n");
    let mirror =
        |mirror| format!("[[registry.mirror]]\nlocation = \"{mirror}\"\ninsecure = true\n");
    entry + &mirrors.iter().map(mirror).collect::<String>()
}

async fn pushed(name: &str, access: &Access, to: &Registry, retries: u32) -> Result<Pushed> {
    let endpoint = |name: &str, access: &Access| Endpoint {
        reference: transport::parse(&format!("docker://{name}")).unwrap(),
        access: access.clone(),
    };
    let options = PushOptions {
        source: endpoint(name, access),
        destination: endpoint(&format!("{}/copy:1", to.host), &plain()),
        platforms: Platforms::All,
        format: None,
        layers: Layers::Keep,
        retry: Retry::new(retries, Some(std::time::Duration::from_millis(1))).unwrap(),
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

/// What a registry was asked for, without the answers.
fn paths(registry: &Registry) -> Vec<String> {
    let log = registry.take_log();
    log.iter().map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// R-09.
#[tokio::test]
async fn a_mirror_gets_its_own_credentials_and_no_others() {
    let image = Image::new("x");
    for (login, mirror_login) in [
        (Login::basic as fn(&str, &str) -> Login, Login::basic as fn(&str, &str) -> Login),
        (Login::bearer, Login::bearer),
    ] {
        let (up, own, stranger) =
            (with("app", &image).await, with("own/app", &image).await, with("app", &image).await);
        let (of_up, of_own) = (secret("docker::mirrors up"), secret("docker::mirrors own"));
        up.set_login(login("up", of_up));
        own.set_login(mirror_login("own", of_own));
        stranger.set_login(mirror_login("up", of_up));
        let text = mirrored(&up.host, &[&stranger.host, &format!("{}/own", own.host)]);
        let file = format!(
            r#"{{"auths":{{"{}/own":{{"username":"own","password":"{of_own}"}}}}}}"#,
            own.host
        );
        let file = AuthFile::parse(file.as_bytes(), "auth.json").unwrap();
        let mut access = conf(&text);
        access.credentials = Credentials::Explicit(Credential::basic("up", Secret::new(of_up)));
        access.registries.other_credentials = Credentials::Text(file);

        let to = Registry::start().await;
        pushed(&format!("{}/app:1", up.host), &access, &to, 0).await.unwrap();
        // The first mirror would take the upstream's credentials, and is not given them.
        let sent: Vec<_> = stranger
            .seen()
            .iter()
            .filter_map(|seen| seen.authorization().map(str::to_owned))
            .collect();
        assert_eq!(sent, [""; 0]);
        assert!(!stranger.seen().is_empty());
        let all = format!("{:?}", own.seen());
        assert!(!all.contains(&basic("up", of_up)) && !all.contains(of_up));
        assert!(own.seen().iter().any(|seen| seen.authorization().is_some()));
        assert_eq!(paths(&up), [""; 0]);

        // Without the mirrors' image the upstream gets what is its own.
        own.add_rule(Rule::each("GET", "/manifests/", Act::Respond(404, vec![], vec![])));
        let to = Registry::start().await;
        pushed(&format!("{}/app:1", up.host), &access, &to, 0).await.unwrap();
        let all = format!("{:?}", up.seen());
        assert!(!all.contains(&basic("own", of_own)));
        assert!(up.seen().iter().any(|seen| seen.authorization().is_some()));
    }
}

#[tokio::test]
async fn the_first_mirror_that_has_the_image_serves_all_of_it() {
    let image = Image::new("x");
    let (up, good) = (with("app", &image).await, with("cache/app", &image).await);
    let (empty, broken) = (Registry::start().await, Registry::start().await);
    broken.add_rule(Rule::each("GET", "", Act::Respond(503, vec![], vec![])));
    let garbage = Registry::start().await;
    garbage.add_rule(Rule::each("GET", "", Act::Respond(200, vec![], b"<html>".to_vec())));
    let cache = format!("{}/cache", good.host);
    let mirrors = [&nobody(), &broken.host, &empty.host, &garbage.host, &cache];
    let access = conf(&mirrored(&up.host, &mirrors.map(String::as_str)));
    let to = Registry::start().await;
    let done = pushed(&format!("{}/app:1", up.host), &access, &to, 0).await.unwrap();
    assert_eq!(&done.digest, image.manifest.digest());
    for registry in [&broken, &empty, &garbage] {
        assert_eq!(paths(registry), ["GET /v2/app/manifests/1"]);
    }
    assert_eq!(paths(&up), [""; 0]);
    let mut asked = paths(&good);
    asked.sort();
    let blob = |digest| format!("GET /v2/cache/app/blobs/{digest}");
    let config = &image.manifest.as_image().unwrap().config.digest;
    let mut expected = vec![blob(config), blob(&image.layer_descriptor().digest)];
    expected.push("GET /v2/cache/app/manifests/1".into());
    expected.sort();
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn when_all_places_fail_each_is_named() {
    let (up, mirror) = (Registry::start().await, Registry::start().await);
    mirror.add_rule(Rule::each("GET", "", Act::Respond(503, vec![], vec![])));
    let access = conf(&mirrored(&up.host, &[&mirror.host]));
    let to = Registry::start().await;
    let error = pushed(&format!("{}/app:1", up.host), &access, &to, 0).await.unwrap_err();
    let told = told(&error).replace(&up.host, "UP").replace(&mirror.host, "MIRROR");
    assert_eq!(
        told.replace(&to.host, "TO"),
        "NotFound Permanent: pushing `docker://UP/app:1` to `docker://TO/copy:1`: reading the manifest: \
         no place of 2 could be read: \
         reading manifest `1` of `docker://MIRROR/app`: the registry answered 503 Service Unavailable; then \
         reading manifest `1` of `docker://UP/app`: the registry answered 404 Not Found (MANIFEST_UNKNOWN: manifest unknown)"
    );
    assert_eq!((paths(&mirror).len(), paths(&up).len()), (1, 1));
}

#[tokio::test]
async fn a_mirror_with_other_content_is_passed_over() {
    let (image, other) = (Image::new("x"), Image::new("y"));
    let (up, mirror) = (with("app", &image).await, with("app", &image).await);
    let manifest = other.manifest.bytes().to_vec();
    let kind = vec![("content-type", other.manifest.media_type().as_str().to_owned())];
    mirror.add_rule(Rule::each("GET", "/manifests/", Act::Respond(200, kind, manifest)));
    let access = conf(&mirrored(&up.host, &[&mirror.host]));
    let to = Registry::start().await;
    let name = format!("{}/app@{}", up.host, image.manifest.digest());
    pushed(&name, &access, &to, 0).await.unwrap();
    assert_eq!(paths(&mirror).len(), 1);
    assert_eq!(to.tags()["copy:1"], image.manifest.digest().to_string());
}

#[tokio::test]
async fn a_wrong_blob_of_a_mirror_is_read_elsewhere() {
    let image = Image::new("x");
    let layer = image.layer_descriptor().digest;
    let wrong = vec![b'w'; image.layer.len()];
    let acts = [
        Act::Respond(200, vec![], wrong),
        Act::Respond(200, vec![], b"short".to_vec()),
        Act::Respond(404, vec![], vec![]),
        Act::Truncate(100),
        Act::Drop,
    ];
    for act in acts {
        let (up, mirror) = (with("app", &image).await, with("app", &image).await);
        mirror.add_rule(Rule::each("GET", layer.to_string(), act));
        let access = conf(&mirrored(&up.host, &[&mirror.host]));
        let to = Registry::start().await;
        pushed(&format!("{}/app:1", up.host), &access, &to, 1).await.unwrap();
        assert_eq!(to.tags()["copy:1"], image.manifest.digest().to_string());
        assert_eq!(paths(&up), [format!("GET /v2/app/blobs/{layer}")]);
    }
    // Nowhere is it right: the push fails for good, and says so once every place has been asked.
    let (up, mirror) = (with("app", &image).await, with("app", &image).await);
    for registry in [&up, &mirror] {
        let wrong = Act::Respond(200, vec![], vec![b'w'; image.layer.len()]);
        registry.add_rule(Rule::each("GET", layer.to_string(), wrong));
    }
    let access = conf(&mirrored(&up.host, &[&mirror.host]));
    let to = Registry::start().await;
    let error = pushed(&format!("{}/app:1", up.host), &access, &to, 9).await.unwrap_err();
    assert!(told(&error).starts_with("ContentMismatch Permanent: "), "{}", told(&error));
    let times = |registry: &Registry| {
        paths(registry).iter().filter(|path| path.contains(&layer.to_string())).count()
    };
    assert_eq!((times(&mirror), times(&up)), (1, 1));
}

#[tokio::test]
async fn locations_wildcards_and_kinds_of_mirrors_decide_where_is_read() {
    let image = Image::new("x");
    let digest = image.manifest.digest();
    let place = with("team/app", &image).await;
    let host = &place.host;
    let entry = |keys: &str| format!("[[registry]]\n{keys}\n");
    let mirror = |kind: &str| {
        format!(
            "prefix = \"up.test\"\nlocation = \"{host}/absent\"\ninsecure = true\n\
             [[registry.mirror]]\nlocation = \"{host}\"\ninsecure = true\npull-from-mirror = \"{kind}\""
        )
    };
    let moved = format!("prefix = \"up.test/x\"\nlocation = \"{host}/team\"\ninsecure = true");
    let wildcard = format!(
        "prefix = \"*.up.test\"\n[[registry.mirror]]\nlocation = \"{host}/team\"\ninsecure = true"
    );
    let cases = [
        (&moved, "up.test/x/app:1".to_owned(), true),
        (&wildcard, "a.b.up.test:5000/app:1".to_owned(), true),
        (&mirror("all"), "up.test/team/app:1".to_owned(), true),
        (&mirror("all"), format!("up.test/team/app@{digest}"), true),
        (&mirror("tag-only"), "up.test/team/app:1".to_owned(), true),
        (&mirror("tag-only"), format!("up.test/team/app@{digest}"), false),
        (&mirror("digest-only"), "up.test/team/app:1".to_owned(), false),
        (&mirror("digest-only"), format!("up.test/team/app@{digest}"), true),
    ];
    for (keys, name, found) in cases {
        let source = source(&name, &conf(&entry(keys))).await;
        assert_eq!(source.manifest(None).await.is_ok(), found, "{name} {keys}");
    }
}

/// What `registries.conf` leads to the destination's registry is linked there, whatever the source's name.
#[tokio::test]
async fn blobs_of_a_place_at_the_destination_are_mounted() {
    let image = Image::new("x");
    let to = with("cache/app", &image).await;
    let text = mirrored("up.test", &[&format!("{}/cache", to.host)]);
    pushed("up.test/app:1", &conf(&text), &to, 0).await.unwrap();
    let log = to.take_log();
    assert!(log.iter().all(|line| !line.starts_with("PUT /v2/copy/blobs/")), "{log:?}");
    assert!(log.iter().all(|line| !line.starts_with("GET /v2/cache/app/blobs/")), "{log:?}");
    assert_eq!(to.tags()["copy:1"], image.manifest.digest().to_string());
}

/// What the name says to be on the destination's registry is linked there, though it is read from a mirror elsewhere.
#[tokio::test]
async fn blobs_of_the_sources_own_registry_are_mounted_whatever_mirror_is_read() {
    let image = Image::new("x");
    let mirror = with("app", &image).await;
    let to = with("app", &image).await;
    let text = mirrored(&to.host, &[&mirror.host]);
    pushed(&format!("{}/app:1", to.host), &conf(&text), &to, 0).await.unwrap();
    assert!(paths(&mirror).iter().any(|path| path.contains("/manifests/")), "it is read there");
    let log = to.take_log();
    assert!(log.iter().all(|line| !line.starts_with("PUT /v2/copy/blobs/")), "{log:?}");
    assert_eq!(to.tags()["copy:1"], image.manifest.digest().to_string());
}

#[tokio::test]
async fn an_image_is_written_where_its_name_says() {
    let (here, elsewhere) = (Registry::start().await, Registry::start().await);
    let text = format!(
        "[[registry]]\nprefix = \"{}\"\nlocation = \"{}\"\ninsecure = true\n\
         [[registry.mirror]]\nlocation = \"{}\"\ninsecure = true",
        here.host, elsewhere.host, elsewhere.host
    );
    let image = Image::new("x");
    let to = destination(&format!("{}/app:1", here.host), &conf(&text)).await;
    put(&*to, &image).await.unwrap();
    assert_eq!(here.tags()["app:1"], image.manifest.digest().to_string());
    assert_eq!(paths(&elsewhere), [""; 0]);
}

#[tokio::test]
async fn a_location_without_a_host_is_refused() {
    let access = conf("[[registry]]\nprefix = \"up.test\"\nlocation = \"nohost\"");
    let reference = transport::parse("docker://up.test/app:1").unwrap();
    let Err(error) = reference.source(&access).await else { panic!("it was opened") };
    assert_eq!(
        told(&error),
        "InvalidOptions Permanent: rewriting `docker://up.test/app:1` as registries.conf says: \
         `nohost/app:1` does not start with the name of a host"
    );
}
