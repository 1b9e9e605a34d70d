//! `imagepush completion SHELL`: a script that completes the command line in a shell.

use clap::Args;
use clap_complete::Shell;

use super::output::Printer;
use crate::error::Result;

/// Prints a completion script
///
/// For bash, for example: `imagepush completion bash > /etc/bash_completion.d/imagepush`
#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell that reads the script
    shell: Shell,
}

pub(crate) fn run(arguments: &CompletionArgs, printer: &Printer) -> Result<()> {
    let mut script = vec![];
    let mut command = super::command();
    clap_complete::generate(arguments.shell, &mut command, "imagepush", &mut script);
    printer.data(&String::from_utf8_lossy(&script))
}
