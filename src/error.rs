//! The one error type of the product.
//!
//! An error says what we were doing, to which object, on which side; then the cause, once; then, on a
//! line of its own, what to do next. Its kind is the condition reason, event reason, metric label and JSON field.
//! Whether trying again may help is set where the fault is first understood and never guessed from text.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::image::{ConvertError, JsonError, ManifestError, ParseDigestError};

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the words that conditions, events, metrics and JSON use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A reference does not parse.
    InvalidReference,
    /// Options contradict each other, or one has an illegal value.
    InvalidOptions,
    /// The transport, or the destination, can't do what was asked.
    TransportUnsupported,
    /// What the reference names isn't there.
    NotFound,
    /// Bytes are not an image this product can read.
    InvalidImage,
    /// The registry does not accept the credentials, or wants some.
    AuthenticationFailed,
    /// The registry knows us and refuses, or a policy of ours does.
    AccessDenied,
    /// A certificate is unknown, expired or for another name; or one side speaks no TLS.
    TlsVerificationFailed,
    /// Content does not have the digest or size it should have.
    ContentMismatch,
    /// The destination has lost content that a manifest points to.
    ContentMissing,
    /// The registry does not accept the manifest.
    ManifestRejected,
    /// Something from outside is larger than a bound of ours.
    LimitExceeded,
    /// The registry asks to slow down.
    RateLimited,
    /// The registry answers with an error of its own.
    RegistryUnavailable,
    /// The connection can't be made, or breaks.
    NetworkError,
    /// Nothing happened for too long.
    Timeout,
    /// A file or directory can't be read or written.
    StorageFailed,
    /// The destination holds something that is not ours to overwrite.
    DestinationExists,
    /// Objects of the image's bundle, or fields of them, belong to somebody else.
    CustomResourcesConflict,
    /// The image's bundle may not be applied: its kinds, or the rights of who applies, don't allow it.
    CustomResourcesForbidden,
    /// The image's bundle holds what can't be applied.
    CustomResourcesInvalid,
    /// The image carries no bundle, and has to.
    CustomResourcesNotFound,
    /// The image's bundle can't be applied yet, or what was applied does not work yet.
    CustomResourcesPending,
    /// The push was called off.
    Cancelled,
    /// An invariant of ours does not hold.
    InternalError,
}

/// One of the two ends of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Where the image is read.
    Source,
    /// Where the image is written.
    Destination,
}

/// Whether the same attempt may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It will fail again until something else changes.
    Permanent,
    /// It may succeed when tried again.
    Transient,
}

/// An error; see the module's documentation.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Kind,
    class: Class,
    side: Option<Side>,
    /// What we were doing, innermost first.
    doing: Vec<String>,
    message: String,
    hint: Option<String>,
    retry_after: Option<Duration>,
    send_again: bool,
    absence: bool,
    beside: bool,
}

/// ENFILE and EMFILE of Linux, for which the standard library has no names.
const TOO_MANY_OPEN_FILES: [i32; 2] = [23, 24];

/// What to do about them.
pub(crate) const RAISE_LIMIT: &str = "raise the limit of open files (`ulimit -n`)";

/// Whether there are no descriptors left.
pub(crate) fn lacks_descriptors(cause: &io::Error) -> bool {
    cause.raw_os_error().is_some_and(|code| TOO_MANY_OPEN_FILES.contains(&code))
}

// === impl Kind ===

impl Kind {
    /// Every kind, for tests and tables.
    pub const ALL: [Self; 25] = [
        Self::InvalidReference,
        Self::InvalidOptions,
        Self::TransportUnsupported,
        Self::NotFound,
        Self::InvalidImage,
        Self::AuthenticationFailed,
        Self::AccessDenied,
        Self::TlsVerificationFailed,
        Self::ContentMismatch,
        Self::ContentMissing,
        Self::ManifestRejected,
        Self::LimitExceeded,
        Self::RateLimited,
        Self::RegistryUnavailable,
        Self::NetworkError,
        Self::Timeout,
        Self::StorageFailed,
        Self::DestinationExists,
        Self::CustomResourcesConflict,
        Self::CustomResourcesForbidden,
        Self::CustomResourcesInvalid,
        Self::CustomResourcesNotFound,
        Self::CustomResourcesPending,
        Self::Cancelled,
        Self::InternalError,
    ];

    /// The name in conditions, events, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidReference => "InvalidReference",
            Self::InvalidOptions => "InvalidOptions",
            Self::TransportUnsupported => "TransportUnsupported",
            Self::NotFound => "NotFound",
            Self::InvalidImage => "InvalidImage",
            Self::AuthenticationFailed => "AuthenticationFailed",
            Self::AccessDenied => "AccessDenied",
            Self::TlsVerificationFailed => "TLSVerificationFailed",
            Self::ContentMismatch => "ContentMismatch",
            Self::ContentMissing => "ContentMissing",
            Self::ManifestRejected => "ManifestRejected",
            Self::LimitExceeded => "LimitExceeded",
            Self::RateLimited => "RateLimited",
            Self::RegistryUnavailable => "RegistryUnavailable",
            Self::NetworkError => "NetworkError",
            Self::Timeout => "Timeout",
            Self::StorageFailed => "StorageFailed",
            Self::DestinationExists => "DestinationExists",
            Self::CustomResourcesConflict => "CustomResourcesConflict",
            Self::CustomResourcesForbidden => "CustomResourcesForbidden",
            Self::CustomResourcesInvalid => "CustomResourcesInvalid",
            Self::CustomResourcesNotFound => "CustomResourcesNotFound",
            Self::CustomResourcesPending => "CustomResourcesPending",
            Self::Cancelled => "Cancelled",
            Self::InternalError => "InternalError",
        }
    }

    /// The class of an error of this kind, where nothing more is known.
    pub fn class(self) -> Class {
        match self {
            Self::ContentMissing
            | Self::RateLimited
            | Self::RegistryUnavailable
            | Self::NetworkError
            | Self::Timeout
            | Self::CustomResourcesPending => Class::Transient,
            _ => Class::Permanent,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Side ===

impl Side {
    /// The name in messages and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Error ===

impl Error {
    /// An error of this kind, with its kind's class. `message` starts in lower case, has no full stop, and
    /// stands user's values in backticks; it never holds a secret.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            class: kind.class(),
            side: None,
            doing: vec![],
            message: printable(&message.into()),
            hint: None,
            retry_after: None,
            send_again: false,
            absence: false,
            beside: false,
        }))
    }

    /// A fault of a file or directory: `verb` (such as `open`) could not be done to `path`.
    pub fn io(verb: &str, path: &Path, cause: &io::Error) -> Self {
        let kind = match cause.kind() {
            io::ErrorKind::NotFound => Kind::NotFound,
            _ => Kind::StorageFailed,
        };
        // The folder of a relative path without one.
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let error = Self::new(kind, format!("cannot {verb} `{}`: {cause}", path.display()));
        if lacks_descriptors(cause) {
            return error.transient().hint(RAISE_LIMIT);
        }
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                error.transient().hint("make room on the file system, then push again")
            }
            io::ErrorKind::Interrupted | io::ErrorKind::ResourceBusy => error.transient(),
            io::ErrorKind::ReadOnlyFilesystem => {
                error.hint("the file system is mounted read-only; choose another path")
            }
            io::ErrorKind::PermissionDenied => {
                error.hint("check the permissions of the path, and the user this runs as")
            }
            _ => error,
        }
    }

    /// A broken invariant of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::InternalError, message)
            .hint("this is a bug in imagepush; please report it with this text")
    }

    /// The push was called off.
    pub fn cancelled() -> Self {
        Self::new(Kind::Cancelled, "the push was cancelled")
    }

    /// Adds what we were doing; called from the inside outwards. Starts with a verb in -ing.
    #[must_use]
    pub fn doing(mut self, what: impl Into<String>) -> Self {
        self.0.doing.push(printable(&what.into()));
        self
    }

    /// The same, unless an inner place has said what it was doing: it knows better.
    #[must_use]
    pub fn during(self, what: impl Into<String>) -> Self {
        if self.0.doing.is_empty() { self.doing(what) } else { self }
    }

    /// Names the side, unless an inner place has.
    #[must_use]
    pub fn on(mut self, side: Side) -> Self {
        self.0.side.get_or_insert(side);
        self
    }

    /// Adds the next step for the user, unless an inner place knew better.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if self.0.hint.is_none() {
            self.0.hint = Some(printable(&hint.into()));
        }
        self
    }

    /// The same for a next step of several lines, such as an example of a file.
    #[must_use]
    pub fn hint_lines(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        if self.0.hint.is_none() {
            let lines: Vec<_> = lines.into_iter().map(|line| printable(&line)).collect();
            self.0.hint = Some(lines.join("\n"));
        }
        self
    }

    /// Marks the error as one that trying again may cure.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.0.class = Class::Transient;
        self
    }

    /// Marks the error as one that trying again won't cure.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.0.class = Class::Permanent;
        self
    }

    /// How long the other side asks us to wait; makes the error transient.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self.transient()
    }

    /// Marks a refusal that told how to do better: the same may be sent again at once, and that is no retry.
    #[must_use]
    pub fn send_again(mut self) -> Self {
        self.0.send_again = true;
        self
    }

    /// Whether the same may be sent again at once; see [`Error::send_again`].
    pub fn wants_sending_again(&self) -> bool {
        self.0.send_again
    }

    /// The same error as one of another kind, where it is known better what is at fault. Its class stays.
    #[must_use]
    pub fn of_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Marks an answer that is also given for what isn't there: whoever looks for it in several places may look on.
    #[must_use]
    pub fn absence(mut self) -> Self {
        self.0.absence = true;
        self
    }

    /// Whether what was asked for isn't there, for all that is known; see [`Error::absence`].
    pub fn is_absence(&self) -> bool {
        self.0.absence || self.0.kind == Kind::NotFound
    }

    /// Marks a failure of what belongs beside an image that is at the destination.
    #[must_use]
    pub fn beside(mut self) -> Self {
        self.0.beside = true;
        self
    }

    /// Whether the image itself is at the destination; see [`Error::beside`].
    pub fn is_beside(&self) -> bool {
        self.0.beside
    }

    /// What went wrong.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Whether trying again may help.
    pub fn class(&self) -> Class {
        self.0.class
    }

    /// The end of the push it happened on.
    pub fn side(&self) -> Option<Side> {
        self.0.side
    }

    /// The next step for the user.
    pub fn next_step(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// How long the other side asks us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The condition reason: the kind's name, but for a source that isn't there.
    pub fn reason(&self) -> &'static str {
        match (self.0.kind, self.0.side) {
            (Kind::NotFound, Some(Side::Source)) => "SourceNotFound",
            (kind, _) => kind.as_str(),
        }
    }

    /// The exit code of a program that fails with it: 2 bad usage, 75 worth trying again, 130
    /// interrupted, else 1.
    pub fn exit_code(&self) -> u8 {
        match (self.0.kind, self.0.class) {
            (Kind::InvalidReference | Kind::InvalidOptions, _) => 2,
            (Kind::Cancelled, _) => 130,
            (_, Class::Transient) => 75,
            (_, Class::Permanent) => 1,
        }
    }
}

/// Prints what we were doing, outermost first, and the cause; not the hint.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for what in self.0.doing.iter().rev() {
            write!(f, "{what}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({self})", self.0.kind)
    }
}

impl std::error::Error for Error {}

impl From<ManifestError> for Error {
    fn from(cause: ManifestError) -> Self {
        let kind = match &cause {
            ManifestError::TooLarge(_) | ManifestError::TooMany { .. } => Kind::LimitExceeded,
            ManifestError::Schema1 => Kind::TransportUnsupported,
            _ => Kind::InvalidImage,
        };
        Self::new(kind, cause.to_string())
    }
}

impl From<JsonError> for Error {
    fn from(cause: JsonError) -> Self {
        Self::new(Kind::InvalidImage, cause.to_string())
    }
}

impl From<ParseDigestError> for Error {
    fn from(cause: ParseDigestError) -> Self {
        Self::new(Kind::InvalidReference, cause.to_string())
    }
}

impl From<ConvertError> for Error {
    fn from(cause: ConvertError) -> Self {
        Self::new(Kind::TransportUnsupported, cause.to_string())
    }
}

/// Control characters and text direction marks from outside must not reach a terminal or a log as they are.
pub(crate) fn printable(text: &str) -> String {
    if !text.contains(is_hidden) {
        return text.to_owned();
    }
    text.chars()
        .flat_map(|c| if is_hidden(c) { c.escape_default().collect() } else { vec![c] })
        .collect()
}

/// Whether a terminal would obey a character, or show others in its place.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{2029}' | '\u{feff}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
}

#[cfg(test)]
mod tests;
