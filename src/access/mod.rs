//! What one side of a push may use: credentials, certificates, and how strictly TLS is taken.
//!
//! A value of [`Access`] belongs to one side and one named registry. Nothing in it is ever used for another host, and
//! [`Registries`] says what may be used for the places that stand in for it:
//! the transport that opens connections asks `Credentials::search` by registry and repository, and applies
//! [`TlsPolicy`] to that registry alone. [`Network`] is what all sides and pushes share. No code here sends a request; the one
//! place that runs a program is `helper`.

mod auth_file;
mod auth_files;
mod certificates;
mod helper;
mod lookup;
mod network;
mod registries;
mod search;
mod secret;

use std::path::Path;
use std::sync::Arc;

pub use auth_file::AuthFile;
pub use auth_files::{AuthFiles, Variables};
pub use certificates::{CertificateFolders, Certificates, ClientIdentity, TrustedCertificates};
pub use lookup::Lookup;
pub use network::{
    AllowedRegistries, Egress, Elsewhere, LayerHost, Network, NetworkSettings, Place, Proxies,
    Range, Resolver, TokenServer, UploadHost,
};
pub(crate) use network::{
    Audience, Bearer, BlobKey, Challenge, CheckTurn, Fingerprint, NoToken, StandingKey, Terms,
    Token, TokenKey, Trust, UploadOrigins,
};
pub use registries::{
    Candidates, CredentialHelpers, Registries, RegistriesConf, SourcePlace, is_short_name,
};
pub(crate) use search::Search;
pub use secret::{Credential, Secret};

use crate::error::Result;

/// What one side may use.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Who we are to the registry.
    pub credentials: Credentials,
    /// Certificates beside the system's.
    pub certificates: Certificates,
    /// How strictly TLS is taken.
    pub tls: TlsPolicy,
    /// What it shares with other sides and pushes.
    pub network: Network,
    /// Mirrors and the like, from `registries.conf`.
    pub registries: Registries,
    /// The folder that paths of this side are relative to and must not lead out of, such as a mounted volume.
    pub root: Option<Arc<Path>>,
    /// The most bytes that this side may put into the folder for temporary files, where somebody else has to do with less.
    pub scratch_bytes: Option<u64>,
}

/// Where credentials for a registry come from.
#[derive(Clone, Debug, Default)]
pub enum Credentials {
    /// None are used.
    #[default]
    Anonymous,
    /// Given by the user for the one registry that this side names.
    Explicit(Credential),
    /// Looked up in the files of the person at the command line, and with the helpers that they name.
    Files(AuthFiles),
    /// Looked up in a text that somebody else may have written, such as a Secret. No program is run for it.
    Text(AuthFile),
}

/// Chooses the cryptography that all TLS of this process uses. Every program calls it before its first connection;
/// calling it again does nothing.
pub fn install_crypto_provider() {
    // An error only says that one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// How strictly TLS is taken with the registry that one side names. It never holds for another host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsPolicy {
    /// HTTPS, with the certificate verified.
    #[default]
    Verify,
    /// HTTPS, with any certificate; never plain HTTP.
    SkipVerify,
    /// HTTPS with any certificate and, where the registry speaks no TLS, plain HTTP (`--tls-verify=false`).
    SkipVerifyOrPlainHttp,
    /// Plain HTTP only; never TLS.
    PlainHttp,
}

// === impl Credentials ===

impl Credentials {
    /// Finds the credential for a repository.
    ///
    /// `registry` is the host with its port as it stands in the reference (`docker.io` for Docker Hub), `repository` the
    /// path below it. Reads files and, for [`Credentials::Files`] only, runs helpers. Errors name the file, the key and the
    /// helper, never a value.
    pub async fn lookup(&self, registry: &str, repository: &str) -> Result<Lookup> {
        self.search(registry, repository).await?.into_lookup().await
    }

    /// The same, but for helpers: they are run when the search is finished.
    pub(crate) async fn search(&self, registry: &str, repository: &str) -> Result<Search> {
        Ok(match self {
            Self::Anonymous => Search::over(Lookup::default()),
            Self::Explicit(credential) => Search::over(Lookup::explicit(credential.clone())),
            Self::Files(files) => files.begin_search(registry, repository).await?,
            Self::Text(file) => Search::over(file.lookup(registry, repository)?),
        })
    }
}
