//! A byte string in pieces, so that media bytes are written as they came and never copied together.

use bytes::Bytes;
use std::io::IoSlice;

/// Bytes in order, as a list of slices. Empty slices are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    parts: Vec<Bytes>,
    len: usize,
}

impl Chunks {
    /// No bytes.
    pub fn new() -> Self {
        Self::default()
    }
    /// Appends a slice; no byte is copied.
    pub fn push(&mut self, part: Bytes) {
        self.len += part.len();
        self.parts.push(part);
    }
    /// Total length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// The slices in order.
    pub fn parts(&self) -> &[Bytes] {
        &self.parts
    }
    /// The slices for a vectored write.
    pub fn io_slices(&self) -> impl Iterator<Item = IoSlice<'_>> {
        self.parts.iter().map(|p| IoSlice::new(p))
    }
    /// One contiguous byte string: free for a single slice, one copy otherwise.
    pub fn to_bytes(&self) -> Bytes {
        match self.parts.as_slice() {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => many.concat().into(),
        }
    }
}

impl From<Bytes> for Chunks {
    fn from(part: Bytes) -> Self {
        let len = part.len();
        Chunks { parts: vec![part], len }
    }
}

impl From<Vec<Bytes>> for Chunks {
    fn from(parts: Vec<Bytes>) -> Self {
        let len = parts.iter().map(Bytes::len).sum();
        Chunks { parts, len }
    }
}

impl FromIterator<Bytes> for Chunks {
    fn from_iter<I: IntoIterator<Item = Bytes>>(parts: I) -> Self {
        let mut chunks = Chunks::new();
        parts.into_iter().for_each(|p| chunks.push(p));
        chunks
    }
}
