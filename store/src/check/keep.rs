//! What a rebuild keeps of the catalog that it replaces: all that segments do not hold, as far as it can be read.

use super::is_whole;
use crate::catalog::fragments::{BEHIND, COLUMNS, Placed, read};
use crate::catalog::{db, quarantine, streams};
use crate::folder::Folder;
use crate::segments::record::{StreamBody, record_len_of};
use crate::{Error, Kind};
use bytes::Bytes;
use media::{HeaderId, UnixMillis};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params, params_from_iter, types::Value};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tables that the segments speak for.
const FROM_SEGMENTS: [&str; 9] = [
    "streams",
    "deleted_streams",
    "headers",
    "segments",
    "segment_totals",
    "leftovers",
    "fragments",
    "deleted_ranges",
    "document_versions",
];

/// The catalog that is replaced.
pub(super) struct Old {
    c: Connection,
}

impl Old {
    /// Opens it as it is, of whatever version, if it is one of this store.
    pub(super) fn open(path: &Path, folder: &Folder, problems: &mut Vec<String>) -> Option<Old> {
        if !path.exists() {
            return None;
        }
        let opened = (|| {
            // What its journal holds comes into the file, where that can be done.
            let c =
                Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            let of: Vec<u8> = c.query_row("SELECT value FROM store WHERE key = 'uuid'", [], |r| r.get(0))?;
            Ok::<_, rusqlite::Error>((c, of))
        })();
        match opened {
            Ok((c, of)) if of == folder.store.as_bytes() => Some(Old { c }),
            Ok(_) => {
                problems.push(format!("{} belongs to another data folder: nothing of it is kept", path.display()));
                None
            }
            Err(e) => {
                let what = "cameras, rules, keys, documents and settings are lost";
                problems.push(format!("{} cannot be read ({e}): {what}", path.display()));
                None
            }
        }
    }

    /// Moves it aside; gives where it lies now.
    pub(super) fn set_aside(self, path: &Path) -> Result<PathBuf, Error> {
        // So that no journal is left that would be taken for the new one's.
        let _ = self.c.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()));
        let _ = self.c.close();
        set_aside(path)
    }

    /// A header's bytes.
    pub(super) fn header(&self, stream: u64, id: HeaderId) -> Option<Bytes> {
        streams::header(&self.c, stream, id).ok().flatten().map(Bytes::from)
    }

    /// The first fragment of a segment that stands at this offset or behind it. Looks at all rows: for damaged places only.
    pub(super) fn first_from(&self, segment: u64, offset: u64) -> Option<Placed> {
        let sql = format!(
            "SELECT {COLUMNS}, stream FROM fragments WHERE segment = ?1 AND place >= ?2 ORDER BY place LIMIT 1"
        );
        let mut statement = self.c.prepare_cached(&sql).ok()?;
        let found = statement.query_row(params![segment, offset], |r| {
            let (meta, place) = read(r)?;
            Ok(Placed { stream: r.get(BEHIND)?, meta, place })
        });
        found.optional().ok()?
    }

    /// Copies what segments do not hold into the new catalog.
    pub(super) fn keep(&self, new: &mut Connection, folder: &Folder, problems: &mut Vec<String>) -> Result<(), Error> {
        let tx = new.transaction().map_err(db)?;
        if let Err(e) = self.streams(&tx) {
            problems.push(format!("the streams of the old catalog cannot all be read: {e}"));
        }
        for table in tables(&tx).map_err(db)? {
            if let Err(e) = self.table(&tx, &table, problems) {
                problems.push(format!("table {table} of the old catalog cannot be read whole: {e}"));
            }
        }
        let last: Option<i64> =
            self.c.query_row("SELECT max(last) FROM document_versions", [], |r| r.get(0)).unwrap_or_default();
        tx.execute(
            "UPDATE document_versions SET last = max(last, ?1, (SELECT coalesce(max(version), 0) FROM documents))",
            [last.unwrap_or(0)],
        )
        .map_err(db)?;
        still_damaged(&tx, folder)?;
        tx.commit().map_err(db)
    }

    /// Streams: what the catalog says of their names and retentions is newer than what segments say; those that it does not have and once
    /// had were deleted.
    fn streams(&self, new: &Connection) -> Result<(), Error> {
        let mut statement =
            self.c.prepare("SELECT id, name, retention_hours, created_at, counter_limit FROM streams").map_err(db)?;
        let rows = statement.query_map([], |r| {
            let (id, name): (u64, String) = (r.get("id")?, r.get("name")?);
            let (created_at, counter_limit) = (UnixMillis(r.get("created_at")?), r.get::<_, u64>("counter_limit")?);
            Ok((id, name, r.get("retention_hours")?, created_at, counter_limit))
        });
        let old = rows.map_err(db)?.collect::<Result<Vec<_>, _>>().map_err(db)?;
        let last: u64 = self
            .c
            .query_row("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'streams'), 0)", [], |r| r.get(0))
            .map_err(db)?;
        let deleted = streams::deleted(&self.c).unwrap_or_default();
        let there: HashSet<u64> = old.iter().map(|row| row.0).collect();
        for row in streams::all(new)? {
            // One that still has fragments there is there: its row is damaged.
            let sql = "SELECT EXISTS (SELECT 1 FROM fragments WHERE stream = ?1)";
            let has_rows = || self.c.query_row(sql, [row.info.id], |r| r.get(0)).unwrap_or(true);
            let is_gone = || deleted.contains(&row.info.id) || !has_rows();
            if row.info.id <= last && !there.contains(&row.info.id) && is_gone() {
                new.execute("DELETE FROM streams WHERE id = ?1", [row.info.id]).map_err(db)?;
                streams::note_deleted(new, row.info.id)?;
            }
        }
        for (id, name, retention_hours, created_at, counter_limit) in old {
            let name =
                name.parse().map_err(|_| Error::new(Kind::Corrupt, format!("{name:?} is no name of a stream")))?;
            streams::adopt(new, id, counter_limit, &StreamBody { name, retention_hours, created_at })?;
            self.quota(new, id).map_err(db)?;
        }
        // Ids are never used again.
        streams::never_again(new, last)
    }

    /// Copies what a stream may keep, which catalogs have from version 4 on.
    fn quota(&self, new: &Connection, stream: u64) -> rusqlite::Result<()> {
        if !columns(&self.c, "streams")?.iter().any(|column| column == "at_quota") {
            return Ok(());
        }
        let sql = "SELECT quota_bytes, at_quota, guaranteed_bytes FROM streams WHERE id = ?1";
        let of: [Value; 3] = self.c.query_row(sql, [stream], |r| Ok([r.get(0)?, r.get(1)?, r.get(2)?]))?;
        let [quota, at, guaranteed] = of;
        new.execute(
            "UPDATE streams SET quota_bytes = ?2, at_quota = ?3, guaranteed_bytes = ?4 WHERE id = ?1",
            params![stream, quota, at, guaranteed],
        )?;
        Ok(())
    }

    /// Copies a table row by row, as far as it can be read, in the columns that both have.
    fn table(&self, new: &Connection, table: &str, problems: &mut Vec<String>) -> rusqlite::Result<()> {
        let ours = columns(new, table)?;
        let theirs = columns(&self.c, table)?;
        let both: Vec<String> = ours.into_iter().filter(|column| theirs.contains(column)).collect();
        if both.is_empty() {
            // An older catalog, which did not have it.
            return Ok(());
        }
        let list = both.join("\", \"");
        let marks = vec!["?"; both.len()].join(", ");
        let mut insert = new.prepare(&format!("INSERT OR REPLACE INTO \"{table}\" (\"{list}\") VALUES ({marks})"))?;
        let mut select = self.c.prepare(&format!("SELECT \"{list}\" FROM \"{table}\""))?;
        let mut rows = select.query([])?;
        let mut refused = 0;
        while let Some(row) = rows.next()? {
            let values = (0..both.len()).map(|i| row.get::<_, Value>(i)).collect::<rusqlite::Result<Vec<_>>>()?;
            // The store's id is the folder's; the rest of that table, its secret, is kept.
            if table == "store" && values.first() == Some(&Value::Text("uuid".to_owned())) {
                continue;
            }
            refused += u64::from(insert.execute(params_from_iter(values)).is_err());
        }
        if refused > 0 {
            problems.push(format!("{refused} damaged rows of table {table} of the old catalog are left out"));
        }
        Ok(())
    }
}

/// What was in quarantine stays there unless its record is whole: its head may be, and gave it a row.
fn still_damaged(c: &Connection, folder: &Folder) -> Result<(), Error> {
    let sql = format!(
        "SELECT {COLUMNS}, stream FROM fragments AS f WHERE EXISTS
             (SELECT 1 FROM quarantined AS q WHERE q.stream = f.stream AND q.counter = f.counter)"
    );
    let mut statement = c.prepare(&sql).map_err(db)?;
    let rows = statement.query_map([], |r| {
        let (meta, place) = read(r)?;
        Ok(Placed { stream: r.get(BEHIND)?, meta, place })
    });
    let rows = rows.map_err(db)?.collect::<Result<Vec<_>, _>>().map_err(db)?;
    for row in rows {
        if is_whole(c, folder, &row)? {
            quarantine::forget(c, row.stream, row.meta.number)?;
        } else {
            let key = params![row.stream, row.meta.number.counter()];
            c.execute("DELETE FROM fragments WHERE stream = ?1 AND counter = ?2", key).map_err(db)?;
            quarantine::count(c, row.stream, row.place.segment, -1, record_len_of(&row.meta))?;
        }
    }
    Ok(())
}

fn tables(c: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement =
        c.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")?;
    let names = statement.query_map([], |r| r.get::<_, String>(0))?;
    names.filter(|name| !matches!(name, Ok(name) if FROM_SEGMENTS.contains(&name.as_str()))).collect()
}

fn columns(c: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = c.prepare("SELECT name FROM pragma_table_info(?1)")?;
    statement.query_map([table], |r| r.get(0))?.collect()
}

/// Gives the catalog's file, and a journal that could not be taken into it, another name beside it.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, Error> {
    let now = UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64));
    let aside = |suffix: &str| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".before-rebuild-{}{suffix}", now.0));
        path.with_file_name(name)
    };
    let of = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    // Linked, not moved: there is a catalog under its name at every moment. The journal goes first, as it must never meet the new file.
    let moved = || -> std::io::Result<()> {
        std::fs::hard_link(path, aside(""))?;
        for suffix in ["-wal", "-shm"] {
            match std::fs::rename(of(suffix), aside(suffix)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        crate::folder::sync_dir(path.parent().unwrap_or(Path::new(".")))
    };
    moved().map_err(|e| {
        Error::new(Kind::Unavailable, format!("{} could not be kept aside", path.display())).with_source(e)
    })?;
    Ok(aside(""))
}
