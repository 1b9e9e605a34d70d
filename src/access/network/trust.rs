//! Certificates, parsed: which authorities are believed, and what we show of ourselves.
//!
//! Reads the directory that the user named, or takes texts as they are. What is shown to the registry (a client
//! certificate) is never shown to another host; authorities are the user's, so they hold wherever this side connects to.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};

use super::standing::Fingerprint;
use crate::access::{Certificates, Secret};
use crate::error::{Error, Kind, Result};
use crate::limits::MAX_CERTIFICATE_FILE;

/// Certificates of one side, parsed.
#[derive(Clone, Default)]
pub(crate) struct Trust {
    pub(super) authorities: Vec<CertificateDer<'static>>,
    pub(super) identity: Option<Identity>,
}

/// A client certificate with its key, ready to sign.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    /// What tells it from others: the hash of certificate and key.
    pub(super) fingerprint: [u8; 32],
}

// === impl Trust ===

impl Trust {
    /// Reads and parses the certificates for a registry. Blocks on files.
    pub(crate) fn load(certificates: &Certificates, registry: &str) -> Result<Self> {
        match certificates {
            Certificates::System => Ok(Self::default()),
            Certificates::Directory(path) => Self::read(path),
            Certificates::Search(folders) => folders
                .find(registry)?
                .map_or_else(|| Ok(Self::default()), |path| Self::read(&path)),
            Certificates::Pem(texts) => {
                let mut trust = Self::default();
                for text in &texts.authorities {
                    trust.add_authorities(text.as_bytes(), "the certificate authority given")?;
                }
                if let Some(own) = &texts.identity {
                    let pair = (own.certificate.as_bytes(), &own.key);
                    trust.set_identity(pair, "the client certificate given")?;
                }
                Ok(trust)
            }
        }
    }

    fn read(folder: &Path) -> Result<Self> {
        let mut trust = Self::default();
        let mut pairs: BTreeMap<PathBuf, [bool; 2]> = BTreeMap::new();
        let failed = |error| Error::io("read", folder, &error);
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let pair = || path.with_extension("");
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => {
                    let name = format!("`{}`", path.display());
                    trust.add_authorities(&read_bounded(&path)?, &name)?;
                }
                Some("cert") => pairs.entry(pair()).or_default()[0] = true,
                Some("key") => pairs.entry(pair()).or_default()[1] = true,
                _ => {}
            }
        }
        for (stem, found) in pairs {
            trust.add_pair(&stem, found)?;
        }
        Ok(trust)
    }

    fn add_pair(&mut self, stem: &Path, [certificate, key]: [bool; 2]) -> Result<()> {
        let with = |extension: &str| PathBuf::from(format!("{}.{extension}", stem.display()));
        let (certificate_path, key_path) = (with("cert"), with("key"));
        let invalid = |message: String| Error::new(Kind::InvalidOptions, message);
        if !key {
            let message = format!("`{}` has no key beside it", certificate_path.display());
            let hint = format!(
                "put the key at `{}`; certificate authorities have the extension .crt",
                key_path.display()
            );
            return Err(invalid(message).hint(hint));
        }
        if !certificate {
            let message = format!("`{}` has no certificate beside it", key_path.display());
            let hint = format!("put the certificate at `{}`", certificate_path.display());
            return Err(invalid(message).hint(hint));
        }
        let name = format!("`{}`", certificate_path.display());
        if self.identity.is_some() {
            return Err(invalid(format!("{name} is a second client certificate"))
                .hint("leave one pair of .cert and .key in the directory"));
        }
        let key = Secret::new(String::from_utf8_lossy(&read_bounded(&key_path)?));
        self.set_identity((&read_bounded(&certificate_path)?, &key), &name)
    }

    fn add_authorities(&mut self, pem: &[u8], name: &str) -> Result<()> {
        let found = certificates(pem).filter(|found| !found.is_empty());
        self.authorities.extend(found.ok_or_else(|| no_certificate(name))?);
        Ok(())
    }

    fn set_identity(&mut self, (certificate, key): (&[u8], &Secret), name: &str) -> Result<()> {
        let invalid = |what| Error::new(Kind::InvalidOptions, format!("{name} {what}"));
        let unreadable = || invalid("is not a certificate with its key in PEM form");
        let chain = certificates(certificate).filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(unreadable)?;
        let key_bytes = key.expose().as_bytes();
        let fingerprint = fingerprint(&[certificate, key_bytes]);
        let key = PrivateKeyDer::from_pem_slice(key_bytes).map_err(|_| unreadable())?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(|cause| match cause {
            rustls::Error::InconsistentKeys(_) => invalid("does not belong to the key beside it"),
            _ => unreadable(),
        })?;
        self.identity = Some(Identity { key: Arc::new(key), fingerprint });
        Ok(())
    }

    /// What tells these certificates from others.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let identity = self.identity.as_ref().map(|own| own.fingerprint);
        let parts = [self.authorities_fingerprint(), identity].map(Option::unwrap_or_default);
        Fingerprint(fingerprint(&[&parts[0], &parts[1]]))
    }

    /// What tells these authorities from others: their hash, nothing where there are none.
    pub(super) fn authorities_fingerprint(&self) -> Option<[u8; 32]> {
        let parts: Vec<&[u8]> = self.authorities.iter().map(AsRef::as_ref).collect();
        (!parts.is_empty()).then(|| fingerprint(&parts))
    }
}

/// The certificates of a PEM text; `None` if one is broken.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()
}

/// A hash of all parts, each with its length.
fn fingerprint(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn no_certificate(name: &str) -> Error {
    Error::new(Kind::InvalidOptions, format!("{name} holds no certificate in PEM form"))
}

fn read_bounded(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>> {
    let file = File::open(path).map_err(|error| Error::io("open", path, &error))?;
    let mut bytes = zeroize::Zeroizing::new(vec![]);
    let read = file.take(MAX_CERTIFICATE_FILE + 1).read_to_end(&mut bytes);
    read.map_err(|error| Error::io("read", path, &error))?;
    if bytes.len() as u64 > MAX_CERTIFICATE_FILE {
        let message =
            format!("`{}` has more than the limit of {MAX_CERTIFICATE_FILE} bytes", path.display());
        return Err(Error::new(Kind::LimitExceeded, message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{ClientIdentity, TrustedCertificates};

    /// A certificate signed by its own key, and that key.
    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["r.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    /// Loads a directory with these files; the message has `D` in the place of the directory.
    fn load(files: &[(&str, &str)]) -> Result<(usize, bool), String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let trust = Trust::load(&Certificates::Directory(folder.path().into()), "r.example");
        let message = |error: Error| {
            let shown = format!("{error}; {}", error.next_step().unwrap_or_default());
            shown.replace(&folder.path().display().to_string(), "D")
        };
        let trust = trust.map_err(message)?;
        Ok((trust.authorities.len(), trust.identity.is_some()))
    }

    #[test]
    fn a_directory_holds_authorities_and_one_pair() {
        let (certificate, key) = pair();
        let twice = format!("{certificate}{certificate}");
        assert_eq!(load(&[]), Ok((0, false)));
        let files = [("a.crt", &*twice), ("c.cert", &certificate), ("c.key", &key), ("x", "y")];
        assert_eq!(load(&files), Ok((2, true)));
    }

    #[test]
    fn a_directory_that_is_wrong_says_why() {
        let (certificate, key) = pair();
        let (_, other_key) = pair();
        let cases: [(&[(&str, &str)], &str); 6] = [
            (
                &[("c.cert", &certificate)],
                "`D/c.cert` has no key beside it; put the key at `D/c.key`; \
                 certificate authorities have the extension .crt",
            ),
            (
                &[("c.key", &key)],
                "`D/c.key` has no certificate beside it; put the certificate at `D/c.cert`",
            ),
            (&[("a.crt", "canary")], "`D/a.crt` holds no certificate in PEM form; "),
            (
                &[("c.cert", "canary"), ("c.key", &key)],
                "`D/c.cert` is not a certificate with its key in PEM form; ",
            ),
            (
                &[("c.cert", &certificate), ("c.key", &other_key)],
                "`D/c.cert` does not belong to the key beside it; ",
            ),
            (
                &[
                    ("a.cert", &certificate),
                    ("a.key", &key),
                    ("b.cert", &certificate),
                    ("b.key", &key),
                ],
                "`D/b.cert` is a second client certificate; \
                 leave one pair of .cert and .key in the directory",
            ),
        ];
        for (files, message) in cases {
            assert_eq!(load(files), Err(message.to_owned()));
        }
    }

    #[test]
    fn texts_do_as_well_as_files() {
        let (certificate, key) = pair();
        let identity = ClientIdentity { certificate: certificate.clone(), key: Secret::new(key) };
        let texts =
            TrustedCertificates { authorities: vec![certificate], identity: Some(identity) };
        let trust = Trust::load(&Certificates::Pem(texts), "r.example").unwrap();
        assert_eq!((trust.authorities.len(), trust.identity.is_some()), (1, true));
    }
}
