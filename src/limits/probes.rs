//! Bounds of the port for probes and metrics, which whoever is in the cluster may reach.

use std::time::Duration;

/// How long an operator that ends waits for those who are reading its probes and metrics.
pub const PROBES_END_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections to the probes' port that are open at the same time. A kubelet has one or two, and a scrape one.
pub const MAX_PROBES: usize = 64;

/// The head of a request to it, in bytes: some hundred, and what proxies add. With the above, a MiB in all.
pub const MAX_PROBE_HEAD: usize = 16 << 10;

/// How long such a head may take.
pub const PROBE_HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an exchange may take in all: as long as a scrape of ten thousand objects, which Prometheus gives ten seconds.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long no connection is taken after one could not be, such as for want of descriptors.
pub const PROBE_ACCEPT_WAIT: Duration = Duration::from_secs(1);
