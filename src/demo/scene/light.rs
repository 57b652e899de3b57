//! The hour's light: what it does to every colour, and what the sky looks like. Nights stay bright enough to see by.

use super::canvas::{Ink, ink};

const HOUR_MS: i64 = 3_600_000;

/// The light at one moment of the (UTC) day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Light {
    tint: [f32; 3],
    /// The sky at its top.
    pub(super) zenith: Ink,
    /// The sky above the roofs.
    pub(super) horizon: Ink,
    /// How far lamps and windows are lit, 0 to 1.
    pub(super) lamps: f32,
}

struct Key {
    hour: f32,
    tint: [f32; 3],
    zenith: Ink,
    horizon: Ink,
    lamps: f32,
}

const fn key(hour: f32, tint: [f32; 3], zenith: u32, horizon: u32, lamps: f32) -> Key {
    Key { hour, tint, zenith: ink(zenith), horizon: ink(horizon), lamps }
}

const DAY: [Key; 9] = [
    key(0.0, [0.60, 0.66, 0.82], 0x1d2c4f, 0x566a96, 1.0),
    key(4.5, [0.62, 0.67, 0.82], 0x253760, 0x6f7ba3, 1.0),
    key(6.5, [0.94, 0.86, 0.84], 0x7099cc, 0xf4cba6, 0.3),
    key(9.0, [1.00, 0.98, 0.95], 0x68acdf, 0xdcedf5, 0.0),
    key(13.0, [1.00, 1.00, 1.00], 0x5aa7e2, 0xd8eefa, 0.0),
    key(17.0, [1.00, 0.97, 0.92], 0x66a5da, 0xf0e6d2, 0.0),
    key(19.0, [0.93, 0.82, 0.79], 0x5c78b4, 0xf3b48c, 0.5),
    key(21.0, [0.70, 0.70, 0.83], 0x2d3f70, 0x8c82a8, 1.0),
    key(24.0, [0.60, 0.66, 0.82], 0x1d2c4f, 0x566a96, 1.0),
];

impl Light {
    /// The light at `t_ms` (Unix milliseconds).
    pub(super) fn at(t_ms: i64) -> Light {
        let hour = t_ms.rem_euclid(24 * HOUR_MS) as f32 / HOUR_MS as f32;
        let next = DAY.iter().position(|key| key.hour > hour).unwrap_or(DAY.len() - 1).max(1);
        let (before, after) = (&DAY[next - 1], &DAY[next]);
        let share = ((hour - before.hour) / (after.hour - before.hour)).clamp(0.0, 1.0);
        let mix = |a: f32, b: f32| a + (b - a) * share;
        let blend = |a: Ink, b: Ink| {
            let channel = |a: u16, b: u16| mix(f32::from(a), f32::from(b)) as u16;
            Ink(channel(a.0, b.0), channel(a.1, b.1), channel(a.2, b.2), 255)
        };
        Light {
            tint: [0, 1, 2].map(|i| mix(before.tint[i], after.tint[i])),
            zenith: blend(before.zenith, after.zenith),
            horizon: blend(before.horizon, after.horizon),
            lamps: mix(before.lamps, after.lamps),
        }
    }

    /// White light, which leaves colours as they are.
    pub(super) fn noon() -> Light {
        Light { tint: [1.0; 3], ..Light::at(13 * HOUR_MS) }
    }

    /// What `ink` looks like in this light: red, green, blue.
    pub(super) fn on(&self, ink: Ink) -> [u8; 3] {
        let channel = |c: u16, by: f32| (f32::from(c) * by).clamp(0.0, 255.0) as u8;
        [channel(ink.0, self.tint[0]), channel(ink.1, self.tint[1]), channel(ink.2, self.tint[2])]
    }

    /// The colour that looks like `ink` in this light: for things that shine or were mixed for this hour already.
    pub(super) fn glowing(&self, ink: Ink) -> Ink {
        let channel = |c: u16, by: f32| (f32::from(c) / by).ceil() as u16;
        Ink(channel(ink.0, self.tint[0]), channel(ink.1, self.tint[1]), channel(ink.2, self.tint[2]), ink.3)
    }
}
