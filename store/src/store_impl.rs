//! The store's public face.

use crate::budget::Process;
use crate::catalog::{Catalog, streams};
use crate::config::Config;
use crate::faults::Faults;
use crate::folder::Folder;
use crate::holds::{Hold, Holds};
use crate::memory::Recorded;
use crate::opening::Opened;
use crate::quota::{Account, StoreUsage, StreamQuota};
use crate::records::{Alert, Detection};
use crate::retention::Sweeper;
use crate::state::{Shared, StreamState, Streams};
use crate::stream::Stream;
use crate::{Error, Kind, documents, faults, stream_deletion};
use media::{FragmentMeta, StreamName, UnixMillis};
use object_store::ObjectStore;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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
    /// Documents of this collection were added, changed or removed ([`crate::documents`]).
    Documents(&'static str),
}

/// An open store. Cheap to clone. [`Store::stop`] ends it in order; when the last clone is dropped without it, what is queued is
/// still committed in the background.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) notices: broadcast::Sender<Notice>,
    pub(crate) budget: Arc<Process>,
    pub(crate) secret: [u8; 32],
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) sweep_now: Arc<Notify>,
    pub(crate) committer: Mutex<Option<JoinHandle<()>>>,
    /// Holds the lock of the data folder; the threads hold it too.
    pub(crate) folder: Mutex<Option<Arc<Folder>>>,
    #[cfg_attr(not(test), expect(dead_code, reason = "tests arm fail points here"))]
    pub(crate) faults: Arc<Faults>,
    #[cfg_attr(not(test), expect(dead_code, reason = "tests sweep by hand"))]
    pub(crate) sweeper: Arc<Sweeper>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
        self.shared.queue.close();
    }
}

impl Store {
    /// Opens or makes the data folder: locks it, upgrades or refuses its format, recovers, starts the commit and sweep tasks.
    pub async fn open(config: Config, clock: Clock) -> Result<Store, Error> {
        Store::open_given(config, clock, None).await
    }

    /// The same with segments in this store of objects, whatever `config.storage.url` says. For tests.
    #[doc(hidden)]
    pub async fn open_on(config: Config, clock: Clock, objects: Arc<dyn ObjectStore>) -> Result<Store, Error> {
        Store::open_given(config, clock, Some(objects)).await
    }

    async fn open_given(config: Config, clock: Clock, given: Option<Arc<dyn ObjectStore>>) -> Result<Store, Error> {
        let opened = tokio::task::spawn_blocking(move || Opened::new(config, clock, given)).await;
        let opened = opened.map_err(|e| Error::new(Kind::Internal, "opening the store failed").with_source(e))??;
        Ok(opened.start())
    }

    /// Commits what is queued, stops the tasks, releases the lock. Open fragments are dropped with their writers.
    pub async fn stop(&self) -> Result<(), Error> {
        let inner = &self.inner;
        inner.shared.stopping.store(true, Ordering::SeqCst);
        inner.stop.cancel();
        inner.shared.queue.close();
        if let Some(objects) = inner.shared.reader.objects() {
            objects.stop();
        }
        self.states().iter().for_each(|stream| stream.stop());
        inner.budget.wake();
        inner.tasks.close();
        inner.tasks.wait().await;
        let committer = inner.committer.lock().unwrap_or_else(|e| e.into_inner()).take();
        let catalog = inner.shared.catalog.clone();
        let joined = tokio::task::spawn_blocking(move || {
            let ended = committer.is_none_or(|thread| thread.join().is_ok());
            faults::step("store.stopping");
            catalog.stop();
            ended
        });
        let ended = joined.await.map_err(|e| Error::new(Kind::Internal, "stopping the store failed").with_source(e))?;
        inner.folder.lock().unwrap_or_else(|e| e.into_inner()).take();
        match ended {
            true => Ok(()),
            false => Err(Error::new(Kind::Internal, "the commit thread had panicked")),
        }
    }

    /// Why what comes in is not made durable now: the catalog does not answer, or it is the disk's doing or the bucket's.
    pub fn storage_problem(&self) -> Option<String> {
        let queue = &self.inner.shared.queue;
        queue.doubt.problem().or_else(|| match self.inner.shared.reader.objects() {
            Some(objects) => objects.problem(),
            None => queue.problem(),
        })
    }

    /// Bytes that are read ahead from a bucket, or on their way; `0` where segments lie in a folder. For tests.
    #[doc(hidden)]
    pub fn read_ahead_bytes(&self) -> u64 {
        self.inner.shared.ahead.as_ref().map_or(0, |ahead| ahead.bytes())
    }

    /// The time now by the store's clock.
    pub fn now(&self) -> UnixMillis {
        (self.inner.shared.clock)()
    }
    /// A listener for notices.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.inner.notices.subscribe()
    }
    /// A random 32-byte secret of this data folder, made at its creation; keys for tokens and cookies derive from it.
    pub fn secret(&self) -> [u8; 32] {
        self.inner.secret
    }
    /// A small value kept in the catalog (`root_access_key_id`, …).
    pub async fn setting(&self, key: &str) -> Result<Option<String>, Error> {
        let key = key.to_owned();
        self.catalog().read(move |c| streams::setting(c, &key)).await
    }
    /// Sets such a value.
    pub async fn set_setting(&self, key: &str, value: &str) -> Result<(), Error> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.catalog().write(move |c| streams::set_setting(c, &key, &value)).await
    }

    /// Creates a stream. `AlreadyExists` if the name is taken. `None` takes the default retention, `Some(0)` keeps no archive: its
    /// fragments are there for five minutes.
    pub async fn create_stream(&self, name: &StreamName, retention_hours: Option<u32>) -> Result<Stream, Error> {
        self.create(name, retention_hours, None).await
    }
    pub(crate) async fn create(
        &self,
        name: &StreamName,
        retention_hours: Option<u32>,
        body: Option<serde_json::Value>,
    ) -> Result<Stream, Error> {
        let default = self.inner.shared.config.default_retention_hours;
        let retention = retention_hours.or((default > 0).then_some(default));
        let (name, now) = (name.clone(), self.now());
        // The map is filled before the caller can be cancelled, so that row and memory never differ.
        let inner = self.inner.clone();
        let create = async move {
            let with_body = body.is_some();
            let catalog = &inner.shared.catalog;
            faults::step("stream.create");
            let keys = inner.shared.keys.clone();
            let create = move |c: &mut rusqlite::Connection| {
                let row = streams::create(c, &name, retention, now, body)?;
                // Where it cannot be made there is no stream, or else the next start makes it.
                keys.make(row.info.id).inspect_err(|_| drop(streams::delete(c, row.info.id)))?;
                Ok(row)
            };
            let row = catalog.write(create).await?;
            faults::step("stream.created");
            let state = inner.add(row, Recorded::default(), Vec::new());
            let _ = inner.notices.send(Notice::Streams);
            if with_body {
                let _ = inner.notices.send(Notice::Documents(documents::STREAM));
            }
            Ok(Stream::new(state))
        };
        detached(create).await
    }
    /// The stream of this name. From memory, so cheap.
    pub fn stream(&self, name: &StreamName) -> Result<Stream, Error> {
        self.state(name).map(Stream::new)
    }
    /// All streams by name.
    pub fn streams(&self) -> Vec<Stream> {
        self.states().into_iter().map(Stream::new).collect()
    }
    /// Sets how long a stream keeps its fragments, in hours: `None` for ever, `Some(0)` without an archive. In force as soon as the
    /// next sweep, which is started, gets to it. A longer one brings nothing back that is gone.
    pub async fn set_retention(&self, name: &StreamName, retention_hours: Option<u32>) -> Result<(), Error> {
        let (state, inner) = (self.state(name)?, self.inner.clone());
        let set = async move {
            let id = state.id();
            // Memory follows in the order of the catalog's transactions.
            let of = state.clone();
            let write = move |c: &mut rusqlite::Connection| {
                streams::set_retention(c, id, retention_hours)?;
                of.set_retention_hours(retention_hours);
                Ok(())
            };
            inner.shared.catalog.write(write).await.map_err(|e| e.context(format_args!("stream {}", state.name())))?;
            tracing::info!(stream = %state.name(), hours = ?retention_hours, "the retention of a stream is set");
            inner.sweep_now.notify_one();
            let _ = inner.notices.send(Notice::Streams);
            Ok(())
        };
        detached(set).await
    }
    /// Sets what a stream may keep. In force at once: what is too much is evicted by the sweep that this starts. `Invalid` where all
    /// guarantees together would be more than the quota of the store.
    pub async fn set_quota(&self, name: &StreamName, quota: StreamQuota) -> Result<(), Error> {
        let (state, inner) = (self.state(name)?, self.inner.clone());
        let others: u64 = self
            .states()
            .iter()
            .filter(|other| other.id() != state.id())
            .map(|other| other.account.quota().guaranteed_bytes)
            .fold(0, u64::saturating_add);
        if let Some(most) = self.usage().quota_bytes
            && others.saturating_add(quota.guaranteed_bytes) > most
            && quota.guaranteed_bytes > 0
        {
            let message = format!(
                "guaranteed_bytes: {} beside the {others} of other streams are more than the store's quota of {most}",
                quota.guaranteed_bytes
            );
            return Err(Error::new(Kind::Invalid, message));
        }
        let set = async move {
            let (id, of) = (state.id(), state.clone());
            // Memory follows in the order of the catalog's transactions.
            let write = move |c: &mut rusqlite::Connection| {
                streams::set_quota(c, id, &quota)?;
                of.account.set_quota(quota);
                Ok(())
            };
            inner.shared.catalog.write(write).await.map_err(|e| e.context(format_args!("stream {}", state.name())))?;
            tracing::info!(stream = %state.name(), ?quota, "the quota of a stream is set");
            inner.sweep_now.notify_one();
            let _ = inner.notices.send(Notice::Streams);
            Ok(())
        };
        detached(set).await
    }
    /// What the store keeps and may keep.
    pub fn usage(&self) -> StoreUsage {
        self.inner.shared.usage.figures()
    }
    /// Removes a stream and its rows, and destroys its key, if it has one: what is encrypted of it cannot be read any more once this returns. Its
    /// bytes go with their segments. `Conflict` while a camera records to it,
    /// or a legal hold keeps some of it.
    pub async fn delete_stream(&self, name: &StreamName) -> Result<(), Error> {
        self.delete(&self.stream(name)?).await
    }
    /// The same of this stream, and never of a later one of its name: `NotFound` when it was deleted already.
    pub async fn delete(&self, stream: &Stream) -> Result<(), Error> {
        let (state, inner) = (stream.state.clone(), self.inner.clone());
        detached(async move { stream_deletion::delete(&inner, state).await }).await
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.inner.shared.catalog
    }
    pub(crate) fn notify(&self, notice: Notice) {
        // Nobody needs to listen.
        let _ = self.inner.notices.send(notice);
    }
    pub(crate) fn state(&self, name: &StreamName) -> Result<Arc<StreamState>, Error> {
        let found = self.inner.streams.read().unwrap_or_else(|e| e.into_inner()).get(name).cloned();
        found.ok_or_else(|| Error::new(Kind::NotFound, format!("there is no stream {name}")))
    }
    pub(crate) fn states(&self) -> Vec<Arc<StreamState>> {
        self.inner.streams.read().unwrap_or_else(|e| e.into_inner()).values().cloned().collect()
    }
}

impl Inner {
    pub(crate) fn add(&self, row: streams::StreamRow, recorded: Recorded, held: Vec<Hold>) -> Arc<StreamState> {
        let budget = self.budget.stream(self.shared.config.stream_budget_bytes);
        let name = row.info.name.clone();
        let account = Account::new(row.bytes, row.quota);
        let holds = Holds::new(held);
        let state =
            StreamState::new(row.info, row.counter_limit, recorded, self.shared.clone(), budget, account, holds);
        self.streams.write().unwrap_or_else(|e| e.into_inner()).insert(name, state.clone());
        state
    }
}

/// Runs to the end even if the caller is cancelled.
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(work)
        .await
        .unwrap_or_else(|e| Err(Error::new(Kind::Internal, "a change of streams failed").with_source(e)))
}
