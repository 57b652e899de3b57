//! Walking the records of a segment file in order.
//!
//! There is no search for a next magic after damage: bytes inside a payload are the producer's and could be made to look
//! like a record of another stream. A segment can be walked up to its first damaged head, and no further.

use super::record::{FILE_HEADER_LEN, FileHeader, FormatError, HEAD_LEN, Head, RecordKind};
use crate::{Error, Kind};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// A record with its place in the file.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Where its head starts.
    pub(crate) offset: u64,
    pub(crate) head: Head,
    /// Its payload; empty for a fragment unless the scan was asked to read those.
    pub(crate) payload: Vec<u8>,
}

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// At the end of the file, between two records.
    Clean,
    /// At something that is no complete record.
    Torn(FormatError),
}

/// Bytes that can be walked.
pub(crate) trait Source: Read + Seek + Send {}

impl<T: Read + Seek + Send> Source for T {}

/// A walk over the records of one segment.
pub(crate) struct Scan {
    file: BufReader<Box<dyn Source>>,
    /// What the file says of itself.
    pub(crate) header: FileHeader,
    /// Just after the last complete record.
    pub(crate) at: u64,
    /// Length of the file when the walk began.
    pub(crate) len: u64,
    read_fragments: bool,
    end: Option<End>,
}

impl Scan {
    /// Opens a segment and starts at its first record. With `read_fragments`, payloads of fragments are read and checked too.
    /// `Ok(Err(_))` says that the file is no segment.
    pub(crate) fn open(path: &Path, read_fragments: bool) -> Result<Result<Scan, FormatError>, Error> {
        let io = |e| Error::new(Kind::Unavailable, format!("segment {} cannot be read", path.display())).with_source(e);
        let file = File::open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        Scan::of(Box::new(file), len, read_fragments).map_err(io)
    }

    /// The same of `len` bytes that lie elsewhere.
    pub(crate) fn of(source: Box<dyn Source>, len: u64, read_fragments: bool) -> io::Result<Result<Scan, FormatError>> {
        let mut file = BufReader::with_capacity(1 << 18, source);
        let mut bytes = Vec::with_capacity(FILE_HEADER_LEN);
        (&mut file).take(FILE_HEADER_LEN as u64).read_to_end(&mut bytes)?;
        Ok(FileHeader::decode(&bytes).map(|header| Scan {
            file,
            header,
            at: FILE_HEADER_LEN as u64,
            len,
            read_fragments,
            end: None,
        }))
    }

    /// Goes on from `offset`, where a record is known to start.
    pub(crate) fn seek(&mut self, offset: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset))?;
        self.at = offset;
        self.end = None;
        Ok(())
    }

    /// The next complete record; `None` at the end, which [`Self::end`] then tells.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        if self.end.is_some() {
            return Ok(None);
        }
        match self.step()? {
            Ok(entry) => {
                self.at = entry.offset + entry.head.record_len();
                Ok(Some(entry))
            }
            Err(end) => {
                self.end = Some(end);
                Ok(None)
            }
        }
    }

    /// After [`Self::next`] ended at a wrong payload checksum: goes on behind that record if it is a fragment, whose head is sound
    /// and says where the next one starts.
    pub(crate) fn pass_over(&mut self) -> io::Result<Option<Entry>> {
        if self.end != Some(End::Torn(FormatError::PayloadChecksum)) {
            return Ok(None);
        }
        self.seek(self.at)?;
        let reads = std::mem::replace(&mut self.read_fragments, false);
        let passed = self.next();
        self.read_fragments = reads;
        passed
    }

    /// Why [`Self::next`] gave `None`.
    pub(crate) fn end(&self) -> End {
        self.end.unwrap_or(End::Clean)
    }

    fn step(&mut self) -> io::Result<Result<Entry, End>> {
        let left = self.len.saturating_sub(self.at);
        if left == 0 {
            return Ok(Err(End::Clean));
        }
        let torn = |need: u64| Ok(Err(End::Torn(FormatError::Short { have: left, need })));
        if left < HEAD_LEN as u64 {
            return torn(HEAD_LEN as u64);
        }
        let mut head = [0; HEAD_LEN];
        self.file.read_exact(&mut head)?;
        let head = match Head::decode(&head) {
            Ok(head) => head,
            Err(error) => return Ok(Err(End::Torn(error))),
        };
        // What version 2 added was never written to a file of version 1.
        if self.header.version == 1 && (head.lead_len > 0 || head.kind == RecordKind::DeletedRange) {
            return Ok(Err(End::Torn(FormatError::Field("kind"))));
        }
        // Checked against the file's length before anything is allocated.
        if left < head.record_len() {
            return torn(head.record_len());
        }
        let rest = head.record_len() - HEAD_LEN as u64;
        let mut payload = Vec::new();
        if self.read_fragments || head.kind != RecordKind::Fragment {
            payload.resize(rest as usize, 0);
            self.file.read_exact(&mut payload)?;
            payload.truncate(head.payload_len as usize);
            if crc32c::crc32c(&payload) != head.payload_crc {
                return Ok(Err(End::Torn(FormatError::PayloadChecksum)));
            }
        } else {
            self.file.seek_relative(rest as i64)?;
        }
        Ok(Ok(Entry { offset: self.at, head, payload }))
    }
}
