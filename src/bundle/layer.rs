//! Finds in the tar stream of one layer what it says of the folder with the bundle.
//!
//! No I/O: chunks are fed in as they come by. Nothing is unpacked and no link is followed; of everything outside the folder
//! not even the names are kept. Within a layer the last member of a name counts, as for whoever unpacks it.

use std::collections::BTreeMap;

use tar_core::parse::{Limits, ParseError, ParseEvent, ParsedEntry, Parser};
use tar_core::{EntryType, HEADER_SIZE, PaxExtensions};

use super::folder::{Folder, Place};
use crate::limits::{MAX_BUNDLE, MAX_BUNDLE_FILES, MAX_LAYER_METADATA, MAX_TAR_NAME};

/// Most bytes of headers that are read for one member: the extended ones, and what pads and surrounds them.
const MAX_HEADERS: usize = 2 * MAX_LAYER_METADATA as usize;

/// What a layer says of the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerView {
    /// Whether nothing of the folder in lower layers is to be seen.
    pub(super) hides_below: bool,
    /// Why the folder itself is none: something else has its place, or one above it.
    pub(super) blocked: Option<&'static str>,
    /// Its files by name, and what hides those of lower layers.
    pub(super) items: BTreeMap<String, Item>,
    /// What makes the view useless.
    pub(super) fault: Option<String>,
}

/// What a layer has under a name of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A file with this content.
    File(Vec<u8>),
    /// Nothing that could be read as objects: it was removed, or is a directory.
    Gone,
    /// Something that can't be used, and why.
    Unusable(String),
}

/// Reads the tar stream of a layer.
pub struct LayerReader {
    folder: Folder,
    parser: Parser,
    /// Headers that aren't whole yet.
    headers: Vec<u8>,
    /// How many bytes of them the parser has to see at once.
    needed: usize,
    /// Bytes of the current member's body that are still to come, with its padding.
    body: u64,
    /// How many of them pad it to whole blocks.
    padding: u64,
    current: Option<Collecting>,
    view: LayerView,
    /// Bytes of all files that were collected.
    collected: usize,
    done: bool,
}

/// A file of the folder whose body is coming.
struct Collecting {
    name: String,
    left: u64,
    content: Vec<u8>,
}

/// What a step of the parser came to, freed from the buffer.
enum Step {
    More(usize),
    /// A member whose content has this many bytes.
    Member(u64),
    End,
}

// === impl LayerView ===

impl LayerView {
    /// Whether the layer says anything of the folder.
    pub fn touches(&self) -> bool {
        self.hides_below || self.blocked.is_some() || !self.items.is_empty()
    }

    /// Why it isn't known what the layer says.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// A layer that can't be looked into.
    pub fn unreadable(reason: impl Into<String>) -> Self {
        Self { fault: Some(reason.into()), ..Self::default() }
    }

    /// Bytes that it holds: names, contents and reasons.
    pub fn size(&self) -> usize {
        let size = |item: &Item| match item {
            Item::File(content) => content.len(),
            Item::Gone => 0,
            Item::Unusable(reason) => reason.len(),
        };
        self.items.iter().map(|(name, item)| name.len() + size(item)).sum()
    }
}

// === impl LayerReader ===

impl LayerReader {
    /// A reader that looks for this folder.
    pub fn new(folder: Folder) -> Self {
        let limits = Limits { max_metadata_size: MAX_LAYER_METADATA, ..Limits::default() };
        let mut parser = Parser::new(limits);
        parser.set_allow_empty_path(true);
        // A time before 1970 is no number to it; a size that is none is looked for below.
        parser.set_ignore_pax_errors(true);
        Self {
            folder,
            parser,
            headers: Vec::new(),
            needed: HEADER_SIZE,
            body: 0,
            padding: 0,
            current: None,
            view: LayerView::default(),
            collected: 0,
            done: false,
        }
    }

    /// Takes the next bytes of the uncompressed layer.
    pub fn feed(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() && !self.done {
            chunk = if self.body > 0 { self.feed_body(chunk) } else { self.feed_header(chunk) };
        }
    }

    /// What the layer says, once its last byte has come.
    ///
    /// Nothing need follow the content of the last member: tools that don't finish their archive (umoci 0.4.7 `insert`) leave
    /// out its padding as well as the end marker.
    pub fn finish(mut self) -> LayerView {
        if !self.done && (self.body > self.padding || self.is_within_headers()) {
            self.fail("its tar archive is cut off");
        } else if !self.done {
            self.end_member();
        }
        self.view
    }

    /// Whether more of a member's headers would have to come. A block of zeros is half an end marker.
    fn is_within_headers(&self) -> bool {
        let half_end = self.headers.len() == HEADER_SIZE && self.headers.iter().all(|it| *it == 0);
        !self.headers.is_empty() && !half_end
    }

    /// Whether no more bytes are of interest.
    pub fn is_done(&self) -> bool {
        self.done
    }

    fn feed_body<'a>(&mut self, chunk: &'a [u8]) -> &'a [u8] {
        let length = usize::try_from(self.body).map_or(chunk.len(), |body| body.min(chunk.len()));
        let (own, rest) = chunk.split_at(length);
        self.body -= length as u64;
        if let Some(current) = &mut self.current {
            let wanted = usize::try_from(current.left).map_or(length, |left| left.min(length));
            current.content.extend_from_slice(&own[..wanted]);
            current.left -= wanted as u64;
        }
        if self.body == 0 {
            self.end_member();
        }
        rest
    }

    fn end_member(&mut self) {
        if let Some(Collecting { name, content, .. }) = self.current.take() {
            self.collected += content.len();
            self.set(name, Item::File(content));
        }
    }

    /// Headers come in blocks; the parser says how many bytes it needs to see at once.
    fn feed_header<'a>(&mut self, chunk: &'a [u8]) -> &'a [u8] {
        let missing = self.needed - self.headers.len();
        let (own, rest) = chunk.split_at(missing.min(chunk.len()));
        self.headers.extend_from_slice(own);
        if own.len() == missing {
            self.step();
        }
        rest
    }

    fn step(&mut self) {
        let mut headers = std::mem::take(&mut self.headers);
        let step = match self.parser.parse(&headers) {
            Ok(event) => self.take(event, headers.len()),
            Err(cause) => Err(fault_of(&cause)),
        };
        match step {
            Ok(Step::More(needed)) => {
                self.needed = needed;
                self.headers = headers;
            }
            Ok(Step::Member(content)) => {
                headers.clear();
                let blocks = content.checked_next_multiple_of(HEADER_SIZE as u64);
                let body = blocks.unwrap_or(u64::MAX);
                (self.headers, self.needed) = (headers, HEADER_SIZE);
                (self.body, self.padding) = (body, body - content);
                if body == 0 {
                    self.end_member();
                }
            }
            Ok(Step::End) => self.done = true,
            Err(fault) => self.fail(fault),
        }
    }

    fn take(&mut self, event: ParseEvent<'_>, length: usize) -> Result<Step, String> {
        match event {
            // The parser asks again and again for what it has if the map of a sparse file doesn't end there.
            ParseEvent::NeedData { min_bytes }
                if min_bytes <= length || min_bytes > MAX_HEADERS =>
            {
                Err("its tar archive has headers without an end".into())
            }
            ParseEvent::NeedData { min_bytes } => {
                Ok(Step::More(min_bytes.next_multiple_of(HEADER_SIZE)))
            }
            ParseEvent::End { .. } => Ok(Step::End),
            ParseEvent::GlobalExtensions { pax_data, .. } if changes_members(pax_data) => {
                Err("its tar archive has a header that changes all members".into())
            }
            ParseEvent::GlobalExtensions { .. } => Ok(Step::Member(0)),
            ParseEvent::SparseEntry { entry, .. } => self.member(&entry, true),
            ParseEvent::Entry { entry, .. } => {
                let sparse = entry.pax.is_some_and(is_sparse);
                self.member(&entry, sparse)
            }
        }
    }

    fn member(&mut self, entry: &ParsedEntry<'_>, sparse: bool) -> Result<Step, String> {
        // Readers differ about which of two sizes holds, and so about where the next member is.
        let in_header = entry.header.entry_size().unwrap_or_default();
        if entry.pax.is_some_and(has_no_size) {
            return Err("its tar archive has a member whose size is no number".into());
        }
        if !sparse && in_header != 0 && in_header != entry.size {
            return Err("its tar archive has a member with two different sizes".into());
        }
        let has_body = entry.is_file() || entry.entry_type == EntryType::Continuous || sparse;
        if !has_body && entry.size != 0 {
            return Err("its tar archive has a member with a body that is no file".into());
        }
        let place = self.folder.place(&entry.path);
        let is_directory = entry.is_dir() || (entry.is_file() && entry.path.ends_with(b"/"));
        match place {
            Place::Elsewhere => {}
            Place::Devious => return Err("a member's name leads into the folder by `..`".into()),
            Place::HidesFolder => self.view.hides_below = true,
            Place::Above if is_directory => {}
            Place::Above => self.block(entry.entry_type),
            // What the layer has itself under the name it keeps: only lower layers are hidden from.
            Place::HidesFile(name) if self.view.items.contains_key(&name) => {}
            Place::HidesFile(name) | Place::Below(name) => self.set(name, Item::Gone),
            Place::File(name) if is_directory || entry.path.len() > MAX_TAR_NAME as usize => {
                self.set(name, Item::Gone);
            }
            Place::File(name) => self.file(name, entry, sparse),
        }
        Ok(Step::Member(entry.size))
    }

    fn file(&mut self, name: String, entry: &ParsedEntry<'_>, sparse: bool) {
        let unusable = match entry.entry_type {
            _ if sparse => Some("is a sparse file".to_owned()),
            EntryType::Symlink | EntryType::Link => {
                Some("is a link, and links in an image are not followed".to_owned())
            }
            EntryType::Regular | EntryType::Continuous => self.too_large(entry.size),
            _ => Some("is not a regular file".to_owned()),
        };
        match unusable {
            Some(reason) => self.set(name, Item::Unusable(reason)),
            None => {
                self.current = Some(Collecting { name, left: entry.size, content: Vec::new() });
            }
        }
    }

    fn too_large(&self, size: u64) -> Option<String> {
        let room = (MAX_BUNDLE as u64).saturating_sub(self.collected as u64);
        (size > room).then(|| format!("takes the bundle beyond the limit of {MAX_BUNDLE} bytes"))
    }

    /// Something stands in the place of the folder, or of one above it.
    fn block(&mut self, entry_type: EntryType) {
        self.view.hides_below = true;
        self.view.items.clear();
        self.collected = 0;
        self.view.blocked = Some(match entry_type {
            EntryType::Symlink | EntryType::Link => {
                "a link, and links in an image are not followed"
            }
            _ => "no folder",
        });
    }

    fn set(&mut self, name: String, item: Item) {
        self.view.blocked = None;
        self.view.items.insert(name, item);
        if self.view.items.len() > MAX_BUNDLE_FILES {
            self.fail(format!("the folder has more than the limit of {MAX_BUNDLE_FILES} files"));
        }
    }

    fn fail(&mut self, fault: impl Into<String>) {
        self.done = true;
        self.current = None;
        self.view.fault = Some(fault.into());
    }
}

fn fault_of(cause: &ParseError) -> String {
    format!("its tar archive is damaged: {cause}")
}

/// Whether a header for all members changes more than a comment.
fn changes_members(pax: &[u8]) -> bool {
    PaxExtensions::new(pax).any(|extension| {
        extension.is_ok_and(|extension| {
            let key = extension.key_bytes();
            [&b"path"[..], b"linkpath", b"size"].contains(&key) || key.starts_with(b"GNU.sparse.")
        })
    })
}

/// Whether a header names a size that can't be read.
fn has_no_size(pax: &[u8]) -> bool {
    let unread = |value: &[u8]| {
        std::str::from_utf8(value).ok().is_none_or(|value| value.parse::<u64>().is_err())
    };
    PaxExtensions::new(pax).any(|extension| {
        extension.is_ok_and(|it| it.key_bytes() == b"size" && unread(it.value_bytes()))
    })
}

fn is_sparse(pax: &[u8]) -> bool {
    let sparse = |key: &[u8]| key.starts_with(b"GNU.sparse.");
    PaxExtensions::new(pax).any(|extension| extension.is_ok_and(|it| sparse(it.key_bytes())))
}

#[cfg(test)]
mod tests;
