//! What attempts may use at the same time, and who is next.
//!
//! An attempt takes everything it needs at once or waits with empty hands, so that those that wait for a registry which
//! answers slowly keep nothing from others. A freed place goes to the one that has waited longest of those that can start.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::Order;
use crate::blob::{Codec, CodecMemory};
use crate::image::ManifestFormat;
use crate::limits::{MEMORY_OF_LOOKS, MEMORY_OF_PUSH};
use crate::options::{CustomResources, Endpoint, Layers, PushOptions};

/// How much may be in use at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Pushes in all.
    pub all: usize,
    /// Pushes for objects of one namespace; half of all, rounded up, where it is not set. One of these is for another
    /// registry than all the others use.
    pub per_namespace: Option<usize>,
    /// Pushes that read from one registry or write to it. Those between the same two registries take at most half of it,
    /// so that one end that hangs doesn't cost the other end all of its places.
    pub per_host: usize,
    /// Bytes that pushes may hold, by our own estimate; one that needs more than all of it runs alone. Half of it is for
    /// objects of one namespace, and half for pushes at one registry; three eighths for those of one namespace at one registry,
    /// and a quarter for those from one to another, so that what hangs leaves the namespace some. One that needs more than a
    /// quarter counts as that in these shares. What rewrites layers is not part of it: all pushes of the process share that
    /// ([`CodecMemory::of_process`]).
    pub memory_bytes: u64,
    /// Jobs; half of them, rounded up, for objects of one namespace.
    pub jobs: usize,
}

/// Gives places to attempts; see the module's documentation.
pub(crate) struct Limits {
    bounds: Bounds,
    queue: Mutex<Queue>,
}

/// Everything that an attempt has taken, until it is dropped.
pub(crate) struct Permit {
    limits: Arc<Limits>,
    wants: Wants,
}

/// Something that there is only so much of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    All,
    Namespace(String),
    /// Objects of a namespace at one registry: what hangs there leaves the namespace a place for others.
    NamespaceAt(String, String),
    Host(String),
    /// From one registry to another.
    Route(String, String),
    /// Jobs, whose pods have memory of their own.
    Jobs,
    JobsOf(String),
    /// The Jobs of a namespace at one registry: they may wait for a node or a volume for long, so nobody else's count with them.
    JobsAt(String, String),
    /// A volume of a namespace: no two pods may write to it, and many kinds of volumes are on one node at a time.
    Volume(String, String),
    /// In bytes.
    Memory,
    MemoryOf(String),
    MemoryAt(String),
    /// Of a namespace at one registry, and from one to another.
    MemoryOfAt(String, String),
    MemoryOfRoute(String, String, String),
}

type Wants = Vec<(Place, u64)>;

#[derive(Default)]
struct Queue {
    taken: HashMap<Place, u64>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    wants: Wants,
    admitted: oneshot::Sender<Permit>,
}

/// What one who waits is told.
enum Verdict {
    Start,
    /// Others may start before it.
    Wait,
    /// Nobody who needs some of this memory may start before it: a large one would never get what many small ones take again
    /// and again.
    Hold(Vec<Place>),
}

// === impl Bounds ===

impl Bounds {
    fn of(&self, place: &Place) -> u64 {
        let places = match place {
            Place::All => self.all,
            Place::Namespace(_) => self.of_namespace(),
            Place::NamespaceAt(..) => self.of_namespace().saturating_sub(1),
            Place::Host(_) | Place::JobsAt(..) => self.per_host,
            Place::Route(..) => self.per_host.div_ceil(2),
            Place::Jobs => self.jobs,
            Place::JobsOf(_) => self.jobs.div_ceil(2),
            Place::Volume(..) => 1,
            Place::Memory => return self.memory_bytes.max(1),
            Place::MemoryOf(_) | Place::MemoryAt(_) => return self.memory_bytes.div_ceil(2).max(1),
            Place::MemoryOfAt(..) => return (self.memory_bytes / 8 * 3).max(self.quarter()),
            Place::MemoryOfRoute(..) => return self.quarter(),
        };
        places.max(1) as u64
    }

    fn of_namespace(&self) -> usize {
        self.per_namespace.unwrap_or(self.all.div_ceil(2))
    }

    /// Of the memory.
    fn quarter(&self) -> u64 {
        self.memory_bytes.div_ceil(4).max(1)
    }

    /// What an attempt needs.
    fn wants(&self, order: &Order) -> Wants {
        let PushOptions { source, destination, .. } = &order.options;
        let namespace = order.object.namespace.clone().unwrap_or_default();
        let (source, destination) = (host(source), host(destination));
        // Copied within one registry, it takes one place there.
        let hosts: BTreeSet<&String> = source.iter().chain(&destination).collect();
        let Some(job) = &order.job else {
            let memory = memory(&order.options).min(self.of(&Place::Memory));
            let share = memory.min(self.quarter());
            let mut wants = vec![
                (Place::All, 1),
                (Place::Namespace(namespace.clone()), 1),
                (Place::Memory, memory),
                (Place::MemoryOf(namespace.clone()), share),
            ];
            let at = |host: &String| Place::NamespaceAt(namespace.clone(), host.clone());
            wants.extend(hosts.iter().map(|host| (at(host), 1)));
            wants.extend(hosts.iter().map(|host| (Place::Host((*host).clone()), 1)));
            wants.extend(hosts.iter().map(|host| (Place::MemoryAt((*host).clone()), share)));
            let at = |host: &String| Place::MemoryOfAt(namespace.clone(), host.clone());
            wants.extend(hosts.iter().map(|host| (at(host), share)));
            if let (Some(source), Some(destination)) = (source, destination) {
                let route = (namespace.clone(), source.clone(), destination.clone());
                wants.push((Place::MemoryOfRoute(route.0, route.1, route.2), share));
                if source != destination {
                    wants.push((Place::Route(source, destination), 1));
                }
            }
            return wants;
        };
        let mut wants = vec![(Place::Jobs, 1), (Place::JobsOf(namespace.clone()), 1)];
        let at = |host: &&String| Place::JobsAt(namespace.clone(), (*host).clone());
        wants.extend(hosts.iter().map(|host| (at(host), 1)));
        let volumes = job.volumes().into_iter();
        wants.extend(volumes.map(|(namespace, label)| (Place::Volume(namespace, label), 1)));
        wants
    }
}

fn host(side: &Endpoint) -> Option<String> {
    side.reference.repository().map(|repository| repository.registry.clone())
}

/// What a push holds at most beside what all share, if it rewrites no layers but those that it is asked to.
fn memory(options: &PushOptions) -> u64 {
    let PushOptions { layers, format, custom_resources, .. } = options;
    let blocks = match (layers, format) {
        (Layers::Compress(codec), _) => CodecMemory::of_blocks(*codec),
        // It has no layers in zstd.
        (_, Some(ManifestFormat::V2s2)) => CodecMemory::of_blocks(Codec::DEFAULT),
        (Layers::Keep | Layers::DoNotCompress, _) => 0,
    };
    let looks = if *custom_resources == CustomResources::Never { 0 } else { MEMORY_OF_LOOKS };
    MEMORY_OF_PUSH + blocks + looks
}

// === impl Limits ===

impl Limits {
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds, queue: Mutex::default() })
    }

    /// Waits for everything that an attempt needs. One that is no longer waited for takes nothing.
    pub(crate) async fn acquire(self: &Arc<Self>, order: &Order) -> Option<Permit> {
        let (admitted, turn) = oneshot::channel();
        self.change(|queue| {
            queue.waiting.push_back(Waiting { wants: self.bounds.wants(order), admitted });
        });
        turn.await.ok()
    }

    /// Changes the queue, and lets those start that can then.
    fn change(self: &Arc<Self>, change: impl FnOnce(&mut Queue)) {
        let started = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut queue);
            queue.start(&self.bounds)
        };
        for Waiting { wants, admitted } in started {
            // Who has stopped waiting in this moment drops the permit, and with that comes here again.
            drop(admitted.send(Permit { limits: self.clone(), wants }));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let limits = self.limits.clone();
        limits.change(|queue| queue.give_back(&self.wants));
    }
}

// === impl Queue ===

impl Queue {
    /// Takes those out of the queue that can start, in the order in which they came, and what they need with them.
    fn start(&mut self, bounds: &Bounds) -> Vec<Waiting> {
        let (mut started, mut held): (_, Vec<Place>) = (vec![], vec![]);
        for one in std::mem::take(&mut self.waiting) {
            if one.admitted.is_closed() {
                continue;
            }
            let waits = one.wants.iter().any(|(place, _)| held.contains(place));
            match if waits { Verdict::Wait } else { self.judge(&one.wants, bounds) } {
                Verdict::Start => {
                    self.take(&one.wants);
                    started.push(one);
                    continue;
                }
                Verdict::Wait => {}
                Verdict::Hold(places) => held.extend(places),
            }
            self.waiting.push_back(one);
        }
        started
    }

    fn judge(&self, wants: &Wants, bounds: &Bounds) -> Verdict {
        let missing = |(place, amount): &&(Place, u64)| {
            let taken = self.taken.get(place).copied().unwrap_or_default();
            taken.saturating_add(*amount) > bounds.of(place)
        };
        let missing = wants.iter().filter(missing).map(|(place, _)| place.clone());
        let missing: Vec<Place> = missing.collect();
        if missing.is_empty() {
            return Verdict::Start;
        }
        let share = |place: &Place| {
            use Place::{MemoryAt, MemoryOf, MemoryOfAt, MemoryOfRoute};
            matches!(place, MemoryOf(_) | MemoryAt(_) | MemoryOfAt(..) | MemoryOfRoute(..))
        };
        if !missing.iter().all(|place| share(place) || *place == Place::Memory) {
            return Verdict::Wait;
        }
        // Who waits for a share of memory holds up those who share it: the fewest that do.
        let route = missing.iter().find(|place| matches!(place, Place::MemoryOfRoute(..)));
        if let Some(route) = route {
            return Verdict::Hold(vec![route.clone()]);
        }
        let (shares, all): (Vec<Place>, Vec<Place>) = missing.into_iter().partition(share);
        Verdict::Hold(if shares.is_empty() { all } else { shares })
    }

    fn take(&mut self, wants: &Wants) {
        for (place, amount) in wants {
            *self.taken.entry(place.clone()).or_default() += amount;
        }
    }

    /// What nobody uses is forgotten, so that names from outside don't pile up.
    fn give_back(&mut self, wants: &Wants) {
        for (place, amount) in wants {
            if let Some(taken) = self.taken.get_mut(place) {
                *taken = taken.saturating_sub(*amount);
                if *taken == 0 {
                    self.taken.remove(place);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
