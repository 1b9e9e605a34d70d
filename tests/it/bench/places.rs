//! Where images are pushed to, and what a push costs there.

use std::time::Duration;

use super::tools::{Image, Tool};
use crate::support::docker_registry::{DockerRegistry, Program};
use crate::support::measured::Used;
use crate::support::sink::{Relay, Sink, Stats};

/// To the registry that is far away.
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// What one round of a job used.
#[derive(Clone, Copy)]
pub(super) struct Sample {
    pub(super) used: Used,
    /// At all registries.
    pub(super) stats: Stats,
}

/// A kind of registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Debian's docker-registry 2.8.2, on this machine.
    Debian,
    /// distribution's registry, version 3, on this machine.
    Version3,
    /// One that costs nothing, on this machine.
    Near,
    /// One that costs nothing, 20 ms away.
    Far,
}

/// A running registry.
pub(super) struct Place {
    pub(super) host: String,
    server: Server,
}

enum Server {
    Real(DockerRegistry),
    Sink { sink: Sink, _relay: Option<Relay> },
}

// === impl Kind ===

impl Kind {
    /// What the report calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Debian => "2.8.2",
            Self::Version3 => "3.1.2",
            Self::Near => "costs nothing",
            Self::Far => "20 ms away",
        }
    }
}

// === impl Place ===

impl Place {
    pub(super) fn start(kind: Kind) -> Self {
        match kind {
            Kind::Debian => Self::real(Program::Debian),
            Kind::Version3 => Self::real(Program::Version3),
            Kind::Near => {
                let sink = Sink::start();
                Self { host: sink.host.clone(), server: Server::Sink { sink, _relay: None } }
            }
            Kind::Far => {
                let sink = Sink::start();
                let relay = Relay::start(&sink.host, ROUND_TRIP);
                let host = relay.host.clone();
                Self { host, server: Server::Sink { sink, _relay: Some(relay) } }
            }
        }
    }

    fn real(program: Program) -> Self {
        let registry = DockerRegistry::of(program);
        Self { host: registry.host.clone(), server: Server::Real(registry) }
    }

    pub(super) fn image(&self, name: &'static str) -> Image {
        Image::remote(&self.host, name)
    }

    fn stats(&self) -> Stats {
        match &self.server {
            Server::Real(registry) => {
                Stats { requests: registry.requests().len(), connections: registry.connections() }
            }
            Server::Sink { sink, .. } => sink.stats(),
        }
    }
}

/// Copies an image, several times one after the other; what one copy cost at these places.
pub(super) fn measured(
    tool: Tool,
    times: u32,
    [source, destination]: [&Image; 2],
    places: &[&Place],
) -> Sample {
    let before = sum(places);
    let all = tool.copy(times, source, destination);
    let after = sum(places);
    let each = |time: Duration| time / times;
    let count = |after: usize, before: usize| (after - before) / usize::try_from(times).unwrap();
    Sample {
        used: Used { wall: each(all.wall), cpu: each(all.cpu), ..all },
        stats: Stats {
            requests: count(after.requests, before.requests),
            connections: count(after.connections, before.connections),
        },
    }
}

fn sum(places: &[&Place]) -> Stats {
    let add = |sum: Stats, place: &&Place| {
        let stats = place.stats();
        Stats {
            requests: sum.requests + stats.requests,
            connections: sum.connections + stats.connections,
        }
    };
    places.iter().fold(Stats { requests: 0, connections: 0 }, add)
}
