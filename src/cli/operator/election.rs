//! The flags of `imagepush operator` that say how several operators agree on the one that works.

use std::hash::{BuildHasher as _, RandomState};

use clap::{ArgAction, Args};

use super::namespace;
use crate::controller::ElectionConfig;

/// By which lease operators take turns.
#[derive(Debug, Args)]
pub(super) struct ElectionArgs {
    /// Work only while holding a lease, so that of several operators one works and the others wait to take over. `false`
    /// saves its requests; an operator then works through outages of the Kubernetes API, but never run two of them
    #[arg(
        long,
        value_name = "BOOL",
        env = "IMAGEPUSH_LEADER_ELECTION",
        hide_env_values = true,
        action = ArgAction::Set,
        default_value_t = true
    )]
    leader_election: bool,

    /// Name of the lease. Operators that look after different namespaces need different ones
    #[arg(
        long,
        value_name = "NAME",
        env = "IMAGEPUSH_LEASE",
        hide_env_values = true,
        default_value = "imagepush",
        value_parser = namespace
    )]
    lease: String,

    /// Namespace of the lease [default: that of the service account, or of the kubeconfig's context]
    #[arg(
        long,
        value_name = "NAMESPACE",
        env = "IMAGEPUSH_LEASE_NAMESPACE",
        hide_env_values = true,
        value_parser = namespace
    )]
    lease_namespace: Option<String>,
}

// === impl ElectionArgs ===

impl ElectionArgs {
    pub(super) fn election(self) -> Option<ElectionConfig> {
        let Self { leader_election, lease, lease_namespace } = self;
        leader_election.then(|| ElectionConfig {
            lease,
            namespace: lease_namespace,
            identity: identity(),
        })
    }
}

/// The pod's name, for people, and a number that tells a process from one that ran there before.
fn identity() -> String {
    let host = rustix::system::uname();
    let random = RandomState::new().hash_one(std::process::id());
    format!("{}_{random:016x}", host.nodename().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        election: ElectionArgs,
    }

    fn parse(arguments: &str) -> Option<ElectionConfig> {
        let arguments = ["operator"].into_iter().chain(arguments.split_whitespace());
        Program::try_parse_from(arguments).unwrap().election.election()
    }

    #[test]
    fn flags_get_into_the_election() {
        let cases = [
            ("", Some(("imagepush", None))),
            ("--lease=b --lease-namespace=n", Some(("b", Some("n")))),
            ("--leader-election=false --lease=b", None),
        ];
        for (arguments, expected) in cases {
            let found = parse(arguments);
            let found = found.as_ref().map(|it| (it.lease.as_str(), it.namespace.as_deref()));
            assert_eq!(found, expected, "{arguments}");
        }
    }

    /// Else an operator that starts again would take the lease of the one before for its own.
    #[test]
    fn no_two_operators_have_one_name() {
        let [one, other] = [(); 2].map(|()| parse("").unwrap().identity);
        assert_ne!(one, other);
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        assert!(one.starts_with(&format!("{host}_")), "{one}");
    }
}
