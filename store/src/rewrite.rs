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
//! their heads, and lets the rows point to where the fragments are now. Where it is one only, the file names it, and no other is looked at.
//!
//! In a bucket the new one is an object of its own ([`crate::rewrite_objects`]).

use crate::catalog::rewrites::{self, Row};
use crate::catalog::streams;
use crate::faults::Faults;
use crate::folder::{Folder, sync_dir};
use crate::segments::Edition;
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
        self.remove_leftovers(now).await?;
        let ids = self.shared.catalog.read(move |c| rewrites::due(c, &due)).await?;
        for id in ids {
            self.rewrite(id, true, now).await?;
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

    pub(crate) fn is_damaged(&self, id: u64) -> bool {
        self.damaged.lock().unwrap_or_else(|e| e.into_inner()).contains(&id)
    }

    /// Writes one segment anew; gives the bytes that this freed. `paced`: at the configured pace.
    pub(crate) async fn rewrite(&self, id: u64, paced: bool, now: UnixMillis) -> Result<u64, Error> {
        if self.is_damaged(id) {
            return Ok(0);
        }
        let _one = self.one.lock().await;
        // It may have gone, or was written anew while this waited.
        let Some(row) = self.shared.catalog.read(move |c| rewrites::row(c, id)).await? else { return Ok(0) };
        let done = match &self.shelf {
            Shelf::Folder(folder) => self.in_folder(folder, row, paced).await,
            Shelf::Objects(objects) => self.in_bucket(objects, row, paced, now).await,
        };
        let end = match done {
            Err(error) if error.kind() == Kind::Corrupt => {
                tracing::error!(segment = id, %error, "a segment cannot be written anew: what was deleted of it stays in it");
                self.damaged.lock().unwrap_or_else(|e| e.into_inner()).insert(id);
                return Ok(0);
            }
            // A quota or a deletion took of it meanwhile, say: the next pass sees what is left, and the others need not wait for it.
            Err(error) if error.kind() == Kind::Conflict => {
                metrics::counter!("vidicon_rewrite_failures_total").increment(1);
                tracing::warn!(segment = id, %error, "a segment could not be written anew; it is tried again");
                return Ok(0);
            }
            end => end?,
        };
        // Where it cannot be done now.
        let Some(end) = end else { return Ok(0) };
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

    /// The new file takes the place of the old one; gives its length.
    async fn in_folder(&self, folder: &Path, row: Row, paced: bool) -> Result<Option<u64>, Error> {
        let (shelf, pace) = (self.shelf.clone(), self.pace(paced));
        let contents = blocking(move || match shelf.scan(row.edition(), false)? {
            Some(Ok(scan)) => Contents::read(scan, row.end),
            Some(Err(why)) => Err(Error::new(Kind::Corrupt, why.to_string())),
            None => Err(Error::new(Kind::Corrupt, "it is missing")),
        })
        .await;
        let contents = Arc::new(contents?);
        let keep = self.keep(row.id, &contents).await?;
        let (from, to) = (crate::segments::path(folder, row.id), new_path(folder, row.id));
        let (path, faults) = (to.clone(), self.faults.clone());
        let copied = blocking(move || copy::write_file(&contents, &keep, (&from, &path), &faults, pace)).await?;
        let end = copied.end;
        let placed = self.put_in_place(folder, row, copied).await;
        if let Err(error) = placed {
            let _ = tokio::fs::remove_file(&to).await;
            return Err(error);
        }
        Ok(Some(end))
    }

    /// Waits as the configured pace wants it, told how many bytes were written since now; says whether to go on.
    pub(crate) fn pace(&self, paced: bool) -> impl FnMut(u64) -> bool + Send + 'static {
        let (shared, started) = (self.shared.clone(), Instant::now());
        let rate = shared.config.rewrite_bytes_per_s.max(1 << 16);
        move |at: u64| {
            let due = Duration::from_secs_f64(at as f64 / rate as f64);
            let ahead = if paced { due.saturating_sub(started.elapsed()) } else { Duration::ZERO };
            // Short sleeps, so that a stop does not wait.
            let until = Instant::now() + ahead;
            while Instant::now() < until && !shared.stopping.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20).min(until - Instant::now().min(until)));
            }
            !shared.stopping.load(Ordering::SeqCst)
        }
    }

    /// What of a segment counts now.
    pub(crate) async fn keep(&self, id: u64, contents: &Arc<Contents>) -> Result<Keep, Error> {
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
        let (mut streams, oldest): (BTreeSet<u64>, bool) = self.shared.catalog.read(of_streams).await?;
        // As long as a rebuild would bring them back.
        streams.append(&mut self.shared.deletions.unfinished_streams());
        Ok(Keep { live, streams, deletions: !oldest })
    }

    /// Steps 2 to 4. After an error before the transaction the new file is of no use; after it a start, or the next try, moves it.
    async fn put_in_place(&self, folder: &Path, row: Row, copied: copy::Copied) -> Result<(), Error> {
        let _places = self.places.lock().await;
        // The name of the new file too: rows that point into it may be all that a power cut leaves.
        let new = Edition { id: row.id, generation: row.generation + 1 };
        let rewritten = self.note(new, Some(folder.to_owned())).await?;
        self.faults.check("rewrite.commit").map_err(Error::of_disk)?;
        // Readers that see the rows before the file wait for it.
        self.shared.moving.store(row.id, Ordering::SeqCst);
        let moved = self
            .shared
            .catalog
            .write(move |c| rewrites::moved(c, &row, &copied, new.generation, rewritten, false))
            .await;
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

impl Rewriter {
    /// Step 2: the file `rewritten` counts one more than the catalog, and names what makes the difference; gives the count. `synced`: a
    /// folder to sync before.
    pub(crate) async fn note(&self, new: Edition, synced: Option<PathBuf>) -> Result<u64, Error> {
        let (data, faults) = (self.data.clone(), self.faults.clone());
        let count = self.shared.catalog.read(|c| rewrites::count(c)).await? + 1;
        let note = move || {
            faults.check("rewrite.note")?;
            synced.map_or(Ok(()), |folder| sync_dir(&folder))?;
            write_note(&data, &Note { count, last: Some(new) })
        };
        blocking(move || note().map_err(Error::of_disk)).await?;
        Ok(count)
    }
}

pub(crate) async fn blocking<T: Send + 'static, E: From<Stopped> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(Stopped(e).into()))
}

/// A blocking task did not end.
pub(crate) struct Stopped(tokio::task::JoinError);

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

/// What the file `rewritten` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// How often segments were written anew. `u64::MAX` where that cannot be read.
    pub(crate) count: u64,
    /// What was written last; earlier versions did not say it.
    pub(crate) last: Option<Edition>,
}

fn read_note(data: &Path) -> io::Result<Note> {
    let mut text = String::new();
    match File::open(data.join("rewritten")).and_then(|file| file.take(64).read_to_string(&mut text)) {
        Ok(_) => {
            let mut words = text.split_whitespace();
            let count = words.next().and_then(|word| word.parse().ok()).unwrap_or(u64::MAX);
            Ok(Note { count, last: words.next().and_then(Edition::of_name) })
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Note { count: 0, last: None }),
        Err(e) => Err(e),
    }
}

pub(crate) fn write_note(data: &Path, note: &Note) -> io::Result<()> {
    let new = data.join("rewritten.new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    match note.last {
        Some(last) => writeln!(file, "{} {}", note.count, last.name())?,
        None => writeln!(file, "{}", note.count)?,
    }
    file.sync_all()?;
    std::fs::rename(&new, data.join("rewritten"))?;
    sync_dir(data)
}

/// What a start does before it looks at the ends of segments. Blocks.
pub(crate) fn settle(c: &mut Connection, folder: &Folder) -> Result<(), Error> {
    let shelf = folder.shelf();
    let io = |e: io::Error| {
        Error::new(Kind::Unavailable, format!("{} cannot be mended", folder.root().display())).with_source(e)
    };
    if let Some(segments) = shelf.folder() {
        take_places(c, folder, segments)?;
    }
    let (note, known) = (read_note(folder.root()).map_err(io)?, rewrites::count(c)?);
    if note.count == known {
        return Ok(());
    }
    // A stop between two steps, or the catalog is an earlier copy.
    let moved = match note.last {
        Some(last) if note.count == known + 1 => moved(c, folder, &[last])?,
        _ => moved(c, folder, &shelf.editions_after(0)?)?,
    };
    if !moved.is_empty() {
        tracing::warn!(
            segments = moved.len(),
            "segments were written anew since this copy of the catalog; their rows are mended"
        );
    }
    for edition in moved {
        let Some(Ok(mut scan)) = shelf.scan(edition, false)? else { continue };
        let mut places = Vec::new();
        while let Some(entry) = scan.next().map_err(io)? {
            places.push((entry.offset, entry.head));
        }
        rewrites::found(c, edition.id, edition.generation, scan.at, &places)?;
    }
    let count = match note.count {
        u64::MAX => known,
        said => said.max(known),
    };
    rewrites::set_count(c, count)?;
    write_note(folder.root(), &Note { count, ..note }).map_err(io)
}

/// New files of which the catalog knows take their places, others go.
fn take_places(c: &Connection, folder: &Folder, segments: &Path) -> Result<(), Error> {
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
    Ok(())
}

/// Of these, which take the place of what the catalog knows.
fn moved(c: &Connection, folder: &Folder, there: &[Edition]) -> Result<Vec<Edition>, Error> {
    let mut moved = Vec::new();
    match folder.shelf() {
        Shelf::Folder(segments) => {
            for id in there.iter().map(|edition| edition.id) {
                let header = match read_header(&crate::segments::path(segments, id)) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => None,
                    header => header.map_err(Error::of_disk)?,
                };
                let Some(header) = header.filter(|header| header.store == folder.store && header.segment == id) else {
                    continue;
                };
                if rewrites::generation(c, id)?.is_some_and(|known| known != header.generation) {
                    moved.push(Edition { id, generation: header.generation });
                }
            }
        }
        Shelf::Objects(objects) => {
            // Of one id they follow one another: the last is the newest.
            let newest: BTreeMap<u64, u32> = there.iter().map(|edition| (edition.id, edition.generation)).collect();
            for (id, generation) in newest {
                let Some(known) = rewrites::generation(c, id)?.filter(|known| *known != generation) else { continue };
                let known = Edition { id, generation: known };
                // As long as that is there, nothing came to point to the other.
                if !there.contains(&known) && !objects.is_there(known)? {
                    moved.push(Edition { id, generation });
                }
            }
        }
    }
    Ok(moved)
}

/// A walk over a segment where the rows of the catalog point, which may be a file that a start has yet to put in its place. Blocks.
pub(crate) fn scan(
    c: &Connection,
    folder: &Folder,
    id: u64,
    payloads: bool,
) -> Result<Option<Result<Scan, FormatError>>, Error> {
    let generation = rewrites::generation(c, id)?;
    if let Some(segments) = folder.shelf().folder() {
        let new = new_path(segments, id);
        if new.exists()
            && let Ok(scan) = Scan::open(&new, payloads)?
            && generation == Some(scan.header.generation)
        {
            return Ok(Some(Ok(scan)));
        }
    }
    folder.shelf().scan(Edition { id, generation: generation.unwrap_or(0) }, payloads)
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
