//! The data folder looked at from outside, while no process has it open: the check of the invariants, and the rebuild of the
//! fragment index from segments alone.

mod rebuild;

pub use rebuild::{Rebuilt, rebuild};

use crate::catalog::schema;
use crate::folder::Folder;
use crate::{Error, Kind};
use rusqlite::Connection;

/// Opens the catalog; where it is missing and segments are not, makes it anew from them, so that recordings outlive it.
pub(crate) fn open_or_rebuild(folder: &Folder) -> Result<Connection, Error> {
    let path = folder.catalog();
    let empty = !path.exists() || std::fs::metadata(&path).is_ok_and(|m| m.len() == 0);
    if empty && !rebuild::segment_ids(&folder.segments())?.is_empty() {
        tracing::warn!(
            catalog = %path.display(),
            "the catalog is missing; streams and fragments are rebuilt from the segments (cameras, rules, targets and alerts are not in them)"
        );
        rebuild::into(&path, folder)?;
    }
    schema::open(&path, folder.store).map_err(|e| match e.kind() {
        Kind::Corrupt => e.context("move the catalog away, and the next start rebuilds it from the segments"),
        _ => e,
    })
}
