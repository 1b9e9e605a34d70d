//! Credential files: containers' `auth.json` and Docker's `config.json`.
//!
//! A file maps keys (a registry's host, or a repository below it) to credentials. An entry serves only the host that
//! its key names. Programs that files name as credential helpers are not run here; that one is named is noted
//! among the places looked at. No message ever holds what stands in an entry.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{Credential, Secret};
use crate::error::{Error, Kind, Result};
use crate::limits::MAX_AUTH_FILE;

/// One credential file, or a text of the same form such as a Kubernetes Secret of type dockerconfigjson.
#[derive(Clone, Debug)]
pub struct AuthFile {
    /// The path or the Secret, in backticks, for messages.
    name: String,
    content: Content,
}

/// The credential files to look into, in order; the first that has an entry wins.
#[derive(Clone, Debug)]
pub struct AuthFiles {
    places: Vec<Place>,
}

/// What a search for a credential found, and where it looked.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    /// The credential, if there is one.
    pub credential: Option<Credential>,
    /// The places looked at, in words, for the error when the registry refuses.
    pub looked_at: Vec<String>,
}

#[derive(Clone, Debug)]
enum Place {
    /// Named by the user: its absence is an error.
    Required(PathBuf),
    /// One of the usual places: it may be absent.
    Usual(PathBuf),
    /// A text that has been read already.
    Text(Arc<AuthFile>),
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Entry {
    auth: Option<Secret>,
    identitytoken: Option<Secret>,
    username: Option<Secret>,
    password: Option<Secret>,
}

/// Names of Docker Hub: the one in references, and those that files have for it.
const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

// === impl AuthFiles ===

impl AuthFiles {
    /// Only this file, which must exist.
    pub fn only(path: PathBuf) -> Self {
        Self { places: vec![Place::Required(path)] }
    }

    /// Texts that have been read already.
    pub fn of(files: impl IntoIterator<Item = AuthFile>) -> Self {
        let places = files.into_iter().map(|file| Place::Text(Arc::new(file))).collect();
        Self { places }
    }

    /// The file that `REGISTRY_AUTH_FILE` names, which must exist; without it the usual places of Podman and Docker.
    ///
    /// `environment` looks up a variable; nothing else is asked but the user's number.
    pub fn search(environment: impl Fn(&str) -> Option<OsString>) -> Self {
        Self::search_as(environment, rustix::process::getuid().as_raw())
    }

    fn search_as(environment: impl Fn(&str) -> Option<OsString>, user: u32) -> Self {
        let variable =
            |name| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = variable("REGISTRY_AUTH_FILE") {
            return Self::only(path);
        }
        let home = variable("HOME");
        let runtime = variable("XDG_RUNTIME_DIR").map_or_else(
            || PathBuf::from(format!("/run/containers/{user}")),
            |path| path.join("containers"),
        );
        let config = variable("XDG_CONFIG_HOME")
            .or_else(|| home.as_ref().map(|home| home.join(".config")))
            .map(|path| path.join("containers/auth.json"));
        let docker = variable("DOCKER_CONFIG")
            .or_else(|| home.as_ref().map(|home| home.join(".docker")))
            .map(|path| path.join("config.json"));
        let legacy = home.map(|home| home.join(LEGACY_NAME));
        let paths = [Some(runtime.join("auth.json")), config, docker, legacy];
        Self { places: paths.into_iter().flatten().map(Place::Usual).collect() }
    }

    /// Finds the credential of a repository; `registry` is its host with its port, `docker.io` for Docker Hub.
    pub fn lookup(&self, registry: &str, repository: &str) -> Result<Lookup> {
        let mut lookup = Lookup::default();
        for place in &self.places {
            let read;
            let file = match place {
                Place::Text(file) => file.as_ref(),
                Place::Required(path) | Place::Usual(path) => match AuthFile::read(path) {
                    Ok(file) => {
                        read = file;
                        &read
                    }
                    Err(error) if error.kind() == Kind::NotFound && place.may_be_absent() => {
                        lookup.looked_at.push(format!("`{}`, which is not there", path.display()));
                        continue;
                    }
                    Err(error) => return Err(error.doing("looking up credentials")),
                },
            };
            let (credential, looked_at) = file.lookup(registry, repository)?;
            lookup.looked_at.push(looked_at);
            if credential.is_some() {
                lookup.credential = credential;
                break;
            }
        }
        Ok(lookup)
    }
}

impl Place {
    fn may_be_absent(&self) -> bool {
        matches!(self, Self::Usual(_))
    }
}

// === impl AuthFile ===

/// Docker's oldest form: the entries stand at the top.
const LEGACY_NAME: &str = ".dockercfg";

impl AuthFile {
    /// Reads a text of the form of Docker's `config.json`. `name` tells the user which text it is.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Self> {
        let content = serde_json::from_slice(bytes).map_err(|error| malformed(name, &error))?;
        Ok(Self { name: format!("`{name}`"), content })
    }

    /// Reads a text of Docker's older form, in which the entries stand at the top (`.dockercfg`).
    pub fn parse_legacy(bytes: &[u8], name: &str) -> Result<Self> {
        let auths = serde_json::from_slice(bytes).map_err(|error| malformed(name, &error))?;
        let content = Content { auths: Some(auths), ..Content::default() };
        Ok(Self { name: format!("`{name}`"), content })
    }

    fn read(path: &Path) -> Result<Self> {
        let bytes = read_bounded(path)?;
        let name = path.display().to_string();
        if path.file_name().is_some_and(|name| name == LEGACY_NAME) {
            return Self::parse_legacy(&bytes, &name);
        }
        Self::parse(&bytes, &name)
    }

    /// The credential for a repository, and what to tell the user of this file.
    fn lookup(&self, registry: &str, repository: &str) -> Result<(Option<Credential>, String)> {
        let keys = keys(registry, repository);
        if let Some(key) = self.find(registry, &keys) {
            let entry = self.entry(key);
            let credential = entry.map(|entry| self.credential(key, entry)).transpose()?.flatten();
            if credential.is_some() {
                return Ok((credential, format!("{}, key `{key}`", self.name)));
            }
        }
        Ok((None, self.absence(registry, &keys)))
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.content.auths.as_ref()?.get(key)
    }

    /// The key of the entry that serves a repository: the most specific exact one, else one for the host in another form.
    fn find<'a>(&'a self, registry: &str, keys: &[String]) -> Option<&'a str> {
        let auths = self.content.auths.as_ref()?;
        let exact = keys.iter().find_map(|key| auths.get_key_value(key));
        let host = canonical(registry);
        exact
            .filter(|(_, entry)| !entry.is_empty())
            .or_else(|| {
                auths.iter().find(|(key, entry)| canonical(key) == host && !entry.is_empty())
            })
            .map(|(key, _)| key.as_str())
    }

    fn credential(&self, key: &str, entry: &Entry) -> Result<Option<Credential>> {
        let refused = |what: &str| {
            let message = format!("{} has {what} for key `{key}`", self.name);
            Error::new(Kind::AuthenticationFailed, message).doing("looking up credentials")
        };
        if let Some(token) = given(entry.identitytoken.as_ref()) {
            return Ok(Some(Credential::IdentityToken(token.clone())));
        }
        if let Some(auth) = given(entry.auth.as_ref()) {
            let bytes = STANDARD
                .decode(auth.expose().trim())
                .map_err(|_| refused("an `auth` that is not base64"))?;
            let text = zeroize::Zeroizing::new(
                String::from_utf8(bytes).map_err(|_| refused("an `auth` that is not text"))?,
            );
            let (user, password) = text
                .split_once(':')
                .ok_or_else(|| refused("an `auth` without a colon between user and password"))?;
            let password = Secret::new(password.trim_matches('\0'));
            return Ok(Some(Credential::basic(user, password)));
        }
        match (given(entry.username.as_ref()), &entry.password) {
            (Some(user), Some(password)) => {
                Ok(Some(Credential::basic(user.expose(), password.clone())))
            }
            _ => Ok(None),
        }
    }

    fn absence(&self, registry: &str, keys: &[String]) -> String {
        let helpers = self.content.cred_helpers.as_ref();
        let helper = helpers
            .and_then(|helpers| helpers.get(registry))
            .or(self.content.creds_store.as_ref())
            .filter(|helper| !helper.is_empty());
        if let Some(helper) = helper {
            return format!(
                "{}, which leaves `{registry}` to the credential helper `{helper}` (helpers are not run)",
                self.name
            );
        }
        format!("{}, which has no entry for `{}`", self.name, keys.join("`, `"))
    }
}

impl Entry {
    fn is_empty(&self) -> bool {
        [&self.auth, &self.identitytoken, &self.username]
            .into_iter()
            .all(|field| given(field.as_ref()).is_none())
    }
}

fn given(field: Option<&Secret>) -> Option<&Secret> {
    field.filter(|text| !text.expose().is_empty())
}

// === impl Lookup ===

impl Lookup {
    /// A credential that the user gave by hand.
    pub fn explicit(credential: Credential) -> Self {
        Self { credential: Some(credential), looked_at: vec!["the credentials given".into()] }
    }
}

/// The keys that serve a repository, most specific first.
fn keys(registry: &str, repository: &str) -> Vec<String> {
    let mut keys = vec![];
    let mut path = repository;
    while !path.is_empty() {
        keys.push(format!("{registry}/{path}"));
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    keys.push(registry.to_owned());
    keys
}

/// The host that a key serves: without scheme and what follows the host, and one name for Docker Hub.
fn canonical(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let host = bare.map_or(key, |url| url.split('/').next().unwrap_or_default());
    let host = host.strip_suffix("/v1/").unwrap_or(host);
    if DOCKER_HUB.contains(&host) { DOCKER_HUB[0] } else { host }
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

/// The parser's own words may repeat a value, so only the place is told.
fn malformed(name: &str, error: &serde_json::Error) -> Error {
    let message = format!(
        "`{name}` is not a credential file: malformed at line {}, column {}",
        error.line(),
        error.column()
    );
    Error::new(Kind::InvalidOptions, message)
        .hint("the form is `{\"auths\": {\"HOST\": {\"auth\": \"BASE64\"}}}`")
}

#[cfg(test)]
mod tests;
