//! Reads the manifests of a push: the named one, and below an index those that are wanted.
//!
//! Each manifest is fetched once and checked against what pointed to it; everything later works on these very bytes,
//! so a tag that moves during a push changes nothing.

use std::sync::{Mutex, PoisonError};

use futures::future::{BoxFuture, FutureExt as _};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Semaphore;

use super::plan::Tree;
use super::progress::Progress;
use super::retry::retry;
use crate::error::{Error, Kind, Result, Side};
use crate::image::{Descriptor, Digest, Index, Manifest, Platform};
use crate::limits::{MAX_INDEX_DEPTH, MAX_MANIFESTS, MAX_MANIFESTS_SIZE, PARALLEL_INSTANCES};
use crate::options::{Platforms, Retry};
use crate::transport::ImageSource;

/// Reads manifests of one source.
pub(super) struct Reader<'a> {
    source: &'a dyn ImageSource,
    pinned: Option<&'a Digest>,
    retry: Retry,
    progress: &'a dyn Progress,
    budget: Mutex<Budget>,
    /// One for each manifest that is being read, however deep: each may have as many bytes as its descriptor says.
    turns: Semaphore,
}

/// What may still be read below one index. Each index may name the same manifests again: a few small documents could ask
/// for more reading than anybody can do.
struct Budget {
    manifests: usize,
    bytes: u64,
}

/// What is to be pushed of the named manifest.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Selection {
    /// All of it.
    Whole,
    /// This instance of the index.
    Instance(Descriptor),
    /// The index, with these entries only.
    Subset(Index),
}

/// Chooses from the named manifest. One that is no index is pushed as it is.
pub(super) fn select(manifest: &Manifest, platforms: &Platforms) -> Result<Selection> {
    let Some(index) = manifest.as_index() else { return Ok(Selection::Whole) };
    match platforms {
        Platforms::All => Ok(Selection::Whole),
        Platforms::One(platform) => match index.choose(platform) {
            Some(entry) => Ok(Selection::Instance(entry.clone())),
            None => Err(no_platform(index, &platform.to_string())),
        },
        Platforms::List(wanted) => subset(index, wanted),
    }
}

fn subset(index: &Index, wanted: &[Platform]) -> Result<Selection> {
    let listed = |entry: &&Descriptor| {
        let own = entry.platform.as_ref();
        own.is_some_and(|own| wanted.iter().any(|platform| platform.matches(own)))
    };
    let manifests: Vec<Descriptor> = index.manifests.iter().filter(listed).cloned().collect();
    if manifests.is_empty() {
        let names: Vec<String> = wanted.iter().map(Platform::to_string).collect();
        return Err(no_platform(index, &names.join(", ")));
    }
    if manifests.len() == index.manifests.len() {
        return Ok(Selection::Whole);
    }
    Ok(Selection::Subset(Index { manifests, ..index.clone() }))
}

fn no_platform(index: &Index, wanted: &str) -> Error {
    let mut platforms = index.platforms();
    platforms.sort();
    platforms.dedup();
    Error::new(Kind::NotFound, format!("the index has no image for {wanted}"))
        .on(Side::Source)
        .hint(format!("it has images for: {}", platforms.join(", ")))
}

// === impl Reader ===

impl<'a> Reader<'a> {
    /// A reader with a fresh budget. `pinned` is the digest that the source's reference names.
    pub(super) fn new(
        source: &'a dyn ImageSource,
        pinned: Option<&'a Digest>,
        retry: Retry,
        progress: &'a dyn Progress,
    ) -> Self {
        let budget = Budget { manifests: MAX_MANIFESTS, bytes: MAX_MANIFESTS_SIZE };
        let turns = Semaphore::new(PARALLEL_INSTANCES);
        Self { source, pinned, retry, progress, budget: Mutex::new(budget), turns }
    }

    /// Reads the manifest that the reference names.
    pub(super) async fn named(&self) -> Result<Manifest> {
        self.read(None).await
    }

    /// Reads a manifest that an index lists.
    pub(super) async fn instance(&self, entry: &Descriptor) -> Result<Manifest> {
        self.read(Some(entry)).await
    }

    /// Reads what was selected of the named manifest, down to the images.
    pub(super) async fn tree(&self, named: Manifest, selection: &Selection) -> Result<Tree> {
        match selection {
            Selection::Whole => self.below(named, None, 0).await,
            Selection::Instance(entry) => {
                let manifest = self.read(Some(entry)).await?;
                self.below(manifest, entry.platform.clone(), 1).await
            }
            Selection::Subset(index) => {
                let media_type = named.media_type().clone();
                let manifest = Manifest::from_index(index.clone(), media_type);
                self.below(manifest, None, 0).await
            }
        }
    }

    fn below(
        &self,
        manifest: Manifest,
        platform: Option<Platform>,
        depth: usize,
    ) -> BoxFuture<'_, Result<Tree>> {
        async move {
            let Some(index) = manifest.as_index() else {
                return Ok(Tree { manifest, platform, children: vec![] });
            };
            if depth >= MAX_INDEX_DEPTH {
                let message = format!("indexes are nested more than {MAX_INDEX_DEPTH} deep");
                return Err(Error::new(Kind::LimitExceeded, message).on(Side::Source));
            }
            let entries = index.manifests.clone();
            let reads = entries.into_iter().map(|entry| async move {
                let manifest = self.read(Some(&entry)).await?;
                self.below(manifest, entry.platform.clone(), depth + 1).await
            });
            let children = stream::iter(reads).buffered(PARALLEL_INSTANCES).try_collect().await?;
            Ok(Tree { manifest, platform, children })
        }
        .boxed()
    }

    async fn read(&self, instance: Option<&Descriptor>) -> Result<Manifest> {
        if let Some(entry) = instance {
            self.spend(entry.size)?;
        }
        let doing = || match instance {
            Some(entry) => format!("reading manifest `{}`", entry.digest),
            None => "reading the manifest".to_owned(),
        };
        let read = || async {
            // Given back before anything below it is read.
            let _turn = self.turns.acquire().await;
            self.check(self.source.manifest(instance).await?, instance)
        };
        retry(self.retry, self.progress, read)
            .await
            .map_err(|error| error.during(doing()).on(Side::Source))
    }

    fn spend(&self, size: u64) -> Result<()> {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let (manifests, bytes) = (budget.manifests.checked_sub(1), budget.bytes.checked_sub(size));
        let (Some(manifests), Some(bytes)) = (manifests, bytes) else {
            let message = format!(
                "the index leads to more than {MAX_MANIFESTS} manifests or {MAX_MANIFESTS_SIZE} bytes of them"
            );
            return Err(Error::new(Kind::LimitExceeded, message).on(Side::Source));
        };
        *budget = Budget { manifests, bytes };
        Ok(())
    }

    /// Compares a manifest with what pointed to it.
    fn check(&self, manifest: Manifest, instance: Option<&Descriptor>) -> Result<Manifest> {
        let Some(expected) = instance.map(|entry| &entry.digest).or(self.pinned) else {
            return Ok(manifest);
        };
        let manifest = if manifest.digest().algorithm() == expected.algorithm() {
            manifest
        } else {
            let media_type = Some(manifest.media_type());
            Manifest::parse_with(manifest.bytes().clone(), media_type, expected.algorithm())?
        };
        if manifest.digest() != expected {
            let actual = manifest.digest();
            let message = format!("the content has the digest `{actual}` instead of `{expected}`");
            return Err(Error::new(Kind::ContentMismatch, message));
        }
        match instance {
            Some(entry) => check_entry(&manifest, entry).map(|()| manifest),
            None => Ok(manifest),
        }
    }
}

fn check_entry(manifest: &Manifest, entry: &Descriptor) -> Result<()> {
    let size = manifest.bytes().len() as u64;
    if size != entry.size {
        let message = format!("the content has {size} bytes instead of {}", entry.size);
        return Err(Error::new(Kind::ContentMismatch, message));
    }
    if manifest.media_type() != &entry.media_type {
        let (actual, listed) = (manifest.media_type(), entry.media_type.as_str().escape_default());
        let message = format!("the index lists it as `{listed}`, but it is a `{actual}`");
        return Err(Error::new(Kind::ContentMismatch, message));
    }
    Ok(())
}
