//! Files of real producers, and files of any kind: how pieces are cut makes no difference.

use super::*;
use crate::mkv::{Piece, pieces};
use crate::testing;
use proptest::prelude::*;

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
