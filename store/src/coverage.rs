//! What is recorded in a range: runs of fragments that continue one another.

use crate::catalog::fragments::{self, Covered};
use crate::{Error, Range, Span};
use media::Cause;
use rusqlite::Connection;

/// A fragment continues the one before it if it starts at most so late after it: cameras' clocks and frame rates are not exact.
const TOLERANCE_MS: i64 = 500;

/// The spans of a stream in a range, at most `limit`, oldest first.
pub(crate) fn spans(c: &Connection, stream: u64, range: Range, limit: usize) -> Result<Vec<Span>, Error> {
    let mut spans = Spans { limit, spans: Vec::new() };
    if limit > 0 {
        fragments::walk(c, stream, range, |fragment| spans.add(fragment))?;
    }
    Ok(spans.spans)
}

struct Spans {
    limit: usize,
    spans: Vec<Span>,
}

impl Spans {
    /// Adds the next fragment; `false` when there is no room for its span.
    fn add(&mut self, f: Covered) -> bool {
        let end = f.start.plus(i64::from(f.duration_ms));
        if let Some(last) = self.spans.last_mut()
            && f.cause.is_none()
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
        let cause = f.cause.or((!self.spans.is_empty()).then_some(Cause::ProducerPause));
        self.spans.push(Span { start: f.start, end, fragments: 1, bytes: f.bytes, cause });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::UnixMillis;

    fn fragment(start: i64, duration_ms: u32, cause: Option<Cause>) -> Covered {
        Covered { start: UnixMillis(start), duration_ms, bytes: 10, cause }
    }

    #[test]
    fn runs_end_at_gaps_and_at_causes() {
        let mut spans = Spans { limit: 3, spans: Vec::new() };
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
}
