//! A small store whose bytes a test damages.

use super::*;
use std::fs;
use std::path::PathBuf;
use store::{Position, Range};

pub const ALL: Range = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };

/// Two streams, `a` and `b`, with as many fragments each, by turns.
pub struct Written {
    pub data: PathBuf,
    encrypt: bool,
    pub metas: Vec<(&'static str, FragmentMeta)>,
}

impl Written {
    pub async fn new(data: &Path, count: i64) -> Written {
        Written::kept(data, count, false).await
    }

    /// The same, encrypted where that is said.
    pub async fn kept(data: &Path, count: i64, encrypt: bool) -> Written {
        let store = open_as(data, encrypt).await;
        let mut metas = Vec::new();
        let mut writers = Vec::new();
        for s in ["a", "b"] {
            writers.push((s, store.create_stream(&name(s), None).await.unwrap().writer()));
        }
        for i in 0..count {
            for (s, writer) in &mut writers {
                let events = fragment(&header(1280), T0 + i * 1000, 10, 50 + i as usize * 7, None);
                metas.push((*s, record(writer, events).await));
            }
        }
        drop(writers);
        store.stop().await.unwrap();
        Written { data: data.to_owned(), encrypt, metas }
    }

    pub fn of(&self, stream: &str) -> Vec<FragmentMeta> {
        self.metas.iter().filter(|(s, _)| *s == stream).map(|(_, meta)| meta.clone()).collect()
    }

    /// The segment and the offset of a fragment's record.
    pub fn place(&self, meta: &FragmentMeta) -> (PathBuf, usize) {
        place(&self.data, meta)
    }

    /// Damages one byte of a fragment's record.
    pub fn flip(&self, meta: &FragmentMeta, at: usize) {
        flip_fragment(&self.data, meta, at);
    }

    /// Opens the store and reads everything that it lists; all of it must be what was written. How many fragments that were.
    pub async fn served(&self, data: &Path) -> usize {
        let store = open_as(data, self.encrypt).await;
        let mut count = 0;
        for stream in store.streams() {
            for meta in stream.fragments(ALL, Position::Start, 1000).await.unwrap() {
                let Ok(read) = stream.fragment(meta.number).await else { continue };
                let same = self.metas.iter().any(|(s, m)| *s == stream.info().name.as_str() && *m == meta);
                assert!(same, "{} {meta:?} was not written", stream.info().name);
                let frames = read.frames().unwrap();
                let seed = meta.producer_start.0 as u64;
                for (i, frame) in frames.iter().enumerate() {
                    assert_eq!(frame.data, payload(seed ^ (i as u64) << 48, frame.data.len()), "other bytes");
                }
                assert_eq!(frames.len(), 10);
                count += 1;
            }
        }
        store.stop().await.unwrap();
        count
    }
}

async fn open_as(data: &Path, encrypt: bool) -> Store {
    let config = if encrypt { encrypted(data, 1) } else { config(data) };
    Store::open(config, system_clock()).await.unwrap()
}

/// The segment and the offset of a fragment's record, found by its checksum and counter.
pub fn place(data: &Path, meta: &FragmentMeta) -> (PathBuf, usize) {
    for entry in fs::read_dir(data.join("segments")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let counter = meta.number.counter().to_le_bytes();
        for at in (64..bytes.len().saturating_sub(72)).step_by(8) {
            if bytes[at..at + 4] == *b"VREC"
                && bytes[at + 16..at + 24] == counter
                && bytes[at + 64..at + 68] == meta.crc32c.to_le_bytes()
            {
                return (path, at);
            }
        }
    }
    panic!("fragment {} stands in no segment", meta.number)
}

pub fn flip_fragment(data: &Path, meta: &FragmentMeta, at: usize) {
    let (file, offset) = place(data, meta);
    let mut bytes = fs::read(&file).unwrap();
    bytes[offset + at] ^= 0x10;
    fs::write(&file, bytes).unwrap();
}
