#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::{Camera, frame_data, header, nal, other_header};

fn picture(key: bool, bytes: usize) -> Arc<Picture> {
    let mut camera = Camera::new(1);
    let made = Packetizer::default().frame(&camera.live()).unwrap().unwrap();
    Arc::new(Picture { key, bytes, ..made })
}

#[test]
fn key_frames_carry_parameter_sets_unless_the_camera_sends_them() {
    let (mut camera, mut packetizer) = (Camera::new(2), Packetizer::default());
    let key = packetizer.frame(&camera.live()).unwrap().unwrap();
    let delta = packetizer.frame(&camera.live()).unwrap().unwrap();
    assert!(key.key && !delta.key);
    assert_eq!((key.tracks.video, key.media_time, delta.media_time), (Some([0x42, 0xc0]), 0, 3600));
    let size = |p: &Picture| p.payloads.iter().map(|p| p.head().len() + p.body.len()).max().unwrap();
    assert!(size(&key) <= PAYLOAD_BYTES && size(&key) > PAYLOAD_BYTES - 50);
    assert!(key.payloads.iter().rev().skip(1).all(|p| !p.marker) && key.payloads.last().unwrap().marker);

    let mut live = camera.live();
    let plain = packetizer.frame(&live).unwrap().unwrap().bytes;
    let mut nals = vec![Bytes::from_static(&crate::testing::SPS), Bytes::from_static(&crate::testing::PPS)];
    nals.extend([nal(0x65, false, 20_000, 2), nal(0x65, false, 700, 1_000_002)]);
    live.frame.data = frame_data(&nals);
    let in_band = packetizer.frame(&live).unwrap().unwrap().bytes;
    assert!(in_band.abs_diff(plain) < 8, "the sets are there once, not twice: {in_band} and {plain}");
}

#[test]
fn what_webrtc_cannot_show_is_said() {
    let mut camera = Camera::new(10);
    let mut packetizer = Packetizer::default();
    packetizer.frame(&camera.live()).unwrap();
    let mut live = camera.live();
    live.frame.data = frame_data(&[nal(0x01, true, 500, 1)]);
    assert!(packetizer.frame(&live).unwrap_err().contains("B-frames"));

    let mut camera = Camera::new(10);
    camera.header = header("V_MPEGH/ISO/HEVC");
    assert!(Packetizer::default().frame(&camera.live()).unwrap_err().contains("V_MPEGH/ISO/HEVC"));
    let mut camera = Camera::new(10);
    camera.header = other_header(1, Vec::new());
    assert!(Packetizer::default().frame(&camera.live()).unwrap_err().contains("no video"));
    let mut track = header(media::Track::H264).tracks[0].clone();
    track.codec_private = Bytes::from_static(&[1, 2, 3]);
    let mut camera = Camera::new(10);
    camera.header = other_header(2, vec![track]);
    assert_eq!(
        Packetizer::default().frame(&camera.live()).unwrap_err(),
        "The stream's H.264 configuration cannot be read."
    );
}

#[test]
fn frames_of_other_tracks_and_broken_ones_are_left_out() {
    let (mut camera, mut packetizer) = (Camera::new(10), Packetizer::default());
    packetizer.frame(&camera.live()).unwrap();
    let mut live = camera.live();
    live.frame.track = 2;
    assert!(packetizer.frame(&live).unwrap().is_none());
    let mut live = camera.live();
    live.frame.data = Bytes::from_static(&[0, 0, 0, 200, 0x41, 0xc0]);
    assert!(packetizer.frame(&live).unwrap().is_none_or(|p| !p.payloads.is_empty()));
}

#[test]
fn sound_follows_itself_without_gaps_that_are_none() {
    let mut clock = SoundClock::default();
    let mut at = |ms: i64| clock.at(UnixMicros(ms * 1000), 960, 48_000);
    assert_eq!(
        [at(5_000), at(5_021), at(5_039), at(5_060)],
        [0, 960, 1920, 2880],
        "a millisecond is the producer's clock"
    );
    assert_eq!(at(5_580), 3840 + 500 * 48, "half a second is silence");
    assert_eq!(at(5_000), 3840 + 500 * 48 + 960, "back in time is none");
    assert_eq!(at(900_000), 3840 + 500 * 48 + 1920, "nor is a jump");
}

#[test]
fn packets_of_sound_are_the_frames_of_its_track() {
    let track = |number, codec_id: &str, private: &'static [u8]| media::Track {
        number,
        kind: media::TrackKind::Audio,
        codec_id: codec_id.to_owned(),
        codec_private: Bytes::from_static(private),
        size: None,
        audio: None,
    };
    let video = header(media::Track::H264).tracks[0].clone();
    let mut camera = Camera::new(10);
    camera.header = other_header(1, vec![video, track(2, "A_OPUS", &[])]);
    let mut packetizer = Packetizer::default();
    let mut live = camera.live();
    assert!(packetizer.sound(&live).is_empty(), "nothing is known yet");
    let tracks = packetizer.frame(&live).unwrap().unwrap().tracks;
    assert_eq!(tracks, Tracks { video: Some([0x42, 0xc0]), sound: Some(Sound::Opus) });
    assert!(packetizer.sound(&live).is_empty(), "pictures are none");
    let mut packets = |data: &'static [u8]| {
        live.frame = media::Frame { track: 2, data: Bytes::from_static(data), ..live.frame.clone() };
        assert!(packetizer.frame(&live).unwrap().is_none());
        packetizer.sound(&live)
    };
    let [packet] = &packets(&[31 << 3, 1, 2])[..] else { panic!("one packet") };
    assert_eq!((&packet.payloads[0].body[..], packet.payloads[0].marker), (&[31 << 3, 1, 2][..], false));
    assert!(packet.key && packet.payloads[0].head().is_empty() && packet.tracks == tracks);
    assert!(packets(&[]).is_empty() && packets(&[31 << 3 | 3]).is_empty() && packets(&[0xf8; 1300]).is_empty());

    // G.711 alone: a frame of a quarter second is two packets, each with its time.
    camera.header = other_header(2, vec![track(1, "A_MS/ACM", &[7, 0, 1, 0])]);
    camera.gop = 1;
    let mut live = camera.live();
    live.frame.data = Bytes::from_static(&[0x55; 2000]);
    let mut packetizer = Packetizer::default();
    assert!(packetizer.frame(&live).unwrap().is_none());
    let packets = packetizer.sound(&live);
    let times: Vec<_> = packets.iter().map(|p| (p.bytes, p.media_time, p.time.0 - live.frame.time.0)).collect();
    assert_eq!(times, [(1180, 0, 0), (820, 1180, 147_500)]);
    camera.header = other_header(3, vec![track(1, media::Track::AAC, &[0x12, 0x10])]);
    assert!(Packetizer::default().frame(&camera.live()).unwrap_err().contains("no sound that WebRTC can play"));
}

#[test]
fn media_time_only_grows() {
    let mut clock = MediaClock::default();
    let at = |clock: &mut MediaClock, ms: i64| clock.at(UnixMicros(ms * 1000));
    assert_eq!(at(&mut clock, 5_000), 0);
    assert_eq!(at(&mut clock, 5_040), 3_600);
    assert_eq!(at(&mut clock, 4_000), 6_600, "back in time is a small step");
    assert_eq!(at(&mut clock, 4_040), 10_200);
    assert_eq!(at(&mut clock, 4_040), 13_200, "standing still too");
    assert_eq!(at(&mut clock, 100_000), 16_200, "and a jump");
    assert_eq!(at(&mut clock, i64::MIN / 1000), 19_200);
    // A third of a frame at a time: rounding does not add up.
    let mut clock = MediaClock::default();
    let last = (0..=300).map(|i| clock.at(UnixMicros(i * 33_333))).last().unwrap();
    assert_eq!(last, 899_991);
}

#[test]
fn the_cache_begins_with_a_key_frame_and_is_bounded() {
    let mut cache = Cache::default();
    cache.push(&picture(false, 10));
    assert!(cache.pictures().is_empty());
    cache.push(&picture(true, 10));
    cache.push(&picture(false, 10));
    assert_eq!(cache.pictures().len(), 2);
    cache.push(&picture(true, 10));
    assert_eq!(cache.pictures().len(), 1);
    cache.push(&picture(false, MOST_CACHED_BYTES));
    assert!(cache.pictures().is_empty(), "too long: new viewers wait");
    cache.push(&picture(false, 10));
    assert!(cache.pictures().is_empty());
    cache.push(&picture(true, 10));
    assert_eq!(cache.pictures().len(), 1);
}
