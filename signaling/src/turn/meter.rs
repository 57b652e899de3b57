//! Counting what is relayed, and holding it against a limit.

use std::io;
use std::sync::LazyLock;
use std::time::Instant;

/// Bits a second that one direction of an allocation may have, with a second's worth at once.
#[derive(Debug)]
pub(crate) struct Meter {
    bytes_per_s: f64,
    left: f64,
    at: Instant,
}

impl Meter {
    /// Of so many thousand bits a second; none for 0.
    pub(crate) fn new(kbps: u64, now: Instant) -> Option<Meter> {
        let bytes_per_s = kbps as f64 * 125.0;
        (kbps > 0).then_some(Meter { bytes_per_s, left: bytes_per_s, at: now })
    }

    /// Whether so many bytes may pass.
    pub(crate) fn takes(&mut self, bytes: usize, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.bytes_per_s).min(self.bytes_per_s);
        self.at = now;
        let takes = self.left >= bytes as f64;
        if takes {
            self.left -= bytes as f64;
        }
        takes
    }
}

struct Counters {
    packets: metrics::Counter,
    bytes: metrics::Counter,
}

fn counters(direction: &'static str) -> Counters {
    Counters {
        packets: metrics::counter!("vidicon_turn_packets_total", "direction" => direction),
        bytes: metrics::counter!("vidicon_turn_bytes_total", "direction" => direction),
    }
}

static TO_PEERS: LazyLock<Counters> = LazyLock::new(|| counters("to peers"));
static TO_CLIENTS: LazyLock<Counters> = LazyLock::new(|| counters("to clients"));

/// Counts packets that were sent, or were not.
pub(crate) fn relayed(direction: &'static str, packets: usize, bytes: usize, result: io::Result<()>) {
    match result {
        Ok(()) => {
            let counters = if direction == "to peers" { &*TO_PEERS } else { &*TO_CLIENTS };
            counters.packets.increment(packets as u64);
            counters.bytes.increment(bytes as u64);
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => dropped("socket full", packets),
        Err(error) => {
            tracing::debug!(%error, direction, "packets were not sent");
            dropped("not sent", packets);
        }
    }
}

/// Counts packets that go no further.
pub(crate) fn dropped(reason: &'static str, packets: usize) {
    metrics::counter!("vidicon_turn_dropped_total", "reason" => reason).increment(packets as u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn takes_a_second_at_once_and_then_its_rate() {
        let start = Instant::now();
        assert!(Meter::new(0, start).is_none());
        let mut meter = Meter::new(80, start).expect("a limit");
        let passed = (0..30).filter(|_| meter.takes(1000, start)).count();
        assert_eq!(passed, 10);
        let passed = (1..=1000).filter(|n| meter.takes(1000, start + Duration::from_millis(*n * 10))).count();
        assert!((95..=100).contains(&passed), "{passed}");
    }
}
