//! Decoding of real clips: every frame's picture comes out once, in order, with the shot it belongs to.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use media::{FragmentNumber, Header, UnixMicros, UnixMillis};
use ml::decode::{Decoder, Error, Picture};
use std::sync::Arc;
use store::{LiveFragment, LiveFrame};

const START: UnixMicros = UnixMicros(1_700_000_000_000_000);

/// The frames of a clip as a follower gives them: a fragment per key frame.
fn followed(clip: &str, most: usize) -> Option<(Arc<Header>, Vec<LiveFrame>)> {
    let path = common::shared("media")?.join(clip);
    let (header, frames) = common::h264(&path, START);
    let mut live: Vec<LiveFrame> = Vec::new();
    for frame in frames.into_iter().take(most) {
        let fragment = match live.last() {
            Some(last) if !frame.key => last.fragment.clone(),
            last => Arc::new(LiveFragment {
                number: FragmentNumber::new(last.map_or(1, |l| l.fragment.number.counter() + 1), 0, 0),
                header: header.clone(),
                producer_start: frame.time.to_millis(),
                server_start: UnixMillis(0),
            }),
        };
        let index = live.last().filter(|l| l.fragment.number == fragment.number).map_or(0, |l| l.index + 1);
        live.push(LiveFrame { fragment, index, frame });
    }
    Some((header, live))
}

/// How far the luma of a picture is from a frame that ffmpeg decoded, on average.
fn difference(picture: &Picture, width: usize, bytes: &[u8]) -> f64 {
    picture
        .with_image(|image| {
            assert_eq!(image.width, width);
            let (mut sum, mut count) = (0u64, 0u64);
            let mut rgb = vec![0f32; width * image.height];
            ml::preprocess::Scaler::default()
                .rows(image, image.width, image.height, |y, row| rgb[y * width..][..width].copy_from_slice(row[1]));
            let theirs = ml::image::Image::i420(width, image.height, bytes, ml::image::Matrix::BT601).unwrap();
            ml::preprocess::Scaler::default().rows(&theirs, image.width, image.height, |y, row| {
                for (a, b) in rgb[y * width..][..width].iter().zip(row[1]) {
                    sum += (a - b).abs() as u64;
                    count += 1;
                }
            });
            sum as f64 / count as f64
        })
        .unwrap()
}

/// Decodes the first frames of a clip whole; returns the pictures.
fn all(clip: &str, most: usize) -> Option<(Vec<LiveFrame>, Vec<Picture>)> {
    let (header, live) = followed(clip, most)?;
    let mut decoder = Decoder::new(&header).unwrap();
    let mut pictures = Vec::new();
    for frame in &live {
        decoder.push(frame, &mut pictures).unwrap();
    }
    decoder.drain(&mut pictures);
    Some((live, pictures))
}

fn whole(clip: &str, most: usize) {
    let Some((live, pictures)) = all(clip, most) else { return };
    assert!(pictures.windows(2).all(|w| w[0].shot.time < w[1].shot.time), "in presentation order");
    let mut wanted: Vec<_> =
        live.iter().map(|l| (l.frame.time.to_millis(), l.fragment.number, l.index, l.frame.key)).collect();
    wanted.sort();
    let got: Vec<_> = pictures.iter().map(|p| (p.shot.time, p.shot.fragment, p.shot.index, p.shot.key)).collect();
    println!("{clip}: {} frames, {} pictures", wanted.len(), got.len());
    assert_eq!(got, wanted, "each frame's picture once");
    for picture in &pictures {
        let start = live.iter().find(|l| l.fragment.number == picture.shot.fragment).unwrap().fragment.producer_start;
        assert_eq!(i64::from(picture.shot.offset_ms), (picture.shot.time.0 - start.0).max(0));
    }
    // The picture is that of the frame it names: what ffmpeg decodes at that place of the presentation order, and not what
    // it decodes two frames later.
    let path = common::shared("media").unwrap().join(clip);
    let (mut compared, mut own, mut later) = (0, 0.0, 0.0);
    common::frames(&path, 7, |index, width, _, bytes| {
        if let (Some(picture), Some(other)) = (pictures.get(index), pictures.get(index + 2)) {
            let off = difference(picture, width, bytes);
            assert!(off < 0.5, "picture {index} differs by {off}");
            (compared, own, later) = (compared + 1, own + off, later + difference(other, width, bytes));
        }
    });
    println!("{clip}: {compared} compared, off by {own:.3}, from two frames later by {later:.3} in all");
    assert!(compared > 5 && own * 3.0 < later);
}

#[test]
fn pictures_without_reordering() {
    whole("street-cars_640x352_h264_24fps_gop48.mp4", 150);
}

#[test]
fn b_frames_are_mapped_back_to_their_own_frames() {
    whole("one-by-one-person_768x432_h264main_bframes_10fps.mp4", 150);
}

#[test]
fn a_b_pyramid_too() {
    whole("bottles_640x360_h264high_bpyramid_29.8fps_gop250.mp4", 300);
}

#[test]
fn key_frames_alone_come_out_at_once() {
    for clip in ["one-by-one-person_768x432_h264main_bframes_10fps.mp4", "street-cars_640x352_h264_24fps_gop48.mp4"] {
        let Some((header, live)) = followed(clip, 600) else { return };
        let mut decoder = Decoder::new(&header).unwrap();
        let keys: Vec<_> = live.iter().filter(|l| l.frame.key).collect();
        assert!(keys.len() >= 3, "{} key frames", keys.len());
        for key in keys {
            let mut pictures = Vec::new();
            decoder.push(key, &mut pictures).unwrap();
            decoder.drain(&mut pictures);
            let shots: Vec<_> = pictures.iter().map(|p| (p.shot.fragment, p.shot.index, p.shot.time)).collect();
            assert_eq!(shots, [(key.fragment.number, 0, key.frame.time.to_millis())]);
        }
    }
}

#[test]
fn rubbish_neither_panics_nor_sticks() {
    let Some((header, live)) = followed("street-cars_640x352_h264_24fps_gop48.mp4", 150) else { return };
    let mut decoder = Decoder::new(&header).unwrap();
    let mut state = 88_172_645_463_325_252u64;
    let mut pictures = Vec::new();
    for frame in &live[..60] {
        let mut bytes = frame.frame.data.to_vec();
        for _ in 0..20 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = state as usize % bytes.len();
            bytes[at] = (state >> 40) as u8;
        }
        let broken = media::Frame { data: bytes.into(), ..frame.frame.clone() };
        let broken = LiveFrame { fragment: frame.fragment.clone(), index: frame.index, frame: broken };
        if decoder.push(&broken, &mut pictures).is_err() {
            decoder = Decoder::new(&header).unwrap();
        }
    }
    // From the next key frame on all is well again.
    decoder.drain(&mut pictures);
    pictures.clear();
    let good: Vec<_> = live.iter().skip_while(|l| l.fragment.number.counter() < 3).collect();
    good.iter().for_each(|frame| decoder.push(frame, &mut pictures).unwrap());
    decoder.drain(&mut pictures);
    assert_eq!(pictures.len(), good.len());
}

#[test]
fn other_codecs_are_refused_by_name() {
    let track = |codec: &str, private: &'static [u8]| media::Track {
        number: 1,
        kind: media::TrackKind::Video,
        codec_id: codec.into(),
        codec_private: bytes::Bytes::from_static(private),
        size: None,
        audio: None,
    };
    for (tracks, says) in [
        (vec![track("V_MPEGH/ISO/HEVC", b"x")], "HEVC"),
        (vec![], "no video"),
        (vec![track(media::Track::H264, b"")], "AVC"),
    ] {
        let header = media::mkv::write_header(&tracks);
        let Err(Error::Codec(why)) = Decoder::new(&header) else { panic!("{says} was taken") };
        assert!(why.contains(says), "{why}");
    }
}
