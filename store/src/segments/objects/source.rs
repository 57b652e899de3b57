//! An object as bytes that a walk can read and seek in, fetched block by block.

use super::bucket::Objects;
use crate::segments::Edition;
use bytes::Bytes;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

/// Bytes of one range read.
const BLOCK: u64 = 1 << 20;

/// See the module. Reading blocks: for threads that may.
pub(crate) struct ObjectSource {
    objects: Arc<Objects>,
    edition: Edition,
    len: u64,
    at: u64,
    block: Bytes,
    block_at: u64,
}

impl ObjectSource {
    /// Of a segment of `len` bytes.
    pub(crate) fn new(objects: Arc<Objects>, edition: Edition, len: u64) -> ObjectSource {
        ObjectSource { objects, edition, len, at: 0, block: Bytes::new(), block_at: 0 }
    }
}

impl Read for ObjectSource {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.len || out.is_empty() {
            return Ok(0);
        }
        if self.at < self.block_at || self.at >= self.block_at + self.block.len() as u64 {
            let range = self.at..(self.at + BLOCK).min(self.len);
            self.block =
                self.objects.handle().block_on(self.objects.range(self.edition, range)).map_err(io::Error::other)?;
            self.block_at = self.at;
            if self.block.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let from = (self.at - self.block_at) as usize;
        let count = (self.block.len() - from).min(out.len());
        out[..count].copy_from_slice(&self.block[from..from + count]);
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for ObjectSource {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
