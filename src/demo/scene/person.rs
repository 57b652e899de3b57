//! People on foot, drawn in centimetres round the spot they stand on, facing right.

use super::canvas::{Canvas, Ink, ink};
use super::dice::Dice;
use std::f32::consts::{PI, TAU};

const SKIN: [Ink; 5] = [ink(0xf2c9a5), ink(0xe3ad82), ink(0xc68c61), ink(0x96633f), ink(0x6d452c)];
const HAIR: [Ink; 6] = [ink(0x2a1f1a), ink(0x4a2f1f), ink(0x7a4d28), ink(0xc69a55), ink(0x8d8d90), ink(0x8c3b22)];
const TOPS: [Ink; 11] = [
    ink(0xc8453b),
    ink(0x2f6f9f),
    ink(0xe2a93b),
    ink(0x3e8e6a),
    ink(0x7a4f8e),
    ink(0xe8e4da),
    ink(0x35485c),
    ink(0xd9758b),
    ink(0x56a3b0),
    ink(0x7d5a41),
    ink(0x9bb04c),
];
const TROUSERS: [Ink; 7] =
    [ink(0x2f3f5c), ink(0x3b3b42), ink(0x6d6454), ink(0x48688c), ink(0x86796a), ink(0x27303a), ink(0x5b4636)];
const SHOES: [Ink; 4] = [ink(0x2b2522), ink(0xe9e6e1), ink(0x7b4a2c), ink(0xb5402f)];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Shirt,
    Coat,
    Skirt,
    Shorts,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Carries {
    Nothing,
    Backpack,
    Bag,
}

/// How somebody looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Person {
    height: f32,
    build: f32,
    pub(super) skin: Ink,
    pub(super) hair: Ink,
    pub(super) top: Ink,
    pub(super) trousers: Ink,
    pub(super) shoes: Ink,
    cut: Cut,
    carries: Carries,
    hat: Option<Ink>,
    long_hair: bool,
}

impl Person {
    /// Somebody new.
    pub(super) fn new(dice: &mut Dice) -> Person {
        let child = dice.one_in(7);
        Person {
            height: if child { dice.between(115.0, 140.0) } else { dice.between(158.0, 192.0) },
            build: dice.between(0.92, 1.14),
            skin: dice.pick(&SKIN),
            hair: dice.pick(&HAIR),
            top: dice.pick(&TOPS),
            trousers: dice.pick(&TROUSERS),
            shoes: dice.pick(&SHOES),
            cut: dice.pick(&[Cut::Shirt, Cut::Shirt, Cut::Coat, Cut::Skirt, Cut::Shorts]),
            carries: dice.pick(&[Carries::Nothing, Carries::Backpack, Carries::Bag]),
            hat: dice.one_in(5).then(|| dice.pick(&TOPS)),
            long_hair: dice.one_in(2),
        }
    }

    /// Draws this person after `walked` centimetres on foot.
    pub(super) fn draw(&self, c: &mut Canvas<'_>, walked: f32) {
        let h = self.height;
        c.effect(|c| c.oval(0.0, -1.0, 0.24 * h, 0.035 * h, Ink(20, 24, 36, 70)));
        let gait = (walked / (0.93 * h)).rem_euclid(1.0) * TAU;
        let (near, far) = (Leg::at(gait, h), Leg::at(gait + PI, h));
        // The hips ride on whichever leg is straighter, so that no foot sinks into the ground.
        let hip_y = -near.ankle.1.max(far.ankle.1) - 0.035 * h;
        let swing = 0.55 * gait.sin();
        c.place(0.0, hip_y, 1.0, 1.0, |c| {
            self.arm(c, swing, 0.82);
            self.leg(c, &far, 0.78);
            if self.carries == Carries::Backpack {
                c.round_rect(
                    -0.19 * h * self.build,
                    -0.31 * h,
                    0.15 * h,
                    0.23 * h,
                    0.05 * h,
                    self.trousers.shade(1.25),
                );
            }
            self.leg(c, &near, 1.0);
            self.torso(c);
            self.head(c);
            self.arm(c, -swing, 1.08);
        });
    }

    fn leg(&self, c: &mut Canvas<'_>, leg: &Leg, shade: f32) {
        let h = self.height;
        let bare = matches!(self.cut, Cut::Skirt | Cut::Shorts);
        let cloth = self.trousers.shade(shade);
        let (knee, ankle) = (leg.knee, leg.ankle);
        c.line(
            &[(0.0, 0.0), knee],
            0.088 * h * self.build,
            if self.cut == Cut::Skirt { self.skin.shade(shade) } else { cloth },
        );
        c.line(&[knee, ankle], 0.066 * h * self.build, if bare { self.skin.shade(shade) } else { cloth });
        let toe = (ankle.0 + 0.075 * h, ankle.1 + 0.018 * h);
        c.line(&[(ankle.0 - 0.005 * h, ankle.1 + 0.015 * h), toe], 0.042 * h, self.shoes.shade(shade));
    }

    fn torso(&self, c: &mut Canvas<'_>) {
        let h = self.height;
        let (wide, waist) = (0.098 * h * self.build, 0.082 * h * self.build);
        let hem = match self.cut {
            Cut::Coat => 0.20 * h,
            Cut::Skirt => 0.03 * h,
            Cut::Shirt | Cut::Shorts => 0.02 * h,
        };
        if self.cut == Cut::Skirt {
            let (wide, long) = (0.145 * h, 0.21 * h);
            c.pebble(
                &[(-waist, -0.05 * h, 2.0), (waist, -0.05 * h, 2.0), (wide, long, 5.0), (-wide, long, 5.0)],
                self.trousers.shade(1.12),
            );
        }
        let flare = if self.cut == Cut::Coat { 1.35 } else { 1.0 };
        let round = 0.07 * h;
        c.pebble(
            &[
                (-wide, -0.345 * h, round),
                (wide, -0.345 * h, round),
                (waist * flare, hem, 4.0),
                (-waist * flare, hem, 4.0),
            ],
            self.top,
        );
        c.pebble(
            &[
                (-wide, -0.34 * h, round),
                (-0.2 * wide, -0.33 * h, 3.0),
                (-0.3 * waist, hem, 3.0),
                (-waist * flare, hem, 4.0),
            ],
            Ink(0, 0, 0, 26),
        );
        if self.carries == Carries::Bag {
            c.line(&[(0.05 * h, -0.33 * h), (-0.09 * h, -0.04 * h)], 0.016 * h, self.shoes.shade(0.8));
            c.round_rect(-0.16 * h, -0.06 * h, 0.14 * h, 0.10 * h, 0.02 * h, self.shoes.shade(0.9));
        }
    }

    fn head(&self, c: &mut Canvas<'_>) {
        let h = self.height;
        c.line(&[(0.01 * h, -0.34 * h), (0.015 * h, -0.38 * h)], 0.055 * h, self.skin.shade(0.9));
        if self.long_hair {
            c.round_rect(-0.066 * h, -0.46 * h, 0.085 * h, 0.145 * h, 0.03 * h, self.hair);
        }
        c.oval(0.015 * h, -0.427 * h, 0.054 * h, 0.066 * h, self.skin);
        c.oval(0.068 * h, -0.42 * h, 0.012 * h, 0.011 * h, self.skin);
        c.oval(-0.006 * h, -0.458 * h, 0.058 * h, 0.043 * h, self.hair);
        c.oval(-0.030 * h, -0.432 * h, 0.030 * h, 0.048 * h, self.hair);
        if let Some(hat) = self.hat {
            c.pebble(
                &[
                    (-0.058 * h, -0.462 * h, 1.0),
                    (-0.045 * h, -0.518 * h, 0.03 * h),
                    (0.05 * h, -0.512 * h, 0.03 * h),
                    (0.066 * h, -0.462 * h, 1.0),
                ],
                hat,
            );
            c.line(&[(0.02 * h, -0.46 * h), (0.095 * h, -0.455 * h)], 0.018 * h, hat.shade(0.85));
        }
    }

    fn arm(&self, c: &mut Canvas<'_>, swing: f32, shade: f32) {
        let h = self.height;
        let shoulder = (0.0, -0.30 * h);
        let elbow = (shoulder.0 + 0.165 * h * swing.sin(), shoulder.1 + 0.165 * h * swing.cos());
        let bent = swing + 0.45;
        let hand = (elbow.0 + 0.15 * h * bent.sin(), elbow.1 + 0.15 * h * bent.cos());
        let short = self.cut == Cut::Shorts;
        c.line(&[shoulder, elbow], 0.058 * h * self.build, self.top.shade(shade));
        c.line(&[elbow, hand], 0.047 * h, if short { self.skin.shade(shade) } else { self.top.shade(shade) });
        c.oval(hand.0, hand.1, 0.026 * h, 0.026 * h, self.skin.shade(shade));
    }
}

/// Where a leg's knee and ankle are, from the hip.
struct Leg {
    knee: (f32, f32),
    ankle: (f32, f32),
}

impl Leg {
    fn at(gait: f32, height: f32) -> Leg {
        let length = 0.245 * height;
        let thigh = 0.47 * gait.sin() + 0.06;
        // The knee bends while the leg swings forward.
        let shin = thigh - 0.10 - 0.85 * gait.cos().max(0.0);
        let knee = (length * thigh.sin(), length * thigh.cos());
        Leg { knee, ankle: (knee.0 + length * shin.sin(), knee.1 + length * shin.cos()) }
    }
}
