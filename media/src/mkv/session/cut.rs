//! Cutting a cluster that gets too long: the part after the cut is a cluster of its own, with a Timestamp of its own.

use super::{Open, Session, State, collected::Collected};
use crate::Chunks;
use crate::mkv::{
    ebml::{Elements, vint},
    error::{Error, Reason},
    id,
};

/// Where in the collected cluster a block stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockAt {
    /// Its element.
    pub(super) element: usize,
    /// Its relative time, two bytes, and what they say.
    pub(super) time: usize,
    pub(super) relative: i16,
}

impl Session {
    /// Cuts the open cluster before the block of the frame that was given last, which must be the first of its block. Gives the
    /// cluster so far, and the Timestamp of the one that goes on: that of the frame. Its blocks get new relative times; everything
    /// else in them stays. `None` if it cannot be cut here.
    pub fn split(&mut self) -> Option<(Chunks, u64)> {
        self.intake.flush(&mut self.sink);
        let State::Cluster(open) = &mut self.state else { return None };
        let (Some(base), Some(block), Some(sink)) = (open.base, open.block, self.sink.as_mut()) else { return None };
        let timestamp = base.checked_add_signed(i64::from(block.relative))?;
        let was_cut = open.rebased.is_some();
        let rest = sink.split_off(block.element);
        let bytes_left = rest.len();
        let mut first = std::mem::replace(sink, Collected::continuation(timestamp, rest));
        // Where the block stands now; it counts from itself.
        let element = sink.len() - bytes_left;
        let time = element + (block.time - block.element);
        sink.replace(time, &0i16.to_be_bytes());
        open.block = Some(BlockAt { element, time, ..block });
        open.rebased = Some(timestamp);
        let cluster = if was_cut {
            first.into_cluster()
        } else if open.end.is_some() {
            first.split_off(open.head_len).into_cluster()
        } else {
            first.finish()
        };
        Some((cluster, timestamp))
    }

    /// Gives the last block of a cluster that was split a relative time that counts from the new Timestamp.
    pub(super) fn rebase(&mut self) -> Result<(), Error> {
        let State::Cluster(Open { base: Some(base), block: Some(block), rebased: Some(rebased), .. }) = &self.state
        else {
            return Ok(());
        };
        let ticks = i128::from(*base) + i128::from(block.relative) - i128::from(*rebased);
        let relative = i16::try_from(ticks).map_err(|_| {
            let ticks = ticks.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
            Error::new(self.intake.offset() as usize, Reason::FrameTime(ticks))
        })?;
        let time = block.time;
        self.intake.flush(&mut self.sink);
        if let Some(sink) = &mut self.sink {
            sink.replace(time, &relative.to_be_bytes());
        }
        Ok(())
    }
}

/// Where in the body of a SimpleBlock or BlockGroup the relative time stands, and what it is.
pub(super) fn relative_time(id: u32, body: &[u8]) -> Option<(usize, i16)> {
    let mut block = 0..body.len();
    if id == id::BLOCK_GROUP {
        let mut fields = Elements::new(body, block);
        block = loop {
            let field = fields.next_sized().ok()??;
            if field.id == id::BLOCK {
                break field.body;
            }
        };
    }
    let (_, len) = vint(&body[block.clone()]).ok()??;
    let at = block.start + len;
    let time = body.get(at..at + 2).filter(|_| at + 2 <= block.end)?;
    Some((at, i16::from_be_bytes([time[0], time[1]])))
}
