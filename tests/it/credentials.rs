//! The credentials that people already have: what `podman login` and `docker login` wrote, what helpers keep, what is typed at a
//! terminal, and certificates in `certs.d`. Real registries say whether we got them right, and skopeo says what the rest of
//! the field makes of the same files.

mod certificates;
mod files;
mod helpers;
mod terminal;

use std::path::Path;
use std::process::Command;

use crate::cli::run::program;
use crate::support::canary;
use crate::support::docker_registry::{DockerRegistry, Setup};

const USER: &str = "alice";

/// With colons, which user names don't have.
fn password() -> String {
    format!("{}:with:colons", canary::secret("credentials"))
}

/// `USER:PASSWORD`.
fn login() -> String {
    format!("{USER}:{}", password())
}

/// A registry that lets in nobody but `USER`.
fn registry() -> DockerRegistry {
    DockerRegistry::start(&Setup { login: Some((USER, &password())), ..Setup::default() })
}

/// `imagepush inspect` of an image that isn't there, in plain HTTP.
fn inspect(folder: &Path, registry: &DockerRegistry, flags: &[&str]) -> Command {
    let name = format!("docker://{}/team/app:1", registry.host);
    let arguments = [&["inspect", "--tls-verify=false", name.as_str()], flags].concat();
    program(folder, &arguments)
}

/// `let in` if all that is wrong is that there is no such image, else all that was said.
fn outcome(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    canary::none_is_in("what is said", &said, &[]);
    let absent = said.contains("manifest unknown");
    if absent { "let in".to_owned() } else { said }
}
