//! A fragment as `GET /v1/streams/{name}/fragments` lists it: written here, and read by whoever asks another server.

use media::{Cause, FragmentMeta, FragmentNumber, HeaderId, UnixMillis};
use serde::{Deserialize, Serialize};

/// One fragment of a list. Times are of its first frame, bytes those of its lead and cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listed {
    number: FragmentNumber,
    producer_start: UnixMillis,
    server_start: UnixMillis,
    duration_ms: u32,
    bytes: u32,
    frames: u32,
    /// None of an encrypted one.
    crc32c: Option<u32>,
    /// The header that it is read under, in hexadecimal: those that have the same have the same tracks.
    header: String,
    cause: Option<Cause>,
}

impl From<FragmentMeta> for Listed {
    fn from(meta: FragmentMeta) -> Self {
        let FragmentMeta { number, producer_start, server_start, duration_ms, bytes, frames, cause, .. } = meta;
        let (header, crc32c) = (meta.header.to_string(), (!meta.encrypted).then_some(meta.crc32c));
        Listed { number, producer_start, server_start, duration_ms, bytes, frames, crc32c, header, cause }
    }
}

impl Listed {
    /// What is known of the fragment; none where the header is no header's id. How long its lead is, a list does not say: it is 0.
    pub fn meta(self) -> Option<FragmentMeta> {
        let Listed { number, producer_start, server_start, duration_ms, bytes, frames, crc32c, header, cause } = self;
        let header = HeaderId(u64::from_str_radix(&header, 16).ok()?);
        Some(FragmentMeta {
            number,
            producer_start,
            server_start,
            duration_ms,
            bytes,
            lead_bytes: 0,
            frames,
            encrypted: crc32c.is_none(),
            crc32c: crc32c.unwrap_or(0),
            header,
            cause,
        })
    }
}
