//! Opus (RFC 6716) as far as a recorder needs it: the codec private data that says how it is decoded.

use crate::{Track, TrackKind};
use bytes::{BufMut, Bytes, BytesMut};

/// The only clock rate of Opus in RTP and Matroska, in Hz (RFC 7587 §4.1).
pub const RATE_HZ: u32 = 48_000;

/// An identification header (RFC 7845 §5.1), which is what Matroska keeps as CodecPrivate: this many channels (1 or 2), no gain, nothing to
/// leave out at the beginning, as a live encoder has long begun.
pub fn head(channels: u8) -> Bytes {
    let mut out = BytesMut::with_capacity(19);
    out.put_slice(b"OpusHead");
    out.put_u8(1);
    out.put_u8(channels);
    out.put_u16_le(0);
    out.put_u32_le(RATE_HZ);
    out.put_u16_le(0);
    // Mapping family 0: mono or stereo.
    out.put_u8(0);
    out.freeze()
}

/// A track of Opus with this number.
pub fn track(number: u8, channels: u8) -> Track {
    Track {
        number,
        kind: TrackKind::Audio,
        codec_id: Track::OPUS.to_owned(),
        codec_private: head(channels),
        size: None,
        audio: Some((RATE_HZ, channels)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_that_of_rfc_7845() {
        let expected = *b"OpusHead\x01\x02\0\0\x80\xbb\0\0\0\0\0";
        assert_eq!(&head(2)[..], &expected[..]);
        assert_eq!(track(2, 1).codec_private[9], 1);
    }
}
