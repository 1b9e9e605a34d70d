//! Certificates where tools look for them by themselves: `certs.d`, with a real registry that wants to see ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::support::certificates::{Authority, Life};

/// A registry behind TLS that lets in whoever shows a certificate of `clients`.
fn strict_registry(authority: &Authority, clients: Option<&Authority>) -> DockerRegistry {
    let files = authority.server("127.0.0.1", Life::Valid);
    let clients = clients.map(|clients| clients.directory().join("ca.crt"));
    let setup = Setup { tls: Some(&files), clients: clients.as_deref(), ..Setup::default() };
    DockerRegistry::start(&setup)
}

/// Makes the folder of a registry below the home directory `home`.
fn certs_d(home: &Path, registry: &DockerRegistry) -> PathBuf {
    let folder = home.join(".config/containers/certs.d").join(&registry.host);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// What becomes of looking at an image that isn't there, for us and for skopeo.
fn outcomes(home: &Path, registry: &DockerRegistry, flags: &[&str]) -> [String; 2] {
    let name = format!("docker://{}/team/app:1", registry.host);
    let ours = outcome(&mut program(home, &[&["inspect", name.as_str()], flags].concat()));
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["inspect", "--raw"]).args(flags).arg(&name).env("HOME", home);
    let skopeo = skopeo.output().expect("skopeo is there; `make install` installs it");
    let theirs = String::from_utf8(skopeo.stderr).unwrap();
    let theirs = if theirs.contains("manifest unknown") { "let in".into() } else { theirs };
    [ours.lines().next().unwrap().to_owned(), theirs]
}

#[test]
fn a_folder_with_the_registrys_name_is_found() {
    let (authority, home) = (Authority::new(), tempfile::tempdir().unwrap());
    let registry = strict_registry(&authority, None);
    let [ours, theirs] = outcomes(home.path(), &registry, &[]);
    assert!(ours.contains("is signed by an unknown authority"), "{ours}");
    assert!(theirs.contains("unknown authority"), "{theirs}");

    let folder = certs_d(home.path(), &registry);
    fs::copy(authority.directory().join("ca.crt"), folder.join("ca.crt")).unwrap();
    assert_eq!(outcomes(home.path(), &registry, &[]), ["let in", "let in"]);

    // `--cert-dir` is the folder itself, and nothing is added from elsewhere.
    let [ours, theirs] = outcomes(home.path(), &registry, &["--cert-dir", "none"]);
    assert!(ours.contains("cannot read `none`"), "{ours}");
    assert!(theirs.contains("unknown authority"), "{theirs}");
    fs::create_dir(home.path().join("other")).unwrap();
    let other = home.path().join("other").display().to_string();
    let [ours, theirs] = outcomes(home.path(), &registry, &["--cert-dir", &other]);
    assert!(ours.contains("is signed by an unknown authority"), "{ours}");
    assert!(theirs.contains("unknown authority"), "{theirs}");
}

#[test]
fn our_certificate_is_shown_to_a_registry_that_wants_one() {
    let (authority, clients, home) =
        (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    let registry = strict_registry(&authority, Some(&clients));
    let folder = certs_d(home.path(), &registry);
    fs::copy(authority.directory().join("ca.crt"), folder.join("ca.crt")).unwrap();
    let [ours, theirs] = outcomes(home.path(), &registry, &[]);
    assert_ne!(ours, "let in");
    assert_ne!(theirs, "let in");
    for (maker, expected) in [(&Authority::new(), false), (&clients, true)] {
        let files = maker.client("alice");
        fs::copy(&files.certificate, folder.join("client.cert")).unwrap();
        fs::copy(&files.key, folder.join("client.key")).unwrap();
        let found = outcomes(home.path(), &registry, &[]).map(|outcome| outcome == "let in");
        assert_eq!(found, [expected, expected]);
    }
    fs::remove_file(folder.join("client.key")).unwrap();
    let [ours, theirs] = outcomes(home.path(), &registry, &[]);
    assert!(ours.ends_with("client.cert` has no key beside it"), "{ours}");
    assert!(theirs.contains("missing key client.key"), "{theirs}");
}

/// Each side has the folder of its own registry.
#[test]
fn both_sides_have_their_own_certificates() {
    let home = tempfile::tempdir().unwrap();
    let makers = [Authority::new(), Authority::new()];
    let registries = makers.each_ref().map(|maker| strict_registry(maker, Some(maker)));
    for (maker, registry) in makers.iter().zip(&registries) {
        let folder = certs_d(home.path(), registry);
        fs::copy(maker.directory().join("ca.crt"), folder.join("ca.crt")).unwrap();
        let files = maker.client("alice");
        fs::copy(&files.certificate, folder.join("client.cert")).unwrap();
        fs::copy(&files.key, folder.join("client.key")).unwrap();
    }
    crate::support::images::image(51).write_layout(&home.path().join("a"), Some("1"));
    let [one, two] =
        registries.each_ref().map(|registry| format!("docker://{}/team/app:1", registry.host));
    for (from, to) in [("oci:a:1", &*one), (&*one, &*two)] {
        let output = program(home.path(), &["push", "-q", from, to]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    // One for both is not enough.
    let first = certs_d(home.path(), &registries[0]).display().to_string();
    let [again, _] = outcomes(home.path(), &registries[1], &["--cert-dir", &first]);
    assert!(again.contains("is signed by an unknown authority"), "{again}");
}
