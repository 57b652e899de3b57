//! The data folder looked at from outside: the check of the invariants, while no process has it open or beside one that has; the
//! repair of what can be mended; and the rebuild of the fragment index from segments alone.

mod fix;
mod keep;
mod pace;
mod patch;
mod rebuild;
mod report;
mod rows;
mod walk;

pub use rebuild::{InPlace, Rebuilt, rebuild, rebuild_in_place};
pub use report::{Line, Report};

use crate::catalog::fragments::Placed;
use crate::catalog::{ranges, schema};
use crate::folder::Folder;
use crate::segments::record::Head;
use crate::{Error, Kind, rewrite};
use fix::Repair;
use media::UnixMillis;
use object_store::ObjectStore;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How thoroughly to look.
#[derive(Clone, Copy, Debug)]
pub struct CheckOptions {
    /// Read every fragment and check its bytes, which reads the whole archive; otherwise only the heads of records.
    pub payloads: bool,
    /// Most bytes of segments to read in a second; as fast as it goes where absent.
    pub bytes_per_s: Option<u64>,
}

impl Default for CheckOptions {
    fn default() -> Self {
        CheckOptions { payloads: true, bytes_per_s: None }
    }
}

/// A data folder, by its path.
#[derive(Clone, Debug)]
pub struct At {
    data: PathBuf,
    /// Takes the place of the bucket that the folder notes.
    objects: Option<Arc<dyn ObjectStore>>,
}

impl<P: AsRef<Path> + ?Sized> From<&P> for At {
    fn from(data: &P) -> At {
        At { data: data.as_ref().to_owned(), objects: None }
    }
}

impl At {
    /// The same with segments in this store of objects. For tests.
    #[doc(hidden)]
    pub fn on(data: &Path, objects: Arc<dyn ObjectStore>) -> At {
        At { data: data.to_owned(), objects: Some(objects) }
    }

    fn open(self) -> Result<Folder, Error> {
        Folder::open(&self.data, self.objects)
    }

    fn look(self) -> Result<Folder, Error> {
        Folder::look(&self.data, self.objects)
    }
}

/// Checks a data folder that no process has open. Changes nothing but what SQLite does on opening its file after a kill. An error
/// means that it could not look (`NotFound`, `Unavailable`: in use), not that something is broken. Blocks.
pub fn check(data: impl Into<At>, options: CheckOptions) -> Result<Report, Error> {
    let folder = data.into().open()?;
    walk::check(&catalog(&folder)?, &folder, options, None)
}

/// Checks a data folder beside the process that has it open, as of the moment at which it begins: what is deleted or moved meanwhile is no
/// problem, and what is recorded meanwhile is not looked at. Needs the folder's files, and no lock. Changes nothing. Blocks.
pub fn check_online(data: impl Into<At>, options: CheckOptions) -> Result<Report, Error> {
    let folder = data.into().look()?;
    walk::check(&schema::look(&folder.catalog(), folder.store)?, &folder, options, None)
}

/// Checks a data folder that no process has open and mends what can be mended (`docs/adr/0013-quarantine-repair-rebuild.md`). With
/// `dry_run` nothing is changed. Each change is `said`; `now` is the server's time. What is left shows another check.
pub fn repair(
    data: impl Into<At>,
    options: CheckOptions,
    dry_run: bool,
    now: UnixMillis,
    said: &mut dyn FnMut(&str),
) -> Result<Report, Error> {
    let folder = data.into().open()?;
    let mut connection = catalog(&folder)?;
    let repair = Repair::new(&folder, None, dry_run, now, said);
    let report = walk::check(&connection, &folder, options, Some(repair))?;
    if !dry_run {
        ranges::finish_all(&mut connection)?;
    }
    Ok(report)
}

/// The part of [`repair`] that can be done beside the process that has the folder open: damaged fragments go into quarantine.
pub fn quarantine_online(
    data: impl Into<At>,
    options: CheckOptions,
    dry_run: bool,
    now: UnixMillis,
    said: &mut dyn FnMut(&str),
) -> Result<Report, Error> {
    let folder = data.into().look()?;
    let reads = schema::look(&folder.catalog(), folder.store)?;
    let writes = schema::open(&folder.catalog(), folder.store)?;
    let repair = Repair::new(&folder, Some(writes), dry_run, now, said);
    walk::check(&reads, &folder, options, Some(repair))
}

fn catalog(folder: &Folder) -> Result<Connection, Error> {
    let path = folder.catalog();
    if !path.exists() {
        return Err(Error::new(Kind::NotFound, format!("{} is missing", path.display())));
    }
    schema::open(&path, folder.store).map_err(hint)
}

fn hint(error: Error) -> Error {
    match error.kind() {
        Kind::Corrupt => {
            error.context("`vidicon check --rebuild` makes it anew from the segments and keeps what can be read of it")
        }
        _ => error,
    }
}

/// Whether a row's record stands where the row says, complete and with its checksum.
fn is_whole(c: &Connection, folder: &Folder, row: &Placed) -> Result<bool, Error> {
    let Some(Ok(mut scan)) = rewrite::scan(c, folder, row.place.segment, true)? else { return Ok(false) };
    if scan.header.store != folder.store || scan.header.segment != row.place.segment {
        return Ok(false);
    }
    let io = |e| Error::new(Kind::Unavailable, format!("{} cannot be read", row.place)).with_source(e);
    scan.seek(row.place.offset).map_err(io)?;
    let entry = scan.next().map_err(io)?;
    Ok(entry.is_some_and(|entry| entry.head == Head::fragment(row.stream, &row.meta)))
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
    schema::open(&path, folder.store).map_err(hint)
}
