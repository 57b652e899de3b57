//! A cluster moved in time: its Timestamp is another, its blocks, which count from that, stay as they are.

use super::{
    ebml::{Elements, put_id, put_size},
    error::{Error, Reason},
    id,
};
use bytes::{BufMut, Bytes, BytesMut};

use crate::Chunks;

/// Elements of a cluster that are wrong elsewhere: Position, PrevSize, CRC-32 (RFC 9559, section 5.1.3; RFC 8794, section 11.3.1).
const OF_ITS_PLACE: [u32; 3] = [0xA7, 0xAB, 0xBF];

/// The cluster with this Timestamp in ticks, and its size stated. What it had said is given too. Nothing but heads is copied.
pub fn retime(cluster: &Bytes, timestamp: impl FnOnce(u64) -> u64) -> Result<Chunks, Error> {
    let element = Elements::new(cluster, 0..cluster.len()).next()?.ok_or(Error::new(0, Reason::Truncated))?;
    if element.id != id::CLUSTER {
        return Err(Error::new(0, Reason::Unexpected(element.id, "a Cluster")));
    }
    let mut children = Elements::new(cluster, element.body.clone());
    let (mut said, mut kept) = (None, Vec::new());
    let mut from = element.body.start;
    let mut end = element.body.end;
    while let Some(child) = children.next()? {
        if !element.sized && id::ends_cluster(child.id) {
            end = child.at;
            break;
        }
        let drop = OF_ITS_PLACE.contains(&child.id) || (child.id == id::TIMESTAMP && said.is_none());
        if child.id == id::TIMESTAMP && said.is_none() {
            said = Some(child.uint(cluster, "Timestamp")?);
        }
        if drop {
            kept.push(from..child.at);
            from = child.body.end;
        }
    }
    kept.push(from.min(end)..end);
    let said = said.ok_or(Error::new(0, Reason::Missing("Timestamp")))?;
    let rest: usize = kept.iter().map(ExactSizeIterator::len).sum();
    let mut head = BytesMut::with_capacity(32);
    put_id(&mut head, id::CLUSTER);
    put_size(&mut head, rest as u64 + 10);
    put_id(&mut head, id::TIMESTAMP);
    put_size(&mut head, 8);
    head.put_u64(timestamp(said));
    let mut out = Chunks::from(head.freeze());
    kept.into_iter().filter(|range| !range.is_empty()).for_each(|range| out.push(cluster.slice(range)));
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{Frame, UnixMicros, UnixMillis, mkv};

    #[test]
    fn only_times_change() {
        let header = mkv::write_header(&[]);
        let mut writer = mkv::ClusterWriter::new(UnixMillis(5000));
        for ms in [5000, 5040, 5080] {
            let frame = Frame { track: 1, time: UnixMicros(ms * 1000), key: true, data: vec![ms as u8; 300].into() };
            writer.push(&frame).unwrap();
        }
        let cluster = writer.finish().to_bytes();
        let moved = retime(&cluster, |said| said - 4900).unwrap().to_bytes();
        let (before, after) =
            (mkv::parse_cluster(&header, &cluster).unwrap(), mkv::parse_cluster(&header, &moved).unwrap());
        for (b, a) in before.iter().zip(&after) {
            assert_eq!((a.time.0, &a.data), (b.time.0 - 4_900_000, &b.data));
        }
        assert_eq!(before.len(), after.len());
    }

    #[test]
    fn unknown_sizes_and_what_belongs_to_a_place_go() {
        let block = [0xa3, 0x85, 0x81, 0, 0, 0x80, 9];
        let fields = [&[0xa7, 0x81, 7, 0xe7, 0x82, 1, 0, 0xab, 0x81, 9][..], &block].concat();
        let cues = [0x1c, 0x53, 0xbb, 0x6b, 0x80];
        let endless = Bytes::from([&[0x1f, 0x43, 0xb6, 0x75, 0xff][..], &fields, &cues].concat());
        let moved = retime(&endless, |said| said + 1).unwrap().to_bytes();
        let expected = [&[0x1f, 0x43, 0xb6, 0x75, 0x91, 0xe7, 0x88, 0, 0, 0, 0, 0, 0, 1, 1][..], &block].concat();
        assert_eq!(moved, expected);
        assert!(retime(&Bytes::from_static(&[0x1f, 0x43, 0xb6, 0x75, 0x80]), |said| said).is_err());
        for end in 0..endless.len() {
            let _ = retime(&endless.slice(..end), |said| said);
        }
    }
}
