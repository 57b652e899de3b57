//! Settings of the store.

use crate::crypt::config::Encryption;
use crate::quota::AtQuota;
use crate::segments::objects::config::StorageConfig;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Settings of the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where everything lives. Set by the binary from `--data`.
    #[serde(skip)]
    pub data: PathBuf,
    /// How long sealed fragments are gathered before one commit, in ms.
    pub commit_interval_ms: u64,
    /// A commit starts at once when this many bytes wait, or fewer where the disk needs the commit interval for those.
    pub commit_bytes: u64,
    /// A segment is closed at this size.
    pub segment_bytes: u64,
    /// Byte budget of the process for media that is not durable yet.
    pub budget_bytes: u64,
    /// Byte budget of one stream out of it.
    pub stream_budget_bytes: u64,
    /// The newest durable fragments of all streams together that are kept in memory, in bytes.
    pub tail_bytes: u64,
    /// Retention of streams that name none, in hours; 0 keeps for ever.
    pub default_retention_hours: u32,
    /// How often the retention sweeper runs, in seconds.
    pub sweep_interval_s: u64,
    /// Where segments lie. Set by the binary from `[storage]`.
    #[serde(skip)]
    pub storage: StorageConfig,
    /// The master keys, and whether what is recorded is encrypted. Set by the binary from `[encryption]`.
    #[serde(skip)]
    pub encryption: Encryption,
    /// Most bytes that all segments together take; 0 is no limit but the disk.
    pub quota_bytes: u64,
    /// The same as a part of the disk that the data lies on, in percent; 0 is none. The smaller of both counts.
    pub quota_percent: u8,
    /// Bytes that the disk is to have free.
    pub min_free_bytes: u64,
    /// Most bytes that a stream keeps which names no limit of its own; 0 is no limit.
    pub stream_quota_bytes: u64,
    /// What happens where one of them is reached.
    pub at_quota: AtQuota,
    /// Seconds after which bytes that someone deleted are gone from the segments.
    pub erase_deleted_s: u64,
    /// The same of bytes that expired or were evicted.
    pub erase_expired_s: u64,
    /// Segments of which no more than this part counts are written anew earlier, in percent.
    pub rewrite_live_percent: u8,
    /// Bytes that writing segments anew writes in a second, at most.
    pub rewrite_bytes_per_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data: PathBuf::from("vidicon-data"),
            commit_interval_ms: 200,
            commit_bytes: 128 << 20,
            segment_bytes: 256 << 20,
            budget_bytes: 512 << 20,
            stream_budget_bytes: 64 << 20,
            tail_bytes: 32 << 20,
            default_retention_hours: 24 * 7,
            sweep_interval_s: 30,
            storage: StorageConfig::default(),
            encryption: Encryption::default(),
            quota_bytes: 0,
            quota_percent: 0,
            min_free_bytes: 256 << 20,
            stream_quota_bytes: 0,
            at_quota: AtQuota::Evict,
            erase_deleted_s: 3600,
            erase_expired_s: 86_400,
            rewrite_live_percent: 50,
            rewrite_bytes_per_s: 32 << 20,
        }
    }
}
