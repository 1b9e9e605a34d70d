//! One push from its first request to its commit.

mod accompany;
mod checks;
mod turns;

use std::convert::identity;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::companion::{Companion, Motion};
use super::copy::{Copy, while_writing};
use super::copy_state::CopyState;
use super::heal::{Doubt, Heals, waiting};
use super::origin::{Origin, Seen};
use super::plan::{FormatChoice, Plan, Tree, Wants, format_choices, plan};
use super::present::{present, preview_of};
use super::progress::{Event, NoProgress, Progress};
use super::retry::{retry, retry_while_wanted};
use super::tree::{Reader, Selection, select};
use super::{Preview, Pushed, SourceImage};
use crate::error::{Class, Error, Kind, Result, Side};
use crate::image::{Descriptor, Digest, Manifest};
use crate::options::{CustomResources, Layers, PushOptions};
use crate::transport::{
    Current, Gate, ImageDestination, ImageIdentity, ImageSource, Repository, Role, Wanted,
};

pub(super) use accompany::{accompany, foresee};
use turns::Turns;

/// The next step where nobody knows whether the last request was carried out.
const UNKNOWN_OUTCOME: &str =
    "it is not known whether the name was changed; push again, which finds out";

/// The next step where a push was cancelled too late for the name to be certain.
const CANCELLED_LATE: &str = "the name may have been changed; push again, which finds out";

/// Both ends, and what has been learnt of them with the first requests.
struct Session<'a> {
    options: &'a PushOptions,
    companion: &'a dyn Companion,
    progress: &'a Arc<dyn Progress>,
    source: Box<dyn ImageSource>,
    /// Where the source is read from, which need not be where its name says.
    read_from: Option<Repository>,
    seen: Seen,
    turns: Turns,
    destination: Box<dyn ImageDestination>,
    wants: Wants,
    named: Manifest,
    current: Option<Current>,
    gate: Gate,
}

/// See [`super::push_with`].
pub(super) async fn push(
    options: &PushOptions,
    companion: &dyn Companion,
    progress: &Arc<dyn Progress>,
    wanted: &Wanted,
) -> Result<Pushed> {
    let cancel = wanted.cancel();
    let session = until(cancel, open(options, companion, progress, wanted)).await?;
    let attempt = session.run_all(cancel).await;
    session.end(attempt, cancel).await
}

/// How an attempt in one format ended well.
struct Attempt {
    pushed: Pushed,
    /// The image at the destination.
    subject: Descriptor,
    /// Whether anything was written, so that a commit is to follow.
    wrote: bool,
}

/// See [`super::preview`].
pub(super) async fn preview(
    options: &PushOptions,
    companion: &dyn Companion,
    cancel: &CancellationToken,
) -> Result<Preview> {
    let progress: Arc<dyn Progress> = Arc::new(NoProgress);
    let preview = async {
        let session = open(options, companion, &progress, &Wanted::until_cancelled(cancel)).await?;
        let (tree, choices) = session.tree_and_choices().await?;
        let plan = session.first_plan(tree, &choices)?;
        let present = session.is_same_as_source() || session.has(&plan);
        if present {
            session.prepare(Motion::Stays).await?;
        } else {
            session.check_overwrites(session.current.as_ref())?;
            session.prepare(Motion::Moves).await?;
            session.meanwhile().await?;
        }
        let subject = if present { session.current.as_ref().map(descriptor) } else { None };
        companion.foresee(&session.ends(), subject.as_ref()).await?;
        let preview = preview_of(&session.named, &plan, present);
        Ok(Preview { beside: companion.report(), ..preview })
    };
    until(cancel, preview).await
}

/// Does the work unless it is called off before its end.
pub(super) async fn until<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::cancelled()),
        result = work => result,
    }
}

/// Opens both ends and asks each of them its first question at the same time.
async fn open<'a>(
    options: &'a PushOptions,
    companion: &'a dyn Companion,
    progress: &'a Arc<dyn Progress>,
    wanted: &Wanted,
) -> Result<Session<'a>> {
    let (source, destination) = (&options.source, &options.destination);
    let read_source = async {
        let opened = source.reference.source(&source.access).await;
        let opened = opened.map_err(|error| error.on(Side::Source))?;
        let pinned = source.reference.digest();
        let reader = Reader::new(opened.as_ref(), pinned, options.retry, progress.as_ref());
        let named = reader.named().await?;
        Ok::<_, Error>((opened, named))
    };
    let ask_destination = async {
        let opened = destination.reference.destination(&destination.access).await;
        let opened = opened.map_err(|error| error.on(Side::Destination))?;
        let current = retry(options.retry, progress.as_ref(), || opened.current()).await;
        let current = current.map_err(|error| {
            error.during("looking at what the destination has").on(Side::Destination)
        })?;
        Ok::<_, Error>((opened, current))
    };
    let ((source, named), (destination, current)) =
        futures::try_join!(read_source, ask_destination)?;
    let pinned = options.destination.reference.digest();
    let may_edit = pinned.map_or(Ok(()), |_| Err("the destination names a digest"));
    let capabilities = destination.capabilities();
    let wants = Wants { capabilities, layers: options.layers, may_edit };
    let (seen, gate) = (Seen::default(), Gate::new(wanted.clone()));
    Ok(Session {
        options,
        companion,
        progress,
        read_from: source.repository(),
        source,
        seen,
        turns: Turns::default(),
        destination,
        wants,
        named,
        current,
        gate,
    })
}

// === impl Session ===

impl Session<'_> {
    /// Does everything but the commit.
    async fn run_all(&self, cancel: &CancellationToken) -> Result<Attempt> {
        let attempt = self.run(cancel).await?;
        let ends = self.ends();
        if self.options.custom_resources != CustomResources::Never {
            self.progress.event(Event::Attaching);
        }
        // The image is there: a companion that has nothing to put beside it isn't called off any more.
        let attach = self.companion.attach(&ends, &attempt.subject);
        let attached = match self.gate.unless_cancelled(attach).await {
            Ok(attached) => attached,
            Err(error) => {
                let is_there = !attempt.wrote || self.gate.may_have_changed().await;
                if !is_there {
                    return Err(error.doing("putting beside the image what belongs to it"));
                }
                let doing =
                    "putting beside the image, which is at the destination, what belongs to it";
                return Err(error.doing(doing).beside());
            }
        };
        let wrote = attempt.wrote | attached;
        let pushed = Pushed { beside: self.companion.report(), ..attempt.pushed };
        Ok(Attempt { pushed, wrote, ..attempt })
    }

    /// Does everything for the image but the commit.
    async fn run(&self, cancel: &CancellationToken) -> Result<Attempt> {
        if self.is_same_as_source() {
            return self.present(None, cancel).await;
        }
        let (tree, choices) = until(cancel, self.tree_and_choices()).await?;
        let state = CopyState::new(self.options.codecs.clone());
        let mut rejected = None;
        for choice in choices {
            match self.attempt(&state, tree, choice, cancel).await {
                Err(error) if error.kind() == Kind::ManifestRejected => {
                    tracing::info!(%error, "the destination rejects this format of manifests");
                    rejected.get_or_insert(error);
                }
                // This is so in any format.
                Err(error) if error.kind() == Kind::DestinationExists => return Err(error),
                // That the next format can't be had either is not what the user has to know.
                Err(error) => return Err(rejected.unwrap_or(error)),
                done => return done,
            }
        }
        Err(rejected.unwrap_or_else(|| Error::internal("no format of manifests was tried")))
    }

    /// Copies everything in one of the formats and puts the named manifest, unless all is in place.
    async fn attempt(
        &self,
        state: &CopyState,
        tree: &Tree,
        choice: FormatChoice,
        cancel: &CancellationToken,
    ) -> Result<Attempt> {
        let plan = self.plan(tree, choice)?;
        if self.has(&plan) {
            return self.present(Some(&plan), cancel).await;
        }
        self.check_overwrites(self.current.as_ref())?;
        until(cancel, self.prepare(Motion::Moves)).await?;
        self.announce(&plan);
        let copy = self.copy(state);
        let mut heals = Heals::default();
        loop {
            let doubting = copy.doubting(heals.doubt());
            let copying = async { futures::try_join!(doubting.copy(&plan), self.meanwhile()) };
            let (copied, ()) = until(cancel, copying).await?;
            self.check_pinned(&copied.manifest)?;
            until(cancel, self.companion.settle(&self.ends())).await?;
            let patient = heals.are_patient(&copied);
            match self.publish_and_verify(&copy, &copied.manifest, patient, cancel).await {
                Err(error) if heals.are_due(&error) => state.forget(),
                Err(error) => return Err(error),
                Ok(()) => {
                    let subject = copied.manifest.descriptor();
                    let replaced = self.replaced_by(&copied.manifest);
                    let pushed = copied.pushed(SourceImage::of(&self.named), replaced, state);
                    return Ok(Attempt { pushed, subject, wrote: true });
                }
            }
        }
    }

    /// The destination has the image.
    async fn present(&self, plan: Option<&Plan>, cancel: &CancellationToken) -> Result<Attempt> {
        let current = self.current.as_ref();
        let subject = current.map_or_else(|| self.named.descriptor(), descriptor);
        until(cancel, self.prepare(Motion::Stays)).await?;
        until(cancel, self.companion.settle(&self.ends())).await?;
        Ok(Attempt { pushed: present(&self.named, plan, current), subject, wrote: false })
    }

    fn origin(&self) -> Origin<'_> {
        Origin {
            source: self.source.as_ref(),
            locality: self.options.source.reference.transport().locality(),
            named: &self.named,
            pinned: self.options.source.reference.digest(),
            platforms: &self.options.platforms,
            retry: self.options.retry,
            pace: &self.options.pace,
            progress: self.progress,
            seen: &self.seen,
        }
    }

    /// Plans in one of the formats, and refuses a destination by another digest before anything moves.
    fn plan(&self, tree: &Tree, choice: FormatChoice) -> Result<Plan> {
        let plan = plan(tree, choice, &self.wants).map_err(|error| error.on(Side::Destination))?;
        plan.exact.as_ref().map_or(Ok(()), |exact| self.check_pinned(exact))?;
        Ok(plan)
    }

    async fn publish_and_verify(
        &self,
        copy: &Copy<'_>,
        named: &Manifest,
        patient: bool,
        cancel: &CancellationToken,
    ) -> Result<()> {
        self.publish(named, patient, cancel).await?;
        // The name has changed by now, which the error says whatever it is. A push that ends with that is not called off.
        let verified = self.gate.unless_cancelled(copy.verify(named, Role::Named, patient)).await;
        verified.map_err(|error| error.doing("checking the name after it was changed"))
    }

    /// Puts the manifest under the name, while the push is still wanted.
    ///
    /// All waiting can be interrupted, but not the exchange that changes the name: that would leave open what it points to.
    /// Where its end is unknown, the destination is asked.
    async fn publish(
        &self,
        named: &Manifest,
        patient: bool,
        cancel: &CancellationToken,
    ) -> Result<()> {
        self.progress.event(Event::Naming);
        let put = async || {
            self.still_overwrites(named).await?;
            waiting(patient, self.destination.put_named(named, &self.gate).await)
        };
        let put = retry_while_wanted(self.options.retry, self.progress.as_ref(), cancel, put);
        if let Err(error) = self.gate.unless_cancelled(put).await.and_then(identity) {
            let unknown = self.is_unknown(&error).await;
            if !(unknown && self.has_now(named, cancel).await) {
                let error = while_writing(error, named);
                return Err(if unknown { error.hint(UNKNOWN_OUTCOME) } else { error });
            }
        }
        self.progress.event(Event::Manifest { digest: named.digest() });
        // Elsewhere it has its name by the commit, with which the push ends.
        if self.gate.may_have_changed().await {
            self.progress.event(Event::Named { manifest: &named.descriptor() });
        }
        Ok(())
    }

    /// Whether nobody can tell from an error what the name points to.
    async fn is_unknown(&self, error: &Error) -> bool {
        let transient = error.class() == Class::Transient && error.kind() != Kind::ContentMissing;
        transient && self.gate.may_have_changed().await
    }

    async fn has_now(&self, named: &Manifest, cancel: &CancellationToken) -> bool {
        let current = until(cancel, self.destination.current()).await;
        matches!(current, Ok(Some(current)) if current.digest == *named.digest())
    }

    /// What the name had before a manifest was put there.
    fn replaced_by(&self, named: &Manifest) -> Option<Digest> {
        let before = self.current.as_ref().map(|current| &current.digest);
        before.filter(|before| *before != named.digest()).cloned()
    }

    /// Commits what was written, or gives it up.
    async fn end(self, attempt: Result<Attempt>, cancel: &CancellationToken) -> Result<Pushed> {
        match attempt {
            Ok(Attempt { pushed, wrote: false, .. }) => Ok(pushed),
            Ok(Attempt { pushed, .. }) => self.commit(cancel).await.map(|()| pushed),
            Err(error) => {
                self.destination.abandon().await;
                let late = error.kind() == Kind::Cancelled && self.gate.may_have_changed().await;
                Err(if late { error.hint(CANCELLED_LATE) } else { error })
            }
        }
    }

    /// Waiting and copying can be interrupted, the step that makes the image visible can't.
    async fn commit(self, cancel: &CancellationToken) -> Result<()> {
        let failed = |error: Error| error.during("committing the image").on(Side::Destination);
        // A name that has changed by now stays so, whether that is still wanted or not.
        if self.gate.may_have_changed().await {
            return self.destination.commit().await.map_err(failed);
        }
        let prepare = async { self.destination.prepare().await.map_err(failed) };
        let commit = until(cancel, prepare).await?;
        self.gate.pass().await?;
        commit.await.map_err(failed)
    }

    fn copy<'b>(&'b self, state: &'b CopyState) -> Copy<'b> {
        Copy {
            source: self.source.as_ref(),
            destination: self.destination.as_ref(),
            mount_from: self.mount_from(),
            verify_source: self.options.verify_source,
            retry: self.options.retry,
            verify_after_push: self.options.verify_after_push,
            pace: &self.options.pace,
            progress: self.progress,
            state,
            doubt: Doubt::None,
            companion: self.companion,
            origin: self.origin(),
        }
    }

    /// The repository that the source is read from or named by, if it is another one on the destination's registry. What is
    /// read from a mirror elsewhere may be there all the same; if it isn't, the registry refuses the mount.
    fn mount_from(&self) -> Option<&Repository> {
        let destination = self.options.destination.reference.repository()?;
        let named = self.options.source.reference.repository();
        self.read_from.as_ref().into_iter().chain(named).find(|source| {
            source.registry == destination.registry && source.path != destination.path
        })
    }

    async fn tree_and_choices(&self) -> Result<(&Tree, Vec<FormatChoice>)> {
        let selection = select(&self.named, &self.options.platforms)?;
        self.check_index(&selection)?;
        let tree = self.origin().tree().await?;
        self.check_layers()?;
        let choices = format_choices(tree, self.options.format, &self.wants);
        Ok((tree, choices.map_err(|error| error.on(Side::Destination))?))
    }

    /// Whether the destination has the very bytes that the source has, and nothing else was asked for.
    fn is_same_as_source(&self) -> bool {
        let same = self.current.as_ref().is_some_and(|now| now.digest == *self.named.digest());
        // Of an index, the images may be in another format.
        let is_index = self.named.as_index().is_some();
        let format =
            self.options.format.is_none_or(|format| format == self.named.format() && !is_index);
        let layers = !matches!(self.options.layers, Layers::Compress(_));
        let selection = select(&self.named, &self.options.platforms);
        let whole = matches!(selection, Ok(Selection::Whole));
        same && format && layers && whole
    }

    /// Whether the destination has the image that would be written.
    ///
    /// Where configs tell images apart, that is known even if layers would have to be rewritten to know the manifest.
    fn has(&self, plan: &Plan) -> bool {
        let Some(current) = &self.current else { return false };
        match self.wants.capabilities.identity {
            ImageIdentity::Manifest => {
                plan.exact.as_ref().is_some_and(|exact| current.digest == *exact.digest())
            }
            ImageIdentity::Config => {
                let config = plan.source.as_image().map(|image| &image.config.digest);
                config.is_some() && current.config.as_ref() == config
            }
        }
    }

    fn first_plan(&self, tree: &Tree, choices: &[FormatChoice]) -> Result<Plan> {
        match choices.first() {
            Some(first) => self.plan(tree, *first),
            None => Err(Error::internal("no format of manifests is left")),
        }
    }

    fn announce(&self, plan: &Plan) {
        let mut sizes = std::collections::HashMap::new();
        for (_, image, _) in plan.images() {
            sizes.extend(image.blobs().map(|blob| (blob.digest.clone(), blob.size)));
        }
        // Nothing of this has been verified yet: the sizes may be absurd.
        let bytes = sizes.values().fold(0u64, |sum, size| sum.saturating_add(*size));
        let blobs = sizes.len() as u64;
        self.progress.event(Event::Planned { blobs, bytes });
    }
}

fn descriptor(current: &Current) -> Descriptor {
    let Current { digest, media_type, size, config: _ } = current;
    Descriptor::new(media_type.clone(), digest.clone(), *size)
}
