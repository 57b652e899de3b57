//! Walking the records of a segment file in order.
//!
//! There is no search for a next magic after damage: bytes inside a payload are the producer's and could be made to look
//! like a record of another stream. A segment can be walked up to its first damaged head, and no further.

use super::record::{FILE_HEADER_LEN, FileHeader, FormatError, HEAD_LEN, Head, RecordKind};
use crate::crypt::envelope;
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
    /// One byte of that is damaged on the disk.
    pub(crate) header_is_damaged: bool,
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
        // Heads alone lie far apart: each look would fill the buffer anew.
        let mut file = BufReader::with_capacity(if read_fragments { 1 << 18 } else { 4096 }, source);
        let mut bytes = Vec::with_capacity(FILE_HEADER_LEN);
        (&mut file).take(FILE_HEADER_LEN as u64).read_to_end(&mut bytes)?;
        let decoded = match FileHeader::decode(&bytes) {
            Ok(header) => Ok((header, false)),
            Err(e) => FileHeader::mend(&bytes).map(|header| (header, true)).ok_or(e),
        };
        Ok(decoded.map(|(header, header_is_damaged)| Scan {
            file,
            header,
            header_is_damaged,
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

    /// After [`Self::next`] ended at a wrong payload checksum: goes on behind that record, whose head is sound and says where the next
    /// one starts. Gives the record without its payload, or, where that describes a stream or a header and one byte of it is damaged, with
    /// the payload as it was.
    pub(crate) fn pass_over(&mut self) -> io::Result<Option<Entry>> {
        if self.end != Some(End::Torn(FormatError::PayloadChecksum)) {
            return Ok(None);
        }
        let at = self.at;
        let Ok(head) = Head::decode(&self.bytes_at(at, HEAD_LEN)?) else { return Ok(None) };
        let mended = match head.kind {
            RecordKind::Fragment => None,
            _ => head.mend_payload(self.bytes_at(at + HEAD_LEN as u64, head.payload_len as usize)?),
        };
        self.seek(at + head.record_len())?;
        Ok(Some(Entry { offset: at, head, payload: mended.unwrap_or_default() }))
    }

    /// After [`Self::next`] ended at a damaged head: reads the record as it was, if one byte of its head is damaged and its payload is
    /// whole, and goes on behind it.
    pub(crate) fn mend(&mut self) -> io::Result<Option<Entry>> {
        if !matches!(self.end, Some(End::Torn(FormatError::Magic | FormatError::HeadChecksum | FormatError::Field(_))))
        {
            return Ok(None);
        }
        let at = self.at;
        let Some(head) = Head::mend(&self.bytes_at(at, HEAD_LEN)?) else { return Ok(None) };
        if self.len - at < head.record_len() || !self.is_whole(at, &head)? {
            return Ok(None);
        }
        let payload = match head.kind {
            RecordKind::Fragment => Vec::new(),
            _ => self.bytes_at(at + HEAD_LEN as u64, head.payload_len as usize)?,
        };
        self.seek(at + head.record_len())?;
        Ok(Some(Entry { offset: at, head, payload }))
    }

    /// Whether what stands behind this head at `offset` is what was written there. The walk stands elsewhere afterwards: [`Self::seek`]
    /// comes next.
    pub(crate) fn is_whole(&mut self, offset: u64, head: &Head) -> io::Result<bool> {
        let start = offset.saturating_add(HEAD_LEN as u64);
        let mut left = head.stored_len();
        if start.saturating_add(left) > self.len {
            return Ok(false);
        }
        self.file.seek(SeekFrom::Start(start))?;
        let (mut crc, mut written) = (0, head.payload_crc);
        if head.encrypted {
            let mut envelope = [0; envelope::HEAD_LEN];
            self.file.read_exact(&mut envelope)?;
            let Some((_, crc_of_all)) = envelope::read_head(&envelope).filter(|(mark, _)| *mark == written) else {
                return Ok(false);
            };
            (crc, written) = (envelope::crc_of_head(&envelope), crc_of_all);
            left -= envelope::HEAD_LEN as u64;
        }
        let mut buffer = vec![0; 1 << 16];
        while left > 0 {
            let part = &mut buffer[..left.min(1 << 16) as usize];
            self.file.read_exact(part)?;
            crc = crc32c::crc32c_append(crc, part);
            left -= part.len() as u64;
        }
        Ok(crc == written)
    }

    fn bytes_at(&mut self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
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
        if self.header.version < 4 && head.encrypted {
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
            payload.truncate(head.stored_len() as usize);
            if !head.is_whole(&payload) {
                return Ok(Err(End::Torn(FormatError::PayloadChecksum)));
            }
        } else {
            self.file.seek_relative(rest as i64)?;
        }
        Ok(Ok(Entry { offset: self.at, head, payload }))
    }
}
