//! Custom resources bundled with an image, against those who have to agree with us about them.

mod builders;
mod cost;
mod diff;
mod examples;
mod faults;
mod fuzzed;
mod harness;
mod hostile;
mod layouts;
mod policies;
mod registries;
mod scalars;
mod sources;
mod told;
mod writers;
