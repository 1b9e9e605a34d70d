//! The `imagepush` program.
//!
//! Starts what a process has once (the crypto provider, the async runtime) and hands over to the library's command line.
//! Nothing is decided here.

use std::io::Write;
use std::process::ExitCode;

use imagepush::{cli, limits};

fn main() -> ExitCode {
    // This fails only where a provider is installed already, and then there is nothing left to do.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = match cli::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Where standard error can't be written either, the exit code has to do.
            let _ = writeln!(std::io::stderr(), "error: cannot start the async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(cli::run(arguments));
    runtime.shutdown_timeout(limits::SHUTDOWN_TIMEOUT);
    code
}
