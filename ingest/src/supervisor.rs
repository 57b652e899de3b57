//! Keeps one task running per enabled camera of the catalog, and follows the catalog's changes.

use crate::camera::{CameraTask, Shared};
use crate::{CameraState, Config};
use media::{Cause, StreamName};
use metrics::gauge;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::records::{Camera, Transport};
use store::{Notice, Store};
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// The catalog is read again so often even without a notice: notices are lossy.
const RECHECK: Duration = Duration::from_secs(60);

/// What is shown of all cameras, by stream.
pub(crate) type Board = Mutex<HashMap<StreamName, Arc<Shared>>>;

/// The supervisor's task.
pub(crate) struct Supervisor {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) board: Arc<Board>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// Where cameras over TCP are read.
    pub(crate) reading: Handle,
    pub(crate) running: HashMap<StreamName, Running>,
    /// Streams that had a camera task since the process started.
    pub(crate) seen: HashSet<StreamName>,
}

/// A camera's task.
pub(crate) struct Running {
    camera: Camera,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Supervisor {
    pub(crate) async fn run(mut self) {
        tracing::debug!("camera supervisor starts");
        let mut notices = self.store.notices();
        loop {
            self.reconcile().await;
            let recheck = tokio::time::sleep(RECHECK);
            tokio::pin!(recheck);
            loop {
                tokio::select! {
                    () = self.stop.cancelled() => {
                        self.stop_all().await;
                        tracing::debug!("camera supervisor ended");
                        return;
                    }
                    () = &mut recheck => break,
                    notice = notices.recv() => match notice {
                        Ok(Notice::Cameras) | Err(RecvError::Lagged(_)) => break,
                        Ok(_) => {}
                        // The store has stopped; only our own stop is left to wait for.
                        Err(RecvError::Closed) => {
                            self.stop.cancelled().await;
                        }
                    },
                }
            }
        }
    }

    /// Makes the running tasks those that the catalog asks for.
    async fn reconcile(&mut self) {
        let cameras = match self.store.cameras().await {
            Ok(cameras) => cameras,
            Err(error) => {
                tracing::error!(%error, "the cameras cannot be read from the catalog");
                return;
            }
        };
        let wanted: HashMap<StreamName, Camera> = cameras.into_iter().map(|c| (c.stream.clone(), c)).collect();
        let gone = |running: &Running| {
            wanted.get(&running.camera.stream).is_none_or(|camera| needs_restart(camera, &running.camera))
        };
        let ending: Vec<StreamName> =
            self.running.values().filter(|r| gone(r)).map(|r| r.camera.stream.clone()).collect();
        let ending: Vec<Running> = ending.iter().filter_map(|name| self.running.remove(name)).collect();
        end(ending).await;
        self.board.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| wanted.contains_key(name));
        for (name, camera) in wanted {
            if camera.enabled && !self.running.contains_key(&name) {
                let running = self.start(camera).await;
                self.running.insert(name, running);
            } else if !camera.enabled {
                self.seen.insert(name.clone());
                self.shared(&name).set(CameraState::Disabled);
                gauge!("vidicon_camera_up", "stream" => name.to_string()).set(0.0);
            }
        }
    }

    async fn start(&mut self, camera: Camera) -> Running {
        let name = camera.stream.clone();
        let cause = if !self.seen.insert(name.clone()) { Cause::SourceStopped } else { self.first_cause(&name).await };
        let shared = self.shared(&name);
        shared.set(CameraState::Connecting { since: self.store.now() });
        let stop = self.stop.child_token();
        let task = CameraTask {
            camera: camera.clone(),
            config: self.config.clone(),
            store: self.store.clone(),
            shared,
            stop: stop.clone(),
            cause,
            lead_us: 0,
            was_live: false,
            remarks: Vec::new(),
        };
        let span = tracing::info_span!(parent: None, "camera", stream = %name);
        // A socket of datagrams holds no more than a picture or two, and nobody sends again what it drops.
        let runtime = match camera.transport {
            Transport::Tcp => self.reading.clone(),
            Transport::Udp => Handle::current(),
        };
        let task = self.tasks.spawn_on(task.run().instrument(span), &runtime);
        Running { camera, stop, task }
    }

    /// Why the first fragment of this process does not continue what the stream holds.
    async fn first_cause(&self, name: &StreamName) -> Cause {
        let Ok(stream) = self.store.stream(name) else { return Cause::Start };
        match stream.latest(1).await {
            Ok(fragments) if fragments.is_empty() => Cause::Start,
            _ => Cause::ServerStopped,
        }
    }

    fn shared(&self, name: &StreamName) -> Arc<Shared> {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.entry(name.clone()).or_insert_with(|| Arc::new(Shared::new(CameraState::Disabled))).clone()
    }

    async fn stop_all(&mut self) {
        end(self.running.drain().map(|(_, running)| running).collect()).await;
    }
}

/// Whether a changed record asks for another session.
fn needs_restart(wanted: &Camera, running: &Camera) -> bool {
    !wanted.enabled
        || wanted.url != running.url
        || wanted.username != running.username
        || wanted.password != running.password
        || wanted.transport != running.transport
}

/// Stops tasks, all at once, and waits for their last fragments and good-byes.
async fn end(tasks: Vec<Running>) {
    tasks.iter().for_each(|running| running.stop.cancel());
    for running in tasks {
        // Panics are caught inside; only an aborted runtime ends it otherwise.
        let _ = running.task.await;
    }
}
