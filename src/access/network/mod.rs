//! What connections share: HTTP clients that stay open, the settings of the whole program, and how the hosts are.
//!
//! One value serves both sides of a push on the command line, and all pushes of the operator, so that a connection that one
//! has made is there for the next. It builds clients and decides what they may connect to, and sends nothing itself.

mod any_certificate;
mod clients;
mod standing;
mod trust;

use std::fmt;
use std::sync::Arc;

use reqwest::Client;

pub(crate) use clients::Audience;
use clients::Clients;
use standing::Standings;
pub(crate) use standing::{Bearer, Challenge, Fingerprint, NoToken, StandingKey, Token, TokenKey};
pub(crate) use trust::Trust;

use crate::error::Result;

/// What the connections of a program share. Clones are the same network; the default is a new one.
#[derive(Clone, Default)]
pub struct Network(Arc<Shared>);

#[derive(Default)]
struct Shared {
    clients: Clients,
    standings: Standings,
}

// === impl Network ===

impl Network {
    /// A client for connections to `audience`, the same one whenever certificates and audience are the same.
    ///
    /// Reads the system's certificate authorities the first time that a certificate is to be verified.
    pub(crate) async fn client(&self, trust: &Trust, audience: &Audience) -> Result<Client> {
        self.0.clients.get(trust, audience).await
    }

    /// What registries ask for, and the tokens that we have for them.
    pub(crate) fn standings(&self) -> &Standings {
        &self.0.standings
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}
