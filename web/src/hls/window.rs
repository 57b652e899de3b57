//! The live window of a stream: which fragments a live playlist lists, under which media sequence number.
//!
//! Fragment counters grow but may skip, while media sequence numbers must not, so the window counts for itself. It starts
//! at the counter of its first fragment: a server that was restarted starts a new window, and what it counts from is
//! never less than what the old one had come to (RFC 8216bis 6.2.2: neither sequence number ever goes back).

use media::FragmentMeta;
use std::collections::VecDeque;

/// A window has at least so many fragments, once there are,
const LEAST_FRAGMENTS: usize = 6;
/// and covers at least so much time,
const LEAST_MS: i64 = 8_000;
/// but never has more than this many.
pub(crate) const MOST_FRAGMENTS: usize = 60;
/// Between fragments that continue each other, producer times fit this well.
const TOLERANCE_MS: i64 = 500;

/// A fragment in a playlist.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) meta: FragmentMeta,
    /// Whether it does not continue the one before it.
    pub(crate) discontinuity: bool,
}

/// The window of a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    entries: VecDeque<Entry>,
    media_sequence: u64,
    discontinuity_sequence: u64,
    longest_ms: u32,
}

impl Window {
    /// Takes in the newest fragments, oldest first, of which those that it has are passed over.
    pub(crate) fn merge(&mut self, latest: &[FragmentMeta]) {
        for meta in latest {
            let Some(Entry { meta: last, .. }) = self.entries.back() else {
                (self.media_sequence, self.discontinuity_sequence) = (meta.number.counter(), meta.number.counter());
                self.push(Entry { meta: meta.clone(), discontinuity: false });
                continue;
            };
            // A fragment that was sent again is shown once (invariant 7), the first one here: it may be playing.
            let again = self.entries.iter().any(|e| e.meta.producer_start == meta.producer_start);
            if meta.number > last.number && !again {
                let discontinuity = breaks(last, meta);
                self.push(Entry { meta: meta.clone(), discontinuity });
            }
        }
        while self.entries.len() > MOST_FRAGMENTS || self.is_long_without_first() {
            if let Some(gone) = self.entries.pop_front() {
                self.media_sequence += 1;
                self.discontinuity_sequence += u64::from(gone.discontinuity);
            }
        }
    }
    fn push(&mut self, entry: Entry) {
        self.longest_ms = self.longest_ms.max(entry.meta.duration_ms);
        self.entries.push_back(entry);
    }
    fn is_long_without_first(&self) -> bool {
        let rest = || self.entries.iter().skip(1);
        rest().count() >= LEAST_FRAGMENTS && rest().map(|e| i64::from(e.meta.duration_ms)).sum::<i64>() >= LEAST_MS
    }

    /// The fragments, oldest first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }
    /// The newest fragment.
    pub(crate) fn newest(&self) -> Option<&FragmentMeta> {
        self.entries.back().map(|e| &e.meta)
    }
    /// `EXT-X-MEDIA-SEQUENCE`: the number of the first fragment.
    pub(crate) fn media_sequence(&self) -> u64 {
        self.media_sequence
    }
    /// `EXT-X-DISCONTINUITY-SEQUENCE`: discontinuities that have left the window.
    pub(crate) fn discontinuity_sequence(&self) -> u64 {
        self.discontinuity_sequence
    }
    /// The longest fragment so far: a target duration must not shrink between two loads.
    pub(crate) fn longest_ms(&self) -> u32 {
        self.longest_ms
    }
}

/// Whether a player must start anew at `next`: a cause, other parameters, or times that do not fit.
pub(crate) fn breaks(last: &FragmentMeta, next: &FragmentMeta) -> bool {
    let apart = next.producer_start.0.saturating_sub(last.producer_end().0);
    next.cause.is_some() || next.header != last.header || apart.saturating_abs() > TOLERANCE_MS
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use media::{Cause, FragmentNumber, HeaderId, UnixMillis};

    fn meta(counter: u64, start: i64, duration_ms: u32) -> FragmentMeta {
        FragmentMeta {
            number: FragmentNumber::new(counter, start as u64, 0),
            producer_start: UnixMillis(start),
            server_start: UnixMillis(start),
            duration_ms,
            bytes: 1000,
            lead_bytes: 0,
            frames: 25,
            crc32c: 0,
            header: HeaderId(1),
            cause: None,
            encrypted: false,
        }
    }
    /// (media sequence, counter, discontinuity) of each entry.
    fn listed(window: &Window) -> Vec<(u64, u64, bool)> {
        let numbers = window.media_sequence()..;
        numbers.zip(window.entries()).map(|(n, e)| (n, e.meta.number.counter(), e.discontinuity)).collect()
    }

    #[test]
    fn a_fragment_keeps_its_media_sequence_though_counters_skip() {
        let mut window = Window::default();
        let all: Vec<_> =
            [1, 2, 5, 6, 7, 9, 10, 11, 15, 16, 17, 18].iter().zip(0..).map(|(c, n)| meta(*c, n * 2000, 2000)).collect();
        let mut seen = std::collections::HashMap::new();
        for until in 1..=all.len() {
            let before = window.media_sequence();
            window.merge(&all[until.saturating_sub(7)..until]);
            assert!(window.media_sequence() >= before);
            for (sequence, counter, _) in listed(&window) {
                assert_eq!(*seen.entry(counter).or_insert(sequence), sequence, "fragment {counter}");
                assert!(sequence <= counter, "a restart may count from the counter");
            }
        }
        assert_eq!(window.entries().count(), LEAST_FRAGMENTS);
    }

    #[test]
    fn short_fragments_make_a_window_with_enough_time_in_it() {
        let mut window = Window::default();
        for n in 0..200 {
            window.merge(&[meta(n as u64 + 1, n * 250, 250)]);
        }
        assert_eq!(window.entries().count(), 32);
        for n in 200..400 {
            window.merge(&[meta(n as u64 + 1, 50_000 + n * 10, 10)]);
        }
        assert_eq!(window.entries().count(), MOST_FRAGMENTS);
        assert_eq!(window.longest_ms(), 250, "never shrinks");
    }

    #[test]
    fn discontinuities_are_marked_and_counted_when_they_leave() {
        let mut window = Window::default();
        let mut fragments: Vec<_> = (0..4).map(|n| meta(n + 1, n as i64 * 2000, 2000)).collect();
        fragments[1].cause = Some(Cause::SourceLost);
        fragments[2].header = HeaderId(2);
        fragments[3] = FragmentMeta { header: HeaderId(2), ..meta(4, 9_000, 2000) };
        window.merge(&fragments);
        assert_eq!(listed(&window), [(1, 1, false), (2, 2, true), (3, 3, true), (4, 4, true)]);
        let start = window.discontinuity_sequence();
        window.merge(
            &(0..6)
                .map(|n| FragmentMeta { header: HeaderId(2), ..meta(n + 5, 11_000 + n as i64 * 2000, 2000) })
                .collect::<Vec<_>>(),
        );
        assert_eq!(window.media_sequence(), 5);
        assert_eq!(window.discontinuity_sequence(), start + 3);
    }

    #[test]
    fn a_fragment_sent_again_is_listed_once_and_order_is_kept() {
        let mut window = Window::default();
        window.merge(&[meta(1, 0, 2000), meta(2, 2000, 2000), meta(3, 2000, 2000), meta(4, 4000, 2000)]);
        window.merge(&[meta(2, 2000, 2000)]);
        assert_eq!(listed(&window), [(1, 1, false), (2, 2, false), (3, 4, false)]);
    }
}
