//! Integration tests: one binary, so that it is linked once.

fn main() {}
