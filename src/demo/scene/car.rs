//! Cars, drawn in centimetres round the spot between the wheels, driving right.

use super::canvas::{Canvas, Ink, ink};
use super::dice::Dice;
use std::f32::consts::{PI, TAU};

const PAINTS: [Ink; 11] = [
    ink(0xb8322f),
    ink(0x2b5d8c),
    ink(0xe5e6e3),
    ink(0x3a3f46),
    ink(0x9aa3aa),
    ink(0x2f6e58),
    ink(0xd9a22e),
    ink(0x74a6c4),
    ink(0x7b2d43),
    ink(0xcfc4ab),
    ink(0xdb6b34),
];
const WHEEL: f32 = 32.0;
const GLASS: Ink = ink(0x2a3a47);
const TYRE: Ink = ink(0x1d2024);

type Corners = &'static [(f32, f32, f32)];

/// A kind of car: its outline, its panes, its axles, and the height of its lights.
#[derive(Debug)]
struct Kind {
    outline: Corners,
    panes: &'static [Corners],
    axles: (f32, f32),
    lights_y: f32,
}

static HATCHBACK: Kind = Kind {
    outline: &[
        (-196.0, -24.0, 10.0),
        (-202.0, -84.0, 14.0),
        (-170.0, -147.0, 26.0),
        (28.0, -149.0, 34.0),
        (102.0, -98.0, 16.0),
        (188.0, -82.0, 26.0),
        (204.0, -24.0, 14.0),
    ],
    panes: &[
        &[(-176.0, -102.0, 5.0), (-158.0, -138.0, 8.0), (-72.0, -140.0, 4.0), (-70.0, -102.0, 4.0)],
        &[(-61.0, -102.0, 4.0), (-62.0, -140.0, 4.0), (24.0, -140.0, 12.0), (82.0, -101.0, 5.0)],
    ],
    axles: (-124.0, 126.0),
    lights_y: -68.0,
};
static SEDAN: Kind = Kind {
    outline: &[
        (-222.0, -24.0, 10.0),
        (-228.0, -86.0, 14.0),
        (-168.0, -98.0, 16.0),
        (-98.0, -144.0, 34.0),
        (34.0, -145.0, 34.0),
        (106.0, -97.0, 16.0),
        (206.0, -82.0, 26.0),
        (222.0, -24.0, 14.0),
    ],
    panes: &[
        &[(-146.0, -101.0, 5.0), (-94.0, -136.0, 14.0), (-38.0, -136.0, 4.0), (-36.0, -101.0, 4.0)],
        &[(-27.0, -101.0, 4.0), (-28.0, -136.0, 4.0), (30.0, -136.0, 14.0), (84.0, -101.0, 5.0)],
    ],
    axles: (-136.0, 136.0),
    lights_y: -70.0,
};
static SUV: Kind = Kind {
    outline: &[
        (-206.0, -30.0, 10.0),
        (-212.0, -100.0, 14.0),
        (-186.0, -166.0, 22.0),
        (40.0, -168.0, 30.0),
        (104.0, -113.0, 14.0),
        (196.0, -100.0, 24.0),
        (210.0, -30.0, 14.0),
    ],
    panes: &[
        &[(-190.0, -118.0, 5.0), (-174.0, -157.0, 8.0), (-112.0, -158.0, 4.0), (-111.0, -118.0, 4.0)],
        &[(-102.0, -118.0, 4.0), (-103.0, -158.0, 4.0), (-34.0, -159.0, 4.0), (-32.0, -118.0, 4.0)],
        &[(-23.0, -118.0, 4.0), (-25.0, -159.0, 4.0), (36.0, -159.0, 12.0), (84.0, -117.0, 5.0)],
    ],
    axles: (-130.0, 128.0),
    lights_y: -84.0,
};
static VAN: Kind = Kind {
    outline: &[
        (-222.0, -26.0, 8.0),
        (-224.0, -192.0, 16.0),
        (82.0, -194.0, 30.0),
        (148.0, -116.0, 16.0),
        (208.0, -98.0, 24.0),
        (220.0, -26.0, 14.0),
    ],
    panes: &[&[(42.0, -122.0, 4.0), (42.0, -176.0, 5.0), (76.0, -177.0, 12.0), (126.0, -121.0, 5.0)]],
    axles: (-142.0, 140.0),
    lights_y: -82.0,
};

/// How a car looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Car {
    kind: &'static Kind,
    paint: Ink,
    taxi: bool,
    driver: Ink,
    stripe: bool,
}

impl Car {
    /// A new one.
    pub(super) fn new(dice: &mut Dice) -> Car {
        let kind = dice.pick(&[&HATCHBACK, &HATCHBACK, &SEDAN, &SEDAN, &SUV, &VAN]);
        let taxi = std::ptr::eq(kind, &raw const SEDAN) && dice.one_in(3);
        let paint = if taxi { ink(0xe8b931) } else { dice.pick(&PAINTS) };
        let driver = dice.pick(&[ink(0xd9a67c), ink(0xa8734d), ink(0x7a5238), ink(0xeac4a3)]);
        Car { kind, paint, taxi, driver, stripe: dice.one_in(4) }
    }

    /// Draws it after `driven` centimetres.
    pub(super) fn draw(&self, c: &mut Canvas<'_>, driven: f32) {
        let kind = self.kind;
        let (tail, nose) = (kind.outline[0].0, kind.outline[kind.outline.len() - 1].0);
        self.effects(c, tail, nose);
        for x in [kind.axles.0, kind.axles.1] {
            c.oval(x + 3.0, -WHEEL - 1.0, WHEEL, WHEEL, ink(0x141619));
        }
        c.pebble(kind.outline, self.paint);
        // The body turns away from the light towards the sill.
        c.pebble(
            &[(tail - 3.0, -62.0, 6.0), (nose - 5.0, -58.0, 6.0), (nose, -24.0, 12.0), (tail, -24.0, 10.0)],
            Ink(0, 0, 0, 34),
        );
        let belt = kind.lights_y - 16.0;
        c.line(&[(tail + 12.0, belt - 2.0), (nose - 34.0, belt + 4.0)], 2.4, Ink(255, 255, 255, 70));
        for pane in kind.panes {
            c.pebble(pane, GLASS);
        }
        self.details(c, tail, nose);
        for x in [kind.axles.0, kind.axles.1] {
            c.oval(x, -WHEEL - 3.0, WHEEL + 7.0, WHEEL + 6.0, self.paint.shade(0.42));
            wheel(c, x, driven);
        }
    }

    fn effects(&self, c: &mut Canvas<'_>, tail: f32, nose: f32) {
        let lamps = c.light().lamps;
        let y = self.kind.lights_y;
        c.effect(|c| {
            c.oval(0.0, -2.0, nose + 12.0, 12.0, Ink(18, 22, 32, 96));
            if lamps > 0.05 {
                let beam = c.light().glowing(ink(0xfff0b8)).veil((17.0 * lamps) as u8);
                for (reach, drop) in [(250.0, 0.0), (185.0, 9.0), (120.0, 20.0)] {
                    let far = nose + reach;
                    c.pebble(
                        &[
                            (nose - 8.0, y - 6.0, 1.0),
                            (far, -46.0 - drop * 0.4, 24.0),
                            (far, 2.0 - drop, 24.0),
                            (nose - 8.0, y + 12.0, 1.0),
                        ],
                        beam,
                    );
                }
                c.oval(tail - 4.0, y, 22.0, 18.0, c.light().glowing(ink(0xff3a22)).veil((60.0 * lamps) as u8));
            }
        });
    }

    fn details(&self, c: &mut Canvas<'_>, tail: f32, nose: f32) {
        let kind = self.kind;
        let glass = kind.panes[kind.panes.len() - 1];
        let (sill, front) = (glass[0].1, glass[3].0);
        // Somebody drives.
        c.oval(front - 58.0, sill - 15.0, 8.5, 10.5, self.driver.shade(0.72));
        c.pebble(
            &[
                (front - 76.0, sill, 2.0),
                (front - 68.0, sill - 8.0, 5.0),
                (front - 48.0, sill - 8.0, 5.0),
                (front - 42.0, sill, 2.0),
            ],
            ink(0x3c434c),
        );
        for pane in kind.panes {
            let (left, right, top, low) = (pane[0].0, pane[3].0, pane[1].1, pane[0].1);
            let middle = (left + right) / 2.0;
            let gleam = [
                (middle - 4.0, low - 2.0),
                (middle + 10.0, top + 3.0),
                (middle + 24.0, top + 3.0),
                (middle + 10.0, low - 2.0),
            ];
            c.polygon(&gleam, Ink(255, 255, 255, 34));
        }
        let door = if kind.panes.len() > 1 { glass[0].0 - 4.0 } else { glass[0].0 - 6.0 };
        c.line(&[(door, sill + 4.0), (door + 2.0, -36.0)], 1.8, self.paint.shade(0.62));
        c.line(&[(door + 10.0, sill + 14.0), (door + 26.0, sill + 14.0)], 3.4, self.paint.shade(0.55));
        if self.stripe && kind.panes.len() == 1 {
            c.rect(tail + 4.0, -128.0, 225.0, 14.0, self.paint.shade(if self.paint.0 > 150 { 0.6 } else { 1.7 }));
        }
        c.round_rect(tail - 3.0, -46.0, 30.0, 18.0, 6.0, self.paint.shade(0.5));
        c.round_rect(nose - 26.0, -44.0, 30.0, 18.0, 6.0, self.paint.shade(0.5));
        let y = kind.lights_y;
        let (white, red) = (c.light().glowing(ink(0xfff6d8)), c.light().glowing(ink(0xd8281f)));
        c.pebble(
            &[
                (nose - 32.0, y - 8.0, 3.0),
                (nose - 9.0, y - 5.0, 5.0),
                (nose - 4.0, y + 8.0, 5.0),
                (nose - 24.0, y + 7.0, 4.0),
            ],
            white,
        );
        c.round_rect(tail - 4.0, y - 12.0, 14.0, 24.0, 4.0, red);
        c.pebble(
            &[
                (front - 4.0, sill - 1.0, 3.0),
                (front - 4.0, sill - 14.0, 5.0),
                (front + 10.0, sill - 13.0, 5.0),
                (front + 10.0, sill - 1.0, 3.0),
            ],
            self.paint.shade(0.75),
        );
        if self.taxi {
            let roof = kind.outline[3].1;
            c.round_rect(-46.0, roof - 15.0, 38.0, 16.0, 5.0, c.light().glowing(ink(0xfdf6dd)));
            for square in 0..12 {
                c.rect(-90.0 + square as f32 * 14.0, -74.0 + (square % 2) as f32 * 7.0, 7.0, 7.0, ink(0x2b2b2b));
            }
        }
    }
}

fn wheel(c: &mut Canvas<'_>, x: f32, driven: f32) {
    let y = -WHEEL;
    c.oval(x, y, WHEEL, WHEEL, TYRE);
    c.oval(x, y, 20.5, 20.5, ink(0xb9bfc5));
    let turn = (driven / (TAU * WHEEL)).rem_euclid(1.0) * TAU;
    for spoke in 0..5 {
        let (sin, cos) = (turn + spoke as f32 * 2.0 * PI / 5.0).sin_cos();
        c.line(&[(x + 6.0 * cos, y + 6.0 * sin), (x + 16.5 * cos, y + 16.5 * sin)], 5.0, ink(0x4e555c));
    }
    c.oval(x, y, 5.0, 5.0, ink(0x82898f));
}
