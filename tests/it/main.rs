//! Integration tests: one binary, so that it is linked once.

#![cfg(test)]

mod architecture;
mod cli;
