//! How long to wait before the next attempt: capped, jittered, pure.
//!
//! Jitter matters: after a power cut all cameras of a site come back in the same second.

use std::time::Duration;

/// The wait before the first retry, before jitter.
const FIRST: Duration = Duration::from_millis(500);

/// Doubling waits with a cap. The caller brings the randomness.
#[derive(Clone, Debug)]
pub struct Backoff {
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits grow up to `max` (at least half a second).
    pub fn new(max: Duration) -> Self {
        Backoff { max: max.max(FIRST), failures: 0 }
    }

    /// The wait after another failure: between half and the whole of `0.5 s · 2^failures`, capped.
    pub fn next(&mut self, random: u32) -> Duration {
        let ceiling = FIRST.saturating_mul(1u32.checked_shl(self.failures.min(20)).unwrap_or(u32::MAX)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        let half = ceiling / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// Forgets earlier failures: called when a source has proved itself.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the start or the last reset.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn doubles_to_the_cap_and_starts_again() {
        let mut backoff = Backoff::new(Duration::from_secs(30));
        let waits: Vec<u128> = (0..9).map(|_| backoff.next(u32::MAX).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
        backoff.reset();
        assert_eq!(backoff.next(0), Duration::from_millis(250));
        assert_eq!(backoff.failures(), 1);
    }

    proptest! {
        #[test]
        fn stays_within_half_and_whole_of_the_ceiling(max_s in 0u64..3600, randoms in prop::collection::vec(any::<u32>(), 1..64)) {
            let max = Duration::from_secs(max_s).max(FIRST);
            let mut backoff = Backoff::new(Duration::from_secs(max_s));
            let mut ceiling = FIRST.min(max);
            for random in randoms {
                let wait = backoff.next(random);
                prop_assert!(wait >= ceiling / 2 && wait <= ceiling + Duration::from_nanos(1), "{wait:?} of {ceiling:?}");
                ceiling = (ceiling * 2).min(max);
            }
        }
    }
}
