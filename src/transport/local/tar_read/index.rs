//! The members of an uncompressed tar file, found by reading its headers only.
//!
//! Nothing is unpacked and no name ever reaches the file system: a name is a key of a map. What readers of tar are known
//! to disagree about (two members of one name, sizes that differ between headers, bodies of links, sparse files) is
//! refused, so that an archive means the same to us as to every other reader.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use tar_core::parse::{Limits, ParseError, ParseEvent, ParsedEntry, Parser};
use tar_core::{EntryType, HEADER_SIZE, PaxExtensions};

use super::name;
use crate::error::Kind;
use crate::limits::{MAX_ARCHIVE_MEMBERS, MAX_ARCHIVE_NAMES, MAX_TAR_METADATA, MAX_TAR_NAME};

/// Members by their normalised names.
pub(super) type Members = BTreeMap<String, Member>;

/// What stands under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Member {
    /// A regular file.
    File(Extent),
    /// A symbolic link to this member, which need not exist.
    Link(String),
}

/// Where the body of a member stands in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Offset of its first byte.
    pub(crate) offset: u64,
    /// Its length in bytes.
    pub(crate) size: u64,
}

/// Most bytes of headers read for one member: the extended ones, and what pads and surrounds them.
const MAX_HEADERS: usize = 2 * MAX_TAR_METADATA as usize;

/// Why an archive isn't read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
    #[error("it is empty")]
    Empty,
    #[error("it is not a tar archive")]
    NotTar,
    #[error("the header at byte {offset} is damaged: {cause}")]
    Header { offset: u64, cause: ParseError },
    #[error("the headers at byte {0} have no end within {MAX_HEADERS} bytes")]
    Headers(u64),
    #[error("it is truncated: it ends at byte {0}, without an end marker")]
    NoEnd(u64),
    #[error("it is truncated: it ends at byte {length}, in the middle of member `{name}`")]
    Cut { name: String, length: u64 },
    #[error("member `{name}` {reason}")]
    Member { name: String, reason: &'static str },
    #[error("a header for all members changes their `{0}`")]
    Global(String),
    #[error("it has more than {MAX_ARCHIVE_MEMBERS} members")]
    TooMany,
    #[error("the names of its members have more than {MAX_ARCHIVE_NAMES} bytes")]
    LongNames,
}

// === impl Fault ===

impl Fault {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Io(_) => Kind::StorageFailed,
            Self::TooMany | Self::LongNames | Self::Headers(_) => Kind::LimitExceeded,
            _ => Kind::InvalidImage,
        }
    }

    fn member(name: &str, reason: &'static str) -> Self {
        Self::Member { name: name.to_owned(), reason }
    }
}

/// Finds every member of a tar file of `length` bytes. Reads files; blocks.
pub(super) fn index(file: &File, length: u64) -> Result<Members, Fault> {
    if length == 0 {
        return Err(Fault::Empty);
    }
    let limits = Limits {
        max_metadata_size: MAX_TAR_METADATA,
        max_path_len: Some(MAX_TAR_NAME),
        ..Limits::default()
    };
    let mut walk = Walk {
        file,
        length,
        offset: 0,
        buffer: Vec::with_capacity(2 * HEADER_SIZE),
        found: Found::default(),
    };
    let mut parser = Parser::new(limits);
    while walk.step(&mut parser)? {}
    Ok(walk.found.members)
}

struct Walk<'a> {
    file: &'a File,
    length: u64,
    offset: u64,
    /// The headers at `offset`.
    buffer: Vec<u8>,
    found: Found,
}

#[derive(Default)]
struct Found {
    members: Members,
    count: usize,
    name_bytes: usize,
}

/// What a step of the parser came to, freed from the buffer.
enum Step {
    More(usize),
    Skip(u64),
    End,
}

// === impl Walk ===

impl Walk<'_> {
    /// Reads one member's headers and goes past its body; `false` at the end.
    fn step(&mut self, parser: &mut Parser) -> Result<bool, Fault> {
        self.buffer.clear();
        let mut wanted = HEADER_SIZE;
        loop {
            self.fill(wanted)?;
            let start = self.offset;
            let event = parser.parse(&self.buffer).map_err(|cause| match start {
                0 => Fault::NotTar,
                offset => Fault::Header { offset, cause },
            })?;
            match self.found.take(event, start, self.length)? {
                // The parser asks again and again for what it has if the map of a sparse file doesn't end there.
                Step::More(least) if least > MAX_HEADERS || least <= self.buffer.len() => {
                    return Err(Fault::Headers(start));
                }
                Step::More(least) => wanted = least,
                Step::Skip(bytes) => {
                    self.offset += bytes;
                    return Ok(true);
                }
                Step::End => return Ok(false),
            }
        }
    }

    /// Reads up to `wanted` bytes of headers; the end of the file before that is the end of a torso.
    fn fill(&mut self, wanted: usize) -> Result<(), Fault> {
        let have = self.buffer.len();
        if self.length.saturating_sub(self.offset) < wanted as u64 {
            return Err(if self.offset == 0 { Fault::NotTar } else { Fault::NoEnd(self.length) });
        }
        self.buffer.resize(wanted, 0);
        self.file.read_exact_at(&mut self.buffer[have..], self.offset + have as u64)?;
        Ok(())
    }
}

// === impl Found ===

impl Found {
    fn take(&mut self, event: ParseEvent<'_>, start: u64, length: u64) -> Result<Step, Fault> {
        match event {
            ParseEvent::NeedData { min_bytes } => Ok(Step::More(min_bytes)),
            ParseEvent::End { .. } => Ok(Step::End),
            ParseEvent::GlobalExtensions { consumed, pax_data } => {
                self.one_more(0)?;
                check_global(pax_data)?;
                Ok(Step::Skip(consumed as u64))
            }
            ParseEvent::SparseEntry { entry, .. } => {
                Err(Fault::member(&entry.path_lossy(), "is a sparse file"))
            }
            ParseEvent::Entry { consumed, entry } => {
                self.entry(&entry, start + consumed as u64, length)?;
                Ok(Step::Skip((consumed as u64).saturating_add(entry.padded_size())))
            }
        }
    }

    fn entry(&mut self, entry: &ParsedEntry<'_>, offset: u64, length: u64) -> Result<(), Fault> {
        self.one_more(entry.path.len())?;
        let shown = entry.path_lossy();
        let fault = |reason| Fault::member(&shown, reason);
        let name = name::normalise(&entry.path).map_err(fault)?;
        check_size(entry).map_err(fault)?;
        let body = length.saturating_sub(offset);
        if entry.size.checked_next_multiple_of(HEADER_SIZE as u64).is_none_or(|size| size > body) {
            return Err(Fault::Cut { name: shown.into_owned(), length });
        }
        let member = match entry.entry_type {
            _ if entry.is_file() && entry.path.ends_with(b"/") => return Ok(()),
            EntryType::Directory => return Ok(()),
            EntryType::Regular | EntryType::Continuous => {
                Member::File(Extent { offset, size: entry.size })
            }
            EntryType::Symlink => {
                let target = entry.link_target.as_deref().unwrap_or_default();
                Member::Link(name::resolve(&name, target).map_err(fault)?)
            }
            EntryType::Link => return Err(fault("is a hard link")),
            _ => return Err(fault("is neither a file, a directory nor a symbolic link")),
        };
        if name.is_empty() {
            return Err(fault("has no name"));
        }
        match self.members.insert(name, member) {
            None => Ok(()),
            Some(_) => Err(fault("occurs twice")),
        }
    }

    fn one_more(&mut self, name_bytes: usize) -> Result<(), Fault> {
        self.count += 1;
        self.name_bytes += name_bytes;
        if self.count > MAX_ARCHIVE_MEMBERS {
            return Err(Fault::TooMany);
        }
        if self.name_bytes > MAX_ARCHIVE_NAMES { Err(Fault::LongNames) } else { Ok(()) }
    }
}

/// Sizes that another reader may take for different ones hide members from it, or show it more.
fn check_size(entry: &ParsedEntry<'_>) -> Result<(), &'static str> {
    if !entry.is_file() && entry.entry_type != EntryType::Continuous && entry.size != 0 {
        return Err("has a body, though it is not a file");
    }
    // Writers leave the header's field at zero when the size stands in the extended header only.
    let in_header = entry.header.entry_size().unwrap_or_default();
    if in_header != 0 && in_header != entry.size {
        return Err("has two different sizes");
    }
    Ok(())
}

/// A header for all members that follow may be a comment; other readers would apply anything else to each of them.
fn check_global(pax: &[u8]) -> Result<(), Fault> {
    for extension in PaxExtensions::new(pax) {
        let Ok(extension) = extension else {
            return Err(Fault::Global("attributes".to_owned()));
        };
        let key = String::from_utf8_lossy(extension.key_bytes()).into_owned();
        if ["path", "linkpath", "size"].contains(&key.as_str()) || key.starts_with("GNU.sparse.") {
            return Err(Fault::Global(key));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
