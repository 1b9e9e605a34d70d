//! Asks credential helpers: programs `docker-credential-NAME` that keep credentials, as Docker and Podman use them.
//!
//! A helper's name comes from a file, so it is checked before it is looked for, and it is looked for on `PATH` only. The program
//! is run without a shell, with `get` as its argument and the registry's address on standard input; it gets the variables that
//! helpers are known to need and no others, and no secret from us. Time and output are bounded. What it prints when it
//! succeeds is a secret; what it says when it fails is shown, bounded and escaped.

mod answer;
mod run;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::Credential;
use super::auth_files::Variables;
use crate::error::{Error, Kind, Result};
use crate::limits::MAX_HELPER_NAME;

/// Where helpers are, and what they get to know of our environment.
#[derive(Clone)]
pub(super) struct Helpers {
    folders: Vec<PathBuf>,
    variables: Vec<(OsString, OsString)>,
}

/// What to ask a credential helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// The file that names the helper, in backticks.
    pub(super) file: String,
    /// The name of the helper as it stands in the file.
    pub(super) helper: String,
    /// What the registry may be called, in the order to try.
    pub(super) addresses: Vec<String>,
}

/// Variables that a helper gets, if they are set: where programs and the user's files are, how to ask the user something,
/// how to reach the network, and what the helpers of the large registries are configured by.
const VARIABLES: [&str; 26] = [
    "CLOUDSDK_CONFIG",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "DOCKER_CONFIG",
    "GNUPGHOME",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GPG_TTY",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LANG",
    "LOGNAME",
    "NO_PROXY",
    "PATH",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TERM",
    "TMPDIR",
    "USER",
    "WAYLAND_DISPLAY",
    "WSLENV",
    "WSL_DISTRO_NAME",
    "WSL_INTEROP",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// Beginnings of the names of further ones.
const VARIABLE_PREFIXES: [&str; 7] =
    ["AWS_", "AZURE_", "CLOUDSDK_", "GOOGLE_", "LC_", "PASSWORD_STORE_", "XDG_"];

// === impl Helpers ===

impl Helpers {
    /// Takes from the variables of a process what helpers need.
    pub(super) fn new(variables: &Variables) -> Self {
        let path = variables.get(OsStr::new("PATH")).cloned().unwrap_or_default();
        // A relative folder would let whoever owns the current directory choose the program.
        let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect();
        let passed = variables.iter().filter(|(name, _)| is_passed(name));
        let variables = passed.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { folders, variables }
    }

    /// Asks for a credential, by each of the registry's addresses until the helper knows one. Returns it with the place where
    /// it was found, or where it was not.
    pub(super) async fn ask(
        &self,
        question: &Question,
    ) -> Result<Result<(Credential, String), String>> {
        let Question { file, helper, addresses } = question;
        let doing = || format!("asking the credential helper `{helper}`");
        let named =
            |error: Error| error.doing(doing()).doing(format!("looking up credentials in {file}"));
        let program = self.program(helper).map_err(named)?;
        for address in addresses {
            let output = run::get(&program, &self.variables, address).await.map_err(named)?;
            if let Some(credential) = answer::read(&output).map_err(named)? {
                let place = format!("{file}, credential helper `{helper}`, asked for `{address}`");
                return Ok(Ok((credential, place)));
            }
        }
        let asked = addresses.join("` or `");
        Ok(Err(format!("{file}, whose credential helper `{helper}` has nothing for `{asked}`")))
    }

    /// The program of a helper.
    fn program(&self, helper: &str) -> Result<PathBuf> {
        if !is_name(helper) {
            let message =
                "the name of a credential helper has letters, digits, `.`, `_` and `-` only";
            return Err(Error::new(Kind::InvalidOptions, message));
        }
        let name = format!("docker-credential-{helper}");
        let found = self.folders.iter().map(|folder| folder.join(&name)).find(|path| {
            path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
        });
        found.ok_or_else(|| {
            Error::new(
                Kind::AuthenticationFailed,
                format!("there is no program `{name}` in `PATH`"),
            )
            .hint("install it, or name another file with `--authfile`, or pass `--creds`")
        })
    }
}

/// Variables may hold secrets of the clouds.
impl fmt::Debug for Helpers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Helpers")
    }
}

fn is_name(helper: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=MAX_HELPER_NAME).contains(&helper.len()) && helper.chars().all(known)
}

fn is_passed(variable: &OsStr) -> bool {
    variable.to_str().is_some_and(|name| {
        VARIABLES.contains(&name) || VARIABLE_PREFIXES.iter().any(|start| name.starts_with(start))
    })
}

#[cfg(test)]
mod tests;
