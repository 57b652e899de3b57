//! Matroska, as far as fragments need it: a header, and one cluster per fragment.
//!
//! What belongs here: reading and writing the EBML header, Segment, Info, Tracks, Tags and Cluster elements, and cutting a
//! byte string into them. Lenient in what it reads: elements it does not know are skipped, sizes may be 1 to 8 bytes
//! wide or unknown, blocks may be simple or grouped, laced or not. Strict in one thing: every length is checked
//! against the bytes that are there, so foreign input costs no more memory than itself and never panics.
//!
//! What does not: cues (skipped as elements), and what a session that arrives in pieces means, which `ingest` decides.
//!
//! Frame payloads are slices of the bytes given; nothing is copied in either direction.

mod ebml;
mod error;
mod header;
mod lacing;
mod read;
mod retime;
pub mod session;
mod split;
mod tags;
mod write;

pub use error::{Error, Reason};
pub use header::{document_start, parse_header, write_header};
pub use read::{parse_chunks, parse_cluster, parse_timed};
pub use retime::retime;
pub use split::{Piece, Pieces, pieces};
pub use tags::{parse_tags, write_tags};
pub use write::ClusterWriter;

#[cfg(test)]
mod tests;

/// Element IDs with their length marker (RFC 9559, section 27.1).
pub(crate) mod id {
    pub(crate) const EBML: u32 = 0x1A45_DFA3;
    pub(crate) const DOC_TYPE: u32 = 0x4282;
    pub(crate) const SEGMENT: u32 = 0x1853_8067;
    pub(crate) const SEEK_HEAD: u32 = 0x114D_9B74;
    pub(crate) const INFO: u32 = 0x1549_A966;
    pub(crate) const TIMESTAMP_SCALE: u32 = 0x002A_D7B1;
    pub(crate) const MUXING_APP: u32 = 0x4D80;
    pub(crate) const WRITING_APP: u32 = 0x5741;
    pub(crate) const TRACKS: u32 = 0x1654_AE6B;
    pub(crate) const TRACK_ENTRY: u32 = 0xAE;
    pub(crate) const TRACK_NUMBER: u32 = 0xD7;
    pub(crate) const TRACK_UID: u32 = 0x73C5;
    pub(crate) const TRACK_TYPE: u32 = 0x83;
    pub(crate) const FLAG_LACING: u32 = 0x9C;
    pub(crate) const DEFAULT_DURATION: u32 = 0x0023_E383;
    pub(crate) const CODEC_ID: u32 = 0x86;
    pub(crate) const CODEC_PRIVATE: u32 = 0x63A2;
    pub(crate) const VIDEO: u32 = 0xE0;
    pub(crate) const PIXEL_WIDTH: u32 = 0xB0;
    pub(crate) const PIXEL_HEIGHT: u32 = 0xBA;
    pub(crate) const AUDIO: u32 = 0xE1;
    pub(crate) const SAMPLING_FREQUENCY: u32 = 0xB5;
    pub(crate) const CHANNELS: u32 = 0x9F;
    pub(crate) const CLUSTER: u32 = 0x1F43_B675;
    pub(crate) const TIMESTAMP: u32 = 0xE7;
    pub(crate) const SIMPLE_BLOCK: u32 = 0xA3;
    pub(crate) const BLOCK_GROUP: u32 = 0xA0;
    pub(crate) const BLOCK: u32 = 0xA1;
    pub(crate) const BLOCK_DURATION: u32 = 0x9B;
    pub(crate) const REFERENCE_BLOCK: u32 = 0xFB;
    pub(crate) const TAGS: u32 = 0x1254_C367;
    pub(crate) const TAG: u32 = 0x7373;
    pub(crate) const SIMPLE_TAG: u32 = 0x67C8;
    pub(crate) const TAG_NAME: u32 = 0x45A3;
    pub(crate) const TAG_STRING: u32 = 0x4487;
    pub(crate) const CUES: u32 = 0x1C53_BB6B;
    pub(crate) const CHAPTERS: u32 = 0x1043_A770;
    pub(crate) const ATTACHMENTS: u32 = 0x1941_A469;

    /// Whether this element ends a cluster or a segment of unknown size (RFC 8794, section 6.2).
    pub(crate) fn ends_cluster(id: u32) -> bool {
        matches!(id, EBML | SEGMENT | SEEK_HEAD | INFO | TRACKS | CLUSTER | TAGS | CUES | CHAPTERS | ATTACHMENTS)
    }
}
