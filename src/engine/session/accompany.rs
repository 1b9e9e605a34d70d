//! The turns of a companion for an image that is at the destination already, and that stays as it is.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Attempt, Session, descriptor, open, until};
use crate::engine::companion::{Companion, Motion};
use crate::engine::progress::{NoProgress, Progress};
use crate::engine::{BlobCounts, Preview, Pushed, SourceImage};
use crate::error::{Error, Kind, Result, Side};
use crate::image::Descriptor;
use crate::options::PushOptions;
use crate::transport::Wanted;

/// See [`crate::engine::accompany`].
pub(in crate::engine) async fn accompany(
    options: &PushOptions,
    companion: &dyn Companion,
    progress: &Arc<dyn Progress>,
    wanted: &Wanted,
) -> Result<Pushed> {
    let cancel = wanted.cancel();
    let session = until(cancel, open(options, companion, progress, wanted)).await?;
    let attempt = until(cancel, session.accompany()).await;
    session.end(attempt, cancel).await
}

/// See [`crate::engine::foresee`].
pub(in crate::engine) async fn foresee(
    options: &PushOptions,
    companion: &dyn Companion,
    cancel: &CancellationToken,
) -> Result<Preview> {
    let progress: Arc<dyn Progress> = Arc::new(NoProgress);
    let foresee = async {
        let session = open(options, companion, &progress, &Wanted::until_cancelled(cancel)).await?;
        session.prepare(Motion::Stays).await?;
        let subject = session.subject()?;
        companion.foresee(&session.ends(), Some(&subject)).await?;
        Ok(Preview {
            source: SourceImage::of(&session.named),
            digest: Some(subject.digest),
            media_type: subject.media_type,
            already_present: true,
            images: vec![],
            beside: companion.report(),
        })
    };
    until(cancel, foresee).await
}

impl Session<'_> {
    /// The companion's turns of a push whose image is at the destination, whatever is at the source by now.
    async fn accompany(&self) -> Result<Attempt> {
        // Whether the place can hold it at all is told before what else is missing.
        self.prepare(Motion::Stays).await?;
        let (subject, ends) = (self.subject()?, self.ends());
        self.companion.settle(&ends).await?;
        let wrote = self.companion.attach(&ends, &subject).await?;
        let pushed = Pushed {
            source: SourceImage::of(&self.named),
            digest: subject.digest.clone(),
            media_type: subject.media_type.clone(),
            size_bytes: None,
            manifests: vec![],
            blobs: BlobCounts::default(),
            bytes_sent: 0,
            already_present: true,
            replaced: None,
            beside: self.companion.report(),
        };
        Ok(Attempt { pushed, subject, wrote })
    }

    /// The image that is at the destination.
    fn subject(&self) -> Result<Descriptor> {
        self.current.as_ref().map(descriptor).ok_or_else(|| {
            let name = &self.options.destination.reference;
            let message = format!("`{name}` is not there, so that nothing can be put beside it");
            Error::new(Kind::NotFound, message)
                .on(Side::Destination)
                .hint("push the image first, or together with what belongs to it")
        })
    }
}
