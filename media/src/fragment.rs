//! Fragments, and the three events that every way in yields.

use crate::{Chunks, FragmentNumber, Frame, Header, HeaderId, UnixMillis, mkv};
use bytes::Bytes;
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
    /// What was recorded there is damaged and left out. Never the cause of a stored fragment: it is found when one is read.
    Damaged = 10,
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
            Damaged,
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
    /// Producer time of its first frame; of a producer's own cluster, the time that its Timestamp says, where its first frame may
    /// come a little later.
    pub producer_start: UnixMillis,
    /// Server time at which its first byte arrived.
    pub server_start: UnixMillis,
    /// From its first frame to the end of its last one, in ms. Never 0.
    pub duration_ms: u32,
    /// Length in bytes of what is stored of it: its lead and its cluster.
    pub bytes: u32,
    /// Of `bytes`, how many the lead has; 0 for most.
    pub lead_bytes: u32,
    /// Frames in it, over all tracks.
    pub frames: u32,
    /// CRC-32C of the bytes of the lead and then of the cluster. Of an encrypted one what its stream's key makes of that: it tells equal
    /// fragments of a stream apart from others, and nothing of the bytes.
    pub crc32c: u32,
    /// The header to read it under.
    pub header: HeaderId,
    /// Set if it does not continue the fragment before it.
    pub cause: Option<Cause>,
    /// Whether the store keeps its bytes encrypted.
    pub encrypted: bool,
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
    /// What a producer sent between the header and the cluster (its Tags), byte for byte; empty for most.
    pub lead: Bytes,
    /// The cluster element, byte for byte as stored.
    pub cluster: Chunks,
}

impl Fragment {
    /// Its frames in decode order, on the producer's clock: also where the producer counts the times in its clusters from the start
    /// of its session (`RELATIVE`), which `meta.producer_start` already has in it. Payloads are slices of the cluster, which is
    /// copied only if it is in pieces that no [`mkv::ClusterWriter`] made.
    pub fn frames(&self) -> Result<Vec<Frame>, mkv::Error> {
        let (cluster_start, mut frames) = mkv::parse_timed(&self.header, &self.cluster)?;
        let shift_ms = self.meta.producer_start.0.saturating_sub(cluster_start.0);
        // A time before 1970 cannot stand in a cluster; its writer wrote the epoch.
        if shift_ms != 0 && self.meta.producer_start.0 > 0 {
            let shift_us = shift_ms.saturating_mul(1000);
            frames.iter_mut().for_each(|frame| frame.time = frame.time.plus(shift_us));
        }
        Ok(frames)
    }

    /// A playable Matroska file of this fragment alone: the bytes of the header, the lead and the cluster. Nothing is copied.
    pub fn to_mkv(&self) -> Chunks {
        let lead = (!self.lead.is_empty()).then_some(&self.lead);
        std::iter::once(&self.header.bytes).chain(lead).chain(self.cluster.parts()).cloned().collect()
    }

    /// What is stored of it: the lead, then the cluster.
    pub fn payload(&self) -> impl Iterator<Item = &Bytes> + Clone {
        std::iter::once(&self.lead).chain(self.cluster.parts()).filter(|part| !part.is_empty())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Track, TrackKind, UnixMicros};

    fn fragment(producer_start: i64, timestamp: i64, offsets: &[i64]) -> Fragment {
        let header = mkv::write_header(&[Track {
            number: 1,
            kind: TrackKind::Video,
            codec_id: "V_TEST".to_owned(),
            codec_private: Bytes::new(),
            size: None,
            audio: None,
        }]);
        let mut cluster = mkv::ClusterWriter::new(UnixMillis(timestamp));
        for offset in offsets {
            let time = UnixMicros((timestamp + offset) * 1000);
            cluster.push(&Frame { track: 1, time, key: true, data: Bytes::from_static(b"frame") }).unwrap();
        }
        let cluster = cluster.finish();
        let meta = FragmentMeta {
            number: FragmentNumber::new(1, 0, 0),
            producer_start: UnixMillis(producer_start),
            server_start: UnixMillis(0),
            duration_ms: 1,
            bytes: cluster.len() as u32,
            lead_bytes: 0,
            frames: 1,
            crc32c: 0,
            header: header.id,
            cause: None,
            encrypted: false,
        };
        Fragment { meta, header: header.shared(), lead: Bytes::new(), cluster }
    }

    fn times(fragment: &Fragment) -> Vec<i64> {
        fragment.frames().unwrap().iter().map(|f| f.time.to_millis().0).collect()
    }

    #[test]
    fn frames_are_on_the_producer_s_clock() {
        assert_eq!(times(&fragment(5000, 5000, &[0, 40])), [5000, 5040]);
        assert_eq!(
            times(&fragment(1_795_000_005_000, 5000, &[3, 40])),
            [1_795_000_005_003, 1_795_000_005_040],
            "relative"
        );
        assert_eq!(times(&fragment(-70, 0, &[-70, -30])), [-70, -30], "before 1970");
    }

    #[test]
    fn a_file_of_it_has_the_lead_before_the_cluster() {
        let mut fragment = fragment(0, 0, &[0]);
        let bare = fragment.to_mkv().to_bytes();
        fragment.lead = Bytes::from_static(b"lead");
        let whole = fragment.to_mkv().to_bytes();
        let at = fragment.header.bytes.len();
        assert_eq!([&whole[..at], &whole[at + 4..]].concat(), bare);
        assert_eq!(&whole[at..at + 4], b"lead");
        let stored: Vec<u8> = fragment.payload().flat_map(|part| part.to_vec()).collect();
        assert_eq!(stored, whole[at..]);
    }
}
