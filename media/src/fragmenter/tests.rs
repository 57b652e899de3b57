#![allow(clippy::unwrap_used)]

use super::*;
use crate::{Track, UnixMillis, mkv};
use bytes::Bytes;
use proptest::prelude::*;

const T0: i64 = 1_795_413_681_042;

fn track(number: u8, kind: TrackKind) -> Track {
    let codec_id = if kind == TrackKind::Video { Track::H264 } else { Track::AAC }.to_owned();
    Track { number, kind, codec_id, codec_private: Bytes::new(), size: None, audio: None }
}

fn header(kinds: &[TrackKind]) -> Arc<Header> {
    let tracks: Vec<Track> = (1..).zip(kinds).map(|(number, kind)| track(number, *kind)).collect();
    mkv::write_header(&tracks).shared()
}

fn both() -> Arc<Header> {
    header(&[TrackKind::Video, TrackKind::Audio])
}

fn frame(track: u8, ms: i64, key: bool) -> Frame {
    Frame { track, time: UnixMillis(T0 + ms).to_micros(), key, data: Bytes::from_static(&[0; 100]) }
}

fn key(ms: i64) -> Frame {
    frame(1, ms, true)
}

fn delta(ms: i64) -> Frame {
    frame(1, ms, false)
}

fn sound(ms: i64) -> Frame {
    frame(2, ms, true)
}

/// Events in short: `B<ms>[cause]`, `<track>:<ms>`, `E`.
fn words(events: &[Event]) -> String {
    let word = |event: &Event| match event {
        Event::Begin(Start { producer_start, cause, .. }) => {
            let cause = cause.map_or(String::new(), |c| format!("{c:?}"));
            format!("B{}{cause}", producer_start.0 - T0)
        }
        Event::Frame(f) => format!("{}:{}", f.track, f.time.to_millis().0 - T0),
        Event::End => "E".to_owned(),
    };
    events.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn started(limits: Limits) -> Fragmenter {
    let mut fragmenter = Fragmenter::new(limits);
    fragmenter.header(both());
    fragmenter
}

fn run(fragmenter: &mut Fragmenter, frames: impl IntoIterator<Item = Frame>) -> String {
    let mut out = Vec::new();
    frames.into_iter().for_each(|frame| fragmenter.push(frame, &mut out));
    fragmenter.finish(&mut out);
    words(&out)
}

#[test]
fn cuts_at_key_frames_and_drops_what_comes_before_the_first() {
    let mut f = started(Limits::default());
    let frames = [delta(0), sound(10), key(1000), sound(990), delta(1040), sound(1010), key(2000), delta(2040)];
    assert_eq!(run(&mut f, frames), "B1000 1:1000 2:990 1:1040 2:1010 E B2000 1:2000 1:2040 E");
    assert_eq!(f.dropped_frames(), 2);
}

#[test]
fn b_frames_go_back_in_time_within_a_fragment() {
    let mut f = started(Limits::default());
    // Decode order I P B B, and a leading pair of an open group that is shown before its key frame.
    let frames = [key(0), delta(120), delta(40), delta(80), key(240), delta(160), delta(200), delta(360), delta(280)];
    assert_eq!(run(&mut f, frames), "B0 1:0 1:120 1:40 1:80 E B240 1:240 1:160 1:200 1:360 1:280 E");
    assert_eq!(f.dropped_frames(), 0);
}

#[test]
fn sound_alone_is_cut_every_two_seconds() {
    let mut f = Fragmenter::new(Limits::default());
    f.header(header(&[TrackKind::Audio]));
    let frames = (0..6).map(|i| frame(1, i * 800, i % 2 == 0));
    assert_eq!(run(&mut f, frames), "B0 1:0 1:800 1:1600 E B2400 1:2400 1:3200 1:4000 E");
    assert_eq!(f.dropped_frames(), 0);
}

#[test]
fn sound_alone_begins_again_where_its_clock_jumps() {
    let mut f = Fragmenter::new(Limits::default());
    f.header(header(&[TrackKind::Audio]));
    let frames = [0, 100, 50, 70, 5071].map(|ms| frame(1, ms, true));
    assert_eq!(run(&mut f, frames), "B0 1:0 1:100 E B50TimeJump 1:50 1:70 E B5071TimeJump 1:5071 E");
}

#[test]
fn no_key_frame_ever_is_no_fragment() {
    let mut f = started(Limits::default());
    assert_eq!(run(&mut f, (0..100).flat_map(|i| [delta(i * 40), sound(i * 40)])), "");
    assert_eq!(f.dropped_frames(), 200);
}

#[test]
fn frames_before_a_header_or_of_unknown_tracks_are_dropped() {
    let mut f = Fragmenter::new(Limits::default());
    assert_eq!(run(&mut f, [key(0)]), "");
    f.header(both());
    assert_eq!(run(&mut f, [key(0), frame(7, 0, true)]), "B0 1:0 E");
    assert_eq!(f.dropped_frames(), 2);
}

#[test]
fn a_fragment_too_long_ends_and_waits_for_a_key_frame() {
    let mut f = started(Limits { max_duration_ms: 1000, ..Limits::default() });
    let frames = [key(0), delta(1000), delta(1001), delta(1040), sound(1040), key(1080), key(2000)];
    assert_eq!(run(&mut f, frames), "B0 1:0 1:1000 E B1080FragmentTooLong 1:1080 E B2000 1:2000 E");
    assert_eq!(f.dropped_frames(), 3);
    // A limit beyond what a cluster holds is cut to it.
    let mut f = started(Limits { max_duration_ms: u32::MAX, ..Limits::default() });
    let frames = std::iter::once(key(0)).chain((1..20).map(|i| delta(i * 2000)));
    assert!(run(&mut f, frames).ends_with("1:32000 E"));
}

#[test]
fn a_fragment_of_too_many_bytes_ends_and_waits_for_a_key_frame() {
    let mut f = started(Limits { max_bytes: 3 * (100 + FRAME_OVERHEAD), ..Limits::default() });
    let frames = [key(0), delta(40), sound(60), sound(70), delta(80), delta(120), key(1000), delta(1040)];
    assert_eq!(run(&mut f, frames), "B0 1:0 1:40 2:60 E B1000FragmentTooLong 1:1000 1:1040 E");
    assert_eq!(f.dropped_frames(), 3);
    // Not even the key frame fits.
    let mut f = started(Limits { max_bytes: 50, ..Limits::default() });
    assert_eq!(run(&mut f, [key(0), delta(40), key(1000)]), "");
    assert_eq!(f.dropped_frames(), 3);
}

#[test]
fn a_clock_that_jumps_ahead_is_a_discontinuity() {
    let mut f = started(Limits::default());
    let frames = [key(0), delta(5000), key(10_000), key(15_001)];
    assert_eq!(run(&mut f, frames), "B0 1:0 1:5000 E B10000 1:10000 E B15001TimeJump 1:15001 E");
    let mut f = started(Limits::default());
    let frames = [key(0), delta(5001), delta(5040), key(6000)];
    assert_eq!(run(&mut f, frames), "B0 1:0 E B6000TimeJump 1:6000 E");
    assert_eq!(f.dropped_frames(), 2);
}

#[test]
fn a_clock_that_goes_back_is_a_discontinuity() {
    let mut f = started(Limits::default());
    let frames = [key(0), delta(40), key(40), delta(80), key(1000)];
    assert_eq!(run(&mut f, frames), "B0 1:0 1:40 E B40TimeJump 1:40 1:80 E B1000 1:1000 E");
    let mut f = started(Limits::default());
    let frames = [key(3000), delta(1999), delta(2040), key(2080), delta(2120)];
    assert_eq!(run(&mut f, frames), "B3000 1:3000 E B2080TimeJump 1:2080 1:2120 E");
    assert_eq!(f.dropped_frames(), 2);
}

#[test]
fn sound_whose_clock_is_off_is_dropped_and_the_pictures_stay() {
    let mut f = started(Limits::default());
    let frames = [key(0), sound(5001), sound(-5001), delta(40), sound(5000), sound(-5000)];
    assert_eq!(run(&mut f, frames), "B0 1:0 1:40 2:5000 2:-5000 E");
    assert_eq!(f.dropped_frames(), 2);
}

#[test]
fn key_frames_alone_do_not_make_a_fragment_each() {
    let mut f = started(Limits::default());
    assert_eq!(run(&mut f, [0, 100, 199, 200, 300].map(key)), "B0 1:0 1:100 1:199 E B200 1:200 1:300 E");
}

#[test]
fn a_new_header_ends_the_group_of_pictures() {
    let mut f = started(Limits::default());
    let mut out = Vec::new();
    f.push(key(0), &mut out);
    f.header(both());
    f.push(delta(40), &mut out);
    let new = header(&[TrackKind::Video]);
    f.header(new.clone());
    f.push(delta(80), &mut out);
    f.push(key(120), &mut out);
    assert_eq!(words(&out), "B0 1:0 1:40 E B120 1:120");
    assert!(matches!(&out[4], Event::Begin(start) if start.header.id == new.id));
    assert_eq!(f.dropped_frames(), 1);
}

#[test]
fn a_discontinuity_ends_the_fragment_and_names_the_first_cause() {
    let mut f = started(Limits::default());
    let mut out = Vec::new();
    f.discontinuity(Cause::ServerStopped);
    f.push(key(0), &mut out);
    f.discontinuity(Cause::SourceLost);
    f.discontinuity(Cause::PacketLoss);
    f.push(delta(40), &mut out);
    // Time is measured anew: an earlier one is no jump on top.
    f.push(key(-500), &mut out);
    f.finish(&mut out);
    f.finish(&mut out);
    assert_eq!(words(&out), "B0ServerStopped 1:0 E B-500SourceLost 1:-500 E");
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let time = prop_oneof![4 => 0i64..40_000, 1 => any::<i64>().prop_map(|t| t / 2000)];
    (1u8..4, time, any::<bool>(), 0usize..200).prop_map(|(track, ms, key, len)| Frame {
        track,
        time: UnixMicros(ms.saturating_mul(1000)),
        key,
        data: vec![0; len].into(),
    })
}

proptest! {
    #[test]
    fn any_frames_give_well_formed_fragments_that_a_cluster_holds(
        frames in proptest::collection::vec(any_frame(), 0..60),
        with_video in any::<bool>(),
        max_bytes in 0usize..2000,
    ) {
        let limits = Limits { max_bytes, ..Limits::default() };
        let mut f = Fragmenter::new(limits);
        f.header(if with_video { both() } else { header(&[TrackKind::Audio, TrackKind::Data]) });
        let mut out = Vec::new();
        let count = frames.len() as u64;
        frames.into_iter().for_each(|frame| f.push(frame, &mut out));
        f.finish(&mut out);
        prop_assert_eq!(check(&out, with_video, max_bytes)? + f.dropped_frames(), count);
    }
}

/// Checks the order of events and that each fragment fits a cluster; gives the number of frames in fragments.
fn check(events: &[Event], with_video: bool, max_bytes: usize) -> Result<u64, TestCaseError> {
    let mut open: Option<(mkv::ClusterWriter, usize)> = None;
    let mut frames = 0;
    for event in events {
        match event {
            Event::Begin(start) => {
                prop_assert!(open.is_none());
                open = Some((mkv::ClusterWriter::new(start.producer_start), 0));
            }
            Event::Frame(frame) => {
                let (writer, bytes) = open.as_mut().unwrap();
                prop_assert!(*bytes > 0 || (frame.track == 1 && (frame.key || !with_video)));
                // Times before the epoch do not occur outside tests.
                if frame.time.0 >= 5_000_000 {
                    prop_assert!(writer.push(frame).is_ok());
                }
                *bytes += frame.data.len() + FRAME_OVERHEAD;
                prop_assert!(*bytes <= max_bytes);
                frames += 1;
            }
            Event::End => prop_assert!(open.take().is_some()),
        }
    }
    prop_assert!(open.is_none());
    Ok(frames)
}
