//! Media in: camera sources over RTSP (and GStreamer pipelines), the supervisor that keeps them running, and what producers push.
//!
//! What belongs here: connecting to sources, their clocks, and turning what they send into the events of the fragment
//! model. The pure parts are [`clock`], [`access_unit`], [`backoff`] and [`putmedia::core`]; sources yield items (`source`), `recorder` makes
//! events of them, `camera` and `supervisor` are the tasks.
//!
//! What does not: byte formats (`media`), storage, HTTP.

pub mod access_unit;
mod address;
pub mod backoff;
mod camera;
pub mod clock;
mod failure;
mod gst_source;
mod probe;
pub mod putmedia;
mod recorder;
mod rtsp;
mod source;
mod supervisor;

pub use recorder::Recorder;

use media::{StreamName, UnixMillis};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use store::{Store, records::Camera};
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// Settings of camera sources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Time allowed for connecting and describing, in seconds.
    pub connect_timeout_s: u64,
    /// A source that sends nothing for so long is reconnected, in seconds.
    pub silence_timeout_s: u64,
    /// The longest back-off between two attempts, in seconds.
    pub max_backoff_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { connect_timeout_s: 10, silence_timeout_s: 10, max_backoff_s: 30 }
    }
}

/// Why a camera gives no media, in a form a page can show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// One of `bad_url`, `unresolved`, `forbidden_address`, `refused`, `timeout`, `unauthorized`, `not_found`, `not_rtsp`,
    /// `no_supported_codec`, `lost`, `protocol`, `pipeline`, `store`, `internal`.
    pub code: &'static str,
    /// A sentence that names what, where and why. Never holds a password.
    pub message: String,
}

/// The state of a camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum CameraState {
    /// Not pulled because its operator said so.
    Disabled,
    /// Connecting for the first time, or again.
    Connecting {
        /// Since when.
        since: UnixMillis,
    },
    /// Frames arrive.
    Live {
        /// Since when.
        since: UnixMillis,
        /// What producer times are derived from: `sender_reports` or `arrival`.
        clock: &'static str,
        /// How media is pulled: `rtsp/tcp`, `rtsp/udp` or `gstreamer`.
        via: &'static str,
    },
    /// Failed; will be tried again.
    Failed {
        /// Since when.
        since: UnixMillis,
        /// Why.
        reason: Failure,
        /// When it will be tried again.
        retry_at: UnixMillis,
    },
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Probe {
    /// Such as `H.264 High 1280×720`.
    pub video: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Frames per second seen.
    pub fps: f64,
    /// Time between key frames seen, in ms, if two came.
    pub key_interval_ms: Option<u32>,
    /// Whether pictures are reordered.
    pub has_b_frames: bool,
    /// Such as `AAC 48 kHz stereo`, if there is audio.
    pub audio: Option<String>,
    /// Plain-language remarks: tracks that will not be recorded, a long key-frame interval, …
    pub remarks: Vec<String>,
}

/// The supervisor of all cameras. Cheap to clone.
#[derive(Clone)]
pub struct Cameras {
    config: Config,
    board: Arc<supervisor::Board>,
}

impl Cameras {
    /// Starts pulling every camera of the catalog, and follows its changes until `stop` is cancelled. The tasks belong to
    /// `tasks`; on a stop they complete their fragments and say good-bye to their cameras before they end.
    ///
    /// What a camera sends over TCP is read on `reading`, which may be late; over UDP on the runtime of the caller, as what
    /// is not read in time is lost there.
    pub fn start(
        config: Config,
        store: Store,
        stop: CancellationToken,
        tasks: &TaskTracker,
        reading: &Handle,
    ) -> Cameras {
        let board = Arc::<supervisor::Board>::default();
        let supervisor = supervisor::Supervisor {
            config: config.clone(),
            store,
            board: board.clone(),
            stop,
            tasks: tasks.clone(),
            reading: reading.clone(),
            running: HashMap::new(),
            seen: HashSet::new(),
        };
        tasks.spawn(supervisor.run().instrument(tracing::info_span!("cameras")));
        Cameras { config, board }
    }

    /// The state of a camera, if there is one of that name.
    pub fn state(&self, stream: &StreamName) -> Option<CameraState> {
        self.shared(stream).map(|shared| shared.state())
    }

    /// How often a camera was reconnected: it became live again after it had been.
    pub fn reconnects(&self, stream: &StreamName) -> u64 {
        self.shared(stream).map_or(0, |shared| shared.reconnects())
    }

    /// Connects to a camera that need not be in the catalog, looks at it for at most three seconds, and says what it found.
    pub async fn probe(&self, camera: &Camera) -> Result<Probe, Failure> {
        let span = tracing::info_span!("probe", stream = %camera.stream);
        probe::probe(&self.config, camera).instrument(span).await
    }

    fn shared(&self, stream: &StreamName) -> Option<Arc<camera::Shared>> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).get(stream).cloned()
    }
}
