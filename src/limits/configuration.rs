//! Bounds of what says how registries are reached: files of credentials, certificates and registries, and programs that are
//! asked for a login.

use std::time::Duration;

/// Largest credential file; Docker's own are a few KiB, and a Kubernetes Secret holds at most 1 MiB.
pub const MAX_AUTH_FILE: u64 = 1 << 20;

/// Longest line with a user name and password, typed or on standard input; passwords may be tokens of a few KiB.
pub const MAX_LOGIN: u64 = 16 << 10;

/// How long a question on the terminal takes to notice that it is not to be answered any more.
pub const PROMPT_ATTENTION: Duration = Duration::from_millis(50);

/// Most `credential-helpers` of a `registries.conf`; each may be run, and take its time.
pub const MAX_CREDENTIAL_HELPERS: usize = 16;

/// Longest name of a credential helper; file names have 255 bytes, and messages show it.
pub const MAX_HELPER_NAME: usize = 64;

/// Most names of a registry that a credential helper is asked for; each is a run of the program.
pub const MAX_HELPER_ADDRESSES: usize = 4;

/// Largest answer of a credential helper; the tokens of cloud registries have some 4 KiB.
pub const MAX_HELPER_OUTPUT: u64 = 64 << 10;

/// A credential helper may ask a person for a passphrase, or wait for a cloud.
pub const HELPER_TIMEOUT: Duration = Duration::from_mins(2);

/// From the end of a credential helper to the end of what it wrote, which is in the pipe by then.
pub const HELPER_PIPE_TIMEOUT: Duration = Duration::from_secs(1);

/// Largest certificate or key file.
pub const MAX_CERTIFICATE_FILE: u64 = 1 << 20;

/// Largest file of `registries.conf`; generated ones with some hundred entries have 100 KiB.
pub const MAX_REGISTRIES_CONF: u64 = 1 << 20;

/// Most drop-ins of one directory: all are read at each start.
pub const MAX_DROP_INS: usize = 256;

/// Most entries of one file of `registries.conf`; each name is compared with each of them.
pub const MAX_REGISTRY_ENTRIES: usize = 4096;

/// Most mirrors of one entry: in the worst case all are tried, one after another.
pub const MAX_MIRRORS: usize = 32;

/// Most registries that a short name is looked for in, one after another.
pub const MAX_SEARCH_REGISTRIES: usize = 32;
