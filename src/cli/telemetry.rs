//! The flag that says where traces go.

use std::str::FromStr;

use clap::Args;

use crate::error::Result;
use crate::telemetry::{Endpoint, Exporter, ParseEndpointError};

/// Where traces go.
#[derive(Debug, Default, Args)]
pub(super) struct TraceArgs {
    /// Send traces to this collector, by OTLP as protobuf over HTTP, such as `http://collector:4318` [default: none are sent]
    ///
    /// `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER` and
    /// `OTEL_SDK_DISABLED` mean what they mean everywhere. No proxy is used, and no redirect followed.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env_values = true)]
    otlp_endpoint: Option<Collector>,
}

/// A collector, if any: a variable that is empty counts as none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Collector(Option<Endpoint>);

// === impl TraceArgs ===

impl TraceArgs {
    /// This flag, for a program that is to send traces to the same.
    pub(super) fn arguments(&self) -> Vec<String> {
        self.endpoint().map(|endpoint| format!("--otlp-endpoint={endpoint}")).into_iter().collect()
    }

    /// Begins to export, if that is asked for. Without it nothing is made.
    pub(super) fn start(&self) -> Result<Option<Exporter>> {
        let off =
            std::env::var("OTEL_SDK_DISABLED").is_ok_and(|it| it.eq_ignore_ascii_case("true"));
        self.endpoint().filter(|_| !off).map(Exporter::start).transpose()
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        self.otlp_endpoint.as_ref()?.0.as_ref()
    }
}

// === impl Collector ===

impl FromStr for Collector {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, ParseEndpointError> {
        if text.is_empty() { Ok(Self(None)) } else { text.parse().map(|it| Self(Some(it))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_send_their_traces_to_the_same() {
        for (text, expected) in
            [("", vec![]), ("http://c:4318", vec!["--otlp-endpoint=http://c:4318/".to_owned()])]
        {
            let arguments = TraceArgs { otlp_endpoint: Some(text.parse().unwrap()) };
            assert_eq!(arguments.arguments(), expected);
        }
        assert_eq!(TraceArgs::default().arguments(), [""; 0]);
    }

    #[test]
    fn nothing_is_made_where_nothing_is_asked_for() {
        assert!(TraceArgs::default().start().unwrap().is_none());
        assert!("collector:4318".parse::<Collector>().is_err());
    }
}
