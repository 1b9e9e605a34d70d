//! A list of attachments, gathered page by page within bounds. Pure.

use std::collections::BTreeSet;

use url::Url;

use crate::error::{Error, Kind, Result};
use crate::image::{Descriptor, Digest};
use crate::limits::{MAX_ATTACHMENTS, MAX_PAGES};

/// What the pages so far have brought.
#[derive(Default)]
pub(super) struct Listing {
    pages: BTreeSet<Url>,
    digests: BTreeSet<Digest>,
    entries: Vec<Descriptor>,
}

// === impl Listing ===

impl Listing {
    /// Comes before a page is asked for. Fails if there were enough of them, or this one has been read before.
    pub(super) fn open_page(&mut self, url: &Url) -> Result<()> {
        if self.pages.len() >= MAX_PAGES {
            let message = format!("the list has more than the limit of {MAX_PAGES} pages");
            return Err(Error::new(Kind::LimitExceeded, message));
        }
        if self.pages.insert(url.clone()) { Ok(()) } else { Err(repeats()) }
    }

    /// Adds what stands on a page; `last` says that none follows.
    pub(super) fn add(&mut self, entries: Vec<Descriptor>, last: bool) -> Result<()> {
        let (before, listed) = (self.entries.len(), entries.len());
        let new = |entry: &Descriptor| self.digests.insert(entry.digest.clone());
        self.entries.extend(entries.into_iter().filter(new));
        bounded(self.entries.len())?;
        let nothing_new = listed > 0 && self.entries.len() == before;
        if nothing_new && !last { Err(repeats()) } else { Ok(()) }
    }

    /// Everything found.
    pub(super) fn into_entries(self) -> Vec<Descriptor> {
        self.entries
    }
}

/// Fails if there are more attachments than can be had to one manifest.
pub(super) fn bounded(count: usize) -> Result<()> {
    if count <= MAX_ATTACHMENTS {
        return Ok(());
    }
    let message = format!("the list has more than the limit of {MAX_ATTACHMENTS} attachments");
    Err(Error::new(Kind::LimitExceeded, message))
}

fn repeats() -> Error {
    Error::new(Kind::RegistryUnavailable, "the pages of the list repeat themselves").permanent()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::MediaType;

    fn url(page: usize) -> Url {
        Url::parse(&format!("https://r.example/?page={page}")).unwrap()
    }

    fn entries(numbers: std::ops::Range<usize>) -> Vec<Descriptor> {
        let entry =
            |number: usize| Descriptor::of(MediaType::OCI_MANIFEST, number.to_string().as_bytes());
        numbers.map(entry).collect()
    }

    #[test]
    fn pages_add_up_without_duplicates() {
        let mut listing = Listing::default();
        listing.open_page(&url(1)).unwrap();
        listing.add(entries(0..2), false).unwrap();
        listing.open_page(&url(2)).unwrap();
        listing.add(vec![], false).unwrap();
        listing.open_page(&url(3)).unwrap();
        listing.add(entries(1..3), false).unwrap();
        listing.open_page(&url(4)).unwrap();
        listing.add(entries(0..1), true).unwrap();
        assert_eq!(listing.into_entries(), entries(0..3));
    }

    #[test]
    fn endless_lists_are_refused() {
        let mut listing = Listing::default();
        for page in 0..MAX_PAGES {
            listing.open_page(&url(page)).unwrap();
        }
        let error = listing.open_page(&url(MAX_PAGES)).unwrap_err();
        assert_eq!(error.to_string(), "the list has more than the limit of 100 pages");

        let mut listing = Listing::default();
        listing.open_page(&url(1)).unwrap();
        let error = listing.open_page(&url(1)).unwrap_err();
        assert_eq!(error.to_string(), "the pages of the list repeat themselves");

        let mut listing = Listing::default();
        listing.add(entries(0..1), false).unwrap();
        let error = listing.add(entries(0..1), false).unwrap_err();
        assert_eq!(error.to_string(), "the pages of the list repeat themselves");

        let mut listing = Listing::default();
        listing.add(entries(0..MAX_ATTACHMENTS), false).unwrap();
        let error = listing.add(entries(MAX_ATTACHMENTS..MAX_ATTACHMENTS + 1), true).unwrap_err();
        assert_eq!(error.to_string(), "the list has more than the limit of 1000 attachments");
    }
}
