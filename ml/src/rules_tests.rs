use super::*;
use media::FragmentNumber;
use proptest::prelude::*;

fn rule(rate: Rate, cooldown_ms: u64) -> Rule {
    Rule {
        name: "people".parse().expect("a name"),
        stream: "gate".parse().expect("a name"),
        classes: vec!["person".into()],
        min_score: 0.5,
        zone: Vec::new(),
        cooldown_ms,
        rate,
        targets: Vec::new(),
        from_config: false,
    }
}

fn seen(class: &str, score: f32, bounds: Box01) -> Detection {
    let fragment = FragmentNumber::new(1, 0, 0);
    Detection { fragment, offset_ms: 0, time: UnixMillis(0), class: class.into(), score, bounds }
}

const ANYWHERE: Box01 = [0.4, 0.4, 0.6, 0.9];

#[test]
fn the_strongest_match_raises_one_alert_per_cooldown_of_media_time() {
    let mut judge = Judge::new(rule(Rate::KeyFrames, 10_000), None);
    let picture = [
        seen("car", 0.99, ANYWHERE),
        seen("person", 0.6, ANYWHERE),
        seen("person", 0.8, ANYWHERE),
        seen("person", 0.3, ANYWHERE),
    ];
    // A person stands there for a minute of pictures, one a second.
    let raised: Vec<i64> = (0..60).filter(|s| judge.judge(UnixMillis(s * 1000), &picture).is_some()).collect();
    assert_eq!(raised, [0, 10, 20, 30, 40, 50]);
    assert_eq!(Judge::new(rule(Rate::KeyFrames, 0), None).judge(UnixMillis(0), &picture).map(|d| d.score), Some(0.8));
    assert!(Judge::new(rule(Rate::KeyFrames, 0), None).judge(UnixMillis(0), &picture[..1]).is_none());
    // What was raised before a restart still counts.
    assert!(
        Judge::new(rule(Rate::KeyFrames, 10_000), Some(UnixMillis(95_000)))
            .judge(UnixMillis(100_000), &picture)
            .is_none()
    );
    // A clock that was set back by an hour does not silence the rule for an hour.
    assert!(judge.judge(UnixMillis(-3_600_000), &picture).is_some());
}

#[test]
fn a_box_is_in_a_zone_when_its_foot_is() {
    let zone = vec![[0.0, 0.5], [1.0, 0.5], [1.0, 1.0], [0.0, 1.0]];
    let mut judge = Judge::new(Rule { zone, ..rule(Rate::KeyFrames, 0) }, None);
    let mut raises = |bounds| judge.judge(UnixMillis(0), &[seen("person", 0.9, bounds)]).is_some();
    assert!(raises([0.1, 0.1, 0.2, 0.6]), "stands in the lower half");
    assert!(!raises([0.1, 0.1, 0.2, 0.49]), "stands in the upper half");
}

#[test]
fn polygons() {
    let notch = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 0.2], [0.0, 1.0]];
    assert!(inside(&notch, [0.5, 0.1]));
    assert!(!inside(&notch, [0.5, 0.5]), "in the notch");
    assert!(inside(&notch, [0.5, 0.0]) && inside(&notch, [1.0, 1.0]), "edge and corner");
    assert!(!inside(&[[0.0, 0.0], [1.0, 1.0]], [0.5, 0.5]), "a line holds nothing");
    assert!(!inside(&[[f32::NAN, 0.0], [1.0, f32::INFINITY], [0.0, 1.0]], [0.5, f32::NAN]));
}

proptest! {
    #[test]
    fn inside_agrees_with_the_three_half_planes_of_a_triangle(c in proptest::array::uniform6(0.0f32..1.0), p in proptest::array::uniform2(0.0f32..1.0)) {
        let triangle = [[c[0], c[1]], [c[2], c[3]], [c[4], c[5]]];
        let side = |a: [f32; 2], b: [f32; 2]| f64::from(b[0] - a[0]) * f64::from(p[1] - a[1]) - f64::from(b[1] - a[1]) * f64::from(p[0] - a[0]);
        let sides = [side(triangle[0], triangle[1]), side(triangle[1], triangle[2]), side(triangle[2], triangle[0])];
        prop_assume!(sides.iter().all(|s| s.abs() > 1e-4));
        let expected = sides.iter().all(|s| *s > 0.0) || sides.iter().all(|s| *s < 0.0);
        prop_assert_eq!(inside(&triangle, p), expected);
    }
}

fn looked_at(rules: &[Rule], times: impl Iterator<Item = (i64, bool)>) -> usize {
    let mut sampler = Sampler::default();
    times.filter(|(time, key)| sampler.wants(rules, UnixMillis(*time), *key)).count()
}

#[test]
fn so_many_pictures_a_second_are_looked_at() {
    // A minute of 25 pictures a second with a key frame each second and ±9 ms of jitter.
    let minute = || (0..1500).map(|n| (n * 40 + [0, 9, -9, 4, -3][n as usize % 5], n % 25 == 0));
    for (rate, expected) in [
        (Rate::KeyFrames, 60..=60),
        (Rate::PerSecond(5.0), 299..=301),
        (Rate::PerSecond(1.0), 60..=61),
        (Rate::PerSecond(25.0), 1495..=1500),
        (Rate::PerSecond(100.0), 1500..=1500),
    ] {
        let count = looked_at(&[rule(rate, 0)], minute());
        assert!(expected.contains(&count), "{rate:?}: {count}");
    }
    let both = [rule(Rate::KeyFrames, 0), rule(Rate::PerSecond(2.0), 0)];
    assert!((120..=180).contains(&looked_at(&both, minute())));
    assert_eq!(looked_at(&[], minute()), 0);
    assert_eq!(looked_at(&[rule(Rate::PerSecond(f32::NAN), 0)], minute()), 0);
}

#[test]
fn a_clock_set_back_does_not_stop_the_looking() {
    let times = (0..100).map(|n| (1_000_000 + n * 100, false)).chain((0..100).map(|n| (n * 100, false)));
    assert!((198..=200).contains(&looked_at(&[rule(Rate::PerSecond(10.0), 0)], times)));
}

#[test]
fn the_detector_is_asked_for_what_rules_need_and_the_page_shows() {
    let with = |min_score| Rule { min_score, ..rule(Rate::KeyFrames, 0) };
    assert_eq!(min_score(&[with(0.6)]), 0.25);
    assert_eq!(min_score(&[with(0.6), with(0.1)]), 0.1);
    assert_eq!(min_score(&[with(-3.0)]), 0.05);
}
