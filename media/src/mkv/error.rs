//! Why bytes are no Matroska, and where.

/// What is wrong, and the offset from the start of the bytes given at which it was seen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Matroska, byte {at}: {reason}")]
pub struct Error {
    /// Offset of the element at fault, in bytes.
    pub at: usize,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with an element.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The bytes end inside an element, or an element reaches past its parent.
    #[error("an element reaches past the end of what holds it")]
    Truncated,
    /// An element ID longer than four bytes.
    #[error("no element ID")]
    Id,
    /// A size that takes more than eight bytes.
    #[error("an element size longer than 8 bytes")]
    Size,
    /// An element other than Segment and Cluster says that its size is unknown.
    #[error("element {0:#X} must state its size")]
    UnknownSize(u32),
    /// Another element was needed here.
    #[error("element {0:#X} where {1} was expected")]
    Unexpected(u32, &'static str),
    /// The first element is of those that come after the header: the bytes begin in the middle of a session.
    #[error("element {0:#X} where an EBML header was expected: the beginning of the session is missing")]
    NoBeginning(u32),
    /// A mandatory element is missing.
    #[error("no {0}")]
    Missing(&'static str),
    /// An element's value is out of range.
    #[error("a bad value for {0}")]
    Value(&'static str),
    /// Lace sizes do not add up.
    #[error("a block whose lace sizes do not fit it")]
    Lacing,
    /// A frame is more than about 32 seconds, an int16 of ms, from the start of its cluster.
    #[error("a frame {0} ms from the start of its cluster does not fit it")]
    FrameTime(i64),
    /// With one more element, a cluster would be larger than its limit, or than 4 GiB.
    #[error("a cluster larger than the limit")]
    TooLarge,
    /// An element is longer than is held of it: which, and how many bytes that is.
    #[error("{0} of more than {1} bytes")]
    TooLong(&'static str, usize),
}

impl Reason {
    /// A block's track number is 0, or more than a header can declare here (255).
    pub const BLOCK_TRACK: Reason = Reason::Value("a block's track number");
}

impl Error {
    pub(crate) fn new(at: usize, reason: Reason) -> Self {
        Error { at, reason }
    }
}
