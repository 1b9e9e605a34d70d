//! What a search for a credential found, and where it looked.

use super::Credential;

/// What a search for a credential found, and where it looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// The credential, if there is one.
    pub credential: Option<Credential>,
    /// The places looked at, in words, for the error when the registry refuses. The last is where the credential was.
    pub looked_at: Vec<String>,
}

impl Lookup {
    /// A credential that the user gave by hand.
    pub fn explicit(credential: Credential) -> Self {
        Self::found(credential, "the credentials given".into())
    }

    /// A credential that was found in the first place looked at.
    pub(super) fn found(credential: Credential, place: String) -> Self {
        Self::default().with(credential, place)
    }

    /// Found in the next place.
    pub(super) fn with(mut self, credential: Credential, place: String) -> Self {
        self.looked_at.push(place);
        Self { credential: Some(credential), ..self }
    }
}
