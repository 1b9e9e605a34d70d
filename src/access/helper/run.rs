//! Runs one helper once, and takes down what it says.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::error::{Error, Kind, Result};
use crate::limits::{HELPER_PIPE_TIMEOUT, HELPER_TIMEOUT, MAX_HELPER_OUTPUT};

/// What a helper said.
pub(super) struct Output {
    pub(super) status: ExitStatus,
    /// The answer, or the reason why there is none.
    pub(super) stdout: Zeroizing<Vec<u8>>,
    pub(super) stderr: Vec<u8>,
}

/// Runs `PROGRAM get`. The helper is killed when it takes too long or when this future is dropped.
pub(super) async fn get(
    program: &Path,
    variables: &[(OsString, OsString)],
    address: &str,
) -> Result<Output> {
    let run = timeout(HELPER_TIMEOUT, run(program, variables, address));
    let failed = |cause: io::Error| {
        let message = format!("cannot run `{}`: {cause}", program.display());
        Error::new(Kind::AuthenticationFailed, message)
    };
    match run.await {
        Ok(Err(cause)) if cause.kind() == io::ErrorKind::FileTooLarge => {
            let message =
                format!("its answer has more than the limit of {MAX_HELPER_OUTPUT} bytes");
            Err(Error::new(Kind::LimitExceeded, message))
        }
        Ok(output) => output.map_err(failed),
        Err(_) => {
            let message = format!("it did not answer within {} seconds", HELPER_TIMEOUT.as_secs());
            Err(Error::new(Kind::Timeout, message))
        }
    }
}

async fn run(
    program: &Path,
    variables: &[(OsString, OsString)],
    address: &str,
) -> io::Result<Output> {
    let mut command = Command::new(program);
    command.arg("get").env_clear().envs(variables.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut helper = command.kill_on_drop(true).spawn()?;
    let pipes = (helper.stdin.take(), helper.stdout.take(), helper.stderr.take());
    let (Some(stdin), Some(mut stdout), Some(mut stderr)) = pipes else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let mut answer = Zeroizing::new(vec![]);
    let mut said = vec![];
    let status = {
        let talk = async {
            let (ask, say) = (ask(stdin, address), take_down(&mut stderr, &mut said));
            tokio::try_join!(ask, take_whole(&mut stdout, &mut answer), say).map(drop)
        };
        finish(&mut helper, talk).await?
    };
    Ok(Output { status, stdout: answer, stderr: said })
}

/// Waits for the end of a helper and of the talk with it. What it wrote is in the pipes when it ends, so that its end is the end
/// of its answer, even if it left a process behind that holds the pipes open.
async fn finish(
    helper: &mut Child,
    talk: impl Future<Output = io::Result<()>>,
) -> io::Result<ExitStatus> {
    tokio::pin!(talk);
    tokio::select! {
        talked = &mut talk => {
            talked?;
            helper.wait().await
        }
        status = helper.wait() => {
            timeout(HELPER_PIPE_TIMEOUT, &mut talk).await.unwrap_or(Ok(()))?;
            status
        }
    }
}

/// Hands over the address. A helper that doesn't read it is no fault.
async fn ask(mut stdin: ChildStdin, address: &str) -> io::Result<()> {
    match stdin.write_all(address.as_bytes()).await {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Reads all of an answer, which must not be longer than the limit.
async fn take_whole(pipe: &mut (impl AsyncRead + Unpin), into: &mut Vec<u8>) -> io::Result<()> {
    pipe.take(MAX_HELPER_OUTPUT + 1).read_to_end(into).await?;
    let fits = into.len() as u64 <= MAX_HELPER_OUTPUT;
    if fits { Ok(()) } else { Err(io::ErrorKind::FileTooLarge.into()) }
}

/// Reads the beginning, and the rest into nowhere: a helper that can't write would never end.
async fn take_down(pipe: &mut (impl AsyncRead + Unpin), into: &mut Vec<u8>) -> io::Result<()> {
    (&mut *pipe).take(MAX_HELPER_OUTPUT).read_to_end(into).await?;
    tokio::io::copy(pipe, &mut tokio::io::sink()).await.map(drop)
}
