//! Content digests: `algorithm:hex`, as the OCI image specification v1.1 defines them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha512};

/// A digest algorithm that this product computes and accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, the algorithm of nearly every image.
    Sha256,
    /// SHA-512, the other registered algorithm.
    Sha512,
}

/// The digest of some bytes: an accepted algorithm and the right number of lower-case hex digits.
///
/// A value of this type is safe as a path segment and in a URL; neither is ever built from a bare string.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    hex: Box<str>,
}

/// A string is not a digest this product accepts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseDigestError {
    /// There is no colon between an algorithm and its hex digits.
    #[error("`{0}` is not a digest of the form `algorithm:hex`")]
    Malformed(String),
    /// The algorithm is not one that is accepted.
    #[error("digest algorithm `{0}` is not supported, only sha256 and sha512 are")]
    Algorithm(String),
    /// The encoded part is not lower-case hex of the algorithm's length.
    #[error("`{digest}` does not have {expected} lower-case hexadecimal digits")]
    Hex {
        /// The digest as it was given.
        digest: String,
        /// How many digits its algorithm asks for.
        expected: usize,
    },
}

/// Computes a digest over bytes that arrive piece by piece.
#[derive(Clone, Debug)]
pub enum Hasher {
    /// State of a SHA-256 computation.
    Sha256(Sha256),
    /// State of a SHA-512 computation; boxed for its size.
    Sha512(Box<Sha512>),
}

/// Longest part of an unparsable digest that an error repeats.
const SHOWN: usize = 160;

// === impl Algorithm ===

impl Algorithm {
    /// The name as it stands before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// How many hexadecimal digits a digest of this algorithm has.
    pub fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512].into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

// === impl Digest ===

impl Digest {
    /// The SHA-256 digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The algorithm before the colon.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hexadecimal digits after the colon.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The first twelve digits, for progress lines.
    pub fn short(&self) -> &str {
        &self.hex[..12]
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let Some((name, hex)) = text.split_once(':') else {
            return Err(ParseDigestError::Malformed(shown(text)));
        };
        let algorithm =
            Algorithm::from_name(name).ok_or_else(|| ParseDigestError::Algorithm(shown(name)))?;
        let well_formed = hex.len() == algorithm.hex_len()
            && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !well_formed {
            return Err(ParseDigestError::Hex {
                digest: shown(text),
                expected: algorithm.hex_len(),
            });
        }
        Ok(Self { algorithm, hex: hex.into() })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

// === impl Hasher ===

impl Hasher {
    /// Starts a computation.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Box::new(Sha512::new())),
        }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(state) => state.update(bytes),
            Self::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of everything added.
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(state) => {
                Digest { algorithm: Algorithm::Sha256, hex: hex::encode(state.finalize()).into() }
            }
            Self::Sha512(state) => {
                Digest { algorithm: Algorithm::Sha512, hex: hex::encode(state.finalize()).into() }
            }
        }
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digests_print_as_they_were_parsed() {
        let sha512 = format!("sha512:{}", "0f".repeat(64));
        for text in [EMPTY, &sha512] {
            assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_an_error_that_names_it() {
        let upper = EMPTY.to_uppercase().replace("SHA256", "sha256");
        let cases = [
            ("", "`` is not a digest of the form `algorithm:hex`"),
            ("latest", "`latest` is not a digest of the form `algorithm:hex`"),
            ("md5:abcd", "digest algorithm `md5` is not supported, only sha256 and sha512 are"),
            (
                "SHA256:abcd",
                "digest algorithm `SHA256` is not supported, only sha256 and sha512 are",
            ),
            (
                "sha256:../../etc/passwd",
                "`sha256:../../etc/passwd` does not have 64 lower-case hexadecimal digits",
            ),
            (&upper, &format!("`{upper}` does not have 64 lower-case hexadecimal digits")),
            (
                &EMPTY.replace("sha256", "sha512"),
                &format!(
                    "`{}` does not have 128 lower-case hexadecimal digits",
                    EMPTY.replace("sha256", "sha512")
                ),
            ),
        ];
        for (text, message) in cases {
            assert_eq!(text.parse::<Digest>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn both_algorithms_agree_with_their_published_vectors() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(b"a");
        hasher.update(b"bc");
        assert!(hasher.finish().hex().starts_with("ddaf35a193617abacc417349ae204131"));
    }
}
