//! What is attached to a manifest: with a registry that keeps the list, and with one that leaves that to its clients.

use std::collections::BTreeSet;

use bytes::Bytes;
use imagepush::access::Access;
use imagepush::error::{Class, Result};
use imagepush::image::{
    Annotations, Artifact, Descriptor, Digest, EMPTY_CONFIG, Index, Manifest, MediaType,
};
use imagepush::transport::{BlobKind, ImageDestination, Role};

use super::harness::*;
use crate::support::canary::secret;
use crate::support::docker_registry::{DockerRegistry, Program};
use crate::support::registry::{Act, Login, Referrers, Registry, Rule};
use crate::support::{peers, tools};

const BUNDLE: MediaType = MediaType::OCTET_STREAM;

/// An artifact whose one layer follows from `seed`.
fn artifact(subject: &Manifest, kind: &MediaType, seed: &str) -> (Bytes, Manifest) {
    let content = Bytes::from(format!("content: {seed}\n"));
    let artifact = Artifact {
        artifact_type: kind.clone(),
        subject: subject.descriptor(),
        layers: vec![Descriptor::of(MediaType::new("application/yaml"), &content)],
        annotations: Annotations::from([("seed".to_owned(), seed.to_owned())]),
    };
    (content, artifact.into_manifest())
}

/// How a list should describe it.
fn listed(artifact: &Manifest) -> Descriptor {
    let image = artifact.as_image().unwrap();
    let (artifact_type, annotations) = (image.artifact_type.clone(), image.annotations.clone());
    Descriptor { artifact_type, annotations, ..artifact.descriptor() }
}

async fn attach(to: &dyn ImageDestination, content: &Bytes, artifact: &Manifest) -> Result<()> {
    to.put_blob(blob(&Bytes::from_static(EMPTY_CONFIG)), BlobKind::Config).await?;
    to.put_blob(blob(content), BlobKind::Layer).await?;
    to.put_attachment(artifact).await
}

/// A registry of ours with an image that things are attached to.
struct Subject {
    registry: Registry,
    image: Image,
    to: Box<dyn ImageDestination>,
}

/// The list on one page.
const LISTS: Option<Referrers> = Some(Referrers { page: 100, filters: true });

impl Subject {
    /// A registry that keeps lists so, or none.
    async fn new(referrers: Option<Referrers>) -> Self {
        let registry = Registry::start().await;
        if let Some(referrers) = referrers {
            registry.keep_referrers(referrers);
        }
        let image = Image::new("x");
        let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
        put(&*to, &image).await.unwrap();
        Self { registry, image, to }
    }

    fn digest(&self) -> &Digest {
        self.image.manifest.digest()
    }

    /// The tag of a list that the registry doesn't keep.
    fn tag(&self) -> String {
        self.digest().to_string().replace(':', "-")
    }

    /// Attaches a bundle that follows from `seed`.
    async fn attach(&self, seed: &str) -> Result<Manifest> {
        let (content, bundle) = artifact(&self.image.manifest, &BUNDLE, seed);
        attach(&*self.to, &content, &bundle).await.map(|()| bundle)
    }

    async fn listed(&self, kind: Option<&MediaType>) -> Result<Vec<Descriptor>> {
        self.to.attachments(self.digest(), kind).await
    }
}

fn digests(list: &[Descriptor]) -> BTreeSet<String> {
    list.iter().map(|entry| entry.digest.to_string()).collect()
}

/// What holds of every registry.
async fn check(host: &str, access: &Access) {
    let name = format!("{host}/team/attached:1");
    let image = Image::new("subject");
    let subject = image.manifest.digest();
    let to = destination(&name, access).await;
    assert_eq!(to.attachments(subject, None).await.unwrap(), []);
    put(&*to, &image).await.unwrap();
    assert_eq!(to.attachments(subject, None).await.unwrap(), []);

    let other_kind = MediaType::new("application/vnd.example+json");
    let (content, bundle) = artifact(&image.manifest, &BUNDLE, "one");
    let (other_content, other) = artifact(&image.manifest, &other_kind, "two");
    attach(&*to, &content, &bundle).await.unwrap();
    attach(&*to, &content, &bundle).await.unwrap();
    attach(&*to, &other_content, &other).await.unwrap();

    let all = to.attachments(subject, None).await.unwrap();
    assert_eq!(digests(&all), digests(&[bundle.descriptor(), other.descriptor()]));
    assert_eq!(to.attachments(subject, Some(&BUNDLE)).await.unwrap(), [listed(&bundle)]);

    let from = source(&name, access).await;
    let found = from.attachments(subject, Some(&other_kind)).await.unwrap();
    assert_eq!(found, [listed(&other)]);
    assert_eq!(from.attachment(&found[0]).await.unwrap(), other);
    let layer = &other.as_image().unwrap().layers[0];
    assert_eq!(collect(from.blob(layer).await.unwrap()).await.unwrap(), other_content);
    assert_eq!(from.manifest(None).await.unwrap(), image.manifest);

    to.delete_attachment(subject, bundle.digest()).await.unwrap();
    assert_eq!(to.attachments(subject, Some(&BUNDLE)).await.unwrap(), []);
    assert_eq!(to.attachments(subject, Some(&other_kind)).await.unwrap(), [listed(&other)]);
    to.delete_attachment(subject, bundle.digest()).await.unwrap();
    to.delete_attachment(subject, other.digest()).await.unwrap();
    assert_eq!(to.attachments(subject, None).await.unwrap(), []);
    assert!(from.attachment(&found[0]).await.is_err());
    attach(&*to, &content, &bundle).await.unwrap();
    assert_eq!(to.attachments(subject, Some(&BUNDLE)).await.unwrap(), [listed(&bundle)]);
    to.commit().await.unwrap();
}

/// Copies what is attached, such as a signature, as an image of its own: by its tag, by its digest, and below an index.
async fn copied_attachments_are_listed(host: &str, keeps_list: bool) {
    let image = Image::new("subject");
    let to = destination(&format!("{host}/team/copied:1"), &plain()).await;
    put(&*to, &image).await.unwrap();
    let subject = image.manifest.digest();
    let signature = |seed: &str| artifact(&image.manifest, &BUNDLE, seed);
    let signatures = ["tag", "digest", "instance"].map(signature);
    for (content, _) in &signatures {
        to.put_blob(blob(&Bytes::from_static(EMPTY_CONFIG)), BlobKind::Config).await.unwrap();
        to.put_blob(blob(content), BlobKind::Layer).await.unwrap();
    }
    let [tagged, pinned, instance] = signatures.map(|(_, manifest)| manifest);
    let mut index = Index::new(vec![instance.descriptor()]);
    index
        .other
        .insert("subject".into(), serde_json::to_value(image.manifest.descriptor()).unwrap());
    index.other.insert("artifactType".into(), "application/vnd.example.list".into());
    let index = Manifest::from_index(index, MediaType::OCI_INDEX);
    to.put_manifest(&instance, Role::Instance).await.unwrap();
    let expected = [&tagged, &pinned, &instance, &index].map(Manifest::descriptor);
    for (name, manifest) in [
        ("copied:signature".to_owned(), tagged),
        (format!("copied@{}", pinned.digest()), pinned),
        ("copied:index".to_owned(), index),
    ] {
        let to = destination(&format!("{host}/team/{name}"), &plain()).await;
        to.put_manifest(&manifest, Role::Named).await.unwrap();
        assert_eq!(to.current().await.unwrap().unwrap().digest, *manifest.digest(), "{name}");
    }
    let all = to.attachments(subject, None).await.unwrap();
    assert_eq!(digests(&all), digests(&expected));
    let listed = |entry: &&Descriptor| entry.digest == expected[3].digest;
    let kind = all.iter().find(listed).unwrap().artifact_type.clone();
    assert_eq!(kind, Some(MediaType::new("application/vnd.example.list")));
    let tag = format!("{host}/team/copied:{}", subject.to_string().replace(':', "-"));
    let list = destination(&tag, &plain()).await.current().await.unwrap();
    assert_eq!(list.is_none(), keeps_list);
}

#[tokio::test]
async fn what_is_attached_is_listed_when_it_is_copied_as_an_image() {
    copied_attachments_are_listed(&DockerRegistry::plain().host, false).await;
    let registry = Registry::start().await;
    registry.keep_referrers(LISTS.unwrap());
    copied_attachments_are_listed(&registry.host, true).await;
}

#[tokio::test]
async fn no_tag_leads_to_an_attachment_that_could_not_be_listed() {
    let subject = Subject::new(None).await;
    let (content, signature) = artifact(&subject.image.manifest, &BUNDLE, "x");
    let to = destination(&format!("{}/app:signature", subject.registry.host), &plain()).await;
    to.put_blob(blob(&Bytes::from_static(EMPTY_CONFIG)), BlobKind::Config).await.unwrap();
    to.put_blob(blob(&content), BlobKind::Layer).await.unwrap();
    let list = format!("/manifests/{}", subject.tag());
    subject.registry.add_rule(Rule::each("PUT", list, Act::Respond(503, vec![], vec![])).nth(1));
    let error = to.put_manifest(&signature, Role::Named).await.unwrap_err();
    let expected =
        format!("entering it into the list of `{}`: the registry answered 503", subject.digest());
    assert!(error.to_string().contains(&expected), "{error}");
    assert_eq!(error.class(), Class::Transient);
    assert_eq!(to.current().await.unwrap(), None);
    to.put_manifest(&signature, Role::Named).await.unwrap();
    assert_eq!(digests(&subject.listed(None).await.unwrap()), digests(&[signature.descriptor()]));
}

#[tokio::test]
async fn docker_registry_holds_attachments() {
    check(&DockerRegistry::plain().host, &plain()).await;
}

#[tokio::test]
async fn other_registries_hold_attachments() {
    check(&DockerRegistry::of(Program::Version3).host, &plain()).await;
    check(&DockerRegistry::of(Program::Referrers).host, &plain()).await;
}

/// Runs regctl with a registry that speaks plain HTTP.
fn regctl(host: &str, arguments: &[&str]) -> String {
    let home = tempfile::tempdir().unwrap();
    let home = format!("HOME={}", home.path().display());
    let host = format!("--host=reg={host},tls=disabled");
    let program = peers::program("regctl");
    tools::run("env", &[&[home.as_str(), program.to_str().unwrap(), &host], arguments].concat())
}

#[tokio::test]
async fn regctl_and_we_read_each_other() {
    for program in [Program::Debian, Program::Referrers] {
        let registry = DockerRegistry::of(program);
        let name = format!("{}/team/attached:1", registry.host);
        let image = Image::new("subject");
        let to = destination(&name, &plain()).await;
        put(&*to, &image).await.unwrap();
        let (content, bundle) = artifact(&image.manifest, &BUNDLE, "ours");
        attach(&*to, &content, &bundle).await.unwrap();

        let format = ["--format", "{{range .Descriptors}}{{println .Digest}}{{end}}"];
        let list = regctl(&registry.host, &[&["artifact", "list", &name], &format[..]].concat());
        assert_eq!(list.trim(), bundle.digest().to_string());
        let read = regctl(&registry.host, &["artifact", "get", "--subject", &name]);
        assert_eq!(read.as_bytes(), content);

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("theirs");
        std::fs::write(&file, "theirs").unwrap();
        let put =
            ["artifact", "put", "--subject", &name, "--artifact-type", "application/x.theirs"];
        let put = [&put[..], &["--file", file.to_str().unwrap()]].concat();
        regctl(&registry.host, &put);
        let subject = image.manifest.digest();
        assert_eq!(to.attachments(subject, Some(&BUNDLE)).await.unwrap(), [listed(&bundle)]);
        let theirs = MediaType::new("application/x.theirs");
        let found = to.attachments(subject, Some(&theirs)).await.unwrap();
        let [found] = &found[..] else { panic!("{found:?}") };
        let from = source(&name, &plain()).await;
        let manifest = from.attachment(found).await.unwrap();
        let layer = from.blob(&manifest.as_image().unwrap().layers[0]).await.unwrap();
        assert_eq!(collect(layer).await.unwrap(), "theirs");
    }
}

#[tokio::test]
async fn our_registry_holds_attachments_with_and_without_lists() {
    let registry = Registry::start().await;
    check(&registry.host, &plain()).await;
    for (page, filters) in [(100, true), (100, false), (1, true), (1, false)] {
        let registry = Registry::start().await;
        registry.keep_referrers(Referrers { page, filters });
        registry.set_login(Login::bearer("alice", secret("docker::referrers")));
        check(&registry.host, &plain_as("alice", secret("docker::referrers"))).await;
        assert!(registry.tags().keys().all(|tag| !tag.contains("sha256-")));
    }
}

#[tokio::test]
async fn an_attachment_costs_few_requests() {
    for (lists, expected) in [
        (LISTS, &["PUT /v2/app/manifests/ARTIFACT 201"][..]),
        (
            None,
            &[
                "PUT /v2/app/manifests/ARTIFACT 201",
                "GET /v2/app/manifests/LIST 404",
                "PUT /v2/app/manifests/LIST 201",
                "GET /v2/app/manifests/LIST 200",
            ],
        ),
    ] {
        let subject = Subject::new(lists).await;
        let (content, bundle) = artifact(&subject.image.manifest, &BUNDLE, "x");
        subject.to.put_blob(blob(&content), BlobKind::Layer).await.unwrap();
        let config = Bytes::from_static(EMPTY_CONFIG);
        subject.to.put_blob(blob(&config), BlobKind::Config).await.unwrap();
        subject.registry.take_log();
        subject.to.put_attachment(&bundle).await.unwrap();
        let known = |line: &String| {
            line.replace(&bundle.digest().to_string(), "ARTIFACT").replace(&subject.tag(), "LIST")
        };
        let log: Vec<String> = subject.registry.take_log().iter().map(known).collect();
        assert_eq!(log, expected);
    }
}

#[tokio::test]
async fn an_attachment_whose_answer_says_nothing_is_listed_once() {
    for act in [Act::DropAnswer, Act::Status(200), Act::Status(204)] {
        for (lists, tags) in [(LISTS, 1), (None, 2)] {
            let subject = Subject::new(lists).await;
            subject.registry.add_rule(Rule::each("PUT", "/manifests/", act.clone()).nth(1));
            let bundle = subject.attach("x").await.unwrap();
            assert_eq!(subject.listed(Some(&BUNDLE)).await.unwrap(), [listed(&bundle)]);
            assert_eq!(subject.registry.tags().len(), tags, "{:?}", subject.registry.tags());
        }
    }
}

/// Attaches through several destinations at once, and returns what is listed then.
async fn attach_at_once(host: &str, writers: usize) {
    let name = format!("{host}/app:1");
    let image = Image::new("raced");
    let to = destination(&name, &plain()).await;
    put(&*to, &image).await.unwrap();
    let artifacts: Vec<(Bytes, Manifest)> =
        (0..writers).map(|n| artifact(&image.manifest, &BUNDLE, &n.to_string())).collect();
    let write = async |(content, artifact): &(Bytes, Manifest)| {
        let to = destination(&name, &plain()).await;
        // docker-registry answers 500 now and then when two write the same tag; the engine would try again as well.
        for _ in 0..10 {
            match attach(&*to, content, artifact).await {
                Err(error) if error.class() == Class::Transient => {}
                end => return end,
            }
        }
        attach(&*to, content, artifact).await
    };
    futures::future::try_join_all(artifacts.iter().map(write)).await.unwrap();
    let all = to.attachments(image.manifest.digest(), None).await.unwrap();
    let expected: Vec<Descriptor> = artifacts.iter().map(|(_, it)| it.descriptor()).collect();
    assert_eq!(digests(&all), digests(&expected));
}

#[tokio::test]
async fn writers_at_the_same_time_lose_nothing() {
    attach_at_once(&DockerRegistry::plain().host, 2).await;
    attach_at_once(&DockerRegistry::plain().host, 5).await;
    attach_at_once(&Registry::start().await.host, 5).await;
}

#[tokio::test]
async fn a_list_that_was_overwritten_is_merged_again() {
    let subject = Subject::new(None).await;
    let (registry, list) = (&subject.registry, subject.tag());
    let first = subject.attach("first").await.unwrap();
    // Somebody else's list, which was read before ours was written, takes its place.
    let puts = format!("/manifests/{list}");
    registry.add_rule(Rule::each("PUT", puts.clone(), Act::Respond(201, vec![], vec![])).nth(1));
    let second = subject.attach("second").await.unwrap();
    assert_eq!(subject.listed(None).await.unwrap(), [listed(&first), listed(&second)]);

    // It is told apart by its version, where the registry has versions.
    registry.add_rule(Rule::each("PUT", puts.clone(), Act::Respond(412, vec![], vec![])).nth(1));
    registry.add_rule(Rule::each("GET", puts.clone(), Act::Header("etag", "\"v1\"".into())));
    registry.take_log();
    let third = subject.attach("third").await.unwrap();
    let all = subject.listed(None).await.unwrap();
    assert_eq!(all, [listed(&first), listed(&second), listed(&third)]);
    let versions = registry.seen().into_iter().filter(|seen| seen.method == "PUT");
    let versions: Vec<_> =
        versions.filter_map(|seen| seen.headers.get("if-match").cloned()).collect();
    assert_eq!(versions, ["\"v1\"", "\"v1\""]);

    registry.add_rule(Rule::each("PUT", puts, Act::Respond(201, vec![], vec![])));
    let (_, fourth) = artifact(&subject.image.manifest, &BUNDLE, "fourth");
    let error = subject.attach("fourth").await.unwrap_err();
    assert_eq!(
        told(&error),
        format!(
            "RegistryUnavailable Transient: attaching `{}` in `docker://{}/app`: entering it into the \
             list of `{}`: others kept changing the list of attachments `{list}`",
            fourth.digest(),
            registry.host,
            subject.digest()
        )
    );
}

/// What listing tells when the registry's own list answers so, and how many requests that took. The host is written as
/// `HOST`, the subject as `DIGEST`.
async fn listing(acts: impl IntoIterator<Item = Act>) -> (String, usize) {
    let subject = Subject::new(LISTS).await;
    let registry = &subject.registry;
    for act in acts {
        registry.add_rule(Rule::each("GET", "", act).nth(1));
    }
    registry.take_log();
    let list = subject.listed(None).await;
    let told = list.map_or_else(|error| told(&error), |list| list.len().to_string());
    let told =
        told.replace(&registry.host, "HOST").replace(&subject.digest().to_string(), "DIGEST");
    (told, registry.take_log().len())
}

/// A page of a list, and where the next one is.
fn page(entries: &[&str], next: &str) -> Act {
    let entries =
        entries.iter().map(|entry| Descriptor::of(MediaType::OCI_MANIFEST, entry.as_bytes()));
    let index = Index::new(entries.collect());
    let index = Manifest::from_index(index, MediaType::OCI_INDEX);
    let mut headers = vec![("content-type", index.media_type().to_string())];
    headers.extend((!next.is_empty()).then(|| ("link", format!("<{next}>; rel=\"next\""))));
    Act::Respond(200, headers, index.bytes().to_vec())
}

#[tokio::test]
async fn only_a_registry_that_knows_no_lists_is_helped_out() {
    let html = vec![("content-type", "text/html".to_owned())];
    let index = vec![("content-type", MediaType::OCI_INDEX.to_string())];
    let long = format!(r#"{{"schemaVersion":2,"manifests":[],"x":"{}"}}"#, "y".repeat(4 << 20));
    for (act, message) in [
        (
            Act::Respond(500, vec![], vec![]),
            "RegistryUnavailable Transient: {}the registry answered 500 Internal Server Error",
        ),
        (
            Act::Respond(503, vec![], vec![]),
            "RegistryUnavailable Transient: {}the registry answered 503 Service Unavailable",
        ),
        (
            Act::Respond(403, vec![], vec![]),
            "AccessDenied Permanent: {}the registry answered 403 Forbidden // no credentials were given: log \
             in with `podman login HOST`, or pass `--creds`",
        ),
        (
            Act::Respond(200, html, b"<html>canary".to_vec()),
            "RegistryUnavailable Permanent: {}the registry answered with something that is no list of \
             attachments",
        ),
        (
            Act::Respond(200, index.clone(), b"<html>canary".to_vec()),
            "InvalidImage Permanent: {}the manifest is malformed: expected value at line 1 column 1",
        ),
        (
            Act::Respond(200, index, long.into()),
            "LimitExceeded Permanent: {}the list of attachments has more than the limit of 4194304 bytes",
        ),
        (
            Act::Drop,
            "NetworkError Transient: {}the connection to `HOST` broke: connection closed before message \
             completed",
        ),
    ] {
        let doing = "listing what is attached to `DIGEST` in `docker://HOST/app`: ";
        assert_eq!(listing([act]).await, (message.replace("{}", doing), 1));
    }
    // 404 for the list of the registry's own, then for the tag.
    assert_eq!(listing([Act::Respond(404, vec![], vec![])]).await, ("0".to_owned(), 2));
}

#[tokio::test]
async fn pages_of_a_list_have_an_end() {
    let told = |message: &str| {
        let doing = "listing what is attached to `DIGEST` in `docker://HOST/app`: ";
        message.replace("{}", doing)
    };
    let pages = [page(&["a", "b"], "?2"), page(&[], "?3"), page(&["b", "c"], "")];
    assert_eq!(listing(pages).await, ("3".to_owned(), 3));
    let repeated = told("RegistryUnavailable Permanent: {}the pages of the list repeat themselves");
    assert_eq!(listing([page(&["a"], "?2"), page(&["b"], "?2")]).await, (repeated.clone(), 2));
    assert_eq!(listing([page(&["a"], "?2"), page(&["a"], "?3")]).await, (repeated, 2));
    let endless = (0..200).map(|number| page(&[&number.to_string()], &format!("?{number}")));
    let message = "LimitExceeded Permanent: {}the list has more than the limit of 100 pages";
    assert_eq!(listing(endless).await, (told(message), 100));
    let many: Vec<String> = (0..1001).map(|number: usize| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let message = "LimitExceeded Permanent: {}the list has more than the limit of 1000 attachments";
    assert_eq!(listing([page(&many, "")]).await, (told(message), 1));
    let gone = Act::Respond(404, vec![], vec![]);
    let message = "NotFound Permanent: {}the registry answered 404 Not Found";
    assert_eq!(listing([page(&["a"], "?2"), gone]).await, (told(message), 2));
}

#[tokio::test]
async fn a_kind_that_is_not_listed_is_looked_up() {
    let subject = Subject::new(None).await;
    let (registry, image) = (&subject.registry, &subject.image);
    let bundle = subject.attach("x").await.unwrap();
    let (_, gone) = artifact(&image.manifest, &BUNDLE, "gone");
    let list = |entries: Vec<Descriptor>| {
        let index = Manifest::from_index(Index::new(entries), MediaType::OCI_INDEX);
        let headers = vec![("content-type", index.media_type().to_string())];
        Act::Respond(200, headers, index.bytes().to_vec())
    };
    let empty = Descriptor { artifact_type: Some(MediaType::OCI_EMPTY), ..bundle.descriptor() };
    let listings = [
        vec![empty],
        vec![bundle.descriptor()],
        vec![gone.descriptor(), bundle.descriptor()],
        vec![
            bundle.descriptor(),
            listed(&artifact(&image.manifest, &MediaType::OCI_CONFIG, "y").1),
        ],
    ];
    for entries in listings {
        registry.add_rule(Rule::each("GET", "/referrers/", list(entries)).nth(1));
        assert_eq!(subject.listed(Some(&BUNDLE)).await.unwrap(), [listed(&bundle)]);
    }
    let many = (0..101).map(|n| artifact(&image.manifest, &BUNDLE, &n.to_string()).1.descriptor());
    registry.add_rule(Rule::each("GET", "/referrers/", list(many.collect())));
    let error = subject.listed(Some(&BUNDLE)).await.unwrap_err();
    assert!(error.to_string().contains("more than the limit of 100 attachments"), "{error}");
}

#[tokio::test]
async fn a_list_elsewhere_is_not_asked_for() {
    let stranger = Registry::start().await;
    stranger.keep_referrers(Referrers { page: 1, filters: true });
    let there =
        format!("http://{}/v2/app/referrers/x", stranger.host.replace("127.0.0.1", "localhost"));
    let (told, requests) = listing([page(&["a"], &there)]).await;
    assert!(told.ends_with("`, which is not followed"), "{told}");
    assert_eq!((requests, stranger.seen().len()), (1, 0));
    let moved = Act::Respond(307, vec![("location", there)], vec![]);
    stranger.add_rule(Rule::each("GET", "", page(&["a"], "")));
    let (told, _) = listing([moved]).await;
    assert!(told.ends_with("`, which is not believed"), "{told}");
}

#[tokio::test]
async fn an_image_in_the_place_of_a_list_stays() {
    let registry = Registry::start().await;
    let image = Image::new("x");
    let list = image.manifest.digest().to_string().replace(':', "-");
    let to = destination(&format!("{}/app:{list}", registry.host), &plain()).await;
    put(&*to, &image).await.unwrap();
    let tags = registry.tags();
    let (content, bundle) = artifact(&image.manifest, &BUNDLE, "x");
    let error = attach(&*to, &content, &bundle).await.unwrap_err();
    assert_eq!(
        told(&error),
        format!(
            "InvalidImage Permanent: attaching `{}` in `docker://{}/app`: entering it into the list of `{}`: \
             the tag `{list}` has an image, where a list of attachments should be // remove the tag, or \
             attach nothing to this image",
            bundle.digest(),
            registry.host,
            image.manifest.digest()
        )
    );
    assert_eq!(registry.tags(), tags);
}

#[tokio::test]
async fn what_belongs_to_nothing_is_no_attachment() {
    let registry = Registry::start().await;
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    let image = Image::new("x");
    put_blobs(&*to, &image).await.unwrap();
    registry.take_log();
    let error = to.put_attachment(&image.manifest).await.unwrap_err();
    let digest = image.manifest.digest();
    assert_eq!(
        told(&error),
        format!(
            "InvalidImage Permanent: attaching `{digest}` in `docker://{}/app`: `{digest}` names no manifest \
             that it belongs to",
            registry.host
        )
    );
    assert_eq!(registry.take_log(), [""; 0]);
}

#[tokio::test]
async fn an_attachment_is_the_one_that_was_listed() {
    let subject = Subject::new(None).await;
    let (registry, image) = (&subject.registry, &subject.image);
    let bundle = subject.attach("x").await.unwrap();
    let from = source(&format!("{}/app:1", registry.host), &plain()).await;
    let (_, other) = artifact(&image.manifest, &BUNDLE, "y");
    let path = format!("/manifests/{}", bundle.digest());
    registry.add_rule(Rule::each("GET", path, Act::Respond(200, vec![], other.bytes().to_vec())));
    let error = from.attachment(&listed(&bundle)).await.unwrap_err();
    assert_eq!(
        told(&error),
        format!(
            "ContentMismatch Permanent: the attachment is `{}` of {size} bytes instead of `{}` of {size}",
            other.digest(),
            bundle.digest(),
            size = bundle.bytes().len()
        )
    );
}

#[tokio::test]
async fn a_registry_that_deletes_nothing_says_so() {
    for lists in [LISTS, None] {
        let subject = Subject::new(lists).await;
        let registry = &subject.registry;
        let bundle = subject.attach("x").await.unwrap();
        registry.add_rule(Rule::each("DELETE", "", Act::Respond(405, vec![], vec![])));
        let deleted = subject.to.delete_attachment(subject.digest(), bundle.digest()).await;
        let left = subject.listed(None).await.unwrap().len();
        match deleted {
            Ok(()) => assert_eq!((lists.is_some(), left), (false, 0)),
            Err(error) => {
                assert_eq!((lists.is_some(), left), (true, 1));
                let expected = format!(
                    "TransportUnsupported Permanent: deleting attachment `{}` of `docker://{}/app`: the \
                     registry answered 405 Method Not Allowed // the registry has to allow deleting",
                    bundle.digest(),
                    registry.host
                );
                assert_eq!(told(&error), expected);
            }
        }
    }
}
