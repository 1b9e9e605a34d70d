//! The built program, as a shell sees it: exit code, standard output and standard error, compared as one text.

mod apply;
mod clock;
mod confined;
mod faults;
mod hostile;
mod interrupt;
mod operator;
mod operator_secrets;
mod push;
mod registries_conf;
pub(crate) mod run;
mod secrets;
mod seen_by_others;
mod usage;
