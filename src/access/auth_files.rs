//! The credential files of a person: which there are, in which order they are looked into, and the helpers they name.
//!
//! Only the command line has a value of [`AuthFiles`]. The operator reads the text of a Secret, which is an [`AuthFile`]: nothing
//! there has an environment to run a program with.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::OnceCell;

use super::auth_file::Answer;
use super::helper::Helpers;
use super::{AuthFile, Lookup};
use crate::error::{Error, Kind, Result};
use crate::limits::MAX_AUTH_FILE;

/// Variables of a process, by name.
pub type Variables = BTreeMap<OsString, OsString>;

/// The credential files to look into, in order; the first that has an entry wins. Clones share what was read.
#[derive(Clone, Debug)]
pub struct AuthFiles {
    places: Vec<Place>,
    helpers: Helpers,
}

/// A file that is read once, when it is first looked into: it may be a pipe.
#[derive(Clone, Debug)]
struct Place {
    path: PathBuf,
    presence: Presence,
    /// Nothing if it isn't there.
    content: Arc<OnceCell<Option<AuthFile>>>,
}

/// Whether a file has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// Named by the user: its absence is an error.
    Required,
    /// One of the usual places.
    Optional,
}

/// Docker's oldest form: the entries stand at the top.
const LEGACY_NAME: &str = ".dockercfg";

// === impl AuthFiles ===

impl AuthFiles {
    /// Only this file, which must exist. The variables are for the helpers that it names.
    pub fn only(path: PathBuf, variables: &Variables) -> Self {
        let places = vec![Place::new(path, Presence::Required)];
        Self { places, helpers: Helpers::new(variables) }
    }

    /// The file that `REGISTRY_AUTH_FILE` names, which must exist; without it `config.json` in the folder that `DOCKER_CONFIG` names;
    /// without that the usual places of Podman and Docker.
    pub fn search(variables: &Variables) -> Self {
        Self::search_as(variables, rustix::process::getuid().as_raw())
    }

    fn search_as(variables: &Variables, user: u32) -> Self {
        Self { places: places(variables, user), helpers: Helpers::new(variables) }
    }

    /// Finds the credential of a repository; `registry` is its host with its port, `docker.io` for Docker Hub.
    pub(super) async fn lookup(&self, registry: &str, repository: &str) -> Result<Lookup> {
        let mut lookup = Lookup::default();
        for place in &self.places {
            let Some(file) = place.read().await? else {
                let path = place.path.display();
                lookup.looked_at.push(format!("`{path}`, which is not there"));
                continue;
            };
            match file.answer(registry, repository)? {
                Answer::Nothing(place) => lookup.looked_at.push(place),
                Answer::Found(credential, place) => return Ok(lookup.with(credential, place)),
                Answer::Helper(question) => match self.helpers.ask(&question).await? {
                    Ok((credential, place)) => return Ok(lookup.with(credential, place)),
                    Err(place) => lookup.looked_at.push(place),
                },
            }
        }
        Ok(lookup)
    }
}

/// The files to look into.
fn places(variables: &Variables, user: u32) -> Vec<Place> {
    let variable = |name: &str| {
        let value = variables.get(std::ffi::OsStr::new(name));
        value.filter(|value| !value.is_empty()).map(PathBuf::from)
    };
    if let Some(path) = variable("REGISTRY_AUTH_FILE") {
        return vec![Place::new(path, Presence::Required)];
    }
    if let Some(folder) = variable("DOCKER_CONFIG") {
        return vec![Place::new(folder.join("config.json"), Presence::Optional)];
    }
    let home = variable("HOME");
    let runtime = variable("XDG_RUNTIME_DIR").map_or_else(
        || PathBuf::from(format!("/run/containers/{user}")),
        |path| path.join("containers"),
    );
    let config = variable("XDG_CONFIG_HOME")
        .or_else(|| home.as_ref().map(|home| home.join(".config")))
        .map(|path| path.join("containers/auth.json"));
    let docker = home.as_ref().map(|home| home.join(".docker/config.json"));
    let legacy = home.map(|home| home.join(LEGACY_NAME));
    let paths = [Some(runtime.join("auth.json")), config, docker, legacy];
    paths.into_iter().flatten().map(|path| Place::new(path, Presence::Optional)).collect()
}

// === impl Place ===

impl Place {
    fn new(path: PathBuf, presence: Presence) -> Self {
        Self { path, presence, content: Arc::default() }
    }

    /// What the file says; nothing if it isn't there and need not be.
    async fn read(&self) -> Result<Option<&AuthFile>> {
        let content = self.content.get_or_try_init(|| async {
            let (path, presence) = (self.path.clone(), self.presence);
            let read = tokio::task::spawn_blocking(move || read(&path, presence)).await;
            read.map_err(|error| Error::internal(format!("reading a file stopped: {error}")))?
        });
        let content = content.await.map_err(|error| error.doing("looking up credentials"))?;
        Ok(content.as_ref())
    }
}

fn read(path: &Path, presence: Presence) -> Result<Option<AuthFile>> {
    let bytes = match read_bounded(path) {
        Err(error) if error.kind() == Kind::NotFound && presence == Presence::Optional => {
            return Ok(None);
        }
        read => read?,
    };
    let name = path.display().to_string();
    if path.file_name().is_some_and(|name| name == LEGACY_NAME) {
        return AuthFile::parse_legacy(&bytes, &name).map(Some);
    }
    AuthFile::parse(&bytes, &name).map(Some)
}

fn read_bounded(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotADirectory => Error::io("open", path, &io::ErrorKind::NotFound.into()),
        _ => Error::io("open", path, &error),
    };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = zeroize::Zeroizing::new(vec![]);
    let read = file.take(MAX_AUTH_FILE + 1).read_to_end(&mut bytes);
    read.map_err(|error| Error::io("read", path, &error))?;
    if bytes.len() as u64 > MAX_AUTH_FILE {
        let message =
            format!("`{}` has more than the limit of {MAX_AUTH_FILE} bytes", path.display());
        return Err(Error::new(Kind::LimitExceeded, message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
