//! Understands what a helper said, in the protocol of docker-credential-helpers.

use serde::Deserialize;

use super::run::Output;
use crate::access::{Credential, Secret};
use crate::error::{Error, Kind, Result};
use crate::limits::MAX_ERROR_SHOWN;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    secret: Option<Secret>,
}

/// What helpers say, as the protocol has it, when they know nothing of an address. They fail with it.
const NOT_FOUND: &str = "credentials not found";

/// The user name that stands for an identity token.
const TOKEN: &str = "<token>";

/// The credential of an answer; `None` if the helper has none.
pub(super) fn read(output: &Output) -> Result<Option<Credential>> {
    if !output.status.success() {
        return failed(output);
    }
    let answer: Answer = serde_json::from_slice(&output.stdout).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        faulty(format!("its answer is malformed at line {line}, column {column}"))
    })?;
    let username = answer.username.unwrap_or_default();
    let secret = answer.secret.filter(|secret| !secret.expose().is_empty());
    match (username.as_str(), secret) {
        ("", None) => Ok(None),
        (_, None) => Err(faulty("its answer has no `Secret`".to_owned())),
        (TOKEN, Some(secret)) => Ok(Some(Credential::IdentityToken(secret))),
        ("", Some(_)) => Err(faulty("its answer has no `Username`".to_owned())),
        (_, Some(secret)) => Ok(Some(Credential::basic(username, secret))),
    }
}

/// A helper that fails says why on standard output; what is on standard error is shown only where that is empty.
fn failed(output: &Output) -> Result<Option<Credential>> {
    let texts = [output.stdout.as_slice(), &output.stderr].map(String::from_utf8_lossy);
    let said = texts.iter().map(|text| text.trim()).find(|text| !text.is_empty());
    match said {
        Some(said) if said.to_ascii_lowercase().starts_with(NOT_FOUND) => Ok(None),
        // It may be an answer all the same, with a secret in it.
        Some(said) if said.contains('{') => Err(faulty(format!(
            "it failed with {}, and what it printed is not shown",
            output.status
        ))),
        Some(said) => Err(faulty(format!("it failed: {}", shown(said)))),
        None => Err(faulty(format!("it failed with {} and said nothing", output.status))),
    }
}

/// Bounded and on one line; errors escape what a terminal would act upon.
fn shown(said: &str) -> String {
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(MAX_ERROR_SHOWN).collect()
}

fn faulty(message: String) -> Error {
    Error::new(Kind::AuthenticationFailed, message)
        .hint("see what the helper needs, or pass `--creds` or `--authfile`")
}
