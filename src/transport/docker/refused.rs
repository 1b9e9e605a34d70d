//! A registry that doesn't let us in: what is tried before it is given up, and what is told then.

use reqwest::Method;

use super::error::Refusal;
use super::scope::Scopes;
use crate::access::Lookup;
use crate::error::{Error, Kind};
use crate::limits::MAX_ERROR_SHOWN;

/// How one request was answered so far.
#[derive(Default)]
pub(super) struct Tried {
    /// Whether a token was fetched in answer to it.
    fetched: bool,
    /// Whether one was for more than we ask for by ourselves.
    widened: bool,
    /// What the latest token is for.
    asked: Option<String>,
    /// What the registry misses in it.
    missing: Option<String>,
}

// === impl Tried ===

impl Tried {
    /// What to ask a token for next, of a registry that misses some right; `None` to give up.
    ///
    /// A token may have been withdrawn, and may do too little: each is cured once.
    pub(super) fn next(
        &mut self,
        scopes: Scopes,
        method: &Method,
        missing: Option<String>,
    ) -> Option<Scopes> {
        let wider = missing.as_ref().and_then(|missing| scopes.widened(missing, method));
        self.missing = missing;
        let scopes = match wider {
            Some(wider) if !self.widened => {
                self.widened = true;
                wider
            }
            _ if self.fetched => return None,
            _ => scopes,
        };
        self.fetched = true;
        self.asked = Some(scopes.words().join(" "));
        Some(scopes)
    }

    /// The registry's last word, and to what.
    pub(super) fn words(&self, refusal: &Refusal) -> String {
        let mut words = refusal.words();
        if let Some(asked) = &self.asked {
            words = format!("{words} to a token for `{asked}`");
        }
        if let Some(missing) = &self.missing {
            let missing: String = missing.chars().take(MAX_ERROR_SHOWN).collect();
            words = format!("{words}, and wants one for `{missing}`");
        }
        words
    }
}

/// The error for an answer of 401 that doesn't say how to log in, or only in ways that we don't have.
pub(super) fn no_way_in() -> Error {
    let message =
        "the registry answered 401 Unauthorized without a way to log in that is known here";
    Error::new(Kind::AuthenticationFailed, message).hint("check that the host is a registry")
}

/// The error for a registry that accepts none of what was found, and `said` this.
pub(super) fn error(registry: &str, lookup: &Lookup, said: &str) -> Error {
    let Lookup { credential, looked_at } = lookup;
    let Some(credential) = credential else {
        let looked = match looked_at.as_slice() {
            [] => "none were given".to_owned(),
            places => format!("none were found in {}", places.join("; nor in ")),
        };
        let message = format!("`{registry}` wants credentials, and {looked}: {said}");
        // Registries tell strangers no more of what isn't there. Whom they know, they refuse for a reason.
        return Error::new(Kind::AuthenticationFailed, message)
            .absence()
            .hint(format!("log in with `podman login {registry}`, or pass `--creds`"));
    };
    let place = looked_at.last().map(|place| format!(" ({place})")).unwrap_or_default();
    let user = credential.user();
    let message =
        format!("`{registry}` does not accept the credentials of `{user}`{place}: {said}");
    Error::new(Kind::AuthenticationFailed, message)
        .hint("check user and password, and what the user may do")
}

/// The error for an answer of 403, in which the registry `said` this, having been `shown` the credential or not: it need not be a matter
/// of the password.
pub(super) fn forbidden(registry: &str, lookup: &Lookup, said: String, shown: bool) -> Error {
    let Lookup { credential, looked_at } = lookup;
    let denied = |message| Error::new(Kind::AccessDenied, message).permanent();
    let Some(credential) = credential else {
        // As 401 to a stranger.
        return denied(said).absence().hint(format!(
            "no credentials were given: log in with `podman login {registry}`, or pass `--creds`"
        ));
    };
    if !shown {
        return denied(said);
    }
    let place = looked_at.last().map(|place| format!(" ({place})")).unwrap_or_default();
    let user = credential.user();
    denied(format!("{said} to `{user}`{place}"))
        .hint(format!("check what `{user}` may do there, and the repository's name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Repository;
    use crate::transport::docker::auth::Actions;

    /// What is missing according to each answer, and what is asked for then.
    type Case<'a> = (&'a [Option<String>], &'a [Option<&'a str>]);

    #[test]
    fn a_registry_that_is_never_content_is_given_up() {
        let repository = Repository { registry: "r.example".into(), path: "a".into() };
        let own = || Scopes::new(&repository, Actions::PullPush, None);
        let missing = |scope: &str| Some(scope.to_owned());
        let cases: [Case<'_>; 4] = [
            (&[None, None], &[Some("repository:a:pull,push"), None]),
            (
                &[None, missing("repository:a:delete"), missing("repository:a:delete")],
                &[Some("repository:a:pull,push"), Some("repository:a:pull,push,delete"), None],
            ),
            (&[None, missing("repository:other:*")], &[Some("repository:a:pull,push"), None]),
            (&[missing("repository:a:pull,push"), None], &[Some("repository:a:pull,push"), None]),
        ];
        for (answers, expected) in cases {
            let mut tried = Tried::default();
            let asked: Vec<Option<String>> = answers
                .iter()
                .map(|missing| tried.next(own(), &Method::DELETE, missing.clone()))
                .map(|scopes| scopes.map(|scopes| scopes.words().join(" ")))
                .collect();
            let asked: Vec<Option<&str>> = asked.iter().map(Option::as_deref).collect();
            assert_eq!(asked, expected, "{answers:?}");
        }
    }
}
