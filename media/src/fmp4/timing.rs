//! From presentation times to the decode times, durations and composition offsets of a media segment.

use crate::UnixMicros;

/// One sample's times in its track's timescale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    /// Absolute decode time.
    pub(super) dts: u64,
    /// Until the next sample's decode time. Never 0.
    pub(super) duration: u32,
    /// Presentation time minus decode time.
    pub(super) composition: i32,
}

/// A time since the Unix epoch in ticks, rounded down; the epoch for whatever is before it.
fn ticks(time: UnixMicros, timescale: u32) -> i64 {
    let ticks = i128::from(time.0.max(0)) * i128::from(timescale) / 1_000_000;
    i64::try_from(ticks).unwrap_or(i64::MAX / 2).min(i64::MAX / 2)
}

/// Times of video samples in decode order. Decode times are the presentation times in order, which with B-frames makes
/// composition offsets of both signs, and lets decode times grow from fragment to fragment as presentation times do.
/// The last sample lasts until `end`.
pub(super) fn video(times: &[UnixMicros], timescale: u32, end: UnixMicros) -> Vec<Timing> {
    let shown: Vec<i64> = times.iter().map(|time| ticks(*time, timescale)).collect();
    let mut decoded = shown.clone();
    decoded.sort_unstable();
    grow(&mut decoded);
    let last = decoded.last().copied().unwrap_or(0);
    let usual = decoded.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or(1);
    let end = ticks(end, timescale);
    let end = if end > last { end } else { last + usual };
    timings(&decoded, &shown, end)
}

/// Times of AAC samples. The times of stored frames are cut to the millisecond; here they are laid on a grid of
/// `frame` ticks, the one that fits them best. A sample more than 2 ms off the grid begins a new one.
pub(super) fn sound(times: &[UnixMicros], timescale: u32, frame: u16) -> Vec<Timing> {
    let mut given: Vec<i64> = times.iter().map(|time| ticks(*time, timescale)).collect();
    given.sort_unstable();
    let frame = i64::from(frame.max(1));
    let tolerance = i64::from(timescale) / 500;
    let mut laid = Vec::with_capacity(given.len());
    let mut rest = &given[..];
    while let Some(&origin) = rest.first() {
        let mut last = -1;
        let on_grid = rest.iter().map_while(|time| {
            let step = (time - origin + frame / 2) / frame;
            let off = time - (origin + step * frame);
            (step > last && off.abs() <= tolerance).then(|| {
                last = step;
                (step, off)
            })
        });
        let grid: Vec<(i64, i64)> = on_grid.collect();
        let shift = grid.iter().map(|(_, off)| off).sum::<i64>() / grid.len().max(1) as i64;
        laid.extend(grid.iter().map(|(step, _)| origin + shift + step * frame));
        rest = &rest[grid.len()..];
    }
    grow(&mut laid);
    let end = laid.last().map_or(0, |last| last + frame);
    timings(&laid, &laid, end)
}

/// Makes each time at least a tick later than the one before.
fn grow(times: &mut [i64]) {
    for index in 1..times.len() {
        times[index] = times[index].max(times[index - 1] + 1);
    }
}

fn timings(decoded: &[i64], shown: &[i64], end: i64) -> Vec<Timing> {
    let next = decoded.iter().skip(1).chain(std::iter::once(&end));
    let timing = |((dts, next), shown): ((&i64, &i64), &i64)| Timing {
        dts: (*dts).max(0) as u64,
        duration: u32::try_from(next - dts).unwrap_or(u32::MAX),
        composition: (shown - dts).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32,
    };
    decoded.iter().zip(next).zip(shown).map(timing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(times: &[i64]) -> Vec<UnixMicros> {
        times.iter().map(|t| UnixMicros(t * 1000)).collect()
    }

    fn tuples(timings: &[Timing]) -> Vec<(u64, u32, i32)> {
        timings.iter().map(|t| (t.dts, t.duration, t.composition)).collect()
    }

    #[test]
    fn without_b_frames_the_decode_times_are_the_times() {
        let timings = video(&ms(&[1000, 1040, 1080]), 90_000, UnixMicros(1_130_000));
        assert_eq!(tuples(&timings), [(90_000, 3600, 0), (93_600, 3600, 0), (97_200, 4500, 0)]);
    }

    #[test]
    fn with_b_frames_the_offsets_have_both_signs() {
        // I P B B in decode order.
        let timings = video(&ms(&[0, 120, 40, 80]), 1000, UnixMicros(160_000));
        assert_eq!(tuples(&timings), [(0, 40, 0), (40, 40, 80), (80, 40, -40), (120, 40, -40)]);
    }

    #[test]
    fn equal_times_and_an_end_in_the_past_still_give_every_sample_a_duration() {
        let timings = video(&ms(&[5, 5, 5]), 1000, UnixMicros(0));
        assert_eq!(tuples(&timings), [(5, 1, 0), (6, 1, -1), (7, 1, -2)]);
        assert!(video(&[], 1000, UnixMicros(0)).is_empty());
    }

    #[test]
    fn sound_cut_to_milliseconds_is_even_again_and_continues_in_the_next_fragment() {
        // 1024 samples at 48 kHz are 21.333 ms.
        let cut: Vec<i64> = (0..94).map(|i| 1_795_413_681_042 + i * 64 / 3).collect();
        let (first, second) = cut.split_at(47);
        let (first, second) = (sound(&ms(first), 48_000, 1024), sound(&ms(second), 48_000, 1024));
        assert!(first.iter().chain(&second).all(|t| t.duration == 1024 && t.composition == 0));
        let end = first[46].dts + 1024;
        assert!(end.abs_diff(second[0].dts) < 48, "less than a millisecond apart: {end} {}", second[0].dts);
        // A millisecond of cutting is half a millisecond of bias at most.
        assert!(first[0].dts.abs_diff(1_795_413_681_042 * 48) < 48);
    }

    #[test]
    fn sound_with_a_gap_keeps_the_gap() {
        let timings = sound(&ms(&[0, 64, 128, 300, 364]), 16_000, 1024);
        let expected = [(0, 1024, 0), (1024, 1024, 0), (2048, 2752, 0), (4800, 1024, 0), (5824, 1024, 0)];
        assert_eq!(tuples(&timings), expected);
    }

    proptest! {
        #[test]
        fn decode_times_grow_by_the_durations(times in proptest::collection::vec(any::<i64>(), 1..30), end in any::<i64>()) {
            let near: Vec<UnixMicros> = times.iter().map(|t| UnixMicros(1_795_413_681_042_000 + t % 30_000_000)).collect();
            for timings in [video(&near, 90_000, UnixMicros(end)), sound(&near, 44_100, 1024)] {
                prop_assert_eq!(timings.len(), near.len());
                prop_assert!(timings.iter().all(|t| t.duration > 0));
                for pair in timings.windows(2) {
                    prop_assert_eq!(pair[0].dts + u64::from(pair[0].duration), pair[1].dts);
                }
            }
            let wild: Vec<UnixMicros> = times.iter().map(|t| UnixMicros(*t)).collect();
            let _ = (video(&wild, u32::MAX, UnixMicros(end)), sound(&wild, u32::MAX, 1));
        }
    }
}
