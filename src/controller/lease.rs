//! Which of several operators works: the one that has the lease, an object of the cluster that is written by
//! compare-and-swap.
//!
//! Who has it renews it, and counts it as lost by its own monotonic clock well before anybody else may take it, whatever
//! the network and the API server do meanwhile. A lost lease ends the process: everything it has in mind may be wrong by
//! then. The lease can't fence a registry; what may be written there late is the same content by digest, and a tag is
//! written only after the lease was looked at once more (its [`StillWanted`]).

mod elector;
mod guard;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use self::elector::{Elector, Step};
pub(crate) use self::guard::while_leading;
use super::reconcile::chance;
use crate::engine::StillWanted;
use crate::error::{Error, Kind, Result};
use crate::limits::{LEASE_GIVE_UP, LEASE_POLL, LEASE_RELEASE_TIMEOUT, LEASE_RENEWAL};

/// How operators agree on one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectionConfig {
    /// Name of the lease. Operators with the same one work in turn, never together.
    pub lease: String,
    /// Its namespace; that of the service account, or of the kubeconfig's context, if not set.
    pub namespace: Option<String>,
    /// Name of this operator, which no other has had.
    pub identity: String,
}

/// Whether this operator is the one that works.
#[derive(Clone, Debug)]
pub(crate) struct Leadership(Term);

#[derive(Clone, Debug)]
enum Term {
    /// Nobody else is asked.
    Undisputed,
    /// Until then, by this machine's clocks.
    Until(Arc<Mutex<End>>),
}

/// When a term ends, by two clocks: timers wait by the one, and the other goes on while the machine is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    awake: Instant,
    /// Since the machine was started.
    booted: Duration,
}

/// One who stands for election.
pub(crate) struct Candidate {
    leases: Api<Lease>,
    name: String,
    elector: Elector,
    /// The lease as we have last read or written it.
    lease: Option<Lease>,
}

/// Why an operator does not lead any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Somebody else has the lease.
    To(String),
    /// It could not be renewed in time.
    Late,
}

/// Whether a write was the one that counts.
enum Swap {
    Done,
    /// Somebody else has written since we read.
    Changed,
}

// === impl Leadership ===

impl Leadership {
    /// That of an operator that works alone.
    pub(crate) fn undisputed() -> Self {
        Self(Term::Undisputed)
    }

    pub(super) fn until(end: Instant) -> Self {
        Self(Term::Until(Arc::new(Mutex::new(End::at(end)))))
    }

    /// Whether nobody else may have taken over. To be asked right before anything that others see, since this process may
    /// have been stopped for any time since it was last asked.
    pub(crate) fn is_held(&self) -> bool {
        match &self.0 {
            Term::Undisputed => true,
            Term::Until(end) => {
                let end = *end.lock().unwrap_or_else(PoisonError::into_inner);
                end.is_ahead(Instant::now(), since_boot())
            }
        }
    }

    /// Nothing may be written any more, and the lease isn't given back but runs out: for an operator that can't say that
    /// all of its work has ended.
    pub(crate) fn end(&self) {
        self.extend(Instant::now());
    }

    fn last(&self) -> Instant {
        match &self.0 {
            Term::Undisputed => Instant::now() + LEASE_GIVE_UP,
            Term::Until(end) => end.lock().unwrap_or_else(PoisonError::into_inner).awake,
        }
    }

    fn extend(&self, to: Instant) {
        if let Term::Until(end) = &self.0 {
            *end.lock().unwrap_or_else(PoisonError::into_inner) = End::at(to);
        }
    }
}

// === impl End ===

impl End {
    fn at(awake: Instant) -> Self {
        Self { awake, booted: since_boot() + awake.saturating_duration_since(Instant::now()) }
    }

    fn is_ahead(self, awake: Instant, booted: Duration) -> bool {
        awake < self.awake && booted < self.booted
    }
}

/// How long the machine has been there, suspended or not.
fn since_boot() -> Duration {
    // Never negative, and never in vain.
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// What a push of this operator depends on.
#[async_trait]
impl StillWanted for Leadership {
    async fn check(&self) -> Result<()> {
        if self.is_held() {
            return Ok(());
        }
        let message = "the operator has lost its lease, and another one may be at work";
        Err(Error::new(Kind::Cancelled, message))
    }
}

// === impl Candidate ===

impl Candidate {
    pub(crate) fn new(client: Client, election: ElectionConfig) -> Self {
        let ElectionConfig { lease: name, namespace, identity } = election;
        let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        let leases = Api::namespaced(client, &namespace);
        Self { leases, name, elector: Elector::new(&identity), lease: None }
    }

    /// Waits until the lease is ours. `follows` is called once it is known that somebody else has it.
    ///
    /// May be dropped at any time: a lease that was claimed meanwhile runs out.
    pub(crate) async fn elected(&mut self, follows: impl Fn()) -> Leadership {
        loop {
            let (started, wait) = (Instant::now(), LEASE_POLL.mul_f64(0.8 + 0.4 * chance()));
            match timeout_at(started + LEASE_RENEWAL, self.stand()).await {
                Ok(Ok(None)) => return Leadership::until(started + LEASE_GIVE_UP),
                Ok(Ok(Some(left))) => {
                    follows();
                    sleep(left.min(wait)).await;
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, lease = self.name, "the lease can't be asked for");
                    sleep(wait).await;
                }
                Err(_) => {
                    tracing::warn!(lease = self.name, "the API server does not answer");
                    sleep(wait).await;
                }
            }
        }
    }

    /// Claims the lease if that may be; else says how long to wait.
    async fn stand(&mut self) -> Result<Option<Duration>, kube::Error> {
        self.lease = self.leases.get_opt(&self.name).await?;
        match self.elector.look(self.lease.as_ref(), Instant::now()) {
            Step::Wait(left) => Ok(Some(left)),
            Step::Claim => match self.swap().await? {
                Swap::Done => Ok(None),
                Swap::Changed => Ok(Some(LEASE_POLL)),
            },
        }
    }

    /// Renews the lease until `over`, and gives it back then. When it is lost, cancels `stop` and says how.
    pub(crate) async fn keep(
        mut self,
        leadership: Leadership,
        over: CancellationToken,
        stop: CancellationToken,
    ) -> Result<()> {
        let lost = tokio::select! {
            () = over.cancelled() => None,
            lost = self.renew(&leadership) => Some(lost),
        };
        let Some(lost) = lost else {
            self.give_back(&leadership).await;
            return Ok(());
        };
        leadership.end();
        stop.cancel();
        let name = &self.name;
        tracing::error!(lease = name, why = %lost, "this operator leads no more, and ends");
        let message = format!("the lease `{name}` was lost: {lost}");
        Err(Error::new(Kind::Timeout, message).hint("start it again, as Kubernetes does"))
    }

    async fn renew(&mut self, leadership: &Leadership) -> Lost {
        let mut due = Instant::now() + LEASE_RENEWAL;
        loop {
            let end = leadership.last();
            sleep_until(due.min(end)).await;
            let started = Instant::now();
            if !leadership.is_held() {
                return Lost::Late;
            }
            due = match timeout_at(end, self.renew_once()).await {
                Ok(Ok(None)) => {
                    leadership.extend(started + LEASE_GIVE_UP);
                    started + LEASE_RENEWAL
                }
                Ok(Ok(Some(rival))) => return Lost::To(rival),
                Ok(Err(error)) => {
                    tracing::warn!(%error, lease = self.name, "the lease was not renewed");
                    started + LEASE_POLL
                }
                Err(_) => return Lost::Late,
            };
        }
    }

    /// Returns who has it, if that is somebody else.
    async fn renew_once(&mut self) -> Result<Option<String>, kube::Error> {
        loop {
            if let Swap::Done = self.swap().await? {
                return Ok(None);
            }
            // Ours with another version is a write of ours whose answer did not arrive.
            self.lease = self.leases.get_opt(&self.name).await?;
            let rival = self.lease.as_ref().and_then(|lease| self.elector.rival(lease));
            if let Some(rival) = rival {
                return Ok(Some(rival.to_owned()));
            }
        }
    }

    /// Writes the lease with our name, unless it has changed.
    async fn swap(&mut self) -> Result<Swap, kube::Error> {
        let claim = self.elector.claim(self.lease.clone(), &self.name, Timestamp::now());
        let written = match claim.resource_version() {
            Some(_) => self.leases.replace(&self.name, &PostParams::default(), &claim).await,
            None => self.leases.create(&PostParams::default(), &claim).await,
        };
        match written {
            Ok(lease) => {
                self.lease = Some(lease);
                Ok(Swap::Done)
            }
            // Changed, or there meanwhile; or deleted, and then it is made anew.
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(Swap::Changed),
            Err(cause) => Err(cause),
        }
    }

    /// The next one needs not wait for the lease to run out.
    async fn give_back(mut self, leadership: &Leadership) {
        let Some(lease) = self.lease.take().filter(|_| leadership.is_held()) else { return };
        let free = Elector::give_up(lease, Timestamp::now());
        let parameters = PostParams::default();
        let write = self.leases.replace(&self.name, &parameters, &free);
        match tokio::time::timeout(LEASE_RELEASE_TIMEOUT, write).await {
            Ok(Ok(_)) => tracing::info!(lease = self.name, "the lease was given back"),
            Ok(Err(error)) => tracing::warn!(%error, "the lease was not given back; it runs out"),
            Err(_) => tracing::warn!("the lease was not given back in time; it runs out"),
        }
    }
}

// === impl Lost ===

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(rival) => write!(f, "`{rival}` has it now"),
            Self::Late => {
                let limit = humantime::format_duration(LEASE_GIVE_UP);
                write!(f, "it could not be renewed for {limit}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that was stopped finds the time over before any timer of its own has told so.
    #[tokio::test(start_paused = true)]
    async fn a_push_is_wanted_for_as_long_as_the_lease_is_held() {
        let leadership = Leadership::until(Instant::now() + LEASE_GIVE_UP);
        let moment = Duration::from_millis(1);
        tokio::time::advance(LEASE_GIVE_UP.checked_sub(moment).unwrap()).await;
        leadership.check().await.unwrap();
        tokio::time::advance(moment).await;
        let error = leadership.check().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Cancelled);
        assert_eq!(
            error.to_string(),
            "the operator has lost its lease, and another one may be at work"
        );
        Leadership::undisputed().check().await.unwrap();
    }

    /// A suspended machine's monotonic clock stands still.
    #[tokio::test(start_paused = true)]
    async fn a_term_ends_by_either_clock() {
        let (now, since) = (Instant::now(), Duration::from_mins(9));
        let end = End { awake: now + LEASE_GIVE_UP, booted: since + LEASE_GIVE_UP };
        let cases = [
            ("both ahead", now, since, true),
            ("a suspended machine", now, since + Duration::from_mins(10), false),
            ("a process that was stopped", now + LEASE_GIVE_UP, since, false),
        ];
        for (case, awake, booted, expected) in cases {
            assert_eq!(end.is_ahead(awake, booted), expected, "{case}");
        }
        let before = since_boot();
        assert!(
            before > Duration::ZERO
                && End::at(now + LEASE_GIVE_UP).booted >= before + LEASE_GIVE_UP
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_can_be_ended() {
        let leadership = Leadership::until(Instant::now() + LEASE_GIVE_UP);
        leadership.end();
        assert!(!leadership.is_held());
    }
}
