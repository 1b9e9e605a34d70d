//! Integration tests: one binary, so that it is linked once.

#![cfg(test)]

mod apply;
mod architecture;
mod bench;
mod bundle;
mod charts;
mod cli;
mod compatibility;
mod conformance;
mod container_image;
mod crash;
mod crd;
mod credentials;
mod dir;
mod docker;
mod docker_archive;
mod doors;
mod examples;
mod faults;
mod gates;
mod generated;
mod gitops;
mod oci;
mod oci_archive;
mod operator;
mod storage;
mod support;
mod works_with;
