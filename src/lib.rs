//! imagepush delivers container images, declaratively.
//!
//! One engine with two doors: a Kubernetes operator that reconciles `ImagePush` objects, and a command
//! line. The modules, in reading order; see ARCHITECTURE.md for who may import whom.

pub mod access;
pub mod api;
pub mod apply;
pub mod blob;
pub mod bundle;
pub mod cli;
pub mod controller;
pub mod engine;
pub mod error;
pub mod image;
pub mod limits;
pub mod options;
pub mod telemetry;
pub mod transport;
