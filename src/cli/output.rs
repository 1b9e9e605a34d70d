//! Everything the program prints goes through the [`Printer`]: data to standard output, talk to standard error.
//!
//! With `--output json` the data is exactly one document, of success or of failure; its shape is described in docs/output.md
//! and does not change within a major version. Nothing else in `cli` writes to a standard stream.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;

use crate::error::{Error, Kind, Result, is_hidden};

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    #[default]
    Text,
    /// One JSON document
    Json,
}

/// Whether the program tells what it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Talk {
    /// It does.
    #[default]
    Normal,
    /// Only faults are told.
    Nothing,
}

/// The one place that prints. Clones print to the same place.
#[derive(Clone)]
pub(crate) struct Printer {
    output: Output,
    talk: Talk,
    /// Draws on standard error if that is a terminal; hidden if not. Whatever else is written there goes through it.
    bars: MultiProgress,
}

/// Standard error for log lines, which must not tear the progress bars.
pub(crate) struct LogWriter(MultiProgress);

#[derive(Serialize)]
struct ErrorDocument<'a> {
    error: ErrorFields<'a>,
}

#[derive(Serialize)]
struct ErrorFields<'a> {
    kind: &'a str,
    side: Option<&'a str>,
    message: String,
    hint: Option<&'a str>,
}

// === impl Printer ===

impl Printer {
    pub(crate) fn new(output: Output, talk: Talk) -> Self {
        let target = if io::stderr().is_terminal() && talk == Talk::Normal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self { output, talk, bars: MultiProgress::with_draw_target(target) }
    }

    pub(crate) fn output(&self) -> Output {
        self.output
    }

    pub(crate) fn talks(&self) -> bool {
        self.talk == Talk::Normal
    }

    /// The progress bars; nothing is drawn unless standard error is a terminal.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Takes the progress bars away.
    pub(crate) fn clear_bars(&self) {
        // Bars that can't be cleared are a blemish, no fault.
        let _ = self.bars.clear();
    }

    /// Where log lines go.
    pub(crate) fn log_writer(&self) -> impl Fn() -> LogWriter + Send + Sync + 'static {
        let bars = self.bars.clone();
        move || LogWriter(bars.clone())
    }

    /// Prints data. A reader that has gone away, as in `imagepush … | head`, is no fault.
    pub(crate) fn data(&self, text: &str) -> Result<()> {
        let written = self.bars.suspend(|| {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        });
        match written {
            Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
                let message = format!("cannot write to standard output: {cause}");
                Err(Error::new(Kind::StorageFailed, message))
            }
            _ => Ok(()),
        }
    }

    /// Prints one JSON document, on one line.
    pub(crate) fn document(&self, document: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(document)
            .map_err(|cause| Error::internal(format!("cannot write a document: {cause}")))?;
        self.data(&(escaped(text) + "\n"))
    }

    /// Says one line, unless asked to be quiet.
    pub(crate) fn say(&self, line: &str) {
        if self.talks() {
            self.complain(line);
        }
    }

    /// Reports the fault that ends the program: in words, and as a document where one was asked for.
    pub(crate) fn error(&self, error: &Error) {
        self.fault(error);
        if self.output == Output::Json {
            self.error_document(error);
        }
    }

    /// Reports a fault in words. What goes to standard output is told otherwise.
    pub(crate) fn fault(&self, error: &Error) {
        self.complain(&in_words(error));
    }

    /// The document of a fault.
    pub(crate) fn error_document(&self, error: &Error) {
        let error = ErrorFields {
            kind: error.kind().as_str(),
            side: error.side().map(crate::error::Side::as_str),
            message: error.to_string(),
            hint: error.next_step(),
        };
        // The program fails already, and has said why.
        let _ = self.document(&ErrorDocument { error });
    }

    fn complain(&self, line: &str) {
        // Where standard error can't be written, there is nobody to tell.
        self.bars.suspend(|| {
            let _ = writeln!(io::stderr(), "{line}");
        });
    }
}

/// A JSON text with what a terminal would obey in its texts written as JSON writes it for readers that know ASCII only.
fn escaped(text: String) -> String {
    if !text.contains(is_hidden) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            escaped.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// A fault as people read it: the message; below it, where known, the side it happened on and what to do next.
fn in_words(error: &Error) -> String {
    let side = error.side().map(|side| format!("\nside: {side}"));
    let hint = error.next_step().map(|hint| format!("\nhint: {hint}"));
    format!("error: {error}{}{}", side.unwrap_or_default(), hint.unwrap_or_default())
}

// === impl LogWriter ===

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
