//! How many bytes a stream and the whole store may keep, what they keep now, and what happens at the limit.
//!
//! What belongs here: settings, the counts in memory, and whether a new fragment is let in. The catalog holds the truth and is
//! written in the transaction that adds or takes rows; the counts here follow it. What does not: which fragments go
//! ([`crate::retention`]).
//!
//! A stream is counted by the records of its fragments (head, payload, padding), the store by its segment files, dead bytes
//! included, for that is what fills a disk.

use crate::{Config, Error, Kind};
use media::StreamName;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use tokio::sync::Notify;

/// The share of a quota that eviction leaves free, so that it is not called for each fragment: it begins at so small a part below
/// the quota, and ends at two of them.
const SLACK: u64 = 64;
/// Segments are no smaller than this, however small the quota.
const LEAST_SEGMENT: u64 = 64 << 10;

/// What happens to a new fragment where a quota is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtQuota {
    /// The oldest fragments make room for it.
    Evict,
    /// It is not let in.
    Refuse,
}

impl AtQuota {
    /// As the catalog spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            AtQuota::Evict => "evict",
            AtQuota::Refuse => "refuse",
        }
    }
    pub(crate) fn of_name(name: &str) -> Option<AtQuota> {
        [AtQuota::Evict, AtQuota::Refuse].into_iter().find(|at| at.name() == name)
    }
}

/// What one stream may keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamQuota {
    /// Most bytes that it keeps, records with their heads; 0 is no limit, `None` takes `stream_quota_bytes` of the configuration.
    #[serde(default)]
    pub quota_bytes: Option<u64>,
    /// What happens there; `None` takes `at_quota` of the configuration.
    #[serde(default)]
    pub at_quota: Option<AtQuota>,
    /// The quota of the store, and the room that the disk is to have, take nothing of it while it keeps no more than this.
    #[serde(default)]
    pub guaranteed_bytes: u64,
}

/// What one stream keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StreamUsage {
    /// Bytes of the records of its fragments.
    pub bytes: u64,
    /// The limit in force, if there is one.
    pub quota_bytes: Option<u64>,
    /// What happens there.
    pub at_quota: AtQuota,
    /// See [`StreamQuota::guaranteed_bytes`].
    pub guaranteed_bytes: u64,
    /// Whether a fragment that began now would be refused.
    pub refusing: bool,
    /// Fragments refused since the process started.
    pub refused: u64,
}

/// What the store keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StoreUsage {
    /// Bytes of all segments.
    pub bytes: u64,
    /// Of them, bytes of records that count; what is left over goes when a segment is removed or written anew.
    pub live_bytes: u64,
    /// The limit in force, if there is one.
    pub quota_bytes: Option<u64>,
    /// What happens there.
    pub at_quota: AtQuota,
    /// Bytes that the disk has free, as far as is known.
    pub free_bytes: Option<u64>,
    /// Bytes that it is to have free.
    pub min_free_bytes: u64,
    /// Whether new fragments of every stream are refused.
    pub refusing: bool,
}

/// Bytes of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) size: u64,
    /// What this process may use.
    pub(crate) free: u64,
}

impl Disk {
    /// Of the disk that a path lies on.
    pub(crate) fn of(path: &Path) -> Option<Disk> {
        let stat = rustix::fs::statvfs(path).ok()?;
        Some(Disk {
            size: stat.f_blocks.saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }
}

/// What is counted of the whole store.
pub(crate) struct Usage {
    folder: PathBuf,
    quota: Option<u64>,
    min_free: u64,
    /// What relieving the disk frees at least, so that it has some room then.
    step: u64,
    at: AtQuota,
    stream_quota: u64,
    /// Bytes of segments and live ones when they were last counted, and what was appended since.
    counted: AtomicU64,
    live: AtomicU64,
    appended: AtomicU64,
    /// By how much the disk has less room than it should.
    short: AtomicU64,
    /// What it had free at the last look, and what was appended since.
    free: AtomicU64,
    since: AtomicU64,
    /// There is nothing left that could be evicted.
    stuck: AtomicBool,
    /// Wakes the sweeper: a quota may be reached.
    pub(crate) reached: Notify,
}

impl Usage {
    pub(crate) fn new(config: &Config, bytes: u64, live: u64) -> Usage {
        let disk = Disk::of(&config.data);
        let usage = Usage {
            folder: config.data.clone(),
            quota: quota(config, disk),
            min_free: config.min_free_bytes,
            step: segment_bytes(config),
            at: config.at_quota,
            stream_quota: config.stream_quota_bytes,
            counted: AtomicU64::new(bytes),
            live: AtomicU64::new(live),
            appended: AtomicU64::new(0),
            short: AtomicU64::new(0),
            free: AtomicU64::new(disk.map_or(u64::MAX, |disk| disk.free)),
            since: AtomicU64::new(0),
            stuck: AtomicBool::new(false),
            reached: Notify::new(),
        };
        usage.look();
        usage
    }

    /// Looks at the disk. Wakes the sweeper if it has too little room.
    pub(crate) fn look(&self) {
        let Some(disk) = Disk::of(&self.folder) else { return };
        self.since.store(0, Relaxed);
        self.free.store(disk.free, Relaxed);
        self.short.store(self.min_free.saturating_sub(disk.free), Relaxed);
        if self.is_reached() {
            self.reached.notify_one();
        }
    }

    /// Bytes of segments.
    pub(crate) fn stored(&self) -> u64 {
        self.counted.load(Relaxed).saturating_add(self.appended.load(Relaxed))
    }

    /// A record was appended.
    pub(crate) fn appended(&self, bytes: u64) {
        self.appended.fetch_add(bytes, Relaxed);
        self.since.fetch_add(bytes, Relaxed);
        if self.is_reached() {
            self.reached.notify_one();
        }
    }

    /// A segment was written anew.
    pub(crate) fn rewritten(&self, before: u64, after: u64) {
        let _ = self.counted.fetch_update(Relaxed, Relaxed, |bytes| Some((bytes + after).saturating_sub(before)));
    }

    /// What to hand to [`Self::counted`] with a count that begins now.
    pub(crate) fn begin_count(&self) -> u64 {
        self.appended.load(Relaxed)
    }

    /// The catalog was asked. What was appended while it was is counted twice until the next count, never left out.
    pub(crate) fn counted(&self, begun: u64, (bytes, live): (u64, u64)) {
        self.counted.store(bytes, Relaxed);
        self.live.store(live, Relaxed);
        self.appended.fetch_sub(begun, Relaxed);
    }

    /// Whether there is something to evict for.
    fn is_reached(&self) -> bool {
        self.at == AtQuota::Evict
            && (self.short.load(Relaxed) > 0
                || self.free.load(Relaxed).saturating_sub(self.since.load(Relaxed)) < self.min_free
                || self.quota.is_some_and(|quota| self.stored() > quota - quota / SLACK))
    }

    /// How many bytes of segments have to go, after `freed` went since the last look at the disk: 0 if none. File systems may take their
    /// time to say what they have free, and nothing more is to go because of that.
    pub(crate) fn over(&self, freed: u64) -> u64 {
        if self.at != AtQuota::Evict {
            return 0;
        }
        let short = match self.short.load(Relaxed) {
            0 => 0,
            short => (short + self.step).saturating_sub(freed),
        };
        let over = |quota: u64| match self.stored() > quota - quota / SLACK {
            true => self.stored() - (quota - quota / SLACK * 2),
            false => 0,
        };
        short.max(self.quota.map_or(0, over))
    }

    /// Whether eviction found nothing more to take.
    pub(crate) fn set_stuck(&self, stuck: bool) {
        if self.stuck.swap(stuck, Relaxed) != stuck {
            match stuck {
                true => tracing::error!(
                    "a quota of the store is reached and nothing may be evicted: new fragments are refused"
                ),
                false => tracing::info!("the store has room again"),
            }
        }
    }

    /// Why no stream may store anything now.
    fn refusal(&self) -> Option<String> {
        if self.at == AtQuota::Evict && !self.stuck.load(Relaxed) {
            return None;
        }
        let free = self.free.load(Relaxed);
        if free < self.min_free {
            return Some(format!("the disk has {free} bytes free, fewer than min_free_bytes = {}", self.min_free));
        }
        self.quota
            .filter(|quota| self.stored() >= *quota)
            .map(|quota| format!("the store has its quota of {quota} bytes"))
    }

    /// The figures.
    pub(crate) fn figures(&self) -> StoreUsage {
        let free = self.free.load(Relaxed);
        StoreUsage {
            bytes: self.stored(),
            live_bytes: self.live.load(Relaxed).saturating_add(self.appended.load(Relaxed)),
            quota_bytes: self.quota,
            at_quota: self.at,
            free_bytes: (free != u64::MAX).then_some(free),
            min_free_bytes: self.min_free,
            refusing: self.refusal().is_some(),
        }
    }
}

/// The quota of the store in force.
fn quota(config: &Config, disk: Option<Disk>) -> Option<u64> {
    let bytes = Some(config.quota_bytes).filter(|bytes| *bytes > 0);
    let percent = u64::from(config.quota_percent);
    let share = disk.filter(|_| percent > 0).map(|disk| disk.size / 100 * percent);
    bytes.into_iter().chain(share).min()
}

/// At which size segments are closed: as configured, but small enough that eviction, which frees whole segments, does not take a
/// great part of a small quota or disk at once.
pub(crate) fn segment_bytes(config: &Config) -> u64 {
    let disk = Disk::of(&config.data);
    let room = quota(config, disk).into_iter().chain(disk.map(|disk| disk.size)).min().unwrap_or(u64::MAX);
    config.segment_bytes.min((room / 32).max(LEAST_SEGMENT))
}

/// What is counted of one stream.
pub(crate) struct Account {
    /// Below 0 for a moment where a fragment is deleted before memory heard that it is durable.
    bytes: AtomicI64,
    quota: RwLock<StreamQuota>,
    /// There is nothing left of it that could be evicted.
    stuck: AtomicBool,
    refused: AtomicU64,
}

impl Account {
    pub(crate) fn new(bytes: u64, quota: StreamQuota) -> Account {
        Account {
            bytes: AtomicI64::new(bytes as i64),
            quota: RwLock::new(quota),
            stuck: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        }
    }
    pub(crate) fn quota(&self) -> StreamQuota {
        *self.quota.read().unwrap_or_else(|e| e.into_inner())
    }
    pub(crate) fn set_quota(&self, quota: StreamQuota) {
        *self.quota.write().unwrap_or_else(|e| e.into_inner()) = quota;
    }
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed).max(0) as u64
    }
    /// Rows went from the catalog.
    pub(crate) fn gone(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes as i64, Relaxed);
    }
    /// A row came to the catalog. Wakes the sweeper where a quota is reached by it.
    pub(crate) fn added(&self, bytes: u64, usage: &Usage) {
        self.bytes.fetch_add(bytes as i64, Relaxed);
        usage.appended(bytes);
        if self.over(usage) > 0 {
            usage.reached.notify_one();
        }
    }

    fn limit(&self, usage: &Usage) -> (Option<u64>, AtQuota) {
        let quota = self.quota();
        let bytes = quota.quota_bytes.unwrap_or(usage.stream_quota);
        (Some(bytes).filter(|bytes| *bytes > 0), quota.at_quota.unwrap_or(usage.at))
    }

    /// How many bytes of its fragments have to go for its own quota: 0 if none.
    pub(crate) fn over(&self, usage: &Usage) -> u64 {
        match self.limit(usage) {
            (Some(quota), AtQuota::Evict) if self.bytes() > quota => self.bytes() - (quota - quota / SLACK),
            _ => 0,
        }
    }

    /// What the quota of the store may take of it.
    pub(crate) fn unguaranteed(&self) -> u64 {
        self.bytes().saturating_sub(self.quota().guaranteed_bytes)
    }

    pub(crate) fn set_stuck(&self, stuck: bool, stream: &StreamName) {
        if self.stuck.swap(stuck, Relaxed) != stuck && stuck {
            tracing::error!(%stream, "the quota of the stream is reached and all of it is held: new fragments are refused");
        }
    }

    fn refusal(&self, stream: &StreamName, usage: &Usage) -> Option<Error> {
        let why = match self.limit(usage) {
            (Some(quota), at) if self.bytes() >= quota && (at == AtQuota::Refuse || self.stuck.load(Relaxed)) => {
                Some(format!("it has its quota of {quota} bytes"))
            }
            _ => usage.refusal(),
        };
        why.map(|why| Error::new(Kind::QuotaReached, format!("stream {stream} takes no more: {why}")))
    }

    /// `QuotaReached` where a new fragment is not let in, which is counted.
    pub(crate) fn admit(&self, stream: &StreamName, usage: &Usage) -> Result<(), Error> {
        let Some(refusal) = self.refusal(stream, usage) else { return Ok(()) };
        if self.refused.fetch_add(1, Relaxed) == 0 {
            tracing::warn!(%refusal, "a fragment is refused");
        }
        metrics::counter!("vidicon_quota_refused_total", "stream" => stream.to_string()).increment(1);
        Err(refusal)
    }

    /// The same without counting: whether it would be.
    pub(crate) fn would_admit(&self, stream: &StreamName, usage: &Usage) -> Result<(), Error> {
        self.refusal(stream, usage).map_or(Ok(()), Err)
    }

    /// The figures.
    pub(crate) fn figures(&self, stream: &StreamName, usage: &Usage) -> StreamUsage {
        let (quota_bytes, at_quota) = self.limit(usage);
        StreamUsage {
            bytes: self.bytes(),
            quota_bytes,
            at_quota,
            guaranteed_bytes: self.quota().guaranteed_bytes,
            refusing: self.refusal(stream, usage).is_some(),
            refused: self.refused.load(Relaxed),
        }
    }
}
