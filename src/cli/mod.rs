//! The command line: arguments in, exit code out.
//!
//! One file for each subcommand; what they share is in `output` (everything that is printed), `registry_access` (the flags
//! that every registry takes), `login` and `terminal` (credentials given by hand), `logging`, `telemetry` and `signals`. Arguments are parsed once, here at the door, into the types that the
//! engine takes. Exit codes: 0 done, 1 failed for good, 2 bad usage, 75 worth trying again, 130 interrupted.

mod apply;
mod attempt;
mod bundle;
mod completion;
mod crd;
mod digest_file;
mod inspect;
mod logging;
mod login;
mod one_image;
mod operator;
mod output;
mod progress;
mod push;
mod registry_access;
mod signals;
mod source_name;
mod telemetry;
mod terminal;
mod usage;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::apply::ApplyArgs;
use self::attempt::AttemptArgs;
use self::bundle::BundleArgs;
use self::completion::CompletionArgs;
use self::inspect::InspectArgs;
use self::logging::LogFormat;
use self::operator::OperatorArgs;
use self::output::{Output, Printer, Talk};
use self::push::PushArgs;
use crate::error::{Error, Kind, Result};
use crate::options::PushOptions;
use crate::transport::TRANSPORTS;

/// Delivers container images from wherever they are to wherever they are wanted
#[derive(Debug, Parser)]
#[command(name = "imagepush", version, after_help = transports(), max_term_width = 100)]
pub struct Cli {
    /// How log lines on standard error look. The variable `RUST_LOG` chooses what is logged (default: `warn`, for the
    /// operator `info`)
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    log_format: LogFormat,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Push(Box<PushArgs>),
    Inspect(InspectArgs),
    Bundle(BundleArgs),
    Apply(ApplyArgs),
    Operator(Box<OperatorArgs>),
    Attempt(Box<AttemptArgs>),
    /// Prints the definition of ImagePush objects, for `kubectl apply -f -`
    Crd,
    Completion(CompletionArgs),
}

/// Parses the program's arguments, its name first.
///
/// If there is nothing to run, because they are wrong or ask for help, that has been printed and the exit code is returned.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, ExitCode> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    Cli::try_parse_from(&arguments).map_err(|error| usage::report(&error, &arguments))
}

/// Does what the arguments say, and reports the outcome.
pub async fn run(cli: Cli) -> ExitCode {
    let Cli { log_format, command } = cli;
    let (output, talk) = command.output();
    let printer = Printer::new(output, talk);
    let outcome = match logging::start(log_format, command.logged(), &printer) {
        // What an operator holds is too much for the stack.
        Ok(()) => Box::pin(command.run(&printer)).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            printer.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// The options that the arguments of `imagepush push` stand for, the program's name first.
pub fn push_options(arguments: impl IntoIterator<Item = OsString>) -> Result<PushOptions> {
    let usage = |cause: String| Error::new(Kind::InvalidOptions, cause);
    match Cli::try_parse_from(arguments).map_err(|error| usage(error.to_string()))?.command {
        Command::Push(arguments) => arguments.options(),
        _ => Err(usage("these arguments are not those of a push".into())),
    }
}

/// The definition of the command line, for documents that are generated from it.
pub fn command() -> clap::Command {
    Cli::command()
}

// === impl Command ===

impl Command {
    fn output(&self) -> (Output, Talk) {
        match self {
            Self::Push(arguments) => arguments.output(),
            Self::Apply(arguments) => arguments.output(),
            Self::Inspect(arguments) => (arguments.output(), Talk::Normal),
            Self::Bundle(arguments) => (arguments.output(), Talk::Normal),
            // It tells everything in log lines.
            Self::Operator(_) => (Output::Text, Talk::Nothing),
            Self::Attempt(_) => AttemptArgs::output(),
            Self::Crd | Self::Completion(_) => (Output::Text, Talk::Normal),
        }
    }

    /// What is logged where the user chose nothing.
    fn logged(&self) -> &'static str {
        match self {
            Self::Operator(_) => logging::FOR_OPERATOR,
            _ => logging::FOR_COMMANDS,
        }
    }

    /// Returns the exit code of a command that has reported its faults itself.
    async fn run(self, printer: &Printer) -> Result<u8> {
        match self {
            Self::Push(arguments) => push::run(*arguments, printer).await?,
            Self::Inspect(arguments) => inspect::run(arguments, printer).await?,
            Self::Bundle(arguments) => return bundle::run(arguments, printer).await,
            Self::Apply(arguments) => return Box::pin(apply::run(arguments, printer)).await,
            Self::Operator(arguments) => operator::run(*arguments, printer).await?,
            Self::Attempt(arguments) => attempt::run(*arguments, printer).await?,
            Self::Crd => crd::run(printer)?,
            Self::Completion(arguments) => completion::run(&arguments, printer)?,
        }
        Ok(0)
    }
}

/// The transports, as a section of the help.
fn transports() -> String {
    let form = |transport: &&dyn crate::transport::Transport| {
        format!("{}:{}", transport.name(), transport.syntax())
    };
    let width = TRANSPORTS.iter().map(|transport| form(transport).len()).max().unwrap_or_default();
    let lines = TRANSPORTS
        .iter()
        .map(|transport| format!("  {:width$}  {}\n", form(transport), transport.summary()));
    format!("Transports:\n{}", lines.collect::<String>())
}
