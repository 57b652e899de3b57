//! The on-disk form of a segment: its file header and its records. This file alone writes and reads it.
//!
//! What belongs here: bytes to values and back, with every length checked. What does not: files, order, recovery.
//! `docs/storage.md` draws the same layout for people. All integers are little-endian.

use crate::Range;
use crate::crypt::envelope;
use bytes::Bytes;
use media::{Cause, FragmentMeta, FragmentNumber, HeaderId, UnixMillis};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Version of the segment format that this program writes; it reads all from 1 on. Version 2 added the lead of a fragment and the
/// record of a deleted range, version 3 the generation of a file, version 4 encrypted fragments and headers.
pub(crate) const VERSION: u32 = 4;
/// Bytes of the header at the start of a segment file.
pub(crate) const FILE_HEADER_LEN: usize = 64;
/// Bytes of the head of a record; its payload follows.
pub(crate) const HEAD_LEN: usize = 72;
/// Records start at multiples of this many bytes.
pub(crate) const ALIGN: usize = 8;
/// Longest payload that is written or believed.
pub(crate) const MAX_PAYLOAD: u32 = 256 << 20;

/// Longest lead of a fragment: its length stands in 16 bits.
pub(crate) const MAX_LEAD: usize = u16::MAX as usize;

const FILE_MAGIC: [u8; 8] = *b"VDCNSEG\n";
const RECORD_MAGIC: [u8; 4] = *b"VREC";
/// The kind of an encrypted fragment, on the disk.
const ENCRYPTED: u8 = 6;

/// Why bytes are no segment header or no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Fewer bytes than the structure has.
    #[error("{have} bytes where {need} are needed")]
    Short {
        /// Bytes there are.
        have: u64,
        /// Bytes there should be.
        need: u64,
    },
    /// The magic bytes at the start differ.
    #[error("it does not start with the magic bytes")]
    Magic,
    /// The checksum of the header or record head differs.
    #[error("the checksum of its head is wrong")]
    HeadChecksum,
    /// The checksum of the payload differs.
    #[error("the checksum of its payload is wrong")]
    PayloadChecksum,
    /// Written by another version of the format.
    #[error("format version {0}, this program reads versions 1 to {VERSION}")]
    Version(u32),
    /// A field holds what no version of this program writes.
    #[error("field `{0}` holds an impossible value")]
    Field(&'static str),
}

/// The start of a segment file: which store and which segment it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    /// Of the format.
    pub(crate) version: u32,
    pub(crate) store: Uuid,
    pub(crate) segment: u64,
    pub(crate) created_at: UnixMillis,
    /// How often the segment was written anew.
    pub(crate) generation: u32,
}

impl FileHeader {
    /// The header of a new segment.
    pub(crate) fn new(store: Uuid, segment: u64, created_at: UnixMillis) -> FileHeader {
        FileHeader { version: VERSION, store, segment, created_at, generation: 0 }
    }

    /// The same in the version that is written now: of a segment that is written anew.
    pub(crate) fn renewed(self) -> FileHeader {
        FileHeader { version: VERSION, ..self }
    }

    /// `magic[8] version[4] 0[4] store[16] segment[8] created_at[8] generation[4] 0[8] crc[4]`
    pub(crate) fn encode(&self) -> [u8; FILE_HEADER_LEN] {
        let mut out = [0; FILE_HEADER_LEN];
        out[..8].copy_from_slice(&FILE_MAGIC);
        out[8..12].copy_from_slice(&self.version.to_le_bytes());
        out[16..32].copy_from_slice(self.store.as_bytes());
        out[32..40].copy_from_slice(&self.segment.to_le_bytes());
        out[40..48].copy_from_slice(&self.created_at.0.to_le_bytes());
        out[48..52].copy_from_slice(&self.generation.to_le_bytes());
        let crc = crc32c::crc32c(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// A header of which one byte is damaged, as it was.
    pub(crate) fn mend(bytes: &[u8]) -> Option<FileHeader> {
        mend::<FILE_HEADER_LEN, _>(bytes, FileHeader::decode)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<FileHeader, FormatError> {
        let bytes: &[u8; FILE_HEADER_LEN] = head_of(bytes)?;
        if bytes[..8] != FILE_MAGIC {
            return Err(FormatError::Magic);
        }
        if u32_at(bytes, 60) != crc32c::crc32c(&bytes[..60]) {
            return Err(FormatError::HeadChecksum);
        }
        let version = u32_at(bytes, 8);
        if !(1..=VERSION).contains(&version) {
            return Err(FormatError::Version(version));
        }
        let store: [u8; 16] = bytes[16..32].try_into().expect("a slice of 16 bytes");
        Ok(FileHeader {
            version,
            store: Uuid::from_bytes(store),
            segment: u64_at(bytes, 32),
            created_at: UnixMillis(u64_at(bytes, 40) as i64),
            generation: u32_at(bytes, 48),
        })
    }
}

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordKind {
    /// A stream's name and retention ([`StreamBody`]), before its first header in a segment.
    Stream = 1,
    /// A media header, before the first fragment in a segment that refers to it.
    Header = 2,
    /// A fragment: its lead and its cluster.
    Fragment = 3,
    /// The stream was deleted: what earlier records say of it no longer counts.
    Deleted = 4,
    /// Fragments that stand before it in the log and overlap a range of producer time were deleted.
    DeletedRange = 5,
}

/// The head of a record. Fields that its kind has no use for are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: RecordKind,
    pub(crate) cause: Option<Cause>,
    /// Whether the payload of a fragment lies in an envelope ([`crate::crypt::envelope`]).
    pub(crate) encrypted: bool,
    /// Of the payload, how many bytes at its start are the lead.
    pub(crate) lead_len: u16,
    /// The stream's id in the catalog.
    pub(crate) stream: u64,
    /// Counter of the fragment number; in a `Stream` record, the highest counter that may have been given out.
    pub(crate) counter: u64,
    /// In a `DeletedRange` record, the first instant of the range.
    pub(crate) producer_start: UnixMillis,
    /// Also the server time in the fragment number. In a `DeletedRange` record, the instant just after the range.
    pub(crate) server_start: UnixMillis,
    pub(crate) header: HeaderId,
    /// Random bits of the fragment number.
    pub(crate) random: u32,
    pub(crate) duration_ms: u32,
    pub(crate) frames: u32,
    pub(crate) payload_len: u32,
    pub(crate) payload_crc: u32,
}

impl Head {
    fn empty(kind: RecordKind, stream: u64) -> Head {
        let zero = UnixMillis(0);
        Head {
            kind,
            cause: None,
            encrypted: false,
            lead_len: 0,
            stream,
            counter: 0,
            producer_start: zero,
            server_start: zero,
            header: HeaderId(0),
            random: 0,
            duration_ms: 0,
            frames: 0,
            payload_len: 0,
            payload_crc: 0,
        }
    }
    fn with_payload(mut self, payload: &[u8]) -> Head {
        self.payload_len = payload.len() as u32;
        self.payload_crc = crc32c::crc32c(payload);
        self
    }
    /// The head of a stream record with this payload.
    pub(crate) fn stream(stream: u64, counter_limit: u64, payload: &[u8]) -> Head {
        Head { counter: counter_limit, ..Head::empty(RecordKind::Stream, stream) }.with_payload(payload)
    }
    /// The head of a header record with this payload.
    pub(crate) fn header(stream: u64, header: HeaderId, payload: &[u8]) -> Head {
        Head { header, ..Head::empty(RecordKind::Header, stream) }.with_payload(payload)
    }
    /// The record that a stream is deleted.
    pub(crate) fn deleted(stream: u64) -> Head {
        Head::empty(RecordKind::Deleted, stream)
    }
    /// The record that a range of producer time is deleted.
    pub(crate) fn deleted_range(stream: u64, range: Range) -> Head {
        Head { producer_start: range.from, server_start: range.to, ..Head::empty(RecordKind::DeletedRange, stream) }
    }
    /// The range of such a record.
    pub(crate) fn range(&self) -> Range {
        Range { from: self.producer_start, to: self.server_start }
    }
    /// The head of a fragment record. A lead is at most [`MAX_LEAD`] bytes long.
    pub(crate) fn fragment(stream: u64, meta: &FragmentMeta) -> Head {
        debug_assert!(meta.lead_bytes as usize <= MAX_LEAD);
        Head {
            cause: meta.cause,
            encrypted: meta.encrypted,
            lead_len: meta.lead_bytes as u16,
            counter: meta.number.counter(),
            producer_start: meta.producer_start,
            server_start: meta.server_start,
            header: meta.header,
            random: meta.number.random(),
            duration_ms: meta.duration_ms,
            frames: meta.frames,
            payload_len: meta.bytes,
            payload_crc: meta.crc32c,
            ..Head::empty(RecordKind::Fragment, stream)
        }
    }
    /// What a fragment record says of its fragment.
    pub(crate) fn meta(&self) -> FragmentMeta {
        FragmentMeta {
            number: FragmentNumber::new(self.counter, self.server_start.0 as u64, self.random),
            producer_start: self.producer_start,
            server_start: self.server_start,
            duration_ms: self.duration_ms,
            bytes: self.payload_len,
            lead_bytes: u32::from(self.lead_len),
            frames: self.frames,
            crc32c: self.payload_crc,
            header: self.header,
            cause: self.cause,
            encrypted: self.encrypted,
        }
    }

    /// ```text
    ///  0 magic "VREC"     4 kind   5 cause   6 lead length (2)   8 stream id
    /// 16 counter                             24 producer start (ms)
    /// 32 server start (ms)                   40 header id
    /// 48 random          52 duration (ms)    56 frames          60 payload length
    /// 64 CRC-32C of the payload              68 CRC-32C of bytes 0–67
    /// ```
    pub(crate) fn encode(&self) -> [u8; HEAD_LEN] {
        let mut out = [0; HEAD_LEN];
        out[..4].copy_from_slice(&RECORD_MAGIC);
        out[4] = if self.encrypted { ENCRYPTED } else { self.kind as u8 };
        out[5] = self.cause.map_or(0, |c| c as u8);
        out[6..8].copy_from_slice(&self.lead_len.to_le_bytes());
        out[8..16].copy_from_slice(&self.stream.to_le_bytes());
        out[16..24].copy_from_slice(&self.counter.to_le_bytes());
        out[24..32].copy_from_slice(&self.producer_start.0.to_le_bytes());
        out[32..40].copy_from_slice(&self.server_start.0.to_le_bytes());
        out[40..48].copy_from_slice(&self.header.0.to_le_bytes());
        out[48..52].copy_from_slice(&self.random.to_le_bytes());
        out[52..56].copy_from_slice(&self.duration_ms.to_le_bytes());
        out[56..60].copy_from_slice(&self.frames.to_le_bytes());
        out[60..64].copy_from_slice(&self.payload_len.to_le_bytes());
        out[64..68].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32c::crc32c(&out[..68]);
        out[68..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// A head of which one byte is damaged, as it was.
    pub(crate) fn mend(bytes: &[u8]) -> Option<Head> {
        mend::<HEAD_LEN, _>(bytes, Head::decode)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Head, FormatError> {
        let bytes: &[u8; HEAD_LEN] = head_of(bytes)?;
        if bytes[..4] != RECORD_MAGIC {
            return Err(FormatError::Magic);
        }
        if u32_at(bytes, 68) != crc32c::crc32c(&bytes[..68]) {
            return Err(FormatError::HeadChecksum);
        }
        let encrypted = bytes[4] == ENCRYPTED;
        let kind = match bytes[4] {
            1 => RecordKind::Stream,
            2 => RecordKind::Header,
            3 | ENCRYPTED => RecordKind::Fragment,
            4 => RecordKind::Deleted,
            5 => RecordKind::DeletedRange,
            _ => return Err(FormatError::Field("kind")),
        };
        let cause = match bytes[5] {
            0 => None,
            code => Some(Cause::from_code(code).ok_or(FormatError::Field("cause"))?),
        };
        let head = Head {
            kind,
            cause,
            encrypted,
            lead_len: u16::from_le_bytes([bytes[6], bytes[7]]),
            stream: u64_at(bytes, 8),
            counter: u64_at(bytes, 16),
            producer_start: UnixMillis(u64_at(bytes, 24) as i64),
            server_start: UnixMillis(u64_at(bytes, 32) as i64),
            header: HeaderId(u64_at(bytes, 40)),
            random: u32_at(bytes, 48),
            duration_ms: u32_at(bytes, 52),
            frames: u32_at(bytes, 56),
            payload_len: u32_at(bytes, 60),
            payload_crc: u32_at(bytes, 64),
        };
        if head.payload_len > MAX_PAYLOAD {
            return Err(FormatError::Field("payload length"));
        }
        if head.lead_len > 0 && (kind != RecordKind::Fragment || u32::from(head.lead_len) > head.payload_len) {
            return Err(FormatError::Field("lead length"));
        }
        if head.counter > FragmentNumber::MAX_COUNTER {
            return Err(FormatError::Field("counter"));
        }
        if head.random > 0x0fff_ffff {
            return Err(FormatError::Field("random"));
        }
        if head.kind == RecordKind::Fragment && head.server_start.0 < 0 {
            return Err(FormatError::Field("server start"));
        }
        Ok(head)
    }

    /// The payload of a header or of the description of a stream, of which one byte is damaged, as it was. Not for fragments: among so
    /// many bytes the checksum would often fit a wrong one. Here what was damaged must also be the header of its id, or a description; of an
    /// encrypted header, whose id says nothing of its bytes, a wrong one is found once in some thousand times, and then never opens.
    pub(crate) fn mend_payload(&self, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        const MOST: usize = 4096;
        if bytes.len() > MOST {
            return None;
        }
        let fits = |bytes: &[u8]| match self.kind {
            RecordKind::Header => may_be_header(bytes, self.header),
            RecordKind::Stream => StreamBody::decode(bytes).is_ok(),
            _ => false,
        };
        for at in 0..bytes.len() {
            let written = bytes[at];
            for other in (0..=255u8).filter(|other| *other != written) {
                bytes[at] = other;
                if crc32c::crc32c(&bytes) == self.payload_crc && fits(&bytes) {
                    return Some(bytes);
                }
            }
            bytes[at] = written;
        }
        None
    }

    /// Bytes from the start of this record to the start of the next.
    pub(crate) fn record_len(&self) -> u64 {
        record_len(self.payload_len, self.encrypted)
    }

    /// Bytes that stand behind the head: the payload, or its envelope.
    pub(crate) fn stored_len(&self) -> u64 {
        stored_len(self.payload_len, self.encrypted)
    }

    /// Whether these are the bytes that were written behind the head. Needs no key.
    pub(crate) fn is_whole(&self, stored: &[u8]) -> bool {
        match self.encrypted {
            true => stored.len() as u64 == self.stored_len() && envelope::is_whole(stored, Some(self.payload_crc)),
            false => crc32c::crc32c(stored) == self.payload_crc,
        }
    }

    /// What is authenticated with the bytes of an encrypted fragment: all that its head says of it.
    pub(crate) fn place(&self) -> [u8; HEAD_LEN] {
        self.encode()
    }
}

fn stored_len(payload_len: u32, encrypted: bool) -> u64 {
    if encrypted { envelope::len(payload_len.into()) } else { payload_len.into() }
}

/// Bytes that a record with such a payload takes: head, payload or its envelope, zeros up to the alignment.
pub(crate) fn record_len(payload_len: u32, encrypted: bool) -> u64 {
    (HEAD_LEN as u64 + stored_len(payload_len, encrypted)).next_multiple_of(ALIGN as u64)
}

/// Bytes that the record of a fragment takes.
pub(crate) fn record_len_of(meta: &FragmentMeta) -> u64 {
    record_len(meta.bytes, meta.encrypted)
}

/// The same without the zeros at its end.
pub(crate) fn unpadded_len_of(meta: &FragmentMeta) -> u64 {
    HEAD_LEN as u64 + stored_len(meta.bytes, meta.encrypted)
}

/// Whether these bytes may be the header of this id. Of encrypted ones only a key tells for certain.
pub(crate) fn may_be_header(bytes: &[u8], id: HeaderId) -> bool {
    envelope::is_whole(bytes, None) || HeaderId::of(bytes) == id
}

/// The zeros that follow so many bytes behind a head.
pub(crate) fn padding(stored_len: u64) -> Bytes {
    const ZEROS: [u8; ALIGN] = [0; ALIGN];
    let len = (HEAD_LEN as u64 + stored_len).next_multiple_of(ALIGN as u64) - HEAD_LEN as u64 - stored_len;
    Bytes::from_static(&ZEROS[..len as usize])
}

/// The payload of a stream record, as JSON, so that the index can be rebuilt from segments alone (invariant 5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamBody {
    pub(crate) name: media::StreamName,
    pub(crate) retention_hours: Option<u32>,
    pub(crate) created_at: UnixMillis,
}

impl StreamBody {
    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a name, a number and a time have a JSON form")
    }
    pub(crate) fn decode(bytes: &[u8]) -> Result<StreamBody, FormatError> {
        serde_json::from_slice(bytes).map_err(|_| FormatError::Field("stream description"))
    }
}

/// What these bytes say when exactly one of them is not what was written. Only for places where a head is known to stand: the checksum,
/// the magic bytes and the fields of 68 bytes leave no room for a chance hit, and of two readings neither is believed.
fn mend<const N: usize, T>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, FormatError>) -> Option<T> {
    let mut bytes: [u8; N] = *bytes.first_chunk()?;
    let mut found = None;
    for at in 0..N {
        let written = bytes[at];
        for other in (0..=255u8).filter(|other| *other != written) {
            bytes[at] = other;
            if let Ok(read) = decode(&bytes) {
                if found.is_some() {
                    return None;
                }
                found = Some(read);
            }
        }
        bytes[at] = written;
    }
    found
}

fn head_of<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], FormatError> {
    bytes.first_chunk().ok_or(FormatError::Short { have: bytes.len() as u64, need: N as u64 })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of 4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a slice of 8 bytes"))
}

/// The body of the fuzz target: reads `data` as a segment's records; what is read must be written back the same.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    if let Ok(header) = FileHeader::decode(data) {
        // Reserved bytes are covered by the checksum but not kept, so compare what is.
        assert_eq!(FileHeader::decode(&header.encode()), Ok(header));
    }
    let mut rest = data;
    while let Ok(head) = Head::decode(rest) {
        assert_eq!(head.encode(), rest[..HEAD_LEN]);
        let _ = head.meta().number.to_string();
        let payload_end = HEAD_LEN + head.stored_len() as usize;
        if let Some(payload) = rest.get(HEAD_LEN..payload_end) {
            let _ = (StreamBody::decode(payload), head.is_whole(payload));
        }
        let Some(next) = rest.get(head.record_len() as usize..) else { break };
        rest = next;
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
