//! What comes out of a session, and when.

use super::*;

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
