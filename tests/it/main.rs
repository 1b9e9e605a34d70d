//! Integration tests: one binary, so that it is linked once.

#![cfg(test)]

mod architecture;
mod bench;
mod cli;
mod conformance;
mod crd;
mod docker;
mod docker_archive;
mod gates;
mod generated;
mod oci;
mod oci_archive;
#[expect(dead_code, reason = "the tests of transports that use all of it follow")]
mod support;
