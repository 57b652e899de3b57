//! The error of this crate: few kinds, named by what a caller can do.

use std::fmt;

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The named thing does not exist.
    NotFound,
    /// A thing of that name exists.
    AlreadyExists,
    /// The thing changed in between.
    Conflict,
    /// The input is wrong; the message says what and where.
    Invalid,
    /// A limit was reached; the message names it.
    LimitExceeded,
    /// What is offered does not fit a limit, however long one waits; the message names it.
    TooLarge,
    /// A quota of bytes is reached, and nothing may be evicted for what comes; the message names it.
    QuotaReached,
    /// A retry may help.
    Unavailable,
    /// Stored bytes are not what they should be.
    Corrupt,
    /// A defect of this program.
    Internal,
}

/// An error with its kind, a message that names what, where and why, and its source.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    configuration: bool,
}

impl Error {
    /// An error of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), source: None, configuration: false }
    }
    /// An error that the operator has to mend: what is configured does not fit what is there.
    pub(crate) fn of_configuration(message: impl Into<String>) -> Self {
        Error { configuration: true, ..Error::new(Kind::Invalid, message) }
    }
    /// Whether what is configured does not fit what is there, so that trying again does not help.
    pub fn is_configuration(&self) -> bool {
        self.configuration
    }
    /// The same with its cause.
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
    /// What a failed write to the disk means.
    pub(crate) fn of_disk(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{FileTooLarge, NotFound, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let (kind, message) = match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => {
                (Kind::LimitExceeded, "the disk is full: fragments are not recorded until there is room")
            }
            ReadOnlyFilesystem => (
                Kind::Unavailable,
                "the file system of the segments is read-only: see to the disk, mount it for writing, and restart",
            ),
            NotFound => (Kind::Unavailable, "the folder of the segments was removed: put it back, and restart"),
            _ => (Kind::Unavailable, "the segment could not be written"),
        };
        Error::new(kind, message).with_source(error)
    }
    /// The same with what was being done put before its message.
    pub(crate) fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
    /// Another error that says the same, for a second party that waits for the same thing.
    pub(crate) fn echo(&self) -> Self {
        Error::new(self.kind, self.to_string())
    }
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|s| s.as_ref() as _)
    }
}
