//! The store's public face.

use crate::Error;
use crate::records::{Alert, Camera, Delivery, Detection, Rule, Target};
use crate::stream::{Range, Stream};
use media::{FragmentMeta, StreamName, UnixMillis};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::broadcast;

/// Settings of the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where everything lives. Set by the binary from `--data`.
    #[serde(skip)]
    pub data: PathBuf,
    /// How long sealed fragments are gathered before one commit, in ms.
    pub commit_interval_ms: u64,
    /// A commit starts at once when this many bytes wait.
    pub commit_bytes: u64,
    /// A segment is closed at this size.
    pub segment_bytes: u64,
    /// Byte budget of the process for media that is not durable yet.
    pub budget_bytes: u64,
    /// Byte budget of one stream out of it.
    pub stream_budget_bytes: u64,
    /// Newest durable fragments kept in memory per stream, in bytes.
    pub tail_bytes: u64,
    /// Retention of streams that name none, in hours; 0 keeps for ever.
    pub default_retention_hours: u32,
    /// How often the retention sweeper runs, in seconds.
    pub sweep_interval_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data: PathBuf::from("vidicon-data"),
            commit_interval_ms: 200,
            commit_bytes: 8 << 20,
            segment_bytes: 256 << 20,
            budget_bytes: 512 << 20,
            stream_budget_bytes: 64 << 20,
            tail_bytes: 8 << 20,
            default_retention_hours: 24 * 7,
            sweep_interval_s: 30,
        }
    }
}

/// Where the time comes from; tests pass their own.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// Something happened that the page or another task may want to know. Lossy: a slow listener misses some.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A fragment became durable.
    Persisted(StreamName, FragmentMeta),
    /// Detections were stored for a picture of a stream.
    Detections(StreamName, Arc<Vec<Detection>>),
    /// An alert was raised.
    Alert(Arc<Alert>),
    /// A camera was added, changed or removed.
    Cameras,
    /// A rule was added, changed or removed.
    Rules,
    /// A target was added, changed or removed.
    Targets,
    /// A delivery was added or changed state.
    Deliveries,
    /// A stream was created or deleted.
    Streams,
}

/// An open store. Cheap to clone.
#[derive(Clone)]
pub struct Store {}

impl Store {
    /// Opens or makes the data folder: locks it, upgrades or refuses its format, recovers, starts the commit and sweep tasks.
    pub async fn open(_config: Config, _clock: Clock) -> Result<Store, Error> {
        unimplemented!("skeleton")
    }
    /// Commits what is queued, stops the tasks, releases the lock.
    pub async fn stop(&self) -> Result<(), Error> {
        unimplemented!("skeleton")
    }
    /// The time now by the store's clock.
    pub fn now(&self) -> UnixMillis {
        unimplemented!("skeleton")
    }
    /// A listener for notices.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        unimplemented!("skeleton")
    }
    /// A random 32-byte secret of this data folder, made at its creation; keys for tokens and cookies derive from it.
    pub fn secret(&self) -> [u8; 32] {
        unimplemented!("skeleton")
    }
    /// A small value kept in the catalog (`root_access_key_id`, …).
    pub async fn setting(&self, _key: &str) -> Result<Option<String>, Error> {
        unimplemented!("skeleton")
    }
    /// Sets such a value.
    pub async fn set_setting(&self, _key: &str, _value: &str) -> Result<(), Error> {
        unimplemented!("skeleton")
    }

    /// Creates a stream. `AlreadyExists` if the name is taken.
    pub async fn create_stream(&self, _name: &StreamName, _retention_hours: Option<u32>) -> Result<Stream, Error> {
        unimplemented!("skeleton")
    }
    /// The stream of this name. From memory, so cheap.
    pub fn stream(&self, _name: &StreamName) -> Result<Stream, Error> {
        unimplemented!("skeleton")
    }
    /// All streams by name.
    pub fn streams(&self) -> Vec<Stream> {
        unimplemented!("skeleton")
    }
    /// Removes a stream and its rows; its bytes go with their segments.
    pub async fn delete_stream(&self, _name: &StreamName) -> Result<(), Error> {
        unimplemented!("skeleton")
    }

    /// All cameras.
    pub async fn cameras(&self) -> Result<Vec<Camera>, Error> {
        unimplemented!("skeleton")
    }
    /// Adds or replaces a camera; creates its stream if there is none.
    pub async fn put_camera(&self, _camera: Camera) -> Result<(), Error> {
        unimplemented!("skeleton")
    }
    /// Removes a camera; its stream and recordings stay.
    pub async fn delete_camera(&self, _stream: &StreamName) -> Result<(), Error> {
        unimplemented!("skeleton")
    }
    /// All rules.
    pub async fn rules(&self) -> Result<Vec<Rule>, Error> {
        unimplemented!("skeleton")
    }
    /// Adds or replaces a rule.
    pub async fn put_rule(&self, _rule: Rule) -> Result<(), Error> {
        unimplemented!("skeleton")
    }
    /// Removes a rule.
    pub async fn delete_rule(&self, _name: &StreamName) -> Result<(), Error> {
        unimplemented!("skeleton")
    }
    /// All targets.
    pub async fn targets(&self) -> Result<Vec<Target>, Error> {
        unimplemented!("skeleton")
    }
    /// Adds or replaces a target.
    pub async fn put_target(&self, _target: Target) -> Result<(), Error> {
        unimplemented!("skeleton")
    }
    /// Removes a target; its pending deliveries become dead.
    pub async fn delete_target(&self, _name: &StreamName) -> Result<(), Error> {
        unimplemented!("skeleton")
    }

    /// Stores the detections of one picture.
    pub async fn add_detections(&self, _stream: &StreamName, _detections: Vec<Detection>) -> Result<(), Error> {
        unimplemented!("skeleton")
    }
    /// Detections of a stream in a range, oldest first, at most `limit`.
    pub async fn detections(
        &self,
        _stream: &StreamName,
        _range: Range,
        _limit: usize,
    ) -> Result<Vec<Detection>, Error> {
        unimplemented!("skeleton")
    }
    /// Stores an alert with its snapshot and one pending delivery per target, in one transaction.
    pub async fn raise_alert(
        &self,
        _alert: Alert,
        _snapshot_jpeg: Vec<u8>,
        _targets: &[StreamName],
    ) -> Result<(), Error> {
        unimplemented!("skeleton")
    }
    /// Alerts, newest first, older than `before` (an alert id), of one stream or all, at most `limit`.
    pub async fn alerts(
        &self,
        _stream: Option<&StreamName>,
        _before: Option<&str>,
        _limit: usize,
    ) -> Result<Vec<Alert>, Error> {
        unimplemented!("skeleton")
    }
    /// Alerts of a stream in a range of producer time, oldest first, at most `limit`.
    pub async fn alerts_in(&self, _stream: &StreamName, _range: Range, _limit: usize) -> Result<Vec<Alert>, Error> {
        unimplemented!("skeleton")
    }
    /// One alert.
    pub async fn alert(&self, _id: &str) -> Result<Alert, Error> {
        unimplemented!("skeleton")
    }
    /// An alert's snapshot (JPEG).
    pub async fn snapshot(&self, _alert_id: &str) -> Result<Vec<u8>, Error> {
        unimplemented!("skeleton")
    }
    /// Pending deliveries due at `now`, oldest first, at most `limit`.
    pub async fn due_deliveries(&self, _now: UnixMillis, _limit: usize) -> Result<Vec<Delivery>, Error> {
        unimplemented!("skeleton")
    }
    /// When the next pending delivery is due, if any.
    pub async fn next_delivery_at(&self) -> Result<Option<UnixMillis>, Error> {
        unimplemented!("skeleton")
    }
    /// Writes back the state of a delivery after an attempt.
    pub async fn update_delivery(&self, _delivery: &Delivery) -> Result<(), Error> {
        unimplemented!("skeleton")
    }
    /// Deliveries, newest first, of one alert or all, at most `limit`.
    pub async fn deliveries(&self, _alert: Option<&str>, _limit: usize) -> Result<Vec<Delivery>, Error> {
        unimplemented!("skeleton")
    }
    /// Makes a dead delivery pending again, due now.
    pub async fn redrive(&self, _delivery_id: u64) -> Result<(), Error> {
        unimplemented!("skeleton")
    }
    /// When the oldest delivery that is still pending was put into the outbox.
    pub async fn oldest_pending(&self) -> Result<Option<UnixMillis>, Error> {
        unimplemented!("skeleton")
    }
}
