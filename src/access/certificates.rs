//! Certificates that one side trusts, and the one it shows.

use std::fmt;
use std::path::PathBuf;

use super::Secret;

/// Certificates beside the system's roots.
#[derive(Clone, Debug, Default)]
pub enum Certificates {
    /// The system's roots only.
    #[default]
    System,
    /// A directory with `*.crt` (authorities) and pairs of `*.cert` and `*.key` (client certificates).
    Directory(PathBuf),
    /// PEM texts, as they come out of a Kubernetes Secret.
    Pem(TrustedCertificates),
}

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

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity([hidden])")
    }
}
