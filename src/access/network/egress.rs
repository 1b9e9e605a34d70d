//! Where connections may lead: by the name of the host, and by the address that it really has.
//!
//! Who may create an ImagePush chooses the host, and registries choose where they redirect to; the operator must not be
//! made to talk to what only it can reach. Names tell little, since whoever owns one decides what it resolves to, each
//! time anew. So the address that a connection is about to be made to is judged, however it is written. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::place::{Place, Range};
use crate::error::{Error, Kind, Result};

/// A policy; the default denies nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    denied: Vec<(Place, &'static str)>,
    allowed: Vec<Place>,
    only: Vec<Place>,
}

/// What the operator never connects to unless that is allowed: this machine, its links, and what clouds tell machines
/// about themselves, credentials included.
const OPERATOR_DENIES: [(Range, &str); 12] = [
    (Range::v4([127, 0, 0, 0], 8), LOOPBACK),
    (Range::v6(1, 128), LOOPBACK),
    // Connecting to it is connecting to this machine.
    (Range::v4([0, 0, 0, 0], 8), UNSPECIFIED),
    (Range::v6(0, 128), UNSPECIFIED),
    (Range::v4([169, 254, 0, 0], 16), LINK_LOCAL),
    (Range::v6(0xfe80 << 112, 10), LINK_LOCAL),
    // AWS by IPv6, Google by IPv6, Alibaba, Azure, Oracle. The others are link-local.
    (Range::v6(0xfd00_0ec2 << 96, 32), METADATA),
    (Range::v6((0xfd20_00ce << 96) | 0x254, 128), METADATA),
    (Range::v4([100, 100, 100, 200], 32), METADATA),
    (Range::v4([168, 63, 129, 16], 32), METADATA),
    (Range::v4([192, 0, 0, 192], 32), METADATA),
    (Range::v4([255, 255, 255, 255], 32), "the broadcast address"),
];

const LOOPBACK: &str = "a loopback address";
const UNSPECIFIED: &str = "an address of no machine";
const LINK_LOCAL: &str = "a link-local address";
const METADATA: &str = "an address of a cloud's metadata service";

/// Why a place that the administrator named is denied.
const NAMED: &str = "in a denied place";

// === impl Egress ===

impl Egress {
    /// The policy of the operator: loopback, link-local and metadata addresses are denied. Private addresses are where many
    /// registries live.
    pub fn operator() -> Self {
        let denied = OPERATOR_DENIES.map(|(range, what)| (Place::Addresses(range), what));
        Self { denied: denied.to_vec(), ..Self::default() }
    }

    /// Denies a place, too.
    #[must_use]
    pub fn deny(mut self, place: Place) -> Self {
        self.denied.push((place, NAMED));
        self
    }

    /// Allows a place that is denied otherwise. A host that is allowed by name may have any address.
    #[must_use]
    pub fn allow(mut self, place: Place) -> Self {
        self.allowed.push(place);
        self
    }

    /// Denies everything but this place and others that are given so. What is denied otherwise remains so.
    #[must_use]
    pub fn only(mut self, place: Place) -> Self {
        self.only.push(place);
        self
    }

    /// Whether anything is denied at all.
    pub(super) fn denies_something(&self) -> bool {
        !(self.denied.is_empty() && self.only.is_empty())
    }

    /// Judges a host before its address is known.
    pub(super) fn judge_name(&self, host: &str) -> Result<()> {
        let named = |places: &[Place]| places.iter().any(|place| place.names(host));
        if named(&self.allowed) {
            return Ok(());
        }
        if let Some((place, _)) = self.denied.iter().find(|(place, _)| place.names(host)) {
            return Err(refusal(&format!("`{host}` is denied as `{place}`")));
        }
        let by_address = self.only.iter().any(|place| matches!(place, Place::Addresses(_)));
        if self.only.is_empty() || by_address || named(&self.only) {
            return Ok(());
        }
        Err(refusal(&format!("`{host}` is not among the allowed hosts")))
    }

    /// Judges a host whose addresses only a proxy knows, after its name: it may have any, so that it gets past no range
    /// that the administrator has given. The proxy itself is trusted to keep to what the operator denies on its own.
    pub(super) fn judge_without_address(&self, host: &str) -> Result<()> {
        let named = |places: &[Place]| places.iter().any(|place| place.names(host));
        let by_address =
            |(place, what): &(Place, &str)| *what == NAMED && matches!(place, Place::Addresses(_));
        let among = self.only.is_empty() || named(&self.only);
        if named(&self.allowed) || (among && !self.denied.iter().any(by_address)) {
            return Ok(());
        }
        Err(refusal(&format!("`{host}` has no address that is known here, so none is allowed")))
    }

    /// Judges an address that a host has.
    pub(super) fn judge(&self, host: &str, address: IpAddr) -> Result<()> {
        let named = |places: &[Place]| places.iter().any(|place| place.names(host));
        let held = |places: &[Place], form| places.iter().any(|place| place.holds(form));
        if named(&self.allowed) {
            return Ok(());
        }
        let forms = forms(address);
        for form in forms.iter().copied().filter(|form| !held(&self.allowed, *form)) {
            if let Some((place, what)) = self.denied.iter().find(|(place, _)| place.holds(form)) {
                return Err(refusal(&told(host, address, form, place, what)));
            }
        }
        let among = |form: &IpAddr| held(&self.only, *form) || held(&self.allowed, *form);
        if self.only.is_empty() || named(&self.only) || forms.first().is_some_and(among) {
            return Ok(());
        }
        Err(refusal(&if is_literal(host) {
            format!("`{host}` is not among the allowed addresses")
        } else {
            format!("neither `{host}` nor its address `{address}` is allowed")
        }))
    }
}

fn told(host: &str, address: IpAddr, form: IpAddr, place: &Place, what: &str) -> String {
    let what = if what == NAMED { format!("in `{place}`") } else { what.to_owned() };
    let stands_for = if form == address { String::new() } else { format!(" (`{form}`)") };
    if is_literal(host) {
        format!("`{address}`{stands_for} is {what}")
    } else {
        format!("`{host}` has the address `{address}`{stands_for}, which is {what}")
    }
}

fn is_literal(host: &str) -> bool {
    host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

fn refusal(message: &str) -> Error {
    let message = format!("{message}: the egress policy does not let connections lead there");
    Error::new(Kind::AccessDenied, message)
        .hint("name another registry, or have the operator's administrator allow this one")
}

/// An address as it is judged: itself, and the IPv4 address that it stands for, if it does.
///
/// Hosts and networks that translate (RFC 4291 §2.5.5, RFC 3056, RFC 4380, RFC 5214, RFC 6052, RFC 8215) would deliver to the
/// latter.
fn forms(address: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V6(v6) = address else { return vec![address] };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return vec![v4.into()];
    }
    let mut forms = vec![address];
    forms.extend(embedded(v6).into_iter().map(IpAddr::V4));
    forms
}

fn embedded(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let pair = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        // The unspecified and the loopback address stand for themselves.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => vec![],
        [0 | 0x64, 0 | 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..]
        | [.., 0 | 0x200, 0x5efe, high, low] => vec![pair(high, low)],
        // The network's operator chooses among the lengths of prefixes.
        [0x64, 0xff9b, 1, ..] => [48, 56, 64, 96].map(|bits| translated(address, bits)).to_vec(),
        [0x2001, 0, .., high, low] => vec![pair(!high, !low)],
        _ => vec![],
    }
}

/// The IPv4 address behind a prefix of so many bits (RFC 6052 §2.2): bits 64 to 71 are left out.
fn translated(address: Ipv6Addr, bits: u32) -> Ipv4Addr {
    let number = u128::from(address);
    let (start, rest) = (number >> 64, number & ((1 << 56) - 1));
    let behind = if bits == 96 { number } else { ((start << 56) | rest) >> (120 - bits - 32) };
    Ipv4Addr::from(u32::try_from(behind & u128::from(u32::MAX)).unwrap_or_default())
}

#[cfg(test)]
mod tests;
