//! The one thread that runs the model for all streams.
//!
//! Each stream has at most one picture waiting: a newer one takes its place (newest wins), and streams take turns. So the
//! queue is bounded by the number of streams, and no stream starves another. Pictures come scaled, as the model's input:
//! what a stream can do on its own thread does not take the time of all.

use crate::{
    decode::Picture,
    detector::{Detector, Found},
    layout::Layout,
    preprocess::Input,
};
use media::StreamName;
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::sync::{mpsc::OwnedPermit, oneshot};

/// A picture that was looked at.
pub(crate) struct Seen {
    pub(crate) picture: Picture,
    pub(crate) found: Vec<Found>,
}

/// A picture to look at, with room kept for the answer.
pub(crate) struct Job {
    pub(crate) picture: Picture,
    /// The picture as the model takes it.
    pub(crate) input: Input,
    pub(crate) min_score: f32,
    pub(crate) answer: OwnedPermit<Seen>,
}

/// The way to the thread. Cheap to clone; the thread ends when it is closed.
#[derive(Clone)]
pub(crate) struct Engine {
    shared: Arc<Shared>,
    layout: Arc<Layout>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(StreamName, Job)>,
    closed: bool,
}

impl Engine {
    /// Starts the thread. The receiver resolves when it has ended.
    pub(crate) fn start(detector: Detector) -> std::io::Result<(Engine, oneshot::Receiver<()>)> {
        let shared = Arc::<Shared>::default();
        let (ended, on_end) = oneshot::channel::<()>();
        let layout = Arc::new(detector.layout().clone());
        let task = EngineTask { shared: shared.clone(), detector };
        std::thread::Builder::new().name("detect".into()).spawn(move || {
            tracing::info_span!("detect").in_scope(|| task.run());
            drop(ended);
        })?;
        Ok((Engine { shared, layout }, on_end))
    }

    /// What the model takes and gives.
    pub(crate) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Puts a picture in line. Returns whether an older one of the stream had to go.
    pub(crate) fn submit(&self, stream: &StreamName, job: Job) -> bool {
        let mut queue = self.shared.lock();
        if queue.closed {
            return true;
        }
        let replaced = match queue.waiting.iter_mut().find(|(name, _)| name == stream) {
            Some((_, waiting)) => Some(std::mem::replace(waiting, job)),
            None => {
                queue.waiting.push_back((stream.clone(), job));
                None
            }
        };
        drop(queue);
        self.shared.ready.notify_one();
        replaced.is_some()
    }

    /// Ends the thread after the picture it is at.
    pub(crate) fn close(&self) {
        let mut queue = self.shared.lock();
        queue.closed = true;
        queue.waiting.clear();
        drop(queue);
        self.shared.ready.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<(StreamName, Job)> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(next) = queue.waiting.pop_front() {
                return Some(next);
            }
            queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct EngineTask {
    shared: Arc<Shared>,
    detector: Detector,
}

impl EngineTask {
    fn run(mut self) {
        tracing::info!("detection started");
        while let Some((stream, job)) = self.shared.next() {
            let Job { picture, input, min_score, answer } = job;
            let started = Instant::now();
            let detector = &mut self.detector;
            // One odd picture must not end detection for all streams.
            let looked = catch_unwind(AssertUnwindSafe(|| detector.detect_in(&input, min_score)));
            // The stream may have its buffer back while the picture is judged.
            drop(input);
            match looked {
                Ok(Ok(found)) => {
                    metrics::histogram!("vidicon_detect_seconds").record(started.elapsed().as_secs_f64());
                    answer.send(Seen { picture, found });
                }
                Ok(Err(error)) => tracing::warn!(%stream, %error, "a picture could not be looked at"),
                Err(_) => tracing::error!(%stream, "looking at a picture panicked; going on"),
            }
        }
        tracing::info!("detection ended");
    }
}
