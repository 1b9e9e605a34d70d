//! What an API server would refuse, for the door that has none: `imagepush apply`.
//!
//! [`structure()`] holds a spec, as it was written, against the schema of the CRD: unknown fields, types, values and bounds.
//! [`rules()`] are the CEL rules once more in Rust, but for those about changes; a test holds both to each other. The whole of
//! CEL would be a large part of the program for a dozen sentences.

mod rules;
mod structure;

pub(crate) use rules::is_object_name;
pub use rules::rules;
pub use structure::structure;
