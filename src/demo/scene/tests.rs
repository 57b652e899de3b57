use super::*;

const NOON: i64 = 1_760_012_345_678;

fn pixmap(width: u32, height: u32) -> Pixmap {
    Pixmap::new(width, height).expect("a pixmap of fair size")
}

#[test]
fn a_frame_follows_from_seed_and_time() {
    let (mut one, mut two) = (Scene::new(640, 360, 7), Scene::new(640, 360, 7));
    let (mut a, mut b) = (pixmap(640, 360), pixmap(640, 360));
    // The second scene comes from another day, with another background in its cache.
    two.draw(NOON - 86_000_000, 1, &mut b);
    one.draw(NOON, 3, &mut a);
    two.draw(NOON, 3, &mut b);
    assert!(a.data() == b.data());
    assert_eq!(one.objects(NOON), two.objects(NOON));
    assert!(a.pixels().iter().all(|pixel| pixel.alpha() == 255));

    two.draw(NOON + 67, 4, &mut b);
    assert!(a.data() != b.data());
    Scene::new(640, 360, 8).draw(NOON, 3, &mut b);
    assert!(a.data() != b.data());
}

#[test]
fn labels_lie_inside_the_frame_below_the_caption() {
    let scene = Scene::new(1280, 720, 3);
    for second in 0..600 {
        for object in scene.objects(NOON + second * 997) {
            let Bounds { left, top, right, bottom } = object.bounds;
            assert!(left >= 0.0 && top >= 64.0 && right <= 1280.0 && bottom <= 720.0, "{object:?}");
            assert!(right > left && bottom > top && object.share > 0.0 && object.share <= 1.001, "{object:?}");
            assert!(object.share < 0.35 || (right - left > 6.0 && bottom - top > 12.0), "{object:?}");
        }
    }
}

#[test]
fn labels_cover_what_moves() {
    // Apart from caption and lamps, whatever differs from the empty street lies in or near some thing's full extent.
    let mut scene = Scene::new(640, 360, 5);
    let (mut frame, mut empty) = (pixmap(640, 360), pixmap(640, 360));
    scene.draw(NOON, 0, &mut frame);
    let light = Light::at(NOON.div_euclid(LIGHT_STEP_MS) * LIGHT_STEP_MS);
    let mut canvas = Canvas::new(&mut empty, 0.5, light);
    background::draw(&mut canvas, 5);
    background::street_lamps(&mut canvas);
    let extents: Vec<Extent> = traffic::at(5, NOON).iter().map(|actor| actor.extent(0.5)).collect();
    let mut moved = 0;
    for (at, (a, b)) in frame.pixels().iter().zip(empty.pixels()).enumerate().skip(640 * 33) {
        // Shadows are soft; things are not.
        if a.red().abs_diff(b.red()).max(a.blue().abs_diff(b.blue())) < 64 {
            continue;
        }
        moved += 1;
        let (x, y) = ((at % 640) as f32, (at / 640) as f32);
        let inside = |e: &Extent| x >= e.left - 2.0 && x <= e.right + 2.0 && y >= e.top - 2.0 && y <= e.bottom + 2.0;
        assert!(extents.iter().any(inside), "at {x}, {y}");
    }
    assert!(moved > 2_000, "{moved}");
}

#[test]
fn each_class_is_wholly_in_view_within_any_eight_seconds() {
    for seed in [1, 7, 99] {
        let scene = Scene::new(1280, 720, seed);
        let mut last = [NOON; 3];
        for t in (NOON..NOON + 1_200_000).step_by(500) {
            for object in scene.objects(t).iter().filter(|object| object.whole) {
                last[object.class as usize] = t;
            }
            assert!(last.iter().all(|seen| t - seen < 8_000), "seed {seed}, at {t}: {last:?}");
        }
    }
}

#[test]
fn what_is_hidden_is_not_labelled() {
    let box_of = |left, top, right, bottom| Extent { left, top, right, bottom };
    let frame = box_of(0.0, 0.0, 100.0, 100.0);
    let thing = box_of(10.0, 10.0, 30.0, 50.0);
    let alone = label(Class::Person, thing, &[], frame).expect("in plain view");
    assert!(alone.whole && (alone.bounds.left - 10.0).abs() < 0.01 && (alone.bounds.bottom - 50.0).abs() < 0.01);
    assert_eq!(label(Class::Person, thing, &[box_of(0.0, 0.0, 60.0, 80.0)], frame), None);
    assert_eq!(label(Class::Person, box_of(-30.0, 10.0, 1.0, 50.0), &[], frame), None);
    let half = label(Class::Car, box_of(-20.0, 10.0, 30.0, 50.0), &[], frame).expect("more than half in view");
    assert!(!half.whole && half.bounds.left == 0.0 && (half.share - 0.6).abs() < 0.01);
    let below = label(Class::Person, thing, &[box_of(-60.0, 32.0, 100.0, 90.0)], frame).expect("upper half in view");
    assert!(below.bounds.bottom < 40.0);
}
