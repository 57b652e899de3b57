//! What a header says of one track.

use bytes::Bytes;

/// What a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Any other time-encoded data (metadata, lidar, sensors). Matroska types other than 1 and 2 map here.
    Data,
}

/// One track of a stream, as in a Matroska TrackEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// The number that blocks name it by, from 1.
    pub number: u8,
    /// What it carries.
    pub kind: TrackKind,
    /// Matroska codec ID: `V_MPEG4/ISO/AVC`, `V_MPEGH/ISO/HEVC`, `A_AAC`, …
    pub codec_id: String,
    /// Matroska CodecPrivate: the AVCDecoderConfigurationRecord (avcC), the AudioSpecificConfig, … Empty if none.
    pub codec_private: Bytes,
    /// Width and height in pixels, for video.
    pub size: Option<(u32, u32)>,
    /// Sampling rate in Hz and channels, for audio.
    pub audio: Option<(u32, u8)>,
}

impl Track {
    /// Matroska's codec ID of H.264.
    pub const H264: &'static str = "V_MPEG4/ISO/AVC";
    /// Matroska's codec ID of AAC.
    pub const AAC: &'static str = "A_AAC";
    /// Matroska's codec ID of Opus.
    pub const OPUS: &'static str = "A_OPUS";

    /// Whether this is H.264 (the older documentation's spelling counts).
    pub fn is_h264(&self) -> bool {
        self.codec_id == Self::H264 || self.codec_id == "V_MPEG/ISO/AVC"
    }
    /// Whether this is AAC.
    pub fn is_aac(&self) -> bool {
        self.codec_id == Self::AAC
    }
}
