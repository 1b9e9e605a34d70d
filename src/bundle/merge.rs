//! The folder as a container would see it: the layers' views laid over each other.
//!
//! Pure. Views are given from the top down, and no more of them than it takes: who gives them stops as soon as lower
//! layers can't change anything.

use std::collections::BTreeMap;

use super::layer::{Item, LayerView};
use crate::error::{Error, Kind, Result};
use crate::limits::MAX_BUNDLE_FILES;

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct File {
    /// Its name in the folder.
    pub name: String,
    /// Its content.
    pub content: Vec<u8>,
}

/// Layers, the topmost first, as far as they were given.
#[derive(Debug, Default)]
pub struct Merge {
    items: BTreeMap<String, Item>,
    blocked: Option<&'static str>,
    complete: bool,
}

// === impl Merge ===

impl Merge {
    /// Lays the next lower layer below those that were given. Fails if the layer isn't known.
    pub fn below(&mut self, view: &LayerView) -> Result<()> {
        if self.complete {
            return Ok(());
        }
        if let Some(fault) = &view.fault {
            return Err(Error::new(Kind::InvalidImage, fault.clone()));
        }
        for (name, item) in &view.items {
            self.items.entry(name.clone()).or_insert_with(|| item.clone());
        }
        if self.items.len() > MAX_BUNDLE_FILES {
            let message =
                format!("the layers have more than the limit of {MAX_BUNDLE_FILES} files for it");
            return Err(Error::new(Kind::LimitExceeded, message));
        }
        // What is above a thing that is no folder has made a folder of it.
        self.blocked = view.blocked.filter(|_| self.items.is_empty());
        self.complete = view.hides_below;
        Ok(())
    }

    /// Whether lower layers can't change anything any more.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The files, by name, once all layers were given that matter.
    pub fn into_files(self) -> Result<Vec<File>> {
        if let Some(blocked) = self.blocked.filter(|blocked| *blocked != "no folder") {
            return Err(Error::new(Kind::InvalidImage, format!("the folder is {blocked}")));
        }
        let file = |(name, item)| match item {
            Item::File(content) => Some(Ok(File { name, content })),
            Item::Gone => None,
            Item::Unusable(reason) => {
                Some(Err(Error::new(Kind::InvalidImage, format!("`{name}` {reason}"))))
            }
        };
        self.items.into_iter().filter_map(file).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(items: &[(&str, Item)]) -> LayerView {
        let items = items.iter().map(|(name, item)| ((*name).to_owned(), item.clone()));
        LayerView { items: items.collect(), ..LayerView::default() }
    }

    fn file(content: &str) -> Item {
        Item::File(content.into())
    }

    /// The files of layers, given from the bottom up, as `name=content`.
    fn merged(layers: &[LayerView]) -> std::result::Result<Vec<String>, String> {
        let mut merge = Merge::default();
        for layer in layers.iter().rev() {
            merge.below(layer).map_err(|error| error.to_string())?;
        }
        let files = merge.into_files().map_err(|error| error.to_string())?;
        let shown =
            |file: File| format!("{}={}", file.name, String::from_utf8(file.content).unwrap());
        Ok(files.into_iter().map(shown).collect())
    }

    #[test]
    fn the_topmost_wins() {
        let bottom = view(&[("a.yaml", file("1")), ("b.yaml", file("1"))]);
        let middle = view(&[("a.yaml", file("2")), ("c.yaml", file("2"))]);
        let top = view(&[("b.yaml", Item::Gone)]);
        assert_eq!(merged(&[bottom, middle, top]).unwrap(), ["a.yaml=2", "c.yaml=2"]);
    }

    #[test]
    fn what_is_hidden_may_be_anything() {
        let bad = view(&[("a.yaml", Item::Unusable("is a link".into()))]);
        assert_eq!(merged(std::slice::from_ref(&bad)).unwrap_err(), "`a.yaml` is a link");
        let good = view(&[("a.yaml", file("2"))]);
        assert_eq!(merged(&[bad.clone(), good]).unwrap(), ["a.yaml=2"]);
        let opaque = LayerView { hides_below: true, ..LayerView::default() };
        assert_eq!(merged(&[bad.clone(), opaque]).unwrap(), [""; 0]);
        let unreadable = LayerView::unreadable("it can't be read");
        let hiding = LayerView { hides_below: true, ..view(&[("a.yaml", file("2"))]) };
        assert_eq!(merged(&[unreadable.clone(), hiding]).unwrap(), ["a.yaml=2"]);
        assert_eq!(merged(&[unreadable, bad]).unwrap_err(), "it can't be read");
    }

    #[test]
    fn a_link_in_the_place_of_the_folder_is_an_error() {
        let blocked = |blocked| LayerView {
            hides_below: true,
            blocked: Some(blocked),
            ..LayerView::default()
        };
        let files = view(&[("a.yaml", file("1"))]);
        let link = blocked("a link");
        assert_eq!(merged(&[files.clone(), link.clone()]).unwrap_err(), "the folder is a link");
        assert_eq!(merged(&[files.clone(), blocked("no folder")]).unwrap(), [""; 0]);
        assert_eq!(merged(&[link, files]).unwrap(), ["a.yaml=1"]);
    }
}
