//! `docker://`, through the traits: what holds of any registry is checked against docker-registry and ours alike; what needs a
//! log of requests, or a registry that breaks down, against ours.

mod behaviour;
mod broken_peers;
mod checks;
mod credentials;
mod egress;
mod faults;
mod floods;
mod foreign_layers;
mod harness;
mod identity;
mod manifests;
mod mirrors;
mod order;
mod origins;
mod proxies;
mod pushes;
mod quirks;
mod real_breaks;
mod referrers;
mod remembered;
mod resume;
mod security;
mod tls;
mod token_server;
mod tokens;
mod uploads_elsewhere;
mod verification;
mod wanted;
mod wire;
