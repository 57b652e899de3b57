//! Catalogs and rows for the tests of this module's tables.
#![allow(clippy::unwrap_used)]

use super::fragments::NewRow;
use super::schema;
use crate::segments::reader::Place;
use bytes::Bytes;
use media::{FragmentMeta, FragmentNumber, HeaderId, UnixMillis};
use rusqlite::Connection;
use uuid::Uuid;

/// An empty catalog, in a folder that goes when it is dropped.
pub(super) fn catalog() -> (tempfile::TempDir, Connection) {
    let dir = tempfile::tempdir().unwrap();
    let c = schema::open(&dir.path().join("catalog.sqlite"), Uuid::now_v7()).unwrap();
    (dir, c)
}

/// A fragment that lasts a second from producer and server time `at` on, in a segment.
pub(super) fn row(stream: u64, counter: u64, at: i64, place: Place) -> NewRow {
    let meta = FragmentMeta {
        number: FragmentNumber::new(counter, at as u64, 1),
        producer_start: UnixMillis(at),
        server_start: UnixMillis(at),
        duration_ms: 1000,
        bytes: 1,
        lead_bytes: 0,
        frames: 1,
        crc32c: 0,
        header: HeaderId(1),
        cause: None,
        encrypted: false,
    };
    NewRow { stream, meta, place, header: Bytes::from_static(b"h") }
}
