#![allow(clippy::unwrap_used)]

use super::*;
use crate::{Chunks, Frame, Header, HeaderId, Track, TrackKind, UnixMillis};
use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

const START: i64 = 1_795_413_681_042;

fn tracks() -> Vec<Track> {
    vec![
        Track {
            number: 1,
            kind: TrackKind::Video,
            codec_id: Track::H264.into(),
            codec_private: Bytes::from_static(&[1, 100, 0, 31, 255, 224, 0]),
            size: Some((1280, 720)),
            audio: None,
        },
        Track {
            number: 2,
            kind: TrackKind::Audio,
            codec_id: Track::AAC.into(),
            codec_private: Bytes::from_static(&[0x11, 0x90]),
            size: None,
            audio: Some((48_000, 2)),
        },
        Track {
            number: 200,
            kind: TrackKind::Data,
            codec_id: "D_KLV".into(),
            codec_private: Bytes::new(),
            size: None,
            audio: None,
        },
    ]
}

fn frame(track: u8, ms: i64, key: bool, data: &'static [u8]) -> Frame {
    Frame { track, time: UnixMillis(ms).to_micros(), key, data: Bytes::from_static(data) }
}

fn write(frames: &[Frame]) -> Chunks {
    let mut writer = ClusterWriter::new(UnixMillis(START));
    for frame in frames {
        writer.push(frame).unwrap();
    }
    let bytes = writer.bytes();
    let cluster = writer.finish();
    assert_eq!(cluster.len(), bytes);
    cluster
}

/// An element with a size of a chosen width.
fn element(id: &[u8], width: usize, body: &[u8]) -> Vec<u8> {
    let mut out = id.to_vec();
    let size = body.len() as u64 | 1u64 << (7 * width);
    out.extend_from_slice(&size.to_be_bytes()[8 - width..]);
    out.extend_from_slice(body);
    out
}

/// A cluster element of unknown size, written in `width` bytes.
fn unsized_cluster(width: usize, children: &[Vec<u8>]) -> Bytes {
    let mut out = vec![0x1F, 0x43, 0xB6, 0x75];
    let size = u64::MAX >> (64 - 7 * width) | 1u64 << (7 * width);
    out.extend_from_slice(&size.to_be_bytes()[8 - width..]);
    children.iter().for_each(|child| out.extend_from_slice(child));
    out.into()
}

fn timestamp() -> Vec<u8> {
    element(&[0xE7], 1, &START.to_be_bytes())
}

#[test]
fn a_header_is_read_as_it_was_written() {
    let written = write_header(&tracks());
    assert_eq!(parse_header(&written.bytes).unwrap(), written);
    assert_eq!(written.id, HeaderId::of(&written.bytes));
    assert_eq!(write_header(&tracks()).id, written.id);
    assert_ne!(write_header(&tracks()[..1]).id, written.id);
}

#[test]
fn a_header_ends_where_its_clusters_begin() {
    let written = write_header(&tracks());
    let mut file = BytesMut::from(&written.bytes[..]);
    file.put_slice(&write(&[frame(1, START, true, b"abc")]).to_bytes());
    assert_eq!(parse_header(&file.freeze()).unwrap(), written);
}

#[test]
fn a_header_with_sized_segment_void_crc_and_seek_head_is_read_verbatim() {
    let ours = write_header(&tracks()).bytes;
    let at = ours.windows(4).position(|w| w == [0x18, 0x53, 0x80, 0x67]).unwrap();
    let mut bytes = ours[..at].to_vec();
    bytes.extend(element(&[0xEC], 2, &[0; 9]));
    // The segment's size counts clusters that are not here.
    bytes.extend([0x18, 0x53, 0x80, 0x67, 0x10, 0x7F, 0xFF, 0xFF]);
    bytes.extend(element(&[0xBF], 1, &[1, 2, 3, 4]));
    bytes.extend(element(&[0x11, 0x4D, 0x9B, 0x74], 4, &[0; 20]));
    bytes.extend_from_slice(&ours[at + 12..]);
    let header = parse_header(&bytes.clone().into()).unwrap();
    assert_eq!(header.bytes, bytes);
    assert_eq!(header.tracks, tracks());
}

#[test]
fn a_header_that_is_none_says_where_and_why() {
    let error = |bytes: &[u8]| parse_header(&Bytes::copy_from_slice(bytes)).unwrap_err();
    assert_eq!(error(b"").reason, Reason::Truncated);
    assert_eq!(error(&[0x00, 1, 2]).reason, Reason::Id);
    assert_eq!(error(b"\x1F\x43\xB6\x75\x80").reason, Reason::Unexpected(0x1F43_B675, "an EBML header"));
    let mut avi = element(&[0x1A, 0x45, 0xDF, 0xA3], 1, &element(&[0x42, 0x82], 1, b"avi"));
    assert_eq!(error(&avi), Error { at: 5, reason: Reason::Value("DocType") });
    avi.splice(5.., element(&[0x42, 0x82], 1, b"web"));
    assert_eq!(error(&avi).reason, Reason::Value("DocType"));
    let no_tracks = write_header(&[]).bytes;
    let cut = no_tracks.len() - 5;
    assert_eq!(error(&no_tracks[..cut]), Error { at: cut, reason: Reason::Missing("Tracks") });
    // A size with a zero first byte would take nine bytes or more.
    let mut long = no_tracks[..cut].to_vec();
    long.extend([0x16, 0x54, 0xAE, 0x6B, 0x00, 1]);
    assert_eq!(error(&long), Error { at: cut, reason: Reason::Size });
}

#[test]
fn payloads_are_slices_both_ways() {
    let payload = Bytes::from(vec![7u8; 100]);
    let mut writer = ClusterWriter::new(UnixMillis(START));
    let mut sent = frame(1, START, true, b"");
    sent.data = payload.clone();
    writer.push(&sent).unwrap();
    let cluster = writer.finish();
    assert!(cluster.parts().iter().any(|p| p.as_ptr() == payload.as_ptr()));
    let read = parse_chunks(&write_header(&tracks()), &cluster).unwrap();
    assert_eq!(read[0].data.as_ptr(), payload.as_ptr());
    let whole = cluster.to_bytes();
    let read = parse_cluster(&write_header(&tracks()), &whole).unwrap();
    assert!(whole.as_ptr_range().contains(&read[0].data.as_ptr()));
}

#[test]
fn a_frame_that_does_not_fit_is_refused_and_changes_nothing() {
    let mut writer = ClusterWriter::new(UnixMillis(START));
    writer.push(&frame(1, START + 32_767, true, b"x")).unwrap();
    writer.push(&frame(1, START - 32_768, false, b"y")).unwrap();
    let before = writer.bytes();
    assert_eq!(writer.push(&frame(1, START + 32_768, true, b"z")).unwrap_err().reason, Reason::FrameTime(32_768));
    assert!(writer.push(&frame(1, i64::MIN / 1000, true, b"z")).is_err());
    assert!(writer.push(&frame(0, START, true, b"z")).is_err());
    assert_eq!((writer.bytes(), writer.frames()), (before, 2));
    let read = parse_cluster(&write_header(&tracks()), &writer.finish().to_bytes()).unwrap();
    assert_eq!(read[1].time.to_millis(), UnixMillis(START - 32_768));
}

#[test]
fn unknown_sizes_of_any_width_void_and_crc_are_read() {
    let header = write_header(&tracks());
    for width in 1..=8 {
        let cluster = unsized_cluster(
            width,
            &[
                element(&[0xBF], 1, &[0; 4]),
                timestamp(),
                element(&[0xAB], 1, &[0]),
                element(&[0xA3], width, b"\x81\x00\x05\x80one"),
                element(&[0xEC], 3, &[0; 40]),
                element(&[0xA3], 8, b"\x82\xFF\xFE\x00two"),
                // Tags end the cluster, and what is after them is somebody else's.
                element(&[0x12, 0x54, 0xC3, 0x67], 4, b"tags"),
                vec![0xA3],
            ],
        );
        let expected = vec![frame(1, START + 5, true, b"one"), frame(2, START - 2, true, b"two")];
        assert_eq!(parse_cluster(&header, &cluster).unwrap(), expected, "width {width}");
    }
}

#[test]
fn a_timestamp_after_its_blocks_and_block_groups_are_read() {
    let header = write_header(&tracks());
    let key = element(&[0xA0], 1, &element(&[0xA1], 1, b"\x81\x00\x00\x00key"));
    let mut delta = element(&[0xFB], 1, &[0xD8]);
    delta.extend(element(&[0xA1], 1, b"\x81\x00\x28\x00delta"));
    let cluster = unsized_cluster(1, &[key, element(&[0xA0], 2, &delta), timestamp()]);
    let expected = vec![frame(1, START, true, b"key"), frame(1, START + 40, false, b"delta")];
    assert_eq!(parse_cluster(&header, &cluster).unwrap(), expected);
    let none = unsized_cluster(1, &[element(&[0xA3], 1, b"\x81\0\0\x80x")]);
    assert_eq!(parse_cluster(&header, &none).unwrap_err().reason, Reason::Missing("Timestamp"));
}

#[test]
fn all_three_lacings_are_read() {
    let header = write_header(&tracks());
    let frames = |flags: u8, body: &[u8]| {
        let mut block = vec![0x82, 0, 0, flags];
        block.extend_from_slice(body);
        let mut group = element(&[0xA1], 2, &block);
        group.extend(element(&[0x9B], 1, &[60]));
        let cluster = unsized_cluster(1, &[timestamp(), element(&[0xA0], 2, &group)]);
        parse_cluster(&header, &cluster)
            .map(|frames| frames.iter().map(|f| (f.data.len(), f.time.to_millis().0 - START)).collect::<Vec<_>>())
    };
    // Xiph: sizes 300 (255 + 45) and 2, the rest is 3.
    let mut xiph = vec![2, 255, 45, 2];
    xiph.extend(vec![0; 305]);
    assert_eq!(frames(0x02, &xiph).unwrap(), [(300, 0), (2, 20), (3, 40)]);
    // EBML: 800, then 800 - 300, the rest is 10 (the example of RFC 9559, 10.3.3, made smaller).
    let mut ebml = vec![2, 0x43, 0x20, 0x5E, 0xD3];
    ebml.extend(vec![0; 1310]);
    assert_eq!(frames(0x06, &ebml).unwrap(), [(800, 0), (500, 20), (10, 40)]);
    // Fixed: three times 4.
    let mut fixed = vec![2];
    fixed.extend([0; 12]);
    assert_eq!(frames(0x04, &fixed).unwrap(), [(4, 0), (4, 20), (4, 40)]);
    fixed.push(0);
    assert_eq!(frames(0x04, &fixed).unwrap_err().reason, Reason::Lacing);
    assert_eq!(frames(0x02, &[9, 255, 255]).unwrap_err().reason, Reason::Lacing);
    assert_eq!(frames(0x06, &[9, 0x41]).unwrap_err().reason, Reason::Lacing);
    assert_eq!(frames(0x06, &[]).unwrap_err().reason, Reason::Lacing);
}

#[test]
fn laced_frames_without_a_duration_use_the_tracks() {
    // DefaultDuration 20 ms, put into the track entry of a header of ours.
    let mut entry = element(&[0xD7], 1, &[2]);
    entry.extend(element(&[0x83], 1, &[2]));
    entry.extend(element(&[0x23, 0xE3, 0x83], 1, &20_000_000u32.to_be_bytes()));
    let mut bytes = write_header(&[]).bytes.to_vec();
    bytes.truncate(bytes.len() - 5);
    bytes.extend(element(&[0x16, 0x54, 0xAE, 0x6B], 1, &element(&[0xAE], 1, &entry)));
    let header = parse_header(&bytes.into()).unwrap();
    let cluster = unsized_cluster(1, &[timestamp(), element(&[0xA3], 1, b"\x82\0\0\x04\x01ab")]);
    let times: Vec<_> =
        parse_cluster(&header, &cluster).unwrap().iter().map(|f| f.time.to_millis().0 - START).collect();
    assert_eq!(times, [0, 20]);
}

#[test]
fn errors_name_the_byte() {
    let header = write_header(&tracks());
    let error = |children: &[Vec<u8>]| parse_cluster(&header, &unsized_cluster(1, children)).unwrap_err();
    // Cluster head 5, timestamp 10, then the block in question.
    assert_eq!(error(&[timestamp(), vec![0xA3, 0x88, 0x81]]), Error { at: 15, reason: Reason::Truncated });
    assert_eq!(error(&[timestamp(), vec![0xA3, 0x82, 0x81, 0]]), Error { at: 15, reason: Reason::Truncated });
    assert_eq!(error(&[timestamp(), vec![0xA0, 0xFF]]), Error { at: 15, reason: Reason::UnknownSize(0xA0) });
    let bad = Reason::Value("a block's track number");
    assert_eq!(error(&[timestamp(), vec![0xA3, 0x84, 0x80, 0, 0, 0]]), Error { at: 15, reason: bad });
    let text = error(&[vec![0x05]]).to_string();
    assert_eq!(text, "Matroska, byte 5: no element ID");
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let data = proptest::collection::vec(any::<u8>(), 0..40);
    (prop_oneof![Just(1u8), Just(2), Just(200)], any::<i16>(), any::<bool>(), data).prop_map(
        |(track, ms, key, data)| {
            // Sound and data are always key frames once read.
            let key = key || track != 1;
            Frame { track, time: UnixMillis(START + i64::from(ms)).to_micros(), key, data: data.into() }
        },
    )
}

proptest! {
    #[test]
    fn a_cluster_is_read_as_it_was_written(frames in proptest::collection::vec(any_frame(), 0..20)) {
        let header = write_header(&tracks());
        let cluster = write(&frames);
        let whole = cluster.to_bytes();
        prop_assert_eq!(&parse_cluster(&header, &whole).unwrap(), &frames);
        prop_assert_eq!(&parse_chunks(&header, &cluster).unwrap(), &frames);
        let (left, right) = whole.split_at(whole.len() / 2);
        let halves: Chunks = [left, right].into_iter().map(Bytes::copy_from_slice).collect();
        prop_assert_eq!(&parse_chunks(&header, &halves).unwrap(), &frames);
        let mut file = header.bytes.to_vec();
        file.extend_from_slice(&cluster.to_bytes());
        file.extend_from_slice(&file.clone());
        let found: Result<Vec<Piece>, Error> = pieces(&file.into()).collect();
        let (h, c) = (Piece::Header(header), Piece::Cluster(cluster.to_bytes()));
        prop_assert_eq!(found.unwrap(), [h.clone(), c.clone(), h, c]);
    }

    #[test]
    fn a_cut_never_panics(frames in proptest::collection::vec(any_frame(), 1..6), cut in any::<prop::sample::Index>()) {
        let header = write_header(&tracks());
        let mut file = header.bytes.to_vec();
        let cluster = write(&frames).to_bytes();
        file.extend_from_slice(&cluster);
        let file = Bytes::from(file).slice(..cut.index(header.bytes.len() + cluster.len()));
        let _ = pieces(&file).collect::<Vec<_>>();
        let cut = cluster.slice(..cut.index(cluster.len()));
        prop_assert!(parse_cluster(&header, &cut).is_err());
    }

    #[test]
    fn a_changed_byte_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let header = write_header(&tracks());
        let mut file = header.bytes.to_vec();
        file.extend_from_slice(&write(&[frame(1, START, true, b"abc"), frame(2, START, true, b"def")]).to_bytes());
        let at = at.index(file.len());
        file[at] = byte;
        let file = Bytes::from(file);
        for piece in pieces(&file) {
            if let Ok(Piece::Cluster(cluster)) = piece {
                let _ = parse_cluster(&header, &cluster);
            }
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let header = write_header(&tracks());
        let cluster = unsized_cluster(1, &[timestamp(), bytes.clone()]);
        let _ = parse_cluster(&header, &cluster);
        let mut file = header.bytes.to_vec();
        file.extend_from_slice(&bytes);
        let _ = pieces(&file.into()).collect::<Vec<_>>();
        let _ = parse_header(&bytes.into());
    }
}

/// A file of real Matroska from the shared fixtures; `None`, with a line saying so, where they are not.
fn fixture(name: &str) -> Option<Bytes> {
    let bytes = crate::testing::shared(&format!("kvs/fixtures/{name}"))?;
    Some(bytes.into())
}

/// What a file holds. `truncated` is the offset of a last element that its capture cut off.
#[derive(Debug, Default, PartialEq)]
struct Summary {
    headers: usize,
    codecs: Vec<String>,
    clusters: usize,
    frames: usize,
    video_keys: usize,
    others: usize,
    truncated: Option<usize>,
}

fn summary(file: &Bytes) -> Summary {
    let mut out = Summary::default();
    let mut header: Option<Header> = None;
    for piece in pieces(file) {
        match piece {
            Ok(Piece::Header(found)) => {
                assert_eq!(parse_header(&found.bytes).as_ref(), Ok(&found), "a header read again is the same");
                out.headers += 1;
                out.codecs = found.tracks.iter().map(|t| t.codec_id.clone()).collect();
                header = Some(found);
            }
            Ok(Piece::Cluster(cluster)) => {
                let header = header.as_ref().unwrap();
                let frames = parse_cluster(header, &cluster).unwrap();
                let video = header.video().map(|t| t.number);
                out.clusters += 1;
                out.frames += frames.len();
                out.video_keys += frames.iter().filter(|f| f.key && Some(f.track) == video).count();
            }
            Ok(Piece::Other(_)) => out.others += 1,
            Err(Error { at, reason: Reason::Truncated }) => out.truncated = Some(at),
            Err(other) => panic!("{other}"),
        }
    }
    out
}

#[test]
fn fixtures_of_real_producers_are_read() {
    // Frame counts of the whole files agree with those of ffprobe.
    let table = [
        ("kvssink-h264-session.mkv", Track::H264, [1, 18, 540, 18, 1], None),
        ("output_get_media.mkv", Track::H264, [5, 5, 300, 5, 16], None),
        ("output-get-media-non-increasing-timecode.mkv", Track::H264, [12, 11, 330, 11, 37], Some(1_766_262)),
        ("test_mixed_tags.mkv", "V_MS/VFW/FOURCC", [10, 10, 100, 10, 70], None),
        ("empty-mkv-with-tags.mkv", Track::H264, [1, 0, 0, 0, 2], None),
    ];
    for (name, codec, [headers, clusters, frames, video_keys, others], truncated) in table {
        let Some(file) = fixture(name) else { return };
        let codecs = vec![codec.to_owned()];
        let expected = Summary { headers, codecs, clusters, frames, video_keys, others, truncated };
        assert_eq!(summary(&file), expected, "{name}");
    }
}
