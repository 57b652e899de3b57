//! H.264 in RTP (RFC 6184, packetization mode 1): single NAL units, STAP-A for parameter sets, FU-A for what is long.
//!
//! ```text
//!  single NAL unit   the NAL unit as it is
//!  STAP-A            F,NRI,24 | (16-bit length | NAL unit)*
//!  FU-A              F,NRI,28 | S,E,0,type | a piece of the NAL unit without its first byte
//! ```

use crate::h264::{nal_type, nal_units, types};
use bytes::{BufMut, Bytes, BytesMut};

/// Packet types beyond the NAL unit types (RFC 6184, table 1).
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
/// Filler data: bytes without content.
const FILLER: u8 = 12;
/// The smallest payload that [`packetize`] works with.
const SMALLEST_MTU: usize = 16;

/// One packet's payload in two parts: up to two bytes of its own, then a slice of the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    head: [u8; 2],
    head_len: u8,
    /// What follows the head.
    pub body: Bytes,
    /// Whether it is the last of its frame: the RTP marker bit (RFC 6184, section 5.1).
    pub marker: bool,
}

impl Payload {
    /// One that is the whole of its body, without the marker.
    pub fn whole(body: Bytes) -> Payload {
        Payload { head: [0; 2], head_len: 0, body, marker: false }
    }
    /// The bytes before the body: none for a single NAL unit, one for a STAP-A, two for an FU-A.
    pub fn head(&self) -> &[u8] {
        &self.head[..usize::from(self.head_len)]
    }
    /// Length of the whole payload in bytes.
    pub fn len(&self) -> usize {
        self.head().len() + self.body.len()
    }
    /// Whether there is no byte; never so for what [`packetize`] makes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Cuts a frame of length-prefixed NAL units into payloads of at most `mtu` bytes and appends them to `out`.
///
/// `parameter_sets` (SPS and PPS, for key frames whose own data has none) go first, in one STAP-A if they fit. Access
/// unit delimiters and filler are left out, for receivers need neither. A frame with a broken length is cut there. The
/// frame's payloads are slices of it; only a STAP-A is copied together.
pub fn packetize(
    frame: &Bytes,
    length_size: u8,
    parameter_sets: Option<(&[Bytes], &[Bytes])>,
    mtu: usize,
    out: &mut Vec<Payload>,
) {
    let mtu = mtu.max(SMALLEST_MTU);
    let first = out.len();
    if let Some((sps, pps)) = parameter_sets {
        push_parameter_sets(sps, pps, mtu, out);
    }
    for nal in nal_units(frame, length_size).map_while(Result::ok) {
        if !matches!(nal_type(nal[0]), types::AUD | FILLER) {
            push_nal(nal, mtu, out);
        }
    }
    if let Some(last) = out[first..].last_mut() {
        last.marker = true;
    }
}

fn push_parameter_sets(sps: &[Bytes], pps: &[Bytes], mtu: usize, out: &mut Vec<Payload>) {
    let sets = || sps.iter().chain(pps).filter(|set| !set.is_empty());
    let len = 1 + sets().map(|set| 2 + set.len()).sum::<usize>();
    if len > mtu || sets().count() < 2 {
        sets().for_each(|set| push_nal(set.clone(), mtu, out));
        return;
    }
    // The type's NRI is the highest of what it carries (RFC 6184, section 5.7.1).
    let nri = sets().map(|set| set[0] & 0x60).max().unwrap_or(0);
    let mut body = BytesMut::with_capacity(len);
    for set in sets() {
        // All of them fit into `mtu`, which may be more than a u16 only if no packet is that long anyway.
        body.put_u16(u16::try_from(set.len()).unwrap_or(u16::MAX));
        body.put_slice(set);
    }
    out.push(Payload { head: [nri | STAP_A, 0], head_len: 1, body: body.freeze(), marker: false });
}

fn push_nal(nal: Bytes, mtu: usize, out: &mut Vec<Payload>) {
    if nal.len() <= mtu {
        out.push(Payload { head: [0; 2], head_len: 0, body: nal, marker: false });
        return;
    }
    let (indicator, kind) = (nal[0] & 0xE0 | FU_A, nal[0] & 0x1F);
    let mut rest = nal.slice(1..);
    // Pieces of equal length: a last packet of a few bytes costs as much as a full one.
    let pieces = rest.len().div_ceil(mtu - 2);
    let size = rest.len().div_ceil(pieces);
    let mut start = 0x80;
    while !rest.is_empty() {
        let body = rest.split_to(size.min(rest.len()));
        let end = if rest.is_empty() { 0x40 } else { 0 };
        out.push(Payload { head: [indicator, start | end | kind], head_len: 2, body, marker: false });
        start = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame of NAL units with 4-byte lengths.
    fn frame(units: &[Vec<u8>]) -> Bytes {
        units.iter().flat_map(|u| [&(u.len() as u32).to_be_bytes()[..], u].concat()).collect()
    }

    fn payloads(frame: &Bytes, sets: Option<(&[Bytes], &[Bytes])>, mtu: usize) -> Vec<Payload> {
        let mut out = Vec::new();
        packetize(frame, 4, sets, mtu, &mut out);
        out
    }

    /// The receiver's side of RFC 6184: the NAL units again.
    fn depacketize(payloads: &[Payload]) -> Vec<Vec<u8>> {
        let mut units: Vec<Vec<u8>> = Vec::new();
        for payload in payloads {
            let bytes = [payload.head(), &payload.body].concat();
            match bytes[0] & 0x1f {
                STAP_A => {
                    let mut rest = &bytes[1..];
                    while let [high, low, tail @ ..] = rest {
                        let (unit, after) = tail.split_at(usize::from(u16::from_be_bytes([*high, *low])));
                        units.push(unit.to_vec());
                        rest = after;
                    }
                }
                FU_A => {
                    if bytes[1] & 0x80 != 0 {
                        units.push(vec![bytes[0] & 0xE0 | bytes[1] & 0x1F]);
                    }
                    let unit = units.last_mut().expect("a start comes first");
                    unit.extend_from_slice(&bytes[2..]);
                }
                _ => units.push(bytes),
            }
        }
        units
    }

    #[test]
    fn a_short_unit_is_a_packet_and_a_slice() {
        let data = frame(&[vec![9, 0xF0], vec![0x41, 1, 2, 3]]);
        let out = payloads(&data, None, 100);
        assert_eq!(out.len(), 1);
        assert_eq!((out[0].head(), out[0].marker, out[0].len()), (&[][..], true, 4));
        assert_eq!(out[0].body.as_ptr(), data[10..].as_ptr());
    }

    #[test]
    fn a_long_unit_is_cut_into_even_pieces() {
        let data = frame(&[[&[0x65][..], &[7; 50]].concat()]);
        let out = payloads(&data, None, 20);
        let heads: Vec<_> = out.iter().map(|p| (p.head().to_vec(), p.body.len(), p.marker)).collect();
        let expected = [(vec![0x7C, 0x85], 17, false), (vec![0x7C, 0x05], 17, false), (vec![0x7C, 0x45], 16, true)];
        assert_eq!(heads, expected);
    }

    #[test]
    fn parameter_sets_share_a_packet_if_they_fit() {
        let sps = [Bytes::from_static(&[0x67, 1, 2, 3])];
        let pps = [Bytes::from_static(&[0x68, 4])];
        let data = frame(&[vec![0x65, 9]]);
        let out = payloads(&data, Some((&sps, &pps)), 100);
        assert_eq!((out[0].head(), &out[0].body[..]), (&[0x78][..], &[0, 4, 0x67, 1, 2, 3, 0, 2, 0x68, 4][..]));
        assert_eq!((out.len(), out[0].marker, out[1].marker), (2, false, true));
        let long = [Bytes::from(vec![0x67; 30])];
        let out = payloads(&data, Some((&long, &pps)), 16);
        assert_eq!(depacketize(&out), [long[0].to_vec(), pps[0].to_vec(), vec![0x65, 9]]);
    }

    #[test]
    fn a_frame_cut_short_is_sent_up_to_the_cut() {
        let data = frame(&[vec![0x41, 1], vec![0x41, 2]]).slice(..11);
        let out = payloads(&data, None, 100);
        assert_eq!((out.len(), out[0].marker), (1, true));
        assert!(payloads(&Bytes::new(), None, 100).is_empty());
    }

    proptest! {
        #[test]
        fn what_is_sent_is_received(
            units in proptest::collection::vec((1u8..=23, proptest::collection::vec(any::<u8>(), 0..300)), 1..6),
            mtu in 0usize..120,
        ) {
            let units: Vec<Vec<u8>> = units
                .into_iter()
                .filter(|(kind, _)| !matches!(*kind, types::AUD | FILLER))
                .map(|(kind, body)| [&[0x60 | kind][..], &body].concat())
                .collect();
            let out = payloads(&frame(&units), None, mtu);
            prop_assert!(out.iter().all(|p| p.len() <= mtu.max(SMALLEST_MTU) && !p.is_empty()));
            prop_assert_eq!(out.iter().filter(|p| p.marker).count(), usize::from(!units.is_empty()));
            prop_assert_eq!(depacketize(&out), units);
        }
    }
}
