//! The `imagepush` program.

fn main() {}
