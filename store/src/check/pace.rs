//! The pace of a check: so many bytes of segments in a second, so that recording goes on beside it.

use std::time::{Duration, Instant};

/// Waits as it has to.
pub(super) struct Pace {
    bytes_per_s: Option<u64>,
    began: Instant,
    bytes: u64,
}

impl Pace {
    pub(super) fn new(bytes_per_s: Option<u64>) -> Pace {
        Pace { bytes_per_s: bytes_per_s.filter(|rate| *rate > 0), began: Instant::now(), bytes: 0 }
    }

    /// So many bytes were read.
    pub(super) fn read(&mut self, bytes: u64) {
        let Some(rate) = self.bytes_per_s else { return };
        self.bytes += bytes;
        let due = Duration::from_secs_f64(self.bytes as f64 / rate as f64);
        if let Some(early) = due.checked_sub(self.began.elapsed()).filter(|early| early.as_millis() >= 5) {
            std::thread::sleep(early);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_takes_as_long_as_the_rate_says() {
        let mut pace = Pace::new(Some(1_000_000));
        let began = Instant::now();
        (0..100).for_each(|_| pace.read(1000));
        assert!(began.elapsed() >= Duration::from_millis(90));
        let (mut free, began) = (Pace::new(None), Instant::now());
        (0..100).for_each(|_| free.read(u64::MAX / 200));
        assert!(began.elapsed() < Duration::from_millis(90));
    }
}
