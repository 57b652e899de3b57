#![allow(clippy::unwrap_used)]

mod files;
mod limits;
mod parts;
mod reading;
mod splitting;

use super::*;
use crate::mkv::{self, write_header};
use crate::{Track, TrackKind};

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
