//! Traces: what belongs to one piece of work, wherever it is done.
//!
//! Each span has its place in a trace whether or not it is exported, so that log lines, statuses and the pods of Jobs name the
//! same trace in any case. Where an endpoint is configured, spans are sent there by OTLP, beside all work: who ends a span
//! never waits, and what can't be sent is dropped. What a span says is given by whoever begins it, and nothing else is.

mod endpoint;
mod export;
mod place;
mod sender;

pub use opentelemetry::Value;
use opentelemetry::trace::{Span as _, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace as sdk;

pub use self::endpoint::{Endpoint, ParseEndpointError};
pub use self::export::Exporter;
pub use self::place::{ParsePlaceError, Place};

/// Begins spans.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<sdk::SdkTracer>);

/// A piece of work that is under way; it ends when this is dropped.
#[derive(Debug)]
pub struct Span {
    place: Place,
    exported: Option<sdk::Span>,
}

// === impl Tracer ===

impl Tracer {
    /// Begins a span, below another one or as the first of a trace. `attributes` are exported: no reference, no URL and no
    /// word of anybody else's belongs there.
    pub fn begin<const N: usize>(
        &self,
        name: &'static str,
        parent: Option<Place>,
        attributes: [(&'static str, Value); N],
    ) -> Span {
        let Some(tracer) = &self.0 else {
            let place = parent.map_or_else(Place::random, Place::below);
            return Span { place, exported: None };
        };
        let outer = match parent {
            Some(parent) => Context::new().with_remote_span_context(parent.into()),
            None => Context::new(),
        };
        let attributes = attributes.map(|(key, value)| KeyValue::new(key, value));
        let builder = tracer.span_builder(name).with_attributes(attributes);
        let exported = tracer.build_with_context(builder, &outer);
        let place = Place::of(exported.span_context()).unwrap_or_else(Place::random);
        Span { place, exported: Some(exported) }
    }
}

// === impl Span ===

impl Span {
    /// Where it is.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Says more of it; as for the attributes that it begins with.
    pub fn set(&mut self, key: &'static str, value: &'static str) {
        if let Some(exported) = &mut self.exported {
            exported.set_attribute(KeyValue::new(key, value));
        }
    }

    /// The work failed, for this reason in a word.
    pub fn fail(&mut self, reason: &'static str) {
        if let Some(exported) = &mut self.exported {
            exported.set_status(Status::error(reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_endpoint_there_are_places_all_the_same() {
        let tracer = Tracer::default();
        let outer = tracer.begin("outer", None, []);
        let inner = tracer.begin("inner", Some(outer.place()), []);
        assert_eq!(outer.place().trace_id(), inner.place().trace_id());
        assert_ne!(outer.place(), inner.place());
        let other = tracer.begin("other", None, []);
        assert_ne!(outer.place().trace_id(), other.place().trace_id());
    }
}
