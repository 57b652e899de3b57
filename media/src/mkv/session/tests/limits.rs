//! What is refused, and what is held at most.

use super::*;

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
    assert_eq!(error(&element(CLUSTER, 0, &timestamp(1))), Error { at: 0, reason: Reason::NoBeginning(0x1F43_B675) });
    assert_eq!(error(&element(&[0xA3], 4, &[0x81, 0, 0, 0x80])), Error { at: 0, reason: Reason::NoBeginning(0xA3) });
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
