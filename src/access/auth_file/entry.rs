//! One entry of a credential file, and the credential that it holds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::access::{Credential, Secret};

/// What tools have written for a key. All of it may be absent: Docker leaves `{}` behind where a helper has the credential.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Entry {
    /// `user:password` in base64.
    auth: Option<Secret>,
    identitytoken: Option<Secret>,
    registrytoken: Option<Secret>,
    username: Option<Secret>,
    password: Option<Secret>,
}

impl Entry {
    /// Whether there is nothing in it to log in with.
    pub(super) fn is_empty(&self) -> bool {
        [&self.auth, &self.identitytoken, &self.registrytoken, &self.username]
            .into_iter()
            .all(|field| given(field.as_ref()).is_none())
    }

    /// The credential, if there is one. The error says what is wrong with the entry, and nothing of what stands there.
    pub(super) fn credential(&self) -> Result<Option<Credential>, &'static str> {
        if let Some(token) = given(self.registrytoken.as_ref()) {
            return Ok(Some(Credential::RegistryToken(token.clone())));
        }
        if let Some(token) = given(self.identitytoken.as_ref()) {
            return Ok(Some(Credential::IdentityToken(token.clone())));
        }
        if let Some(auth) = given(self.auth.as_ref()) {
            return decode(auth).map(Some);
        }
        match (given(self.username.as_ref()), &self.password) {
            (Some(user), Some(password)) => {
                Ok(Some(Credential::basic(user.expose(), password.clone())))
            }
            _ => Ok(None),
        }
    }
}

fn decode(auth: &Secret) -> Result<Credential, &'static str> {
    let bytes = STANDARD.decode(auth.expose().trim());
    let bytes = zeroize::Zeroizing::new(bytes.map_err(|_| "an `auth` that is not base64")?);
    let text = std::str::from_utf8(&bytes).map_err(|_| "an `auth` that is not text")?;
    let (user, password) =
        text.split_once(':').ok_or("an `auth` without a colon between user and password")?;
    // Docker once filled passwords up with NULs.
    Ok(Credential::basic(user, Secret::new(password.trim_matches('\0'))))
}

fn given(field: Option<&Secret>) -> Option<&Secret> {
    field.filter(|text| !text.expose().is_empty())
}
