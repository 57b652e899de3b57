//! Segments as objects: putting, reading, listing and removing them.

use super::config::{Location, StorageConfig};
use super::http::NO_TRUST;
use super::identity::{self, Conditional};
use super::spool::Spool;
use super::{connect, source};
use crate::faults;
use crate::segments::Edition;
use crate::segments::record::FormatError;
use crate::segments::scan::Scan;
use crate::{Error, Kind};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// The folder of segments under the prefix.
const SEGMENTS: &str = "segments";
/// Range reads under way at a time, of all readers together.
const READS: usize = 32;
/// First and longest wait between two tries of a PUT.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Tries of a PUT that can be done again later.
const TRIES: u32 = 3;
/// A group that is not durable after so long is told by `/readyz`.
const LATE: Duration = Duration::from_secs(10);
/// Threads that drive the connections.
const THREADS: usize = 2;

/// A bucket, or what stands for one, with this store's objects under a prefix.
pub(crate) struct Objects {
    /// Below the prefix.
    store: Arc<dyn ObjectStore>,
    label: String,
    conditional: AtomicBool,
    reads: Semaphore,
    pub(crate) spool: Spool,
    /// Told when the store stops: nothing is tried again.
    stopping: AtomicBool,
    /// Groups that are under way and not acknowledged: their bytes, and since when.
    pending: Mutex<BTreeMap<u64, (u64, Instant)>>,
    /// Why nothing is recorded any more.
    broken: OnceLock<String>,
    runtime: Option<Runtime>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Objects({})", self.label)
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // May be dropped on a thread that must not block.
            runtime.shutdown_background();
        }
    }
}

/// Why a PUT will never succeed.
#[derive(Debug)]
pub(crate) enum PutError {
    /// Another object bears the name: someone else writes under this prefix.
    Foreign(String),
    /// The store stops, and the bucket does not answer.
    Stopping,
}

impl Objects {
    /// Opens the bucket of a configuration. `spool` is for what the bucket does not take. Blocks.
    pub(crate) fn open(config: &StorageConfig, spool: Spool) -> Result<Objects, Error> {
        let Location::Bucket { service, bucket, prefix } = config.location()? else {
            return Err(Error::new(Kind::Internal, "a folder is no bucket"));
        };
        let runtime = runtime()?;
        let store = connect::bucket(config, service, &bucket, runtime.handle().clone())?;
        Objects::on(Arc::new(PrefixStore::new(store, prefix)), config, spool, runtime)
    }

    /// The same on a store that is there already.
    pub(crate) fn open_on(store: Arc<dyn ObjectStore>, config: &StorageConfig, spool: Spool) -> Result<Objects, Error> {
        Objects::on(store, config, spool, runtime()?)
    }

    fn on(
        store: Arc<dyn ObjectStore>,
        config: &StorageConfig,
        spool: Spool,
        runtime: Runtime,
    ) -> Result<Objects, Error> {
        Ok(Objects {
            store,
            label: config.shown().to_owned(),
            conditional: AtomicBool::new(true),
            reads: Semaphore::new(READS),
            spool,
            stopping: AtomicBool::new(false),
            pending: Mutex::default(),
            broken: OnceLock::new(),
            runtime: Some(runtime),
        })
    }

    /// Checks that the bucket answers and belongs to this store, or claims it ([`identity::claim`]). Blocks.
    pub(crate) fn claim(&self, id: Uuid, used: bool) -> Result<(), Error> {
        let claim = async {
            // A missing bucket is told apart from a missing object by listing.
            if let Some(Err(e)) = self.store.list(Some(&ObjectPath::from(SEGMENTS))).next().await {
                return Err(of_start(&self.label, e));
            }
            identity::claim(self.store.as_ref(), &self.label, id, used).await
        };
        let conditional = self.handle().block_on(claim)?;
        if conditional == Conditional::Ignored {
            tracing::warn!(
                storage = self.label,
                "the service ignores conditions on PUT (If-None-Match): ids that are never used again keep objects from being overwritten"
            );
            self.conditional.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Checks that the bucket answers and belongs to this store, and changes nothing. Blocks.
    pub(crate) fn compare(&self, id: Uuid) -> Result<(), Error> {
        self.handle().block_on(identity::compare(self.store.as_ref(), &self.label, id))
    }

    /// Where its connections are driven.
    pub(crate) fn handle(&self) -> Handle {
        self.runtime.as_ref().expect("it is taken only when this is dropped").handle().clone()
    }

    /// What a segment is called in messages.
    pub(crate) fn name(&self, edition: Edition) -> String {
        format!("{}/{SEGMENTS}/{}", self.label, edition.name())
    }

    /// Nothing is tried again from now on.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// A group is under way.
    pub(crate) fn begun(&self, id: u64, bytes: u64) {
        self.pending.lock().unwrap_or_else(|e| e.into_inner()).insert(id, (bytes, Instant::now()));
    }

    /// It no longer is.
    pub(crate) fn ended(&self, id: u64) {
        self.pending.lock().unwrap_or_else(|e| e.into_inner()).remove(&id);
    }

    /// Nothing can be recorded any more.
    pub(crate) fn set_broken(&self, why: String) {
        // The first reason is the one that counts.
        let _ = self.broken.set(why);
    }

    /// Why nothing can be recorded any more, if so.
    pub(crate) fn broken(&self) -> Option<String> {
        self.broken.get().cloned()
    }

    /// Why what comes in is not made durable now, if so.
    pub(crate) fn problem(&self) -> Option<String> {
        let oldest =
            self.pending.lock().unwrap_or_else(|e| e.into_inner()).values().map(|(_, since)| since.elapsed()).max();
        let late = oldest.filter(|age| *age > LATE);
        let late = late.map(|age| format!("{} has not taken a group for {} s", self.label, age.as_secs()));
        self.broken().or(late)
    }

    /// Sets the gauges.
    pub(crate) fn gauges(&self) {
        let (bytes, oldest) = {
            let pending = self.pending.lock().unwrap_or_else(|e| e.into_inner());
            (pending.values().map(|(bytes, _)| bytes).sum::<u64>(), pending.values().map(|(_, since)| *since).min())
        };
        let spooled = self.spool.bytes();
        let oldest =
            oldest.into_iter().chain(self.spool.oldest()).min().map_or(0.0, |since| since.elapsed().as_secs_f64());
        metrics::gauge!("vidicon_storage_pending_bytes").set((bytes + spooled) as f64);
        metrics::gauge!("vidicon_storage_oldest_pending_seconds").set(oldest);
        metrics::gauge!("vidicon_storage_spool_bytes").set(spooled as f64);
    }

    /// Uploads a segment out of the spool, which then lets go of it.
    pub(crate) async fn unspool(self: &Arc<Self>, id: u64) {
        let objects = self.clone();
        let read = tokio::task::spawn_blocking(move || objects.spool.read(id)).await;
        let Ok(Ok(bytes)) = read else {
            // Removed meanwhile, or the disk fails: it is looked at again.
            if self.spool.len(id).is_some() {
                tracing::error!(segment = id, "a segment of the spool cannot be read");
                tokio::time::sleep(BACKOFF.1).await;
            }
            return;
        };
        match self.put(id, bytes.into()).await {
            // Retention may have taken it while it was under way.
            Ok(()) if self.spool.len(id).is_none() => drop(self.remove(&[Edition::first(id)]).await),
            Ok(()) => {
                faults::step("spool.put");
                self.spool.remove(id).await;
                faults::step("spool.removed");
            }
            Err(PutError::Foreign(name)) => {
                let why = format!("{name} is there already and is not this server's; it stays in the spool");
                tracing::error!("{why}");
                self.set_broken(why);
                tokio::time::sleep(BACKOFF.1).await;
            }
            Err(PutError::Stopping) => tokio::time::sleep(BACKOFF.1).await,
        }
    }

    fn at(edition: Edition) -> ObjectPath {
        ObjectPath::from_iter([SEGMENTS, &edition.name()])
    }

    /// Whether a service does not know a feature, rather than refuse it.
    pub(super) fn is_unsupported(error: &object_store::Error) -> bool {
        matches!(error, object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. })
            || error.to_string().contains("501 Not Implemented")
    }

    /// Puts a segment that must not be there yet, and goes on trying until it is there: an outage ends some day, and
    /// credentials are mended. Where an answer was lost, the object that is there is compared with what was sent.
    pub(crate) async fn put(&self, id: u64, payload: PutPayload) -> Result<(), PutError> {
        let at = Objects::at(Edition::first(id));
        let mut wait = BACKOFF.0;
        for tries in 0u64.. {
            let started = std::time::Instant::now();
            let error = match self.put_once(&at, &payload).await {
                Ok(()) => {
                    metrics::histogram!("vidicon_storage_put_seconds").record(started.elapsed().as_secs_f64());
                    metrics::counter!("vidicon_storage_puts_total", "outcome" => "done").increment(1);
                    if tries > 0 {
                        tracing::info!(segment = id, tries, "the bucket took a segment at last");
                    }
                    return Ok(());
                }
                Err(Some(error)) => error,
                Err(None) => return Err(PutError::Foreign(self.name(Edition::first(id)))),
            };
            metrics::counter!("vidicon_storage_puts_total", "outcome" => "failed").increment(1);
            if self.is_stopping() {
                return Err(PutError::Stopping);
            }
            if tries == 0 || tries.is_power_of_two() {
                tracing::warn!(segment = id, tries = tries + 1, %error, "the bucket did not take a segment; it is tried again");
            }
            // Half of the wait is drawn, so that many servers do not come back at the same instant.
            let drawn = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
            tokio::time::sleep(wait.mul_f64(0.5 + drawn / 2.0)).await;
            wait = (wait * 2).min(BACKOFF.1);
        }
        unreachable!("the tries have no end")
    }

    /// Puts a segment that was written anew, whose name was never given out. A few tries: it is done again later. What an error leaves
    /// there is the caller's to remove.
    pub(crate) async fn put_new(&self, edition: Edition, payload: PutPayload) -> Result<(), Error> {
        let at = Objects::at(edition);
        let mut tries = 0;
        loop {
            tries += 1;
            match self.put_once(&at, &payload).await {
                Ok(()) => return Ok(()),
                Err(Some(error)) if tries == TRIES || self.is_stopping() => {
                    let message = format!("{} could not be put", self.name(edition));
                    return Err(Error::new(Kind::Unavailable, message).with_source(error));
                }
                Err(Some(_)) => tokio::time::sleep(BACKOFF.0 * tries).await,
                Err(None) => {
                    let message = format!("{} is there already and is not what was to be put", self.name(edition));
                    return Err(Error::new(Kind::Conflict, message));
                }
            }
        }
    }

    /// `Err(None)`: another object is there.
    async fn put_once(&self, at: &ObjectPath, payload: &PutPayload) -> Result<(), Option<object_store::Error>> {
        let mode = if self.conditional.load(Ordering::Relaxed) { PutMode::Create } else { PutMode::Overwrite };
        match self.store.put_opts(at, payload.clone(), PutOptions { mode, ..Default::default() }).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                match self.is_same(at, payload).await {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(None),
                    Err(e) => Err(Some(e)),
                }
            }
            Err(e) => Err(Some(e)),
        }
    }

    async fn is_same(&self, at: &ObjectPath, payload: &PutPayload) -> object_store::Result<bool> {
        let found = self.store.get(at).await?;
        if found.meta.size != payload.content_length() as u64 {
            return Ok(false);
        }
        let mut there = found.into_stream();
        let mut sent = payload.iter().flat_map(|part| part.iter().copied());
        while let Some(bytes) = there.try_next().await? {
            if !bytes.iter().all(|byte| sent.next() == Some(*byte)) {
                return Ok(false);
            }
        }
        Ok(sent.next().is_none())
    }

    /// Bytes of a segment, from the spool while it is there. Waits its turn among all readers.
    pub(crate) async fn range(&self, edition: Edition, range: std::ops::Range<u64>) -> object_store::Result<Bytes> {
        // What is written anew never goes through the spool.
        if edition.generation == 0
            && let Some(bytes) = self.spool.range(edition.id, range.clone()).await
        {
            return Ok(bytes);
        }
        let _turn = self.reads.acquire().await.expect("it is never closed");
        self.store.get_range(&Objects::at(edition), range).await
    }

    /// All of a segment. `None` if it is not there.
    pub(crate) async fn whole(&self, edition: Edition) -> object_store::Result<Option<Bytes>> {
        let _turn = self.reads.acquire().await.expect("it is never closed");
        match self.store.get(&Objects::at(edition)).await {
            Ok(found) => found.bytes().await.map(Some),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The length of a segment. `None` if it is not there.
    async fn len(&self, edition: Edition) -> object_store::Result<Option<u64>> {
        if let Some(len) = self.spool.len(edition.id).filter(|_| edition.generation == 0) {
            return Ok(Some(len));
        }
        match self.store.head(&Objects::at(edition)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// See [`crate::segments::shelf::Shelf::editions_after`].
    pub(crate) fn editions_after(&self, after: u64) -> Result<Vec<Edition>, Error> {
        // Of the names of one id that of its first edition is the last.
        let (folder, offset) = (ObjectPath::from(SEGMENTS), Objects::at(Edition::first(after)));
        let list = self.store.list_with_offset(Some(&folder), &offset);
        let named = list.try_filter_map(|meta| async move { Ok(meta.location.filename().and_then(Edition::of_name)) });
        let there = self.handle().block_on(named.try_collect::<BTreeSet<Edition>>());
        let mut there = there.map_err(|e| of_start(&self.label, e))?;
        there.extend(self.spool.ids().into_iter().map(Edition::first));
        // Not all services begin where they are told to.
        Ok(there.into_iter().filter(|edition| edition.id > after).collect())
    }

    /// Whether it is there. Blocks.
    pub(crate) fn is_there(&self, edition: Edition) -> Result<bool, Error> {
        let len = self.handle().block_on(self.len(edition));
        len.map(|len| len.is_some()).map_err(|e| of_start(&self.label, e))
    }

    /// See [`crate::segments::shelf::Shelf::scan`].
    pub(crate) fn scan(
        self: &Arc<Self>,
        edition: Edition,
        read_fragments: bool,
    ) -> Result<Option<Result<Scan, FormatError>>, Error> {
        let unread = |e: object_store::Error| {
            Error::new(Kind::Unavailable, format!("segment {} cannot be read", self.name(edition))).with_source(e)
        };
        let Some(len) = self.handle().block_on(self.len(edition)).map_err(unread)? else { return Ok(None) };
        let source = source::ObjectSource::new(self.clone(), edition, len);
        Scan::of(Box::new(source), len, read_fragments).map(Some).map_err(|e| {
            Error::new(Kind::Unavailable, format!("segment {} cannot be read", self.name(edition))).with_source(e)
        })
    }

    /// See [`crate::segments::shelf::Shelf::remove`].
    pub(crate) async fn remove(&self, editions: &[Edition]) -> Vec<Edition> {
        for edition in editions.iter().filter(|edition| edition.generation == 0) {
            self.spool.remove(edition.id).await;
        }
        let paths: Vec<_> = editions.iter().map(|edition| Ok(Objects::at(*edition))).collect();
        let mut answers = self.store.delete_stream(stream::iter(paths).boxed());
        let mut gone = Vec::with_capacity(editions.len());
        // An answer for each, in order.
        for edition in editions {
            match answers.next().await {
                Some(Ok(_) | Err(object_store::Error::NotFound { .. })) => gone.push(*edition),
                Some(Err(error)) => {
                    tracing::warn!(segment = self.name(*edition), %error, "a segment without live fragments could not be removed")
                }
                None => break,
            }
        }
        gone
    }
}

fn runtime() -> Result<Runtime, Error> {
    Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("objects")
        .enable_all()
        .build()
        .map_err(|e| Error::new(Kind::Unavailable, "the threads of the bucket could not be started").with_source(e))
}

/// Whether a service says that it has no such bucket, container or account.
pub(super) fn is_bucket_missing(text: &str) -> bool {
    ["NoSuchBucket", "ContainerNotFound", "bucket does not exist", "No such bucket"]
        .iter()
        .any(|says| text.contains(says))
}

/// What an error means at the start: whether the operator has to mend something, or to wait.
pub(super) fn of_start(label: &str, error: object_store::Error) -> Error {
    use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
    let text = error.to_string();
    let one_line = |e: object_store::Error| e.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    match error {
        NotFound { .. } => Error::of_configuration(format!("storage {label}: there is no such bucket")),
        PermissionDenied { .. } | Unauthenticated { .. } => Error::of_configuration(format!(
            "storage {label}: access is denied; are the credentials right? ({})",
            one_line(error)
        )),
        // Of a list, too, whose errors have no kind.
        e if ["401 Unauthorized", "403 Forbidden"].iter().any(|says| text.contains(says)) => Error::of_configuration(
            format!("storage {label}: access is denied; are the credentials right? ({})", one_line(e)),
        ),
        // Of a list, which has no object that could be missing.
        e if is_bucket_missing(&text) || text.contains("404 Not Found") => {
            Error::of_configuration(format!("storage {label}: there is no such bucket ({})", one_line(e)))
        }
        e if ["400 Bad Request", "AuthorizationHeaderMalformed", "301 Moved", "BareRedirect"]
            .iter()
            .any(|says| text.contains(says)) =>
        {
            // Only requests to S3 are signed for a region.
            let hint = if label.starts_with("s3://") { "; is the region right?" } else { "" };
            Error::of_configuration(format!("storage {label}: the service refuses the request{hint} ({})", one_line(e)))
        }
        e if text.contains(NO_TRUST) => Error::of_configuration(format!("storage {label}: {}", one_line(e))),
        e => Error::new(Kind::Unavailable, format!("storage {label} cannot be reached ({})", one_line(e))),
    }
}
