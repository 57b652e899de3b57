//! Bytes that come in pieces, taken in order as element heads and bodies.
//!
//! A body that lies in one large piece is a slice of it. One that straddles pieces is put together in a buffer of its own, which
//! then stands in for those pieces: bytes are never held twice. What lies in a short piece is copied too, as the piece may be
//! a small part of the buffer that it was read into, all of which a slice would keep.

use super::collected::Collected;
use crate::mkv::{ebml, error::Reason};
use bytes::Bytes;
use std::collections::VecDeque;

/// The longest element head: an ID of 4 bytes, a size of 8.
const HEAD: usize = 12;
/// Shorter pieces are copied. (Tests have few bytes, and try both.)
const SHORT_PIECE: usize = if cfg!(any(test, feature = "fuzzing")) { 64 } else { 16 << 10 };
/// A body's buffer begins no larger than this; a stated size alone takes no memory.
const FIRST_BUFFER: usize = 256 << 10;

/// An element head that was seen, and is consumed with [`Intake::accept`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) id: u32,
    /// `None` if unknown.
    pub(super) size: Option<u64>,
    /// Length of the head in bytes.
    pub(super) len: usize,
    /// Offset of its first byte in the session.
    pub(super) at: u64,
}

/// Where consumed bytes are kept, if they are.
pub(super) type Sink = Option<Collected>;

/// The pieces of a session.
#[derive(Debug, Default)]
pub(super) struct Intake {
    waiting: VecDeque<Bytes>,
    piece: Bytes,
    /// Bytes of `piece` that are consumed.
    at: usize,
    /// Where in `piece` the consumed bytes begin that no sink has got yet.
    run: usize,
    /// The beginning of an element head that earlier pieces ended with. Not consumed yet.
    carry: [u8; HEAD],
    carried: usize,
    /// The beginning of a body that earlier pieces ended with. Consumed.
    body: Option<Begun>,
    offset: u64,
}

/// A body that is being copied.
#[derive(Debug)]
struct Begun {
    /// Its element's head, where that is to be kept next to it, and then what has come of it.
    bytes: Vec<u8>,
    head: usize,
}

impl Intake {
    pub(super) fn push(&mut self, piece: Bytes) {
        self.waiting.push_back(piece);
    }

    /// Bytes consumed so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of a body of which the rest is still to come, and of its head if no sink has got that yet.
    pub(super) fn begun(&self) -> usize {
        self.body.as_ref().map_or(0, |body| body.bytes.len())
    }

    /// Whether nothing is left, and nothing was begun.
    pub(super) fn is_empty(&self) -> bool {
        self.carried == 0
            && self.body.is_none()
            && self.at == self.piece.len()
            && self.waiting.iter().all(Bytes::is_empty)
    }

    /// The element head that comes next; `None` if more bytes are needed to tell.
    pub(super) fn head(&mut self, sink: &mut Sink) -> Result<Option<Head>, Reason> {
        loop {
            let rest = &self.piece[self.at..];
            let found = if self.carried == 0 {
                ebml::head(rest)?
            } else {
                let mut joined = self.carry;
                let more = rest.len().min(HEAD - self.carried);
                joined[self.carried..self.carried + more].copy_from_slice(&rest[..more]);
                ebml::head(&joined[..self.carried + more])?
            };
            if let Some((id, size, len)) = found {
                return Ok(Some(Head { id, size, len, at: self.offset }));
            }
            // HEAD bytes always tell, so there are fewer.
            let more = rest.len();
            self.carry[self.carried..self.carried + more].copy_from_slice(rest);
            self.flush(sink);
            self.carried += more;
            self.at += more;
            self.run = self.at;
            if !self.next_piece(sink) {
                return Ok(None);
            }
        }
    }

    /// Consumes a head that [`Self::head`] has just given.
    pub(super) fn accept(&mut self, head: Head, sink: &mut Sink) {
        if self.carried > 0
            && let Some(sink) = sink
        {
            sink.copy(&self.carry[..self.carried]);
        }
        self.at += head.len - std::mem::take(&mut self.carried);
        self.offset += head.len as u64;
        if sink.is_none() {
            self.run = self.at;
        }
    }

    /// The next `len` bytes as one; `None` until all are there, and then called again with the same `len`.
    pub(super) fn take(&mut self, len: usize, sink: &mut Sink) -> Option<Bytes> {
        let begun = self.body.is_some();
        if !begun && self.piece.len() - self.at >= len && self.piece.len() >= SHORT_PIECE {
            let body = self.piece.slice(self.at..self.at + len);
            self.at += len;
            self.offset += len as u64;
            if sink.is_none() {
                self.run = self.at;
            }
            return Some(body);
        }
        let mut body = match self.body.take() {
            Some(body) => body,
            None => self.begin_body(len, sink),
        };
        let bytes = &mut body.bytes;
        loop {
            let missing = body.head + len - bytes.len();
            let more = missing.min(self.piece.len() - self.at);
            if bytes.capacity() - bytes.len() < more {
                // Doubles, but never beyond what the body needs.
                bytes.reserve_exact(missing.min(bytes.len().max(more)));
            }
            bytes.extend_from_slice(&self.piece[self.at..self.at + more]);
            self.at += more;
            self.run = self.at;
            self.offset += more as u64;
            if more == missing {
                let whole = Bytes::from(body.bytes);
                let taken = whole.slice(body.head..);
                if let Some(sink) = sink {
                    sink.push(whole);
                }
                return Some(taken);
            }
            if !self.next_piece(sink) {
                self.body = Some(body);
                return None;
            }
        }
    }

    /// A buffer for a body of this length. The head that was just consumed goes before it, so that both are one part of what is kept.
    fn begin_body(&mut self, len: usize, sink: &mut Sink) -> Begun {
        let run = self.run..self.at;
        let head = if sink.is_some() && run.len() <= HEAD { run.len() } else { 0 };
        let mut bytes = Vec::with_capacity(head + len.min(FIRST_BUFFER));
        if head > 0 {
            bytes.extend_from_slice(&self.piece[run]);
            self.run = self.at;
        } else {
            self.flush(sink);
        }
        Begun { bytes, head }
    }

    /// Consumes up to `left` bytes, and counts it down; whether it came to 0.
    pub(super) fn skip(&mut self, left: &mut u64, sink: &mut Sink) -> bool {
        loop {
            let here = self.piece.len() - self.at;
            let more = usize::try_from(*left).unwrap_or(usize::MAX).min(here);
            self.at += more;
            self.offset += more as u64;
            *left -= more as u64;
            if sink.is_none() {
                self.run = self.at;
            }
            if *left == 0 {
                return true;
            }
            if !self.next_piece(sink) {
                return false;
            }
        }
    }

    /// Bytes that are consumed, and that no sink has got yet.
    pub(super) fn unflushed(&self) -> usize {
        self.at - self.run
    }

    /// Hands what is consumed to the sink.
    pub(super) fn flush(&mut self, sink: &mut Sink) {
        let run = std::mem::replace(&mut self.run, self.at)..self.at;
        if let Some(sink) = sink.as_mut().filter(|_| !run.is_empty()) {
            if self.piece.len() < SHORT_PIECE {
                sink.copy(&self.piece[run]);
            } else {
                sink.push(self.piece.slice(run));
            }
        }
    }

    fn next_piece(&mut self, sink: &mut Sink) -> bool {
        self.flush(sink);
        let next = self.waiting.pop_front();
        let found = next.is_some();
        self.piece = next.unwrap_or_default();
        (self.at, self.run) = (0, 0);
        found
    }
}
