//! Reading a cluster.

use super::{
    ebml::{Element, Elements, head, vint},
    error::{Error, Reason},
    header::default_durations,
    id, lacing,
};
use crate::{Chunks, Frame, Header, TrackKind, UnixMicros, UnixMillis};
use bytes::Bytes;

/// The frames of a cluster, in the order of their blocks. Payloads are slices of `cluster`.
///
/// The cluster's size may be unknown; it then ends with the bytes or at the next top-level element. Whatever follows
/// the cluster is not looked at. Sound and data frames count as key frames even where their producer did not mark them:
/// decoding can start at each. Frames of undeclared tracks are given out like others.
pub fn parse_cluster(header: &Header, cluster: &Bytes) -> Result<Vec<Frame>, Error> {
    parse(header, cluster).map(|(_, frames)| frames)
}

/// The Timestamp of a cluster in ticks, and its frames.
fn parse(header: &Header, cluster: &Bytes) -> Result<(u64, Vec<Frame>), Error> {
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
        Some(base) => Ok((base, reader.frames)),
        None => Err(Error::new(0, Reason::Missing("Timestamp"))),
    }
}

/// Like [`parse_cluster`] for a cluster in pieces. One that a [`super::ClusterWriter`] wrote is read without being
/// copied together: its payloads come out as they went in.
pub fn parse_chunks(header: &Header, cluster: &Chunks) -> Result<Vec<Frame>, Error> {
    parse_timed(header, cluster).map(|(_, frames)| frames)
}

/// The same with the instant that the cluster's own Timestamp says: since the Unix epoch, or since the start of its session.
pub fn parse_timed(header: &Header, cluster: &Chunks) -> Result<(UnixMillis, Vec<Frame>), Error> {
    let (ticks, frames) = match parse_written(header, cluster.parts()) {
        Some(written) => written,
        None => parse(header, &cluster.to_bytes())?,
    };
    let ns = i128::from(ticks).saturating_mul(i128::from(header.timestamp_scale_ns));
    Ok((micros(ns).to_millis(), frames))
}

/// The Timestamp and the frames of a cluster whose pieces are its head, its Timestamp, and then by turns the head of a SimpleBlock and
/// its payload. `None` if they are not exactly that.
fn parse_written(header: &Header, parts: &[Bytes]) -> Option<(u64, Vec<Frame>)> {
    let [start, timestamp, blocks @ ..] = parts else { return None };
    let whole = |bytes: &[u8], rest: usize| {
        let (id, size, len) = head(bytes).ok()??;
        (size == Some((bytes.len() - len + rest) as u64)).then_some((id, len))
    };
    let rest = parts[1..].iter().map(Bytes::len).sum();
    if whole(start, rest)? != (id::CLUSTER, start.len()) {
        return None;
    }
    let (id::TIMESTAMP, at) = whole(timestamp, 0)? else { return None };
    let base = u64::from_be_bytes(timestamp[at..].try_into().ok()?);
    let mut reader = Reader { header, cluster: timestamp, base: Some(base), durations: None, frames: Vec::new() };
    let (pairs, []) = blocks.as_chunks::<2>() else { return None };
    for [block, payload] in pairs {
        let (id::SIMPLE_BLOCK, at) = whole(block, payload.len())? else { return None };
        let start = reader.block_start(&block[at..]).ok()?;
        if start.lacing != 0 || at + start.len != block.len() {
            return None;
        }
        reader.frames.push(Frame { track: start.track, time: start.time, key: start.key(None), data: payload.clone() });
    }
    Some((base, reader.frames))
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

pub(super) struct Reader<'a> {
    pub(super) header: &'a Header,
    pub(super) cluster: &'a Bytes,
    /// The cluster's Timestamp in ticks.
    pub(super) base: Option<u64>,
    /// DefaultDuration by track, looked up at the first block that has several frames.
    pub(super) durations: Option<Vec<(u8, u64)>>,
    pub(super) frames: Vec<Frame>,
}

impl Reader<'_> {
    pub(super) fn group(&mut self, group: &Element) -> Result<(), Error> {
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
    pub(super) fn block(&mut self, block: &Element, key: Option<bool>, duration: Option<u64>) -> Result<(), Error> {
        let error = |reason| Error::new(block.at, reason);
        let start = self.block_start(block.bytes(self.cluster)).map_err(error)?;
        let key = start.key(key);
        let BlockStart { track, time, .. } = start;
        let body = block.body.start + start.len..block.body.end;
        if start.lacing == 0 {
            self.frames.push(Frame { track, time, key, data: self.cluster.slice(body) });
            return Ok(());
        }
        let ranges = lacing::frames(start.lacing, &self.cluster[body.clone()]).map_err(error)?;
        let step = self.step_ns(track, duration, ranges.len());
        for (index, range) in ranges.into_iter().enumerate() {
            let data = self.cluster.slice(body.start + range.start..body.start + range.end);
            let time = micros(self.time_ns(start.relative) + step * index as i128);
            self.frames.push(Frame { track, time, key, data });
        }
        Ok(())
    }

    /// Reads the start of a block: track number, relative time, flags (RFC 9559, sections 10.1 and 10.2).
    fn block_start(&self, bytes: &[u8]) -> Result<BlockStart, Reason> {
        let (number, len) = vint(bytes)?.ok_or(Reason::Truncated)?;
        let track = u8::try_from(number).ok().filter(|n| *n > 0);
        let track = track.ok_or(Reason::Value("a block's track number"))?;
        let Some(&[high, low, flags]) = bytes.get(len..len + 3) else { return Err(Reason::Truncated) };
        let relative = i16::from_be_bytes([high, low]);
        let kind = self.header.track(track).map(|t| t.kind);
        Ok(BlockStart {
            track,
            relative,
            time: micros(self.time_ns(relative)),
            flagged: flags & 0x80 != 0,
            always: matches!(kind, Some(TrackKind::Audio | TrackKind::Data)),
            lacing: flags >> 1 & 3,
            len: len + 3,
        })
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

/// The start of a block.
struct BlockStart {
    track: u8,
    relative: i16,
    time: UnixMicros,
    /// Whether the flags say that it is a key frame, which they do in a SimpleBlock only.
    flagged: bool,
    /// Whether every frame of its track is a key frame.
    always: bool,
    /// 0 none, 1 Xiph, 2 fixed, 3 EBML.
    lacing: u8,
    /// Length of the start in bytes.
    len: usize,
}

impl BlockStart {
    /// `stated` is what the group around a block says.
    fn key(&self, stated: Option<bool>) -> bool {
        stated.unwrap_or(self.flagged) || self.always
    }
}

fn micros(ns: i128) -> UnixMicros {
    let micros = ns.div_euclid(1000);
    UnixMicros(i64::try_from(micros).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX }))
}
