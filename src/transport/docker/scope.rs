//! What a token is asked for: repositories, and what is done with them (`repository:NAME:pull,push` of the distribution
//! specification's "Token Scope Documentation").
//!
//! Pure. We ask for what we need; a registry that wants more gets it only within bounds of ours.

use std::collections::BTreeMap;

use reqwest::Method;

use super::auth::Actions;
use crate::transport::Repository;

/// Repositories by their paths, each with the actions in the order that token servers know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scopes(BTreeMap<String, Vec<Action>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Pull,
    Push,
    Delete,
}

// === impl Scopes ===

impl Scopes {
    /// What a side needs of its repository, and to read `other`, for a mount.
    pub(super) fn new(own: &Repository, actions: Actions, other: Option<&Repository>) -> Self {
        let actions = match actions {
            Actions::Pull => vec![Action::Pull],
            Actions::PullPush => vec![Action::Pull, Action::Push],
        };
        let own = (own.path.clone(), actions);
        let other = other.filter(|other| other.path != own.0);
        let other = other.map(|other| (other.path.clone(), vec![Action::Pull]));
        Self(std::iter::once(own).chain(other).collect())
    }

    /// These and what the registry says that it wants, unless that is nothing more, or more than `method` takes: what is
    /// deleted needs a right of its own at some registries. Another repository or action is never asked for.
    pub(super) fn widened(&self, wanted: &str, method: &Method) -> Option<Self> {
        let mut wide = self.clone();
        for scope in wanted.split_ascii_whitespace() {
            let (path, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
            let own = wide.0.get_mut(path)?;
            for action in actions.split(',') {
                let action = Action::parse(action)?;
                let fits = own.contains(&action)
                    || (action == Action::Delete && *method == Method::DELETE);
                if !fits {
                    return None;
                }
                own.push(action);
            }
            own.sort_unstable();
            own.dedup();
        }
        (wide != *self).then_some(wide)
    }

    /// Each scope as it is written.
    pub(super) fn words(&self) -> Vec<String> {
        let word = |(path, actions): (&String, &Vec<Action>)| {
            let actions: Vec<&str> = actions.iter().map(|action| action.name()).collect();
            format!("repository:{path}:{}", actions.join(","))
        };
        self.0.iter().map(word).collect()
    }
}

// === impl Action ===

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Pull, Self::Push, Self::Delete].into_iter().find(|action| action.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(path: &str) -> Repository {
        Repository { registry: "r.example".into(), path: path.into() }
    }

    fn words(actions: Actions, other: Option<&str>) -> String {
        let other = other.map(repository);
        Scopes::new(&repository("team/app"), actions, other.as_ref()).words().join(" ")
    }

    #[test]
    fn a_side_asks_for_what_it_needs() {
        assert_eq!(words(Actions::Pull, None), "repository:team/app:pull");
        assert_eq!(words(Actions::PullPush, None), "repository:team/app:pull,push");
        assert_eq!(
            words(Actions::PullPush, Some("base")),
            "repository:base:pull repository:team/app:pull,push"
        );
        assert_eq!(words(Actions::PullPush, Some("team/app")), words(Actions::PullPush, None));
    }

    #[test]
    fn more_is_asked_for_only_of_the_same_repository_and_request() {
        use Actions::{Pull, PullPush};
        let own = "repository:team/app:pull,push,delete";
        for (actions, method, wanted, expected) in [
            (PullPush, Method::DELETE, "repository:team/app:delete", Some(own)),
            (PullPush, Method::DELETE, "repository:team/app:pull,push,delete", Some(own)),
            (PullPush, Method::DELETE, "repository:team/app:*", None),
            (PullPush, Method::DELETE, "repository:other:delete", None),
            (PullPush, Method::DELETE, "repository:team/app:delete repository:other:pull", None),
            (PullPush, Method::PUT, "repository:team/app:delete", None),
            (PullPush, Method::PUT, "repository:team/app:pull,push", None),
            (PullPush, Method::PUT, "repository:team/app:push", None),
            (Pull, Method::GET, "repository:team/app:pull,push", None),
            (PullPush, Method::PUT, "repository:other:*", None),
            (PullPush, Method::PUT, "repository:team:pull", None),
            (PullPush, Method::PUT, "registry:catalog:*", None),
            (PullPush, Method::PUT, "repository(plugin):team/app:pull", None),
            (PullPush, Method::PUT, "repository:team/app", None),
            (PullPush, Method::PUT, "", None),
            (PullPush, Method::PUT, "canary", None),
        ] {
            let scopes = Scopes::new(&repository("team/app"), actions, None);
            let found = scopes.widened(wanted, &method).map(|scopes| scopes.words().join(" "));
            assert_eq!(found.as_deref(), expected, "{method} {wanted}");
        }
    }
}
