//! Places that a policy names: a host by name, hosts below a domain, addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A host name, a domain, or a range of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The host with this name, in lower case and without a dot at the end.
    Host(String),
    /// Every host below this domain, at any depth; the domain itself is none of them.
    Below(String),
    /// The addresses of a range.
    Addresses(Range),
}

/// A range of addresses: all that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    first: IpAddr,
    bits: u8,
}

// === impl Place ===

impl Place {
    /// Whether a host is meant by its name.
    pub(super) fn names(&self, host: &str) -> bool {
        let host = normal(host);
        match self {
            Self::Host(name) => *name == host,
            Self::Below(domain) => {
                host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            Self::Addresses(_) => false,
        }
    }

    /// Whether an address is meant by a range.
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        matches!(self, Self::Addresses(range) if range.holds(address))
    }
}

/// A host name as it is compared.
fn normal(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// `registry.example`, `*.example`, `10.0.0.0/8`, `fd00::1`.
impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numeric = text.contains(['/', ':']) || text.parse::<Ipv4Addr>().is_ok();
        if numeric {
            return text.parse().map(Self::Addresses);
        }
        let name = normal(text.strip_prefix("*.").unwrap_or(text));
        if !is_name(&name) {
            let forms =
                "a host name, `*.` with a domain, an address, or a range such as 10.0.0.0/8";
            return Err(format!("`{text}` is not {forms}"));
        }
        Ok(if text.starts_with("*.") { Self::Below(name) } else { Self::Host(name) })
    }
}

/// Labels of letters, digits and inner hyphens; the last one is no number, which would be taken for an address.
fn is_name(name: &str) -> bool {
    let letters = |label: &str| {
        label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let labels = || name.split('.');
    let last_is_number =
        labels().next_back().is_some_and(|it| it.bytes().all(|c| c.is_ascii_digit()));
    name.len() <= 253
        && !last_is_number
        && labels().all(|label| (1..=63).contains(&label.len()) && letters(label))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => f.write_str(name),
            Self::Below(domain) => write!(f, "*.{domain}"),
            Self::Addresses(range) => range.fmt(f),
        }
    }
}

// === impl Range ===

impl Range {
    /// The range of all addresses that begin with the first `bits` of `first`.
    pub(super) const fn new(first: IpAddr, bits: u8) -> Self {
        Self { first, bits }
    }

    pub(super) const fn v4(first: [u8; 4], bits: u8) -> Self {
        Self::new(IpAddr::V4(Ipv4Addr::from_octets(first)), bits)
    }

    pub(super) const fn v6(first: u128, bits: u8) -> Self {
        Self::new(IpAddr::V6(Ipv6Addr::from_bits(first)), bits)
    }

    /// Whether an address is in the range. Those of the other version are not, however they are written.
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        let (own, width) = number(self.first);
        let (other, other_width) = number(address);
        let rest = u32::from(width.saturating_sub(self.bits));
        let start = |number: u128| number.checked_shr(rest).unwrap_or_default();
        width == other_width && start(own) == start(other)
    }
}

/// An address as a number, and how many bits it has.
fn number(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u32::from(v4).into(), 32),
        IpAddr::V6(v6) => (v6.into(), 128),
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let invalid = || format!("`{text}` is not an address, nor a range such as 10.0.0.0/8");
        let first: IpAddr = first.parse().map_err(|_| invalid())?;
        let (_, width) = number(first);
        let bits = match bits {
            None => width,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= width).ok_or_else(invalid)?,
        };
        Ok(Self::new(first, bits))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, bits } = self;
        let (_, width) = number(*first);
        if *bits == width { first.fmt(f) } else { write!(f, "{first}/{bits}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_printed() {
        for (text, printed) in [
            ("Registry.Example.", "registry.example"),
            ("localhost", "localhost"),
            ("*.svc.cluster.local", "*.svc.cluster.local"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("fd00::/8", "fd00::/8"),
            ("::1", "::1"),
        ] {
            assert_eq!(text.parse::<Place>().map(|place| place.to_string()), Ok(printed.into()));
        }
        for text in [
            "",
            ".",
            "*.",
            "*",
            "a..b",
            "-a",
            "a-",
            "a b",
            "1.2.3",
            "1.2.3.4.5",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "a/8",
            "registry:5000",
            "[::1]",
            "*.10.0.0.1",
            "https://a",
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_place_means_what_it_says() {
        let place = |text: &str| text.parse::<Place>().unwrap();
        for (text, host, named) in [
            ("a.example", "A.Example.", true),
            ("a.example", "b.a.example", false),
            ("*.example", "a.b.example", true),
            ("*.example", "example", false),
            ("*.example", ".example", false),
            ("*.example", "badexample", false),
            ("10.0.0.0/8", "10.0.0.1", false),
        ] {
            assert_eq!(place(text).names(host), named, "{text} {host}");
        }
        for (text, address, held) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.7.7.7/8", "10.0.0.1", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::/0", "1.2.3.4", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.2", false),
            ("fe80::/10", "febf::1", true),
            ("fe80::/10", "fec0::1", false),
            ("localhost", "127.0.0.1", false),
        ] {
            assert_eq!(place(text).holds(address.parse().unwrap()), held, "{text} {address}");
        }
    }
}
