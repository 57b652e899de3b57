#![allow(clippy::unwrap_used)]

use super::*;
use crate::mkv::{self, Piece, parse_chunks, pieces, write_header};
use crate::{Track, TrackKind, testing};
use proptest::prelude::*;

const EBML: &[u8] = &[0x1A, 0x45, 0xDF, 0xA3];
const CLUSTER: &[u8] = &[0x1F, 0x43, 0xB6, 0x75];
const TAGS: &[u8] = &[0x12, 0x54, 0xC3, 0x67];
const CUES: &[u8] = &[0x1C, 0x53, 0xBB, 0x6B];
const VOID: &[u8] = &[0xEC];
const CRC: &[u8] = &[0xBF];
const TIMESTAMP: &[u8] = &[0xE7];
const SIMPLE: &[u8] = &[0xA3];

fn header() -> Header {
    let track = |number, kind| Track {
        number,
        kind,
        codec_id: "X_ANY".into(),
        codec_private: Bytes::from_static(&[1, 2, 3]),
        size: None,
        audio: None,
    };
    write_header(&[track(1, TrackKind::Video), track(2, TrackKind::Audio)])
}

/// An element with a size of a chosen width; 0 for an unknown size of one byte.
fn element(id: &[u8], width: usize, body: &[u8]) -> Vec<u8> {
    let (width, size) = if width == 0 { (1, 0x7F) } else { (width, body.len() as u64) };
    [id, &(size | 1u64 << (7 * width)).to_be_bytes()[8 - width..], body].concat()
}

fn timestamp(value: u16) -> Vec<u8> {
    element(TIMESTAMP, 1, &value.to_be_bytes())
}

fn block(track: u8, time: i16, key: bool, data: &[u8]) -> Vec<u8> {
    let [high, low] = time.to_be_bytes();
    element(SIMPLE, 4, &[&[0x80 | track, high, low, if key { 0x80 } else { 0 }], data].concat())
}

fn tags(pairs: &[(&str, &str)]) -> Vec<u8> {
    let simple = |(name, value): &(&str, &str)| {
        let fields = [element(&[0x45, 0xA3], 1, name.as_bytes()), element(&[0x44, 0x87], 8, value.as_bytes())];
        element(&[0x67, 0xC8], 8, &fields.concat())
    };
    let each: Vec<u8> = pairs.iter().flat_map(simple).collect();
    element(TAGS, 8, &element(&[0x73, 0x73], 8, &each))
}

/// What a session gives, with clusters in one piece.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Header(Bytes),
    Tags(Bytes),
    TagsSkipped(u64),
    Begin(u64),
    Frame(Frame),
    End(Bytes),
    Error(Error),
}

fn seen(event: Event) -> Seen {
    match event {
        Event::Header(header) => Seen::Header(header.bytes.clone()),
        Event::Tags(bytes) => Seen::Tags(bytes),
        Event::TagsSkipped(bytes) => Seen::TagsSkipped(bytes),
        Event::Begin(timestamp) => Seen::Begin(timestamp),
        Event::Frame { frame, .. } => Seen::Frame(frame),
        Event::End(cluster) => Seen::End(cluster.to_bytes()),
    }
}

fn take(session: &mut Session, out: &mut Vec<Seen>) {
    loop {
        match session.poll() {
            Ok(Some(event)) => out.push(seen(event)),
            Ok(None) => return,
            Err(error) => {
                assert_eq!(session.poll().as_ref(), Err(&error), "an error stays");
                out.push(Seen::Error(error));
                return;
            }
        }
    }
}

fn fed<'a>(limits: Limits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    let (mut session, mut out) = (Session::new(limits), Vec::new());
    for piece in pieces {
        session.push(Bytes::copy_from_slice(piece));
        take(&mut session, &mut out);
        if let Some(Seen::Error(_)) = out.last() {
            return out;
        }
    }
    session.end();
    take(&mut session, &mut out);
    out
}

/// Fed whole, byte by byte, and in pieces of some sizes: always the same.
fn read(bytes: &[u8]) -> Vec<Seen> {
    let whole = fed(Limits::default(), [bytes]);
    for size in [1, 2, 3, 7, 63, 64, 65, 200] {
        assert_eq!(fed(Limits::default(), bytes.chunks(size)), whole, "in pieces of {size}");
    }
    whole
}

fn clusters(seen: &[Seen]) -> Vec<Bytes> {
    seen.iter().filter_map(|s| if let Seen::End(cluster) = s { Some(cluster.clone()) } else { None }).collect()
}

fn session_of(parts: &[Vec<u8>]) -> Vec<u8> {
    [header().bytes.to_vec(), parts.concat()].concat()
}

#[test]
fn clusters_come_out_as_they_went_in() {
    let children = [
        element(CRC, 1, &[1, 2, 3, 4]),
        timestamp(1000),
        element(&[0xA7], 1, &[0]),
        block(1, 0, true, &[7; 300]),
        element(VOID, 3, &[0; 500]),
        block(2, 5, false, b"sound"),
        element(&[0xA0], 1, &element(&[0xA1], 1, b"\x81\0\x0A\0grouped")),
        element(&[0x42, 0xEE], 2, b"unknown"),
    ]
    .concat();
    for width in [0, 2, 3, 4, 5, 6, 7, 8] {
        let cluster = element(CLUSTER, width, &children);
        let (before, after) = (tags(&[("a", "b")]), tags(&[("c", "d")]));
        let void = element(VOID, 1, b"----");
        let file = session_of(&[
            void.clone(),
            before.clone(),
            cluster.clone(),
            after.clone(),
            void,
            cluster.clone(),
            element(CUES, 2, &[0; 99]),
        ]);
        let seen = read(&file);
        assert_eq!(clusters(&seen), [cluster.clone(), cluster.clone()], "width {width}");
        assert_eq!(seen[0], Seen::Header(header().bytes));
        assert_eq!(seen[1..3], [Seen::Tags(before.into()), Seen::Begin(1000)]);
        let times: Vec<_> = seen
            .iter()
            .filter_map(|s| if let Seen::Frame(f) = s { Some((f.track, f.time.0, f.key, f.data.len())) } else { None })
            .collect();
        let once = [(1, 1_000_000, true, 300), (2, 1_005_000, true, 5), (1, 1_010_000, true, 7)];
        assert_eq!(times, [once, once].concat());
        assert_eq!(seen[7], Seen::Tags(after.into()));
        assert_eq!(seen.len(), 13);
    }
}

/// How many bytes of `file` must be fed until this comes.
fn needed(file: &[u8], wanted: impl Fn(&Seen) -> bool) -> usize {
    let (mut session, mut out) = (Session::new(Limits::default()), Vec::new());
    for (index, byte) in file.iter().enumerate() {
        session.push(Bytes::copy_from_slice(&[*byte]));
        take(&mut session, &mut out);
        if out.iter().any(&wanted) {
            return index + 1;
        }
    }
    panic!("it never came")
}

#[test]
fn each_thing_is_said_as_soon_as_it_can_be_known() {
    let head = header().bytes.len();
    let blocks = [block(1, 0, true, b"key"), block(1, 40, false, b"delta")].concat();
    let sized = element(CLUSTER, 2, &[timestamp(9), blocks.clone()].concat());
    let file = session_of(&[sized.clone(), element(VOID, 1, b"..")]);
    assert_eq!(needed(&file, |s| *s == Seen::Begin(9)), head + 6 + 4, "with the last byte of the Timestamp");
    assert_eq!(needed(&file, |s| matches!(s, Seen::Frame(_))), head + 6 + 4 + block(1, 0, true, b"key").len());
    assert_eq!(
        needed(&file, |s| matches!(s, Seen::End(_))),
        head + sized.len(),
        "with the last byte of a sized cluster"
    );
    let end = tags(&[("AWS_KINESISVIDEO_END_OF_FRAGMENT", "")]);
    let open = element(CLUSTER, 0, &[timestamp(9), blocks].concat());
    let file = session_of(&[open.clone(), end.clone(), element(VOID, 1, b"..")]);
    let known = needed(&file, |s| matches!(s, Seen::End(_)));
    assert_eq!(known, head + open.len() + 4 + 8, "with the head of what follows one of unknown size");
    assert_eq!(needed(&file, |s| matches!(s, Seen::Tags(_))), head + open.len() + end.len());
}

#[test]
fn a_new_header_may_come_at_any_time() {
    let cluster = element(CLUSTER, 0, &[timestamp(1), block(1, 0, true, b"x")].concat());
    let other = write_header(&header().tracks[..1]);
    let again = [
        session_of(std::slice::from_ref(&cluster)),
        session_of(std::slice::from_ref(&cluster)),
        other.bytes.to_vec(),
        cluster.clone(),
    ]
    .concat();
    let seen = read(&again);
    assert_eq!(clusters(&seen), [cluster.clone(), cluster.clone(), cluster]);
    let headers: Vec<_> = seen.iter().filter(|s| matches!(s, Seen::Header(_))).cloned().collect();
    assert_eq!(headers, [header().bytes.clone(), header().bytes, other.bytes].map(Seen::Header));
}

#[test]
fn tags_before_tracks_stay_in_the_header() {
    let ours = header().bytes;
    let at = ours.windows(4).position(|w| w == [0x15, 0x49, 0xA9, 0x66]).unwrap();
    let bytes = [&ours[..at], &tags(&[("place", "gate"), ("empty", "")]), &ours[at..]].concat();
    let seen = read(&bytes);
    assert_eq!(seen, [Seen::Header(bytes.clone().into())]);
    let header = mkv::parse_header(&bytes.into()).unwrap();
    assert_eq!(header_tags(&header), [("place".to_owned(), "gate".to_owned()), ("empty".to_owned(), String::new())]);
}

#[test]
fn blocks_before_their_timestamp_wait_for_it() {
    let cluster = element(CLUSTER, 0, &[block(1, 3, true, b"early"), timestamp(7), block(1, 4, false, b"x")].concat());
    let seen = read(&session_of(std::slice::from_ref(&cluster)));
    let [_, Seen::Begin(7), Seen::Frame(early), Seen::Frame(late), Seen::End(end)] = &seen[..] else {
        panic!("{seen:?}")
    };
    assert_eq!((early.time.0, late.time.0, end), (10_000, 11_000, &Bytes::from(cluster)));
}

#[test]
fn what_is_held_of_a_cluster_is_told_and_bounded_before_its_timestamp() {
    let cluster = element(CLUSTER, 0, &[timestamp(7), block(1, 3, true, &[7; 500])].concat());
    let bytes = session_of(std::slice::from_ref(&cluster));
    let mut session = Session::new(Limits::default());
    for piece in bytes[..bytes.len() - 1].chunks(50) {
        session.push(Bytes::copy_from_slice(piece));
        while session.poll().unwrap().is_some() {}
    }
    assert_eq!(session.held_bytes(), cluster.len() - 1, "of the block that is still coming too");
    assert!(session.cluster_bytes() < 100);

    let late = element(CLUSTER, 0, &[element(VOID, 4, &vec![0; MAX_EARLY_BYTES]), timestamp(7)].concat());
    let mut session = Session::new(Limits::default());
    session.push(session_of(std::slice::from_ref(&late)).into());
    let error = loop {
        match session.poll() {
            Ok(Some(event)) => assert!(matches!(event, Event::Header(_)), "{event:?}"),
            Ok(None) => panic!("taken"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("a cluster before its Timestamp of more than 1048576 bytes"), "{error}");
}

#[test]
fn what_is_no_session_says_where_and_why() {
    let head = header().bytes.len();
    let error = |bytes: &[u8]| match read(bytes).pop() {
        Some(Seen::Error(error)) => error,
        other => panic!("{other:?}"),
    };
    let open = element(CLUSTER, 0, &[]);
    let at = head + open.len();
    assert_eq!(error(b"GET / HTTP/1.1\r\n").reason, Reason::Unexpected(0x4745, "an EBML header"));
    assert_eq!(error(&[0; 9]), Error { at: 0, reason: Reason::Id });
    assert_eq!(
        error(&element(CLUSTER, 0, &timestamp(1))),
        Error { at: 0, reason: Reason::Unexpected(0x1F43_B675, "an EBML header") }
    );
    assert_eq!(error(&session_of(&[vec![0x08]])), Error { at: head, reason: Reason::Id });
    assert_eq!(error(&session_of(&[vec![0xEC, 0]])), Error { at: head, reason: Reason::Size });
    assert_eq!(error(&session_of(&[vec![0xEC, 0xFF]])), Error { at: head, reason: Reason::UnknownSize(0xEC) });
    assert_eq!(error(&session_of(&[element(&[0x18, 0x53, 0x80, 0x67], 0, &[])])).at, head);
    assert_eq!(
        error(&session_of(std::slice::from_ref(&open))),
        Error { at: head, reason: Reason::Missing("Timestamp") }
    );
    assert_eq!(error(&session_of(&[open.clone(), vec![0xE7, 0x89]])), Error { at, reason: Reason::Value("Timestamp") });
    assert_eq!(error(&session_of(&[open.clone(), vec![0xA0, 0xFF]])), Error { at, reason: Reason::UnknownSize(0xA0) });
    let bad = [timestamp(1), element(SIMPLE, 1, &[0x80, 0, 0, 0])].concat();
    assert_eq!(error(&session_of(&[open.clone(), bad])), Error { at: at + 4, reason: Reason::BLOCK_TRACK });
    let cut = [timestamp(1), vec![0xA3, 0x90, 1, 2]].concat();
    assert_eq!(error(&session_of(&[open, cut])).reason, Reason::Truncated, "the end is within an element");
    let short = element(CLUSTER, 1, &[timestamp(1), vec![0xA3, 0x84]].concat());
    assert_eq!(error(&session_of(&[short])), Error { at: head + 5 + 4, reason: Reason::Truncated });
    let sized = element(CLUSTER, 2, &[timestamp(1), block(1, 0, true, b"x")].concat());
    assert_eq!(error(&session_of(&[sized[..sized.len() - 1].to_vec()])).reason, Reason::Truncated);
    let no_tracks =
        [element(EBML, 1, &[]), element(&[0x18, 0x53, 0x80, 0x67], 0, &[]), element(CLUSTER, 0, &[])].concat();
    assert_eq!(error(&no_tracks).reason, Reason::Missing("Tracks"));
}

#[test]
fn nothing_is_held_beyond_its_limit() {
    let limits = Limits { header_bytes: 400, tags_bytes: 50, cluster_bytes: 200 };
    let last = |bytes: &[u8]| fed(limits, bytes.chunks(5)).pop().unwrap();
    let long = tags(&[("a", &"b".repeat(99))]);
    let small = element(CLUSTER, 0, &[timestamp(1), block(1, 0, true, b"x")].concat());
    let seen = fed(limits, [&session_of(&[long.clone(), small.clone()])[..]]);
    assert_eq!(seen[1], Seen::TagsSkipped(long.len() as u64 - 12));
    assert_eq!(clusters(&seen), [small]);
    let large = element(CLUSTER, 0, &[timestamp(1), block(1, 0, true, &[0; 200])].concat());
    let at = header().bytes.len() + 5 + 4;
    assert_eq!(last(&session_of(&[large])), Seen::Error(Error { at, reason: Reason::TooLarge }));
    // A stated size alone is refused before its bytes come.
    let claim = [CLUSTER, &[0xFF], &timestamp(1), SIMPLE, &[0x01, 0, 0x10, 0, 0, 0, 0, 0]].concat();
    assert_eq!(last(&session_of(&[claim])), Seen::Error(Error { at, reason: Reason::TooLarge }));
    let head = header().bytes;
    let at = head.windows(4).position(|w| w == [0x16, 0x54, 0xAE, 0x6B]).unwrap();
    let void = element(VOID, 2, &[0; 400]);
    let before = [&head[..at], &void, &head[at..]].concat();
    assert_eq!(last(&before), Seen::Error(Error { at, reason: Reason::TooLong("a header", 400) }));
    // After Tracks, it is no part of the header.
    assert_eq!(fed(limits, [&[&head[..], &void].concat()[..]]), [Seen::Header(head)]);
}

#[test]
fn large_pieces_are_not_copied_and_what_straddles_is_held_once() {
    let data: Vec<u8> = (0..40_000u32).map(|i| (i % 251) as u8).collect();
    let cluster = element(
        CLUSTER,
        0,
        &[timestamp(1), block(1, 0, true, &data[..10_000]), block(1, 1, false, &data[10_000..])].concat(),
    );
    let file = Bytes::from(session_of(std::slice::from_ref(&cluster)));
    let halves = [file.slice(..25_000), file.slice(25_000..)];
    let mut session = Session::new(Limits::default());
    let (mut frames, mut end) = (Vec::new(), None);
    for half in &halves {
        session.push(half.clone());
        while let Some(event) = session.poll().unwrap() {
            frames.extend(if let Event::Frame { frame, .. } = event { Some(frame) } else { None });
        }
    }
    session.end();
    while let Some(event) = session.poll().unwrap() {
        end = if let Event::End(cluster) = event { Some(cluster) } else { None };
    }
    let end = end.unwrap();
    assert_eq!(end.to_bytes(), cluster);
    assert_eq!((&frames[0].data[..], &frames[1].data[..]), (&data[..10_000], &data[10_000..]));
    assert!(halves[0].as_ptr_range().contains(&frames[0].data.as_ptr()), "a slice of the input");
    assert!(!file.as_ptr_range().contains(&frames[1].data.as_ptr()));
    let holder = end.parts().iter().find(|p| p.as_ptr_range().contains(&frames[1].data.as_ptr()));
    assert_eq!(holder.map(Bytes::len), Some(30_004), "the frame is a slice of the cluster");
    assert_eq!(end.parts().iter().filter(|p| halves[1].as_ptr_range().contains(&p.as_ptr())).count(), 0);
}

#[test]
fn tiny_pieces_cost_little_more_than_their_bytes() {
    let children: Vec<u8> = (0..3000).flat_map(|i| block(2, i, false, &[i as u8; 6])).collect();
    let cluster = element(CLUSTER, 0, &[timestamp(1), children].concat());
    let mut session = Session::new(Limits::default());
    let mut end = None;
    for byte in session_of(std::slice::from_ref(&cluster)) {
        session.push(Bytes::copy_from_slice(&[byte]));
        while session.poll().unwrap().is_some() {}
    }
    session.end();
    while let Some(event) = session.poll().unwrap() {
        end = if let Event::End(cluster) = event { Some(cluster) } else { None };
    }
    let end = end.unwrap();
    assert_eq!(end.to_bytes(), cluster);
    assert!(end.parts().len() <= cluster.len() / 1000, "{} parts", end.parts().len());
}

/// Splits before every key frame but a cluster's first; checks what comes of it against the frames.
fn split_and_read(file: &[u8], piece: usize) -> Vec<(u64, Vec<Frame>)> {
    let mut session = Session::new(Limits::default());
    let (mut open, mut expected, mut out) = (0, Vec::<Frame>::new(), Vec::new());
    let mut pieces: Vec<&[u8]> = file.chunks(piece).collect();
    pieces.push(&[]);
    for (index, bytes) in pieces.iter().enumerate() {
        session.push(Bytes::copy_from_slice(bytes));
        if index + 1 == pieces.len() {
            session.end();
        }
        while let Some(event) = session.poll().unwrap() {
            match event {
                Event::Begin(timestamp) => open = timestamp,
                Event::Frame { frame, first_of_block } => {
                    if frame.key && frame.track == 1 && first_of_block && !expected.is_empty() {
                        let (cluster, timestamp) = session.split().unwrap();
                        let header = session.header().unwrap().clone();
                        let frames = parse_chunks(&header, &cluster).unwrap();
                        assert_eq!(frames, std::mem::take(&mut expected));
                        out.push((open, frames));
                        open = timestamp;
                    }
                    expected.push(frame);
                }
                Event::End(cluster) => {
                    let frames = parse_chunks(session.header().unwrap(), &cluster).unwrap();
                    assert_eq!(frames, std::mem::take(&mut expected));
                    out.push((open, frames));
                }
                _ => {}
            }
        }
    }
    out
}

#[test]
fn a_split_cluster_is_read_as_it_was_sent() {
    let group = element(&[0xA0], 1, &[element(&[0x9B], 1, &[40]), element(&[0xA1], 1, b"\x81\0\x64\0group")].concat());
    let children = [
        timestamp(5000),
        block(1, 0, true, &[1; 200]),
        block(2, 20, false, b"sound"),
        group, // without a reference, so a key frame
        block(2, 60, false, b"sound of before"),
        element(VOID, 1, &[0; 9]),
        block(1, 140, false, &[2; 90]),
        block(1, 180, true, &[3; 300]),
        block(2, -5, false, b"late"),
    ]
    .concat();
    for width in [0, 3] {
        let file = session_of(&[element(CLUSTER, width, &children), element(CLUSTER, width, &children)]);
        let whole = split_and_read(&file, file.len());
        assert_eq!(
            whole.iter().map(|(t, f)| (*t, f.len())).collect::<Vec<_>>(),
            [(5000, 2), (5100, 3), (5180, 2)].repeat(2)
        );
        for piece in [1, 7, 64, 100, 333] {
            assert_eq!(split_and_read(&file, piece), whole, "in pieces of {piece}");
        }
    }
}

#[test]
fn a_relative_time_that_a_split_makes_too_far_is_an_error() {
    let children =
        [timestamp(0), block(1, 0, true, b"a"), block(1, 32_000, true, b"b"), block(2, -32_000, true, b"c")].concat();
    let mut session = Session::new(Limits::default());
    session.push(session_of(&[element(CLUSTER, 0, &children)]).into());
    let mut frames = 0;
    let error = loop {
        match session.poll() {
            Ok(Some(Event::Frame { .. })) => {
                frames += 1;
                if frames == 2 {
                    assert_eq!(session.split().unwrap().1, 32_000);
                }
            }
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason, Reason::FrameTime(-64_000));
}

fn check_file(name: &str, file: &Bytes) {
    let mut expected = (Vec::new(), Vec::new());
    let mut header = None;
    for piece in pieces(file).map_while(Result::ok) {
        match piece {
            Piece::Header(found) => header = Some(found),
            Piece::Cluster(cluster) => {
                expected.1.extend(mkv::parse_cluster(header.as_ref().unwrap(), &cluster).unwrap());
                expected.0.push(cluster);
            }
            Piece::Other(_) => {}
        }
    }
    let mut sizes = vec![file.len(), 1 << 20, 65_536, 8192, 1448, 999];
    sizes.extend((file.len() < 1 << 19).then_some(1));
    for size in sizes {
        let seen = fed(Limits::default(), file.chunks(size.max(1)));
        assert!(clusters(&seen) == expected.0, "{name} in pieces of {size}: clusters are byte-identical");
        // Of the last, which may be cut off, frames come before that is known.
        let frames = seen.iter().filter_map(|s| if let Seen::Frame(frame) = s { Some(frame) } else { None });
        assert!(frames.zip(&expected.1).all(|(a, b)| a == b), "{name} in pieces of {size}: frames");
    }
}

#[test]
fn fixtures_of_real_producers_come_out_as_they_went_in() {
    for name in [
        "kvssink-h264-session.mkv",
        "output_get_media.mkv",
        "output-get-media-non-increasing-timecode.mkv",
        "test_mixed_tags.mkv",
        "empty-mkv-with-tags.mkv",
    ] {
        let Some(file) = testing::shared(&format!("kvs/fixtures/{name}")) else { return };
        check_file(name, &file.into());
    }
}

#[test]
fn files_of_ffmpeg_and_mkvmerge_come_out_as_they_went_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let source =
        ["-v", "error", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=10", "-f", "lavfi", "-i", "sine", "-t", "5"];
    let codecs = ["-c:v", "mjpeg", "-c:a", "flac"];
    // A seekable file: known sizes, SeekHead, Void, CRC-32, Cues; a live one: unknown sizes; small clusters.
    let kinds: [(&str, &[&str]); 3] = [
        ("file.mkv", &[]),
        ("live.mkv", &["-live", "1"]),
        ("small.webm.mkv", &["-cluster_time_limit", "500", "-write_crc32", "0"]),
    ];
    for (name, options) in kinds {
        let to = path(name);
        let arguments = [&source[..], &codecs, options, &["-f", "matroska", &to]].concat();
        if testing::output_of("ffmpeg", &arguments).is_none() {
            return;
        }
        let file = Bytes::from(std::fs::read(&to).unwrap());
        assert!(pieces(&file).filter(|p| matches!(p, Ok(Piece::Cluster(_)))).count() > 0);
        check_file(name, &file);
    }
    let merged = path("merged.mkv");
    if testing::output_of("mkvmerge", &["-q", "-o", &merged, &path("file.mkv")]).is_some() {
        check_file("mkvmerge", &std::fs::read(&merged).unwrap().into());
    }
}

/// Elements of a session, in any order.
fn any_part() -> impl Strategy<Value = Vec<u8>> {
    let child = prop_oneof![
        (0u8..4, any::<i16>(), any::<bool>(), 0usize..300).prop_map(|(t, time, key, len)| block(
            t,
            time,
            key,
            &vec![9; len]
        )),
        any::<u16>().prop_map(timestamp),
        (0usize..200).prop_map(|len| element(VOID, 2, &vec![0; len])),
        Just(element(&[0xA0], 1, &element(&[0xA1], 1, b"\x81\0\x0A\0grouped"))),
        Just(element(SIMPLE, 1, b"\x82\0\0\x04\x01abcd")),
    ];
    let children = (any::<u16>(), proptest::collection::vec(child, 0..8))
        .prop_map(|(time, children)| [timestamp(time), children.concat()].concat());
    prop_oneof![
        4 => (prop_oneof![Just(0usize), Just(8)], children).prop_map(|(width, children)| element(CLUSTER, width, &children)),
        1 => ("[a-z]{0,9}", "[a-z]{0,30}").prop_map(|(name, value)| tags(&[(&name, &value)])),
        1 => Just(header().bytes.to_vec()),
        1 => (0usize..100).prop_map(|len| element(CUES, 4, &vec![0; len])),
    ]
}

proptest! {
    #[test]
    fn how_pieces_are_cut_makes_no_difference(
        parts in proptest::collection::vec(any_part(), 0..6),
        cuts in proptest::collection::vec(1usize..200, 1..20),
        change in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        end in any::<prop::sample::Index>(),
        whole_file in any::<bool>(),
    ) {
        let mut file = session_of(&parts);
        if let Some((at, byte)) = change {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if !whole_file {
            file.truncate(end.index(file.len()));
        }
        let limits = Limits { header_bytes: 1 << 20, tags_bytes: 60, cluster_bytes: 700 };
        let whole = fed(limits, [&file[..]]);
        let mut rest = &file[..];
        let pieces = cuts.iter().cycle().map_while(|cut| {
            let (piece, left) = rest.split_at((*cut).min(rest.len()));
            rest = left;
            (!piece.is_empty()).then_some(piece)
        });
        prop_assert_eq!(fed(limits, pieces), whole);
    }

    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 1usize..50) {
        let file = session_of(std::slice::from_ref(&bytes));
        prop_assert_eq!(fed(Limits::default(), file.chunks(cut)), fed(Limits::default(), [&file[..]]));
        prop_assert_eq!(fed(Limits::default(), bytes.chunks(cut)), fed(Limits::default(), [&bytes[..]]));
        let _ = mkv::parse_tags(&bytes);
    }
}
