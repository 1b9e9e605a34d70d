//! Where a person keeps credentials: which files there are, in which order they are looked into, and the helpers that they and
//! `registries.conf` name.
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

use super::auth_file::{Answer, addresses};
use super::helper::{Helpers, Question};
use super::search::{Search, Stop};
use super::{AuthFile, CredentialHelpers, Lookup};
use crate::error::{Error, Kind, Result};
use crate::limits::MAX_AUTH_FILE;

/// Variables of a process, by name.
pub type Variables = BTreeMap<OsString, OsString>;

/// The places to look into, in order; the first that has a credential wins. Clones share what was read.
#[derive(Clone, Debug)]
pub struct AuthFiles {
    places: Vec<Place>,
    helpers: Helpers,
}

/// One place.
#[derive(Clone, Debug)]
enum Place {
    File(FilePlace),
    /// A helper for all registries, and the file that names it, in backticks.
    Helper {
        helper: String,
        file: String,
    },
}

/// How far a search got without asking a helper.
pub(super) enum Walk {
    Over(Lookup),
    Stopped(Stop),
}

/// A file that is read once, when it is first looked into: it may be a pipe.
#[derive(Clone, Debug)]
struct FilePlace {
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

/// What `registries.conf` calls the files, among the helpers that it lists.
const FILES: &str = "containers-auth.json";

// === impl AuthFiles ===

impl AuthFiles {
    /// Only this file, which must exist. The variables are for the helpers that it names.
    pub fn only(path: PathBuf, variables: &Variables) -> Self {
        let file = FilePlace::new(path, Presence::Required);
        Self { places: vec![Place::File(file)], helpers: Helpers::new(variables) }
    }

    /// The file that `REGISTRY_AUTH_FILE` names, which must exist; without it `config.json` in the folder that `DOCKER_CONFIG` names;
    /// without that the usual places of Podman and Docker.
    pub fn search(variables: &Variables) -> Self {
        Self::search_as(variables, rustix::process::getuid().as_raw())
    }

    fn search_as(variables: &Variables, user: u32) -> Self {
        let places = places(variables, user).into_iter().map(Place::File).collect();
        Self { places, helpers: Helpers::new(variables) }
    }

    /// Looks where `credential-helpers` of `registries.conf` says, in its order: `containers-auth.json` stands for the files,
    /// every other name for a helper. A file that the user names comes first if the list has no files.
    #[must_use]
    pub fn in_order_of(self, listed: &CredentialHelpers) -> Self {
        let Self { places: files, helpers } = self;
        let CredentialHelpers { names, origin } = listed;
        let lists_files = names.iter().any(|name| name == FILES);
        let mut places: Vec<Place> = files.clone();
        places.retain(|place| !lists_files && place.is_required());
        for name in names {
            match name.as_str() {
                FILES => places.extend(files.iter().cloned()),
                helper => places.push(Place::helper(helper, origin)),
            }
        }
        Self { places, helpers }
    }

    /// Looks for the credential of a repository; `registry` is its host with its port, `docker.io` for Docker Hub. Runs no
    /// program yet.
    pub(super) async fn begin_search(&self, registry: &str, repository: &str) -> Result<Search> {
        let walk = self.walk(0, Lookup::default(), registry, repository).await?;
        Ok(Search::of_files(self, walk))
    }

    /// Goes on where a search has stopped, and asks helpers.
    pub(super) async fn ask_from(&self, stop: &Stop) -> Result<Lookup> {
        let Stop { place, question, lookup, registry, repository } = stop;
        let (mut place, mut question, mut lookup) = (*place, question.clone(), lookup.clone());
        loop {
            match self.helpers.ask(&question).await? {
                Ok((credential, place)) => return Ok(lookup.with(credential, place)),
                Err(place) => lookup.looked_at.push(place),
            }
            match self.walk(place + 1, lookup, registry, repository).await? {
                Walk::Over(lookup) => return Ok(lookup),
                Walk::Stopped(next) => {
                    (place, question, lookup) = (next.place, next.question, next.lookup);
                }
            }
        }
    }

    /// Looks into the places from one on, to the end or to a helper.
    async fn walk(
        &self,
        from: usize,
        mut lookup: Lookup,
        registry: &str,
        repository: &str,
    ) -> Result<Walk> {
        for (place, looked_into) in self.places.iter().enumerate().skip(from) {
            match looked_into.answer(registry, repository).await? {
                Answer::Nothing(place) => lookup.looked_at.push(place),
                Answer::Found(credential, place) => {
                    return Ok(Walk::Over(lookup.with(credential, place)));
                }
                Answer::Helper(question) => {
                    let (registry, repository) = (registry.to_owned(), repository.to_owned());
                    let stop = Stop { place, question, lookup, registry, repository };
                    return Ok(Walk::Stopped(stop));
                }
            }
        }
        Ok(Walk::Over(lookup))
    }
}

/// The files to look into.
fn places(variables: &Variables, user: u32) -> Vec<FilePlace> {
    let variable = |name: &str| {
        let value = variables.get(std::ffi::OsStr::new(name));
        value.filter(|value| !value.is_empty()).map(PathBuf::from)
    };
    if let Some(path) = variable("REGISTRY_AUTH_FILE") {
        return vec![FilePlace::new(path, Presence::Required)];
    }
    if let Some(folder) = variable("DOCKER_CONFIG") {
        return vec![FilePlace::new(folder.join("config.json"), Presence::Optional)];
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
    paths.into_iter().flatten().map(|path| FilePlace::new(path, Presence::Optional)).collect()
}

// === impl Place ===

impl Place {
    fn helper(name: &str, origin: &str) -> Self {
        Self::Helper { helper: name.to_owned(), file: format!("`{origin}`") }
    }

    fn is_required(&self) -> bool {
        matches!(self, Self::File(FilePlace { presence: Presence::Required, .. }))
    }

    /// What it says about a repository.
    async fn answer(&self, registry: &str, repository: &str) -> Result<Answer> {
        match self {
            Self::File(file) => file.answer(registry, repository).await,
            Self::Helper { helper, file } => Ok(Answer::Helper(Question {
                file: file.clone(),
                helper: helper.clone(),
                addresses: addresses(registry),
            })),
        }
    }
}

// === impl FilePlace ===

impl FilePlace {
    fn new(path: PathBuf, presence: Presence) -> Self {
        Self { path, presence, content: Arc::default() }
    }

    async fn answer(&self, registry: &str, repository: &str) -> Result<Answer> {
        match self.read().await? {
            Some(file) => file.answer(registry, repository),
            None => Ok(Answer::Nothing(format!("`{}`, which is not there", self.path.display()))),
        }
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
