//! Headers of archive members: ustar, with no owner, no time, and nothing else that differs from run to run.
//!
//! Pure. What ustar can't say is said the way most readers know: sizes from 8 GiB in base 256, as GNU tar writes
//! them, and names from 101 bytes in an extended header (pax).

use tar_core::builder::PaxBuilder;
use tar_core::{EntryType, HEADER_SIZE, Header, HeaderError};

use crate::error::{Error, Result};

/// Longest name or link target in a header.
const MAX_NAME: usize = 100;

/// First size that has no room in a header as octal digits.
const OCTAL_LIMIT: u64 = 1 << 33;

/// What a member is.
#[derive(Debug)]
pub(crate) enum Kind<'a> {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// Length of its body in bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// What it points to.
        target: &'a str,
    },
}

/// The header of a member: one block, or several if its name is long.
pub(super) fn header(name: &str, kind: &Kind<'_>) -> Result<Vec<u8>> {
    // Readers of old know directories by this slash only.
    let name = &match kind {
        Kind::Directory => format!("{name}/"),
        Kind::File { .. } | Kind::Symlink { .. } => name.to_owned(),
    };
    let failed =
        |cause| Error::internal(format!("member `{name}` has no place in an archive: {cause}"));
    let mut bytes = Vec::with_capacity(HEADER_SIZE);
    if name.len() > MAX_NAME {
        let mut records = PaxBuilder::new();
        records.path(name.as_bytes());
        let records = records.finish();
        let extended = block("././@PaxHeader", EntryType::XHeader, 0o644, records.len() as u64, "");
        bytes.extend_from_slice(extended.map_err(failed)?.as_bytes());
        bytes.extend_from_slice(&records);
        bytes.resize(bytes.len().next_multiple_of(HEADER_SIZE), 0);
    }
    let short = name.get(..name.floor_char_boundary(MAX_NAME)).unwrap_or(name);
    let own = match *kind {
        Kind::Directory => block(short, EntryType::Directory, 0o755, 0, ""),
        Kind::File { mode, size } => block(short, EntryType::Regular, mode, size, ""),
        Kind::Symlink { target } => block(short, EntryType::Symlink, 0o777, 0, target),
    };
    bytes.extend_from_slice(own.map_err(failed)?.as_bytes());
    Ok(bytes)
}

fn block(
    name: &str,
    entry: EntryType,
    mode: u32,
    size: u64,
    link: &str,
) -> Result<Header, HeaderError> {
    let mut header = if size < OCTAL_LIMIT { Header::new_ustar() } else { Header::new_gnu() };
    header.set_path(name.as_bytes())?;
    header.set_entry_type(entry);
    header.set_mode(mode)?;
    header.set_uid(0)?;
    header.set_gid(0)?;
    header.set_mtime(0)?;
    header.set_size(size)?;
    header.set_link_name(link.as_bytes())?;
    header.set_checksum();
    Ok(header)
}
