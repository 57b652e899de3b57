//! Clusters that are cut because they get too long.

use super::*;
use crate::mkv::parse_chunks;

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
