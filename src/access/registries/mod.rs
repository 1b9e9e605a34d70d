//! `registries.conf`: mirrors, other locations, blocked and insecure registries, short names.
//!
//! The command line reads it, as podman, skopeo and buildah do; the operator never does, since the files of whatever node it
//! runs on must not matter. `file` parses one file and `version1` refuses the old form; `conf` finds and joins all files;
//! `entry` and `short_name` decide what they mean for a name,
//! and `place` what they mean for a side.

mod conf;
mod entry;
mod file;
mod place;
mod short_name;
mod version1;

pub use conf::{CredentialHelpers, RegistriesConf};
pub use place::{Registries, SourcePlace};
pub use short_name::{Candidates, is_short_name};
