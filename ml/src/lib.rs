//! Watching streams: decode, detect, rules, alerts, webhooks.
//!
//! What belongs here: everything from a followed frame to a delivered alert. What does not: recording (a watch that falls
//! behind loses pictures, never fragments), HTTP served to anyone, the rules' storage.

pub mod decode;
mod deliver;
pub mod detector;
mod engine;
pub mod image;
pub mod layout;
mod post;
pub mod postprocess;
pub mod preprocess;
pub mod rules;
pub mod runtime;
mod see;
pub mod snapshot;
pub mod sns;
mod watch;
pub mod webhook;

use crate::{
    deliver::DeliverTask, detector::Detector, engine::Engine, layout::Layout, post::Poster, runtime::Runtime,
    watch::WatchesTask,
};
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, sync::Arc};
use store::Store;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

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

/// The street model: person, bicycle, car in streets as the demo draws them. Its card and checksum lie beside it.
const STREET: &[u8] = include_bytes!("../models/street.onnx");

/// Why watching could not start: one clear line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// The running watches and the delivery of alerts. Cheap to clone.
#[derive(Clone)]
pub struct Watches {
    layout: Arc<Layout>,
}

impl Watches {
    /// Loads the runtime and the model (once), then watches each stream that a rule names, and delivers alerts, following
    /// the catalog's changes until `stop` is cancelled. Where the model cannot be loaded, alerts of earlier runs are still
    /// delivered.
    pub async fn start(
        config: Config,
        store: Store,
        stop: CancellationToken,
        tasks: &TaskTracker,
    ) -> Result<Watches, StartError> {
        // Reading and optimising a model takes a moment.
        let loaded = tokio::task::spawn_blocking(move || (load(&config), Poster::new())).await;
        let (detector, poster) = loaded.map_err(|e| StartError(format!("loading the detector broke off: {e}")))?;
        let deliver = DeliverTask::new(store.clone(), poster, stop.clone());
        tasks.spawn(deliver.run().instrument(tracing::info_span!("deliveries")));
        let detector = detector?;
        let layout = detector.layout();
        tracing::info!(width = layout.width, height = layout.height, classes = layout.names.len(), "detector loaded");
        let (engine, ended) =
            Engine::start(detector).map_err(|e| StartError(format!("no thread for detection: {e}")))?;
        let watched = Watches { layout: engine.layout().clone() };
        let watches = WatchesTask { store, engine: engine.clone(), stop: stop.clone(), tasks: tasks.clone() };
        tasks.spawn(watches.run().instrument(tracing::info_span!("watches")));
        tasks.spawn(async move {
            stop.cancelled().await;
            engine.close();
            // An error says that the thread is gone, which is what is waited for.
            let _ = ended.await;
        });
        Ok(watched)
    }

    /// The names of the classes that the loaded model finds.
    pub fn classes(&self) -> &[String] {
        &self.layout.names
    }
}

fn load(config: &Config) -> Result<Detector, StartError> {
    let runtime = Runtime::load(config.onnxruntime.as_deref())?;
    let detector = match config.model.as_deref() {
        Some(path) => Detector::from_file(&runtime, path, config.threads),
        None => Detector::from_bytes(&runtime, STREET, config.threads),
    };
    detector.map_err(|e| StartError(e.to_string()))
}
