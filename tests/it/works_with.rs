//! Real registries in the forms that people run them: the same jobs in each, and what other tools find there afterwards.

mod door;

use std::path::Path;

use door::Door;

use crate::support::canary;
use crate::support::certificates::{Authority, Life};
use crate::support::docker_registry::{DockerRegistry, Program, Request, Setup};
use crate::support::images::{self, Content, Form};
use crate::support::nginx::{self, Bodies, Nginx};

/// What is asked of users where somebody has to log in.
fn alice() -> (&'static str, &'static str) {
    ("alice", canary::secret("works_with"))
}

/// What becomes of a blob that another repository of the registry has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OtherRepository {
    /// The registry links it.
    Mounts,
    /// It is sent, or found: the registry doesn't know repositories apart, or by other names than we do.
    Sends,
}

/// Does all jobs, one after the other.
fn works(registry: &DockerRegistry, door: &Door, other: OtherRepository) {
    let folder = tempfile::tempdir().unwrap();
    let image = layout(folder.path(), "image", &images::image(1));
    let index = layout(folder.path(), "index", &images::index(5));
    let (app, copy, all) = (door.name("team/app"), door.name("team/copy"), door.name("team/all"));

    assert_eq!(door.push(&image.name, &app), image.digest);
    read_back(door, &app, &image.digest, folder.path());

    let before = registry.requests().len();
    assert_eq!(door.push(&image.name, &app), image.digest);
    let again = answered(registry, before);
    assert!(matches!(&again[..], [only] if only.method == "HEAD"), "{again:#?}");

    assert_eq!(door.push(&index.name, &all), index.digest);
    read_back(door, &all, &index.digest, folder.path());

    let before = registry.requests().len();
    assert_eq!(door.push(&format!("docker://{app}"), &copy), image.digest);
    let sent = answered(registry, before).into_iter().filter(is_payload).count();
    assert!(sent == 0 || other == OtherRepository::Sends, "{sent} blobs were sent, not mounted");
    read_back(door, &copy, &image.digest, folder.path());
}

/// An image in a layout.
struct Layout {
    name: String,
    digest: String,
}

fn layout(folder: &Path, name: &str, content: &Content) -> Layout {
    content.write_layout(&folder.join(name), Some("1"));
    let name = format!("oci:{}:1", folder.join(name).display());
    Layout { name, digest: content.digest().to_owned() }
}

/// Every tool reads what was pushed, all of it, and finds the same digest.
fn read_back(door: &Door, name: &str, digest: &str, folder: &Path) {
    let remote = format!("docker://{name}");
    let into = tempfile::tempdir_in(folder).unwrap();
    let ours = format!("oci:{}:1", into.path().join("ours").display());
    assert_eq!(door.push(&remote, &ours), digest);

    let theirs = format!("dir:{}", into.path().join("skopeo").display());
    door.skopeo(&["copy", "--quiet", "--all", &remote, &theirs]);
    let manifest = std::fs::read(into.path().join("skopeo/manifest.json")).unwrap();
    assert_eq!(images::digest(&manifest), digest);

    assert_eq!(door.crane(&["digest", name]).trim(), digest);
    door.crane(&["validate", "--remote", name]);
    let raw = door.regctl(&["manifest", "get", "--format", "raw-body", name]);
    assert_eq!(images::digest(raw.as_bytes()), digest);
}

/// The requests from one on, without those that were told to log in.
fn answered(registry: &DockerRegistry, from: usize) -> Vec<Request> {
    let requests = registry.requests().split_off(from);
    requests.into_iter().filter(|request| request.status != 401).collect()
}

fn is_payload(request: &Request) -> bool {
    ["PATCH", "PUT"].contains(&request.method.as_str()) && request.path.contains("/blobs/")
}

fn plain(program: Program, other: OtherRepository) {
    let registry = DockerRegistry::of(program);
    works(&registry, &Door::plain(&registry.host), other);
}

fn tls_and_login(program: Program) {
    let authority = Authority::new();
    let files = authority.server("127.0.0.1", Life::Valid);
    let setup = Setup { program, tls: Some(&files), login: Some(alice()), ..Setup::default() };
    let registry = DockerRegistry::start(&setup);
    let door = Door::tls(&registry.host, &authority).with_login(alice());
    works(&registry, &door, OtherRepository::Mounts);
}

fn login_without_tls(program: Program) {
    let registry =
        DockerRegistry::start(&Setup { program, login: Some(alice()), ..Setup::default() });
    let door = Door::plain(&registry.host).with_login(alice());
    works(&registry, &door, OtherRepository::Mounts);
}

fn behind_nginx(program: Program, bodies: Bodies, prefix: &'static str, other: OtherRepository) {
    let authority = Authority::new();
    let files = authority.server("127.0.0.1", Life::Valid);
    let login = (program != Program::Referrers).then(alice);
    let registry = DockerRegistry::start(&Setup { program, login, ..Setup::default() });
    let proxy = Nginx::start(&nginx::Setup {
        registry: &registry.host,
        tls: &files,
        prefix,
        body_limit: "0",
        bodies,
    });
    let door = Door::tls(&proxy.host, &authority).below(prefix).with_login(alice());
    works(&registry, &door, other);
}

#[test]
fn docker_registry() {
    plain(Program::Debian, OtherRepository::Mounts);
}

#[test]
fn docker_registry_with_tls_and_login() {
    tls_and_login(Program::Debian);
}

#[test]
fn docker_registry_with_login_without_tls() {
    login_without_tls(Program::Debian);
}

#[test]
fn distribution_3() {
    plain(Program::Version3, OtherRepository::Mounts);
}

#[test]
fn distribution_3_with_tls_and_login() {
    tls_and_login(Program::Version3);
}

#[test]
fn distribution_3_with_login_without_tls() {
    login_without_tls(Program::Version3);
}

#[test]
fn a_registry_with_referrers() {
    plain(Program::Referrers, OtherRepository::Sends);
}

#[test]
fn docker_registry_behind_nginx() {
    behind_nginx(Program::Debian, Bodies::Buffered, "", OtherRepository::Mounts);
}

#[test]
fn distribution_3_behind_nginx() {
    behind_nginx(Program::Version3, Bodies::Streamed, "", OtherRepository::Mounts);
}

#[test]
fn docker_registry_below_a_path_of_nginx() {
    // The registry knows the other repository by another name, and can't mount from it.
    behind_nginx(Program::Debian, Bodies::Streamed, "below/", OtherRepository::Sends);
}

#[test]
fn a_registry_with_referrers_behind_nginx() {
    behind_nginx(Program::Referrers, Bodies::Buffered, "", OtherRepository::Sends);
}

/// Pushes an image with a layer of 3 MiB through a proxy that takes bodies up to a limit: the program's exit code and what
/// it said, with `HOST`, `IMAGE` and `LAYER` in place of what differs.
fn pushed_within(body_limit: &str, bodies: Bodies) -> (Option<i32>, String) {
    let authority = Authority::new();
    let files = authority.server("127.0.0.1", Life::Valid);
    let registry = DockerRegistry::of(Program::Debian);
    let setup =
        nginx::Setup { registry: &registry.host, tls: &files, prefix: "", body_limit, bodies };
    let proxy = Nginx::start(&setup);
    let folder = tempfile::tempdir().unwrap();
    let large = Content::image("linux", "amd64", &[images::layer(1, 3 << 20, Form::Gzip)]);
    let image = layout(folder.path(), "image", &large);
    let door = Door::tls(&proxy.host, &authority);
    let pushed = door.try_push(&image.name, &door.name("team/app"));
    if pushed.status.success() {
        read_back(&door, &door.name("team/app"), &image.digest, folder.path());
    }
    let manifest = large.manifest();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    let said = String::from_utf8(pushed.stderr).unwrap();
    let said = said.replace(&proxy.host, "HOST").replace(&image.name, "IMAGE");
    (pushed.status.code(), said.replace(layer, "LAYER"))
}

#[test]
fn blobs_go_in_pieces_through_a_proxy_that_takes_no_large_bodies() {
    for bodies in [Bodies::Buffered, Bodies::Streamed] {
        let (code, said) = pushed_within("1m", bodies);
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn a_proxy_that_takes_small_bodies_only_is_named() {
    let expected = "error: pushing `IMAGE` to `docker://HOST/team/app:1`: writing blob `LAYER` to `docker://HOST/team/app`: \
        the registry answered 413 Payload Too Large\n\
        side: destination\n\
        hint: raise the limit of the registry, or of the proxy in front of it, for what one request may carry \
        (nginx: `client_max_body_size`)\n";
    for bodies in [Bodies::Buffered, Bodies::Streamed] {
        let (code, said) = pushed_within("64k", bodies);
        let error = said.find("error:").map(|start| &said[start..]);
        assert_eq!((code, error), (Some(1), Some(expected)));
    }
}
