//! What is recorded in a range: runs of fragments that continue one another.

use crate::catalog::fragments::{self, Covered};
use crate::catalog::quarantine;
use crate::{Error, Range, Span, TimeBy};
use media::{Cause, UnixMillis};
use rusqlite::Connection;
use std::collections::VecDeque;

/// A fragment continues the one before it if it starts at most so late after it: cameras' clocks and frame rates are not exact.
const TOLERANCE_MS: i64 = 500;

/// The spans of a stream in a range of either clock, at most `limit`, oldest first.
pub(crate) fn spans(c: &Connection, stream: u64, by: TimeBy, range: Range, limit: usize) -> Result<Vec<Span>, Error> {
    let mut spans = Spans { limit, spans: Vec::new(), damaged: VecDeque::new() };
    if limit > 0 {
        // Of what is damaged, the producer's times are kept. By the server's clock it is a gap like any other.
        if by == TimeBy::Producer {
            spans.damaged = quarantine::starts(c, stream, range)?.into();
        }
        fragments::walk(c, stream, by, range, |fragment| spans.add(fragment))?;
    }
    Ok(spans.spans)
}

struct Spans {
    limit: usize,
    spans: Vec<Span>,
    /// Producer times of what is damaged, that come after the last fragment that was added.
    damaged: VecDeque<UnixMillis>,
}

impl Spans {
    /// Adds the next fragment; `false` when there is no room for its span.
    fn add(&mut self, f: Covered) -> bool {
        let end = f.start.plus(i64::from(f.duration_ms));
        let mut damaged = false;
        while self.damaged.front().is_some_and(|at| *at <= f.start) {
            // One that was sent again is there after all.
            damaged |= self.damaged.pop_front().is_some_and(|at| at < f.start);
        }
        if let Some(last) = self.spans.last_mut()
            && f.cause.is_none()
            && !damaged
            && f.start <= last.end.plus(TOLERANCE_MS)
        {
            last.end = last.end.max(end);
            last.fragments += 1;
            last.bytes += f.bytes;
            return true;
        }
        if self.spans.len() == self.limit {
            return false;
        }
        let why = if damaged { Cause::Damaged } else { Cause::ProducerPause };
        let cause = f.cause.filter(|_| !damaged).or((!self.spans.is_empty()).then_some(why));
        self.spans.push(Span { start: f.start, end, fragments: 1, bytes: f.bytes, cause });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(start: i64, duration_ms: u32, cause: Option<Cause>) -> Covered {
        Covered { start: UnixMillis(start), duration_ms, bytes: 10, cause }
    }

    #[test]
    fn runs_end_at_gaps_and_at_causes() {
        let mut spans = Spans { limit: 3, spans: Vec::new(), damaged: VecDeque::new() };
        assert!(spans.add(fragment(0, 1000, None)));
        assert!(spans.add(fragment(1500, 1000, None)), "within the tolerance");
        assert!(spans.add(fragment(2000, 100, None)), "overlapping");
        assert!(spans.add(fragment(3001, 1000, None)), "a gap");
        assert!(spans.add(fragment(4001, 1000, Some(Cause::PacketLoss))));
        assert!(!spans.add(fragment(9000, 1000, None)), "no room for a fourth");
        let seen: Vec<_> = spans.spans.iter().map(|s| (s.start.0, s.end.0, s.fragments, s.bytes, s.cause)).collect();
        let expected = [
            (0, 2500, 3, 30, None),
            (3001, 4001, 1, 10, Some(Cause::ProducerPause)),
            (4001, 5001, 1, 10, Some(Cause::PacketLoss)),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_is_damaged_is_a_gap_unless_it_was_sent_again() {
        let damaged = [1000, 1100, 4000].map(UnixMillis).into();
        let mut spans = Spans { limit: 9, spans: Vec::new(), damaged };
        for start in [0, 1200, 2200, 3200, 4000] {
            assert!(spans.add(fragment(start, 1000, None)));
        }
        let seen: Vec<_> = spans.spans.iter().map(|s| (s.start.0, s.end.0, s.cause)).collect();
        assert_eq!(seen, [(0, 1000, None), (1200, 5000, Some(Cause::Damaged))]);
    }
}
