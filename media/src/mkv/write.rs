//! Writing a cluster: one Timestamp and SimpleBlocks, the size known.

use super::{
    ebml::{put_id, put_size, size_len},
    error::{Error, Reason},
    id,
};
use crate::{Chunks, Frame, UnixMillis};
use bytes::{BufMut, BytesMut};

/// Block heads are cut from buffers of this size.
const HEADS: usize = 2048;
/// More than the longest block head: ID 1, size 8, track 2, time 2, flags 1.
const HEAD: usize = 16;

/// Collects the frames of one fragment into a Cluster element whose times are in ms since the Unix epoch, to be read
/// under a header with a TimestampScale of a millisecond, as [`super::write_header`] makes it.
///
/// Only block heads are written; frame payloads go through as they are.
#[derive(Debug)]
pub struct ClusterWriter {
    start: UnixMillis,
    heads: BytesMut,
    body: Chunks,
    frames: u32,
}

impl ClusterWriter {
    /// A cluster whose Timestamp is `start`. An instant before the epoch is written as the epoch.
    pub fn new(start: UnixMillis) -> Self {
        let start = UnixMillis(start.0.max(0));
        let mut heads = BytesMut::with_capacity(HEADS);
        put_id(&mut heads, id::TIMESTAMP);
        put_size(&mut heads, 8);
        heads.put_i64(start.0);
        let body = Chunks::from(heads.split().freeze());
        ClusterWriter { start, heads, body, frames: 0 }
    }

    /// Appends a frame. Its time, cut to the millisecond, must lie within an int16 of ms of the cluster's; the cluster
    /// must stay below 4 GiB. Otherwise the cluster is as before.
    pub fn push(&mut self, frame: &Frame) -> Result<(), Error> {
        let offset = frame.time.to_millis().0.saturating_sub(self.start.0);
        let error = |reason| Error::new(self.bytes(), reason);
        let relative = i16::try_from(offset).map_err(|_| error(Reason::FrameTime(offset)))?;
        if u32::try_from(self.bytes() + HEAD + frame.data.len()).is_err() {
            return Err(error(Reason::TooLarge));
        }
        if frame.track == 0 {
            return Err(error(Reason::Value("a block's track number")));
        }
        if self.heads.capacity() < HEAD {
            self.heads = BytesMut::with_capacity(HEADS);
        }
        let wide = frame.track > 126;
        put_id(&mut self.heads, id::SIMPLE_BLOCK);
        put_size(&mut self.heads, (4 + usize::from(wide) + frame.data.len()) as u64);
        if wide {
            self.heads.put_u16(0x4000 | u16::from(frame.track));
        } else {
            self.heads.put_u8(0x80 | frame.track);
        }
        self.heads.put_i16(relative);
        self.heads.put_u8(if frame.key { 0x80 } else { 0 });
        self.body.push(self.heads.split().freeze());
        self.body.push(frame.data.clone());
        self.frames += 1;
        Ok(())
    }

    /// Frames so far.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// Length in bytes that [`Self::finish`] would give now.
    pub fn bytes(&self) -> usize {
        let body = self.body.len();
        4 + size_len(body as u64) + body
    }

    /// The cluster element.
    pub fn finish(self) -> Chunks {
        let mut head = BytesMut::with_capacity(12);
        put_id(&mut head, id::CLUSTER);
        put_size(&mut head, self.body.len() as u64);
        std::iter::once(head.freeze()).chain(self.body.parts().iter().cloned()).collect()
    }
}
