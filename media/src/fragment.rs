//! Fragments, and the three events that every way in yields.

use crate::{Chunks, FragmentNumber, Frame, Header, HeaderId, UnixMillis, mkv};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Why a fragment does not continue the one before it. Shown on the timeline as the cause of the gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Cause {
    /// The first fragment of the stream.
    Start = 1,
    /// The server was stopped or killed in between.
    ServerStopped = 2,
    /// The connection to the source was lost.
    SourceLost = 3,
    /// The source was disabled by its operator.
    SourceStopped = 4,
    /// The source's clock jumped.
    TimeJump = 5,
    /// Packets were lost, so that frames up to the next key frame were unusable.
    PacketLoss = 6,
    /// The memory budget was full; whole groups of pictures were dropped.
    Overload = 7,
    /// No key frame came within the limits of a fragment.
    FragmentTooLong = 8,
    /// The producer left a pause.
    ProducerPause = 9,
}

impl Cause {
    /// The cause stored as this code, if it is one.
    pub fn from_code(code: u8) -> Option<Cause> {
        use Cause::*;
        [
            Start,
            ServerStopped,
            SourceLost,
            SourceStopped,
            TimeJump,
            PacketLoss,
            Overload,
            FragmentTooLong,
            ProducerPause,
        ]
        .into_iter()
        .find(|c| *c as u8 == code)
    }
}

/// How a fragment begins.
#[derive(Clone, Debug)]
pub struct Start {
    /// The header its frames are to be read under.
    pub header: Arc<Header>,
    /// Producer time of the first frame.
    pub producer_start: UnixMillis,
    /// Set if it does not continue the fragment before it.
    pub cause: Option<Cause>,
}

/// What every way in yields, in this order, again and again: one `Begin`, one or more `Frame`s, one `End`.
/// A `Begin` without an `End` before it means that the open fragment is dropped.
#[derive(Clone, Debug)]
pub enum Event {
    /// A fragment begins.
    Begin(Start),
    /// A frame of the open fragment, in decode order.
    Frame(Frame),
    /// The open fragment is complete.
    End,
}

/// What is known of a stored fragment without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FragmentMeta {
    /// Its number in the stream.
    pub number: FragmentNumber,
    /// Producer time of its first frame.
    pub producer_start: UnixMillis,
    /// Server time at which its first byte arrived.
    pub server_start: UnixMillis,
    /// From its first frame to the end of its last one, in ms. Never 0.
    pub duration_ms: u32,
    /// Length of its cluster in bytes.
    pub bytes: u32,
    /// Frames in it, over all tracks.
    pub frames: u32,
    /// CRC-32C of the cluster's bytes.
    pub crc32c: u32,
    /// The header to read it under.
    pub header: HeaderId,
    /// Set if it does not continue the fragment before it.
    pub cause: Option<Cause>,
}

impl FragmentMeta {
    /// Producer time just after its last frame.
    pub fn producer_end(&self) -> UnixMillis {
        self.producer_start.plus(i64::from(self.duration_ms))
    }
}

/// A complete fragment: one Matroska cluster and the header to read it under.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// What is known of it.
    pub meta: FragmentMeta,
    /// The header to read it under.
    pub header: Arc<Header>,
    /// The cluster element, byte for byte as stored.
    pub cluster: Chunks,
}

impl Fragment {
    /// Its frames in decode order. Payloads are slices of the cluster, which is copied only if it is in pieces that no
    /// [`mkv::ClusterWriter`] made.
    pub fn frames(&self) -> Result<Vec<Frame>, mkv::Error> {
        mkv::parse_chunks(&self.header, &self.cluster)
    }

    /// A playable Matroska file of this fragment alone: the header's bytes, then the cluster's. Nothing is copied.
    pub fn to_mkv(&self) -> Chunks {
        std::iter::once(&self.header.bytes).chain(self.cluster.parts()).cloned().collect()
    }
}
