//! The data folder looked at from outside, while no process has it open: the check of the invariants, and the rebuild of the
//! fragment index from segments alone.

mod rebuild;
mod report;
mod walk;

pub use rebuild::{Rebuilt, rebuild};
pub use report::{Line, Report};

use crate::catalog::schema;
use crate::folder::Folder;
use crate::{Error, Kind};
use rusqlite::Connection;
use std::path::Path;

/// How thoroughly to look.
#[derive(Clone, Copy, Debug)]
pub struct CheckOptions {
    /// Read every fragment and check its bytes, which reads the whole archive; otherwise only the heads of records.
    pub payloads: bool,
}

impl Default for CheckOptions {
    fn default() -> Self {
        CheckOptions { payloads: true }
    }
}

/// Checks a data folder that no process has open. Changes nothing but what SQLite does on opening its file after a kill. An error
/// means that it could not look (`NotFound`, `Unavailable`: in use), not that something is broken. Blocks.
pub fn check(data: &Path, options: CheckOptions) -> Result<Report, Error> {
    let folder = Folder::open(data)?;
    let path = folder.catalog();
    if !path.exists() {
        return Err(Error::new(Kind::NotFound, format!("{} is missing", path.display())));
    }
    let connection = schema::open(&path, folder.store)?;
    walk::check(&connection, &folder, options)
}

/// Opens the catalog; where it is missing and segments are not, makes it anew from them, so that recordings outlive it.
pub(crate) fn open_or_rebuild(folder: &Folder) -> Result<Connection, Error> {
    let path = folder.catalog();
    let empty = !path.exists() || std::fs::metadata(&path).is_ok_and(|m| m.len() == 0);
    if empty && !folder.shelf().ids_after(0)?.is_empty() {
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
