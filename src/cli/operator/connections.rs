//! The flags of `imagepush operator` that say where it may connect to, and by which way.

use clap::Args;

use super::elsewhere::ElsewhereArgs;
use crate::access::{AllowedRegistries, Egress, NetworkSettings, Place, Proxies};

/// Where connections to registries may lead.
///
/// Who may create an ImagePush chooses its registries, and a registry chooses where it redirects to.
#[derive(Debug, Default, Args)]
pub(in crate::cli) struct ConnectionArgs {
    /// Let objects name this registry, domain (`*.example.com`) or range of addresses, others that are given so, and no
    /// more, as source or destination. May be given several times; in the variable, with commas between [default: all]
    ///
    /// Nothing is sent to another one. Where a registry that is allowed sends us for downloads and tokens is for the
    /// egress policy.
    #[arg(
        long,
        value_name = "PLACE",
        env = "IMAGEPUSH_ALLOWED_REGISTRIES",
        hide_env_values = true,
        value_delimiter = ','
    )]
    allowed_registries: Vec<Place>,

    /// Let connections to registries lead to this host, domain (`*.example.com`) or range of addresses (`127.0.0.0/8`),
    /// although it is denied otherwise. May be given several times; in the variable, with commas between
    #[arg(
        long,
        value_name = "PLACE",
        env = "IMAGEPUSH_EGRESS_ALLOW",
        hide_env_values = true,
        value_delimiter = ','
    )]
    egress_allow: Vec<Place>,

    /// Let no connection to a registry lead to this host, domain or range, such as that of the cluster's Services. May be
    /// given several times [default: this machine, its links, and the metadata services of clouds]
    ///
    /// What is denied by default remains so.
    #[arg(
        long,
        value_name = "PLACE",
        env = "IMAGEPUSH_EGRESS_DENY",
        hide_env_values = true,
        value_delimiter = ','
    )]
    egress_deny: Vec<Place>,

    /// Let connections to registries lead to this host, domain or range, to others that are given so, and nowhere else
    ///
    /// Name the registries, their token servers, and the hosts that they redirect downloads to or have uploads sent to.
    /// What is denied otherwise remains so.
    #[arg(
        long,
        value_name = "PLACE",
        env = "IMAGEPUSH_EGRESS_ONLY",
        hide_env_values = true,
        value_delimiter = ','
    )]
    egress_only: Vec<Place>,

    /// Let no object switch off that certificates of registries are verified, nor TLS itself
    #[arg(long, env = "IMAGEPUSH_FORBID_INSECURE", hide_env_values = true)]
    forbid_insecure: bool,

    /// Reach registries by the proxies that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` name
    #[arg(long, env = "IMAGEPUSH_PROXY_FROM_ENVIRONMENT", hide_env_values = true)]
    proxy_from_environment: bool,

    #[command(flatten)]
    elsewhere: ElsewhereArgs,
}

// === impl ConnectionArgs ===

impl ConnectionArgs {
    /// These flags, for a program that is to keep to the same.
    pub(super) fn arguments(&self) -> Vec<String> {
        let Self {
            allowed_registries,
            egress_allow,
            egress_deny,
            egress_only,
            forbid_insecure,
            proxy_from_environment,
            elsewhere,
        } = self;
        let places = [
            ("--allowed-registries", allowed_registries),
            ("--egress-allow", egress_allow),
            ("--egress-deny", egress_deny),
            ("--egress-only", egress_only),
        ];
        let places = places
            .into_iter()
            .flat_map(|(flag, places)| places.iter().map(move |it| format!("{flag}={it}")));
        let switches = [
            ("--forbid-insecure", *forbid_insecure),
            ("--proxy-from-environment", *proxy_from_environment),
        ];
        let switches = switches.into_iter().filter(|(_, on)| *on).map(|(flag, _)| flag.to_owned());
        places.chain(elsewhere.arguments()).chain(switches).collect()
    }

    /// What holds for the operator's connections.
    pub(in crate::cli) fn settings(self) -> NetworkSettings {
        let Self {
            allowed_registries,
            egress_allow,
            egress_deny,
            egress_only,
            forbid_insecure,
            proxy_from_environment,
            elsewhere,
        } = self;
        let egress = egress_allow.into_iter().fold(Egress::operator(), Egress::allow);
        let egress = egress_deny.into_iter().fold(egress, Egress::deny);
        let egress = egress_only.into_iter().fold(egress, Egress::only);
        let proxies = if proxy_from_environment { Proxies::Environment } else { Proxies::None };
        NetworkSettings {
            egress,
            proxies,
            elsewhere: elsewhere.settings(),
            registries: AllowedRegistries::new(allowed_registries),
            verified_only: forbid_insecure,
            ..NetworkSettings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        connections: ConnectionArgs,
    }

    fn parse(arguments: &str) -> Result<NetworkSettings, String> {
        let arguments = ["operator"].into_iter().chain(arguments.split_whitespace());
        let program = Program::try_parse_from(arguments);
        program.map(|program| program.connections.settings()).map_err(|error| {
            let text = error.to_string();
            text.lines().next().unwrap_or_default().to_owned()
        })
    }

    fn place(text: &str) -> Place {
        text.parse().unwrap()
    }

    #[test]
    fn flags_get_into_the_policy() {
        let operator = Egress::operator;
        let all = "--egress-allow 127.0.0.1 --egress-allow a.example,b.example --egress-deny 10.96.0.0/12 \
                   --egress-deny kubernetes.default.svc --egress-only *.example --proxy-from-environment";
        let expected = operator()
            .allow(place("127.0.0.1"))
            .allow(place("a.example"))
            .allow(place("b.example"))
            .deny(place("10.96.0.0/12"))
            .deny(place("kubernetes.default.svc"))
            .only(place("*.example"));
        for (arguments, egress, proxies) in
            [("", operator(), Proxies::None), (all, expected, Proxies::Environment)]
        {
            let settings = parse(arguments).unwrap();
            assert_eq!((settings.egress, settings.proxies), (egress, proxies), "{arguments}");
        }
    }

    #[test]
    fn registries_that_are_named_are_the_only_ones() {
        let given = parse("--allowed-registries a.example,*.b.example").unwrap().registries;
        assert_eq!(given, AllowedRegistries::new(vec![place("a.example"), place("*.b.example")]));
        assert_eq!(parse("").unwrap().registries, AllowedRegistries::default());
    }

    #[test]
    fn insecure_registries_are_forbidden_by_a_switch() {
        let forbids = |arguments| parse(arguments).unwrap().verified_only;
        assert_eq!((forbids(""), forbids("--forbid-insecure")), (false, true));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for flag in ["allowed-registries", "egress-allow", "egress-deny", "egress-only"] {
            let expected = format!(
                "error: invalid value '10.0.0.0/33' for '--{flag} <PLACE>': `10.0.0.0/33` is not an address, \
                 nor a range such as 10.0.0.0/8"
            );
            assert_eq!(parse(&format!("--{flag} 10.0.0.0/33")).err(), Some(expected));
        }
    }
}
