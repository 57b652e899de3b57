//! What a session is told before its first byte.

use media::{UnixMillis, mkv::session};
use serde::{Deserialize, Serialize};

/// How a session is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What the clusters' Timestamps count from (`x-amzn-fragment-timecode-type`).
    pub timecode: Timecode,
    /// How much of what.
    pub limits: Limits,
    /// What becomes of what another server would refuse.
    pub policy: Policy,
}

/// What a cluster's Timestamp counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timecode {
    /// The Unix epoch.
    Absolute,
    /// This instant (`x-amzn-producer-start-timestamp`).
    Relative(UnixMillis),
}

/// What becomes of what the service refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// It is accepted and marked wherever it can be stored and read again.
    #[default]
    Lenient,
    /// It is refused as the service refuses it, for testing producers.
    Strict,
}

/// How much a session may send of what. Those that bound memory hold under both policies; others the lenient one only marks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The most bytes of a cluster, below 4 GiB; 0 is as many as the byte budget of its stream takes, in which a fragment lies
    /// whole ([`Limits::most_of`]). The lenient policy splits a longer one at a key frame if it can.
    pub max_fragment_bytes: usize,
    /// The longest fragment in ms, at most 60000. The lenient policy splits a longer one at a key frame if it can.
    pub max_fragment_ms: u32,
    /// The most bytes up to the end of a header's Tracks.
    pub max_header_bytes: usize,
    /// The most bytes of tags before a cluster, at most 65536. The lenient policy drops what is more.
    pub max_lead_bytes: usize,
    /// The most tags of a fragment. The lenient policy takes more.
    pub max_tags: usize,
    /// The longest name of a tag in bytes. The lenient policy takes longer ones.
    pub max_tag_name_bytes: usize,
    /// The longest value of a tag in bytes. The lenient policy takes longer ones.
    pub max_tag_value_bytes: usize,
    /// The most tracks of a header. The lenient policy takes more.
    pub max_tracks: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_fragment_bytes: 0,
            max_fragment_ms: 60_000,
            max_header_bytes: 1 << 20,
            max_lead_bytes: 64 << 10,
            max_tags: 10,
            max_tag_name_bytes: 128,
            max_tag_value_bytes: 256,
            max_tracks: 3,
        }
    }
}

impl Limits {
    /// Those of the service (its quotas of 2026): 50 MB and 20 s a fragment.
    pub fn of_the_service() -> Limits {
        Limits { max_fragment_bytes: 50_000_000, max_fragment_ms: 20_000, ..Limits::default() }
    }

    /// The most bytes of a cluster under a byte budget of so many: seven eighths, because frames cost something beside their bytes.
    pub fn most_of(budget: u64) -> u64 {
        (budget / 8 * 7).clamp(1, u64::from(u32::MAX))
    }

    /// Those of a stream with a byte budget of so many: what would never fit is split or refused while it comes.
    pub(crate) fn within(self, budget: u64) -> Limits {
        let most = usize::try_from(Limits::most_of(budget)).unwrap_or(usize::MAX);
        let wanted = Some(self.max_fragment_bytes).filter(|bytes| *bytes > 0);
        Limits { max_fragment_bytes: wanted.map_or(most, |bytes| bytes.min(most)), ..self }
    }

    /// No more than the store takes: what it would refuse is refused while it comes.
    pub(super) fn within_the_store(self) -> Limits {
        Limits {
            max_fragment_ms: self.max_fragment_ms.min(60_000),
            max_lead_bytes: self.max_lead_bytes.min(64 << 10),
            ..self.within(u64::MAX)
        }
    }

    pub(super) fn of_session(&self) -> session::Limits {
        session::Limits {
            header_bytes: self.max_header_bytes,
            tags_bytes: self.max_lead_bytes,
            cluster_bytes: self.max_fragment_bytes,
        }
    }
}
