//! Credential files: containers' `auth.json` and Docker's `config.json`.

use std::path::PathBuf;

use super::Credential;
use crate::error::Result;

/// One credential file.
#[derive(Clone, Debug)]
pub struct AuthFile;

/// The credential files to look into, in order; the first that has an entry wins.
#[derive(Clone, Debug)]
pub struct AuthFiles {
    paths: Vec<PathBuf>,
}

/// What a search for a credential found, and where it looked.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    /// The credential, if there is one.
    pub credential: Option<Credential>,
    /// The places looked at, in words, for the error when the registry refuses.
    pub looked_at: Vec<String>,
}

impl AuthFiles {
    /// Only this file, which must exist.
    pub fn only(path: PathBuf) -> Self {
        Self { paths: vec![path] }
    }

    /// Finds the credential of a repository.
    pub fn lookup(&self, _registry: &str, _repository: &str) -> Result<Lookup> {
        let _ = &self.paths;
        Ok(Lookup::default())
    }
}

impl Lookup {
    /// A credential that the user gave by hand.
    pub fn explicit(credential: Credential) -> Self {
        Self { credential: Some(credential), looked_at: vec!["the credentials given".into()] }
    }
}
