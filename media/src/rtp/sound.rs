//! Sound in RTP as browsers take it: Opus (RFC 7587), G.711 (RFC 3551 §4.5.14). A packet is a frame as the stream holds it.

use crate::track::{Track, TrackKind};

/// What sound WebRTC can play as it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sound {
    /// Opus.
    Opus,
    /// G.711 µ-law, one channel of 8 kHz.
    Pcmu,
    /// G.711 A-law, one channel of 8 kHz.
    Pcma,
}

impl Sound {
    /// What a track is; `None` for what WebRTC does not have.
    pub fn of(track: &Track) -> Option<Sound> {
        if track.kind != TrackKind::Audio {
            return None;
        }
        match track.codec_id.as_str() {
            "A_OPUS" => Some(Sound::Opus),
            // A WAVEFORMATEX: the format's tag and the number of channels, little-endian (as Matroska's A_MS/ACM has it).
            "A_MS/ACM" if track.audio.is_none_or(|(rate, channels)| (rate, channels) == (8000, 1)) => {
                match track.codec_private.get(..2) {
                    Some([7, 0]) => Some(Sound::Pcmu),
                    Some([6, 0]) => Some(Sound::Pcma),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Its name and clock in a session description, without the channels.
    pub fn rtpmap(self) -> &'static str {
        match self {
            Sound::Opus => "opus/48000",
            Sound::Pcmu => "PCMU/8000",
            Sound::Pcma => "PCMA/8000",
        }
    }

    /// Units of RTP time in a second.
    pub fn clock_hz(self) -> u32 {
        match self {
            Sound::Opus => 48_000,
            Sound::Pcmu | Sound::Pcma => 8_000,
        }
    }

    /// How long a packet plays, in units of its clock. `None` for bytes that are no packet.
    pub fn duration(self, packet: &[u8]) -> Option<u32> {
        match self {
            Sound::Opus => opus_duration(packet),
            Sound::Pcmu | Sound::Pcma => u32::try_from(packet.len()).ok().filter(|samples| *samples > 0),
        }
    }
}

/// By the first bytes of a packet (RFC 6716 §3.1, §3.2): at most 120 ms.
fn opus_duration(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    // In 2.5 ms, which are 120 units of 48 kHz.
    let frame = match toc >> 3 {
        config @ 0..12 => [4, 8, 16, 24][usize::from(config & 3)],
        config @ 12..16 => [4, 8][usize::from(config & 1)],
        config => 1 << (config & 3),
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    let total = frame * frames;
    (1..=48).contains(&total).then_some(total * 120)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn durations_are_those_of_the_table_of_rfc_6716() {
        let of = |packet: &[u8]| Sound::Opus.duration(packet).map(|units| f64::from(units) / 48.0);
        // SILK NB 10 and 60 ms, hybrid SWB 20 ms, CELT FB 2.5, 5, 10 and 20 ms.
        for (config, ms) in [(0, 10.0), (3, 60.0), (13, 20.0), (28, 2.5), (29, 5.0), (30, 10.0), (31, 20.0)] {
            assert_eq!(of(&[config << 3]), Some(ms), "{config}");
            assert_eq!(of(&[config << 3 | 1]), Some(ms * 2.0), "two of the same size");
        }
        assert_eq!(of(&[31 << 3 | 3, 6]), Some(120.0));
        assert_eq!(of(&[31 << 3 | 3, 0x80 | 3]), Some(60.0), "the flags of the second byte are none of its count");
        for wrong in [&[][..], &[31 << 3 | 3], &[31 << 3 | 3, 0], &[31 << 3 | 3, 7], &[3 << 3 | 3, 3]] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
        assert_eq!((Sound::Pcmu.duration(&[0; 160]), Sound::Pcma.duration(&[])), (Some(160), None));
    }

    #[test]
    fn tracks_that_browsers_can_play() {
        let track = |codec_id: &str, private: &'static [u8], audio| Track {
            number: 2,
            kind: TrackKind::Audio,
            codec_id: codec_id.to_owned(),
            codec_private: Bytes::from_static(private),
            size: None,
            audio,
        };
        assert_eq!(Sound::of(&track("A_OPUS", &[], Some((48_000, 2)))), Some(Sound::Opus));
        assert_eq!(Sound::of(&track("A_MS/ACM", &[7, 0, 1, 0], None)), Some(Sound::Pcmu));
        assert_eq!(Sound::of(&track("A_MS/ACM", &[6, 0, 1, 0], Some((8000, 1)))), Some(Sound::Pcma));
        assert_eq!(Sound::of(&track("A_MS/ACM", &[6, 0, 2, 0], Some((8000, 2)))), None);
        assert_eq!(Sound::of(&track("A_MS/ACM", &[1, 0], None)), None);
        assert_eq!(Sound::of(&track(Track::AAC, &[0x12, 0x10], Some((44_100, 2)))), None);
        let video = Track { kind: TrackKind::Video, ..track("A_OPUS", &[], None) };
        assert_eq!(Sound::of(&video), None);
    }
}
