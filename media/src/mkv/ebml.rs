//! EBML elements: variable-size integers, and a walk over the children of an element (RFC 8794).
//!
//! ```text
//!  ID (1-4 bytes, marker kept)   size (1-8 bytes, marker removed)   body
//!  1xxxxxxx                      1xxxxxxx                           size bytes; all value bits 1 = size unknown
//!  01xxxxxx xxxxxxxx             01xxxxxx xxxxxxxx
//!  ...                           ...
//! ```

use super::error::{Error, Reason};
use bytes::{BufMut, BytesMut};
use std::ops::Range;

/// One element, as offsets into the bytes that are walked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    /// Its ID with the length marker.
    pub(crate) id: u32,
    /// Where its ID starts.
    pub(crate) at: usize,
    /// Its body. Up to the end of the parent if the size is unknown.
    pub(crate) body: Range<usize>,
    /// Whether the size was stated.
    pub(crate) sized: bool,
}

/// ID, size (`None` if unknown) and length in bytes of the element head at the start of `bytes`.
/// `Ok(None)` if there are too few bytes to tell.
pub(crate) fn head(bytes: &[u8]) -> Result<Option<(u32, Option<u64>, usize)>, Reason> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let id_len = first.leading_zeros() as usize + 1;
    if id_len > 4 {
        return Err(Reason::Id);
    }
    let Some(id) = bytes.get(..id_len) else { return Ok(None) };
    let id = id.iter().fold(0u32, |value, b| value << 8 | u32::from(*b));
    let rest = bytes.get(id_len..).unwrap_or_default();
    Ok(match vint(rest)? {
        None => None,
        Some((value, len)) => {
            let unknown = value == unknown_value(len);
            Some((id, (!unknown).then_some(value), id_len + len))
        }
    })
}

/// The variable-size integer at the start of `bytes`, marker removed, and its length; `Ok(None)` if cut off.
pub(crate) fn vint(bytes: &[u8]) -> Result<Option<(u64, usize)>, Reason> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let len = first.leading_zeros() as usize + 1;
    if len > 8 {
        return Err(Reason::Size);
    }
    let Some(rest) = bytes.get(1..len) else { return Ok(None) };
    let value = u64::from(first) & ((1u64 << (8 - len)) - 1);
    Ok(Some((rest.iter().fold(value, |value, b| value << 8 | u64::from(*b)), len)))
}

/// All value bits of a `len`-byte variable-size integer.
pub(crate) fn unknown_value(len: usize) -> u64 {
    (1u64 << (7 * len)) - 1
}

/// Walks the elements in a range of `root`. Offsets stay those of `root`, so errors name the byte.
pub(crate) struct Elements<'a> {
    root: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Elements<'a> {
    /// Over `range`, cut to what `root` holds.
    pub(crate) fn new(root: &'a [u8], range: Range<usize>) -> Self {
        let end = range.end.min(root.len());
        Elements { root, at: range.start.min(end), end }
    }

    /// The next element; the walk continues after its body.
    pub(crate) fn next(&mut self) -> Result<Option<Element>, Error> {
        let at = self.at;
        if at == self.end {
            return Ok(None);
        }
        let error = |reason| Error::new(at, reason);
        let (id, size, len) = head(&self.root[at..self.end]).map_err(error)?.ok_or(error(Reason::Truncated))?;
        let start = at + len;
        let left = self.end - start;
        let len = match size.map(usize::try_from) {
            None => left,
            Some(Ok(size)) if size <= left => size,
            Some(_) => return Err(error(Reason::Truncated)),
        };
        self.at = start + len;
        Ok(Some(Element { id, at, body: start..start + len, sized: size.is_some() }))
    }

    /// Like [`Self::next`], for parents whose children must all state their size.
    pub(crate) fn next_sized(&mut self) -> Result<Option<Element>, Error> {
        match self.next()? {
            Some(element) if !element.sized => Err(Error::new(element.at, Reason::UnknownSize(element.id))),
            element => Ok(element),
        }
    }
}

impl Element {
    /// The body's bytes.
    pub(crate) fn bytes<'a>(&self, root: &'a [u8]) -> &'a [u8] {
        root.get(self.body.clone()).unwrap_or_default()
    }

    /// The body as an unsigned integer of 0 to 8 bytes; `what` names it in the error.
    pub(crate) fn uint(&self, root: &[u8], what: &'static str) -> Result<u64, Error> {
        let bytes = self.bytes(root);
        if bytes.len() > 8 {
            return Err(Error::new(self.at, Reason::Value(what)));
        }
        Ok(bytes.iter().fold(0, |value, b| value << 8 | u64::from(*b)))
    }

    /// The body as a float of 0, 4 or 8 bytes.
    pub(crate) fn float(&self, root: &[u8], what: &'static str) -> Result<f64, Error> {
        let bytes = self.bytes(root);
        if let Ok(four) = <[u8; 4]>::try_from(bytes) {
            Ok(f64::from(f32::from_be_bytes(four)))
        } else if let Ok(eight) = <[u8; 8]>::try_from(bytes) {
            Ok(f64::from_be_bytes(eight))
        } else if bytes.is_empty() {
            Ok(0.0)
        } else {
            Err(Error::new(self.at, Reason::Value(what)))
        }
    }

    /// The body as text, without the zero bytes that may pad it; invalid UTF-8 is replaced.
    pub(crate) fn text(&self, root: &[u8]) -> String {
        let bytes = self.bytes(root);
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }
}

/// Writes an ID with its marker.
pub(crate) fn put_id(out: &mut BytesMut, id: u32) {
    let skip = id.leading_zeros() as usize / 8;
    out.put_slice(&id.to_be_bytes()[skip..]);
}

/// How many bytes [`put_size`] writes.
pub(crate) fn size_len(size: u64) -> usize {
    (1..8).find(|len| size < unknown_value(*len)).unwrap_or(8)
}

/// Writes a size in as few bytes as hold it. Sizes are lengths in memory, so they are far below 2^56.
pub(crate) fn put_size(out: &mut BytesMut, size: u64) {
    let len = size_len(size);
    let marked = size | 1u64 << (7 * len);
    out.put_slice(&marked.to_be_bytes()[8 - len..]);
}

/// Writes an element with these bytes.
pub(crate) fn put(out: &mut BytesMut, id: u32, body: &[u8]) {
    put_id(out, id);
    put_size(out, body.len() as u64);
    out.put_slice(body);
}

/// Writes an unsigned integer element in as few bytes as hold it.
pub(crate) fn put_uint(out: &mut BytesMut, id: u32, value: u64) {
    let skip = (value.leading_zeros() as usize / 8).min(7);
    put(out, id, &value.to_be_bytes()[skip..]);
}
