//! The `imagepush` program.
//!
//! Starts what a process has once (the crypto provider, the async runtime) and hands over to the library's command line.
//! Nothing is decided here.

use std::io::Write;
use std::num::NonZero;
use std::process::ExitCode;

use imagepush::{cli, limits};

fn main() -> ExitCode {
    // This fails only where a provider is installed already, and then there is nothing left to do.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = match cli::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let runtime = match runtime() {
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

/// Bytes pass through threads of both kinds, and each thread that allocated once keeps memory of its own: there are no more
/// of them than find work.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.min(limits::ASYNC_THREADS))
        .max_blocking_threads(processors.max(limits::BLOCKING_THREADS))
        .enable_all()
        .build()
}
