//! Writing the bytes of a group at the end of a file: past the kernel's page cache where they are many, through it where they
//! are few.
//!
//! A recording is written once and mostly never read, but each byte that goes through the page cache takes a new page of it and is
//! written back from there when the group is synced: several times the work of the copy itself, on a machine whose memory is
//! virtual more than ten times (ADR 0010). So the aligned middle of a large group is copied into small buffers that are used again
//! and again, and written with `O_DIRECT` from there; what is left before and behind it, less than a block each, goes through the
//! page cache. While one buffer is written, the other is filled. In both ways the file only ever grows by what follows in order, and
//! nothing counts before the sync.
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
use std::sync::mpsc::{channel, sync_channel};

/// Direct writes begin and end at multiples of this, in the file and in memory. A page, so that none of them meets a page that is
/// written the other way; file systems want 512 or this.
const BLOCK: usize = 4096;
/// Groups of fewer bytes go through the page cache: a direct write waits for the disk.
const DIRECT_FROM: usize = 256 << 10;
/// Most bytes of one direct write. Each costs a wait for the disk; larger ones no longer stay in the processor's cache. Crash tests,
/// whose groups are small, are to see many.
const STAGE: usize = if cfg!(debug_assertions) { 64 << 10 } else { 4 << 20 };
/// Buffers of so many bytes: one is written, one is filled.
const BUFFERS: usize = 2;
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
        // An odd length: records end at multiples of eight.
        faults::torn("segment.torn", || {
            self.file.write_all_at(&parts.concat()[..(parts.iter().map(Bytes::len).sum::<usize>() / 2) | 1], at)
        })
        .map_err(Failure::Write)?;
        let mut parts = Parts::new(parts);
        let head = (BLOCK - (at % BLOCK as u64) as usize) % BLOCK;
        if self.direct.is_some() && parts.left >= DIRECT_FROM + head {
            at = self.buffered(&mut parts, head, at).map_err(Failure::Write)?;
            at = self.blocks(&mut parts, at, stage, faults)?;
        }
        let left = parts.left;
        self.buffered(&mut parts, left, at).map_err(Failure::Write)?;
        Ok(())
    }

    /// Writes the whole blocks of what is left past the page cache, as long as the file system takes that; gives where they end.
    fn blocks(
        &mut self,
        parts: &mut Parts<'_>,
        mut at: u64,
        stage: &mut Stage,
        faults: &Faults,
    ) -> Result<u64, Failure> {
        let mut writer = BlockWriter { file: &self.file, direct: self.direct.as_ref(), faults };
        let mut done = Ok(());
        if parts.left > STAGE {
            done = write_while_filling(&mut writer, parts, &mut at, stage);
        }
        while done.is_ok() && parts.left >= BLOCK {
            let block = &mut stage.ready()[0];
            block.fill(parts);
            done = writer.write(block.bytes(), at);
            at += block.len as u64;
        }
        if writer.direct.is_none() {
            self.direct = None;
        }
        done.map(|()| at)
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

/// Writes blocks one behind the other.
struct BlockWriter<'a> {
    file: &'a File,
    /// None where direct writes are refused.
    direct: Option<&'a File>,
    faults: &'a Faults,
}

impl BlockWriter<'_> {
    fn write(&mut self, block: &[u8], at: u64) -> Result<(), Failure> {
        let mut wrote = 0;
        if let Some(direct) = self.direct {
            wrote = match self.faults.check("segment.direct").and_then(|()| write_direct(direct, block, at)) {
                Ok(wrote) => wrote,
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    tracing::info!(%error, "the file system refuses direct writes: the page cache is used instead");
                    metrics::counter!("vidicon_direct_writes_refused_total").increment(1);
                    self.direct = None;
                    0
                }
                Err(error) => return Err(classified(error)),
            };
        }
        // One that ends within a block cannot be gone on with.
        self.file.write_all_at(&block[wrote..], at + wrote as u64).map_err(Failure::Write)
    }
}

/// Writes blocks on a thread of its own while this one fills the next; `at` moves on with what is handed over. Does nothing where there
/// can be no thread.
fn write_while_filling(
    writer: &mut BlockWriter<'_>,
    parts: &mut Parts<'_>,
    at: &mut u64,
    stage: &mut Stage,
) -> Result<(), Failure> {
    stage.ready();
    std::thread::scope(|scope| {
        let (filled, blocks) = sync_channel::<(Buffer, u64)>(1);
        let (written, empty) = channel::<Buffer>();
        let write = move || {
            for (block, at) in blocks {
                writer.write(block.bytes(), at)?;
                // Once nothing is left to fill it with, nobody wants it back before the end.
                let _ = written.send(block);
            }
            Ok(())
        };
        let writing = std::thread::Builder::new().name("commit-write".to_owned()).spawn_scoped(scope, write);
        let Ok(writing) = writing else { return Ok(()) };
        while parts.left >= BLOCK {
            // Where the other end is gone, a write failed: joining says how.
            let Some(mut block) = stage.spare.pop().or_else(|| empty.recv().ok()) else { break };
            block.fill(parts);
            let end = *at + block.len as u64;
            if filled.send((block, *at)).is_err() {
                break;
            }
            *at = end;
        }
        drop(filled);
        let done = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        stage.spare.extend(empty.try_iter());
        done
    })
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

/// The buffers that direct writes go out of, but for those that are in use.
#[derive(Default)]
pub(super) struct Stage {
    spare: Vec<Buffer>,
}

impl Stage {
    /// All of them; those that were in use when a write failed are new.
    fn ready(&mut self) -> &mut [Buffer] {
        self.spare.resize_with(BUFFERS, Buffer::default);
        &mut self.spare
    }
}

/// Memory that a direct write may go out of. Takes as much as was needed so far.
#[derive(Default)]
struct Buffer {
    memory: Vec<u8>,
    from: usize,
    len: usize,
}

impl Buffer {
    /// Takes as many whole blocks of the next bytes as one write has; there is one at least.
    fn fill(&mut self, parts: &mut Parts<'_>) {
        self.len = STAGE.min(parts.left / BLOCK * BLOCK);
        if self.memory.len() < self.len + BLOCK {
            self.memory = vec![0; self.len + BLOCK];
        }
        self.from = self.memory.as_ptr().align_offset(BLOCK);
        parts.copy_to(&mut self.memory[self.from..self.from + self.len]);
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.from..self.from + self.len]
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
