//! Which registries references may name.
//!
//! This is about names, and asked before anything is sent; where connections then lead, the registry's redirects and token
//! servers included, is for the egress policy.

use std::net::IpAddr;

use super::Place;

/// The registries that references may name; all of them unless some are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedRegistries(Vec<Place>);

// === impl AllowedRegistries ===

impl AllowedRegistries {
    /// These and no others; all if there are none.
    pub fn new(places: Vec<Place>) -> Self {
        Self(places)
    }

    /// Whether a registry, as references name it (`HOST[:PORT]`, an IPv6 address in brackets), is one of them. The port makes
    /// no difference.
    pub(super) fn permit(&self, registry: &str) -> bool {
        let host = host(registry);
        let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        self.0.is_empty()
            || self.0.iter().any(|place| match address {
                Some(address) => place.holds(address),
                None => place.names(host),
            })
    }
}

/// A registry without its port.
fn host(registry: &str) -> &str {
    match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => registry.rsplit_once(':').map_or(registry, |(host, _)| host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_allowed_by_name_or_by_address() {
        let places = ["docker.io", "registry.example", "*.corp.example", "10.1.0.0/16", "fd00::/8"];
        let some =
            AllowedRegistries::new(places.into_iter().map(|it| it.parse().unwrap()).collect());
        let cases = [
            ("docker.io", true),
            ("registry.example", true),
            ("registry.example:5000", true),
            ("Registry.Example.", true),
            ("registry.example.evil.example", false),
            ("notregistry.example", false),
            ("sub.registry.example", false),
            ("a.corp.example:443", true),
            ("a.b.corp.example", true),
            ("corp.example", false),
            ("10.1.2.3:5000", true),
            ("10.2.0.1", false),
            ("[fd00::1]:5000", true),
            ("[::ffff:10.1.2.3]", true),
            ("[2001:db8::1]", false),
            ("localhost:5000", false),
        ];
        for (registry, allowed) in cases {
            assert_eq!(some.permit(registry), allowed, "{registry}");
            assert!(AllowedRegistries::default().permit(registry), "{registry}");
        }
    }
}
