//! Names of images in a Docker archive: a repository and a tag, always in full.
//!
//! Docker's grammar with its defaults: no host means Docker Hub, one component there means `library/`, no tag means
//! `latest`. So `busybox` and `docker.io/library/busybox:latest` are one name, whichever of them an archive holds.

use std::fmt;

use crate::image::ImageName;

/// A name such as `docker.io/library/busybox:latest`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TaggedName {
    /// Host and path.
    pub(super) repository: String,
    pub(super) tag: String,
}

// === impl TaggedName ===

impl TaggedName {
    /// Reads a name in any of its spellings. The error is a sentence about `text`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let malformed = || format!("`{text}` is not a name of an image");
        if is_image_id(text) {
            return Err(malformed());
        }
        let parsed = ImageName::parse(text).map_err(|_| malformed())?;
        match (parsed.tag, parsed.digest) {
            (Some(tag), None) => {
                let repository = format!("{}/{}", parsed.registry, parsed.repository);
                Ok(Self { repository, tag })
            }
            _ => {
                Err(format!("`{text}` has a digest, and a Docker archive knows its images by tag"))
            }
        }
    }
}

impl fmt::Display for TaggedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

/// Docker takes a bare number of this form for the ID of an image.
fn is_image_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_in_all_its_spellings() {
        let cases = [
            ("busybox", "docker.io/library/busybox:latest"),
            ("docker.io/busybox:1", "docker.io/library/busybox:1"),
            ("index.docker.io/library/busybox:1", "docker.io/library/busybox:1"),
            ("user/app:T.a-g", "docker.io/user/app:T.a-g"),
            ("localhost/app", "localhost/app:latest"),
            ("r.io:5000/a/b:1", "r.io:5000/a/b:1"),
        ];
        for (text, printed) in cases {
            let name = TaggedName::parse(text).unwrap();
            assert_eq!(name.to_string(), printed);
            assert_eq!(TaggedName::parse(printed).unwrap(), name);
        }
    }

    #[test]
    fn names_without_a_tag_are_no_names_here() {
        let hex = "ab".repeat(32);
        let pinned = format!("busybox@sha256:{hex}");
        let both = format!("busybox:1@sha256:{hex}");
        let by_tag =
            |text| format!("`{text}` has a digest, and a Docker archive knows its images by tag");
        let malformed = |text| format!("`{text}` is not a name of an image");
        let cases = [
            (pinned.as_str(), by_tag(pinned.as_str())),
            (&both, by_tag(&both)),
            ("", malformed("")),
            ("Upper", malformed("Upper")),
            ("a:é", malformed("a:é")),
            ("a b", malformed("a b")),
            (&hex, malformed(&hex)),
        ];
        for (text, message) in cases {
            assert_eq!(TaggedName::parse(text), Err(message));
        }
    }
}
