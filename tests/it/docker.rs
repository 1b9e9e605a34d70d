//! `docker://`, through the traits: what holds of any registry is checked against docker-registry and ours alike; what needs a
//! log of requests, or a registry that breaks down, against ours.

mod behaviour;
mod credentials;
mod egress;
mod faults;
mod harness;
mod identity;
mod mirrors;
mod order;
mod origins;
mod pushes;
mod referrers;
mod resume;
mod security;
mod token_server;
mod tokens;
mod verification;
mod wire;
