//! A place in a trace, as W3C's Trace Context (version 00) names it.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::str::FromStr;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// A span's place: which trace it belongs to, and which of its spans it is. Prints as a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Never zero.
    trace: u128,
    /// Never zero.
    span: u64,
    /// Whether it is exported.
    sampled: bool,
}

/// A text is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the form is `00-TRACE-SPAN-FLAGS`, with 32, 16 and 2 hexadecimal digits")]
pub struct ParsePlaceError;

// === impl Place ===

impl Place {
    /// The first span of a trace that is not exported.
    pub(super) fn random() -> Self {
        let trace = u128::from(random()) << 64 | u128::from(random());
        Self { trace, span: random(), sampled: false }
    }

    /// A span below this one that is not exported.
    pub(super) fn below(self) -> Self {
        Self { span: random(), ..self }
    }

    /// The trace's identity, as 32 hexadecimal digits.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }
}

/// The standard library's hash keys are random, which is all that telling traces apart needs.
fn random() -> u64 {
    RandomState::new().hash_one(0).max(1)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, sampled } = self;
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", u8::from(*sampled))
    }
}

impl FromStr for Place {
    type Err = ParsePlaceError;

    fn from_str(text: &str) -> Result<Self, ParsePlaceError> {
        let digits = |part: &str, length: usize| {
            let legal = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
            let number = (part.len() == length && part.bytes().all(legal)).then_some(part);
            number.and_then(|part| u128::from_str_radix(part, 16).ok()).ok_or(ParsePlaceError)
        };
        let parts: Vec<&str> = text.split('-').collect();
        // Later versions may append what we don't know; `ff` is none.
        let [version, trace, span, flags, ..] = parts[..] else { return Err(ParsePlaceError) };
        let version = digits(version, 2)?;
        if version == 0xff || (version == 0 && parts.len() > 4) {
            return Err(ParsePlaceError);
        }
        let (trace, span) = (digits(trace, 32)?, digits(span, 16)?);
        let span = u64::try_from(span).map_err(|_| ParsePlaceError)?;
        if trace == 0 || span == 0 {
            return Err(ParsePlaceError);
        }
        Ok(Self { trace, span, sampled: digits(flags, 2)? & 1 == 1 })
    }
}

impl From<&SpanContext> for Place {
    fn from(context: &SpanContext) -> Self {
        Self {
            trace: u128::from_be_bytes(context.trace_id().to_bytes()),
            span: u64::from_be_bytes(context.span_id().to_bytes()),
            sampled: context.is_sampled(),
        }
    }
}

impl From<Place> for SpanContext {
    fn from(place: Place) -> Self {
        let flags = TraceFlags::default().with_sampled(place.sampled);
        let (trace, span) = (TraceId::from(place.trace), SpanId::from(place.span));
        Self::new(trace, span, flags, true, TraceState::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_prints_as_it_is_read() {
        let sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let place: Place = sampled.parse().unwrap();
        assert_eq!(place.to_string(), sampled);
        assert_eq!(place.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(Place::from(&SpanContext::from(place)), place);
        let random = Place::random();
        assert_eq!(random.to_string().parse(), Ok(random));
        assert!(random.to_string().ends_with("-00"));
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-what-else";
        assert_eq!(later.parse(), Ok(place));
    }

    #[test]
    fn nothing_else_is_a_place() {
        for text in [
            "",
            "00",
            "0af7651916cd43dd8448eb211c80319c",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-01",
        ] {
            assert_eq!(text.parse::<Place>(), Err(ParsePlaceError), "{text}");
        }
    }
}
