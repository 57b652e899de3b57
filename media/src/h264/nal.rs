//! NAL units in a frame: length-prefixed (as Matroska and MP4 store them) and with start codes (Annex B).

use super::{Error, types};
use crate::bits::Bits;
use bytes::{BufMut, Bytes, BytesMut};

/// `nal_unit_type` out of the first byte of a NAL unit.
pub fn nal_type(first_byte: u8) -> u8 {
    first_byte & 0x1f
}

/// Iterates over the NAL units of a frame; see [`nal_units`].
#[derive(Clone, Debug)]
pub struct NalUnits<'a> {
    data: &'a Bytes,
    at: usize,
    length_size: usize,
}

/// The NAL units of a frame whose units are each preceded by their length in `length_size` (1 to 4) bytes. The units
/// are slices of `data`; empty ones are left out. Ends after the first error.
pub fn nal_units(data: &Bytes, length_size: u8) -> NalUnits<'_> {
    NalUnits { data, at: 0, length_size: usize::from(length_size.clamp(1, 4)) }
}

impl Iterator for NalUnits<'_> {
    type Item = Result<Bytes, Error>;
    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.data.len() {
            let at = self.at;
            let start = at + self.length_size;
            let length =
                self.data.get(at..start).map(|b| b.iter().fold(0usize, |value, b| value << 8 | usize::from(*b)));
            let end = length.and_then(|length| start.checked_add(length)).filter(|end| *end <= self.data.len());
            let Some(end) = end else {
                self.at = self.data.len();
                return Some(Err(Error::NalLength { at }));
            };
            self.at = end;
            if end > start {
                return Some(Ok(self.data.slice(start..end)));
            }
        }
        None
    }
}

/// Whether a frame of length-prefixed NAL units holds an IDR picture. Broken lengths end the search.
pub fn is_idr(data: &Bytes, length_size: u8) -> bool {
    nal_units(data, length_size).map_while(Result::ok).any(|nal| nal_type(nal[0]) == types::IDR)
}

/// Whether this NAL unit is a slice of a B picture (`slice_type` 1 or 6; H.264, section 7.3.3).
pub fn is_b_slice(nal: &[u8]) -> bool {
    // Types 1 and 2 begin with a slice header; an IDR picture has no B slices.
    let Some((1 | 2, rest)) = nal.split_first().map(|(first, rest)| (nal_type(*first), rest)) else {
        return false;
    };
    // Two Exp-Golomb codes fit into 8 bytes, emulation prevention included, for any picture size that exists.
    let head = unescape(&rest[..rest.len().min(12)]);
    let mut bits = Bits::new(&head);
    let _first_mb = bits.ue();
    bits.ue().is_some_and(|slice_type| slice_type % 5 == 1)
}

/// The bytes without emulation prevention: 00 00 03 becomes 00 00 (H.264, section 7.4.1).
pub(super) fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut zeros = 0;
    for &byte in bytes {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

/// Whether the bytes begin with an Annex B start code, of three or four bytes.
///
/// A length-prefixed frame whose first unit is a single byte long looks the same; no encoder begins a frame so.
pub fn is_annexb(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0, 0, 1]) || bytes.starts_with(&[0, 0, 0, 1])
}

/// The NAL units of an Annex B byte stream, as slices of it. Bytes before the first start code are left out.
pub fn annexb_units(stream: &Bytes) -> Vec<Bytes> {
    let mut units = Vec::new();
    let mut start = None;
    let mut at = 0;
    while let Some(found) = stream[at..].windows(3).position(|w| w == [0, 0, 1]).map(|i| at + i) {
        units.extend(start.and_then(|start| trimmed(stream, start, found)));
        at = found + 3;
        start = Some(at);
    }
    units.extend(start.and_then(|start| trimmed(stream, start, stream.len())));
    units
}

/// A unit without the zero bytes that belong to the next start code or trail the stream.
fn trimmed(stream: &Bytes, start: usize, end: usize) -> Option<Bytes> {
    let len = stream[start..end].iter().rposition(|b| *b != 0)? + 1;
    Some(stream.slice(start..start + len))
}

/// An Annex B frame with each start code replaced by a 4-byte length.
pub fn annexb_to_lengths(stream: &Bytes) -> Bytes {
    let units = annexb_units(stream);
    let mut out = BytesMut::with_capacity(units.iter().map(|u| u.len() + 4).sum());
    for unit in units {
        // A unit is a slice of memory of a frame, which is far below 4 GiB.
        out.put_u32(u32::try_from(unit.len()).unwrap_or(u32::MAX));
        out.put_slice(&unit);
    }
    out.freeze()
}
