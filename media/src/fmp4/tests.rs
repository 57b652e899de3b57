#![allow(clippy::unwrap_used)]

use super::*;
use crate::{Fragment, Frame, UnixMillis, mkv, testing};
use mp4_atom::Decode;
use std::{collections::HashMap, io::Write, path::Path};

/// When the clips' cameras began to send.
const START_MS: i64 = 1_795_413_681_042;

const CLIPS: [&str; 6] = [
    "media/bottles_640x360_h264high_bpyramid_29.8fps_gop250.mp4",
    "media/one-by-one-person_768x432_h264main_bframes_10fps.mp4",
    "media/derived/cam_av_720p15_gop30_aac.mp4",
    "media/derived/opengop_bpyramid_360p30_aac.mp4",
    "media/derived/vfr_bframes_street.mkv",
    "media/derived/cam_hevc_360p15_gop30.mp4",
];

fn write_presentation(fragments: &[Fragment], path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(&init(&fragments[0].header).unwrap()).unwrap();
    for (fragment, sequence) in fragments.iter().zip(1..) {
        for part in segment(fragment, sequence).unwrap().parts() {
            file.write_all(part).unwrap();
        }
    }
}

/// Presentation time in ms, and data checksum, of each decoded picture or sound packet.
fn pictures(file: &Path) -> Option<Vec<String>> {
    let file = file.to_str().unwrap();
    let arguments = ["-v", "error", "-i", file, "-map", "0:v", "-fps_mode", "passthrough", "-f", "framemd5", "-"];
    let text = testing::output_of("ffmpeg", &arguments)?;
    let hash = |line: &str| line.rsplit(',').next().map(|hash| hash.trim().to_owned());
    Some(text.lines().filter(|line| !line.starts_with('#')).filter_map(hash).collect())
}

#[test]
fn real_clips_decode_to_the_same_pictures_at_the_same_times() {
    let folder = tempfile::tempdir().unwrap();
    for name in CLIPS {
        let Some(clip) = testing::shared_path(name) else { return };
        let Some(fragments) = testing::fragments_of_clip(&clip, START_MS) else { return };
        let file = folder.path().join("clip.mp4");
        write_presentation(&fragments, &file);
        let (Some(ours), Some(theirs)) = (pictures(&file), pictures(&clip)) else { return };
        assert_eq!(ours.len(), theirs.len(), "{name}");
        assert!(ours == theirs, "{name}: other pictures");

        let mut clock = Clock::default();
        for fragment in &fragments {
            check_times(name, fragment, &mut clock);
        }
    }
}

/// The decode time at which each track's samples ended so far, in its timescale.
#[derive(Default)]
struct Clock(HashMap<u32, u64>);

/// Reads a media segment with another library: each sample is the frame it should be and is shown when its frame is,
/// and decode times continue those of the segment before without holes.
fn check_times(name: &str, fragment: &Fragment, clock: &mut Clock) {
    let segment = segment(fragment, 1).unwrap().to_bytes();
    let mut rest = &segment[..];
    mp4_atom::Styp::decode(&mut rest).unwrap();
    let moof_at = segment.len() - rest.len();
    let moof = mp4_atom::Moof::decode(&mut rest).unwrap();
    let frames = fragment.frames().unwrap();
    for shown in shown(&fragment.header) {
        let number = u32::from(shown.track.number);
        let traf = moof.traf.iter().find(|traf| traf.tfhd.track_id == number).unwrap();
        assert!(traf.tfhd.default_base_is_moof && traf.trun.len() == 1);
        let rate = f64::from(shown.timescale());
        let mut dts = traf.tfdt.as_ref().unwrap().base_media_decode_time;
        let mut at = moof_at + traf.trun[0].data_offset.unwrap() as usize;
        // Where the rate varies, nobody knows how long the last picture was to last.
        if let Some(end) = clock.0.get(&number).filter(|_| !name.contains("vfr")) {
            // Times of fragments are cut to the millisecond; sound is put back between them.
            let tolerance = if shown.timescale() == VIDEO_TIMESCALE { 90 } else { shown.timescale() / 500 };
            assert!(dts.abs_diff(*end) <= u64::from(tolerance), "{name}, track {number}: from {end} to {dts}");
        }
        let samples: Vec<_> = traf.trun[0].samples.iter().collect();
        let frames: Vec<&Frame> = frames.iter().filter(|frame| frame.track == shown.track.number).collect();
        assert_eq!(samples.len(), frames.len(), "{name}");
        for (sample, frame) in samples.iter().zip(frames) {
            let size = sample.size.unwrap() as usize;
            assert!(segment[at..at + size] == frame.data, "{name}: other bytes");
            at += size;
            let time = dts as f64 + sample.cts.unwrap_or(0) as f64;
            let off = time / rate - frame.time.0 as f64 / 1e6;
            // Pictures keep their millisecond; sound moves within one and a half.
            let most = if shown.track.kind == TrackKind::Video { 0.000_02 } else { 0.0015 };
            assert!(off.abs() < most, "{name}, track {number}: {off} s off at {time}");
            let sync = sample.flags.or(traf.tfhd.default_sample_flags).unwrap() & 0x0001_0000 == 0;
            assert_eq!(sync, frame.key);
            let duration = sample.duration.or(traf.tfhd.default_sample_duration).unwrap();
            assert!(duration > 0);
            dts += u64::from(duration);
        }
        clock.0.insert(number, dts);
    }
}

fn h264_header(config: &[u8]) -> Header {
    let track = Track {
        number: 1,
        kind: TrackKind::Video,
        codec_id: Track::H264.into(),
        codec_private: Bytes::copy_from_slice(config),
        size: Some((1280, 720)),
        audio: None,
    };
    mkv::write_header(&[track])
}

const SPS: &[u8] = &[0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x10];
const PPS: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb];

fn frame(ms: i64, key: bool, data: &'static [u8]) -> Frame {
    Frame { track: 1, time: UnixMillis(START_MS + ms).to_micros(), key, data: Bytes::from_static(data) }
}

#[test]
fn frame_payloads_are_not_copied() {
    let avcc = h264::Avcc::from_parameter_sets(&[SPS.into()], &[PPS.into()]);
    let data = &[0, 0, 0, 2, 0x65, 0x88];
    let fragments = testing::fragments(&h264_header(&avcc), vec![frame(0, true, data), frame(40, false, data)]);
    let segment = segment(&fragments[0], 1).unwrap();
    let from_frames = |part: &&Bytes| part.as_ptr() == data.as_ptr();
    assert_eq!(segment.parts().iter().filter(from_frames).count(), 2);
    assert!(
        segment
            .to_bytes()
            .ends_with(&[0, 0, 0, 20, b'm', b'd', b'a', b't', 0, 0, 0, 2, 0x65, 0x88, 0, 0, 0, 2, 0x65, 0x88])
    );
}

#[test]
fn start_codes_in_private_data_and_frames_are_converted() {
    let private = [&[0, 0, 0, 1], SPS, &[0, 0, 1], PPS].concat();
    let header = h264_header(&private);
    let proper = h264::Avcc::from_parameter_sets(&[SPS.into()], &[PPS.into()]);
    assert!(init(&header).unwrap().windows(proper.len()).any(|window| window == proper));
    let fragments = testing::fragments(&header, vec![frame(0, true, &[0, 0, 0, 1, 0x65, 0x88])]);
    assert!(segment(&fragments[0], 1).unwrap().to_bytes().ends_with(&[0, 0, 0, 2, 0x65, 0x88]));
}

#[test]
fn what_cannot_be_shown_says_why() {
    assert_eq!(init(&mkv::write_header(&[])), Err(Error::NothingPlayable));
    assert_eq!(init(&h264_header(&[1, 2, 3])), Err(Error::NothingPlayable));
    let mut fragment = testing::fragments(&h264_header(&[]), vec![frame(0, true, b"x")]).remove(0);
    assert_eq!(segment(&fragment, 1), Err(Error::NothingPlayable));
    let avcc = h264::Avcc::from_parameter_sets(&[SPS.into()], &[PPS.into()]);
    fragment.header = h264_header(&avcc).shared();
    fragment.cluster = Bytes::from_static(&[0x1F, 0x43, 0xB6, 0x75, 0x83, 0xE7, 0x81, 0]).into();
    assert_eq!(segment(&fragment, 1), Err(Error::NoFrames));
    fragment.cluster = Bytes::from_static(&[0x1F, 0x43, 0xB6, 0x75, 0x84]).into();
    assert!(matches!(segment(&fragment, 1), Err(Error::Cluster(_))));
}
