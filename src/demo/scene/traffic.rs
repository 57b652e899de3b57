//! Who is on the street when: lanes that things enter at regular intervals, give or take, for ever and from ever.

use super::bicycle::Bicycle;
use super::canvas::{Canvas, Extent};
use super::car::Car;
use super::dice::Dice;
use super::person::Person;
use super::{Class, WIDTH};

/// Things start and end this far outside the picture.
const MARGIN: f32 = 230.0;

/// A lane of the road or of a pavement.
struct Lane {
    class: Class,
    /// Rightwards 1, leftwards -1.
    heading: f32,
    /// Where things touch the ground: from, to.
    y: (f32, f32),
    period_ms: i64,
    /// Things enter so much earlier or later, at most.
    jitter_ms: f32,
    cm_per_s: (f32, f32),
}

const fn lane(class: Class, heading: f32, y: (f32, f32), period_ms: i64, jitter_ms: f32, cm_per_s: (f32, f32)) -> Lane {
    Lane { class, heading, y, period_ms, jitter_ms, cm_per_s }
}

/// Vehicles of one lane drive at one speed, so that they never pass through one another; the periods see to it that each class
/// is fully in view at least once in any eight seconds.
const LANES: [Lane; 8] = [
    lane(Class::Person, 1.0, (349.0, 357.0), 15_000, 5_000.0, (88.0, 120.0)),
    lane(Class::Person, -1.0, (359.0, 368.0), 13_000, 4_500.0, (88.0, 120.0)),
    lane(Class::Bicycle, -1.0, (393.0, 393.0), 15_000, 3_000.0, (205.0, 205.0)),
    lane(Class::Car, -1.0, (438.0, 438.0), 8_500, 1_200.0, (320.0, 320.0)),
    lane(Class::Car, 1.0, (520.0, 520.0), 9_500, 1_200.0, (300.0, 300.0)),
    lane(Class::Bicycle, 1.0, (583.0, 583.0), 8_600, 900.0, (215.0, 215.0)),
    lane(Class::Person, -1.0, (632.0, 658.0), 9_500, 3_500.0, (86.0, 118.0)),
    lane(Class::Person, 1.0, (668.0, 702.0), 11_000, 4_000.0, (86.0, 118.0)),
];

/// Pixels (scene units) per centimetre for something that touches the ground at `y`.
fn scale_at(y: f32) -> f32 {
    0.47 + (y - 350.0) * 0.001_95
}

#[derive(Clone, Copy, Debug)]
enum Look {
    Person(Person),
    Bicycle(Bicycle),
    Car(Car),
}

/// Somebody or something on the street.
#[derive(Clone, Copy, Debug)]
pub(super) struct Actor {
    pub(super) class: Class,
    /// Where it touches the ground; what is lower in the picture is nearer.
    pub(super) y: f32,
    x: f32,
    heading: f32,
    travelled_cm: f32,
    look: Look,
}

impl Actor {
    /// Draws it where it is.
    pub(super) fn draw(&self, c: &mut Canvas<'_>) {
        let scale = scale_at(self.y);
        c.place(self.x, self.y, scale * self.heading, scale, |c| match &self.look {
            Look::Person(person) => person.draw(c, self.travelled_cm),
            Look::Bicycle(bicycle) => bicycle.draw(c, self.travelled_cm),
            Look::Car(car) => car.draw(c, self.travelled_cm),
        });
    }

    /// The box round it, `scale` pixels to a unit, frame edges and what stands before it not considered.
    pub(super) fn extent(&self, scale: f32) -> Extent {
        let mut ruler = Canvas::ruler(scale);
        self.draw(&mut ruler);
        ruler.extent()
    }
}

/// Everybody near or in the picture at `t_ms`, the farthest first.
pub(super) fn at(seed: u64, t_ms: i64) -> Vec<Actor> {
    let mut actors = Vec::new();
    for (number, lane) in LANES.iter().enumerate() {
        let slowest = scale_at(lane.y.0) * lane.cm_per_s.0;
        let crossing_ms = ((WIDTH + 2.0 * MARGIN) / slowest * 1000.0 + lane.jitter_ms) as i64;
        let first = (t_ms - crossing_ms).div_euclid(lane.period_ms);
        let last = (t_ms + lane.jitter_ms as i64).div_euclid(lane.period_ms) + 1;
        actors.extend((first..=last).filter_map(|turn| enter(seed, number, lane, turn, t_ms)));
    }
    actors.sort_by(|a, b| a.y.total_cmp(&b.y));
    actors
}

fn enter(seed: u64, number: usize, lane: &Lane, turn: i64, t_ms: i64) -> Option<Actor> {
    let mut dice = Dice::new(seed, number as u64 + 1, turn);
    let entered_ms = turn * lane.period_ms + dice.between(-lane.jitter_ms, lane.jitter_ms) as i64;
    let y = dice.between(lane.y.0, lane.y.1);
    let cm_per_s = dice.between(lane.cm_per_s.0, lane.cm_per_s.1);
    let travelled_cm = cm_per_s * (t_ms - entered_ms) as f32 / 1000.0;
    let way = travelled_cm * scale_at(y);
    if !(0.0..=WIDTH + 2.0 * MARGIN).contains(&way) {
        return None;
    }
    let look = match lane.class {
        Class::Person => Look::Person(Person::new(&mut dice)),
        Class::Bicycle => Look::Bicycle(Bicycle::new(&mut dice)),
        Class::Car => Look::Car(Car::new(&mut dice)),
    };
    let x = if lane.heading > 0.0 { way - MARGIN } else { WIDTH + MARGIN - way };
    Some(Actor { class: lane.class, y, x, heading: lane.heading, travelled_cm, look })
}
