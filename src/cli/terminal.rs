//! Asks the person at the terminal, and reads passwords without showing them.
//!
//! The terminal is the one that the process belongs to, whatever its standard streams are. It must not be left in a state where
//! nothing that is typed shows: while something hidden is typed it hands over every key, also those that would stop the program,
//! and a signal that asks the program to end ends the question.

use std::fs::File;
use std::io::{self, BufRead as _, IsTerminal as _, Read, Write as _};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::login::Person;
use crate::access::Secret;
use crate::error::{Error, Kind, Result};
use crate::limits::{MAX_LOGIN, PROMPT_ATTENTION};

/// The terminal of this process, opened when something has to be asked.
pub(crate) struct Terminal {
    /// Ends a question.
    cancel: CancellationToken,
}

/// The terminal while it shows nothing; dropping this restores it.
struct Silent<'a> {
    terminal: &'a File,
    before: Termios,
}

// === impl Terminal ===

impl Terminal {
    /// The terminal, for questions that cancelling ends.
    pub(crate) fn until(cancel: &CancellationToken) -> Self {
        Self { cancel: cancel.clone() }
    }

    /// Waits until something was typed: a line, or a key where the terminal hands over each.
    fn wait(&self, terminal: &File) -> Result<()> {
        let attention = Timespec { tv_sec: 0, tv_nsec: PROMPT_ATTENTION.subsec_nanos().into() };
        while !self.cancel.is_cancelled() {
            let mut polled = [PollFd::new(terminal, PollFlags::IN)];
            match poll(&mut polled, Some(&attention)) {
                Ok(0) | Err(Errno::INTR) => {}
                // A terminal that is gone is for the reader to find.
                Ok(_) => return Ok(()),
                Err(cause) => return Err(failed(&cause.into())),
            }
        }
        Err(Error::cancelled())
    }

    /// The keys of the terminal as they are typed. Nothing is read ahead, which would leave a copy in memory.
    fn keys(&self, mut terminal: &File) -> impl Iterator<Item = Result<u8>> {
        std::iter::from_fn(move || {
            let mut key = [0];
            let read = self.wait(terminal).map(|()| terminal.read_exact(&mut key));
            match read {
                Ok(Ok(())) => Some(Ok(key[0])),
                Ok(Err(end)) if end.kind() == io::ErrorKind::UnexpectedEof => None,
                Ok(Err(cause)) => Some(Err(failed(&cause))),
                Err(error) => Some(Err(error)),
            }
        })
    }
}

impl Person for Terminal {
    fn ask(&mut self, prompt: &str) -> Result<String> {
        let mut terminal = open()?;
        terminal.write_all(prompt.as_bytes()).map_err(|cause| failed(&cause))?;
        self.wait(&terminal)?;
        let mut line = String::new();
        let read = io::BufReader::new(&terminal).take(MAX_LOGIN).read_line(&mut line);
        read.map_err(|cause| failed(&cause))?;
        Ok(line.trim().to_owned())
    }

    fn ask_hidden(&mut self, prompt: &str) -> Result<Secret> {
        let mut terminal = open()?;
        let silent = Silent::new(&terminal).map_err(|cause| failed(&cause))?;
        (&terminal).write_all(prompt.as_bytes()).map_err(|cause| failed(&cause))?;
        let typed = typed(self.keys(&terminal));
        drop(silent);
        // The key that ended it did not show.
        terminal.write_all(b"\n").map_err(|cause| failed(&cause))?;
        typed
    }

    fn next_line(&mut self) -> Result<Secret> {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            let message = "standard input is a terminal, and would show the password";
            let hint =
                "give the user name alone with `--creds USER`, and the password is asked for";
            return Err(Error::new(Kind::InvalidOptions, message).hint(hint));
        }
        let mut line = Zeroizing::new(vec![]);
        let read = stdin.lock().take(MAX_LOGIN).read_until(b'\n', &mut line);
        read.map_err(|cause| {
            let message = format!("cannot read standard input: {cause}");
            Error::new(Kind::StorageFailed, message)
        })?;
        let end = line.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        text(end.unwrap_or(&line))
    }
}

fn open() -> Result<File> {
    File::options().read(true).write(true).open("/dev/tty").map_err(|_| {
        let message = "a user name or password is missing, and there is no terminal to ask on";
        Error::new(Kind::InvalidOptions, message)
    })
}

fn failed(cause: &io::Error) -> Error {
    Error::new(Kind::StorageFailed, format!("cannot ask on the terminal: {cause}"))
}

fn text(bytes: &[u8]) -> Result<Secret> {
    let not_text = |_| Error::new(Kind::InvalidOptions, "user name and password have to be UTF-8");
    std::str::from_utf8(bytes).map(Secret::new).map_err(not_text)
}

/// What is typed up to the end of the line.
fn typed(keys: impl Iterator<Item = Result<u8>>) -> Result<Secret> {
    // Never moved, so that no copy stays behind in memory.
    let mut line = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_LOGIN).unwrap_or(0)));
    for key in keys {
        match key? {
            b'\n' | b'\r' | key::END => break,
            key::INTERRUPT => return Err(Error::cancelled()),
            key::BACKSPACE | key::DELETE => erase(&mut line),
            key::KILL => line.clear(),
            // Other keys of control mean nothing here.
            ..=0x1f => {}
            _ if line.len() == line.capacity() => {
                let message =
                    format!("what was typed has more than the limit of {MAX_LOGIN} bytes");
                return Err(Error::new(Kind::LimitExceeded, message));
            }
            key => line.push(key),
        }
    }
    text(&line)
}

/// Takes the last character away: a byte that starts one, and those that belong to it.
fn erase(line: &mut Vec<u8>) {
    while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
}

/// Keys with the meaning that they have when a line is typed.
mod key {
    pub(super) const INTERRUPT: u8 = 0x03;
    pub(super) const END: u8 = 0x04;
    pub(super) const BACKSPACE: u8 = 0x08;
    pub(super) const KILL: u8 = 0x15;
    pub(super) const DELETE: u8 = 0x7f;
}

// === impl Silent ===

impl<'a> Silent<'a> {
    fn new(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        // What was typed before was shown, and is no password.
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typing(keys: &[u8]) -> Result<String, Kind> {
        let typed = typed(keys.iter().copied().map(Ok));
        typed.map(|secret| secret.expose().to_owned()).map_err(|error| error.kind())
    }

    #[test]
    fn keys_have_their_usual_meaning() {
        let cases: [(&[u8], Result<&str, Kind>); 9] = [
            (b"canary\nrest", Ok("canary")),
            (b"canary\r", Ok("canary")),
            (b"canary\x04rest", Ok("canary")),
            (b"no\x15yes\n", Ok("yes")),
            (b"yess\x7f\n", Ok("yes")),
            (b"\x08\x7fy\xc3\xa9\x08es\n", Ok("yes")),
            (b"a\tb\x1bc", Ok("abc")),
            (b"secret\x03", Err(Kind::Cancelled)),
            (b"\xc3\n", Err(Kind::InvalidOptions)),
        ];
        for (keys, expected) in cases {
            assert_eq!(typing(keys), expected.map(str::to_owned), "{keys:?}");
        }
        let long = vec![b'x'; usize::try_from(MAX_LOGIN).unwrap()];
        assert_eq!(typing(&long).unwrap().len(), long.len());
        assert_eq!(typing(&[long, vec![b'x']].concat()), Err(Kind::LimitExceeded));
    }
}
