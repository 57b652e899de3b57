//! The AVCDecoderConfigurationRecord (ISO/IEC 14496-15, section 5.3.3): `avcC` in MP4, CodecPrivate in Matroska.
//!
//! ```text
//!  1 | profile | compatibility | level | 111111,lengthSize-1 | 111,numSps | (len16 SPS)* | numPps | (len16 PPS)*
//!  and for profiles from High on: 111111,chroma_format | 11111,luma depth-8 | 11111,chroma depth-8 | numSpsExt
//! ```

use super::{
    Error,
    nal::{annexb_units, is_annexb, nal_type},
    sps::sps_info,
    types,
};
use bytes::{BufMut, Bytes, BytesMut};

/// The most sets that their counts hold.
const MAX_SPS: usize = 31;
const MAX_PPS: usize = 255;

/// A parsed decoder configuration: the parameter sets and the width of NAL unit lengths in frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Avcc {
    sps: Vec<Bytes>,
    pps: Vec<Bytes>,
    length_size: u8,
}

impl Avcc {
    /// Reads a configuration record. Bare Annex B parameter sets, which some producers send as codec private data,
    /// are taken too; frames are then assumed to have 4-byte lengths once converted.
    pub fn parse(bytes: &[u8]) -> Result<Avcc, Error> {
        if is_annexb(bytes) {
            return Self::from_annexb(bytes);
        }
        let mut at = 0;
        let mut take = |count: usize| {
            let from = at;
            at += count;
            bytes.get(from..at).ok_or(Error::Avcc { at: from, what: "it ends too early" })
        };
        if take(1)? != [1] {
            return Err(Error::Avcc { at: 0, what: "its version is not 1" });
        }
        take(3)?;
        let length_size = (take(1)?[0] & 3) + 1;
        let mut sets = |mask: u8| -> Result<Vec<Bytes>, Error> {
            let count = take(1)?[0] & mask;
            (0..count)
                .map(|_| {
                    let length = take(2)?;
                    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                    Ok(Bytes::copy_from_slice(take(length)?))
                })
                .collect()
        };
        let (sps, pps) = (sets(0x1f)?, sets(0xff)?);
        Self::checked(Avcc { sps, pps, length_size })
    }

    fn from_annexb(bytes: &[u8]) -> Result<Avcc, Error> {
        let units = annexb_units(&Bytes::copy_from_slice(bytes));
        let of = |kind| units.iter().filter(|u| nal_type(u[0]) == kind).cloned().collect::<Vec<_>>();
        let (sps, pps) = (countable(&of(types::SPS), MAX_SPS), countable(&of(types::PPS), MAX_PPS));
        Self::checked(Avcc { sps, pps, length_size: 4 })
    }

    fn checked(self) -> Result<Avcc, Error> {
        match self.sps.first() {
            // The type byte, profile, constraints and level.
            Some(sps) if sps.len() >= 4 => Ok(self),
            _ => Err(Error::Avcc { at: 5, what: "it has no sequence parameter set" }),
        }
    }

    /// Writes the record for these parameter sets, for frames with 4-byte lengths. Sets beyond what the format can
    /// count (31 and 255, of 64 KiB) are left out.
    pub fn from_parameter_sets(sps: &[Bytes], pps: &[Bytes]) -> Bytes {
        let (sps, pps) = (countable(sps, MAX_SPS), countable(pps, MAX_PPS));
        let mut out = BytesMut::new();
        out.put_u8(1);
        // Profile, compatibility and level as the first SPS has them.
        let profile = sps.first().and_then(|s| s.get(1..4)).unwrap_or(&[0; 3]);
        out.put_slice(profile);
        out.put_u8(0b1111_1100 | 3);
        out.put_u8(0b1110_0000 | sps.len() as u8);
        put_sets(&mut out, &sps);
        out.put_u8(pps.len() as u8);
        put_sets(&mut out, &pps);
        if matches!(profile[0], 100 | 110 | 122 | 144)
            && let Some(info) = sps.first().and_then(|s| sps_info(s).ok())
        {
            out.put_u8(0b1111_1100 | info.chroma_format_idc);
            out.put_u8(0b1111_1000 | (info.bit_depth_luma - 8));
            out.put_u8(0b1111_1000 | (info.bit_depth_chroma - 8));
            out.put_u8(0);
        }
        out.freeze()
    }

    /// Sequence parameter sets, at least one of at least 4 bytes; the first is the active one.
    pub fn sps(&self) -> &[Bytes] {
        &self.sps
    }
    /// Picture parameter sets.
    pub fn pps(&self) -> &[Bytes] {
        &self.pps
    }
    /// Bytes of the length before each NAL unit of a frame, 1 to 4.
    pub fn length_size(&self) -> u8 {
        self.length_size
    }
}

/// Those of the sets whose lengths and number the record can hold.
fn countable(sets: &[Bytes], most: usize) -> Vec<Bytes> {
    sets.iter().filter(|set| set.len() <= usize::from(u16::MAX)).take(most).cloned().collect()
}

fn put_sets(out: &mut BytesMut, sets: &[Bytes]) {
    for set in sets {
        out.put_u16(set.len() as u16);
        out.put_slice(set);
    }
}

/// The codec's name after RFC 6381: `avc1.` and profile, constraints and level in hex, as in `avc1.64001f`.
pub fn codec_string(avcc: &Avcc) -> String {
    let hex: String = avcc.sps[0][1..4].iter().map(|b| format!("{b:02x}")).collect();
    format!("avc1.{hex}")
}
