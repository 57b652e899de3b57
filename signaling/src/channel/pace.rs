//! How fast one socket may send: the generic cell rate algorithm (ITU-T I.371), which keeps one instant.

use std::time::{Duration, Instant};

/// At once may come what makes so long at the rate.
const BURST: Duration = Duration::from_secs(5);
/// Who goes on although refused is cut off when it has sent what makes so long.
const FLOOD: Duration = Duration::from_secs(15);

/// What one socket has sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// When all that came would have come at the rate.
    due: Instant,
}

/// What a message is to be met with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Taken,
    /// More than may come.
    Refused,
    /// Far more, though refused.
    Flood,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Pace { due: now }
    }

    /// Counts a message.
    pub(super) fn count(&mut self, now: Instant, per_s: u32) -> Verdict {
        self.due = self.due.max(now) + Duration::from_secs(1) / per_s.max(1);
        match self.due - now {
            ahead if ahead <= BURST => Verdict::Taken,
            ahead if ahead <= FLOOD => Verdict::Refused,
            _ => Verdict::Flood,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_taken_then_refused_then_cut_off() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let verdicts: Vec<_> = (0..151).map(|_| pace.count(start, 10)).collect();
        assert!(verdicts[..50].iter().all(|v| *v == Verdict::Taken));
        assert!(verdicts[50..150].iter().all(|v| *v == Verdict::Refused));
        assert_eq!(verdicts[150], Verdict::Flood);
        let mut pace = Pace::new(start);
        let at = |ms: u32| start + Duration::from_millis(ms.into());
        assert!((0..10_000).all(|n| pace.count(at(100 * n), 10) == Verdict::Taken), "at the rate, for ever");
        let mut pace = Pace::new(start);
        for _ in 0..60 {
            pace.count(start, 10);
        }
        assert_eq!(pace.count(at(2000), 10), Verdict::Taken, "who waits may send again");
    }
}
