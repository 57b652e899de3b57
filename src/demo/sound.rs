//! What the street sounds like: a murmur far away, and a soft tick as each second of the wall clock begins.

/// Samples in a second.
pub(super) const RATE: u64 = 48_000;

/// Mono samples; sample `n` since the Unix epoch always sounds the same, but for the murmur's own memory.
pub(super) struct Sound {
    noise: u32,
    /// Three low-pass filters in a row make a murmur of white noise.
    murmur: [f32; 3],
}

impl Sound {
    /// Silence before the first sample.
    pub(super) fn new() -> Sound {
        Sound { noise: 0x2545_f491, murmur: [0.0; 3] }
    }

    /// The sample number `n` since the Unix epoch, 16 bits.
    pub(super) fn sample(&mut self, n: u64) -> i16 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 17;
        self.noise ^= self.noise << 5;
        let mut level = self.noise as f32 / u32::MAX as f32 - 0.5;
        for filter in &mut self.murmur {
            *filter += (level - *filter) * 0.03;
            level = *filter;
        }
        let swell = 0.75 + 0.25 * (n % (RATE * 11)) as f32 / (RATE * 11) as f32;
        let since_tick = (n % RATE) as f32 / RATE as f32;
        let tick = 0.10 * (-since_tick * 90.0).exp() * (since_tick * 1_320.0 * std::f32::consts::TAU).sin();
        ((level * 1.1 * swell + tick) * f32::from(i16::MAX)) as i16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ticks_at_each_second_and_never_shouts() {
        let mut sound = Sound::new();
        let samples: Vec<f32> = (0..3 * RATE).map(|n| f32::from(sound.sample(RATE * 1_760_000_000 + n))).collect();
        let loud = |from: u64, count: u64| {
            samples[from as usize..(from + count) as usize].iter().map(|s| s * s).sum::<f32>() / count as f32
        };
        for second in 0..3 {
            assert!(loud(second * RATE, 960) > 4.0 * loud(second * RATE + RATE / 2, 960), "second {second}");
        }
        let peak = samples.iter().fold(0.0f32, |peak, s| peak.max(s.abs()));
        assert!((500.0..8_000.0).contains(&peak), "{peak}");
    }
}
