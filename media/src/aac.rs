//! AAC: the AudioSpecificConfig (ISO/IEC 14496-3, section 1.6.2.1), which is Matroska's CodecPrivate of `A_AAC`.

use crate::bits::Bits;

/// What an AudioSpecificConfig says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioSpecificConfig {
    /// Samples per second that frames count in. With SBR, the decoder puts out twice as many.
    pub sample_rate_hz: u32,
    /// Channels; 0 if only the frames say.
    pub channels: u8,
    /// Audio object type: 2 AAC-LC, 5 SBR (HE-AAC), 29 PS (HE-AAC v2), …
    pub object_type: u8,
    /// Samples of one frame at `sample_rate_hz`: 1024, or 960, 512 or 480 where the configuration says so.
    pub samples_per_frame: u16,
}

/// Why bytes are no AudioSpecificConfig.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("AudioSpecificConfig, bit {at}: {what}")]
pub struct Error {
    /// Offset in bits.
    pub at: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// Sampling rates by index (table 1.18).
const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

impl AudioSpecificConfig {
    /// Reads a configuration; what follows the frame length is not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut bits = Bits::new(bytes);
        let config = config(&mut bits).ok_or(Error { at: bits.at(), what: "it ends too early" })?;
        if config.sample_rate_hz == 0 {
            return Err(Error { at: bits.at(), what: "no sampling rate" });
        }
        Ok(config)
    }

    /// The codec's name after RFC 6381: `mp4a.40.` and the object type, as in `mp4a.40.2`.
    pub fn codec_string(&self) -> String {
        format!("mp4a.40.{}", self.object_type)
    }
}

/// The codec's name after RFC 6381; see [`AudioSpecificConfig::codec_string`].
pub fn codec_string(config: &AudioSpecificConfig) -> String {
    config.codec_string()
}

fn config(bits: &mut Bits<'_>) -> Option<AudioSpecificConfig> {
    let object_type = object_type(bits)?;
    let sample_rate_hz = rate(bits)?;
    let channels = match bits.bits(4)? {
        n @ 0..=6 => n as u8,
        7 | 12 | 14 => 8,
        11 => 7,
        _ => 0,
    };
    let mut core = object_type;
    // Explicit signalling of SBR and PS: the extension's rate, then the type of the core.
    if matches!(object_type, 5 | 29) {
        rate(bits)?;
        core = self::object_type(bits)?;
    }
    // Every type in use begins its own configuration with the frame length flag; a missing bit counts as 0.
    let short = bits.bit().unwrap_or(false);
    let samples_per_frame = match (core, short) {
        (23 | 39, false) => 512,
        (23 | 39, true) => 480,
        (_, false) => 1024,
        (_, true) => 960,
    };
    Some(AudioSpecificConfig { sample_rate_hz, channels, object_type, samples_per_frame })
}

fn object_type(bits: &mut Bits<'_>) -> Option<u8> {
    Some(match bits.bits(5)? {
        31 => 32 + bits.bits(6)? as u8,
        kind => kind as u8,
    })
}

/// 0 for the reserved indices.
fn rate(bits: &mut Bits<'_>) -> Option<u32> {
    match bits.bits(4)? {
        15 => bits.bits(24),
        index => Some(RATES.get(index as usize).copied().unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn parsed(bytes: &[u8]) -> (u32, u8, u8, u16) {
        let c = AudioSpecificConfig::parse(bytes).unwrap();
        (c.sample_rate_hz, c.channels, c.object_type, c.samples_per_frame)
    }

    #[test]
    fn configurations_of_real_encoders() {
        assert_eq!(parsed(&[0x11, 0x90]), (48_000, 2, 2, 1024));
        assert_eq!(parsed(&[0x12, 0x08]), (44_100, 1, 2, 1024));
        assert_eq!(parsed(&[0x14, 0x08]), (16_000, 1, 2, 1024));
        // 960 samples.
        assert_eq!(parsed(&[0x11, 0x94]), (48_000, 2, 2, 960));
        // HE-AAC, signalled explicitly: core at 22.05 kHz, out at 44.1 kHz.
        assert_eq!(parsed(&[0x2B, 0x92, 0x08, 0x00]), (22_050, 2, 5, 1024));
        // A rate of its own: 12345 Hz.
        assert_eq!(parsed(&[0x17, 0x80, 0x18, 0x1C, 0x90]), (12_345, 2, 2, 1024));
        assert_eq!(AudioSpecificConfig::parse(&[0x11, 0x90]).unwrap().codec_string(), "mp4a.40.2");
    }

    #[test]
    fn what_is_none_is_refused() {
        assert_eq!(AudioSpecificConfig::parse(&[0x11]).unwrap_err().what, "it ends too early");
        assert_eq!(AudioSpecificConfig::parse(&[0x16, 0x90]).unwrap_err().what, "no sampling rate");
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..8)) {
            let _ = AudioSpecificConfig::parse(&bytes);
        }
    }
}
