//! A publisher whose packets are lost, late, twice and out of order, in virtual time.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::{PPS, SPS, nal};
use media::rtp::h264::packetize;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use std::collections::BTreeMap;

const VIDEO_PT: u8 = 102;
const AUDIO_PT: u8 = 111;
/// Of the wall clock, when it begins.
const T0_US: i64 = 1_795_413_681_000_000;

/// A publisher of 25 pictures and 50 packets of sound a second, and the line to the core: what it does to a packet says `fate`.
struct World {
    core: Core,
    begun: Instant,
    now: Instant,
    video: u16,
    audio: u16,
    transport: u16,
    pictures: u32,
    /// Pictures until the next key frame.
    gop: u32,
    until_key: u32,
    /// Sent packets, to be sent again.
    sent: BTreeMap<(u32, u16), Vec<u8>>,
    /// On their way: when they arrive.
    way: Vec<(Instant, Vec<u8>)>,
    items: Vec<Item>,
    asked_again: u32,
    key_frames_asked: u32,
    transport_reports: u32,
    blocks: Vec<ReceptionReport>,
    estimates: Vec<f32>,
    answers: bool,
}

fn packet(pt: u8, marker: bool, numbers: (u16, u16), timestamp: u32, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x90, pt | if marker { 0x80 } else { 0 }];
    out.extend(numbers.0.to_be_bytes());
    out.extend(timestamp.to_be_bytes());
    out.extend(ssrc.to_be_bytes());
    out.extend([0xbe, 0xde, 0, 1, 0x31]);
    out.extend(numbers.1.to_be_bytes());
    out.push(0);
    out.extend(payload);
    out
}

impl World {
    fn new(formats: Formats) -> World {
        let begun = Instant::now();
        World {
            core: Core::new(formats, 1, Duration::from_secs(2), begun),
            begun,
            now: begun,
            // All of them wrap around soon.
            video: 65_500,
            audio: 65_530,
            transport: 65_400,
            pictures: 0,
            gop: 1000,
            until_key: 0,
            sent: BTreeMap::new(),
            way: Vec::new(),
            items: Vec::new(),
            asked_again: 0,
            key_frames_asked: 0,
            transport_reports: 0,
            blocks: Vec::new(),
            estimates: Vec::new(),
            answers: true,
        }
    }

    fn send(&mut self, bytes: Vec<u8>, fate: &mut dyn FnMut() -> Option<u64>) {
        if let Some(delay) = fate() {
            self.way.push((self.now + Duration::from_millis(delay), bytes));
        }
    }

    /// 20 ms pass: perhaps a picture, a packet of sound, and what arrives meanwhile.
    fn step(&mut self, n: u32, fate: &mut dyn FnMut() -> Option<u64>) {
        if n.is_multiple_of(2) {
            let key = self.until_key == 0;
            self.until_key = if key { self.gop } else { self.until_key } - 1;
            let first = if key { 0x65 } else { 0x41 };
            let data = crate::testing::frame_data(&[nal(first, false, 3000, u64::from(self.pictures))]);
            let (sps, pps) = ([Bytes::from_static(&SPS)], [Bytes::from_static(&PPS)]);
            let mut payloads = Vec::new();
            packetize(&data, 4, key.then_some((&sps[..], &pps[..])), 1100, &mut payloads);
            for payload in payloads {
                let bytes = [payload.head(), &payload.body].concat();
                let timestamp = (self.pictures * 3600).wrapping_sub(9000);
                let bytes = packet(VIDEO_PT, payload.marker, (self.video, self.transport), timestamp, 7, &bytes);
                self.sent.insert((7, self.video), bytes.clone());
                self.video = self.video.wrapping_add(1);
                self.transport = self.transport.wrapping_add(1);
                self.send(bytes, fate);
            }
            self.pictures += 1;
        }
        let bytes = packet(AUDIO_PT, false, (self.audio, self.transport), n * 960, 8, b"\xfcsound");
        self.audio = self.audio.wrapping_add(1);
        self.transport = self.transport.wrapping_add(1);
        self.send(bytes, fate);
        for _ in 0..4 {
            self.now += Duration::from_millis(5);
            self.arrive(fate);
        }
    }

    fn arrive(&mut self, fate: &mut dyn FnMut() -> Option<u64>) {
        let now = self.now;
        let arrival = UnixMicros(T0_US + now.duration_since(self.begun).as_micros() as i64);
        self.way.sort_by_key(|(at, _)| *at);
        let there = self.way.iter().take_while(|(at, _)| *at <= now).count();
        for (_, bytes) in self.way.drain(..there).collect::<Vec<_>>() {
            let head = self.core.head(&bytes, now).unwrap();
            self.core.packet(&head, bytes.into(), arrival, now);
        }
        self.core.handle_timeout(now);
        assert!(self.core.held() < 3000);
        self.items.extend(std::iter::from_fn(|| self.core.poll_item()));
        let Some(feedback) = self.core.poll_feedback(now) else { return };
        for packet in rtcp::packet::unmarshal(&mut &feedback[..]).unwrap() {
            let any = packet.as_any();
            if any.is::<PictureLossIndication>() {
                self.key_frames_asked += 1;
                if self.answers {
                    self.until_key = 0;
                }
            } else if let Some(nack) = any.downcast_ref::<TransportLayerNack>() {
                for number in nack.nacks.iter().flat_map(|pair| pair.packet_list()) {
                    self.asked_again += 1;
                    let bytes = self.sent[&(nack.media_ssrc, number)].clone();
                    self.send(bytes, fate);
                }
            } else if let Some(report) = any.downcast_ref::<ReceiverReport>() {
                self.blocks.extend(report.reports.iter().cloned());
            } else if let Some(estimate) = any.downcast_ref::<ReceiverEstimatedMaximumBitrate>() {
                self.estimates.push(estimate.bitrate);
            } else {
                self.transport_reports += 1;
            }
        }
    }

    fn frames(&self, track: usize) -> Vec<&Unit> {
        let of = |item: &'_ _| matches!(item, Item::Frame(unit) if unit.track == track);
        let units = self.items.iter().filter(|item| of(item));
        units.map(|item| if let Item::Frame(unit) = item { unit } else { unreachable!("filtered") }).collect()
    }

    fn lost(&self) -> u32 {
        self.items.iter().map(|item| if let Item::Lost(n) = item { *n } else { 0 }).sum()
    }
}

fn formats() -> Formats {
    let (video, audio) = (VIDEO_PT, Some(AUDIO_PT));
    Formats {
        video,
        sets: Default::default(),
        audio,
        transport_cc: Some(3),
        remb: true,
        nack: [true, false],
        pli: true,
    }
}

/// Random numbers that are the same each time.
fn random() -> impl FnMut() -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

#[test]
fn all_comes_through_a_good_line() {
    let mut world = World::new(formats());
    (0..1000).for_each(|n| world.step(n, &mut || Some(10)));
    assert_eq!((world.frames(VIDEO).len(), world.lost(), world.asked_again), (500, 0, 0));
    assert_eq!(world.frames(AUDIO).len(), 1000);
    let pictures = world.frames(VIDEO);
    assert!(pictures.windows(2).all(|p| p[1].rtp == p[0].rtp.wrapping_add(3600) && p[0].arrival < p[1].arrival));
    // Told once, with both tracks, before anything else.
    let Item::Tracks(tracks) = &world.items[0] else { panic!("{:?}", world.items[0]) };
    assert_eq!((tracks[0].codec_id.as_str(), tracks[1].codec_id.as_str()), (Track::H264, Track::OPUS));
    assert_eq!(world.items.iter().filter(|item| matches!(item, Item::Tracks(_))).count(), 1);
    // In 20 s, a key frame for each 2 s without one.
    assert!((8..=11).contains(&world.key_frames_asked), "{}", world.key_frames_asked);
    assert!((150..=210).contains(&world.transport_reports), "{}", world.transport_reports);
    let last = world.blocks.iter().rfind(|b| b.ssrc == 7).unwrap();
    assert_eq!((last.fraction_lost, last.total_lost), (0, 0));
    assert!(world.estimates.is_empty(), "one estimate is enough");
}

#[test]
fn a_bad_line_costs_no_picture_as_long_as_it_answers() {
    let mut world = World::new(formats());
    let mut random = random();
    let mut fate = move || (!random().is_multiple_of(20)).then(|| 10 + random() % 50);
    (0..3000).for_each(|n| world.step(n, &mut fate));
    let (pictures, lost) = (world.frames(VIDEO).len(), world.lost());
    assert!(pictures >= 1490 && lost <= 10, "{pictures} {lost}");
    assert!(world.asked_again > 150);
    let data = |unit: &&Unit| media::h264::nal_units(&unit.data, 4).all(|nal| nal.is_ok_and(|nal| nal.len() == 3000));
    assert!(world.frames(VIDEO).iter().all(data));
    let times: Vec<u32> = world.frames(AUDIO).iter().map(|unit| unit.rtp).collect();
    assert!(times.is_sorted_by(|a, b| a < b) && times.len() > 2700, "{}", times.len());
    let last = world.blocks.iter().rfind(|b| b.ssrc == 8).unwrap();
    assert!((100..200).contains(&last.total_lost) && last.jitter > 0, "{last:?}");
}

#[test]
fn after_a_hole_a_key_frame_is_asked_for_and_pictures_are_told_to_be_lost() {
    let mut world = World::new(Formats { nack: [false; 2], ..formats() });
    (0..100).for_each(|n| world.step(n, &mut || Some(10)));
    let asked = world.key_frames_asked;
    (100..110).for_each(|n| world.step(n, &mut || None));
    (110..200).for_each(|n| world.step(n, &mut || Some(10)));
    assert_eq!(world.asked_again, 0);
    assert!(world.key_frames_asked > asked);
    assert!(world.lost() >= 15, "five pictures of three packets: {}", world.lost());
    let hole = world.items.iter().position(|item| matches!(item, Item::Lost(_))).unwrap();
    let key = world.items[hole..].iter().any(|i| matches!(i, Item::Frame(u) if u.track == VIDEO && u.data[4] == 0x65));
    assert!(key, "a key frame comes after it");
}

#[test]
fn who_sends_no_key_frame_is_asked_in_measure_and_another_source_waits() {
    let mut world = World::new(Formats { transport_cc: None, ..formats() });
    world.answers = false;
    world.until_key = 5000;
    (0..500).for_each(|n| world.step(n, &mut || Some(10)));
    assert!((12..=16).contains(&world.key_frames_asked), "{} in 10 s", world.key_frames_asked);
    assert!(world.frames(VIDEO).is_empty(), "nothing can be decoded without parameter sets");
    assert!(world.frames(AUDIO).is_empty() && world.transport_reports == 0);
    assert!((9..=10).contains(&world.estimates.len()), "{:?}", world.estimates);
    let other = packet(VIDEO_PT, true, (1, 1), 1, 99, &[0x41]);
    assert_eq!(world.core.head(&other, world.now), None);
    assert!(world.core.head(&other, world.now + Duration::from_secs(3)).is_some());
    assert_eq!(world.core.head(&packet(55, true, (1, 1), 1, 7, &[]), world.now), None, "of no agreed type");
}

#[test]
fn reports_of_the_sender_are_handed_on_and_answered() {
    let mut world = World::new(formats());
    (0..50).for_each(|n| world.step(n, &mut || Some(10)));
    let report = SenderReport { ssrc: 8, ntp_time: 0x1122_3344_5566_7788, rtp_time: 9, ..SenderReport::default() };
    let bytes = rtcp::packet::marshal(&[Box::new(report)]).unwrap();
    let arrival = UnixMicros(T0_US);
    assert!(world.core.control(&bytes, arrival, world.now));
    assert!(!world.core.control(&[1, 2, 3], arrival, world.now));
    let expected = Item::Report { track: AUDIO, rtp: 9, ntp: 0x1122_3344_5566_7788, arrival };
    assert_eq!(world.core.poll_item(), Some(expected));
    let since = world.blocks.len();
    (50..101).for_each(|n| world.step(n, &mut || Some(10)));
    let block = world.blocks[since..].iter().find(|b| b.ssrc == 8).unwrap();
    assert_eq!(block.last_sender_report, 0x3344_5566);
    assert!((60_000..=70_000).contains(&block.delay), "a second: {}", block.delay);
}
