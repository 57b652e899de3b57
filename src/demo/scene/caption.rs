//! The bar at the top of the picture: the marker's ground, and the time for people, drawn with strokes of our own.

use super::WIDTH;
use super::canvas::{Canvas, Ink, ink};

/// How high the bar is, in scene units.
pub(super) const HEIGHT: f32 = 64.0;
const LEFT: f32 = 1024.0;

const GROUND: Ink = ink(0x1b232b);
const BRIGHT: Ink = ink(0xf2f5f7);
const QUIET: Ink = ink(0x93a1ad);

/// The bar's ground, which does not change.
pub(super) fn ground(c: &mut Canvas<'_>) {
    let flat = |c: &Canvas<'_>, ink| c.light().glowing(ink);
    let (dark, accent) = (flat(c, GROUND), flat(c, ink(0xe4573d)));
    c.rect(0.0, 0.0, WIDTH, HEIGHT, dark);
    c.oval(LEFT + 23.0, 20.0, 5.0, 5.0, accent);
}

/// Writes the date and the time of `t_ms`.
pub(super) fn clock(c: &mut Canvas<'_>, t_ms: i64) {
    let (date, time) = utc(t_ms);
    let (bright, quiet) = (c.light().glowing(BRIGHT), c.light().glowing(QUIET));
    text(c, &date, LEFT + 38.0, 11.5, 17.0, quiet);
    text(c, "UTC", LEFT + 197.0, 11.5, 17.0, quiet);
    text(c, &time, LEFT + 17.0, 36.5, 19.0, bright);
}

/// `2026-11-23` and `06:31:22.123`.
fn utc(t_ms: i64) -> (String, String) {
    let (days, ms) = (t_ms.div_euclid(86_400_000), t_ms.rem_euclid(86_400_000));
    // Days to a civil date: eras of 400 years that begin on the first of March, so that the leap day comes last.
    let z = days + 719_468;
    let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let date = format!("{year:04}-{month:02}-{day:02}");
    (date, format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000))
}

/// Draws `words`, `height` units high, with `x`, `y` its upper left corner.
fn text(c: &mut Canvas<'_>, words: &str, x: f32, y: f32, height: f32, ink: Ink) {
    let unit = height / 6.0;
    let mut pen = x;
    for letter in words.chars() {
        for stroke in strokes(letter) {
            let points: Vec<_> = stroke.iter().map(|(sx, sy)| (pen + sx * unit, y + sy * unit)).collect();
            c.line(&points, unit * 0.86, ink);
        }
        pen += unit * if matches!(letter, '.' | ':') { 3.0 } else { 5.3 };
    }
}

type Stroke = &'static [(f32, f32)];

/// A letter's strokes on a grid 4 wide and 6 high.
fn strokes(letter: char) -> &'static [Stroke] {
    match letter {
        '0' => &[&[
            (1.0, 0.0),
            (3.0, 0.0),
            (4.0, 1.2),
            (4.0, 4.8),
            (3.0, 6.0),
            (1.0, 6.0),
            (0.0, 4.8),
            (0.0, 1.2),
            (1.0, 0.0),
        ]],
        '1' => &[&[(0.8, 1.2), (2.2, 0.0), (2.2, 6.0)], &[(0.8, 6.0), (3.6, 6.0)]],
        '2' => &[&[(0.0, 1.2), (1.0, 0.0), (3.0, 0.0), (4.0, 1.1), (4.0, 2.1), (0.0, 6.0), (4.0, 6.0)]],
        '3' => &[&[
            (0.0, 0.0),
            (4.0, 0.0),
            (2.0, 2.4),
            (3.1, 2.4),
            (4.0, 3.4),
            (4.0, 4.9),
            (3.0, 6.0),
            (1.0, 6.0),
            (0.0, 5.1),
        ]],
        '4' => &[&[(3.0, 6.0), (3.0, 0.0), (0.0, 4.2), (4.2, 4.2)]],
        '5' => &[&[
            (3.8, 0.0),
            (0.3, 0.0),
            (0.1, 2.5),
            (3.0, 2.3),
            (4.0, 3.3),
            (4.0, 4.9),
            (3.0, 6.0),
            (1.0, 6.0),
            (0.0, 5.2),
        ]],
        '6' => &[&[
            (3.4, 0.0),
            (1.4, 0.4),
            (0.0, 2.6),
            (0.0, 4.8),
            (1.0, 6.0),
            (3.0, 6.0),
            (4.0, 4.9),
            (4.0, 3.6),
            (3.0, 2.6),
            (1.0, 2.6),
            (0.0, 3.6),
        ]],
        '7' => &[&[(0.0, 0.0), (4.0, 0.0), (1.4, 6.0)]],
        '8' => &[
            &[
                (1.0, 2.8),
                (0.2, 1.8),
                (0.2, 1.0),
                (1.1, 0.0),
                (2.9, 0.0),
                (3.8, 1.0),
                (3.8, 1.8),
                (3.0, 2.8),
                (1.0, 2.8),
            ],
            &[(1.0, 2.8), (0.0, 3.8), (0.0, 5.0), (1.0, 6.0), (3.0, 6.0), (4.0, 5.0), (4.0, 3.8), (3.0, 2.8)],
        ],
        '9' => &[&[
            (0.6, 6.0),
            (2.6, 5.6),
            (4.0, 3.4),
            (4.0, 1.2),
            (3.0, 0.0),
            (1.0, 0.0),
            (0.0, 1.1),
            (0.0, 2.4),
            (1.0, 3.4),
            (3.0, 3.4),
            (4.0, 2.4),
        ]],
        '-' => &[&[(0.6, 3.0), (3.4, 3.0)]],
        ':' => &[&[(0.8, 1.7), (0.8, 1.75)], &[(0.8, 4.7), (0.8, 4.75)]],
        '.' => &[&[(0.8, 5.9), (0.8, 5.95)]],
        'U' => &[&[(0.0, 0.0), (0.0, 4.8), (1.0, 6.0), (3.0, 6.0), (4.0, 4.8), (4.0, 0.0)]],
        'T' => &[&[(0.0, 0.0), (4.0, 0.0)], &[(2.0, 0.0), (2.0, 6.0)]],
        'C' => &[&[(4.0, 1.1), (3.0, 0.0), (1.0, 0.0), (0.0, 1.2), (0.0, 4.8), (1.0, 6.0), (3.0, 6.0), (4.0, 4.9)]],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn dates_are_the_calendars() {
        let of = |t_ms| {
            let (date, time) = utc(t_ms);
            format!("{date} {time}")
        };
        assert_eq!(of(0), "1970-01-01 00:00:00.000");
        assert_eq!(of(951_782_400_000), "2000-02-29 00:00:00.000");
        assert_eq!(of(1_767_225_599_999), "2025-12-31 23:59:59.999");
        assert_eq!(of(4_107_542_400_000), "2100-03-01 00:00:00.000");
        assert_eq!(of(-1), "1969-12-31 23:59:59.999");
    }
}
