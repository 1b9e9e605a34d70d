//! Whether, and of which kinds, the operator applies the custom resources that images carry.

use clap::Args;

use crate::apply::{KindPattern, Policy};

/// What bundles may do in the cluster.
#[derive(Debug, Args)]
pub(super) struct BundleArgs {
    /// Apply the bundles of images for objects that ask for it, each as a ServiceAccount of the object's namespace. Needs
    /// permission to impersonate those accounts
    #[arg(long, env = "IMAGEPUSH_APPLY_BUNDLES", hide_env_values = true)]
    apply_bundles: bool,

    /// A kind that bundles may hold, as `KIND.GROUP`, `*.GROUP`, or `KIND` for the core group. May be given several times;
    /// in the variable, with commas between [default: every kind that a CustomResourceDefinition makes]
    #[arg(
        long,
        value_name = "KIND",
        env = "IMAGEPUSH_BUNDLE_KINDS",
        hide_env_values = true,
        value_delimiter = ',',
        requires = "apply_bundles"
    )]
    bundle_kinds: Vec<KindPattern>,

    /// A kind that bundles may not hold. May be given several times
    #[arg(
        long,
        value_name = "KIND",
        env = "IMAGEPUSH_DENY_BUNDLE_KINDS",
        hide_env_values = true,
        value_delimiter = ',',
        requires = "apply_bundles"
    )]
    deny_bundle_kinds: Vec<KindPattern>,
}

// === impl BundleArgs ===

impl BundleArgs {
    /// The kinds that may be applied, if any.
    pub(super) fn policy(self) -> Option<Policy> {
        let Self { apply_bundles, bundle_kinds, deny_bundle_kinds } = self;
        apply_bundles.then_some(Policy { allowed: bundle_kinds, denied: deny_bundle_kinds })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        bundles: BundleArgs,
    }

    fn parse(arguments: &str) -> Result<Option<Policy>, clap::error::ErrorKind> {
        let arguments = ["operator"].into_iter().chain(arguments.split_whitespace());
        let program = Program::try_parse_from(arguments);
        program.map(|program| program.bundles.policy()).map_err(|error| error.kind())
    }

    #[test]
    fn nothing_is_applied_unless_asked_for() {
        use clap::error::ErrorKind::{MissingRequiredArgument, ValueValidation};
        let kind = |text: &str| text.parse::<KindPattern>().unwrap();
        assert_eq!(parse(""), Ok(None));
        assert_eq!(parse("--apply-bundles"), Ok(Some(Policy::default())));
        let policy = Policy {
            allowed: vec![kind("Thing.example.com"), kind("*.example.org"), kind("ConfigMap")],
            denied: vec![kind("Other.example.org")],
        };
        let all = "--apply-bundles --bundle-kinds Thing.example.com,*.example.org --bundle-kinds ConfigMap \
                   --deny-bundle-kinds Other.example.org";
        assert_eq!(parse(all), Ok(Some(policy)));
        assert_eq!(parse("--bundle-kinds ConfigMap"), Err(MissingRequiredArgument));
        assert_eq!(parse("--apply-bundles --bundle-kinds *"), Err(ValueValidation));
    }
}
