//! Layers that a registry leaves where their `urls` point: fetched from there only where the user has it so.

use std::sync::Arc;

use imagepush::access::{Access, Elsewhere, Network, NetworkSettings, Registries, RegistriesConf};
use imagepush::error::{Class, Error, Kind};
use imagepush::image::{Descriptor, MediaType};
use imagepush::limits::MAX_LAYER_ADDRESSES;
use imagepush::transport::BlobKind;

use super::harness::*;
use crate::support::canary::secret;
use crate::support::images::{self, Content, Form};
use crate::support::push;
use crate::support::registry::{Act, Login, Registry, Rule};

/// A registry that has an image but for its foreign layer, and a host that has that layer.
struct Places {
    registry: Registry,
    host: Registry,
    name: String,
    layer: images::Layer,
    folder: tempfile::TempDir,
}

impl Places {
    async fn start() -> Self {
        let (registry, host) = (Registry::start().await, Registry::start().await);
        let layer = images::layer(1, 100_000, Form::Gzip);
        let name = host.host.replace("127.0.0.1", "localhost");
        let folder = tempfile::tempdir().unwrap();
        let places = Self { registry, host, name, layer, folder };
        let bytes = places.layer.bytes.clone().into();
        let to = destination(&format!("{}/lib:1", places.host.host), &plain()).await;
        to.put_blob(blob(&bytes), BlobKind::Layer).await.unwrap();
        places.host.take_log();
        places
    }

    fn descriptor(&self) -> Descriptor {
        let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
        let mut descriptor = Descriptor::of(MediaType::new(foreign), &self.layer.bytes);
        descriptor.urls = vec![self.url(&self.name)];
        descriptor
    }

    fn url(&self, host: &str) -> String {
        let digest = Descriptor::of(MediaType::OCTET_STREAM, &self.layer.bytes).digest;
        format!("http://{host}/v2/lib/blobs/{digest}")
    }

    /// Has the registry hold the image, and asks for credentials from then on.
    async fn fill(&self) {
        let here = images::layer(2, 100, Form::Gzip);
        let elsewhere = self.layer.clone().foreign(&self.url(&self.name));
        let layout = self.folder.path().join("layout");
        Content::image("windows", "amd64", &[here, elsewhere]).write_layout(&layout, Some("1"));
        let name = format!("docker://{}/app:1", self.registry.host);
        let mut options = push::options(&format!("oci:{}:1", layout.display()), &name);
        options.destination.access = plain();
        push::run(&options).await.unwrap();
        self.registry.set_login(Login::basic("alice", secret("docker::foreign")));
        self.registry.take_log();
    }

    /// Pushes the image to a place, and tells what the host was asked.
    async fn push(&self, to: &str, listed: &[&str]) -> (Result<(), Error>, Vec<String>) {
        let access = access(listed);
        let mut options = push::options(&format!("docker://{}/app:1", self.registry.host), to);
        options.source.access = access.clone();
        if to.starts_with("docker:") {
            options.destination.access = access;
        }
        let pushed = push::run(&options).await.map(drop);
        (pushed, self.asked())
    }

    /// Reads one layer.
    async fn read(&self, layer: &Descriptor, listed: &[&str]) -> (Result<(), Error>, Vec<String>) {
        let name = format!("{}/app:1", self.registry.host);
        let from = source(&name, &access(listed)).await;
        let read = match from.blob(layer).await {
            Ok(chunks) => collect(chunks).await.map(|bytes| assert_eq!(bytes, self.layer.bytes)),
            Err(error) => Err(error),
        };
        (read, self.asked())
    }

    /// What the host was asked; nobody is told who asks.
    fn asked(&self) -> Vec<String> {
        assert!(self.host.seen().iter().all(|seen| seen.authorization().is_none()));
        let log = self.host.take_log();
        log.iter().map(|line| line.split("sha256:").next().unwrap().to_owned()).collect()
    }
}

/// What a user may do who has listed these hosts.
fn access(listed: &[&str]) -> Access {
    let layer_hosts = listed.iter().map(|host| host.parse().unwrap()).collect();
    let elsewhere = Elsewhere { layer_hosts, ..Elsewhere::default() };
    let settings = NetworkSettings { elsewhere, ..NetworkSettings::default() };
    let access = plain_as("alice", secret("docker::foreign"));
    Access { network: Network::new(settings), ..access }
}

#[tokio::test]
async fn urls_of_a_layer_are_not_fetched() {
    let places = Places::start().await;
    places.fill().await;
    let to = format!("dir:{}", places.folder.path().join("to").display());
    for listed in [&[][..], &["other.example"], &["127.0.0.1", "localhost"]] {
        let (pushed, asked) = places.push(&to, listed).await;
        assert_eq!(asked, [""; 0]);
        assert_eq!(
            told(&pushed.unwrap_err()),
            format!(
                "NotFound Permanent: pushing `docker://{host}/app:1` to `{to}`: reading blob `{}` of \
                 `docker://{host}/app`: the registry answered 404 Not Found (BLOB_UNKNOWN: blob unknown); the layer is a foreign one, and \
                 nothing is fetched from `{name}`, where it may be // push to a registry or a layout, \
                 which leave such a layer where it is; or `--foreign-layer-host {name}`, of the command \
                 line or of the operator, has it fetched",
                places.descriptor().digest,
                host = places.registry.host,
                name = places.name,
            )
        );
    }
}

#[tokio::test]
async fn urls_of_a_layer_are_fetched_from_a_listed_host() {
    let places = Places::start().await;
    places.fill().await;
    let to = places.folder.path().join("to");
    let (pushed, asked) = places.push(&format!("dir:{}", to.display()), &[&places.name]).await;
    pushed.unwrap();
    assert_eq!(asked, ["GET /v2/lib/blobs/"]);
    let held = to.join(places.descriptor().digest.hex());
    assert_eq!(std::fs::read(held).unwrap(), places.layer.bytes);
    // A destination that knows foreign layers needs no bytes.
    let copy = format!("docker://{}/copy:1", places.registry.host);
    let (pushed, asked) = places.push(&copy, &[&places.name]).await;
    pushed.unwrap();
    assert_eq!(asked, [""; 0]);
}

/// Each at the transport: what is asked for, and what comes of it.
#[tokio::test]
async fn only_listed_hosts_are_asked_for_layers() {
    let places = Places::start().await;
    let (name, host) = (places.name.as_str(), places.host.host.as_str());
    let with = |urls: &[&str]| {
        let urls = urls.iter().map(|url| (*url).to_owned()).collect();
        Descriptor { urls, ..places.descriptor() }
    };
    let (here, there) = (places.url(name), places.url(host));
    // The first that is listed, and another one if that has nothing.
    let gone = there.replace("/lib/", "/none/");
    let (read, asked) = places.read(&with(&["ftp://a/b", &here, &gone, &there]), &[host]).await;
    read.unwrap();
    assert_eq!(asked, ["GET /v2/none/blobs/", "GET /v2/lib/blobs/"]);
    let (read, asked) = places.read(&with(&[&gone]), &[host]).await;
    let error = read.unwrap_err().to_string();
    assert!(error.contains(&format!("`{host}` answered 404 Not Found")), "{error}");
    assert_eq!(asked.len(), 1);
    // Why one fails that may be tried again goes before another's lack; nobody's Secret is wrong.
    let busy = Rule::each("GET", "/busy", Act::Respond(503, vec![], vec![]));
    places.host.add_rule(busy);
    let closed = Act::Respond(401, vec![], vec![]);
    places.host.add_rule(Rule::each("GET", "/closed", closed));
    let at = |path: &str| format!("http://{host}{path}");
    let (read, _) = places.read(&with(&[&at("/busy"), &gone]), &[host]).await;
    assert_eq!(read.unwrap_err().kind(), Kind::RegistryUnavailable);
    let (read, _) = places.read(&with(&[&at("/closed")]), &[host]).await;
    assert_eq!(read.unwrap_err().kind(), Kind::AccessDenied);
    // The author of an image has others asked a few times only.
    let many = vec![gone.as_str(); 100];
    let (read, asked) = places.read(&with(&many), &[host]).await;
    assert_eq!((read.is_err(), asked.len()), (true, MAX_LAYER_ADDRESSES));
    // A user name, or less protection than the registry has, is no address of ours.
    let named = here.replace("http://", "http://alice@");
    let (read, asked) = places.read(&with(&[&named]), &[name]).await;
    assert_eq!((read.is_err(), asked.len()), (true, 0));
    // A layer that is not a foreign one belongs into its registry.
    let own = Descriptor { media_type: MediaType::OCTET_STREAM, ..with(&[&here]) };
    let (read, asked) = places.read(&own, &[name]).await;
    assert_eq!((read.unwrap_err().kind(), asked.len()), (Kind::NotFound, 0));
}

#[tokio::test]
async fn a_listed_host_leads_to_listed_hosts_only() {
    let places = Places::start().await;
    let (name, host) = (places.name.as_str(), places.host.host.as_str());
    let layer = Descriptor { urls: vec![format!("http://{name}/go")], ..places.descriptor() };
    let to = |url: String| Act::Respond(302, vec![("location", url)], vec![]);
    places.host.add_rule(Rule::each("GET", "/go", to(places.url(host))).nth(1));
    places.host.add_rule(Rule::each("GET", "/go", to(places.url(host))).nth(1));
    places.host.add_rule(Rule::each("GET", "/go", to("/go".into())));
    let (read, asked) = places.read(&layer, &[name]).await;
    let message = format!("`{name}` leads to `{host}`, which foreign layers are not fetched from");
    let error = told(&read.unwrap_err());
    assert!(error.contains(&message) && error.contains("`--foreign-layer-host 127."), "{error}");
    assert_eq!(asked, ["GET /go 302"]);
    let (read, asked) = places.read(&layer, &[name, host]).await;
    read.unwrap();
    assert_eq!(asked, ["GET /go 302", "GET /v2/lib/blobs/"]);
    let (read, asked) = places.read(&layer, &[name]).await;
    let error = read.unwrap_err().to_string();
    assert!(error.contains("redirects more than 5 times"), "{error}");
    assert_eq!(asked.len(), 6);
}

/// Not even the registry, if its own host is listed.
#[tokio::test]
async fn nobody_is_told_who_fetches_a_layer() {
    let places = Places::start().await;
    places.fill().await;
    let name = places.registry.host.as_str();
    let layer = Descriptor { urls: vec![format!("http://{name}/layer")], ..places.descriptor() };
    let (read, _) = places.read(&layer, &[name]).await;
    read.unwrap_err();
    let seen = places.registry.seen();
    let fetched = seen.iter().find(|seen| seen.path == "/layer").unwrap();
    assert_eq!((fetched.authorization(), fetched.status), (None, 401));
}

#[tokio::test]
async fn a_foreign_layer_is_verified_and_goes_on_where_it_broke() {
    let places = Places::start().await;
    places.fill().await;
    places.host.add_rule(Rule::each("GET", "/blobs/", Act::Truncate(60_000)).nth(1));
    let to = places.folder.path().join("to");
    let (pushed, asked) = places.push(&format!("dir:{}", to.display()), &[&places.name]).await;
    pushed.unwrap();
    assert_eq!(asked.len(), 2);
    let other = Act::Respond(200, vec![], vec![0; places.layer.bytes.len()]);
    places.host.add_rule(Rule::each("GET", "/blobs/", other));
    let to = places.folder.path().join("other");
    let (pushed, _) = places.push(&format!("dir:{}", to.display()), &[&places.name]).await;
    assert_eq!(pushed.unwrap_err().kind(), Kind::ContentMismatch);
    assert!(!to.exists());
}

/// What the registry itself lacks is asked of the listed host, though a mirror can't be asked; and there is no other copy.
#[tokio::test]
async fn a_mirror_that_is_down_is_in_nobodys_way() {
    let places = Places::start().await;
    places.fill().await;
    let mirror = Registry::start().await;
    mirror.add_rule(Rule::each("GET", "/v2/", Act::Status(503)));
    let text = format!(
        "[[registry]]\nlocation = \"{}\"\ninsecure = true\n[[registry.mirror]]\nlocation = \"{}\"\ninsecure = true",
        places.registry.host, mirror.host
    );
    let conf = Arc::new(RegistriesConf::parse(&text, "registries.conf").unwrap());
    let registries = Registries { conf, ..Registries::default() };
    let push = async |to: &str| {
        let to = format!("dir:{}", places.folder.path().join(to).display());
        let mut options = push::options(&format!("docker://{}/app:1", places.registry.host), &to);
        options.source.access =
            Access { registries: registries.clone(), ..access(&[&places.name]) };
        let pushed = push::run(&options).await.map(drop);
        (pushed, places.asked().len())
    };
    let (pushed, asked) = push("to").await;
    pushed.unwrap();
    assert_eq!(asked, 1);
    let other = Act::Respond(200, vec![], vec![0; places.layer.bytes.len()]);
    places.host.add_rule(Rule::each("GET", "/blobs/", other));
    let error = push("other").await.0.unwrap_err();
    assert_eq!((error.kind(), error.class()), (Kind::ContentMismatch, Class::Permanent));
}
