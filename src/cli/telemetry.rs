//! Where traces go: a flag, and the standard variables.

use clap::Args;

use crate::access::Network;
use crate::error::{Error, Kind, Result};
use crate::telemetry::{Endpoint, Exporter};

/// Where traces go.
#[derive(Debug, Default, Args)]
pub(super) struct TraceArgs {
    /// Send traces to this collector, by OTLP as protobuf over HTTP, such as `http://collector:4318`
    ///
    /// Without it the variable `OTEL_EXPORTER_OTLP_ENDPOINT` says where; where neither does, none are sent.
    /// `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER` and
    /// `OTEL_SDK_DISABLED` mean what they mean everywhere. No proxy is used, and no redirect followed.
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<Endpoint>,
}

/// What the environment says of the export of traces.
#[derive(Debug, Default)]
struct Environment {
    endpoint: Option<String>,
    protocol: Option<String>,
    disabled: Option<String>,
}

// === impl TraceArgs ===

impl TraceArgs {
    /// This flag, for a program that is to send traces to the same.
    pub(super) fn arguments(&self) -> Vec<String> {
        let endpoint = self.endpoint(&Environment::read()).ok().flatten();
        endpoint.map(|endpoint| format!("--otlp-endpoint={endpoint}")).into_iter().collect()
    }

    /// Begins to export, if that is asked for and can be done: no work is left undone for want of its traces.
    pub(super) async fn start(&self) -> Option<Exporter> {
        let begun = async {
            let Some(endpoint) = self.endpoint(&Environment::read())? else { return Ok(None) };
            let client = Network::default().client_of_collector(endpoint.is_secure()).await?;
            Exporter::start(&endpoint, client).map(Some)
        };
        begun.await.unwrap_or_else(|error: Error| {
            // A variable that is of no use to us may be meant for others.
            tracing::warn!(%error, "traces are not exported");
            None
        })
    }

    fn endpoint(&self, environment: &Environment) -> Result<Option<Endpoint>> {
        if environment.disabled.as_ref().is_some_and(|it| it.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        match &self.otlp_endpoint {
            Some(endpoint) => Ok(Some(endpoint.clone())),
            None => environment.endpoint(),
        }
    }
}

// === impl Environment ===

impl Environment {
    fn read() -> Self {
        let value = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            endpoint: value("OTEL_EXPORTER_OTLP_ENDPOINT"),
            protocol: value("OTEL_EXPORTER_OTLP_PROTOCOL"),
            disabled: value("OTEL_SDK_DISABLED"),
        }
    }

    fn endpoint(&self) -> Result<Option<Endpoint>> {
        let Some(endpoint) = &self.endpoint else { return Ok(None) };
        let unusable = |cause: String| Err(Error::new(Kind::InvalidOptions, cause));
        if let Some(protocol) = self.protocol.as_ref().filter(|it| *it != "http/protobuf") {
            return unusable(format!(
                "OTEL_EXPORTER_OTLP_PROTOCOL is `{protocol}`, and only `http/protobuf` is spoken"
            ));
        }
        match endpoint.parse() {
            Ok(endpoint) => Ok(Some(endpoint)),
            Err(cause) => unusable(format!("OTEL_EXPORTER_OTLP_ENDPOINT is no address: {cause}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(endpoint: &str, protocol: &str, disabled: &str) -> Environment {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let (endpoint, protocol, disabled) = (given(endpoint), given(protocol), given(disabled));
        Environment { endpoint, protocol, disabled }
    }

    #[test]
    fn the_flag_goes_before_the_variable_and_a_useless_one_is_told() {
        let collector = Ok(Some("http://c:4318/"));
        let address = "OTEL_EXPORTER_OTLP_ENDPOINT is no address: the form is `http://HOST:PORT` or `https://HOST:PORT`, without credentials; headers are given by OTEL_EXPORTER_OTLP_HEADERS";
        let grpc = "OTEL_EXPORTER_OTLP_PROTOCOL is `grpc`, and only `http/protobuf` is spoken";
        for (flag, environment, expected) in [
            ("", environment("", "", ""), Ok(None)),
            ("http://c:4318", environment("", "", ""), collector),
            ("http://c:4318", environment("http://d:4318", "grpc", "false"), collector),
            ("", environment("http://c:4318", "", ""), collector),
            ("", environment("http://c:4318", "http/protobuf", "no"), collector),
            ("", environment("http://c:4317", "grpc", ""), Err(grpc)),
            ("", environment("c:4317", "", ""), Err(address)),
            ("http://c:4318", environment("", "", "TRUE"), Ok(None)),
        ] {
            let arguments = TraceArgs { otlp_endpoint: flag.parse().ok() };
            let found = arguments.endpoint(&environment);
            let found = found.map(|it| it.map(|endpoint| endpoint.to_string()));
            let expected = expected.map(|it| it.map(str::to_owned)).map_err(str::to_owned);
            assert_eq!(found.map_err(|error| error.to_string()), expected, "{environment:?}");
        }
    }

    #[test]
    fn jobs_send_their_traces_to_the_same() {
        let given = TraceArgs { otlp_endpoint: "http://c:4318".parse().ok() };
        assert_eq!(given.arguments(), ["--otlp-endpoint=http://c:4318/"]);
        assert_eq!(TraceArgs::default().arguments(), [""; 0]);
    }
}
