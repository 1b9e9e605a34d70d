//! A way to compress layers, with its level.

use crate::error::{Error, Kind, Result};
use crate::image::Compression;

/// A compression that layers can be written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Codec {
    format: Compression,
    level: i32,
}

impl Codec {
    /// gzip at its usual level: what plain layers are compressed with where the user chose nothing.
    pub const DEFAULT: Self = Self { format: Compression::Gzip, level: 6 };

    /// A compression with a level, or the format's usual level: gzip 1 to 9 (6), zstd 1 to 20 (3).
    pub fn new(format: Compression, level: Option<i32>) -> Result<Self> {
        let (levels, usual) = match format {
            Compression::Gzip => (1..=9, 6),
            Compression::Zstd => (1..=20, 3),
            Compression::None | Compression::Bzip2 | Compression::Xz => {
                let message = format!("layers cannot be compressed with `{format}`");
                return Err(Error::new(Kind::InvalidOptions, message).hint("use gzip or zstd"));
            }
        };
        let level = level.unwrap_or(usual);
        if !levels.contains(&level) {
            let message = format!("compression level {level} is out of range for {format}");
            let hint = format!("use a level from {} to {}", levels.start(), levels.end());
            return Err(Error::new(Kind::InvalidOptions, message).hint(hint));
        }
        Ok(Self { format, level })
    }

    /// The format, gzip or zstd.
    pub fn format(self) -> Compression {
        self.format
    }

    /// The level, in the format's own range.
    pub fn level(self) -> i32 {
        self.level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_checked_before_anything_moves() {
        let cases = [
            (Compression::Gzip, None, Ok(6)),
            (Compression::Zstd, None, Ok(3)),
            (Compression::Zstd, Some(20), Ok(20)),
            (Compression::Gzip, Some(0), Err("compression level 0 is out of range for gzip")),
            (Compression::Gzip, Some(10), Err("compression level 10 is out of range for gzip")),
            (Compression::Zstd, Some(21), Err("compression level 21 is out of range for zstd")),
            (Compression::Xz, None, Err("layers cannot be compressed with `xz`")),
        ];
        for (format, level, expected) in cases {
            let found = Codec::new(format, level).map(Codec::level).map_err(|e| e.to_string());
            assert_eq!(found, expected.map_err(str::to_owned));
        }
    }
}
