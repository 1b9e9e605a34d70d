//! Bounds of Jobs.

use std::time::Duration;

/// Largest termination message that the kubelet keeps of a container.
pub const MAX_TERMINATION_MESSAGE: usize = 4096;

/// Largest Secret, and largest file that the kubelet makes of one.
pub const MAX_SECRET: u64 = 1 << 20;

/// Largest task of a Job: all annotations of an object together have at most 256 KiB.
pub const MAX_TASK: u64 = 256 << 10;

/// Between two looks at a Job that goes on; its pod takes seconds to start.
pub const JOB_POLL: Duration = Duration::from_secs(2);

/// Jobs that are listed at a time, by their metadata.
pub const JOB_PAGE: u32 = 500;

/// How long the API server may refuse to show Jobs: one that has just started refuses what it doesn't know the permissions of.
pub const JOB_DENIED_PATIENCE: Duration = Duration::from_secs(30);

/// What a Job has beyond its attempt's time, to be scheduled and to have its image pulled.
pub const JOB_START_ALLOWANCE: Duration = Duration::from_mins(5);

/// How long a Job that has ended is kept, for whoever reads its log.
pub const JOB_TTL: Duration = Duration::from_mins(10);

/// What the pod of a Job has to clean up when it is told to end.
pub const JOB_GRACE_PERIOD: Duration = Duration::from_secs(30);

/// Wait for a Job that was called off to be gone with its pod: its grace period, and as much again for a slow node.
pub const JOB_GONE_TIMEOUT: Duration = Duration::from_mins(1);

/// After a deleted pod's grace period as we saw it begin, when its node is taken for gone.
pub const JOB_LOST_AFTER: Duration = Duration::from_mins(1);

/// When a Job without a pod is taken for refused, and its events are looked at. The Job controller makes the pod at once.
pub const JOB_POD_WAIT: Duration = Duration::from_secs(10);
