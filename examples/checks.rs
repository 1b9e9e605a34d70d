//! Asks a registry many times whether an image is there, as the operator does for the objects that it looks after:
//! `checks docker://HOST/NAME:TAG COUNT CONCURRENCY`, for a registry that speaks plain HTTP.
//!
//! Prints checks per second of time and per second of processor time, on one core. `make bench` runs it.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use imagepush::access::{self, Access, TlsPolicy};
use imagepush::error::{Error, Kind, Result};
use imagepush::transport;

fn main() -> ExitCode {
    access::install_crypto_provider();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let numbers = |count: &str, width: &str| Some((count.parse().ok()?, width.parse().ok()?));
    let outcome = match &arguments[..] {
        [reference, count, width] => match numbers(count, width) {
            Some((count, width)) => measure(reference, count, width),
            None => Err(Error::new(Kind::InvalidOptions, "COUNT and CONCURRENCY are numbers")),
        },
        _ => Err(Error::new(Kind::InvalidOptions, "usage: checks REFERENCE COUNT CONCURRENCY")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(reference: &str, count: u32, width: u32) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::internal(error.to_string()))?;
    let access = Access { tls: TlsPolicy::PlainHttp, ..Access::default() };
    // Connections and whatever else is needed once.
    runtime.block_on(checks(reference, &access, width, width))?;
    let (start, before) = (Instant::now(), processor_time()?);
    runtime.block_on(checks(reference, &access, count, width))?;
    let (wall, used) = (start.elapsed(), processor_time()?.saturating_sub(before));
    let per_second = |time: Duration| f64::from(count) / time.as_secs_f64();
    let written = writeln!(std::io::stdout(), "{:.0} {:.0}", per_second(wall), per_second(used));
    written.map_err(|error| Error::internal(error.to_string()))
}

async fn checks(reference: &str, access: &Access, count: u32, width: u32) -> Result<()> {
    let all = stream::iter(0..count).map(|_| check(reference, access));
    all.buffer_unordered(width as usize).try_for_each(|()| async { Ok(()) }).await
}

/// What is done for an object each time: nothing is kept but what [`Access`] shares.
async fn check(reference: &str, access: &Access) -> Result<()> {
    let destination = transport::parse(reference)?.destination(access).await?;
    match destination.current().await? {
        Some(_) => Ok(()),
        None => Err(Error::new(Kind::NotFound, format!("`{reference}` is not there"))),
    }
}

/// Processor time of all threads of this process so far, from proc(5).
fn processor_time() -> Result<Duration> {
    let strange =
        |what: &dyn std::fmt::Display| Error::internal(format!("/proc/self/stat: {what}"));
    let text = std::fs::read_to_string("/proc/self/stat").map_err(|error| strange(&error))?;
    let (_, after_name) = text.rsplit_once(')').ok_or_else(|| strange(&"no name"))?;
    // Fields 14 and 15 of the whole line; what is left begins with field 3. In ticks of 10 ms.
    let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks: u64 = ticks.sum::<std::result::Result<_, _>>().map_err(|error| strange(&error))?;
    Ok(Duration::from_millis(10 * ticks))
}
