//! H.264 access units out of RTP payloads (RFC 6184, packetization modes 0 and 1): the receiver's side of [`super::h264`].
//!
//! Payloads come in the order of their sequence numbers; where some are missing, [`Assembler::lost`] says so. What is not whole is left out:
//! half a picture is none. Pure and bounded.

use crate::h264::{nal_type, types};
use bytes::{BufMut, Bytes, BytesMut};

const STAP_A: u8 = 24;
const FU_A: u8 = 28;
/// End of sequence, end of stream, filler: nothing that has to be kept.
const NOTHING: [u8; 3] = [10, 11, 12];
/// The most bytes of an access unit. A key frame of a 4K camera has a quarter of it.
pub const MOST_BYTES: usize = 4 << 20;
/// Parameter sets that one access unit may have of each kind.
const MOST_SETS: usize = 16;

/// A whole access unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessUnit {
    /// Its RTP timestamp.
    pub timestamp: u32,
    /// NAL units with 4-byte lengths, without parameter sets, delimiters and filler. Never empty.
    pub data: Bytes,
    /// Sequence parameter sets that came since the unit before, in order.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets, likewise.
    pub pps: Vec<Bytes>,
}

/// Puts access units together; see the module.
#[derive(Debug, Default)]
pub struct Assembler {
    unit: BytesMut,
    sps: Vec<Bytes>,
    pps: Vec<Bytes>,
    /// Of the unit that is being put together.
    timestamp: Option<u32>,
    /// Where the length of a fragmented NAL unit stands.
    fragment: Option<usize>,
    /// Something of this unit is missing.
    broken: bool,
    /// Packets are missing before the next one: it may be the middle of a unit.
    unsure: bool,
    whole: Vec<AccessUnit>,
    dropped: u32,
}

impl Assembler {
    /// Packets are missing here.
    pub fn lost(&mut self) {
        self.broken |= self.timestamp.is_some();
        self.unsure = true;
    }

    /// Takes the next payload. `marker` says that it is the last of its unit.
    pub fn push(&mut self, payload: &[u8], timestamp: u32, marker: bool) {
        if self.timestamp.is_some_and(|open| open != timestamp) {
            self.finish();
        }
        let Some(first) = payload.first() else { return };
        self.timestamp = Some(timestamp);
        if std::mem::take(&mut self.unsure) && !begins_unit(payload) {
            self.broken = true;
        }
        if !self.broken {
            let taken = match nal_type(*first) {
                1..=23 => self.nal(payload),
                STAP_A => self.aggregate(&payload[1..]),
                FU_A => self.piece(payload),
                _ => None,
            };
            self.broken = taken.is_none();
        }
        if marker {
            self.finish();
        }
    }

    /// The next whole unit.
    pub fn poll(&mut self) -> Option<AccessUnit> {
        (!self.whole.is_empty()).then(|| self.whole.remove(0))
    }

    /// How many units were left out since the last time.
    pub fn take_dropped(&mut self) -> u32 {
        std::mem::take(&mut self.dropped)
    }

    fn finish(&mut self) {
        let Some(timestamp) = self.timestamp.take() else { return };
        let data = self.unit.split().freeze();
        let (broken, cut) = (std::mem::take(&mut self.broken), self.fragment.take().is_some());
        if broken || cut {
            self.dropped += 1;
            self.sps.clear();
            self.pps.clear();
        } else if !data.is_empty() {
            let (sps, pps) = (std::mem::take(&mut self.sps), std::mem::take(&mut self.pps));
            self.whole.push(AccessUnit { timestamp, data, sps, pps });
        } // Else parameter sets alone, which belong to the next.
    }

    /// Takes a NAL unit. `None` if it makes the unit useless.
    fn nal(&mut self, nal: &[u8]) -> Option<()> {
        if self.fragment.is_some() {
            return None;
        }
        match nal_type(*nal.first()?) {
            types::SPS => keep(&mut self.sps, nal),
            types::PPS => keep(&mut self.pps, nal),
            types::AUD => Some(()),
            kind if NOTHING.contains(&kind) => Some(()),
            _ => {
                self.fits(4 + nal.len())?;
                self.unit.put_u32(nal.len() as u32);
                self.unit.put_slice(nal);
                Some(())
            }
        }
    }

    fn aggregate(&mut self, mut rest: &[u8]) -> Option<()> {
        while !rest.is_empty() {
            let (length, tail) = rest.split_first_chunk::<2>()?;
            let (nal, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            self.nal(nal)?;
            rest = tail;
        }
        Some(())
    }

    fn piece(&mut self, payload: &[u8]) -> Option<()> {
        let ([indicator, header], body) = payload.split_first_chunk::<2>()?;
        self.fits(5 + body.len())?;
        let at = match (header & 0x80 != 0, self.fragment) {
            (true, None) => {
                let at = self.unit.len();
                self.unit.put_u32(0);
                self.unit.put_u8(indicator & 0xE0 | header & 0x1F);
                at
            }
            (false, Some(at)) => at,
            _ => return None,
        };
        self.fragment = Some(at);
        self.unit.put_slice(body);
        if header & 0x40 != 0 {
            self.fragment = None;
            let length = self.unit.len() - at - 4;
            if matches!(header & 0x1F, types::SPS | types::PPS) {
                let set = self.unit.split_off(at);
                return self.nal(&set[4..]);
            }
            self.unit[at..at + 4].copy_from_slice(&(length as u32).to_be_bytes());
        }
        Some(())
    }

    fn fits(&self, more: usize) -> Option<()> {
        (self.unit.len() + more <= MOST_BYTES).then_some(())
    }
}

fn keep(sets: &mut Vec<Bytes>, set: &[u8]) -> Option<()> {
    if !sets.iter().any(|known| known == set) {
        if sets.len() == MOST_SETS || set.len() < 4 && nal_type(set[0]) == types::SPS {
            return None;
        }
        sets.push(Bytes::copy_from_slice(set));
    }
    Some(())
}

/// Whether a payload can only be the first of its access unit: a delimiter or a sequence parameter set stands first.
fn begins_unit(payload: &[u8]) -> bool {
    let first = match payload {
        [kind, _, _, nal, ..] if nal_type(*kind) == STAP_A => *nal,
        [nal, ..] => *nal,
        [] => return false,
    };
    matches!(nal_type(first), types::SPS | types::AUD)
}

#[cfg(test)]
mod tests {
    use super::super::h264::{Payload, packetize};
    use super::*;
    use proptest::prelude::*;

    fn frame(units: &[Vec<u8>]) -> Bytes {
        units.iter().flat_map(|u| [&(u.len() as u32).to_be_bytes()[..], u].concat()).collect()
    }

    fn packets(frame: &Bytes, sets: bool, mtu: usize) -> Vec<(Vec<u8>, bool)> {
        let (sps, pps) = ([Bytes::from_static(&[0x67, 66, 0, 30])], [Bytes::from_static(&[0x68, 1])]);
        let mut out: Vec<Payload> = Vec::new();
        packetize(frame, 4, sets.then_some((&sps[..], &pps[..])), mtu, &mut out);
        out.iter().map(|p| ([p.head(), &p.body].concat(), p.marker)).collect()
    }

    fn all(assembler: &mut Assembler) -> Vec<AccessUnit> {
        std::iter::from_fn(|| assembler.poll()).collect()
    }

    #[test]
    fn parameter_sets_are_told_apart_from_pictures() {
        let data = frame(&[vec![0x65; 50]]);
        let mut assembler = Assembler::default();
        for (payload, marker) in packets(&data, true, 20) {
            assembler.push(&payload, 7, marker);
        }
        let units = all(&mut assembler);
        assert_eq!((units.len(), units[0].timestamp, &units[0].data), (1, 7, &data));
        assert_eq!((units[0].sps.len(), units[0].pps.len()), (1, 1));
        // Sets in a unit of their own belong to the next.
        assembler.push(&[0x67, 66, 0, 30], 8, true);
        assembler.push(&[0x65, 1], 9, true);
        let units = all(&mut assembler);
        assert_eq!((units.len(), units[0].sps.len()), (1, 1));
    }

    #[test]
    fn a_unit_that_is_not_whole_is_left_out_and_counted() {
        let data = frame(&[vec![0x41; 50]]);
        let cut = packets(&data, false, 20);
        for lost in 0..cut.len() {
            let mut assembler = Assembler::default();
            for (index, (payload, marker)) in cut.iter().enumerate() {
                if index == lost {
                    assembler.lost();
                } else {
                    assembler.push(payload, 7, *marker);
                }
            }
            assembler.push(&[0x41, 1], 8, true);
            // Without its first packet, what follows a loss may be anything.
            let expected = if lost + 1 == cut.len() { 0 } else { 1 };
            assert_eq!(all(&mut assembler).len(), expected, "without {lost}");
            assert_eq!(assembler.take_dropped(), 2 - expected as u32);
            assembler.push(&[0x41, 1], 9, true);
            assert_eq!(all(&mut assembler).len(), 1);
        }
        // One that begins with a parameter set is whole.
        let mut assembler = Assembler::default();
        assembler.lost();
        for (payload, marker) in packets(&frame(&[vec![0x65; 9]]), true, 100) {
            assembler.push(&payload, 7, marker);
        }
        assert_eq!((all(&mut assembler).len(), assembler.take_dropped()), (1, 0));
    }

    #[test]
    fn an_endless_unit_is_bounded() {
        let mut assembler = Assembler::default();
        assembler.push(&[0x7C, 0x85, 1], 7, false);
        for _ in 0..MOST_BYTES / 1000 + 10 {
            assembler.push(&[&[0x7C, 0x05][..], &[7; 1000]].concat(), 7, false);
        }
        assert!(assembler.unit.len() <= MOST_BYTES);
        assembler.push(&[0x41, 1], 8, true);
        assert_eq!((all(&mut assembler).len(), assembler.take_dropped()), (1, 1));
    }

    proptest! {
        #[test]
        fn what_is_packetised_comes_back(
            frames in proptest::collection::vec(
                proptest::collection::vec((1u8..=6, proptest::collection::vec(any::<u8>(), 0..300)), 1..4), 1..5),
            mtu in 16usize..200,
        ) {
            let frames: Vec<Bytes> = frames
                .into_iter()
                .map(|units| frame(&units.into_iter().map(|(k, b)| [&[0x60 | k][..], &b].concat()).collect::<Vec<_>>()))
                .collect();
            let mut assembler = Assembler::default();
            for (time, data) in frames.iter().enumerate() {
                for (payload, marker) in packets(data, time == 0, mtu) {
                    // The change of the timestamp does as well as the marker.
                    assembler.push(&payload, time as u32, marker && time % 2 == 0);
                }
            }
            assembler.push(&[0x41], 99, true);
            let got: Vec<Bytes> = all(&mut assembler).into_iter().map(|u| u.data).collect();
            prop_assert_eq!(&got[..got.len() - 1], &frames[..]);
            prop_assert_eq!(assembler.take_dropped(), 0);
        }

        #[test]
        fn whatever_comes_is_bounded(packets in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..40), 0u32..4, any::<bool>(), any::<bool>()), 0..60)) {
            let mut assembler = Assembler::default();
            for (payload, timestamp, marker, lost) in packets {
                if lost {
                    assembler.lost();
                }
                assembler.push(&payload, timestamp, marker);
                while let Some(unit) = assembler.poll() {
                    prop_assert!(crate::h264::nal_units(&unit.data, 4).all(|nal| nal.is_ok()));
                }
            }
        }
    }
}
