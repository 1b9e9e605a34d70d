//! Applies the custom resources of a bundle in a cluster, and tells what that would change.
//!
//! `policy` says which kinds may be in a bundle at all, `kinds` finds out how the API server serves them, `plan` makes of a
//! bundle what is sent. `compare` asks the server what each object would become, without storing it, and `diff` tells in which
//! fields that is something new. Only when every object has passed is any of them stored (`run`), and what an earlier bundle
//! had and this one has not is taken away (`prune`) as the `inventory` says. `wait` looks whether they work.
//!
//! Whoever applies is a ServiceAccount: [`Impersonated`] can't be made without one, and sends nothing without its name.

mod annotations;
mod client;
mod compare;
mod diff;
mod inventory;
mod kinds;
mod plan;
mod policy;
mod prune;
mod refusal;
mod run;
mod standing;
mod wait;

pub use client::{Account, Impersonated};
pub use compare::{Change, ChangedObject, differences};
pub use diff::{FieldChange, Sort};
pub use inventory::{Entry, owner_value};
pub use kinds::Kinds;
pub use policy::{KindPattern, Policy};
pub use run::{Journal, Report, Wish, preview, prune_all, run};
pub use wait::{Awaited, until_current};

/// The field manager under which bundles are applied. Another name would leave behind what this one owns.
pub const FIELD_MANAGER: &str = "imagepush-bundle";

/// The label by which tools find who manages an object, and its value for what is applied from here. A bundle that says
/// otherwise is believed: nothing follows from it.
pub const MANAGED_BY_LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "imagepush");

/// The label that says to which ImagePush of its namespace an applied object belongs.
pub const OWNER_LABEL: &str = "imagepush.dev/owner";
