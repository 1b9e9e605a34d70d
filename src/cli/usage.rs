//! What wrong arguments get: the parser's message, and an error document where one was asked for.
//!
//! The arguments did not parse, so whether they ask for JSON is read from them as they are.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;

use super::output::{Output, Printer, Talk};
use crate::error::{Error, Kind};

/// Prints help, version or the fault, and returns the exit code: 0 for what was asked for, 2 for a fault.
pub(crate) fn report(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    // Where the message can't be written, the exit code has to do.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if wants_json(arguments) && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    {
        Printer::new(Output::Json, Talk::Nothing).error_document(&in_our_words(error));
    }
    ExitCode::from(2)
}

/// `--output json` or `--output=json`, anywhere before `--`.
fn wants_json(arguments: &[OsString]) -> bool {
    let flags: Vec<_> = arguments.iter().take_while(|argument| *argument != "--").collect();
    flags.iter().any(|argument| *argument == "--output=json")
        || flags.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json")
}

/// The first paragraph of the parser's message, without its `error: `.
fn in_our_words(error: &clap::Error) -> Error {
    let text = error.render().to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let message = paragraph.strip_prefix("error: ").unwrap_or(paragraph);
    let message: Vec<&str> = message.split_whitespace().collect();
    Error::new(Kind::InvalidOptions, message.join(" ")).hint("see `imagepush help`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_recognised_in_arguments_that_do_not_parse() {
        let cases: [(&[&str], bool); 5] = [
            (&["imagepush", "push", "--output", "json", "--frob"], true),
            (&["imagepush", "push", "--output=json"], true),
            (&["imagepush", "push", "--output", "text", "json"], false),
            (&["imagepush", "push", "json"], false),
            (&["imagepush", "push", "--", "--output=json"], false),
        ];
        for (arguments, expected) in cases {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            assert_eq!(wants_json(&arguments), expected, "{arguments:?}");
        }
    }
}
