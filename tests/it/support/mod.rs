//! What several test modules share: registries and certificates, an API server, images, tools that have to agree
//! with us, and readers of what was written.

pub(crate) mod api_double;
pub(crate) mod api_proxy;
pub(crate) mod canary;
pub(crate) mod certificates;
pub(crate) mod chart;
pub(crate) mod collector;
pub(crate) mod control_plane;
pub(crate) mod docker_registry;
pub(crate) mod dockerd;
pub(crate) mod images;
pub(crate) mod layout;
pub(crate) mod measured;
pub(crate) mod nginx;
pub(crate) mod peers;
pub(crate) mod push;
pub(crate) mod raw;
pub(crate) mod registry;
pub(crate) mod relay;
pub(crate) mod server;
pub(crate) mod sink;
pub(crate) mod things;
pub(crate) mod tls_server;
pub(crate) mod token_server;
pub(crate) mod tools;
pub(crate) mod validate;
