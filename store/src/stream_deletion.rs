//! Deleting a stream, in steps of which each is durable before the next is begun:
//!
//! 1. One catalog transaction takes the stream's row and notes its id. From here on nobody can reach it.
//! 2. The log notes it. A catalog that is made anew before this brings the stream back, so nothing of it may be gone by then.
//! 3. Its key is destroyed, if it has one.
//! 4. The sweep takes its rows, and then the bytes go with their segments.
//!
//! A start goes on with the second.

use crate::catalog::{configs, streams};
use crate::commit::Work;
use crate::state::{Shared, StreamState};
use crate::store_impl::Inner;
use crate::{Error, Kind, Notice, documents, faults, holds};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

/// The pause after a note that could not be written, which doubles from there on.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// All steps but the last, of which a sweep is told. Is to run to its end even if the caller is cancelled.
pub(crate) async fn delete(inner: &Arc<Inner>, state: Arc<StreamState>) -> Result<(), Error> {
    let (id, name) = (state.id(), state.name().clone());
    let (camera, of, shared) = (name.clone(), state.clone(), inner.shared.clone());
    let delete = move |c: &mut rusqlite::Connection| {
        if configs::exists(c, configs::Table::Cameras, &camera)? {
            let message = format!("camera {camera} records to this stream: remove it first");
            return Err(Error::new(Kind::Conflict, message));
        }
        holds::none_of(c, &of)?;
        streams::delete(c, id)?;
        // Sweeps run on this thread too: none comes before it.
        shared.deletions.begin_stream(id);
        Ok(())
    };
    inner.shared.catalog.write(delete).await?;
    faults::step("stream.deleted");
    {
        let mut streams = inner.streams.write().unwrap_or_else(|e| e.into_inner());
        // Another may have come under its name since the catalog let go of it.
        if streams.get(&name).is_some_and(|there| Arc::ptr_eq(there, &state)) {
            streams.remove(&name);
        }
    }
    state.close();
    let finish = Finish::begin(inner, id);
    let _ = inner.notices.send(Notice::Streams);
    let _ = inner.notices.send(Notice::Documents(documents::STREAM));
    finish.run().await.map_err(|e| e.context(format_args!("stream {name} is deleted, but not all of it is gone")))
}

/// Goes on with the deletions that a stop cut short. They are in the queue when this returns.
pub(crate) fn resume(inner: &Arc<Inner>, ids: impl IntoIterator<Item = u64>) {
    for id in ids {
        let finish = Finish::begin(inner, id);
        inner.tasks.spawn(async move {
            if let Err(error) = finish.run().await {
                tracing::warn!(stream = id, %error, "a deletion that a stop cut short is not finished");
            }
        });
    }
}

/// Steps 2 and 3 of one stream. Holds nothing that keeps the store open.
struct Finish {
    id: u64,
    shared: Arc<Shared>,
    sweep_now: Arc<Notify>,
    stop: CancellationToken,
    noted: Option<oneshot::Receiver<()>>,
}

impl Finish {
    fn begin(inner: &Inner, id: u64) -> Finish {
        let (shared, sweep_now) = (inner.shared.clone(), inner.sweep_now.clone());
        let mut finish = Finish { id, shared, sweep_now, stop: inner.stop.clone(), noted: None };
        finish.noted = finish.note();
        finish
    }

    /// Hands the note to the commit thread, unless the store stops.
    fn note(&self) -> Option<oneshot::Receiver<()>> {
        let (noting, noted) = oneshot::channel();
        self.shared.queue.push(Work::Deleted(self.id, noting)).is_ok().then_some(noted)
    }

    async fn run(mut self) -> Result<(), Error> {
        let stopping = || Error::new(Kind::Unavailable, "the store is stopping; its next start goes on");
        let mut pause = FIRST_PAUSE;
        loop {
            let noted = self.noted.take().or_else(|| self.note()).ok_or_else(stopping)?;
            if noted.await.is_ok() {
                break;
            }
            // Its group was not recorded. On a full disk the sweep makes room.
            self.sweep_now.notify_one();
            tokio::select! {
                () = self.stop.cancelled() => return Err(stopping()),
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
        faults::step("stream.noted");
        let (id, shared) = (self.id, self.shared.clone());
        let destroy = move |_: &mut rusqlite::Connection| {
            // Where it cannot be destroyed, the stream stays noted, and the next start tries again.
            shared.keys.destroy(id).map_err(|e| e.context("its key"))?;
            shared.deletions.end_stream(id);
            Ok(())
        };
        self.shared.catalog.write(destroy).await?;
        self.sweep_now.notify_one();
        Ok(())
    }
}
