//! The runtime that cameras over TCP are read on: it takes the packets of many cameras in one wake-up.
//!
//! A camera sends a packet every few milliseconds. Waking up for each one is most of what recording costs; a worker that
//! naps before it waits finds the packets of all cameras that came meanwhile. What anybody waits for (requests, viewers,
//! commits), and cameras over UDP, whose packets wait for nobody, run on the other runtime, which never naps.

use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};

/// How long a worker that has run out of work naps: what a live picture is later by, at most.
const NAP: Duration = Duration::from_millis(8);

/// One worker reads hundreds of cameras.
const CORES_PER_WORKER: usize = 4;

/// A runtime that may be dropped anywhere, as it does not wait for its tasks then.
pub(crate) struct Batching(Option<Runtime>);

impl Batching {
    /// Starts its threads.
    pub(crate) fn start(thread_name: &str) -> std::io::Result<Batching> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = Builder::new_multi_thread()
            .enable_all()
            .worker_threads(cores.div_ceil(CORES_PER_WORKER))
            .thread_name(thread_name)
            .on_thread_park(|| std::thread::sleep(NAP))
            .build()?;
        Ok(Batching(Some(runtime)))
    }

    /// Where to spawn.
    pub(crate) fn handle(&self) -> &Handle {
        self.0.as_ref().expect("it is taken only when dropped").handle()
    }
}

impl Drop for Batching {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
