//! Opening a store: files are opened and mended, then the tasks start.

use crate::ahead::Ahead;
use crate::budget::Process;
use crate::catalog::{Catalog, fragments, holds, ranges, schema, segments, streams};
use crate::commit::{Committer, LEAST_GROUP, Queue};
use crate::config::Config;
use crate::crypt::keys::{self, Keys};
use crate::deletion::Deletions;
use crate::faults::Faults;
use crate::folder::Folder;
use crate::pipeline::{self, Pipeline, Settler};
use crate::quota::{self, Usage};
use crate::recorder::Recorder;
use crate::reserve::Reserve;
use crate::retention::Sweeper;
use crate::rewrite::{self, Rewriter};
use crate::segments::objects::attach;
use crate::segments::reader::Reader;
use crate::segments::shelf::Shelf;
use crate::segments::writer::LogWriter;
use crate::state::{Shared, Streams};
use crate::store_impl::{Clock, Inner, Store};
use crate::tail::Tail;
use crate::{Error, recovery, stream_deletion, tasks};
use object_store::ObjectStore;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Notices that a slow listener can be behind before it misses some.
const NOTICES: usize = 1024;

/// What is read ahead from a bucket is at most such a part of the byte budget, beside it.
const READ_AHEAD: u64 = 8;
/// A group is no larger where each becomes an object of a bucket: it is put as one.
const OBJECT_BYTES: u64 = LEAST_GROUP;

/// What quotas look at: the disk of the segments. A bucket has none, and its recordings do not make room on the one of the catalog.
fn on_disk(config: &Config, shelf: &Shelf) -> Config {
    match shelf {
        Shelf::Folder(folder) => Config { data: folder.clone(), ..config.clone() },
        Shelf::Objects(_) => Config { min_free_bytes: 0, quota_percent: 0, ..config.clone() },
    }
}

/// Makes the keys that are missing: of streams that were made before there was a master key. Where recordings are encrypted and their
/// key is not there, nothing is made in its place.
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
pub(crate) struct Opened {
    inner: Arc<Inner>,
    sweeper: Arc<Sweeper>,
    /// Streams whose deletion a stop cut short.
    deleted: BTreeSet<u64>,
}

impl Opened {
    /// Blocks.
    pub(crate) fn new(config: Config, clock: Clock, given: Option<Arc<dyn ObjectStore>>) -> Result<Opened, Error> {
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
    pub(crate) fn start(self) -> Store {
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
