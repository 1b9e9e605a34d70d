//! What a push is refused for, by what its ends are and what the user asked for.

use super::Session;
use crate::engine::tree::Selection;
use crate::error::{Error, Kind, Result, Side};
use crate::image::Manifest;
use crate::options::Layers;
use crate::transport::{Current, LayerForm};

impl Session<'_> {
    /// Looks once more at what the name has, if that matters. No transport can make that and the change one step: who comes
    /// between them is overwritten.
    pub(super) async fn still_overwrites(&self, named: &Manifest) -> Result<()> {
        if self.options.overwrites.is_none() {
            return Ok(());
        }
        let current = self.destination.current().await?;
        let written = |now: &Current| now.digest == *named.digest();
        // An attempt of ours may have got through though its answer didn't.
        if current.as_ref().is_some_and(written) {
            return Ok(());
        }
        self.check_overwrites(current.as_ref())
    }

    /// Refuses to give the name something else than what the user knows of.
    pub(super) fn check_overwrites(&self, current: Option<&Current>) -> Result<()> {
        let there = current.map(|current| &current.digest);
        let Some(expected) = self.options.overwrites.as_ref().filter(|it| !it.matches(there))
        else {
            return Ok(());
        };
        let found = there.map_or("nothing".to_owned(), |digest| format!("`{digest}`"));
        let message = format!("the name has {found}, and not {expected}");
        Err(Error::new(Kind::DestinationExists, message).on(Side::Destination).hint(
            "somebody else has changed it: look at what is there, and push again if it may go",
        ))
    }

    /// An index can't be pushed to a place that holds single images.
    pub(super) fn check_index(&self, selection: &Selection) -> Result<()> {
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
    pub(super) fn check_layers(&self) -> Result<()> {
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

    pub(super) fn check_pinned(&self, named: &Manifest) -> Result<()> {
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
}
