//! The built program, as a shell sees it: exit code, standard output and standard error, compared as one text.

mod faults;
mod interrupt;
mod push;
pub(crate) mod run;
mod usage;
