//! What a source of media yields, whichever way it comes in: what a recorder makes fragments of.

use crate::{Track, UnixMicros};
use bytes::Bytes;

/// Index of the video track in clocks and items; its number in a header is one more.
pub const VIDEO: usize = 0;
/// Index of the audio track.
pub const AUDIO: usize = 1;

/// What a source yields, in the order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The tracks of the frames that follow, video first: before the first frame and whenever parameters change.
    Tracks(Vec<Track>),
    /// An access unit: H.264 with 4-byte lengths, raw AAC, or an Opus packet.
    Frame(Unit),
    /// An RTCP sender report (RFC 3550 §6.4.1).
    Report {
        /// Index of the track.
        track: usize,
        /// RTP timestamp of the instant.
        rtp: u32,
        /// NTP timestamp of the instant.
        ntp: u64,
        /// When it arrived.
        arrival: UnixMicros,
    },
    /// This many video packets were unusable, and the pictures they belonged to.
    Lost(u32),
}

/// An access unit as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Index of the track.
    pub track: usize,
    /// Timestamp at the track's clock rate; wraps.
    pub rtp: u32,
    /// When its first byte arrived.
    pub arrival: UnixMicros,
    /// Packets lost between the unit before it and this one.
    pub lost: u32,
    /// The payload.
    pub data: Bytes,
}
