//! A place in a trace, as W3C's Trace Context (version 00) names it.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};

/// A span's place: which trace it belongs to, and which of its spans it is. Prints as a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    trace: TraceId,
    span: SpanId,
    flags: TraceFlags,
}

/// A text is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the form is `00-TRACE-SPAN-FLAGS`, with 32, 16 and 2 hexadecimal digits")]
pub struct ParsePlaceError;

// === impl Place ===

impl Place {
    /// The first span of a trace that is not exported.
    pub(super) fn random() -> Self {
        let new = RandomIdGenerator::default();
        Self { trace: new.new_trace_id(), span: new.new_span_id(), flags: TraceFlags::default() }
    }

    /// A span below this one that is not exported; those below it may be.
    pub(super) fn below(self) -> Self {
        Self { span: RandomIdGenerator::default().new_span_id(), ..self }
    }

    /// Where a span is; none once the exporter has ended.
    pub(super) fn of(context: &SpanContext) -> Option<Self> {
        let (trace, span) = (context.trace_id(), context.span_id());
        context.is_valid().then_some(Self { trace, span, flags: context.trace_flags() })
    }

    /// The trace's identity, as 32 hexadecimal digits.
    pub fn trace_id(self) -> String {
        self.trace.to_string()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, flags } = self;
        write!(f, "00-{trace}-{span}-{flags:02x}")
    }
}

impl FromStr for Place {
    type Err = ParsePlaceError;

    fn from_str(text: &str) -> Result<Self, ParsePlaceError> {
        let headers = HashMap::from([("traceparent".to_owned(), text.to_owned())]);
        let context = TraceContextPropagator::new().extract(&headers);
        Self::of(context.span().span_context()).ok_or(ParsePlaceError)
    }
}

impl From<Place> for SpanContext {
    fn from(Place { trace, span, flags }: Place) -> Self {
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
        assert_eq!(Place::of(&SpanContext::from(place)), Some(place));
        let random = Place::random();
        assert_eq!(random.to_string().parse(), Ok(random));
        assert!(random.to_string().ends_with("-00"));
    }

    #[test]
    fn nothing_else_is_a_place() {
        for text in [
            "",
            "00",
            "0af7651916cd43dd8448eb211c80319c",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        ] {
            assert_eq!(text.parse::<Place>(), Err(ParsePlaceError), "{text}");
        }
    }
}
