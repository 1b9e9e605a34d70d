//! Bounds of what is applied in a cluster.

use std::time::Duration;

use super::MAX_BUNDLE_OBJECTS;

/// Largest answer about an object of a bundle, or about the kinds of a group: etcd takes objects of 1.5 MiB, beside which
/// stands who manages which field.
pub const MAX_OBJECT_ANSWER: usize = 8 << 20;

/// Objects of a bundle that are tried at the same time: each waits for two answers, and the API server has others to serve.
pub const APPLY_WIDTH: usize = 4;

/// Bundles that are applied at the same time: each is held in memory. Waiting until objects work needs no turn.
pub const APPLIERS: usize = 8;

/// Of those, how many may be for objects of the same namespace.
pub const APPLIERS_PER_NAMESPACE: usize = 4;

/// How long applying a bundle may take where the object doesn't say.
pub const APPLY_TIMEOUT: Duration = Duration::from_mins(5);

/// What is added to it for all that comes before the waiting: what was begun is better ended.
pub const APPLY_GRACE: Duration = Duration::from_mins(1);

/// How long it is remembered how a kind is served; a kind that isn't known is asked for each time.
pub const KINDS_TTL: Duration = Duration::from_mins(10);

/// Versions of groups, and definitions, that are remembered; clusters have some hundred.
pub const MAX_KNOWN_VERSIONS: usize = 512;

/// Objects remembered as applied: those of a bundle, and of the one before until they are taken away.
pub const MAX_INVENTORY: usize = 2 * MAX_BUNDLE_OBJECTS;

/// Fields of one object that are told to differ; how many there are is told, too.
pub const MAX_CHANGED_FIELDS: usize = 16;

/// Objects whose fields are told to differ; status is carried by every list of objects.
pub const MAX_CHANGED_OBJECTS: usize = 32;

/// Longest path of a field that is told, in letters.
pub const MAX_FIELD_PATH: usize = 200;

/// Objects, fields or kinds that one message names.
pub const MAX_TOLD: usize = 5;

/// Between two looks at applied objects that don't work yet, at first and at most: what takes long needs no frequent looks.
pub const STANDING_POLL: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(15));

/// Namespaces remembered as being deleted: most are gone within a minute.
pub const MAX_ENDINGS: usize = 256;

/// Attempts in a row that could not reach a registry, after which it takes one that can to go on there. A few may fail for a
/// connection that broke.
pub const BREAKER_FAILURES: u32 = 5;

/// How long a registry that can't be reached is left in peace before the next attempt.
pub const BREAKER_REST: Duration = Duration::from_secs(30);

/// How often it is asked whether the attempt that others wait for has got through.
pub const BREAKER_POLL: Duration = Duration::from_secs(1);

/// How long a failure to reach a registry is remembered: longer than the longest wait for another attempt.
pub const BREAKER_MEMORY: Duration = Duration::from_hours(1);

/// Registries that are remembered as not to be reached; names are made up by whoever makes objects. Of others nobody waits.
pub const MAX_BREAKERS: usize = 1024;
