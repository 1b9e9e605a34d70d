//! Hosts that are no registries, and what whoever runs the program lets them have.

use super::layer_hosts::LayerHost;
use super::token_servers::TokenServer;
use super::upload_hosts::UploadHost;

/// What is allowed beside the registries themselves. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// Token servers beside a registry's own and those of its domain.
    pub token_servers: Vec<TokenServer>,
    /// Where a registry may have blobs sent.
    pub upload_hosts: Vec<UploadHost>,
    /// The same, and its credentials with them.
    pub upload_hosts_with_credentials: Vec<UploadHost>,
    /// Where foreign layers may be fetched from.
    pub layer_hosts: Vec<LayerHost>,
}
