//! H.264 (ITU-T H.264 | ISO/IEC 14496-10) as far as a recorder needs it: where NAL units are, what they are, the
//! decoder configuration record, and what a sequence parameter set says of size, rate and reordering.
//!
//! What does not belong here: decoding pictures, and RTP payloads (`rtp::h264`).

mod avcc;
mod nal;
mod sps;

pub use avcc::{Avcc, codec_string};
pub use nal::{NalUnits, annexb_to_lengths, annexb_units, is_annexb, is_b_slice, is_idr, nal_type, nal_units};
pub use sps::{SpsInfo, sps_info};

/// NAL unit types (H.264, table 7-1).
pub mod types {
    /// A slice of a picture that other pictures are needed for.
    pub const SLICE: u8 = 1;
    /// A slice of an instantaneous decoding refresh picture.
    pub const IDR: u8 = 5;
    /// Supplemental enhancement information.
    pub const SEI: u8 = 6;
    /// Sequence parameter set.
    pub const SPS: u8 = 7;
    /// Picture parameter set.
    pub const PPS: u8 = 8;
    /// Access unit delimiter.
    pub const AUD: u8 = 9;
}

/// Why bytes are not the H.264 they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A decoder configuration record that ends too early or holds no parameter sets.
    #[error("avcC, byte {at}: {what}")]
    Avcc {
        /// Offset in bytes.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A sequence parameter set that makes no sense.
    #[error("SPS, bit {at}: {what}")]
    Sps {
        /// Offset in bits, after removal of emulation prevention bytes.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A NAL unit's length reaches past the end of its frame.
    #[error("the NAL unit at byte {at} reaches past the end of the frame")]
    NalLength {
        /// Offset of the length field in bytes.
        at: usize,
    },
}

#[cfg(test)]
mod tests;
