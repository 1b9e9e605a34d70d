//! One credential file, of the form of containers' `auth.json` and Docker's `config.json`: what it says about a repository.
//!
//! A file maps keys (a registry's host, or a repository below it) to credentials, or names a program that has them. An
//! entry serves only the host that its key names. Nothing is read and no program is run here, and no message ever holds what
//! stands in an entry.

mod entry;
mod keys;

use std::collections::BTreeMap;

use serde::Deserialize;

use self::entry::Entry;
pub(super) use self::keys::addresses;
use self::keys::{is_for, keys};
use super::helper::Question;
use super::{Credential, Lookup};
use crate::error::{Error, Kind, Result};
use crate::limits::MAX_HELPER_ADDRESSES;

/// One credential file, or a text of the same form such as a Kubernetes Secret of type dockerconfigjson.
#[derive(Clone, Debug)]
pub struct AuthFile {
    /// The path or the Secret, in backticks, for messages.
    name: String,
    content: Content,
}

/// What a file says about a repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The credential, and where it stands.
    Found(Credential, String),
    /// A program has it.
    Helper(Question),
    /// Nothing; this is where it isn't.
    Nothing(String),
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    creds_store: Option<String>,
}

// === impl AuthFile ===

impl AuthFile {
    /// Reads a text of the form of Docker's `config.json`. `name` tells the user which text it is.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Self> {
        let content = serde_json::from_slice(bytes).map_err(|error| malformed(name, &error))?;
        Ok(Self { name: format!("`{name}`"), content })
    }

    /// Reads a text of Docker's older form, in which the entries stand at the top (`.dockercfg`).
    pub fn parse_legacy(bytes: &[u8], name: &str) -> Result<Self> {
        let auths = serde_json::from_slice(bytes).map_err(|error| malformed(name, &error))?;
        let content = Content { auths: Some(auths), ..Content::default() };
        Ok(Self { name: format!("`{name}`"), content })
    }

    /// What the file says, without any program: a registry that it leaves to one has no credential here.
    pub(super) fn lookup(&self, registry: &str, repository: &str) -> Result<Lookup> {
        Ok(match self.answer(registry, repository)? {
            Answer::Found(credential, place) => Lookup::found(credential, place),
            Answer::Nothing(place) => Lookup { credential: None, looked_at: vec![place] },
            Answer::Helper(Question { file, helper, .. }) => {
                let place = format!(
                    "{file}, which leaves `{registry}` to the credential helper `{helper}` (helpers are not run)"
                );
                Lookup { credential: None, looked_at: vec![place] }
            }
        })
    }

    /// What the file says about a repository.
    ///
    /// A helper for this registry goes before entries, as in Docker and Podman. The helper for all others comes after
    /// them: Docker empties the entries of what it puts there, so one that holds something is meant.
    pub(super) fn answer(&self, registry: &str, repository: &str) -> Result<Answer> {
        let own = self.own_helper(registry);
        if let Some((key, helper)) = own.filter(|(_, helper)| !helper.is_empty()) {
            return Ok(Answer::Helper(self.question(helper, [key], registry)));
        }
        let keys = keys(registry, repository);
        if let Some((key, entry)) = self.entry(registry, &keys)
            && let Some(credential) = self.credential(key, entry)?
        {
            return Ok(Answer::Found(credential, format!("{}, key `{key}`", self.name)));
        }
        // An empty name says that this registry's credentials stand in the file.
        let store = self.content.creds_store.as_ref().filter(|_| own.is_none());
        if let Some(helper) = store.filter(|helper| !helper.is_empty()) {
            let filed = self.auths().map(|(key, _)| key).filter(|key| is_for(key, registry));
            return Ok(Answer::Helper(self.question(helper, filed, registry)));
        }
        let absent = format!("{}, which has no entry for `{}`", self.name, keys.join("`, `"));
        Ok(Answer::Nothing(absent))
    }

    /// The helper for this registry alone, and the key it stands under.
    fn own_helper(&self, registry: &str) -> Option<(&str, &str)> {
        let helpers = self.content.cred_helpers.as_ref()?;
        let exact = helpers.get_key_value(registry);
        let found = exact.or_else(|| helpers.iter().find(|(key, _)| is_for(key, registry)));
        found.map(|(key, helper)| (key.as_str(), helper.as_str()))
    }

    /// The entry that serves a repository: the most specific exact key, else one for the host in another form.
    fn entry(&self, registry: &str, keys: &[String]) -> Option<(&str, &Entry)> {
        let filled = |(_, entry): &(&str, &Entry)| !entry.is_empty();
        let auths = self.content.auths.as_ref()?;
        let exact = keys.iter().filter_map(|key| auths.get_key_value(key));
        let exact = exact.map(|(key, entry)| (key.as_str(), entry)).find(filled);
        exact.or_else(|| self.auths().filter(filled).find(|(key, _)| is_for(key, registry)))
    }

    fn auths(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.content.auths.iter().flatten().map(|(key, entry)| (key.as_str(), entry))
    }

    fn credential(&self, key: &str, entry: &Entry) -> Result<Option<Credential>> {
        entry.credential().map_err(|what| {
            let message = format!("{} has {what} for key `{key}`", self.name);
            Error::new(Kind::AuthenticationFailed, message)
                .doing("looking up credentials")
                .hint("correct the entry, or log in anew")
        })
    }

    /// The forms in which the file has the registry's name go first: whoever filed it has asked by them.
    fn question<'a>(
        &self,
        helper: &str,
        filed: impl IntoIterator<Item = &'a str>,
        registry: &str,
    ) -> Question {
        let mut forms: Vec<String> = vec![];
        for form in filed.into_iter().map(str::to_owned).chain(addresses(registry)) {
            if !forms.contains(&form) && forms.len() < MAX_HELPER_ADDRESSES {
                forms.push(form);
            }
        }
        Question { file: self.name.clone(), helper: helper.to_owned(), addresses: forms }
    }
}

/// The parser's own words may repeat a value, so only the place is told.
fn malformed(name: &str, error: &serde_json::Error) -> Error {
    let message = format!(
        "`{name}` is not a credential file: malformed at line {}, column {}",
        error.line(),
        error.column()
    );
    Error::new(Kind::InvalidOptions, message)
        .hint("the form is `{\"auths\": {\"HOST\": {\"auth\": \"BASE64\"}}}`")
}

#[cfg(test)]
mod tests;
