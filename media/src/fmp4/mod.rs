//! Fragmented MP4 for HLS and DASH: an init segment per header, a media segment per fragment (ISO/IEC 14496-12, CMAF).
//!
//! H.264, H.265 and AAC tracks are shown, muxed in one file; other tracks are left out. Times are absolute: the decode
//! time of a media segment is its producer time since the Unix epoch, so any fragments of a stream line up by
//! themselves. Pure remuxing: frame payloads are slices of the fragment.

mod boxes;
mod init;
mod segment;
mod timing;

pub use init::init;
pub use segment::{segment, segment_from};

use crate::{Header, Track, TrackKind, aac::AudioSpecificConfig, h264, hevc, mkv};
use bytes::Bytes;

#[cfg(test)]
mod tests;

/// Ticks per second of video tracks.
const VIDEO_TIMESCALE: u32 = 90_000;

/// Why a header or a fragment cannot be shown as MP4.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No track has a codec that is shown as MP4.
    #[error("no H.264, H.265 or AAC track with a usable configuration")]
    NothingPlayable,
    /// The fragment has no frame of a track that is shown.
    #[error("the fragment has no frames to show")]
    NoFrames,
    /// The fragment is larger than MP4's 32-bit offsets.
    #[error("the fragment is too large for one media segment")]
    TooLarge,
    /// The fragment's cluster cannot be read.
    #[error(transparent)]
    Cluster(#[from] mkv::Error),
}

/// A track that is shown, and how.
struct Shown<'a> {
    track: &'a Track,
    codec: Codec,
}

enum Codec {
    /// The configuration record for the sample entry, and whether frames come with start codes.
    H264 {
        avcc: Bytes,
        annexb: bool,
    },
    H265,
    Aac(AudioSpecificConfig),
}

impl Shown<'_> {
    fn timescale(&self) -> u32 {
        match &self.codec {
            Codec::Aac(config) => config.sample_rate_hz,
            Codec::H264 { .. } | Codec::H265 => VIDEO_TIMESCALE,
        }
    }
}

/// The tracks that are shown, in the header's order: all that have a codec and a configuration MP4 can carry.
fn shown(header: &Header) -> Vec<Shown<'_>> {
    header.tracks.iter().filter_map(|track| Some(Shown { track, codec: codec(track)? })).collect()
}

/// The numbers of the tracks that are shown.
pub(crate) fn shown_tracks(header: &Header) -> Vec<u8> {
    shown(header).iter().map(|shown| shown.track.number).collect()
}

/// The tracks' codecs after RFC 6381.
pub(crate) fn codec_strings(header: &Header) -> Vec<String> {
    let name = |shown: Shown<'_>| match &shown.codec {
        Codec::H264 { avcc, .. } => h264::Avcc::parse(avcc).ok().map(|avcc| h264::codec_string(&avcc)),
        Codec::H265 => hevc::codec_string(&shown.track.codec_private),
        Codec::Aac(config) => Some(config.codec_string()),
    };
    shown(header).into_iter().filter_map(name).collect()
}

fn codec(track: &Track) -> Option<Codec> {
    let private = &track.codec_private;
    match track.kind {
        TrackKind::Video if track.is_h264() => {
            let parsed = h264::Avcc::parse(private).ok()?;
            let annexb = h264::is_annexb(private);
            let avcc =
                if annexb { h264::Avcc::from_parameter_sets(parsed.sps(), parsed.pps()) } else { private.clone() };
            Some(Codec::H264 { avcc, annexb })
        }
        // A configuration record has 22 bytes before its parameter sets.
        TrackKind::Video if track.codec_id == "V_MPEGH/ISO/HEVC" => {
            (private.len() > 22 && private[0] == 1).then_some(Codec::H265)
        }
        TrackKind::Audio if track.is_aac() => AudioSpecificConfig::parse(private).ok().map(Codec::Aac),
        _ => None,
    }
}
