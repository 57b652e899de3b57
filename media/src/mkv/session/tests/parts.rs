//! How the bytes of a cluster lie in memory.

use super::*;

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

#[test]
fn frames_of_short_pieces_are_one_part_each_with_their_heads() {
    let blocks: Vec<u8> = (0..50).flat_map(|i| block(1, i, i == 0, &[i as u8; 5000])).collect();
    let cluster = element(CLUSTER, 0, &[timestamp(1), blocks].concat());
    let file = session_of(std::slice::from_ref(&cluster));
    for size in [1, 50, 63] {
        let (mut session, mut frames, mut end) = (Session::new(Limits::default()), Vec::new(), None);
        let mut pieces: Vec<&[u8]> = file.chunks(size).collect();
        pieces.push(&[]);
        for (index, piece) in pieces.iter().enumerate() {
            session.push(Bytes::copy_from_slice(piece));
            if index + 1 == pieces.len() {
                session.end();
            }
            while let Some(event) = session.poll().unwrap() {
                match event {
                    Event::Frame { frame, .. } => frames.push(frame),
                    Event::End(cluster) => end = Some(cluster),
                    _ => {}
                }
            }
        }
        let end = end.unwrap();
        assert_eq!(end.to_bytes(), cluster, "in pieces of {size}");
        // Heads that two pieces share are copied apart.
        assert!(
            end.parts().len() <= if size == 1 { 101 } else { 60 },
            "{} parts of pieces of {size}",
            end.parts().len()
        );
        for frame in &frames {
            let holder = end.parts().iter().find(|part| part.as_ptr_range().contains(&frame.data.as_ptr()));
            assert!(holder.is_some_and(|part| part.len() <= 5016), "the frame is a slice of the cluster");
        }
        assert_eq!(frames.len(), 50);
    }
}
