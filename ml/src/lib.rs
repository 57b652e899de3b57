//! Watching streams: decode, detect, rules, alerts, webhooks.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use store::Store;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Settings of detection and of alert deliveries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The ONNX Runtime library. By default `libonnxruntime.so` beside the binary, then where the linker looks.
    pub onnxruntime: Option<PathBuf>,
    /// The detector. By default the street model in the binary.
    pub model: Option<PathBuf>,
    /// Threads of one inference.
    pub threads: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config { onnxruntime: None, model: None, threads: 1 }
    }
}

/// Why watching could not start: one clear line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// The running watches and the delivery of alerts. Cheap to clone.
#[derive(Clone)]
pub struct Watches {}

impl Watches {
    /// Loads the runtime and the model (once), then watches each stream that a rule names, and delivers alerts, following
    /// the catalog's changes until `stop` is cancelled.
    pub async fn start(
        _config: Config,
        _store: Store,
        _stop: CancellationToken,
        _tasks: &TaskTracker,
    ) -> Result<Watches, StartError> {
        unimplemented!("skeleton")
    }
}
