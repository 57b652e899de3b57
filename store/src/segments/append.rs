//! Writing the bytes of a group at the end of a file: past the kernel's page cache where they are many, through it where they
//! are few.
//!
//! A recording is written once and mostly never read, but each byte that goes through the page cache takes a new page of it and is
//! written back from there when the group is synced: several times the work of the copy itself, on a machine whose memory is
//! virtual more than ten times (ADR 0010). So the aligned middle of a large group is copied into a small buffer that is used again
//! and again, and written with `O_DIRECT` from there; what is left before and behind it, less than a block each, goes through the
//! page cache. In both ways the file only ever grows by what follows in order, and nothing counts before the sync.
//!
//! Where the file system does not say how it wants direct writes aligned (before Linux 6.1; tmpfs, ZFS and others at any time),
//! or refuses one, everything goes through the page cache.

use crate::faults::{self, Faults};
use bytes::Bytes;
use rustix::fs::{AtFlags, OFlags, StatxFlags, statx};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Direct writes begin and end at multiples of this, in the file and in memory. A page, so that none of them meets a page that is
/// written the other way; file systems want 512 or this.
const BLOCK: usize = 4096;
/// Groups of fewer bytes go through the page cache: a direct write waits for the disk.
const DIRECT_FROM: usize = 256 << 10;
/// Bytes of one direct write. Stays in the processor's cache.
const STAGE: usize = 1 << 20;
/// Slices of one `pwritev`; Linux takes at most 1024.
const SLICES: usize = 1024;

/// Why bytes were not written.
pub(super) enum Failure {
    /// There may be no room, or it was refused before anything reached the disk. The file is good up to where it was.
    Write(io::Error),
    /// The disk did not take them.
    Disk(io::Error),
}

/// The end of a file.
pub(super) struct Tail {
    file: File,
    /// The same file, opened for direct writes.
    direct: Option<File>,
}

impl Tail {
    /// Of a file that is open for writing and lies at `path`.
    pub(super) fn new(file: File, path: &Path) -> Tail {
        let direct = open_direct(&file, path);
        Tail { file, direct }
    }

    /// The file, for all but appending.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Writes these parts at `at`, where the file ends.
    pub(super) fn append(
        &mut self,
        parts: &[Bytes],
        mut at: u64,
        stage: &mut Stage,
        faults: &Faults,
    ) -> Result<(), Failure> {
        faults::torn("segment.torn", || {
            self.file.write_all_at(&parts.concat()[..parts.iter().map(Bytes::len).sum::<usize>() / 2], at)
        })
        .map_err(Failure::Write)?;
        let mut parts = Parts::new(parts);
        let head = (BLOCK - (at % BLOCK as u64) as usize) % BLOCK;
        if self.direct.is_some() && parts.left >= DIRECT_FROM + head {
            at = self.buffered(&mut parts, head, at).map_err(Failure::Write)?;
            while let Some(direct) = self.direct.as_ref().filter(|_| parts.left >= BLOCK) {
                let block = stage.filled(&mut parts);
                let wrote = faults.check("segment.direct").and_then(|()| write_direct(direct, block, at));
                let wrote = match wrote {
                    Ok(wrote) => wrote,
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                        tracing::info!(%error, "the file system refuses direct writes: the page cache is used instead");
                        metrics::counter!("vidicon_direct_writes_refused_total").increment(1);
                        self.direct = None;
                        0
                    }
                    Err(error) => return Err(classified(error)),
                };
                // One that ends within a block cannot be gone on with.
                self.file.write_all_at(&block[wrote..], at + wrote as u64).map_err(Failure::Write)?;
                at += block.len() as u64;
            }
        }
        let left = parts.left;
        self.buffered(&mut parts, left, at).map_err(Failure::Write)?;
        Ok(())
    }

    /// Writes the next `len` bytes through the page cache; gives where they end.
    fn buffered(&self, parts: &mut Parts<'_>, len: usize, mut at: u64) -> io::Result<u64> {
        let end = at + len as u64;
        while at < end {
            let wrote = match rustix::io::pwritev(&self.file, &parts.slices((end - at) as usize), at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(wrote) => wrote,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            parts.advance(wrote);
            at += wrote as u64;
        }
        Ok(end)
    }
}

/// Opens the file again for direct writes, if its file system says that they may be aligned as ours are.
fn open_direct(file: &File, path: &Path) -> Option<File> {
    let said = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    let fits = |align: u32| align > 0 && BLOCK.is_multiple_of(align as usize);
    if !StatxFlags::from_bits_retain(said.stx_mask).contains(StatxFlags::DIOALIGN)
        || !fits(said.stx_dio_mem_align)
        || !fits(said.stx_dio_offset_align)
    {
        return None;
    }
    OpenOptions::new().write(true).custom_flags(OFlags::DIRECT.bits() as i32).open(path).ok()
}

/// Writes the block, or its beginning up to where a write ended within a block of the file.
fn write_direct(file: &File, block: &[u8], at: u64) -> io::Result<usize> {
    let mut wrote = 0;
    while wrote < block.len() && wrote.is_multiple_of(BLOCK) {
        match file.write_at(&block[wrote..], at + wrote as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(more) => wrote += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(wrote)
}

/// A direct write finds at once what would show with the sync otherwise.
fn classified(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Failure::Write(error)
        }
        _ => Failure::Disk(error),
    }
}

/// The buffer that direct writes go out of. Takes memory when it is first used.
#[derive(Default)]
pub(super) struct Stage(Vec<u8>);

impl Stage {
    /// As many whole blocks of the next bytes as fit; there is one at least.
    fn filled(&mut self, parts: &mut Parts<'_>) -> &[u8] {
        self.0.resize(STAGE + BLOCK, 0);
        let aligned = self.0.as_ptr().align_offset(BLOCK);
        let len = STAGE.min(parts.left / BLOCK * BLOCK);
        let block = &mut self.0[aligned..aligned + len];
        parts.copy_to(block);
        block
    }
}

/// Bytes that are still to be written.
struct Parts<'a> {
    rest: &'a [Bytes],
    /// Bytes of the first of `rest` that are written.
    at: usize,
    left: usize,
}

impl<'a> Parts<'a> {
    fn new(rest: &'a [Bytes]) -> Self {
        Parts { rest, at: 0, left: rest.iter().map(Bytes::len).sum() }
    }

    /// The next bytes, at most so many, without what is empty.
    fn slices(&self, most: usize) -> Vec<IoSlice<'a>> {
        let (mut skip, mut left, mut slices) = (self.at, most, Vec::new());
        for part in self.rest {
            let part = &part[std::mem::take(&mut skip)..];
            let part = &part[..part.len().min(left)];
            left -= part.len();
            if !part.is_empty() {
                slices.push(IoSlice::new(part));
            }
            if left == 0 || slices.len() == SLICES {
                break;
            }
        }
        slices
    }

    fn advance(&mut self, mut bytes: usize) {
        self.left -= bytes;
        while let Some(first) = self.rest.first() {
            let here = first.len() - self.at;
            if bytes < here {
                self.at += bytes;
                return;
            }
            bytes -= here;
            (self.rest, self.at) = (&self.rest[1..], 0);
        }
    }

    fn copy_to(&mut self, mut to: &mut [u8]) {
        while let Some(first) = self.rest.first().filter(|_| !to.is_empty()) {
            let bytes = to.len().min(first.len() - self.at);
            let (here, rest) = to.split_at_mut(bytes);
            here.copy_from_slice(&first[self.at..self.at + bytes]);
            to = rest;
            self.advance(bytes);
        }
    }
}

#[cfg(test)]
#[path = "append_tests.rs"]
mod tests;
