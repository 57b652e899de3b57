//! A segment written anew without what does not count any more.
//!
//! The new file has the id of the old one and the next generation, so its records keep their place among those of all segments. It is
//! written beside the old one, under another name, until the catalog points into it ([`crate::rewrite`]).
//!
//! Records are copied as they lie, in their order. Of descriptions of streams and headers those are kept that a fragment behind them
//! needs, and of each stream that is there still its last description, which says how far its numbers went.

use super::record::{FILE_HEADER_LEN, FileHeader, HEAD_LEN, Head, RecordKind, padding};
use super::scan::{End, Scan};
use crate::faults::Faults;
use crate::{Error, Kind};
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Bytes between two looks at the clock and at whether to go on.
const STEP: u64 = 1 << 20;

/// A fragment of the old file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) offset: u64,
    pub(crate) stream: u64,
    pub(crate) counter: u64,
}

/// The records of a segment but the payloads of its fragments.
pub(crate) struct Contents {
    pub(crate) header: FileHeader,
    records: Vec<(u64, Head, Bytes)>,
}

/// A fragment that was copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    pub(crate) of: Found,
    /// Where its record is now, and how long it is.
    pub(crate) to: u64,
    pub(crate) bytes: u64,
}

/// What was written.
pub(crate) struct Copied {
    pub(crate) moved: Vec<Moved>,
    /// Length of the new file.
    pub(crate) end: u64,
}

impl Contents {
    /// Walks a segment up to `end`. `Corrupt` where it cannot be walked so far. Blocks.
    pub(crate) fn read(mut scan: Scan, end: u64) -> Result<Contents, Error> {
        let io =
            |e| Error::new(Kind::Unavailable, "a segment that is to be written anew cannot be read").with_source(e);
        let mut records = Vec::new();
        while scan.at < end {
            let Some(entry) = scan.next().map_err(io)? else { break };
            records.push((entry.offset, entry.head, Bytes::from(entry.payload)));
        }
        if scan.at < end {
            let why = match scan.end() {
                End::Torn(why) => why.to_string(),
                End::Clean => "it is shorter".to_owned(),
            };
            let message = format!("it can be walked up to {} of {end} bytes only: {why}", scan.at);
            return Err(Error::new(Kind::Corrupt, message));
        }
        Ok(Contents { header: scan.header, records })
    }

    /// Its fragments, in order.
    pub(crate) fn fragments(&self) -> impl Iterator<Item = Found> {
        let fragments = self.records.iter().filter(|(_, head, _)| head.kind == RecordKind::Fragment);
        fragments.map(|(offset, head, _)| Found { offset: *offset, stream: head.stream, counter: head.counter })
    }

    /// What is written anew: the places of the records to copy, in order.
    fn kept(&self, live: &HashSet<u64>, streams: &BTreeSet<u64>, deletions: bool) -> Vec<usize> {
        let mut kept = BTreeSet::new();
        let mut described: HashMap<u64, usize> = HashMap::new();
        let mut headers: HashMap<(u64, u64), usize> = HashMap::new();
        for (i, (offset, head, _)) in self.records.iter().enumerate() {
            match head.kind {
                RecordKind::Stream => drop(described.insert(head.stream, i)),
                RecordKind::Header => {
                    headers.entry((head.stream, head.header.0)).or_insert(i);
                }
                RecordKind::Fragment if live.contains(offset) => {
                    kept.extend(described.get(&head.stream));
                    kept.extend(headers.get(&(head.stream, head.header.0)));
                    kept.insert(i);
                }
                RecordKind::Fragment => {}
                RecordKind::Deleted | RecordKind::DeletedRange => {
                    if deletions {
                        kept.insert(i);
                    }
                }
            }
        }
        kept.extend(described.into_iter().filter(|(stream, _)| streams.contains(stream)).map(|(_, i)| i));
        kept.into_iter().collect()
    }
}

/// What of a segment is kept.
pub(crate) struct Keep {
    /// Offsets of the fragments that count.
    pub(crate) live: HashSet<u64>,
    /// Streams that are there.
    pub(crate) streams: BTreeSet<u64>,
    /// Whether what it says of deletions counts still: an older segment is there.
    pub(crate) deletions: bool,
}

/// Writes the new segment, of this generation, out of the old one. `pace` is told of the bytes written so far, may wait, and says whether
/// to go on; `None` where it does not. Blocks.
pub(crate) fn write(
    contents: &Contents,
    keep: &Keep,
    generation: u32,
    (old, new): (&mut (impl Read + Seek), &mut impl Write),
    mut pace: impl FnMut(u64) -> bool,
) -> io::Result<Option<Copied>> {
    let mut old = BufReader::with_capacity(1 << 18, old);
    let header = FileHeader { generation, ..contents.header }.renewed();
    new.write_all(&header.encode())?;
    let (mut at, mut told) = (FILE_HEADER_LEN as u64, 0);
    let (mut moved, mut read_at, mut payload) = (Vec::new(), 0, Vec::new());
    for i in contents.kept(&keep.live, &keep.streams, keep.deletions) {
        let (offset, head, said) = &contents.records[i];
        new.write_all(&head.encode())?;
        if head.kind == RecordKind::Fragment {
            // As it lies: one whose checksum is wrong stays what it is, and is found by whoever reads it.
            let place = offset + HEAD_LEN as u64;
            match i64::try_from(place - read_at.min(place)) {
                Ok(ahead) if place >= read_at => old.seek_relative(ahead)?,
                _ => drop(old.seek(SeekFrom::Start(place))?),
            }
            payload.resize(head.stored_len() as usize, 0);
            old.read_exact(&mut payload)?;
            read_at = place + head.stored_len();
            if !head.is_whole(&payload) {
                tracing::error!(segment = header.segment, offset, "a fragment that is copied is damaged");
            }
            new.write_all(&payload)?;
            let of = Found { offset: *offset, stream: head.stream, counter: head.counter };
            moved.push(Moved { of, to: at, bytes: head.record_len() });
        } else {
            new.write_all(said)?;
        }
        new.write_all(&padding(head.stored_len()))?;
        at += head.record_len();
        if at - told > STEP {
            told = at;
            if !pace(at) {
                return Ok(None);
            }
        }
    }
    new.flush()?;
    Ok(Some(Copied { moved, end: at }))
}

/// The same between two files; the new one is synced. After an error it is gone. Blocks.
pub(crate) fn write_file(
    contents: &Contents,
    keep: &Keep,
    (from, to): (&Path, &Path),
    faults: &Faults,
    pace: impl FnMut(u64) -> bool,
) -> Result<Copied, Error> {
    let failed = |e: io::Error| Error::of_disk(e).context(format_args!("{} cannot be written", to.display()));
    let mut old = File::open(from).map_err(failed)?;
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to).map_err(failed)?;
    let done = || -> io::Result<Option<Copied>> {
        faults.check("rewrite.write")?;
        let mut new = BufWriter::with_capacity(1 << 18, &file);
        let copied = write(contents, keep, contents.header.generation + 1, (&mut old, &mut new), pace)?;
        drop(new);
        faults.check("rewrite.sync")?;
        file.sync_all()?;
        Ok(copied)
    };
    let done = done().map_err(failed).and_then(|copied| copied.ok_or_else(stopping));
    if done.is_err() {
        // Best effort: the next one, and a start, take it away too.
        let _ = std::fs::remove_file(to);
    }
    done
}

/// It was not written to its end.
pub(crate) fn stopping() -> Error {
    Error::new(Kind::Unavailable, "a segment is not written anew: the store is stopping")
}
