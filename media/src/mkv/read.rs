//! Reading a cluster.

use super::{
    ebml::{Element, Elements, vint},
    error::{Error, Reason},
    header::default_durations,
    id, lacing,
};
use crate::{Frame, Header, TrackKind, UnixMicros};
use bytes::Bytes;

/// The frames of a cluster, in the order of their blocks. Payloads are slices of `cluster`.
///
/// The cluster's size may be unknown; it then ends with the bytes or at the next top-level element. Whatever follows
/// the cluster is not looked at. Sound and data frames count as key frames even where their producer did not mark them:
/// decoding can start at each. Frames of undeclared tracks are given out like others.
pub fn parse_cluster(header: &Header, cluster: &Bytes) -> Result<Vec<Frame>, Error> {
    let element = Elements::new(cluster, 0..cluster.len()).next()?.ok_or(Error::new(0, Reason::Truncated))?;
    if element.id != id::CLUSTER {
        return Err(Error::new(0, Reason::Unexpected(element.id, "a Cluster")));
    }
    let mut reader = Reader { header, cluster, base: None, durations: None, frames: Vec::new() };
    let mut children = Elements::new(cluster, element.body.clone());
    while let Some(child) = children.next()? {
        if !element.sized && id::ends_cluster(child.id) {
            break;
        }
        if !child.sized {
            return Err(Error::new(child.at, Reason::UnknownSize(child.id)));
        }
        match child.id {
            id::TIMESTAMP if reader.base.is_none() => reader.base = Some(child.uint(cluster, "Timestamp")?),
            id::SIMPLE_BLOCK | id::BLOCK_GROUP => {
                if reader.base.is_none() {
                    reader.base = Some(find_timestamp(cluster, &element)?);
                }
                if child.id == id::SIMPLE_BLOCK {
                    reader.block(&child, None, None)?;
                } else {
                    reader.group(&child)?;
                }
            }
            _ => {}
        }
    }
    match reader.base {
        Some(_) => Ok(reader.frames),
        None => Err(Error::new(0, Reason::Missing("Timestamp"))),
    }
}

/// The Timestamp of a cluster that has blocks before it: unusual, and allowed.
fn find_timestamp(cluster: &[u8], element: &Element) -> Result<u64, Error> {
    let mut children = Elements::new(cluster, element.body.clone());
    while let Some(child) = children.next()? {
        match child.id {
            id::TIMESTAMP => return child.uint(cluster, "Timestamp"),
            other if !element.sized && id::ends_cluster(other) => break,
            _ => {}
        }
    }
    Err(Error::new(element.at, Reason::Missing("Timestamp")))
}

struct Reader<'a> {
    header: &'a Header,
    cluster: &'a Bytes,
    /// The cluster's Timestamp in ticks.
    base: Option<u64>,
    /// DefaultDuration by track, looked up at the first block that has several frames.
    durations: Option<Vec<(u8, u64)>>,
    frames: Vec<Frame>,
}

impl Reader<'_> {
    fn group(&mut self, group: &Element) -> Result<(), Error> {
        let (mut block, mut duration, mut key) = (None, None, true);
        let mut fields = Elements::new(self.cluster, group.body.clone());
        while let Some(field) = fields.next_sized()? {
            match field.id {
                id::BLOCK => block = Some(field),
                id::BLOCK_DURATION => duration = Some(field.uint(self.cluster, "BlockDuration")?),
                id::REFERENCE_BLOCK => key = false,
                _ => {}
            }
        }
        match block {
            Some(block) => self.block(&block, Some(key), duration),
            None => Ok(()),
        }
    }

    /// `key` and `duration` (in ticks) are those of the group around the block, if there is one.
    fn block(&mut self, block: &Element, key: Option<bool>, duration: Option<u64>) -> Result<(), Error> {
        let error = |reason| Error::new(block.at, reason);
        let bytes = block.bytes(self.cluster);
        let (number, len) = vint(bytes).map_err(error)?.ok_or(error(Reason::Truncated))?;
        let track = u8::try_from(number).ok().filter(|n| *n > 0);
        let track = track.ok_or(error(Reason::Value("a block's track number")))?;
        let Some(&[high, low, flags]) = bytes.get(len..len + 3) else {
            return Err(error(Reason::Truncated));
        };
        let relative = i16::from_be_bytes([high, low]);
        let kind = self.header.track(track).map(|t| t.kind);
        let key = key.unwrap_or(flags & 0x80 != 0) || matches!(kind, Some(TrackKind::Audio | TrackKind::Data));
        let start = self.time_ns(relative);
        let body = block.body.start + len + 3..block.body.end;
        if flags & 0b110 == 0 {
            self.frames.push(Frame { track, time: micros(start), key, data: self.cluster.slice(body) });
            return Ok(());
        }
        let ranges = lacing::frames(flags, &self.cluster[body.clone()]).map_err(error)?;
        let step = self.step_ns(track, duration, ranges.len());
        for (index, range) in ranges.into_iter().enumerate() {
            let data = self.cluster.slice(body.start + range.start..body.start + range.end);
            self.frames.push(Frame { track, time: micros(start + step * index as i128), key, data });
        }
        Ok(())
    }

    fn time_ns(&self, relative: i16) -> i128 {
        let ticks = i128::from(self.base.unwrap_or_default()) + i128::from(relative);
        ticks.saturating_mul(i128::from(self.header.timestamp_scale_ns))
    }

    /// Nanoseconds between the frames of a lace: what the group states, else what the track states, else 0.
    fn step_ns(&mut self, track: u8, duration: Option<u64>, count: usize) -> i128 {
        if let Some(ticks) = duration {
            return i128::from(ticks).saturating_mul(i128::from(self.header.timestamp_scale_ns)) / count.max(1) as i128;
        }
        let header = self.header;
        let durations = self.durations.get_or_insert_with(|| default_durations(header));
        durations.iter().find(|(number, _)| *number == track).map_or(0, |(_, ns)| i128::from(*ns))
    }
}

fn micros(ns: i128) -> UnixMicros {
    let micros = ns.div_euclid(1000);
    UnixMicros(i64::try_from(micros).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX }))
}
