#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

const T0: i64 = 1_795_413_681_000_000;
const RATE: u32 = 90_000;

fn ntp(unix_us: i64) -> u64 {
    let seconds = (unix_us.div_euclid(1_000_000) + NTP_UNIX_S) as u64 & 0xffff_ffff;
    let fraction = ((unix_us.rem_euclid(1_000_000) as u64) << 32) / 1_000_000;
    seconds << 32 | fraction
}

/// A camera that sends 25 frames a second, in virtual time.
struct Camera {
    clock: Clock,
    first_rtp: u32,
    /// The camera's wall clock minus the server's.
    wall_ahead_us: i64,
    /// The camera's oscillator against the server's.
    drift_ppm: i64,
    delay_us: i64,
    now: i64,
}

impl Camera {
    fn new(first_rtp: u32) -> Self {
        Camera { clock: Clock::new(&[RATE]), first_rtp, wall_ahead_us: 0, drift_ppm: 0, delay_us: 20_000, now: T0 }
    }
    fn rtp(&self) -> u32 {
        let elapsed = self.now - T0;
        let media_us = elapsed + elapsed * self.drift_ppm / 1_000_000;
        self.first_rtp.wrapping_add((media_us * 9 / 100) as u32)
    }
    fn frame(&mut self) -> Stamp {
        let rtp = self.rtp();
        let stamp = self.clock.frame(0, rtp, UnixMicros(self.now + self.delay_us));
        self.now += 40_000;
        stamp
    }
    fn report(&mut self) {
        let rtp = self.rtp();
        self.clock.sender_report(0, rtp, ntp(self.now + self.wall_ahead_us), UnixMicros(self.now + self.delay_us));
    }
    fn run(&mut self, seconds: i64, reports: bool) -> Vec<Stamp> {
        (0..seconds * 25)
            .map(|i| {
                if reports && i % 125 == 5 {
                    self.report();
                }
                self.frame()
            })
            .collect()
    }
}

#[test]
fn without_reports_time_is_arrival() {
    let mut camera = Camera::new(1);
    let stamps = camera.run(60, false);
    assert_eq!(stamps[0].time, UnixMicros(T0 + 20_000));
    assert!(stamps.iter().all(|s| !s.jumped));
    assert!(stamps.windows(2).all(|w| w[1].time.0 - w[0].time.0 == 40_000));
    assert_eq!(camera.clock.source(), Source::Arrival);
}

#[test]
fn sane_reports_win_and_the_network_delay_goes_without_a_step() {
    let mut camera = Camera::new(u32::MAX - 1000); // wraps at once
    camera.delay_us = 300_000;
    let stamps = camera.run(120, true);
    assert!(stamps.iter().all(|s| !s.jumped));
    assert_eq!(camera.clock.source(), Source::SenderReports);
    let capture = camera.now - 40_000;
    assert!((stamps.last().unwrap().time.0 - capture).abs() < 60_000, "{}", stamps.last().unwrap().time.0 - capture);
    // 1 % at the most between two frames.
    assert!(stamps.windows(2).all(|w| (w[1].time.0 - w[0].time.0 - 40_000).abs() <= 400));
}

#[test]
fn a_camera_whose_wall_clock_is_wrong_is_timed_by_arrival() {
    for ahead in [3_600_000_000, -86_400_000_000, 20_000_000, -11_000_000, -T0] {
        let mut camera = Camera::new(7);
        camera.wall_ahead_us = ahead;
        let stamps = camera.run(30, true);
        assert_eq!(camera.clock.source(), Source::Arrival, "{ahead}");
        assert!(stamps.iter().all(|s| !s.jumped));
        assert!((stamps.last().unwrap().time.0 - camera.now).abs() < 100_000);
    }
}

#[test]
fn a_clock_some_seconds_ahead_is_followed_with_one_jump_and_kept_over_a_reconnect() {
    let mut camera = Camera::new(7);
    camera.wall_ahead_us = 4_000_000;
    let stamps = camera.run(30, true);
    assert_eq!(stamps.iter().filter(|s| s.jumped).count(), 1);
    assert!((stamps.last().unwrap().time.0 - (camera.now - 40_000 + 4_000_000)).abs() < 1_000);
    let mut clock = Clock::continuing(&[RATE], camera.clock.lead_us());
    std::mem::swap(&mut camera.clock, &mut clock);
    let stamps = camera.run(30, true);
    assert_eq!(stamps.iter().filter(|s| s.jumped).count(), 0);
    assert!((stamps[0].time.0 - (camera.now - 30_000_000 + 4_000_000)).abs() < 50_000);
}

#[test]
fn drift_is_slewed_and_never_accumulates() {
    for drift in [-400, 400] {
        for reports in [false, true] {
            let mut camera = Camera::new(7);
            camera.drift_ppm = drift;
            let stamps = camera.run(2 * 3600, reports);
            assert!(stamps.iter().all(|s| !s.jumped), "{drift} {reports}");
            // 400 ppm over two hours are 2.9 s; the two windows of the earliest arrival lag by 10 s = 4 ms.
            let error = stamps.last().unwrap().time.0 - (camera.now - 40_000);
            assert!(error.abs() < 150_000, "{drift} {reports}: {error}");
            assert!(stamps.windows(2).all(|w| w[1].time > w[0].time));
        }
    }
}

#[test]
fn a_jump_of_the_timestamps_is_one_discontinuity_and_time_goes_on() {
    for jump in [90_000_000u32, 0u32.wrapping_sub(90_000_000), 1 << 31, 180_000] {
        let mut camera = Camera::new(7);
        let before = camera.run(20, true);
        camera.first_rtp = camera.first_rtp.wrapping_add(jump);
        let after = camera.run(20, true);
        assert_eq!(before.iter().chain(&after).filter(|s| s.jumped).count(), 1, "{jump}");
        assert!(after[0].jumped);
        let step = after[0].time.0 - before.last().unwrap().time.0;
        assert!((step - 40_000).abs() < 60_000, "{jump}: {step}");
    }
}

#[test]
fn a_stall_and_the_burst_after_it_move_nothing() {
    let mut camera = Camera::new(7);
    camera.run(30, true);
    // Four seconds of frames arrive at once, four seconds late.
    let resume = camera.now + 4_000_000;
    for _ in 0..100 {
        let rtp = camera.rtp();
        let stamp = camera.clock.frame(0, rtp, UnixMicros(resume));
        assert!(!stamp.jumped);
        assert!((stamp.time.0 - camera.now).abs() < 30_000);
        camera.now += 40_000;
    }
    assert!(camera.run(30, true).iter().all(|s| !s.jumped));
}

#[test]
fn reports_that_contradict_each_other_are_not_followed() {
    let mut camera = Camera::new(7);
    let mut jumps = 0;
    for i in 0..60 {
        camera.wall_ahead_us = if i % 2 == 0 { 8_000_000 } else { -8_000_000 };
        camera.report();
        jumps += (0..25).map(|_| camera.frame()).filter(|s| s.jumped).count();
    }
    assert_eq!(jumps, 0);
    assert_eq!(camera.clock.source(), Source::Arrival);
}

#[test]
fn reports_bring_audio_beside_video() {
    let mut clock = Clock::new(&[RATE, 48_000]);
    let mut apart = Vec::new();
    for i in 0..2000i64 {
        let now = T0 + i * 40_000;
        let (v, a) = ((i * 3600) as u32, 5000u32.wrapping_add((i * 1920) as u32));
        let video = clock.frame(0, v, UnixMicros(now + 20_000));
        // Sound captured at the same instant arrives 200 ms later.
        let audio = clock.frame(1, a, UnixMicros(now + 220_000));
        assert!(!audio.jumped);
        if i % 125 == 5 {
            clock.sender_report(0, v, ntp(now), UnixMicros(now + 20_000));
            clock.sender_report(1, a, ntp(now), UnixMicros(now + 220_000));
        }
        apart.push(audio.time.0 - video.time.0);
    }
    assert_eq!(apart[0], 200_000);
    assert!(apart.last().unwrap().abs() < 1_000, "{}", apart.last().unwrap());
    assert!(apart.windows(2).all(|w| (w[1] - w[0]).abs() <= 800));
}

#[test]
fn the_servers_clock_set_back_an_hour_is_one_jump() {
    let mut camera = Camera::new(7);
    camera.run(30, false);
    camera.delay_us -= 3_600_000_000;
    let stamps = camera.run(60, false);
    assert_eq!(stamps.iter().filter(|s| s.jumped).count(), 1);
    assert!((stamps.last().unwrap().time.0 - (camera.now - 3_600_000_000)).abs() < 100_000);
}

#[test]
fn ntp_era_wrap_of_2036() {
    let after = 2_085_978_496_000_000 + 5_000_000; // 2036-02-07T06:28:16Z + 5 s
    assert_eq!(ntp_to_unix_us(5 << 32, after - 100_000), after);
    assert_eq!(ntp_to_unix_us(ntp(T0), T0), T0);
}

/// One thing that happens to a clock.
#[derive(Clone, Debug)]
enum Step {
    Frame { track: usize, rtp: u32, wait_us: i64 },
    Report { track: usize, rtp: u32, ntp: u64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0usize..3, any::<u32>(), -10_000_000i64..100_000_000).prop_map(|(track, rtp, wait_us)| Step::Frame {
            track,
            rtp,
            wait_us
        }),
        (0usize..3, any::<u32>(), any::<u64>()).prop_map(|(track, rtp, ntp)| Step::Report { track, rtp, ntp }),
    ]
}

proptest! {
    #[test]
    fn any_garbage_is_survived_and_stays_near_arrival(rates in prop::collection::vec(any::<u32>(), 1..3), lead in any::<i64>(), steps in prop::collection::vec(any_step(), 0..200)) {
        let mut clock = Clock::continuing(&rates, lead);
        let mut now = T0;
        for step in steps {
            match step {
                Step::Frame { track, rtp, wait_us } => {
                    now += wait_us;
                    let _ = clock.frame(track, rtp, UnixMicros(now));
                }
                Step::Report { track, rtp, ntp } => clock.sender_report(track, rtp, ntp, UnixMicros(now)),
            }
        }
    }

    #[test]
    fn the_fuzz_targets_claims_hold(script in prop::collection::vec(any::<u8>(), 0..2048)) {
        drive(&script);
    }

    /// A well-behaved camera behind a bad network, with B-frames, any start, drift and reports: no jump, times strictly
    /// increasing with the timestamps, never far from the truth.
    #[test]
    fn a_well_behaved_camera_never_jumps(
        first in any::<u32>(),
        drift in -300i64..300,
        ahead in -900_000i64..900_000,
        delays in prop::collection::vec(0i64..400_000, 50..600),
        reports in any::<bool>(),
    ) {
        let mut camera = Camera::new(first);
        camera.drift_ppm = drift;
        camera.wall_ahead_us = ahead;
        let mut seen: Vec<(i64, i64)> = Vec::new();
        // Decode order I P B B …: each group of three swaps its pictures.
        for (i, delay) in delays.iter().enumerate() {
            let position = (i / 3 * 3 + [2, 0, 1][i % 3]) as i64;
            camera.delay_us = *delay;
            if reports && i % 50 == 49 {
                camera.now = T0 + i as i64 * 40_000;
                camera.report();
            }
            camera.now = T0 + position * 40_000;
            let rtp = camera.rtp();
            let arrival = T0 + i as i64 * 40_000 + 120_000 + delay;
            let stamp = camera.clock.frame(0, rtp, UnixMicros(arrival));
            prop_assert!(!stamp.jumped);
            prop_assert!((stamp.time.0 - arrival).abs() < 2_000_000);
            seen.push((position, stamp.time.0));
        }
        seen.sort_unstable();
        prop_assert!(seen.windows(2).all(|w| w[1].1 > w[0].1));
    }
}
