//! Names of images in Docker archives: `FILE[:NAME:TAG|:@INDEX]`.
//!
//! The file's name ends at the first colon. A place (`@INDEX`, from 0 on) names an image for reading only.

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;

use super::DockerArchive;
use super::destination::DockerArchiveDestination;
use super::name::TaggedName;
use super::source::DockerArchiveSource;
use crate::access::Access;
use crate::error::{Error, Kind, Result};
use crate::transport::local::UserPath;
use crate::transport::{ImageDestination, ImageReference, ImageSource, Transport};

/// An image in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DockerArchiveReference {
    path: PathBuf,
    selector: Option<Selector>,
}

/// What tells the image from the others in its archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selector {
    /// Its name.
    Name(TaggedName),
    /// Its place, from 0 on.
    Index(usize),
}

// === impl DockerArchiveReference ===

impl DockerArchiveReference {
    pub(super) fn parse(details: &str) -> Result<Self> {
        let invalid = |message: String| Error::new(Kind::InvalidReference, message);
        let (path, rest) = match details.split_once(':') {
            Some((path, rest)) => (path, Some(rest)),
            None => (details, None),
        };
        if path.is_empty() {
            return Err(invalid("there is no file name".to_owned()));
        }
        if path.contains('\0') {
            return Err(invalid("the file name has a zero byte".to_owned()));
        }
        let selector = rest.map(Selector::parse).transpose().map_err(invalid)?;
        Ok(Self { path: path.into(), selector })
    }

    fn doing(&self, verb: &'static str) -> impl Fn(Error) -> Error {
        let what = format!("{verb} `{self}`");
        move |error| error.doing(what.clone())
    }
}

#[async_trait]
impl ImageReference for DockerArchiveReference {
    fn transport(&self) -> &'static dyn Transport {
        &DockerArchive
    }

    async fn source(&self, access: &Access) -> Result<Box<dyn ImageSource>> {
        let source =
            DockerArchiveSource::open(&UserPath::new(&self.path, access), self.selector.as_ref())
                .await;
        Ok(Box::new(source.map_err(self.doing("opening"))?))
    }

    async fn destination(&self, access: &Access) -> Result<Box<dyn ImageDestination>> {
        let name = match &self.selector {
            None => None,
            Some(Selector::Name(name)) => Some(name.clone()),
            Some(Selector::Index(index)) => {
                let message =
                    format!("`@{index}` names an image by its place, which is for reading only");
                return Err(Error::new(Kind::InvalidReference, message)
                    .doing(format!("opening `{self}`"))
                    .hint("give the image a name and a tag instead"));
            }
        };
        let destination =
            DockerArchiveDestination::open(UserPath::new(&self.path, access), name).await;
        Ok(Box::new(destination.map_err(self.doing("opening"))?))
    }
}

impl fmt::Display for DockerArchiveReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docker-archive:{}", self.path.display())?;
        match &self.selector {
            None => Ok(()),
            Some(Selector::Name(name)) => write!(f, ":{name}"),
            Some(Selector::Index(index)) => write!(f, ":@{index}"),
        }
    }
}

// === impl Selector ===

impl Selector {
    fn parse(text: &str) -> Result<Self, String> {
        let Some(index) = text.strip_prefix('@') else {
            return TaggedName::parse(text).map(Self::Name);
        };
        let digits = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
        match index.parse() {
            Ok(index) if digits => Ok(Self::Index(index)),
            _ => Err(format!("`{text}` is not the place of an image, which is a number from 0 on")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_parses_to_the_same() {
        let cases = [
            ("a.tar", "docker-archive:a.tar"),
            ("/d/a.tar:busybox", "docker-archive:/d/a.tar:docker.io/library/busybox:latest"),
            ("a.tar:r.io:5000/a:1", "docker-archive:a.tar:r.io:5000/a:1"),
            ("a.tar:@3", "docker-archive:a.tar:@3"),
            ("a.tar:@007", "docker-archive:a.tar:@7"),
        ];
        for (details, printed) in cases {
            let reference = DockerArchiveReference::parse(details).unwrap();
            assert_eq!(reference.to_string(), printed);
            let details = printed.strip_prefix("docker-archive:").unwrap();
            assert_eq!(DockerArchiveReference::parse(details).unwrap(), reference);
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let pinned = format!("a.tar:busybox@sha256:{}", "ab".repeat(32));
        let cases = [
            ("", "there is no file name".to_owned()),
            (":busybox", "there is no file name".to_owned()),
            ("a\0", "the file name has a zero byte".to_owned()),
            ("a.tar:", "`` is not a name of an image".to_owned()),
            ("a.tar:@", "`@` is not the place of an image, which is a number from 0 on".to_owned()),
            (
                "a.tar:@-1",
                "`@-1` is not the place of an image, which is a number from 0 on".to_owned(),
            ),
            (
                "a.tar:@+1",
                "`@+1` is not the place of an image, which is a number from 0 on".to_owned(),
            ),
            (
                "a.tar:@x",
                "`@x` is not the place of an image, which is a number from 0 on".to_owned(),
            ),
            (
                &pinned,
                format!(
                    "`{}` has a digest, and a Docker archive knows its images by tag",
                    &pinned["a.tar:".len()..]
                ),
            ),
        ];
        for (details, message) in cases {
            let error = DockerArchiveReference::parse(details).unwrap_err();
            assert_eq!((error.to_string(), error.exit_code()), (message, 2));
        }
    }
}
