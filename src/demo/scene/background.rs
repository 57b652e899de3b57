//! What stands still: sky, houses, trees, road and pavements, in the hour's light.

use super::WIDTH;
use super::canvas::{Canvas, Ink, ink};
use super::caption;
use super::dice::Dice;

/// Where the houses stand.
const FRONTAGE: f32 = 338.0;
const FAR_KERB: f32 = 376.0;
/// Where the near pavement begins; the street lamps stand on it.
pub(super) const NEAR_KERB: f32 = 604.0;
const BOTTOM: f32 = 760.0;
/// Lines along the view meet here.
const VANISHING: (f32, f32) = (640.0, 130.0);

const FACADES: [Ink; 9] = [
    ink(0xe2c9a2),
    ink(0xd79a78),
    ink(0xefe3cf),
    ink(0xa9bfc2),
    ink(0xc9766a),
    ink(0xd9d2c3),
    ink(0xb7c3a1),
    ink(0xe7b98f),
    ink(0xc7b3bd),
];
const ROOFS: [Ink; 4] = [ink(0x8f4a3c), ink(0x5c5f68), ink(0x7a4438), ink(0x6c5a50)];
const DOORS: [Ink; 5] = [ink(0x2f5d50), ink(0x7d3030), ink(0x2e4a6b), ink(0x5a4230), ink(0xc29a3a)];
const AWNINGS: [Ink; 4] = [ink(0xb9423a), ink(0x2f7a6b), ink(0x34608f), ink(0xd99a32)];
const LEAVES: [Ink; 3] = [ink(0x5c8a4a), ink(0x6f9a52), ink(0x4b7a4c)];

/// Draws all of it.
pub(super) fn draw(c: &mut Canvas<'_>, seed: u64) {
    sky(c, seed);
    houses(c, seed);
    far_pavement(c);
    trees(c, seed);
    road(c);
    near_pavement(c, seed);
    caption::ground(c);
}

fn sky(c: &mut Canvas<'_>, seed: u64) {
    let light = c.light();
    let (zenith, horizon) = (light.glowing(light.zenith), light.glowing(light.horizon));
    c.wash(0.0, 0.0, WIDTH, FRONTAGE, zenith, horizon);
    let mut dice = Dice::new(seed, 100, 0);
    if light.lamps > 0.8 {
        for _ in 0..60 {
            let (x, y) = (dice.between(0.0, WIDTH), dice.between(66.0, 190.0));
            c.oval(x, y, 0.9, 0.9, light.glowing(ink(0xe8ecff)).veil(150));
        }
    }
    for _ in 0..6 {
        let (x, y, size) = (dice.between(-60.0, WIDTH), dice.between(88.0, 170.0), dice.between(0.6, 1.3));
        let cloud = ink(0xffffff).veil(92);
        for (dx, dy, r) in
            [(-52.0, 6.0, 17.0), (-24.0, -4.0, 24.0), (10.0, -9.0, 28.0), (42.0, 2.0, 20.0), (66.0, 8.0, 13.0)]
        {
            c.oval(x + dx * size, y + dy * size, r * size * 1.35, r * size * 0.62, cloud);
        }
    }
    // Hills and a town far away.
    let far = Ink(light.horizon.0 / 2 + 50, light.horizon.1 / 2 + 62, light.horizon.2 / 2 + 72, 255);
    let hill: Vec<(f32, f32)> = (0..=40)
        .map(|i| {
            let x = i as f32 * 32.0;
            (x, 216.0 - 22.0 * (x * 0.0061 + 0.7).sin() - 9.0 * (x * 0.017).sin())
        })
        .chain([(WIDTH, FRONTAGE), (0.0, FRONTAGE)])
        .collect();
    c.polygon(&hill, light.glowing(far));
}

fn houses(c: &mut Canvas<'_>, seed: u64) {
    let mut dice = Dice::new(seed, 101, 0);
    let mut x = -24.0;
    let mut last = None;
    while x < WIDTH {
        let width = dice.between(104.0, 176.0);
        let mut facade = dice.pick(&FACADES);
        while last == Some(facade) {
            facade = dice.pick(&FACADES);
        }
        last = Some(facade);
        if dice.one_in(6) {
            hedge(c, x, width * 0.6);
            x += width * 0.6;
        } else {
            house(c, &mut dice, x, width, facade);
            x += width;
        }
    }
}

fn hedge(c: &mut Canvas<'_>, x: f32, width: f32) {
    c.round_rect(x - 2.0, FRONTAGE - 46.0, width + 4.0, 48.0, 10.0, ink(0x5b8350));
    c.round_rect(x - 2.0, FRONTAGE - 46.0, width + 4.0, 16.0, 8.0, ink(0x6f9861));
    for post in 0..(width / 9.0) as i32 {
        c.rect(x + post as f32 * 9.0, FRONTAGE - 24.0, 4.0, 24.0, ink(0xe9e6dc));
    }
    c.rect(x, FRONTAGE - 18.0, width, 3.0, ink(0xe9e6dc));
}

fn house(c: &mut Canvas<'_>, dice: &mut Dice, x: f32, width: f32, facade: Ink) {
    let floors = if dice.one_in(3) { 3 } else { 2 };
    let storey = dice.between(50.0, 56.0);
    let top = FRONTAGE - floors as f32 * storey - 8.0;
    let roof = dice.pick(&ROOFS);
    let rise = dice.between(26.0, 40.0);
    match dice.pick(&[0, 1, 2]) {
        0 => {
            c.polygon(&[(x - 5.0, top + 2.0), (x + width / 2.0, top - rise * 1.35), (x + width + 5.0, top + 2.0)], roof)
        }
        1 => {
            chimney(c, x + width * 0.72, top - rise);
            c.polygon(
                &[
                    (x - 4.0, top + 2.0),
                    (x + 12.0, top - rise),
                    (x + width - 12.0, top - rise),
                    (x + width + 4.0, top + 2.0),
                ],
                roof,
            );
            c.polygon(
                &[
                    (x - 4.0, top + 2.0),
                    (x + 1.0, top - 8.0),
                    (x + width - 1.0, top - 8.0),
                    (x + width + 4.0, top + 2.0),
                ],
                Ink(0, 0, 0, 30),
            );
        }
        _ => c.rect(x - 3.0, top - 9.0, width + 6.0, 12.0, facade.shade(0.8)),
    }
    c.wash(x, top, width, FRONTAGE - top, facade.shade(1.04), facade.shade(0.9));
    c.rect(x + width - 5.0, top, 5.0, FRONTAGE - top, Ink(0, 0, 0, 26));
    c.rect(x, top, width, 3.5, facade.shade(0.78));
    let columns = (width / 40.0) as i32;
    let gap = width / columns as f32;
    let shop = dice.one_in(3);
    let door_at = if dice.one_in(2) { 0 } else { columns - 1 };
    for floor in 0..floors {
        let y = FRONTAGE - (floor as f32 + 1.0) * storey + 9.0;
        for column in 0..columns {
            let middle = x + (column as f32 + 0.5) * gap;
            let lit = dice.one_in(2);
            match (floor, shop) {
                (0, true) => {}
                (0, false) if column == door_at => door(c, dice, middle),
                _ => window(c, middle, y, 19.0, storey - 25.0, lit),
            }
        }
    }
    if shop {
        shop_front(c, dice, x, width, storey);
    }
}

fn chimney(c: &mut Canvas<'_>, x: f32, y: f32) {
    c.rect(x, y - 14.0, 13.0, 30.0, ink(0x85503f));
    c.rect(x - 2.0, y - 16.0, 17.0, 4.0, ink(0x6d4034));
}

fn pane(c: &Canvas<'_>, lit: bool) -> Ink {
    let light = c.light();
    if lit && light.lamps > 0.2 {
        return light.glowing(ink(0xf6cd7e)).shade(0.75 + 0.25 * light.lamps);
    }
    ink(0x62788a)
}

fn window(c: &mut Canvas<'_>, middle: f32, y: f32, width: f32, height: f32, lit: bool) {
    let glass = pane(c, lit);
    let left = middle - width / 2.0;
    c.rect(left - 2.5, y - 2.5, width + 5.0, height + 5.0, ink(0xf1ede4));
    c.rect(left, y, width, height, glass);
    c.polygon(&[(left, y), (left + width, y), (left, y + height * 0.8)], Ink(255, 255, 255, 26));
    c.rect(middle - 0.9, y, 1.8, height, ink(0xf1ede4));
    c.rect(left, y + height * 0.42, width, 1.8, ink(0xf1ede4));
    c.rect(left - 4.5, y + height + 2.0, width + 9.0, 3.0, ink(0xd4cdc0));
}

fn door(c: &mut Canvas<'_>, dice: &mut Dice, middle: f32) {
    let paint = dice.pick(&DOORS);
    let glass = pane(c, true);
    c.rect(middle - 13.0, FRONTAGE - 44.0, 26.0, 44.0, ink(0xf1ede4));
    c.rect(middle - 10.5, FRONTAGE - 41.0, 21.0, 41.0, paint);
    c.rect(middle - 7.5, FRONTAGE - 38.0, 15.0, 10.0, glass);
    c.oval(middle + 6.5, FRONTAGE - 19.0, 1.6, 1.6, ink(0xe7d28a));
    c.rect(middle - 16.0, FRONTAGE - 2.5, 32.0, 3.5, ink(0xb9b2a6));
}

fn shop_front(c: &mut Canvas<'_>, dice: &mut Dice, x: f32, width: f32, storey: f32) {
    let awning = dice.pick(&AWNINGS);
    let glass = pane(c, true);
    let top = FRONTAGE - storey + 8.0;
    c.rect(x + 8.0, top, width - 16.0, FRONTAGE - top, awning.shade(0.55));
    c.rect(x + 13.0, top + 12.0, width - 58.0, FRONTAGE - top - 20.0, glass);
    c.rect(x + width - 38.0, top + 12.0, 22.0, FRONTAGE - top - 12.0, glass.shade(0.85));
    c.polygon(
        &[(x + 13.0, top + 12.0), (x + 55.0, top + 12.0), (x + 30.0, FRONTAGE - 8.0), (x + 13.0, FRONTAGE - 8.0)],
        Ink(255, 255, 255, 24),
    );
    let stripes = ((width - 12.0) / 11.0) as i32;
    for stripe in 0..stripes {
        let left = x + 6.0 + stripe as f32 * 11.0;
        let paint = if stripe % 2 == 0 { awning } else { ink(0xf3eee2) };
        c.polygon(
            &[(left + 2.0, top - 2.0), (left + 11.0, top - 2.0), (left + 11.0, top + 14.0), (left, top + 14.0)],
            paint,
        );
        c.oval(left + 5.5, top + 14.0, 5.5, 3.6, paint);
    }
}

fn far_pavement(c: &mut Canvas<'_>) {
    c.wash(0.0, FRONTAGE, WIDTH, FAR_KERB - FRONTAGE, ink(0xb3aea5), ink(0xc6c1b7));
    c.rect(0.0, FRONTAGE, WIDTH, 3.0, Ink(0, 0, 0, 40));
    for i in -12..52 {
        slab_joint(c, i as f32 * 52.0 - 380.0, FRONTAGE + 3.0, FAR_KERB - 6.0, 0.8);
    }
    c.rect(0.0, FAR_KERB - 6.0, WIDTH, 4.0, ink(0xd9d5cc));
    c.rect(0.0, FAR_KERB - 2.0, WIDTH, 4.0, ink(0x8b8880));
}

/// A joint that runs along the view, `x` being where it meets the bottom of the picture.
fn slab_joint(c: &mut Canvas<'_>, x: f32, from: f32, to: f32, width: f32) {
    c.line(&[toward_viewer(x, from), toward_viewer(x, to)], width, Ink(70, 66, 60, 58));
}

/// Where the line from the vanishing point to `x` at the picture's bottom crosses `y`.
fn toward_viewer(x: f32, y: f32) -> (f32, f32) {
    let share = (y - VANISHING.1) / (720.0 - VANISHING.1);
    (VANISHING.0 + (x - VANISHING.0) * share, y)
}

fn trees(c: &mut Canvas<'_>, seed: u64) {
    let mut dice = Dice::new(seed, 102, 0);
    let mut x = dice.between(40.0, 130.0);
    while x < WIDTH {
        let (height, crown) = (dice.between(104.0, 138.0), dice.between(30.0, 40.0));
        let leaf = dice.pick(&LEAVES);
        c.oval(x, FRONTAGE + 7.0, 20.0, 4.0, ink(0x6e5c49));
        c.line(&[(x, FRONTAGE + 6.0), (x + 1.0, FRONTAGE - height * 0.62)], 6.5, ink(0x6a5140));
        c.line(&[(x + 1.0, FRONTAGE - height * 0.5), (x + 15.0, FRONTAGE - height * 0.78)], 3.5, ink(0x6a5140));
        let top = FRONTAGE - height;
        for (dx, dy, r, shade) in [
            (0.0, 14.0, 1.0, 0.82),
            (-0.62, 6.0, 0.72, 0.88),
            (0.66, 4.0, 0.74, 0.9),
            (-0.3, -14.0, 0.8, 1.0),
            (0.34, -18.0, 0.78, 1.05),
            (0.0, -32.0, 0.62, 1.12),
        ] {
            c.oval(x + dx * crown, top + dy, r * crown, r * crown * 0.86, leaf.shade(shade));
        }
        x += dice.between(230.0, 330.0);
    }
}

fn road(c: &mut Canvas<'_>) {
    let bottom = NEAR_KERB - 4.0;
    c.wash(0.0, FAR_KERB + 2.0, WIDTH, bottom - FAR_KERB - 2.0, ink(0x5d6269), ink(0x70757b));
    // Lanes for bicycles, at both kerbs.
    c.rect(0.0, FAR_KERB + 4.0, WIDTH, 21.0, ink(0x8e5b50));
    c.rect(0.0, FAR_KERB + 25.0, WIDTH, 2.4, ink(0xd8d6cf));
    c.wash(0.0, 556.0, WIDTH, bottom - 556.0, ink(0x9a6458), ink(0xa36d60));
    c.rect(0.0, 552.0, WIDTH, 4.4, ink(0xe0ded7));
    for i in -6..26 {
        let x = i as f32 * 120.0;
        let (a, b) = (toward_viewer(x, 466.0), toward_viewer(x, 471.0));
        c.polygon(&[a, (a.0 + 34.0, a.1), (b.0 + 35.0, b.1), b], ink(0xdad8d1));
    }
    zebra(c, 1010.0);
}

fn zebra(c: &mut Canvas<'_>, x: f32) {
    let mut y = 408.0;
    while y < 548.0 {
        let deep = 6.0 + (y - 400.0) * 0.045;
        let (a, b) = (toward_viewer(x, y), toward_viewer(x + 190.0, y));
        let (d, e) = (toward_viewer(x, y + deep), toward_viewer(x + 190.0, y + deep));
        c.polygon(&[a, b, e, d], ink(0xd6d4ce));
        y += deep * 2.0;
    }
}

fn near_pavement(c: &mut Canvas<'_>, seed: u64) {
    c.rect(0.0, NEAR_KERB - 4.0, WIDTH, 5.0, ink(0x7f7c76));
    c.rect(0.0, NEAR_KERB, WIDTH, 9.0, ink(0xdad6cd));
    c.wash(0.0, NEAR_KERB + 9.0, WIDTH, BOTTOM - NEAR_KERB, ink(0xbfb9ae), ink(0xd0cac0));
    let mut dice = Dice::new(seed, 103, 0);
    for (top, bottom) in [(613.0, 640.0), (640.0, 676.0), (676.0, 722.0)] {
        for i in -2..16 {
            let x = i as f32 * 92.0 + if top == 640.0 { 46.0 } else { 0.0 };
            let tone = dice.between(0.0, 16.0) as u8;
            let corners = [
                toward_viewer(x, top),
                toward_viewer(x + 92.0, top),
                toward_viewer(x + 92.0, bottom),
                toward_viewer(x, bottom),
            ];
            c.polygon(&corners, Ink(96, 84, 70, tone));
            slab_joint(c, x, top, bottom, 1.5);
        }
        c.line(&[(0.0, top), (WIDTH, top)], 1.4, Ink(70, 66, 60, 58));
    }
}

/// The street lamps at the near kerb: between the road's traffic and the people on the near pavement.
pub(super) fn street_lamps(c: &mut Canvas<'_>) {
    let light = c.light();
    for (x, arm) in [(212.0, 1.0), (1122.0, -1.0)] {
        let iron = ink(0x39434a);
        c.oval(x, NEAR_KERB + 8.0, 12.0, 3.5, Ink(20, 24, 36, 80));
        c.round_rect(x - 6.5, NEAR_KERB - 34.0, 13.0, 42.0, 3.0, iron);
        c.line(&[(x, NEAR_KERB), (x, 132.0), (x + 10.0 * arm, 116.0), (x + 52.0 * arm, 110.0)], 6.0, iron);
        let head = (x + 62.0 * arm, 112.0);
        if light.lamps > 0.05 {
            let glow = light.glowing(ink(0xffe3a0));
            for (r, alpha) in [(64.0, 14.0), (40.0, 22.0), (22.0, 44.0)] {
                c.oval(head.0, head.1 + 6.0, r, r * 0.8, glow.veil((alpha * light.lamps) as u8));
            }
        }
        c.pebble(
            &[
                (head.0 - 20.0, head.1 + 3.0, 4.0),
                (head.0 - 14.0, head.1 - 6.0, 5.0),
                (head.0 + 14.0, head.1 - 6.0, 5.0),
                (head.0 + 20.0, head.1 + 3.0, 4.0),
            ],
            iron,
        );
        let lamp = if light.lamps > 0.05 { light.glowing(ink(0xfff1c9)) } else { ink(0xd9dcd6) };
        c.round_rect(head.0 - 14.0, head.1 + 2.0, 28.0, 5.0, 2.5, lamp);
    }
}
