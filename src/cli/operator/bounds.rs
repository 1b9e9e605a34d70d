//! The flags of `imagepush operator` that say how much its pushes may use.

use std::num::NonZeroU64;

use clap::Args;

use crate::controller::Bounds;
use crate::limits::{MEMORY_OF_PUSH, SLOWEST_PACE};

/// How much the pushes in the operator's process may use at the same time.
#[derive(Debug, Default, Args)]
pub(super) struct BoundArgs {
    /// Pushes that run at the same time [default: 8]
    #[arg(
        long,
        value_name = "COUNT",
        env = "IMAGEPUSH_CONCURRENCY",
        hide_env_values = true,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    concurrency: Option<u16>,

    /// Of those, how many may be for objects of the same namespace [default: half of them]
    #[arg(
        long,
        value_name = "COUNT",
        env = "IMAGEPUSH_PER_NAMESPACE",
        hide_env_values = true,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    per_namespace: Option<u16>,

    /// Of those, how many may use the same registry; half as many may go from one registry to the same other one
    /// [default: 4]
    #[arg(
        long,
        value_name = "COUNT",
        env = "IMAGEPUSH_PER_HOST",
        hide_env_values = true,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    per_host: Option<u16>,

    /// Memory that the pushes that run at the same time may take, in bytes or as `256Mi` [default: 384Mi]
    ///
    /// A push counts as 32 MiB. It counts as 32 MiB more where its layers are looked into for custom resources, as 16 MiB more
    /// where they are compressed anew with gzip or the image is wanted in Docker's format, and as 64 MiB more with zstd. Keep
    /// it 384 MiB below the memory limit of the pod: 224 MiB for what rewrites layers in all pushes together, and the rest for
    /// all else that the operator does.
    #[arg(
        long,
        value_name = "BYTES",
        env = "IMAGEPUSH_MAX_MEMORY",
        hide_env_values = true,
        value_parser = memory
    )]
    max_memory: Option<u64>,

    /// Jobs that run at the same time, half of them for objects of the same namespace [default: 16]
    #[arg(
        long,
        value_name = "COUNT",
        env = "IMAGEPUSH_JOB_CONCURRENCY",
        hide_env_values = true,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    job_concurrency: Option<u16>,

    /// Bytes of blobs that all pushes in its process, and not in Jobs, may read in a second, also as `20Mi` [default: no limit]
    #[arg(
        long,
        value_name = "BYTES",
        env = "IMAGEPUSH_MAX_BYTES_PER_SECOND",
        hide_env_values = true,
        value_parser = pace
    )]
    max_bytes_per_second: Option<NonZeroU64>,
}

// === impl BoundArgs ===

impl BoundArgs {
    pub(super) fn bytes_per_second(&self) -> Option<NonZeroU64> {
        self.max_bytes_per_second
    }

    /// The bounds that are given, and `default` for the others.
    pub(super) fn over(self, default: Bounds) -> Bounds {
        let Self {
            concurrency,
            per_namespace,
            per_host,
            max_memory,
            job_concurrency,
            max_bytes_per_second: _,
        } = self;
        Bounds {
            all: concurrency.map_or(default.all, usize::from),
            per_namespace: per_namespace.map(usize::from).or(default.per_namespace),
            per_host: per_host.map_or(default.per_host, usize::from),
            memory_bytes: max_memory.unwrap_or(default.memory_bytes),
            jobs: job_concurrency.map_or(default.jobs, usize::from),
        }
    }
}

fn memory(text: &str) -> Result<u64, String> {
    let bytes = bytes(text)?;
    if bytes < MEMORY_OF_PUSH {
        return Err(format!("one push needs {} MiB", MEMORY_OF_PUSH >> 20));
    }
    Ok(bytes)
}

fn pace(text: &str) -> Result<NonZeroU64, String> {
    let bytes = NonZeroU64::new(bytes(text)?).filter(|bytes| bytes.get() >= SLOWEST_PACE);
    bytes.ok_or_else(|| {
        format!("registries break connections that are slower than {} KiB/s", SLOWEST_PACE >> 10)
    })
}

/// A number of bytes, as quantities of Kubernetes are written.
fn bytes(text: &str) -> Result<u64, String> {
    let units = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("", 0)];
    let scaled = units.iter().find_map(|(unit, shift)| {
        let number = text.strip_suffix(unit)?.parse::<u64>().ok()?;
        number.checked_mul(1 << shift)
    });
    scaled.ok_or_else(|| "the form is `20971520`, `20480Ki`, `20Mi` or `1Gi`".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_in_kubernetes() {
        let cases = [
            ("0", Some(0)),
            ("1000", Some(1000)),
            ("2Ki", Some(2048)),
            ("3Mi", Some(3 << 20)),
            ("1Gi", Some(1 << 30)),
            ("", None),
            ("Mi", None),
            ("1.5Mi", None),
            ("-1", None),
            ("1MB", None),
            ("99999999999Gi", None),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }
}
