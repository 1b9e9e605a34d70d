//! Bounds of what is exported beside the work.

use std::time::Duration;

/// Spans that wait to be exported; more are dropped. With the few attributes that they have, these are 2 MiB.
pub const MAX_SPANS: usize = 2048;

/// Between two exports of spans, unless there are many.
pub const SPANS_PERIOD: Duration = Duration::from_secs(5);

/// How long one export of spans may take.
pub const SPANS_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the last spans may take at the end, within what is left of a pod's grace period.
pub const SPANS_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
