//! All files of `registries.conf` together: which there are, and how a later one changes what an earlier one says.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::entry::{Entry, Prefix};
use super::file::{Fault, File};
use super::short_name::{self, Alias, Candidates, Mode, Search};
use crate::error::{Error, Kind, Result};
use crate::limits::{MAX_DROP_INS, MAX_REGISTRIES_CONF};

/// Name of the main file, and of the directory beside it with `.d` at its end.
const NAME: &str = "registries.conf";

/// Where the machine's files are.
const SYSTEM: &str = "/etc/containers";

/// What `registries.conf` says, with its drop-ins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistriesConf {
    entries: BTreeMap<Prefix, Entry>,
    search: Search,
    mode: Mode,
    aliases: BTreeMap<String, Alias>,
    credential_helpers: Option<CredentialHelpers>,
    /// What was read, in order.
    files: Vec<String>,
}

/// Where credentials are looked for (`credential-helpers`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialHelpers {
    /// Helpers in the order to ask; one name stands for the credential files.
    pub names: Vec<String>,
    /// The file that says so.
    pub origin: String,
}

/// The files to read, in order.
struct Places {
    /// Whether the user named the first: then it has to be there.
    named: bool,
    files: Vec<PathBuf>,
}

// === impl RegistriesConf ===

impl RegistriesConf {
    /// Reads the files that hold for this user. Blocks on files.
    ///
    /// The main one is that which `CONTAINERS_REGISTRIES_CONF` or `REGISTRIES_CONFIG_PATH` names, else
    /// `~/.config/containers/registries.conf`, else `/etc/containers/registries.conf`; then come the drop-ins, then the
    /// aliases that podman has written down. None has to be there but one that a variable names. `environment` looks up
    /// a variable.
    pub fn load(environment: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let root = rustix::process::geteuid().is_root();
        Self::load_from(environment, Path::new(SYSTEM), root)
    }

    /// Takes the text of one file; `origin` tells the user which it is.
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        let mut conf = Self::default();
        conf.add(text, origin)?;
        Ok(conf)
    }

    fn load_from(
        environment: impl Fn(&str) -> Option<OsString>,
        system: &Path,
        root: bool,
    ) -> Result<Self> {
        let Places { named, files } = places(environment, system, root)?;
        let mut conf = Self::default();
        for (position, path) in files.iter().enumerate() {
            match read(path)? {
                Some(text) => conf.add(&text, &path.display().to_string())?,
                None if named && position == 0 => {
                    let message = format!("there is no file `{}`", path.display());
                    return Err(Error::new(Kind::NotFound, message)
                        .doing("reading registries.conf")
                        .hint(
                            "`CONTAINERS_REGISTRIES_CONF` or `REGISTRIES_CONFIG_PATH` names it",
                        ));
                }
                None => {}
            }
        }
        Ok(conf)
    }

    /// Lets a file change what was said before: its entries take the place of those for the same prefixes.
    fn add(&mut self, text: &str, origin: &str) -> Result<()> {
        let File { entries, search, mode, aliases, credential_helpers } =
            File::parse(text, origin).map_err(|fault| refused(fault, origin))?;
        self.entries.extend(entries.into_iter().map(|entry| (entry.prefix.clone(), entry)));
        if let Some(registries) = search {
            self.search = Search { registries, origin: origin.to_owned() };
        }
        self.mode = mode.unwrap_or(self.mode);
        if !credential_helpers.is_empty() {
            let origin = origin.to_owned();
            self.credential_helpers = Some(CredentialHelpers { names: credential_helpers, origin });
        }
        for (name, repository) in aliases {
            if repository.is_empty() {
                self.aliases.remove(&name);
            } else {
                self.aliases.insert(name, Alias { repository, origin: origin.to_owned() });
            }
        }
        self.files.push(origin.to_owned());
        Ok(())
    }

    /// Where credentials are looked for, and in which order, if `credential-helpers` says so.
    pub fn credential_helpers(&self) -> Option<&CredentialHelpers> {
        self.credential_helpers.as_ref()
    }

    /// The entry for a full name.
    pub(super) fn entry(&self, name: &str) -> Option<&Entry> {
        Entry::find(self.entries.values(), name)
    }

    /// The entry that forbids a full name.
    pub(super) fn blocking(&self, name: &str) -> Option<&Entry> {
        Entry::blocking(self.entries.values(), name)
    }

    /// The full names that a short one may stand for. Fails with `InvalidReference` if there is none.
    pub fn resolve(&self, name: &str) -> Result<Candidates> {
        let unresolved = |cause: String| {
            let message = format!("`{name}` did not resolve to an image: {cause}");
            Error::new(Kind::InvalidReference, message)
                .hint(format!("name it in full, as in `docker://docker.io/library/{name}`"))
        };
        let candidates = short_name::resolve(name, &self.aliases, &self.search, self.mode);
        let candidates = candidates.map_err(unresolved)?;
        if candidates.names.is_empty() {
            let place = match self.files.as_slice() {
                [] => "there is no `registries.conf`".to_owned(),
                files => format!("looked in `{}`", files.join("`, `")),
            };
            let cause = format!(
                "it has no alias, and no unqualified-search registries are defined ({place})"
            );
            return Err(unresolved(cause));
        }
        Ok(candidates)
    }
}

fn refused(fault: Fault, origin: &str) -> Error {
    let Fault { message, hint } = fault;
    let error = Error::new(Kind::InvalidOptions, message).doing(format!("reading `{origin}`"));
    if hint.is_empty() { error } else { error.hint_lines(hint) }
}

fn places(
    environment: impl Fn(&str) -> Option<OsString>,
    system: &Path,
    root: bool,
) -> Result<Places> {
    let variable = |name| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let named =
        variable("CONTAINERS_REGISTRIES_CONF").or_else(|| variable("REGISTRIES_CONFIG_PATH"));
    let home = variable("HOME");
    let user = home.as_ref().map(|home| home.join(".config/containers"));
    let own = user.as_ref().map(|user| user.join(NAME)).filter(|path| path.exists());
    // A user's own main file takes the place of everything of the machine's.
    let system_counts = named.is_some() || own.is_none();
    let main = named.clone().or(own).unwrap_or_else(|| system.join(NAME));
    let cache = if root {
        Some(PathBuf::from("/var/cache"))
    } else {
        variable("XDG_CACHE_HOME").or_else(|| home.map(|home| home.join(".cache")))
    };
    let mut files = vec![main];
    for folder in [Some(system.to_owned()).filter(|_| system_counts), user].into_iter().flatten() {
        files.extend(drop_ins(&folder.join(format!("{NAME}.d")))?);
    }
    files.extend(cache.map(|cache| cache.join("containers/short-name-aliases.conf")));
    Ok(Places { named: named.is_some(), files })
}

/// The files `*.conf` of a directory, in alphabetical order.
fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |cause| Error::io("read", folder, &cause).doing("reading registries.conf");
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(cause) if is_absent(&cause) => return Ok(vec![]),
        Err(cause) => return Err(failed(cause)),
    };
    let mut files = vec![];
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "conf") && !path.is_dir() {
            files.push(path);
        }
        if files.len() > MAX_DROP_INS {
            let message = format!("`{}` has more than {MAX_DROP_INS} files", folder.display());
            return Err(Error::new(Kind::LimitExceeded, message));
        }
    }
    files.sort();
    Ok(files)
}

/// A file's text, if there is such a file.
fn read(path: &Path) -> Result<Option<String>> {
    let failed = |cause| Error::io("read", path, &cause).doing("reading registries.conf");
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(cause) if is_absent(&cause) => return Ok(None),
        Err(cause) => return Err(failed(cause)),
    };
    let mut text = String::new();
    file.take(MAX_REGISTRIES_CONF + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_REGISTRIES_CONF {
        let message =
            format!("`{}` has more than the limit of {MAX_REGISTRIES_CONF} bytes", path.display());
        return Err(Error::new(Kind::LimitExceeded, message));
    }
    Ok(Some(text))
}

fn is_absent(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests;
