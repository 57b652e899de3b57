//! The store's public face.

use crate::ahead::Ahead;
use crate::budget::Process;
use crate::catalog::{Catalog, fragments, holds, ranges, schema, segments, streams};
use crate::commit::{Committer, LEAST_GROUP, Queue};
use crate::crypt::config::Encryption;
use crate::crypt::keys::{self, Keys};
use crate::deletion::Deletions;
use crate::faults::Faults;
use crate::folder::Folder;
use crate::holds::{Hold, Holds};
use crate::memory::Recorded;
use crate::pipeline::{self, Pipeline, Settler};
use crate::quota::{self, Account, AtQuota, StoreUsage, StreamQuota, Usage};
use crate::recorder::Recorder;
use crate::records::{Alert, Detection};
use crate::reserve::Reserve;
use crate::retention::Sweeper;
use crate::rewrite::{self, Rewriter};
use crate::segments::objects::attach;
use crate::segments::objects::config::StorageConfig;
use crate::segments::reader::Reader;
use crate::segments::shelf::Shelf;
use crate::segments::writer::LogWriter;
use crate::state::{Shared, StreamState, Streams};
use crate::stream::Stream;
use crate::tail::Tail;
use crate::{Error, Kind, documents, faults, recovery, stream_deletion, tasks};
use media::{FragmentMeta, StreamName, UnixMillis};
use object_store::ObjectStore;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Notices that a slow listener can be behind before it misses some.
const NOTICES: usize = 1024;

/// What is read ahead from a bucket is at most such a part of the byte budget, beside it.
const READ_AHEAD: u64 = 8;
/// A group is no larger where each becomes an object of a bucket: it is put as one.
const OBJECT_BYTES: u64 = LEAST_GROUP;

/// Settings of the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where everything lives. Set by the binary from `--data`.
    #[serde(skip)]
    pub data: PathBuf,
    /// How long sealed fragments are gathered before one commit, in ms.
    pub commit_interval_ms: u64,
    /// A commit starts at once when this many bytes wait, or fewer where the disk needs the commit interval for those.
    pub commit_bytes: u64,
    /// A segment is closed at this size.
    pub segment_bytes: u64,
    /// Byte budget of the process for media that is not durable yet.
    pub budget_bytes: u64,
    /// Byte budget of one stream out of it.
    pub stream_budget_bytes: u64,
    /// The newest durable fragments of all streams together that are kept in memory, in bytes.
    pub tail_bytes: u64,
    /// Retention of streams that name none, in hours; 0 keeps for ever.
    pub default_retention_hours: u32,
    /// How often the retention sweeper runs, in seconds.
    pub sweep_interval_s: u64,
    /// Where segments lie. Set by the binary from `[storage]`.
    #[serde(skip)]
    pub storage: StorageConfig,
    /// The master keys, and whether what is recorded is encrypted. Set by the binary from `[encryption]`.
    #[serde(skip)]
    pub encryption: Encryption,
    /// Most bytes that all segments together take; 0 is no limit but the disk.
    pub quota_bytes: u64,
    /// The same as a part of the disk that the data lies on, in percent; 0 is none. The smaller of both counts.
    pub quota_percent: u8,
    /// Bytes that the disk is to have free.
    pub min_free_bytes: u64,
    /// Most bytes that a stream keeps which names no limit of its own; 0 is no limit.
    pub stream_quota_bytes: u64,
    /// What happens where one of them is reached.
    pub at_quota: AtQuota,
    /// Seconds after which bytes that someone deleted are gone from the segments.
    pub erase_deleted_s: u64,
    /// The same of bytes that expired or were evicted.
    pub erase_expired_s: u64,
    /// Segments of which no more than this part counts are written anew earlier, in percent.
    pub rewrite_live_percent: u8,
    /// Bytes that writing segments anew writes in a second, at most.
    pub rewrite_bytes_per_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data: PathBuf::from("vidicon-data"),
            commit_interval_ms: 200,
            commit_bytes: 128 << 20,
            segment_bytes: 256 << 20,
            budget_bytes: 512 << 20,
            stream_budget_bytes: 64 << 20,
            tail_bytes: 32 << 20,
            default_retention_hours: 24 * 7,
            sweep_interval_s: 30,
            storage: StorageConfig::default(),
            encryption: Encryption::default(),
            quota_bytes: 0,
            quota_percent: 0,
            min_free_bytes: 256 << 20,
            stream_quota_bytes: 0,
            at_quota: AtQuota::Evict,
            erase_deleted_s: 3600,
            erase_expired_s: 86_400,
            rewrite_live_percent: 50,
            rewrite_bytes_per_s: 32 << 20,
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
    secret: [u8; 32],
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) sweep_now: Arc<Notify>,
    committer: Mutex<Option<JoinHandle<()>>>,
    /// Holds the lock of the data folder; the threads hold it too.
    folder: Mutex<Option<Arc<Folder>>>,
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
    fn add(&self, row: streams::StreamRow, recorded: Recorded, held: Vec<Hold>) -> Arc<StreamState> {
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

/// What quotas look at: the disk of the segments. A bucket has none, and its recordings do not make room on the one of the catalog.
fn on_disk(config: &Config, shelf: &Shelf) -> Config {
    match shelf {
        Shelf::Folder(folder) => Config { data: folder.clone(), ..config.clone() },
        Shelf::Objects(_) => Config { min_free_bytes: 0, quota_percent: 0, ..config.clone() },
    }
}

/// Makes the keys that are missing: of streams that were made before there was a master key. Where recordings are encrypted and their key is not there, nothing is made in its place.
fn see_to_keys(c: &rusqlite::Connection, keys: &Keys, data: &std::path::Path) -> Result<(), Error> {
    for row in streams::all(c)? {
        let (id, name) = (row.info.id, row.info.name);
        if !keys::exists(data, id) && streams::ends_encrypted(c, id)? {
            return Err(Error::of_configuration(format!(
                "the key of stream {name}, keys/{id:016x}.key of {}, is gone: put a copy of it back, or give the stream up with \
                 `vidicon encryption destroy {name}`",
                data.display()
            )));
        }
        keys.make(id).map_err(|e| e.context(format_args!("stream {name}")))?;
    }
    Ok(())
}

/// A store whose files are open and mended and whose tasks do not run yet.
struct Opened {
    inner: Arc<Inner>,
    sweeper: Arc<Sweeper>,
    /// Streams whose deletion a stop cut short.
    deleted: BTreeSet<u64>,
}

impl Opened {
    /// Blocks.
    fn new(config: Config, clock: Clock, given: Option<Arc<dyn ObjectStore>>) -> Result<Opened, Error> {
        let mut folder = Folder::open_or_create(&config.data)?;
        // Before anything is changed.
        let keys = Arc::new(Keys::open(&config.data, folder.store, &config.encryption)?);
        attach::attach(&mut folder, &config.storage, given)?;
        attach::remember(&config.data, &config.storage)?;
        let folder = Arc::new(folder);
        let reserve = Reserve::new(&config.data);
        reserve.give_up_if_full();
        let mut connection = crate::check::open_or_rebuild(&folder)?;
        rewrite::settle(&mut connection, &folder)?;
        let segment_bytes = quota::segment_bytes(&config);
        let resume = recovery::recover(&mut connection, &folder, segment_bytes)?;
        // A process never gives out a counter of a block that an earlier one had (invariant 3).
        streams::reserve_all(&connection)?;
        see_to_keys(&connection, &keys, &config.data)?;
        let secret = schema::secret(&connection)?;
        let rows = streams::all(&connection)?;
        let recorded =
            rows.iter().map(|r| fragments::recorded(&connection, r.info.id)).collect::<Result<Vec<_>, _>>()?;
        let mut held = holds::all(&connection)?;
        let deleted = streams::deleted(&connection)?;
        let deletions = Deletions::new(ranges::next_id(&connection)?, deleted.clone());
        let totals = segments::totals(&connection)?;
        let segments = Arc::new(AtomicU64::new(totals.count));
        let usage = Usage::new(&on_disk(&config, folder.shelf()), totals.bytes, totals.live_bytes);
        drop(connection);

        let catalog = Catalog::open(&folder.catalog(), folder.store, &folder)?;
        let faults = Arc::new(Faults::default());
        let (queue, work) = Queue::new();
        let (notices, _) = broadcast::channel(NOTICES);
        let recorder = Recorder {
            catalog: catalog.clone(),
            notices: notices.clone(),
            clock: clock.clone(),
            faults: faults.clone(),
            doubt: queue.doubt.clone(),
        };
        let encrypts = config.encryption.key.is_some() && config.encryption.new_recordings;
        let committer = match folder.shelf() {
            Shelf::Folder(_) => {
                let log = LogWriter::new(
                    &folder.segments(),
                    folder.store,
                    segment_bytes,
                    resume.next_id,
                    resume.segment,
                    faults.clone(),
                )?;
                // A part of a segment, so that small segments stay small; and little of what is held a second time, encrypted.
                let most = if encrypts { LEAST_GROUP } else { (segment_bytes / 2).max(LEAST_GROUP) };
                let committer = Committer {
                    work,
                    log,
                    recorder,
                    interval: Duration::from_millis(config.commit_interval_ms),
                    group_bytes: config.commit_bytes.min(most),
                    closing: queue.closing.clone(),
                    health: queue.health.clone(),
                };
                committer.start(folder.clone())?
            }
            Shelf::Objects(objects) => {
                let storage = &config.storage;
                let settler = Settler {
                    recorder,
                    objects: objects.clone(),
                    spool_after: Duration::from_millis(storage.spool_after_ms),
                    unrecorded: BTreeMap::new(),
                };
                let pipeline = Pipeline {
                    work,
                    objects: objects.clone(),
                    store: folder.store,
                    next_id: resume.next_id,
                    interval: Duration::from_millis(storage.commit_interval_ms),
                    group_bytes: config.commit_bytes.min(OBJECT_BYTES),
                    puts: storage.puts,
                    settler,
                };
                pipeline.start(folder.clone())?
            }
        };
        let reader = Reader::new(folder.shelf(), keys.clone())?;
        let ahead = reader.objects().map(|objects| Ahead::new(objects.clone(), config.budget_bytes / READ_AHEAD));
        let budget = Process::new(config.budget_bytes);
        let streams: Arc<Streams> = Arc::new(RwLock::default());
        let shelf = folder.shelf().clone();
        // What an earlier process left in it is not known.
        let journal_since = AtomicU64::new(clock().0.max(1) as u64);
        let (stopping, moving) = (AtomicBool::new(false), AtomicU64::new(0));
        let tail = Tail::new(config.tail_bytes);
        let shared = Arc::new(Shared {
            config,
            clock,
            catalog,
            keys,
            reader,
            ahead,
            tail,
            rings: Arc::default(),
            queue,
            stopping,
            deletions,
            usage,
            moving,
            journal_since,
        });
        let data = folder.root().to_owned();
        let rewriter = Arc::new(Rewriter::new(shared.clone(), shelf.clone(), data, faults.clone()));
        let sweeper =
            Arc::new(Sweeper { shared: shared.clone(), streams: streams.clone(), shelf, segments, reserve, rewriter });
        let inner = Arc::new(Inner {
            shared,
            streams,
            notices,
            budget,
            secret,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            sweep_now: Arc::default(),
            committer: Mutex::new(Some(committer)),
            folder: Mutex::new(Some(folder)),
            faults,
            sweeper: sweeper.clone(),
        });
        for (row, recorded) in rows.into_iter().zip(recorded) {
            let held = held.remove(&row.info.id).unwrap_or_default();
            inner.add(row, recorded, held);
        }
        Ok(Opened { inner, sweeper, deleted })
    }

    /// Starts the tasks. Needs the runtime.
    fn start(self) -> Store {
        let Opened { inner, sweeper, deleted } = self;
        stream_deletion::resume(&inner, deleted);
        let segments = sweeper.segments.clone();
        let every = Duration::from_secs(inner.shared.config.sweep_interval_s.max(1));
        tasks::rewrite(&inner.tasks, &inner.stop, sweeper.rewriter.clone(), inner.shared.clock.clone(), every);
        let (clock, now, shared) = (inner.shared.clock.clone(), inner.sweep_now.clone(), inner.shared.clone());
        tasks::sweep(&inner.tasks, &inner.stop, sweeper, clock, every, now, shared);
        tasks::watch(&inner.tasks, &inner.stop, inner.shared.clone(), inner.streams.clone(), segments);
        if let Some(objects) = inner.shared.reader.objects() {
            let upload = pipeline::upload(objects.clone(), inner.shared.config.storage.puts, inner.stop.clone());
            inner.tasks.spawn_on(upload.instrument(tracing::info_span!("upload")), &objects.handle());
        }
        Store { inner }
    }
}
