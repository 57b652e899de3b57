#![allow(clippy::unwrap_used)]

use super::*;
use crate::mkv::{Piece, document_start, pieces};
use proptest::prelude::*;

fn texts(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn tags_are_written_as_in_captured_output_byte_for_byte() {
    // The Tags element of the first fragment stands at byte 916 of the capture.
    let Some(file) = crate::testing::shared("kvs/fixtures/output_get_media.mkv") else { return };
    let pairs = [
        ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", "91343852333181432392682062607743920146159169392"),
        ("AWS_KINESISVIDEO_SERVER_TIMESTAMP", "1511852109.126"),
        ("AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", "1511852108.513"),
    ];
    let written = write_tags(&pairs);
    assert_eq!(written.len(), 4 + 4 + 235);
    assert_eq!(&file[916..916 + written.len()], &written[..]);
    assert_eq!(parse_tags(&written).unwrap(), texts(&pairs));
}

#[test]
fn tags_of_real_output_are_read() {
    let Some(file) = crate::testing::shared("kvs/fixtures/output_get_media.mkv") else { return };
    let others: Vec<_> = pieces(&file.into())
        .filter_map(|piece| match piece.unwrap() {
            Piece::Other(bytes) => Some(parse_tags(&bytes).unwrap()),
            _ => None,
        })
        .filter(|tags| !tags.is_empty())
        .collect();
    let named = |name: &str| others.iter().flatten().filter(|(n, _)| n == name).count();
    assert_eq!(named("AWS_KINESISVIDEO_FRAGMENT_NUMBER"), 5);
    assert_eq!(named("AWS_KINESISVIDEO_CONTINUATION_TOKEN"), 5);
    assert_eq!(others[0][0], ("COMPATIBLE_BRANDS".to_owned(), "isomavc1mp42".to_owned()));
    // DURATION is padded with zero bytes there.
    assert!(others[0].contains(&("DURATION".to_owned(), "00:00:10.000000000".to_owned())));
}

#[test]
fn nested_tags_are_found_and_nameless_ones_are_not() {
    let mut inner = BytesMut::new();
    put_head(&mut inner, id::TAG_NAME, 1);
    inner.put_u8(b'b');
    let mut outer = BytesMut::new();
    put_head(&mut outer, id::TAG_NAME, 1);
    outer.put_u8(b'a');
    put_head(&mut outer, id::SIMPLE_TAG, inner.len());
    outer.put_slice(&inner);
    let mut nameless = BytesMut::new();
    put_head(&mut nameless, id::TAG_STRING, 1);
    nameless.put_u8(b'x');
    let mut tag = BytesMut::new();
    for body in [&outer, &nameless] {
        put_head(&mut tag, id::SIMPLE_TAG, body.len());
        tag.put_slice(body);
    }
    let mut tags = BytesMut::new();
    put_head(&mut tags, id::TAGS, tag.len() + 6);
    put_head(&mut tags, id::TAG, tag.len());
    tags.put_slice(&tag);
    assert_eq!(parse_tags(&tags).unwrap(), texts(&[("a", ""), ("b", "")]));
    // A thousand in one another cost neither the stack nor time.
    let mut deep = Vec::new();
    for _ in 0..1000 {
        let mut wrapped = BytesMut::new();
        put_head(&mut wrapped, id::SIMPLE_TAG, deep.len());
        wrapped.put_slice(&deep);
        deep = wrapped.to_vec();
    }
    let mut tags = BytesMut::new();
    put_head(&mut tags, id::TAGS, deep.len() + 6);
    put_head(&mut tags, id::TAG, deep.len());
    tags.put_slice(&deep);
    assert_eq!(parse_tags(&tags).unwrap(), []);
}

#[test]
fn a_documents_segment_is_made_endless_and_the_rest_is_the_producers() {
    let header = crate::mkv::write_header(&[]);
    let ours = document_start(&header).to_bytes();
    assert_eq!(crate::mkv::parse_header(&ours).unwrap().tracks, header.tracks);
    let at = find(&header.bytes, &[0x18, 0x53, 0x80, 0x67]);
    let width = header.bytes[at + 4].leading_zeros() as usize + 1;
    // Endless in one byte, as kvssink writes it; 9 bytes in four, as of a file.
    for size in [&[0xFF][..], &[0x10, 0, 0, 9]] {
        let bytes = [&header.bytes[..at + 4], size, &header.bytes[at + 4 + width..]].concat();
        let producer = crate::mkv::parse_header(&bytes.into()).unwrap();
        let start = document_start(&producer).to_bytes();
        assert_eq!(start[at + 4..at + 12], [1, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(start[..at + 4], producer.bytes[..at + 4]);
        assert_eq!(start[at + 12..], producer.bytes[at + 4 + size.len()..]);
        let again = crate::mkv::parse_header(&start).unwrap();
        assert_eq!(document_start(&again).parts().len(), 1, "nothing is left to change");
    }
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|w| w == what).unwrap()
}

proptest! {
    #[test]
    fn what_is_written_is_read(pairs in proptest::collection::vec(("[a-zA-Z_]{1,20}", "[^\0]{0,40}"), 0..8)) {
        prop_assert_eq!(parse_tags(&write_tags(&pairs)).unwrap(), pairs);
    }

    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_tags(&bytes);
        let mut tags = BytesMut::new();
        put_head(&mut tags, id::TAGS, bytes.len() + 6);
        put_head(&mut tags, id::TAG, bytes.len());
        tags.put_slice(&bytes);
        let _ = parse_tags(&tags);
    }
}
