#![allow(clippy::unwrap_used, clippy::print_stdout)]

use super::fuzzing::{drive, said};
use super::*;
use media::mkv::{Piece, pieces, write_header, write_tags};
use media::{Track, TrackKind};
use proptest::prelude::*;

const START: i64 = 1_795_404_896_353;
const END_OF_FRAGMENT: (&str, &str) = ("AWS_KINESISVIDEO_END_OF_FRAGMENT", "");

fn track(number: u8, kind: TrackKind) -> Track {
    Track { number, kind, codec_id: "X_ANY".into(), codec_private: Bytes::new(), size: None, audio: None }
}

fn header() -> Vec<u8> {
    write_header(&[track(1, TrackKind::Video), track(2, TrackKind::Audio)]).bytes.to_vec()
}

fn element(id: &[u8], body: &[u8]) -> Vec<u8> {
    [id, &(body.len() as u64 | 1 << 56).to_be_bytes(), body].concat()
}

/// A block: track, relative time, key frame, bytes.
type Block = (u8, i16, bool, usize);

/// A cluster of unknown size.
fn cluster(timecode: u64, blocks: &[Block]) -> Vec<u8> {
    let mut out = vec![0x1F, 0x43, 0xB6, 0x75, 0xFF];
    out.extend(element(&[0xE7], &timecode.to_be_bytes()));
    for (track, time, key, len) in blocks {
        let [high, low] = time.to_be_bytes();
        let start = [0x80 | track, high, low, if *key { 0x80 } else { 0 }];
        out.extend(element(&[0xA3], &[&start[..], &vec![*track; *len]].concat()));
    }
    out
}

fn session(parts: &[Vec<u8>]) -> Vec<u8> {
    [header(), parts.concat()].concat()
}

fn lenient() -> Options {
    Options { timecode: Timecode::Absolute, limits: Limits::default(), policy: Policy::Lenient }
}

fn strict() -> Options {
    Options { limits: Limits::of_the_service(), policy: Policy::Strict, ..lenient() }
}

fn outputs(options: &Options, bytes: &[u8], clean: bool) -> Vec<Output> {
    // Also byte by byte, and with its protocol checked.
    let whole = said(options, [bytes], clean);
    if bytes.len() < 10_000 {
        assert_eq!(said(options, bytes.chunks(1), clean), whole);
    }
    let mut core = Core::new(options.clone());
    core.handle_input(Bytes::copy_from_slice(bytes));
    let mut out: Vec<Output> = std::iter::from_fn(|| core.poll()).collect();
    core.handle_end(clean);
    out.extend(std::iter::from_fn(|| core.poll()));
    assert_eq!(out.len(), whole.len());
    out
}

/// The kinds of outputs, frames counted.
fn kinds(outputs: &[Output]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut frames = 0;
    for output in outputs {
        if let Output::Frame(_) = output {
            frames += 1;
            continue;
        }
        if frames > 0 {
            out.push(format!("{} frames", std::mem::take(&mut frames)));
        }
        out.push(match output {
            Output::Header(_) => "header".to_owned(),
            Output::Begin { start, timecode, part } => format!("begin {timecode} {} {part}", start.producer_start.0),
            Output::Frame(_) => unreachable!("counted above"),
            Output::End { duration_ms, more, .. } => format!("end {duration_ms:?} {more}"),
            Output::Empty => "empty".to_owned(),
            Output::EndOfFragment => "end of fragment".to_owned(),
            Output::Failed(fault) => format!("failed {}", fault.id.id()),
            Output::Warned(mark) => format!("warned {}", mark.name()),
        });
    }
    out
}

#[test]
fn a_session_from_header_to_end_of_fragment() {
    let picture = |time| (1, time, time == 0, 9);
    let first = cluster(1000, &[picture(0), (2, 5, false, 3), picture(40)]);
    let second = cluster(1080, &[picture(0), (2, 2, false, 3)]);
    let bytes = session(&[first.clone(), second.clone(), write_tags(&[END_OF_FRAGMENT]).to_vec()]);
    let out = outputs(&lenient(), &bytes, true);
    assert_eq!(
        kinds(&out),
        [
            "header",
            "begin 1000 1000 0",
            "3 frames",
            "end Some(80) false",
            "begin 1080 1080 0",
            "2 frames",
            "end Some(40) false",
            "end of fragment"
        ]
    );
    let clusters =
        out.iter().filter_map(|o| if let Output::End { cluster, .. } = o { Some(cluster.to_bytes()) } else { None });
    assert_eq!(clusters.collect::<Vec<_>>(), [first, second]);
    // The same, counted from a start.
    let relative = Options { timecode: Timecode::Relative(UnixMillis(START)), ..lenient() };
    let out = outputs(&relative, &bytes, true);
    assert_eq!(kinds(&out)[1], format!("begin 1000 {} 0", START + 1000));
    let Output::Frame(frame) = &out[3] else { panic!("{:?}", out[3]) };
    assert_eq!(frame.time.0, (START + 1005) * 1000);
}

#[test]
fn tags_of_headers_without_fragments_do_not_pile_up() {
    let plain = header();
    let at = plain.windows(4).position(|w| w == [0x15, 0x49, 0xA9, 0x66]).unwrap();
    let tagged = |n: usize| {
        let tags = write_tags(&[("header", n.to_string())]);
        [&plain[..at], &tags[..], &plain[at..]].concat()
    };
    let headers: Vec<u8> = (0..200).flat_map(tagged).collect();
    let own = write_tags(&[("own", "1")]).to_vec();
    let bytes = [headers, own, cluster(1, &[(1, 0, true, 5)])].concat();
    let out = outputs(&lenient(), &bytes, true);
    let ends: Vec<_> =
        out.iter().filter_map(|o| if let Output::End { tags, .. } = o { Some(tags.clone()) } else { None }).collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(ends, [vec![pair("header", "199"), pair("own", "1")]]);
}

#[test]
fn what_is_incomplete_never_ends() {
    let whole = session(&[cluster(1, &[(1, 0, true, 5)]), cluster(50, &[(1, 0, true, 5), (1, 40, false, 5)])]);
    for end in 0..whole.len() {
        for clean in [true, false] {
            let out = outputs(&lenient(), &whole[..end], clean);
            let ends = out.iter().filter(|o| matches!(o, Output::End { .. })).count();
            // A clean end completes a cluster of unknown size only between two elements.
            assert!(ends <= 1 || clean, "{end}");
            if !clean {
                assert!(matches!(out.last(), Some(Output::Failed(f)) if f.id == ErrorId::StreamReadError), "{end}");
            }
        }
    }
    let cut = outputs(&lenient(), &whole[..whole.len() - 1], true);
    let Some(Output::Failed(fault)) = cut.last() else { panic!("{cut:?}") };
    assert_eq!((fault.id, fault.timecode), (ErrorId::InvalidMkvData, Some(50)));
    assert_eq!(
        fault.to_string(),
        format!("byte {}: an element reaches past the end of what holds it", whole.len() - 1)
    );
}

/// A session, what refuses it, and what the lenient policy says instead.
fn refusals() -> Vec<(&'static str, Vec<u8>, ErrorId, &'static str)> {
    use ErrorId::*;
    let both = [(1, 0, true, 5), (2, 0, true, 5)];
    let good = |time| cluster(time, &both);
    let tags = |pairs: &[(&str, &str)]| write_tags(pairs).to_vec();
    let tags_of = |count: usize| tags(&vec![("name", "value"); count]);
    let many = write_header(&[1, 2, 3, 4].map(|number| track(number, TrackKind::Data))).bytes.to_vec();
    let long = "x".repeat(257);
    vec![
        (
            "bytes",
            session(&[cluster(1, &[(1, 0, true, 300_000), (2, 0, true, 50_000_000)])]),
            MaxFragmentSizeReached,
            "",
        ),
        ("ms", session(&[cluster(1, &[both[0], both[1], (1, 21_000, false, 5)])]), MaxFragmentDurationReached, ""),
        ("equal", session(&[good(7), good(7)]), FragmentTimecodeLesserThanPrevious, "not_later"),
        ("earlier", session(&[good(7), good(6)]), FragmentTimecodeLesserThanPrevious, "not_later"),
        ("tracks", many, MoreThanAllowedTracksFound, "many_tracks"),
        ("header", [session(&[good(7)]), session(&[good(8)])].concat(), InvalidMkvData, "header_restarted"),
        ("tags", session(&[tags_of(11), good(7)]), FragmentMetadataLimitReached, "many_tags"),
        ("value", session(&[tags(&[("a", &long)]), good(7)]), FragmentMetadataLimitReached, "long_tag"),
        ("lead", session(&[tags_of(5000), good(7)]), FragmentMetadataLimitReached, "tags_dropped"),
        (
            "undeclared",
            session(&[cluster(7, &[both[0], both[1], (3, 0, true, 5)])]),
            TrackNumberMismatch,
            "undeclared_track",
        ),
        ("missing", session(&[cluster(7, &both[..1])]), FramesMissingForTrack, "no_frames"),
        ("reserved", session(&[tags(&[("AWS_MINE", "x")]), good(7)]), InvalidFragmentMetadata, "reserved_tag"),
        (
            "consumers",
            session(&[tags(&[("AWS_KINESISVIDEO_FRAGMENT_NUMBER", "1")]), good(7)]),
            InvalidFragmentMetadata,
            "reserved_tag",
        ),
    ]
}

#[test]
fn the_strict_policy_refuses_as_the_service_and_the_lenient_one_marks() {
    for (name, bytes, id, mark) in refusals() {
        let out = outputs(&strict(), &bytes, true);
        let Some(Output::Failed(fault)) = out.last() else { panic!("{name}: {:?}", kinds(&out)) };
        assert_eq!(fault.id, id, "{name}");
        assert!(!fault.reason.to_string().is_empty() && fault.offset <= bytes.len() as u64);
        let out = outputs(&lenient(), &bytes, true);
        assert!(!out.iter().any(|o| matches!(o, Output::Failed(_))), "{name}: {:?}", kinds(&out));
        let marks: Vec<_> =
            out.iter().filter_map(|o| if let Output::Warned(m) = o { Some(m.name()) } else { None }).collect();
        assert_eq!(marks, if mark.is_empty() { vec![] } else { vec![mark] }, "{name}");
    }
}

#[test]
fn what_cannot_be_stored_is_refused_by_both_policies() {
    use ErrorId::*;
    let far = session(&[cluster(u64::MAX, &[(1, 0, true, 1)])]);
    let zero = session(&[cluster(1, &[(0, 0, true, 1)])]);
    let malformed = session(&[element(&[0x12, 0x54, 0xC3, 0x67], &element(&[0x73, 0x73], &[0x67, 0xC8, 0x99]))]);
    let no_keys: Vec<Block> = (0..100).map(|i| (1, i * 100, i == 0, 10)).collect();
    let cases = [
        (b"this is no Matroska".to_vec(), InvalidMkvData, None),
        (far, InvalidProducerTimestamp, Some(u64::MAX)),
        (zero, TrackNumberMismatch, Some(1)),
        (malformed, InvalidMkvData, None),
        (cluster(1, &[(1, 0, true, 1)]), StreamReadError, Some(0)),
        (element(&[0xA3], &[0x81, 0, 0, 0x80, 7]), StreamReadError, Some(0)),
        (session(&[cluster(3, &no_keys)]), MaxFragmentDurationReached, Some(3)),
        (session(&[cluster(4, &[(1, 0, true, 4000)])]), MaxFragmentSizeReached, Some(4)),
    ];
    for (bytes, id, timecode) in cases {
        for policy in [Policy::Lenient, Policy::Strict] {
            let limits = Limits { max_fragment_ms: 5000, max_fragment_bytes: 3000, ..Limits::default() };
            let out = outputs(&Options { limits, policy, ..lenient() }, &bytes, true);
            let Some(Output::Failed(fault)) = out.last() else { panic!("{:?}", kinds(&out)) };
            assert_eq!((fault.id, fault.timecode), (id, timecode), "{policy:?}: {fault}");
        }
    }
}

#[test]
fn a_long_cluster_is_split_before_the_key_frame_that_is_the_last_chance() {
    // A key frame every 400 ms, sound every 200, for 2 s; at most 1 s.
    let blocks: Vec<Block> =
        (0..20).map(|i| if i % 2 == 0 { (1, i * 100, i % 4 == 0, 50) } else { (2, i * 100, false, 10) }).collect();
    let bytes = session(&[cluster(START as u64, &blocks), cluster(START as u64 + 2000, &blocks[..2])]);
    let by_time = Limits { max_fragment_ms: 1000, ..Limits::default() };
    let out = outputs(&Options { limits: by_time, ..lenient() }, &bytes, true);
    let begin = |at: i64, part| format!("begin {START} {} {part}", START + at);
    let expected = [
        "header".to_owned(),
        begin(0, 0),
        "8 frames".to_owned(),
        "warned split".to_owned(),
        "end Some(800) true".to_owned(),
        begin(800, 1),
        "8 frames".to_owned(),
        "end Some(800) true".to_owned(),
        begin(1600, 2),
        "4 frames".to_owned(),
        "end Some(400) false".to_owned(),
        format!("begin {} {} 0", START + 2000, START + 2000),
        "2 frames".to_owned(),
        "end Some(200) false".to_owned(),
    ];
    assert_eq!(kinds(&out), expected);
    // By bytes: three groups of pictures of 2 × 50 + 2 × 10 and their heads do not fit.
    let by_bytes = Limits { max_fragment_bytes: 500, ..Limits::default() };
    let out = outputs(&Options { limits: by_bytes, ..lenient() }, &bytes, true);
    assert!(kinds(&out).contains(&"warned split".to_owned()), "{:?}", kinds(&out));
    assert!(!out.iter().any(|o| matches!(o, Output::Failed(_))), "{:?}", kinds(&out));
    let frames = out.iter().filter(|o| matches!(o, Output::Frame(_))).count();
    assert_eq!(frames, 22, "none is lost");
}

#[test]
fn tags_go_to_the_fragment_after_them() {
    let one = write_tags(&[("place", "gate"), ("AWS_KINESISVIDEO_NOTIFICATION", "")]);
    let two = write_tags(&[("temperature", "21")]);
    let ours = write_tags(&[("AWS_KINESISVIDEO_FRAGMENT_NUMBER", "7"), ("AWS_KINESISVIDEO_SERVER_TIMESTAMP", "1.000")]);
    let end = write_tags(&[END_OF_FRAGMENT]);
    let fragment = |at| cluster(at, &[(1, 0, true, 1), (2, 0, true, 1)]).into();
    let parts: [Bytes; 6] = [one.clone(), two.clone(), fragment(1), end, ours, fragment(2)];
    let out = outputs(&lenient(), &session(&parts.map(|p| p.to_vec())), true);
    let ends: Vec<_> = out
        .iter()
        .filter_map(|o| if let Output::End { lead, tags, .. } = o { Some((lead.clone(), tags.clone())) } else { None })
        .collect();
    let pair = |(a, b): (&str, &str)| (a.to_owned(), b.to_owned());
    let tags = [("place", "gate"), ("AWS_KINESISVIDEO_NOTIFICATION", ""), ("temperature", "21")].map(pair).to_vec();
    assert_eq!(ends, [([one, two].concat().into(), tags), (Bytes::new(), vec![])]);
}

#[test]
fn a_cluster_without_frames_is_nothing_to_store() {
    let bytes = session(&[cluster(1, &[]), cluster(2, &[(1, 0, true, 1), (2, 0, true, 1)])]);
    let said = kinds(&outputs(&lenient(), &bytes, true));
    assert_eq!(
        said,
        [
            "header",
            "begin 1 1 0",
            "warned no_frames",
            "warned no_frames",
            "empty",
            "begin 2 2 0",
            "2 frames",
            "end None false"
        ]
    );
    assert_eq!(kinds(&outputs(&strict(), &bytes, true)).last().unwrap(), "failed 4011");
}

#[test]
fn error_ids_are_those_of_the_service() {
    use ErrorId::*;
    let names = [
        (StreamReadError, 4000),
        (MaxFragmentSizeReached, 4001),
        (MaxFragmentDurationReached, 4002),
        (MaxConnectionDurationReached, 4003),
        (FragmentTimecodeLesserThanPrevious, 4004),
        (MoreThanAllowedTracksFound, 4005),
        (InvalidMkvData, 4006),
        (InvalidProducerTimestamp, 4007),
        (StreamNotActive, 4008),
        (FragmentMetadataLimitReached, 4009),
        (TrackNumberMismatch, 4010),
        (FramesMissingForTrack, 4011),
        (InvalidFragmentMetadata, 4012),
        (InternalError, 5000),
        (ArchivalError, 5001),
    ];
    for (id, number) in names {
        assert_eq!(id.id(), number);
        // The two ways to write the name agree.
        assert_eq!(serde_json::to_value(id).unwrap(), id.code());
    }
}

fn fixture(name: &str) -> Option<Bytes> {
    let beside = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared").into();
    let root: std::path::PathBuf = std::env::var_os("VIDICON_SHARED").map_or_else(beside, Into::into);
    let bytes = std::fs::read(root.join("kvs/fixtures").join(name)).ok();
    if bytes.is_none() {
        println!("skipped: ../shared is not here ({name})");
    }
    bytes.map(Bytes::from)
}

#[test]
fn sessions_of_real_producers() {
    // Headers, fragments, ends of fragments, and how the session ends.
    let table = [
        ("kvssink-h264-session.mkv", [1, 18, 1], None),
        ("output_get_media.mkv", [5, 5, 0], None),
        ("output-get-media-non-increasing-timecode.mkv", [12, 11, 0], Some(ErrorId::InvalidMkvData)),
        ("test_mixed_tags.mkv", [10, 10, 0], None),
        ("empty-mkv-with-tags.mkv", [1, 0, 0], None),
    ];
    for (name, expected, fault) in table {
        let Some(file) = fixture(name) else { return };
        let whole = said(&lenient(), [&file[..]], true);
        for size in [1448, 16 << 10, 100_000] {
            assert!(said(&lenient(), file.chunks(size), true) == whole, "{name} in pieces of {size}");
        }
        let out = outputs(&lenient(), &file, true);
        let count = |of: fn(&Output) -> bool| out.iter().filter(|o| of(o)).count();
        let found = [
            count(|o| matches!(o, Output::Header(_))),
            count(|o| matches!(o, Output::End { .. })),
            count(|o| matches!(o, Output::EndOfFragment)),
        ];
        assert_eq!(found, expected, "{name}");
        let failed = out.last().and_then(|o| if let Output::Failed(fault) = o { Some(fault.id) } else { None });
        assert_eq!(failed, fault, "{name}");
        let clusters = out
            .iter()
            .filter_map(|o| if let Output::End { cluster, .. } = o { Some(cluster.to_bytes()) } else { None });
        let sent = pieces(&file).filter_map(|p| if let Ok(Piece::Cluster(cluster)) = p { Some(cluster) } else { None });
        assert!(clusters.eq(sent), "{name}: byte-identical");
    }
}

/// A session of sensible parts, for the properties.
fn any_session() -> impl Strategy<Value = Vec<u8>> {
    let block = (1u8..4, 0i16..300, any::<bool>(), 0usize..60);
    let blocks = proptest::collection::vec(block, 0..12);
    let part = prop_oneof![
        5 => (0u64..500, blocks).prop_map(|(at, blocks)| cluster(at, &blocks)),
        1 => ("[a-z]{1,5}", "[a-z]{0,9}").prop_map(|(name, value)| write_tags(&[(name, value)]).to_vec()),
        1 => Just(write_tags(&[END_OF_FRAGMENT]).to_vec()),
        1 => Just(header()),
        1 => Just(element(&[0xEC], &[0; 30])),
    ];
    proptest::collection::vec(part, 0..6).prop_map(|parts| session(&parts))
}

proptest! {
    #[test]
    fn any_session_keeps_to_the_protocol(
        mode in any::<u8>(),
        cut in any::<u8>(),
        mut bytes in any_session(),
        change in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        if let Some((at, byte)) = change {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        drive(&[vec![mode, cut], bytes].concat());
    }

    #[test]
    fn any_bytes_keep_to_the_protocol(mode in any::<u8>(), cut in any::<u8>(), bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drive(&[vec![mode, cut], bytes.clone()].concat());
        drive(&[vec![mode, cut], header(), bytes].concat());
    }
}
