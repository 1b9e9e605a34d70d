//! The bundle of an image, on its way to the destination beside it.
//!
//! What the policy asks for is found before the destination's name changes, so that an image whose bundle is wanted and isn't
//! sound is not published; it is written after, since it belongs to what the name points to. `auto` never fails for what an
//! image carries, and reads no layer only to look.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;

use super::attached::{self, ARTIFACT_TYPE, Packed};
use super::search::{self, Lead, Views};
use super::{Bundle, Folder};
use crate::blob::LayerObserver;
use crate::engine::{Beside, Companion, Decision, Ends, Motion, Origin};
use crate::error::{Class, Error, Kind, Result, Side};
use crate::image::{Descriptor, Digest};
use crate::options::{BundleClues, CustomResources, PushOptions};
use crate::transport::Locality;

/// The next step where nobody has looked.
const NOT_SEARCHED: &str = "nothing says that the image carries one; label it `imagepush.dev/bundle`, or ask for it (`--cr-option yes`, `policy: Always`)";
/// The same where a registry was asked for nothing but the manifest.
const IN_PLACE: &str = "the image is in place, so that its registry was asked for nothing more; ask for it (`--cr-option yes`, `policy: Always`), or annotate its manifest `imagepush.dev/bundle`";
/// The same where all blobs were linked within a registry, which was asked for its list of attachments and nothing more.
const LINKED: &str = "the layers stay in their registry, which lists no bundle of the image and was asked for nothing more; ask for it (`--cr-option yes`, `policy: Always`), or annotate its manifest `imagepush.dev/bundle`";
/// The next step where there is no bundle, and one is wanted.
const ALONE: &str = "push the image alone (`--cr-option no`, `policy: Never`)";
const DRY_RUN: &str = "a dry run reads no layer only to look; label the image `imagepush.dev/bundle`, or ask for it (`--cr-option yes`, `policy: Always`)";

/// Takes the bundle along.
pub(super) struct Carrier {
    policy: CustomResources,
    clues: BundleClues,
    now: Timestamp,
    views: Views,
    state: Mutex<State>,
    /// Whether the image is to be looked into whatever moves: its bundle is to be applied, or may have been left over, and
    /// nobody has looked yet.
    is_new: AtomicBool,
}

/// What is known of the bundle by now.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a push has one of these")]
enum State {
    /// Where it may be.
    Lead(Lead),
    /// What it is; `from` is the digest of what it was found in the layers of.
    Found { bundle: Bundle, from: Option<Digest> },
    /// What was done about it, or that nothing will be.
    Decided(Beside),
}

// === impl Carrier ===

impl Carrier {
    pub(super) fn new(options: &PushOptions, now: Timestamp) -> Self {
        let PushOptions { custom_resources: policy, clues, .. } = options;
        Self {
            policy: *policy,
            clues: clues.clone(),
            now,
            views: Views::default(),
            state: Mutex::new(State::Lead(Lead::Unknown { encrypted: None })),
            is_new: AtomicBool::new(false),
        }
    }

    fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn decide(&self, decision: Decision) {
        self.set(State::Decided(without_bundle(decision)));
    }

    fn is_auto(&self) -> bool {
        self.policy == CustomResources::Auto
    }

    /// Whether layers are read where nothing says that there is a bundle.
    fn seeks(&self) -> bool {
        !self.is_auto() || self.clues.left_over || self.is_new.load(Ordering::Relaxed)
    }

    /// Whether what the destination says that it holds of this source is so.
    fn believes(&self, there: &Descriptor, source: &Digest) -> bool {
        let BundleClues { for_cluster, seen, bundle, .. } = &self.clues;
        let proven = seen.as_ref() == Some(source) && *bundle == attached::digest_of(there);
        attached::is_from(there, source) && (!for_cluster || proven)
    }

    /// An error about what the image carries: under `auto` a reason to leave it out, and told. What may pass is an error
    /// all the same.
    fn heed<T>(&self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Err(error) if error.kind() == Kind::ContentMismatch => Err(error),
            other => self.heed_beside(other),
        }
    }

    /// The same where nothing of the image itself is concerned, so that also what isn't what it should be may be left out.
    fn heed_beside<T>(&self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if self.is_auto() && may_be_skipped(&error) => {
                tracing::info!(%error, "the bundle is left out");
                self.decide(Decision::Skipped(error.to_string()));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Finds the bundle in the layers, reading those that haven't been seen.
    async fn search(&self, ends: &Ends<'_>, folder: &Folder) -> Result<()> {
        let read = search::read_layers(&ends.origin, folder, &self.views).await;
        match self.heed(read)? {
            None => Ok(()),
            Some(Some(bundle)) => {
                let from = ends.origin.digests()?.into_iter().next();
                self.set(State::Found { bundle, from });
                Ok(())
            }
            Some(None) if self.is_auto() => {
                self.decide(Decision::Absent);
                Ok(())
            }
            Some(None) => Err(search::no_bundle(folder).hint(ALONE)),
        }
    }

    async fn read_attached(&self, ends: &Ends<'_>, listed: &Descriptor) -> Result<()> {
        let read = search::read_attached(&ends.origin, listed).await;
        if let Some(bundle) = self.heed_beside(read)? {
            self.set(State::Found { bundle, from: None });
        }
        Ok(())
    }

    /// Finds the bundle wherever the lead goes.
    async fn follow(&self, ends: &Ends<'_>, lead: &Lead) -> Result<()> {
        match lead {
            Lead::Attached(listed) => self.read_attached(ends, listed).await,
            Lead::Labelled(folder) => self.search(ends, folder).await,
            Lead::Unknown { .. } => self.search(ends, &Folder::default()).await,
            Lead::Nowhere if self.is_auto() => {
                self.decide(Decision::Absent);
                Ok(())
            }
            Lead::Nowhere => Err(search::no_bundle(&Folder::default()).hint(ALONE)),
        }
    }

    /// Whether the image stays in its registry, so that looking for more than its list of attachments would cost more than
    /// all of the push: nothing known says that this would be worth it.
    fn is_linked(&self, ends: &Ends<'_>) -> bool {
        self.is_auto()
            && ends.one_registry()
            && !self.seeks()
            && search::annotated(&ends.origin).is_none()
    }

    /// The lead once it is known whether all blobs could be linked. If not, the image is asked for all that it says.
    async fn lead_by_now(&self, ends: &Ends<'_>, lead: Lead) -> Result<Option<Lead>> {
        if !self.is_linked(ends) || !matches!(lead, Lead::Unknown { .. }) {
            return Ok(Some(lead));
        }
        if self.views.is_empty() {
            self.set(State::Decided(not_searched(LINKED)));
            return Ok(None);
        }
        let lead = self.heed(search::lead(&ends.origin).await)?;
        if let Some(lead) = &lead {
            if matches!(lead, Lead::Labelled(folder) if *folder != Folder::default()) {
                self.views.clear();
            }
            self.set(State::Lead(lead.clone()));
        }
        Ok(lead)
    }

    /// What is to be done under `auto` once all layers that move have moved.
    async fn settle_auto(&self, ends: &Ends<'_>, lead: Lead) -> Result<()> {
        let Some(lead) = &self.lead_by_now(ends, lead).await? else { return Ok(()) };
        let folder = match lead {
            // The destination may have the same: that is seen when it is asked.
            Lead::Attached(_) => return Ok(()),
            Lead::Nowhere => return self.follow(ends, lead).await,
            Lead::Labelled(_) if self.views.is_empty() => return Ok(()),
            Lead::Labelled(folder) => folder.clone(),
            Lead::Unknown { .. } if self.views.touch() => Folder::default(),
            Lead::Unknown { .. } if self.views.is_empty() && self.is_doubtful(ends)? => {
                // The destination may have it already: that is asked first.
                self.set(State::Lead(Lead::Labelled(Folder::default())));
                return Ok(());
            }
            Lead::Unknown { .. } if self.seeks() => Folder::default(),
            Lead::Unknown { encrypted } => {
                return self.settle_untouched(ends, encrypted.as_ref()).await;
            }
        };
        self.search(ends, &folder).await
    }

    /// Whether a bundle may have been left over, or nobody knows whether there is one who has to.
    fn is_doubtful(&self, ends: &Ends<'_>) -> Result<bool> {
        let source = ends.origin.digests()?.into_iter().next();
        Ok(self.seeks() || is_unfinished(&self.clues, source.as_ref()))
    }

    /// None of the layers that moved says anything of the folder.
    async fn settle_untouched(
        &self,
        ends: &Ends<'_>,
        encrypted: Option<&Descriptor>,
    ) -> Result<()> {
        if let Some(layer) = encrypted {
            return self.heed(Err::<(), _>(search::encrypted(layer))).map(drop);
        }
        // Others may tell of the folder, but aren't read only to look.
        if let Some(fault) = self.views.fault() {
            return self.heed(Err::<(), _>(fault)).map(drop);
        }
        if self.views.is_empty() {
            return Ok(());
        }
        let images = search::images(&ends.origin).await?;
        let layers = images.iter().filter_map(|it| it.as_image()).flat_map(|image| &image.layers);
        if layers.into_iter().all(|layer| self.views.get(&layer.digest).is_some()) {
            self.decide(Decision::Absent);
        }
        Ok(())
    }

    /// Compares what the destination has with what is known without reading more.
    fn is_there(&self, ends: &Ends<'_>, there: &Descriptor) -> Result<bool> {
        let digest = attached::digest_of(there);
        Ok(match self.state() {
            State::Found { bundle, .. } => digest.as_ref() == Some(bundle.digest()),
            State::Lead(Lead::Attached(listed)) => {
                digest.is_some() && digest == attached::digest_of(&listed)
            }
            State::Lead(Lead::Labelled(_)) => {
                let origin = ends.origin.digests()?.into_iter().next();
                origin.is_some_and(|origin| self.believes(there, &origin))
            }
            State::Lead(Lead::Unknown { .. } | Lead::Nowhere) | State::Decided(_) => false,
        })
    }

    /// What is attached at the destination; nothing where there is no reason to ask.
    async fn at_destination(
        &self,
        ends: &Ends<'_>,
        subject: &Descriptor,
    ) -> Result<Option<Vec<Descriptor>>> {
        match self.state() {
            State::Decided(_) | State::Lead(Lead::Unknown { .. } | Lead::Nowhere) => Ok(None),
            State::Lead(_) | State::Found { .. } => {
                self.heed(ends.attachments(&subject.digest, &ARTIFACT_TYPE).await)
            }
        }
    }

    /// Puts the bundle there, and takes off what it replaces.
    async fn put(
        &self,
        ends: &Ends<'_>,
        subject: &Descriptor,
        there: &[Descriptor],
        (bundle, from): (&Bundle, Option<&Digest>),
    ) -> Result<bool> {
        let Packed { manifest, blobs } = attached::pack(bundle, subject, from, there, self.now);
        if self.heed_beside(ends.attach(&manifest, &blobs).await)?.is_none() {
            return Ok(false);
        }
        for old in there.iter().filter(|old| attached::is_ours(old)) {
            // Readers take the newest: an old one that can't be deleted harms nobody.
            if let Err(error) = ends.detach(&subject.digest, &old.digest).await {
                tracing::warn!(%error, "the bundle that was replaced stays");
            }
        }
        let artifact = Some(manifest.digest().clone());
        self.set(State::Decided(beside(Decision::Pushed, bundle, artifact)));
        Ok(true)
    }
}

#[async_trait]
impl Companion for Carrier {
    async fn prepare(&self, ends: &Ends<'_>, image: Motion) -> Result<()> {
        if !ends.capabilities().attachments {
            let message = format!("`{}` can hold nothing beside an image", ends.transport());
            let error = Error::new(Kind::TransportUnsupported, message).on(Side::Destination);
            let hint = "push to a registry or an OCI layout, or without custom resources (`--cr-option no`, `policy: Never`)";
            return self.heed(Err::<(), _>(error.hint(hint))).map(drop);
        }
        // What is asked for and isn't there is no matter of the bundle.
        let source = ends.origin.digests()?.into_iter().next();
        self.is_new.store(is_new(&self.clues, source.as_ref(), image), Ordering::Relaxed);
        let lead = match image {
            Motion::Stays if !self.seeks() && is_dear(&ends.origin) => {
                self.decide(Decision::NotSearched(IN_PLACE.to_owned()));
                return Ok(());
            }
            Motion::Moves if self.is_linked(ends) => search::without_label(&ends.origin).await,
            // What is attached is asked for while the layers move.
            Motion::Moves if self.is_auto() => search::inside(&ends.origin).await,
            Motion::Moves | Motion::Stays => search::lead(&ends.origin).await,
        };
        if let Some(lead) = self.heed(lead)? {
            self.set(State::Lead(lead));
        }
        Ok(())
    }

    async fn meanwhile(&self, ends: &Ends<'_>) -> Result<()> {
        if !self.is_auto() || !matches!(self.state(), State::Lead(_)) {
            return Ok(());
        }
        let attached = if self.is_linked(ends) {
            search::attached_at_once(&ends.origin).await
        } else {
            search::attached(&ends.origin).await
        };
        if let Some(Some(attached)) = self.heed(attached)? {
            self.views.close();
            self.set(State::Lead(Lead::Attached(attached)));
        }
        Ok(())
    }

    fn observer(&self, layer: &Descriptor) -> Option<Box<dyn LayerObserver>> {
        let folder = match self.state() {
            State::Lead(Lead::Labelled(folder)) => folder,
            State::Lead(Lead::Unknown { .. }) => Folder::default(),
            State::Lead(Lead::Attached(_) | Lead::Nowhere)
            | State::Found { .. }
            | State::Decided(_) => return None,
        };
        search::is_layer(layer).then(|| self.views.looking(layer, &folder))
    }

    async fn settle(&self, ends: &Ends<'_>) -> Result<()> {
        match self.state() {
            State::Lead(lead) if self.is_auto() => self.settle_auto(ends, lead).await,
            State::Lead(lead) => self.follow(ends, &lead).await,
            State::Found { .. } | State::Decided(_) => Ok(()),
        }
    }

    async fn foresee(&self, ends: &Ends<'_>, subject: Option<&Descriptor>) -> Result<()> {
        if let Some(subject) = subject {
            let there = self.at_destination(ends, subject).await?.unwrap_or_default();
            if let Some(newest) = attached::newest(&there)
                && self.is_there(ends, newest)?
            {
                self.set(State::Decided(unchanged(newest)));
            }
        }
        match self.state() {
            State::Lead(Lead::Unknown { .. }) if !self.seeks() => {
                let reason = if self.is_linked(ends) { LINKED } else { DRY_RUN };
                self.set(State::Decided(not_searched(reason)));
            }
            State::Lead(lead) => self.follow(ends, &lead).await?,
            State::Found { .. } | State::Decided(_) => {}
        }
        if let State::Found { bundle, .. } = self.state() {
            let there = match subject {
                Some(subject) => self.at_destination(ends, subject).await?.unwrap_or_default(),
                None => vec![],
            };
            let report = match attached::newest(&there) {
                Some(newest) if self.is_there(ends, newest)? => unchanged(newest),
                _ => beside(Decision::Push, &bundle, None),
            };
            self.set(State::Decided(report));
        }
        Ok(())
    }

    async fn attach(&self, ends: &Ends<'_>, subject: &Descriptor) -> Result<bool> {
        let Some(there) = self.at_destination(ends, subject).await? else { return Ok(false) };
        if let Some(newest) = attached::newest(&there)
            && self.is_there(ends, newest)?
        {
            self.set(State::Decided(unchanged(newest)));
            return Ok(false);
        }
        if let State::Lead(lead) = self.state() {
            self.follow(ends, &lead).await?;
        }
        let State::Found { bundle, from } = self.state() else { return Ok(false) };
        match attached::newest(&there) {
            Some(newest) if self.is_there(ends, newest)? => {
                self.set(State::Decided(unchanged(newest)));
                Ok(false)
            }
            _ => self.put(ends, subject, &there, (&bundle, from.as_ref())).await,
        }
    }

    fn report(&self) -> Option<Beside> {
        Some(match self.state() {
            State::Decided(report) => report,
            State::Lead(_) | State::Found { .. } => not_searched(NOT_SEARCHED),
        })
    }
}

/// Whether an image is one that nobody has looked into, and somebody wants it to be.
fn is_new(clues: &BundleClues, source: Option<&Digest>, image: Motion) -> bool {
    let unfinished = image == Motion::Stays && is_unfinished(clues, source);
    unfinished || (clues.for_cluster && clues.seen.as_ref() != source)
}

/// Whether another image than this is the last one of which a push has come to its end.
fn is_unfinished(clues: &BundleClues, source: Option<&Digest>) -> bool {
    clues.finished.is_some() && clues.finished.as_ref() != source
}

/// Whether to ask for more of an image that stays where it is would cost requests, and nothing known says that it is worth them.
fn is_dear(origin: &Origin<'_>) -> bool {
    origin.locality() == Locality::Remote && search::annotated(origin).is_none()
}

/// Whether a fault is one of what the image carries or of what a place can do, and stays.
fn may_be_skipped(error: &Error) -> bool {
    error.class() == Class::Permanent
        && !matches!(error.kind(), Kind::Cancelled | Kind::InternalError)
}

fn not_searched(reason: &'static str) -> Beside {
    without_bundle(Decision::NotSearched(reason.to_owned()))
}

/// Nothing was found.
fn without_bundle(decision: Decision) -> Beside {
    Beside { decision, digest: None, objects: None, artifact: None }
}

/// This bundle was found.
fn beside(decision: Decision, bundle: &Bundle, artifact: Option<Digest>) -> Beside {
    let (digest, objects) = (Some(bundle.digest().clone()), Some(bundle.objects().len()));
    Beside { decision, digest, objects, artifact }
}

/// The destination has the bundle already.
fn unchanged(there: &Descriptor) -> Beside {
    Beside {
        decision: Decision::Unchanged,
        digest: attached::digest_of(there),
        objects: attached::objects_of(there),
        artifact: Some(there.digest.clone()),
    }
}
