//! The header that fragments refer to: EBML, Segment, Info and Tracks, kept as the producer sent it.

use crate::track::{Track, TrackKind};
use bytes::Bytes;
use std::{fmt, sync::Arc};

/// The id of a header: a 64-bit FNV-1a over its bytes. A store checks the bytes behind an id before it trusts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderId(pub u64);

impl HeaderId {
    /// The id of these header bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let hash =
            bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
        HeaderId(hash)
    }
}

impl fmt::Display for HeaderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A parsed header with its own bytes. Shared by all fragments that were sent under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// EBML header + Segment start + Info + Tracks, verbatim. A cluster appended to it is a playable file.
    pub bytes: Bytes,
    /// Its id, by which catalog rows and segment records refer to it.
    pub id: HeaderId,
    /// Nanoseconds per cluster and block timecode unit (Matroska TimestampScale; 1 000 000 is a millisecond).
    pub timestamp_scale_ns: u64,
    /// The declared tracks.
    pub tracks: Vec<Track>,
}

impl Header {
    /// The first video track, if any.
    pub fn video(&self) -> Option<&Track> {
        self.tracks.iter().find(|t| t.kind == TrackKind::Video)
    }
    /// The first audio track, if any.
    pub fn audio(&self) -> Option<&Track> {
        self.tracks.iter().find(|t| t.kind == TrackKind::Audio)
    }
    /// The track with this number.
    pub fn track(&self, number: u8) -> Option<&Track> {
        self.tracks.iter().find(|t| t.number == number)
    }
    /// Wraps itself for sharing.
    pub fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }
}
