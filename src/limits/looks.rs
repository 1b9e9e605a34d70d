//! When objects are looked at, and pushes tried.

use std::time::Duration;

/// Changes of an object that are closer together than this are looked at together.
pub const DEBOUNCE: Duration = Duration::from_millis(200);

/// Longest time for which the look at an object is put off that keeps changing.
pub const MAX_DEBOUNCE: Duration = Duration::from_secs(2);

/// Looks at objects that are under way at the same time; each is a few requests to the API server.
pub const RECONCILES: u16 = 32;

/// How long an attempt waits for objects that nobody has looked at yet: time for hundreds of them.
pub const NEWCOMERS_PATIENCE: Duration = Duration::from_secs(2);

/// First and longest distance between two attempts of an ImagePush.
pub const ATTEMPT_DELAY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(15));

/// Between two looks at the Secrets of an ImagePush that waits for somebody to change one.
pub const SECRET_POLL: Duration = Duration::from_mins(1);

/// Between two reports of an attempt's progress: each is a write that every watcher of the object receives.
pub const PROGRESS_PERIOD: Duration = Duration::from_secs(5);
