//! Certificates that one side trusts, and the one it shows.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use super::{Secret, Variables};
use crate::error::{Error, Result};

/// Certificates beside the system's roots.
#[derive(Clone, Debug, Default)]
pub enum Certificates {
    /// The system's roots only.
    #[default]
    System,
    /// A directory with `*.crt` (authorities) and pairs of `*.cert` and `*.key` (client certificates).
    Directory(PathBuf),
    /// Such a directory, looked for by the registry's name.
    Search(CertificateFolders),
    /// PEM texts, as they come out of a Kubernetes Secret.
    Pem(TrustedCertificates),
}

/// Folders named `certs.d`, which have a folder for each registry, named by its host with its port.
///
/// The first of them that has one decides, and the others are not looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFolders(Vec<PathBuf>);

/// Certificates by value.
#[derive(Clone, Debug, Default)]
pub struct TrustedCertificates {
    /// Authorities, PEM; added to the system's roots.
    pub authorities: Vec<String>,
    /// What we show when the registry asks for a client certificate.
    pub identity: Option<ClientIdentity>,
}

/// A client certificate and its key.
#[derive(Clone)]
pub struct ClientIdentity {
    /// The certificate chain, PEM.
    pub certificate: String,
    /// The private key, PEM.
    pub key: Secret,
}

// === impl CertificateFolders ===

impl CertificateFolders {
    /// The usual places of Podman and Docker: the user's, then the machine's.
    pub fn usual(variables: &Variables) -> Self {
        let home = variables.get(std::ffi::OsStr::new("HOME")).filter(|home| !home.is_empty());
        let own = home.map(|home| Path::new(home).join(".config/containers/certs.d"));
        let machine = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
        Self(own.into_iter().chain(machine).collect())
    }

    /// The folder for a registry, if there is one. Blocks on the file system.
    pub(super) fn find(&self, registry: &str) -> Result<Option<PathBuf>> {
        if !is_plain_name(registry) {
            return Ok(None);
        }
        for folder in self.0.iter().map(|folder| folder.join(registry)) {
            match folder.metadata() {
                Ok(_) => return Ok(Some(folder)),
                // What we may not see is not for us, as for the other tools.
                Err(error) if is_absence(error.kind()) => {}
                Err(error) => return Err(Error::io("read", &folder, &error)),
            }
        }
        Ok(None)
    }
}

fn is_absence(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied)
}

/// Whether a registry's name leads to a folder directly below another.
fn is_plain_name(registry: &str) -> bool {
    let mut parts = Path::new(registry).components();
    let first = parts.next();
    matches!(first, Some(Component::Normal(name)) if name == registry) && parts.next().is_none()
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity([hidden])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_folder_that_has_one_for_the_registry_decides() {
        let root = tempfile::tempdir().unwrap();
        let places = ["own", "machine", "docker"].map(|name| root.path().join(name));
        let folders = CertificateFolders(places.to_vec());
        let find = |registry: &str| {
            let found = folders.find(registry).unwrap();
            found.map(|path| path.strip_prefix(root.path()).unwrap().display().to_string())
        };
        for made in ["own/r:5000", "machine/r:5000", "machine/docker.io", "docker/docker.io"] {
            std::fs::create_dir_all(root.path().join(made)).unwrap();
        }
        std::fs::write(root.path().join("docker/file"), "").unwrap();
        let cases = [
            ("r:5000", Some("own/r:5000")),
            ("docker.io", Some("machine/docker.io")),
            // A file in its place is not passed over: reading it will say what is wrong.
            ("file", Some("docker/file")),
            ("r", None),
            ("r:5001", None),
            ("registry-1.docker.io", None),
            ("", None),
            (".", None),
            ("..", None),
            ("../own/r:5000", None),
            ("docker.io/..", None),
            ("/etc", None),
        ];
        for (registry, expected) in cases {
            assert_eq!(find(registry).as_deref(), expected, "{registry}");
        }
    }

    #[test]
    fn the_users_folder_goes_before_the_machines() {
        let of = |home: &str| CertificateFolders::usual(&[("HOME".into(), home.into())].into()).0;
        let machine = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(Path::new);
        assert_eq!(of(""), machine);
        assert_eq!(of("/h")[0], Path::new("/h/.config/containers/certs.d"));
        assert_eq!(of("/h")[1..], machine);
    }
}
