//! A file that keeps some room on the disk for the catalog: SQLite cannot delete a row without room for its journal, so a disk that
//! others have filled to the last byte could never be relieved. It is given up for that, and made again once there is room.

use crate::quota::Disk;
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Enough for the journal of many batches of deletions.
const BYTES: u64 = 16 << 20;
/// Of a small disk it takes no more than this part.
const SHARE: u64 = 32;

/// Free bytes with which a start goes well.
const NEEDED: u64 = 512 << 10;

/// How many bytes it has on a disk of this size.
pub(crate) fn most(disk: u64) -> u64 {
    BYTES.min(disk / SHARE)
}

/// The file.
pub(crate) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    pub(crate) fn new(data: &Path) -> Reserve {
        Reserve { path: data.join("reserve") }
    }

    /// Makes it if it is not there and there is room for twice as much. Blocks.
    pub(crate) fn keep(&self) -> io::Result<()> {
        if self.path.exists() {
            return Ok(());
        }
        let Some(disk) = Disk::of(self.path.parent().unwrap_or(Path::new("."))) else { return Ok(()) };
        let bytes = most(disk.size);
        if disk.free < bytes * 2 {
            return Ok(());
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path)?;
        let filled = fallocate(&file, FallocateFlags::empty(), 0, bytes).map_err(io::Error::from).or_else(|error| {
            // A file system that cannot set blocks aside has to be written to.
            match error.kind() {
                io::ErrorKind::StorageFull => Err(error),
                _ => {
                    let zeros = vec![0; 1 << 16];
                    (0..bytes >> 16).try_for_each(|_| file.write_all(&zeros))
                }
            }
        });
        filled.inspect_err(|_| drop(std::fs::remove_file(&self.path)))
    }

    /// What a start does: SQLite cannot even open its file where there is no room at all. Blocks.
    pub(crate) fn give_up_if_full(&self) {
        let disk = Disk::of(self.path.parent().unwrap_or(Path::new(".")));
        if disk.is_some_and(|disk| disk.free < NEEDED) {
            self.give_up();
        }
    }

    /// Gives the room up. Whether there was any. Blocks.
    pub(crate) fn give_up(&self) -> bool {
        let given = std::fs::remove_file(&self.path).is_ok();
        if given {
            tracing::warn!(path = %self.path.display(), "the disk is full: the room that was kept for the catalog is given up");
        }
        given
    }
}
