//! Erasure: segments that hold bytes which do not count any more are written anew without them.
//!
//! A segment is due when most of it is dead, or when half of the time is over in which bytes have to be gone that someone deleted, or
//! that expired. One at a time is copied ([`crate::segments::copy`]), at a bounded pace. What is on the disk at each step:
//!
//! 1. `{id}.seg.new` is written and synced beside the segment. A start takes it away: the catalog knows an earlier generation.
//! 2. The file `rewritten` counts one more than the catalog does. A start then compares the generations of all segments.
//! 3. One transaction lets the rows point into the new file, and says its generation. A start puts that file in its place.
//! 4. The new file takes the name of the old one. Whoever reads the old one has it open.
//!
//! So an earlier copy of the catalog can still be put back: a start finds by `rewritten` that segments were written anew since, looks at
//! their heads, and lets the rows point to where the fragments are now.

use crate::catalog::rewrites::{self, Row};
use crate::catalog::streams;
use crate::faults::Faults;
use crate::folder::{Folder, sync_dir};
use crate::segments::copy::{self, Contents, Keep};
use crate::segments::record::{FILE_HEADER_LEN, FileHeader, FormatError};
use crate::segments::scan::Scan;
use crate::segments::shelf::Shelf;
use crate::state::Shared;
use crate::{Error, Kind};
use media::UnixMillis;
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Fragments that are looked up at once.
const LOOK_UPS: usize = 2000;
/// The name of what is being written, after that of the segment.
const NEW: &str = ".new";

/// Writes segments anew. One for a store.
pub(crate) struct Rewriter {
    pub(crate) shared: Arc<Shared>,
    pub(crate) shelf: Shelf,
    /// The data folder.
    pub(crate) data: PathBuf,
    pub(crate) faults: Arc<Faults>,
    /// Held while one is written.
    pub(crate) one: tokio::sync::Mutex<()>,
    /// Held while the new file takes its place, and while segments are removed.
    pub(crate) places: tokio::sync::Mutex<()>,
    /// Segments that cannot be walked, so that they are not tried for ever.
    pub(crate) damaged: Mutex<BTreeSet<u64>>,
    /// Bytes that this process wrote anew.
    pub(crate) written: AtomicU64,
}

impl Rewriter {
    pub(crate) fn new(shared: Arc<Shared>, shelf: Shelf, data: PathBuf, faults: Arc<Faults>) -> Rewriter {
        Rewriter {
            shared,
            shelf,
            data,
            faults,
            one: tokio::sync::Mutex::default(),
            places: tokio::sync::Mutex::default(),
            damaged: Mutex::default(),
            written: AtomicU64::new(0),
        }
    }

    /// Writes all anew that is due, one after the other.
    pub(crate) async fn rewrite_due(&self, now: UnixMillis) -> Result<(), Error> {
        let config = &self.shared.config;
        // At half of the time, so that they are gone at its end.
        let half = |seconds: u64| now.plus(-(seconds.min(u64::from(u32::MAX)) as i64 * 500));
        let due = rewrites::Due {
            deleted: half(config.erase_deleted_s),
            expired: half(config.erase_expired_s),
            live_percent: u64::from(config.rewrite_live_percent.min(100)),
        };
        let open = self.shared.catalog.read(move |c| rewrites::open_due(c, due.deleted)).await?;
        if let Some(id) = open {
            self.shared.queue.closing.store(id, Ordering::Relaxed);
        }
        if self.shelf.folder().is_some() {
            let ids = self.shared.catalog.read(move |c| rewrites::due(c, &due)).await?;
            for id in ids {
                self.rewrite(id, true, now).await?;
            }
        }
        let since = self.shared.journal_since.load(Ordering::Relaxed);
        if since > 0 && since as i64 <= due.deleted.0 {
            self.shared.catalog.write(|c| rewrites::truncate_journal(c)).await?;
            let _ = self.shared.journal_since.compare_exchange(since, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
        let oldest = self.shared.catalog.read(|c| rewrites::oldest(c)).await?;
        let age_s = oldest.map_or(0.0, |at| (now.0 - at.0).max(0) as f64 / 1000.0);
        metrics::gauge!("vidicon_erasure_oldest_seconds").set(age_s);
        Ok(())
    }

    /// Most of which segments is dead, for whoever needs room.
    pub(crate) async fn mostly_dead(&self) -> Result<Vec<u64>, Error> {
        let never = UnixMillis(i64::MIN);
        let live_percent = u64::from(self.shared.config.rewrite_live_percent.min(100));
        let due = rewrites::Due { deleted: never, expired: never, live_percent };
        let mut ids = self.shared.catalog.read(move |c| rewrites::due(c, &due)).await?;
        ids.retain(|id| !self.is_damaged(*id));
        Ok(ids)
    }

    fn is_damaged(&self, id: u64) -> bool {
        self.damaged.lock().unwrap_or_else(|e| e.into_inner()).contains(&id)
    }

    /// Writes one segment anew; gives the bytes that this freed. `paced`: at the configured pace.
    pub(crate) async fn rewrite(&self, id: u64, paced: bool, now: UnixMillis) -> Result<u64, Error> {
        let Some(folder) = self.shelf.folder().map(Path::to_owned) else { return Ok(0) };
        if self.is_damaged(id) {
            return Ok(0);
        }
        let _one = self.one.lock().await;
        // It may have gone, or was written anew while this waited.
        let Some(row) = self.shared.catalog.read(move |c| rewrites::row(c, id)).await? else { return Ok(0) };
        let started = Instant::now();
        let shelf = self.shelf.clone();
        let contents = blocking(move || match shelf.scan(id, false)? {
            Some(Ok(scan)) => Contents::read(scan, row.end),
            Some(Err(why)) => Err(Error::new(Kind::Corrupt, why.to_string())),
            None => Err(Error::new(Kind::Corrupt, "it is missing")),
        })
        .await;
        let contents = match contents {
            Err(error) if error.kind() == Kind::Corrupt => {
                tracing::error!(segment = id, %error, "a segment cannot be written anew: what was deleted of it stays in it");
                self.damaged.lock().unwrap_or_else(|e| e.into_inner()).insert(id);
                return Ok(0);
            }
            contents => Arc::new(contents?),
        };
        let keep = self.keep(id, &contents).await?;
        let (from, to) = (crate::segments::path(&folder, id), new_path(&folder, id));
        let (of, path, faults, shared) = (contents.clone(), to.clone(), self.faults.clone(), self.shared.clone());
        let rate = shared.config.rewrite_bytes_per_s.max(1 << 16);
        let pace = move |at: u64| {
            let due = Duration::from_secs_f64(at as f64 / rate as f64);
            let ahead = if paced { due.saturating_sub(started.elapsed()) } else { Duration::ZERO };
            // Short sleeps, so that a stop does not wait.
            let until = Instant::now() + ahead;
            while Instant::now() < until && !shared.stopping.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20).min(until - Instant::now().min(until)));
            }
            !shared.stopping.load(Ordering::SeqCst)
        };
        let copied = blocking(move || copy::write(&of, &keep, (&from, &path), &faults, pace)).await?;
        let end = copied.end;
        let placed = self.put_in_place(&folder, row, copied).await;
        if let Err(error) = placed {
            let _ = tokio::fs::remove_file(&to).await;
            return Err(error);
        }
        metrics::counter!("vidicon_rewritten_bytes_total").increment(end);
        self.written.fetch_add(end, Ordering::Relaxed);
        metrics::counter!("vidicon_rewritten_segments_total").increment(1);
        tracing::info!(
            segment = id,
            before = row.end,
            after = end,
            "a segment is written anew without what was deleted or expired"
        );
        self.shared.usage.rewritten(row.end, end);
        self.shared.deleted(now);
        Ok(row.end.saturating_sub(end))
    }

    /// What of a segment counts now.
    async fn keep(&self, id: u64, contents: &Arc<Contents>) -> Result<Keep, Error> {
        let mut live = HashSet::new();
        let found: Vec<_> = contents.fragments().collect();
        for some in found.chunks(LOOK_UPS) {
            let some = some.to_vec();
            live.extend(self.shared.catalog.read(move |c| rewrites::live(c, id, &some)).await?);
        }
        let of_streams = move |c: &mut Connection| {
            let streams = streams::all(c)?.into_iter().map(|row| row.info.id).collect();
            Ok((streams, rewrites::is_oldest(c, id)?))
        };
        let (streams, oldest) = self.shared.catalog.read(of_streams).await?;
        Ok(Keep { live, streams, deletions: !oldest })
    }

    /// Steps 2 to 4. After an error before the transaction the new file is of no use; after it a start, or the next try, moves it.
    async fn put_in_place(&self, folder: &Path, row: Row, copied: copy::Copied) -> Result<(), Error> {
        let _places = self.places.lock().await;
        let (data, faults, segments) = (self.data.clone(), self.faults.clone(), folder.to_owned());
        let rewritten = self.shared.catalog.read(|c| rewrites::count(c)).await? + 1;
        blocking(move || {
            // The name of the new file too: rows that point into it may be all that a power cut leaves.
            let note = || {
                faults.check("rewrite.note")?;
                sync_dir(&segments)?;
                write_count(&data, rewritten)
            };
            note().map_err(Error::of_disk)
        })
        .await?;
        self.faults.check("rewrite.commit").map_err(Error::of_disk)?;
        // Readers that see the rows before the file wait for it.
        self.shared.moving.store(row.id, Ordering::SeqCst);
        let moved = self.shared.catalog.write(move |c| rewrites::moved(c, &row, &copied, rewritten)).await;
        if let Err(error) = moved {
            self.shared.moving.store(0, Ordering::SeqCst);
            return Err(error);
        }
        let (folder, faults) = (folder.to_owned(), self.faults.clone());
        let renamed: io::Result<()> = blocking(move || {
            let put = || {
                faults.check("rewrite.rename")?;
                std::fs::rename(new_path(&folder, row.id), crate::segments::path(&folder, row.id))?;
                faults.check("rewrite.dir")?;
                sync_dir(&folder)
            };
            put().or_else(|error: io::Error| {
                tracing::error!(segment = row.id, %error, "a segment that was written anew could not take its place; it is tried again");
                match new_path(&folder, row.id).exists() {
                    true => std::fs::rename(new_path(&folder, row.id), crate::segments::path(&folder, row.id)),
                    false => sync_dir(&folder),
                }
            })
        })
        .await;
        self.shared.moving.store(0, Ordering::SeqCst);
        if let Err(error) = renamed {
            // What is acknowledged is whole, but cannot be read before that.
            tracing::error!(segment = row.id, %error, "a segment that was written anew is not in its place; the next start puts it there");
        }
        Ok(())
    }
}

async fn blocking<T: Send + 'static, E: From<Stopped> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(Stopped(e).into()))
}

/// A blocking task did not end.
struct Stopped(tokio::task::JoinError);

impl From<Stopped> for Error {
    fn from(stopped: Stopped) -> Error {
        Error::new(Kind::Internal, "writing a segment anew failed").with_source(stopped.0)
    }
}

impl From<Stopped> for io::Error {
    fn from(stopped: Stopped) -> io::Error {
        io::Error::other(stopped.0)
    }
}

fn new_path(folder: &Path, id: u64) -> PathBuf {
    folder.join(crate::segments::file_name(id) + NEW)
}

/// How often segments were written anew, by the file that says so.
fn read_count(data: &Path) -> io::Result<u64> {
    let mut text = String::new();
    match File::open(data.join("rewritten")).and_then(|file| file.take(32).read_to_string(&mut text)) {
        Ok(_) => Ok(text.trim().parse().unwrap_or(u64::MAX)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(e),
    }
}

fn write_count(data: &Path, count: u64) -> io::Result<()> {
    let new = data.join("rewritten.new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    writeln!(file, "{count}")?;
    file.sync_all()?;
    std::fs::rename(&new, data.join("rewritten"))?;
    sync_dir(data)
}

/// What a start does before it looks at the ends of segments. Blocks.
pub(crate) fn settle(c: &mut Connection, folder: &Folder) -> Result<(), Error> {
    let shelf = folder.shelf();
    let Some(segments) = shelf.folder() else { return Ok(()) };
    let io =
        |e: io::Error| Error::new(Kind::Unavailable, format!("{} cannot be mended", segments.display())).with_source(e);
    for id in unfinished(segments).map_err(io)? {
        let path = new_path(segments, id);
        let header = read_header(&path).map_err(io)?;
        let known = rewrites::generation(c, id)?;
        let is_known = |header: &FileHeader| {
            header.store == folder.store && header.segment == id && known == Some(header.generation)
        };
        if header.as_ref().is_some_and(is_known) {
            tracing::info!(segment = id, "a segment that was written anew takes its place");
            std::fs::rename(&path, crate::segments::path(segments, id))
                .and_then(|()| sync_dir(segments))
                .map_err(io)?;
        } else {
            std::fs::remove_file(&path).map_err(io)?;
        }
    }
    let (said, known) = (read_count(folder.root()).map_err(io)?, rewrites::count(c)?);
    if said == known {
        return Ok(());
    }
    // A stop between two steps, or the catalog is an earlier copy.
    let mut moved = BTreeMap::new();
    for id in shelf.ids_after(0)? {
        let header = read_header(&crate::segments::path(segments, id)).map_err(io)?;
        let Some(header) = header.filter(|header| header.store == folder.store && header.segment == id) else {
            continue;
        };
        if rewrites::generation(c, id)?.is_some_and(|known| known != header.generation) {
            moved.insert(id, header.generation);
        }
    }
    if !moved.is_empty() {
        tracing::warn!(
            segments = moved.len(),
            "segments were written anew since this copy of the catalog; their rows are mended"
        );
    }
    for (id, generation) in moved {
        let Some(Ok(mut scan)) = shelf.scan(id, false)? else { continue };
        let mut places = Vec::new();
        while let Some(entry) = scan.next().map_err(io)? {
            places.push((entry.offset, entry.head));
        }
        rewrites::found(c, id, generation, scan.at, &places)?;
    }
    let count = match said {
        u64::MAX => known,
        said => said.max(known),
    };
    rewrites::set_count(c, count)?;
    write_count(folder.root(), count).map_err(io)
}

/// A walk over a segment where the rows of the catalog point, which may be a file that a start has yet to put in its place. Blocks.
pub(crate) fn scan(
    c: &Connection,
    folder: &Folder,
    id: u64,
    payloads: bool,
) -> Result<Option<Result<Scan, FormatError>>, Error> {
    if let Some(segments) = folder.shelf().folder() {
        let new = new_path(segments, id);
        if new.exists()
            && let Ok(scan) = Scan::open(&new, payloads)?
            && rewrites::generation(c, id)? == Some(scan.header.generation)
        {
            return Ok(Some(Ok(scan)));
        }
    }
    folder.shelf().scan(id, payloads)
}

fn unfinished(segments: &Path) -> io::Result<Vec<u64>> {
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(segments)? {
        let name = entry?.file_name();
        ids.extend(name.to_str().and_then(|name| name.strip_suffix(NEW)).and_then(crate::segments::id_of));
    }
    Ok(ids)
}

fn read_header(path: &Path) -> io::Result<Option<FileHeader>> {
    let mut bytes = Vec::with_capacity(FILE_HEADER_LEN);
    File::open(path)?.take(FILE_HEADER_LEN as u64).read_to_end(&mut bytes)?;
    Ok(FileHeader::decode(&bytes).ok())
}
