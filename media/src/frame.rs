//! One frame: an access unit of a track.

use crate::time::UnixMicros;
use bytes::Bytes;

/// One access unit, in decode order within its fragment. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The track's number in the header.
    pub track: u8,
    /// Producer time of presentation. With B-frames it is not monotonic in decode order.
    pub time: UnixMicros,
    /// Whether decoding can start here.
    pub key: bool,
    /// The payload as Matroska stores it: H.264 as length-prefixed NAL units (4 bytes), AAC raw without ADTS.
    pub data: Bytes,
}
