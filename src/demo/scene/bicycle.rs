//! Bicycles with their riders, drawn in centimetres round the spot between the wheels, riding right.

use super::canvas::{Canvas, Ink, ink};
use super::dice::Dice;
use super::person::Person;
use std::f32::consts::{PI, TAU};

const FRAMES: [Ink; 7] =
    [ink(0xb93a32), ink(0x21618c), ink(0x2f7d5b), ink(0x2a2d33), ink(0xe0e0dc), ink(0xd98c28), ink(0x5fa8a5)];
const HELMETS: [Ink; 4] = [ink(0xf0efe9), ink(0xd0402f), ink(0x2b2f36), ink(0xe6c440)];

const WHEEL: f32 = 33.0;
const REAR: (f32, f32) = (-53.0, -WHEEL);
const FRONT: (f32, f32) = (55.0, -WHEEL);
const CRANKS: (f32, f32) = (-7.0, -30.0);
const SADDLE: (f32, f32) = (-25.0, -92.0);
const HEAD_TUBE: (f32, f32) = (37.0, -88.0);
const GRIPS: (f32, f32) = (40.0, -106.0);
const HIP: (f32, f32) = (-22.0, -99.0);
const SHOULDER: (f32, f32) = (5.0, -148.0);

/// How a bicycle and its rider look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bicycle {
    frame: Ink,
    rider: Person,
    helmet: Option<Ink>,
    basket: bool,
}

impl Bicycle {
    /// A new one.
    pub(super) fn new(dice: &mut Dice) -> Bicycle {
        Bicycle {
            frame: dice.pick(&FRAMES),
            rider: Person::new(dice),
            helmet: (!dice.one_in(3)).then(|| dice.pick(&HELMETS)),
            basket: dice.one_in(3),
        }
    }

    /// Draws it after `ridden` centimetres.
    pub(super) fn draw(&self, c: &mut Canvas<'_>, ridden: f32) {
        c.effect(|c| c.oval(0.0, -1.0, 92.0, 6.0, Ink(20, 24, 36, 75)));
        let wheel_turn = (ridden / (TAU * WHEEL)).rem_euclid(1.0) * TAU;
        let crank_turn = (ridden / (TAU * WHEEL * 2.4)).rem_euclid(1.0) * TAU;
        let pedal = |turn: f32| (CRANKS.0 + 17.0 * turn.cos(), CRANKS.1 + 17.0 * turn.sin());
        let (near, far) = (pedal(crank_turn), pedal(crank_turn + PI));
        self.leg(c, far, 0.75);
        wheel(c, REAR, wheel_turn);
        wheel(c, FRONT, wheel_turn + 0.6);
        self.frame(c, near, far);
        self.leg(c, near, 1.0);
        self.upper_body(c);
    }

    fn frame(&self, c: &mut Canvas<'_>, near: (f32, f32), far: (f32, f32)) {
        let seat_tube = (-22.0, -80.0);
        c.line(&[far, near], 3.0, ink(0x8d949b));
        c.ring(CRANKS.0, CRANKS.1, 8.5, 2.5, ink(0x565c63));
        c.line(&[REAR, CRANKS, seat_tube, REAR], 3.4, self.frame);
        c.line(&[CRANKS, (40.0, -74.0)], 4.4, self.frame);
        c.line(&[seat_tube, HEAD_TUBE], 4.2, self.frame);
        c.line(&[HEAD_TUBE, (41.0, -70.0), FRONT], 3.6, self.frame.shade(0.85));
        c.line(&[seat_tube, SADDLE], 3.0, ink(0x8d949b));
        c.line(&[(SADDLE.0 - 11.0, SADDLE.1 - 1.0), (SADDLE.0 + 14.0, SADDLE.1)], 6.0, ink(0x2b2622));
        c.line(&[HEAD_TUBE, (36.0, -103.0), GRIPS], 3.4, ink(0x3a3f45));
        c.oval(47.0, -94.0, 4.0, 4.5, c.light().glowing(ink(0xfff3c4)));
        c.oval(-62.0, -70.0, 3.0, 4.0, c.light().glowing(ink(0xe03a2e)));
        if self.basket {
            c.pebble(
                &[(42.0, -100.0, 2.0), (76.0, -100.0, 2.0), (71.0, -75.0, 4.0), (46.0, -75.0, 4.0)],
                ink(0x8f6a42),
            );
        }
    }

    fn leg(&self, c: &mut Canvas<'_>, pedal: (f32, f32), shade: f32) {
        let ankle = (pedal.0 - 4.0, pedal.1 - 8.0);
        let knee = knee(HIP, ankle, 46.0);
        let cloth = self.rider.trousers.shade(shade);
        c.line(&[HIP, knee], 15.0, cloth);
        c.line(&[knee, ankle], 11.0, cloth);
        c.line(&[(pedal.0 - 6.0, pedal.1 - 4.0), (pedal.0 + 10.0, pedal.1 - 3.0)], 7.0, self.rider.shoes.shade(shade));
    }

    fn upper_body(&self, c: &mut Canvas<'_>) {
        let rider = &self.rider;
        c.pebble(
            &[
                (HIP.0 - 14.0, HIP.1 + 5.0, 6.0),
                (SHOULDER.0 - 16.0, SHOULDER.1 - 6.0, 12.0),
                (SHOULDER.0 + 11.0, SHOULDER.1 - 4.0, 10.0),
                (HIP.0 + 14.0, HIP.1 + 6.0, 6.0),
            ],
            rider.top,
        );
        let (x, y) = (SHOULDER.0 + 11.0, SHOULDER.1 - 24.0);
        c.line(&[(SHOULDER.0 + 3.0, SHOULDER.1 - 4.0), (x - 1.0, y + 6.0)], 9.5, rider.skin.shade(0.9));
        c.oval(x, y, 9.6, 11.4, rider.skin);
        c.oval(x + 9.5, y + 1.0, 2.2, 2.0, rider.skin);
        c.oval(x - 5.0, y - 2.0, 7.0, 9.0, rider.hair);
        let (cap, brim) = self.helmet.map_or((rider.hair, rider.hair), |helmet| (helmet, helmet.shade(0.75)));
        c.pebble(
            &[(x - 12.5, y - 3.0, 2.0), (x - 11.0, y - 15.5, 9.0), (x + 9.0, y - 15.0, 9.0), (x + 12.0, y - 4.0, 2.0)],
            cap,
        );
        c.line(&[(x - 11.0, y - 4.0), (x + 11.0, y - 4.5)], 2.0, brim);
        let elbow = (SHOULDER.0 + 14.0, SHOULDER.1 + 25.0);
        c.line(&[SHOULDER, elbow], 10.5, rider.top.shade(1.1));
        c.line(&[elbow, (GRIPS.0, GRIPS.1 - 1.0)], 8.0, rider.top.shade(1.1));
        c.oval(GRIPS.0, GRIPS.1 - 1.0, 4.6, 4.6, rider.skin);
    }
}

fn wheel(c: &mut Canvas<'_>, (x, y): (f32, f32), turn: f32) {
    for spoke in 0..3 {
        let (sin, cos) = (turn + spoke as f32 * PI / 3.0).sin_cos();
        let reach = WHEEL - 3.0;
        c.line(&[(x - reach * cos, y - reach * sin), (x + reach * cos, y + reach * sin)], 1.2, ink(0xb9bec3));
    }
    c.ring(x, y, WHEEL - 2.0, 4.2, ink(0x22252a));
    c.oval(x, y, 3.5, 3.5, ink(0x777d84));
}

/// The knee between `hip` and `ankle` when thigh and shin are `length` long each, bent forward.
fn knee(hip: (f32, f32), ankle: (f32, f32), length: f32) -> (f32, f32) {
    let (dx, dy) = (ankle.0 - hip.0, ankle.1 - hip.1);
    let half = dx.hypot(dy) / 2.0;
    let out = (length * length - half * half).max(0.0).sqrt() / (2.0 * half).max(0.001);
    (hip.0 + dx / 2.0 + dy * out, hip.1 + dy / 2.0 - dx * out)
}
