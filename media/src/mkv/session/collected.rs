//! The bytes of one element as they are collected: slices, and short runs copied next to each other.

use crate::{
    Chunks,
    mkv::{
        ebml::{put, put_id, put_size},
        id,
    },
};
use bytes::{Bytes, BytesMut};

/// Shorter parts are copied together: a slice costs more than that.
const SHORT_PART: usize = 128;
/// Short parts go into buffers that begin at this size, as most clusters have little more than their head there …
const FIRST_BUFFER: usize = 64;
/// … and double up to this one.
const MOST_BUFFER: usize = 4096;

/// Bytes in order, to which more are added.
#[derive(Debug, Default)]
pub(super) struct Collected {
    parts: Vec<Bytes>,
    short: BytesMut,
    /// Size of the last buffer of short parts.
    buffer: usize,
    len: usize,
}

impl Collected {
    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a slice.
    pub(super) fn push(&mut self, part: Bytes) {
        if part.len() < SHORT_PART {
            return self.copy(&part);
        }
        self.settle();
        self.len += part.len();
        self.parts.push(part);
    }

    /// Adds a copy.
    pub(super) fn copy(&mut self, bytes: &[u8]) {
        if self.short.capacity() - self.short.len() < bytes.len() {
            self.settle();
            self.buffer = (self.buffer * 2).clamp(FIRST_BUFFER, MOST_BUFFER);
            self.short = BytesMut::with_capacity(self.buffer.max(bytes.len()));
        }
        self.short.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    fn settle(&mut self) {
        if !self.short.is_empty() {
            self.parts.push(self.short.split().freeze());
        }
    }

    /// The bytes, as they were collected.
    pub(super) fn finish(mut self) -> Chunks {
        self.settle();
        self.parts.shrink_to_fit();
        self.parts.into()
    }

    /// Puts other bytes in the place of as many at `at`, which were added as one. Looks from the end.
    pub(super) fn replace(&mut self, at: usize, bytes: &[u8]) {
        self.settle();
        let mut start = self.len;
        for index in (0..self.parts.len()).rev() {
            start -= self.parts[index].len();
            if start <= at {
                let part = &self.parts[index];
                let (from, to) = (at - start, (at - start + bytes.len()).min(part.len()));
                let pieces = [part.slice(..from), Bytes::copy_from_slice(bytes), part.slice(to..)];
                self.parts.splice(index..=index, pieces.into_iter().filter(|p| !p.is_empty()));
                return;
            }
        }
    }

    /// Takes away what is from `at` on.
    pub(super) fn split_off(&mut self, at: usize) -> Collected {
        self.settle();
        let (mut start, mut index) = (0, 0);
        while let Some(part) = self.parts.get(index).filter(|part| start + part.len() <= at) {
            start += part.len();
            index += 1;
        }
        let mut rest = self.parts.split_off(index);
        if at > start
            && let Some(first) = rest.first_mut()
        {
            self.parts.push(first.split_to(at - start));
        }
        let len = self.len - at;
        self.len = at;
        Collected { parts: rest, len, ..Collected::default() }
    }

    /// A cluster's children from the Timestamp on, for a cluster that goes on where another was cut.
    pub(super) fn continuation(timestamp: u64, blocks: Collected) -> Collected {
        let mut out = Collected::default();
        let mut child = BytesMut::with_capacity(16);
        put(&mut child, id::TIMESTAMP, &timestamp.to_be_bytes());
        out.copy(&child);
        out.settle();
        out.len += blocks.len;
        out.parts.extend(blocks.parts);
        out.short = blocks.short;
        out
    }

    /// These bytes as the children of a cluster, with a head that states their length.
    pub(super) fn into_cluster(self) -> Chunks {
        let mut head = BytesMut::with_capacity(12);
        put_id(&mut head, id::CLUSTER);
        put_size(&mut head, self.len as u64);
        std::iter::once(head.freeze()).chain(self.finish().parts().iter().cloned()).collect()
    }
}
