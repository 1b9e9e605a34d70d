//! What several test modules share: registries, certificates, images.

pub(crate) mod certificates;
pub(crate) mod docker_registry;
pub(crate) mod registry;
