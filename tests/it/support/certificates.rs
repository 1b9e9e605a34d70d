//! Certificates made for one test: an authority, and servers it vouches for.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// A certificate authority; its directory serves as `--cert-dir`.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

/// A server's certificate and key.
pub(crate) struct ServerFiles {
    /// The certificate, PEM.
    pub(crate) certificate: PathBuf,
    /// Its key, PEM.
    pub(crate) key: PathBuf,
}

/// Whether a certificate's time is over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It is valid.
    Valid,
    /// It ended years ago.
    Expired,
}

impl Authority {
    /// A new authority that nobody knows.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("cert-dir")).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("cert-dir/ca.crt"), certificate.pem()).unwrap();
        Self { issuer: Issuer::new(params, key), folder }
    }

    /// The directory with the authority's certificate alone.
    pub(crate) fn directory(&self) -> PathBuf {
        self.folder.path().join("cert-dir")
    }

    /// A certificate for a host name or address.
    pub(crate) fn server(&self, name: &str, life: Life) -> ServerFiles {
        self.issue("server", name, ExtendedKeyUsagePurpose::ServerAuth, life)
    }

    /// A certificate for somebody who connects to a server.
    pub(crate) fn client(&self, name: &str) -> ServerFiles {
        self.issue("client", name, ExtendedKeyUsagePurpose::ClientAuth, Life::Valid)
    }

    fn issue(
        &self,
        file: &str,
        name: &str,
        purpose: ExtendedKeyUsagePurpose,
        life: Life,
    ) -> ServerFiles {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        if life == Life::Expired {
            params.not_before = date_time_ymd(2019, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let write = |path: &Path, text: String| {
            std::fs::write(path, text).unwrap();
            path.to_owned()
        };
        ServerFiles {
            certificate: write(&self.folder.path().join(format!("{file}.pem")), certificate.pem()),
            key: write(&self.folder.path().join(format!("{file}.key")), key.serialize_pem()),
        }
    }
}
