//! The local spool: whole segments in the data folder that the bucket has not taken yet.
//!
//! A segment is spooled byte for byte as its object will be: written under another name, synced, renamed, and the folder synced. So
//! one that bears its name is complete, and what is acknowledged out of it survives a kill and a power cut.

use crate::faults;
use crate::folder::sync_dir;
use crate::segments::{file_name, id_of};
use crate::{Error, Kind};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Instant, SystemTime};
use tokio::sync::Notify;

/// See the module.
pub(crate) struct Spool {
    folder: PathBuf,
    limit: u64,
    held: Mutex<BTreeMap<u64, Held>>,
    /// Told when a segment was added.
    pub(crate) added: Notify,
}

#[derive(Clone, Copy)]
struct Held {
    bytes: u64,
    since: Instant,
}

impl Spool {
    /// Opens the folder, which is made when it is first needed. `limit` bounds what is added, not what is there. Blocks.
    pub(crate) fn open(folder: &Path, limit: u64) -> Result<Spool, Error> {
        Spool::with(folder, limit, true)
    }

    /// The same for those who only read, beside the process that has it open or without one. Blocks.
    pub(crate) fn look(folder: &Path) -> Result<Spool, Error> {
        Spool::with(folder, 0, false)
    }

    fn with(folder: &Path, limit: u64, tidy: bool) -> Result<Spool, Error> {
        let failed = |e: io::Error| {
            Error::new(Kind::Unavailable, format!("spool {} cannot be read", folder.display())).with_source(e)
        };
        let mut held = BTreeMap::new();
        match std::fs::read_dir(folder) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry.map_err(failed)?;
                    let name = entry.file_name();
                    let Some(name) = name.to_str() else { continue };
                    if name.strip_suffix(".part").is_some_and(|name| id_of(name).is_some()) {
                        // Cut short before anything was acknowledged of it; or being written, where this only reads.
                        if tidy {
                            std::fs::remove_file(entry.path()).map_err(failed)?;
                        }
                    } else if let Some(id) = id_of(name) {
                        let meta = entry.metadata().map_err(failed)?;
                        let age =
                            SystemTime::now().duration_since(meta.modified().map_err(failed)?).unwrap_or_default();
                        let since = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
                        held.insert(id, Held { bytes: meta.len(), since });
                    }
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e)),
        }
        Ok(Spool { folder: folder.to_owned(), limit, held: Mutex::new(held), added: Notify::new() })
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<u64, Held>> {
        self.held.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn path(&self, id: u64) -> PathBuf {
        self.folder.join(file_name(id))
    }

    /// The ids it holds, ascending.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.held().keys().copied().collect()
    }

    /// Whether it holds anything: then what comes next is spooled too, so that the bucket is given one thing after another.
    pub(crate) fn is_empty(&self) -> bool {
        self.held().is_empty()
    }

    /// Whether so many bytes more are within its limit.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.limit > 0 && self.bytes().saturating_add(bytes) <= self.limit
    }

    /// Bytes it holds.
    pub(crate) fn bytes(&self) -> u64 {
        self.held().values().map(|held| held.bytes).sum()
    }

    /// Since when it holds its oldest segment.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.held().values().map(|held| held.since).min()
    }

    /// The length of a segment that it holds.
    pub(crate) fn len(&self, id: u64) -> Option<u64> {
        self.held().get(&id).map(|held| held.bytes)
    }

    /// The file of a segment that it holds.
    pub(crate) fn path_of(&self, id: u64) -> Option<PathBuf> {
        self.len(id).map(|_| self.path(id))
    }

    /// Writes a segment and syncs it. Blocks.
    pub(crate) fn write(&self, id: u64, parts: &[Bytes]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let (path, part) = (self.path(id), self.folder.join(format!("{}.part", file_name(id))));
        faults::step("spool.write");
        let written = || -> io::Result<u64> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
            for bytes in parts {
                file.write_all(bytes)?;
            }
            file.sync_all()?;
            faults::step("spool.synced");
            std::fs::rename(&part, &path)?;
            faults::step("spool.named");
            sync_dir(&self.folder)?;
            if let Some(parent) = self.folder.parent() {
                sync_dir(parent)?;
            }
            Ok(file.metadata()?.len())
        };
        match written() {
            Ok(bytes) => {
                self.held().insert(id, Held { bytes, since: Instant::now() });
                self.added.notify_one();
                Ok(())
            }
            Err(e) => {
                let _ = std::fs::remove_file(&part);
                let _ = std::fs::remove_file(&path);
                Err(e)
            }
        }
    }

    /// The whole of a segment. Blocks.
    pub(crate) fn read(&self, id: u64) -> io::Result<Bytes> {
        std::fs::read(self.path(id)).map(Bytes::from)
    }

    /// A part of a segment; `None` if it does not hold it, any more.
    pub(crate) async fn range(&self, id: u64, range: Range<u64>) -> Option<Bytes> {
        let end = self.len(id)?.min(range.end);
        let path = self.path(id);
        let read = tokio::task::spawn_blocking(move || -> io::Result<Bytes> {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(range.start))?;
            let mut bytes = vec![0; end.saturating_sub(range.start) as usize];
            file.read_exact(&mut bytes)?;
            Ok(bytes.into())
        });
        // Gone meanwhile: then it is in the bucket.
        read.await.ok()?.ok()
    }

    /// Lets go of a segment; the file goes. Nothing where it does not hold it.
    pub(crate) async fn remove(&self, id: u64) {
        if self.held().remove(&id).is_some()
            && let Err(error) = tokio::fs::remove_file(self.path(id)).await
        {
            tracing::warn!(segment = id, %error, "a segment could not be removed from the spool; the next start does it");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn what_is_spooled_is_there_after_a_restart_and_what_was_cut_short_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("spool");
        let spool = Spool::open(&folder, 100).unwrap();
        assert!(spool.is_empty() && spool.has_room(100) && !spool.has_room(101));
        spool.write(7, &[Bytes::from_static(b"seg"), Bytes::from_static(b"ment")]).unwrap();
        std::fs::write(folder.join("0000000000000008.seg.part"), "half").unwrap();
        std::fs::write(folder.join("notes.txt"), "mine").unwrap();
        drop(spool);
        let spool = Spool::open(&folder, 10).unwrap();
        assert_eq!((spool.ids(), spool.bytes(), spool.has_room(4)), (vec![7], 7, false));
        assert_eq!(spool.read(7).unwrap(), "segment");
        assert_eq!(spool.range(7, 3..100).await.unwrap(), "ment");
        assert_eq!(spool.range(8, 0..1).await, None);
        spool.remove(7).await;
        assert!(spool.is_empty() && spool.oldest().is_none() && folder.join("notes.txt").exists());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        assert!(!Spool::open(&folder, 0).unwrap().has_room(0), "none is wanted");
    }
}
