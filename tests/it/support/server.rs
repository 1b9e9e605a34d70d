//! Programs that run beside a test: they end when the test says so, and with the test process, however that ends.
//!
//! A shell starts the program and waits for the end of a pipe that only this process holds. It then ends the program and
//! removes its folder: also after the test process was killed, when nothing of ours can run any more. Whether the program
//! is ready to be used is for its own module to find out.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// `$0` is a folder to remove at the end, `$1` the signal that ends the program, the rest is the program. An interrupt
/// from the keyboard reaches the whole group; the shell has to outlive it. The folder may hold another program's files,
/// which ends in the same moment but maybe a little later.
const SCRIPT: &str = r#"
    trap '' HUP INT TERM
    signal=$1; shift
    "$@" &
    read -r _
    kill -s "$signal" $! 2>/dev/null; wait
    rm -rf "$0" 2>/dev/null || { sleep 1; rm -rf "$0"; }"#;

/// How a program is ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// At once.
    Kill,
    /// By asking, for one that has children to end itself.
    Terminate,
}

/// The first start of a program reads it from disk.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running program; it has ended, and its folder is gone, when this has been dropped.
pub(crate) struct Server(Child);

impl Server {
    /// Starts a program whose files are in `folder`. Its output goes where `outputs` sends it.
    pub(crate) fn start<S: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        arguments: &[S],
        folder: &Path,
        end: End,
        outputs: [Stdio; 2],
    ) -> Self {
        let program = program.as_ref();
        let shown = program.display();
        assert!(on_path(program), "`{shown}` is not there; `make install` installs it");
        let signal = match end {
            End::Kill => "KILL",
            End::Terminate => "TERM",
        };
        let [stdout, stderr] = outputs;
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT]).arg(folder).arg(signal).arg(program).args(arguments);
        shell.stdin(Stdio::piped()).stdout(stdout).stderr(stderr);
        Self(shell.spawn().expect("sh is there"))
    }

    /// Waits for the line on standard error that names the program's address, `… listening on HOST:PORT`; see
    /// [`Server::says`].
    pub(crate) fn listening(&mut self, told: impl Fn(&str) + Send + 'static) -> String {
        let rest = self.says("listening on ", told);
        let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)));
        rest[..end.unwrap_or(rest.len())].to_owned()
    }

    /// Waits for a line with these words on standard error, which was piped; what follows them. Every line is given to
    /// `told`, also later ones, so that the program never blocks on them.
    pub(crate) fn says(
        &mut self,
        words: &'static str,
        told: impl Fn(&str) + Send + 'static,
    ) -> String {
        let stderr = self.0.stderr.take().expect("standard error is a pipe");
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                told(&line);
                if let Some((_, rest)) = line.split_once(words) {
                    let _ = sender.send(rest.to_owned());
                }
            }
        });
        let said = receiver.recv_timeout(PATIENCE);
        said.unwrap_or_else(|_| panic!("the program did not say `{words}`"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Whether a program is where it is said to be, or on the path.
fn on_path(program: &OsStr) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
