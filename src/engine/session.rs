//! One push from its first request to its commit.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::copy::{Copy, CopyState};
use super::plan::{FormatChoice, Plan, Tree, Wants, format_choices, plan};
use super::progress::{Event, NoProgress, Progress};
use super::retry::retry;
use super::tree::{Reader, Selection, select};
use super::{BlobCounts, Preview, PreviewBlob, PreviewImage, Pushed, PushedManifest};
use crate::error::{Error, Kind, Result, Side};
use crate::image::{Digest, Manifest};
use crate::options::{Layers, PushOptions};
use crate::transport::{
    Current, ImageDestination, ImageIdentity, ImageSource, LayerForm, Repository, Role,
};

/// Both ends, and what has been learnt of them with the first requests.
struct Session<'a> {
    options: &'a PushOptions,
    progress: &'a Arc<dyn Progress>,
    source: Box<dyn ImageSource>,
    destination: Box<dyn ImageDestination>,
    wants: Wants,
    named: Manifest,
    current: Option<Current>,
}

/// See [`super::push`].
pub(super) async fn push(
    options: &PushOptions,
    progress: &Arc<dyn Progress>,
    cancel: &CancellationToken,
) -> Result<Pushed> {
    let session = until(cancel, open(options, progress)).await?;
    if session.is_same_as_source() {
        return Ok(session.present(None, &session.named));
    }
    let (tree, choices) = until(cancel, session.tree_and_choices()).await?;
    let state = CopyState::new();
    let mut rejected = None;
    for choice in choices {
        let plan = plan(&tree, choice, &session.wants)?;
        if session.has(&plan) {
            return Ok(session.present(Some(&plan), plan.exact.as_ref().unwrap_or(&plan.source)));
        }
        match session.attempt(&state, &plan, cancel).await {
            Ok(pushed) => return session.commit().await.map(|()| pushed),
            Err(error) if error.kind() == Kind::ManifestRejected => {
                tracing::info!(%error, "the destination rejects this format of manifests");
                rejected.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(rejected.unwrap_or_else(|| Error::internal("no format of manifests was tried")))
}

/// See [`super::preview`].
pub(super) async fn preview(options: &PushOptions, cancel: &CancellationToken) -> Result<Preview> {
    let progress: Arc<dyn Progress> = Arc::new(NoProgress);
    let preview = async {
        let session = open(options, &progress).await?;
        let (tree, choices) = session.tree_and_choices().await?;
        let plan = session.first_plan(&tree, &choices)?;
        Ok(session.preview_of(&plan))
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
    progress: &'a Arc<dyn Progress>,
) -> Result<Session<'a>> {
    let (source, destination) = (&options.source, &options.destination);
    let read_source = async {
        let opened = source.reference.source(&source.access).await;
        let opened = opened.map_err(|error| error.on(Side::Source))?;
        let reader = Reader {
            source: opened.as_ref(),
            pinned: source.reference.digest(),
            retry: options.retry,
            progress: progress.as_ref(),
        };
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
    Ok(Session { options, progress, source, destination, wants, named, current })
}

// === impl Session ===

impl Session<'_> {
    /// Copies everything in the plan's formats and puts the named manifest.
    async fn attempt(
        &self,
        state: &CopyState,
        plan: &Plan,
        cancel: &CancellationToken,
    ) -> Result<Pushed> {
        self.announce(plan);
        let copy = self.copy(state);
        let named = until(cancel, copy.copy(plan)).await?;
        self.check_pinned(&named)?;
        // From here on nothing is interrupted: what remains is one request or one rename, and stopping in
        // the middle of it would leave open what the name points to.
        copy.put_manifest(&named, Role::Named).await?;
        Ok(copy.pushed(self.named.digest().clone(), plan, &named))
    }

    async fn commit(self) -> Result<()> {
        let committing = self.destination.commit().await;
        committing.map_err(|error| error.during("committing the image").on(Side::Destination))
    }

    fn copy<'b>(&'b self, state: &'b CopyState) -> Copy<'b> {
        Copy {
            source: self.source.as_ref(),
            destination: self.destination.as_ref(),
            mount_from: self.mount_from(),
            retry: self.options.retry,
            progress: self.progress,
            state,
        }
    }

    /// The source's repository, if it is another one on the destination's registry.
    fn mount_from(&self) -> Option<&Repository> {
        let source = self.options.source.reference.repository()?;
        let destination = self.options.destination.reference.repository()?;
        let other = source.registry == destination.registry && source.path != destination.path;
        other.then_some(source)
    }

    async fn tree_and_choices(&self) -> Result<(Tree, Vec<FormatChoice>)> {
        let selection = select(&self.named, &self.options.platforms)?;
        self.check_index(&selection)?;
        let reader = Reader {
            source: self.source.as_ref(),
            pinned: self.options.source.reference.digest(),
            retry: self.options.retry,
            progress: self.progress.as_ref(),
        };
        let tree = reader.tree(self.named.clone(), &selection).await?;
        self.check_layers()?;
        let choices = format_choices(&tree, self.options.format, &self.wants);
        Ok((tree, choices.map_err(|error| error.on(Side::Destination))?))
    }

    /// An index can't be pushed to a place that holds single images.
    fn check_index(&self, selection: &Selection) -> Result<()> {
        let index = match selection {
            Selection::Whole => self.named.as_index().is_some(),
            Selection::Instance(entry) => entry.media_type.is_index(),
            Selection::Subset(_) => true,
        };
        if !index || self.wants.capabilities.index {
            return Ok(());
        }
        let name = self.options.destination.reference.transport().name();
        Err(Error::new(
            Kind::TransportUnsupported,
            format!("`{name}` cannot hold an index of images"),
        )
        .on(Side::Destination)
        .hint("choose one platform, as in `--platform linux/amd64`"))
    }

    /// Asking for compressed layers where none can be is a contradiction, not a wish to ignore.
    fn check_layers(&self) -> Result<()> {
        let impossible = self.wants.capabilities.layers == LayerForm::Uncompressed
            && matches!(self.options.layers, Layers::Compress(_));
        if !impossible {
            return Ok(());
        }
        let name = self.options.destination.reference.transport().name();
        Err(Error::new(Kind::InvalidOptions, format!("`{name}` holds uncompressed layers only"))
            .on(Side::Destination)
            .hint("leave the compression format out"))
    }

    /// Whether the destination has the very bytes that the source has, and nothing else was asked for.
    fn is_same_as_source(&self) -> bool {
        let same = self.current.as_ref().is_some_and(|now| now.digest == *self.named.digest());
        let format = self.options.format.is_none_or(|format| format == self.named.format());
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
        let Some(first) = choices.first() else {
            return Err(Error::internal("no format of manifests is left"));
        };
        plan(tree, *first, &self.wants)
    }

    fn check_pinned(&self, named: &Manifest) -> Result<()> {
        match self.options.destination.reference.digest() {
            Some(pinned) if pinned != named.digest() => {
                let actual = named.digest();
                let message = format!(
                    "the image has the digest `{actual}`, but the destination names `{pinned}`"
                );
                Err(Error::new(Kind::InvalidOptions, message)
                    .on(Side::Destination)
                    .hint("name the destination by a tag"))
            }
            _ => Ok(()),
        }
    }

    fn announce(&self, plan: &Plan) {
        let mut sizes = std::collections::HashMap::new();
        for (_, image, _) in plan.images() {
            sizes.extend(image.blobs().map(|blob| (blob.digest.clone(), blob.size)));
        }
        let (blobs, bytes) = (sizes.len() as u64, sizes.values().sum());
        self.progress.event(Event::Planned { blobs, bytes });
    }

    fn present(&self, plan: Option<&Plan>, manifest: &Manifest) -> Pushed {
        let now = self.current.as_ref();
        Pushed {
            source_digest: self.named.digest().clone(),
            digest: now.map_or(manifest.digest(), |now| &now.digest).clone(),
            media_type: now.map_or(manifest.media_type(), |now| &now.media_type).clone(),
            // Of an image that is known by its config, the sizes there are not those of the source's layers.
            size_bytes: match now {
                Some(now) if now.digest != *manifest.digest() => None,
                _ => size_of(plan, manifest),
            },
            manifests: present_manifests(plan, manifest, now),
            blobs: BlobCounts::default(),
            bytes_sent: 0,
            already_present: true,
        }
    }

    fn preview_of(&self, plan: &Plan) -> Preview {
        let image = |(plan, image, actions): (
            &Plan,
            &crate::image::ImageManifest,
            &[super::plan::LayerAction],
        )| {
            let layers =
                image.layers.iter().zip(actions).map(|(layer, action)| (layer, action.as_str()));
            let blobs = layers.chain([(&image.config, "keep")]).map(|(blob, action)| PreviewBlob {
                digest: blob.digest.clone(),
                size_bytes: blob.size,
                action,
            });
            PreviewImage {
                source_digest: plan.source.digest().clone(),
                platform: plan.platform.clone(),
                blobs: blobs.collect(),
            }
        };
        let index = plan.source.as_index().is_some();
        let media_type = if index { plan.format.index_type() } else { plan.format.manifest_type() };
        Preview {
            source_digest: self.named.digest().clone(),
            digest: plan.exact.as_ref().map(|exact| exact.digest().clone()),
            media_type,
            already_present: self.is_same_as_source() || self.has(plan),
            images: plan.images().into_iter().map(image).collect(),
        }
    }
}

/// Sizes of a manifest and all below it, as far as these were read.
fn size_of(plan: Option<&Plan>, manifest: &Manifest) -> Option<u64> {
    let own = manifest.bytes().len() as u64;
    let images: Vec<_> = match (plan, manifest.as_image()) {
        (_, Some(image)) => vec![image],
        (Some(plan), None) => plan.images().into_iter().map(|(_, image, _)| image).collect(),
        (None, None) => return None,
    };
    let blobs: std::collections::HashMap<&Digest, u64> = images
        .iter()
        .flat_map(|image| image.blobs())
        .map(|blob| (&blob.digest, blob.size))
        .collect();
    let entries =
        manifest.as_index().map_or(0, |index| index.manifests.iter().map(|entry| entry.size).sum());
    Some(own + entries + blobs.values().sum::<u64>())
}

fn present_manifests(
    plan: Option<&Plan>,
    manifest: &Manifest,
    now: Option<&Current>,
) -> Vec<PushedManifest> {
    match manifest.as_index() {
        Some(index) => {
            let entry = |entry: &crate::image::Descriptor| PushedManifest {
                digest: entry.digest.clone(),
                platform: entry.platform.clone(),
                size_bytes: entry.size,
            };
            index.manifests.iter().map(entry).collect()
        }
        None => vec![PushedManifest {
            digest: now.map_or(manifest.digest(), |now| &now.digest).clone(),
            platform: plan.and_then(|plan| plan.platform.clone()),
            size_bytes: now.map_or(manifest.bytes().len() as u64, |now| now.size),
        }],
    }
}
