//! Log lines on standard error, as text or JSON; `RUST_LOG` chooses which.
//!
//! Warnings and faults are logged unless `RUST_LOG` says otherwise; the operator tells more. The libraries below us that
//! speak HTTP, TLS and to Kubernetes are silent unless `RUST_LOG` names them: they would log headers, and with them credentials.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use super::output::Printer;
use crate::error::{Error, Kind, Result};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// The variable that chooses what is logged.
const VARIABLE: &str = "RUST_LOG";

/// What a command logs where the user chose nothing. That something is tried again is told by the progress already.
pub(crate) const FOR_COMMANDS: &str = "warn,imagepush::engine::retry=error";

/// What the operator logs where the user chose nothing.
pub(crate) const FOR_OPERATOR: &str = "info";

/// Libraries that see credentials; that of Kubernetes logs an answer that it can't read whole, be it a list of Secrets.
const SILENT: &str =
    "h2=off,hyper=off,hyper_util=off,kube_client=off,reqwest=off,rustls=off,tower=off";

/// Starts logging for the whole process.
pub(crate) fn start(format: LogFormat, default: &str, printer: &Printer) -> Result<()> {
    let chosen = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    let filter = filter(chosen.as_deref().unwrap_or(default))?;
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(printer.log_writer())
        .with_ansi(colours);
    match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    }
    .map_err(|cause| Error::internal(format!("cannot start logging: {cause}")))
}

/// What the user chose, with the silent libraries silent unless it names them.
fn filter(chosen: &str) -> Result<EnvFilter> {
    EnvFilter::try_new(chosen)
        .and_then(|_| EnvFilter::try_new(format!("{SILENT},{chosen}")))
        .map_err(|cause| {
            Error::new(Kind::InvalidOptions, format!("`{VARIABLE}` can't be read: {cause}"))
                .hint("the form is `LEVEL` or `MODULE=LEVEL,…`, such as `imagepush=debug`")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_libraries_are_silent_unless_named() {
        let cases = [
            ("warn", "h2=off", true),
            ("info", "kube_client=off", true),
            ("debug", "hyper=off", true),
            ("debug,hyper=trace", "hyper=off", false),
            ("debug,hyper=trace", "hyper=trace", true),
            ("imagepush=debug", "imagepush=debug", true),
        ];
        for (chosen, directive, expected) in cases {
            let filter = filter(chosen).unwrap().to_string();
            let found = filter.split(',').any(|part| part == directive);
            assert_eq!(found, expected, "{chosen}: {filter}");
        }
    }

    #[test]
    fn an_illegal_choice_is_bad_usage() {
        let error = filter("imagepush=loud").unwrap_err();
        let message = "`RUST_LOG` can't be read: error parsing level filter: expected one of \"off\", \
                       \"error\", \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5";
        assert_eq!((error.exit_code(), error.to_string().as_str()), (2, message));
    }
}
