//! `imagepush operator`: looks after the ImagePush objects of a cluster until it is told to end.
//!
//! Turns the arguments into [`OperatorConfig`], which has the defaults, and hands over to the controller. The first SIGINT or
//! SIGTERM calls the running pushes off and ends the program well; what it tells, it tells in log lines.

mod bounds;
mod bundles;
mod connections;
mod election;
mod elsewhere;
mod jobs;

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use self::bounds::BoundArgs;
use self::bundles::BundleArgs;
pub(super) use self::connections::ConnectionArgs;
use self::election::ElectionArgs;
use self::jobs::JobArgs;
use super::output::Printer;
use super::signals;
use super::telemetry::TraceArgs;
use crate::controller::{self, ObjectMetrics, OperatorConfig, SecretWatch};
use crate::error::Result;
use crate::telemetry::Exporter;

/// Runs the operator: reconciles the ImagePush objects of a cluster
///
/// Inside a cluster it uses its service account, elsewhere the current context of your kubeconfig. Serves `/livez`, `/readyz`
/// and `/metrics`. Of several operators one works at a time.
#[derive(Debug, Args)]
pub(crate) struct OperatorArgs {
    /// Look after the objects of this namespace only. May be given several times; in the variable, with commas between
    /// [default: all namespaces]
    #[arg(
        long,
        value_name = "NAMESPACE",
        env = "IMAGEPUSH_WATCH_NAMESPACE",
        hide_env_values = true,
        value_delimiter = ',',
        value_parser = namespace
    )]
    watch_namespace: Vec<String>,

    /// Address and port for probes and metrics, or `none` [default: 0.0.0.0:8080]
    #[arg(long, value_name = "ADDRESS", env = "IMAGEPUSH_LISTEN", hide_env_values = true)]
    listen: Option<Listen>,

    #[command(flatten)]
    bounds: BoundArgs,

    /// How long an attempt may take where the object doesn't say, from `1s` to `24h` [default: 30m]
    #[arg(
        long,
        value_name = "DURATION",
        env = "IMAGEPUSH_TIMEOUT",
        hide_env_values = true,
        value_parser = timeout
    )]
    timeout: Option<Duration>,

    /// Watch Secrets that are labelled `imagepush.dev/watch=true`, so that a rotated one takes effect in seconds. Needs
    /// permission to list and watch Secrets, which can't be narrowed to those with the label
    #[arg(long, env = "IMAGEPUSH_SECRET_WATCH", hide_env_values = true)]
    secret_watch: bool,

    /// Have metrics for each object: what its Ready condition says, and when it last succeeded. With thousands of objects
    /// these are thousands of series
    #[arg(long, env = "IMAGEPUSH_OBJECT_METRICS", hide_env_values = true)]
    object_metrics: bool,

    #[command(flatten)]
    election: ElectionArgs,

    #[command(flatten)]
    jobs: JobArgs,

    #[command(flatten)]
    connections: ConnectionArgs,

    #[command(flatten)]
    bundles: BundleArgs,

    #[command(flatten)]
    traces: TraceArgs,
}

/// Where probes and metrics are served, if anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listen(Option<SocketAddr>);

pub(crate) async fn run(arguments: OperatorArgs, printer: &Printer) -> Result<()> {
    let shutdown = signals::cancel_on_signal(printer)?;
    let exporter = arguments.traces.start().await;
    let tracer = exporter.as_ref().map(Exporter::tracer).unwrap_or_default();
    let config = OperatorConfig { tracer, ..arguments.config()? };
    let worked = controller::run(config, shutdown).await;
    if let Some(exporter) = exporter {
        exporter.finish().await;
    }
    worked
}

/// A namespace's name: what Kubernetes calls a DNS label.
pub(super) fn namespace(text: &str) -> Result<String, String> {
    let letters = text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
    if text.is_empty()
        || text.len() > 63
        || !letters
        || text.starts_with('-')
        || text.ends_with('-')
    {
        return Err("a namespace has 1 to 63 lower-case letters, digits and inner hyphens".into());
    }
    Ok(text.to_owned())
}

/// With the bounds that `spec.timeout` has.
fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|cause| cause.to_string())?;
    if timeout < Duration::from_secs(1) || timeout > Duration::from_hours(24) {
        return Err("it must be between 1s and 24h".into());
    }
    Ok(timeout)
}

// === impl OperatorArgs ===

impl OperatorArgs {
    fn config(self) -> Result<OperatorConfig> {
        let Self {
            watch_namespace,
            listen,
            bounds,
            timeout,
            secret_watch,
            object_metrics,
            election,
            jobs,
            connections,
            bundles,
            traces,
        } = self;
        let default = OperatorConfig::default();
        Ok(OperatorConfig {
            namespaces: watch_namespace,
            election: election.election(),
            secret_watch: if secret_watch { SecretWatch::On } else { SecretWatch::Off },
            object_metrics: if object_metrics { ObjectMetrics::On } else { ObjectMetrics::Off },
            listen: listen.map_or(default.listen, |Listen(address)| address),
            bytes_per_second: bounds.bytes_per_second(),
            bounds: bounds.over(default.bounds),
            timeout: timeout.unwrap_or(default.timeout),
            jobs: jobs.settings(&connections, &traces)?,
            network: connections.settings(),
            bundles: bundles.policy(),
            tracer: default.tracer,
        })
    }
}

// === impl Listen ===

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self(None));
        }
        let address = text.parse().map_err(|_| "the form is `IP:PORT`, or `none`")?;
        Ok(Self(Some(address)))
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::controller::Bounds;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        operator: OperatorArgs,
    }

    fn parse(arguments: &str) -> Result<OperatorConfig, String> {
        let arguments = ["operator"].into_iter().chain(arguments.split_whitespace());
        let program = Program::try_parse_from(arguments);
        program.map(|program| program.operator.config().unwrap()).map_err(|error| {
            let text = error.to_string();
            text.lines().next().unwrap_or_default().to_owned()
        })
    }

    fn shown(config: &OperatorConfig) -> String {
        let OperatorConfig {
            namespaces,
            secret_watch,
            object_metrics,
            listen,
            bounds,
            bytes_per_second,
            timeout,
            election: _,
            jobs: _,
            network: _,
            bundles: _,
            tracer: _,
        } = config;
        let Bounds { all, per_namespace, per_host, memory_bytes, jobs } = bounds;
        let per_namespace = per_namespace.map_or("half".to_owned(), |count| count.to_string());
        let pace = bytes_per_second.map_or("any".to_owned(), |bytes| bytes.to_string());
        let memory = memory_bytes >> 20;
        let listen = listen.map_or("none".to_owned(), |address| address.to_string());
        let timeout = humantime::format_duration(*timeout);
        format!(
            "{namespaces:?} {secret_watch:?} {object_metrics:?} {listen} {all} {per_namespace} {per_host} {memory}Mi {jobs} {pace} {timeout}"
        )
    }

    #[test]
    fn flags_get_into_the_configuration() {
        let all = "--watch-namespace a --watch-namespace b,c --listen [::1]:9 --concurrency 9 --per-namespace 3 --per-host 1 --max-memory 1Gi --job-concurrency 5 --max-bytes-per-second 70000 --timeout 1h --secret-watch --object-metrics";
        let cases = [
            ("", shown(&OperatorConfig::default())),
            (all, r#"["a", "b", "c"] On On [::1]:9 9 3 1 1024Mi 5 70000 1h"#.to_owned()),
            ("--listen none", "[] Off Off none 8 half 4 384Mi 16 any 30m".to_owned()),
        ];
        for (arguments, expected) in cases {
            assert_eq!(shown(&parse(arguments).unwrap()), expected, "{arguments}");
        }
    }

    /// The help says what the configuration does.
    #[test]
    fn the_defaults_are_told() {
        let help = Program::command().render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let defaults = [
            ("--listen", "0.0.0.0:8080"),
            ("--concurrency", "8"),
            ("--per-namespace", "half of them"),
            ("--per-host", "4"),
            ("--max-memory", "384Mi"),
            ("--job-concurrency", "16"),
            ("--max-bytes-per-second", "no limit"),
            ("--timeout", "30m"),
        ];
        let shown = shown(&OperatorConfig::default());
        assert_eq!(shown, "[] Off Off 0.0.0.0:8080 8 half 4 384Mi 16 any 30m");
        for (flag, default) in defaults {
            let (_, after) = help.split_once(&format!("{flag} <")).unwrap();
            let (own, _) = after.split_once("[env").unwrap();
            assert!(own.contains(&format!("[default: {default}]")), "{flag}: {own}");
        }
    }

    #[test]
    fn illegal_values_are_refused() {
        let name = "a namespace has 1 to 63 lower-case letters, digits and inner hyphens";
        let cases = [
            ("--watch-namespace A", "watch-namespace <NAMESPACE>", "A", name),
            ("--watch-namespace a-", "watch-namespace <NAMESPACE>", "a-", name),
            ("--listen x", "listen <ADDRESS>", "x", "the form is `IP:PORT`, or `none`"),
            ("--concurrency 0", "concurrency <COUNT>", "0", "0 is not in 1..=65535"),
            ("--per-host 0", "per-host <COUNT>", "0", "0 is not in 1..=65535"),
            ("--per-namespace 0", "per-namespace <COUNT>", "0", "0 is not in 1..=65535"),
            ("--max-memory 8Mi", "max-memory <BYTES>", "8Mi", "one push needs 32 MiB"),
            (
                "--max-bytes-per-second 1Ki",
                "max-bytes-per-second <BYTES>",
                "1Ki",
                "registries break connections that are slower than 64 KiB/s",
            ),
            ("--timeout 25h", "timeout <DURATION>", "25h", "it must be between 1s and 24h"),
        ];
        for (arguments, flag, value, fault) in cases {
            let expected = format!("error: invalid value '{value}' for '--{flag}': {fault}");
            assert_eq!(parse(arguments).unwrap_err(), expected);
        }
    }
}
