//! Which segments are to be written anew, and what of them counts.

use super::segments::RECORD_BYTES;
use super::{db, leftovers};
use crate::segments::Edition;
use crate::segments::copy::{Copied, Found};
use crate::segments::record::{FILE_HEADER_LEN, Head, RecordKind};
use crate::{Error, Kind};
use media::UnixMillis;
use rusqlite::{Connection, OptionalExtension, params};

/// Smaller segments are not written anew only because most of them is dead.
const SMALL: u64 = 64 << 10;

/// What makes a segment due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    /// Something of it was deleted before this.
    pub(crate) deleted: UnixMillis,
    /// Something of it expired before this.
    pub(crate) expired: UnixMillis,
    /// No more of it than this counts, and something does not.
    pub(crate) live_percent: u64,
}

/// A segment that is to be written anew.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) generation: u32,
    pub(crate) end: u64,
}

impl Row {
    /// Its file or object.
    pub(crate) fn edition(&self) -> Edition {
        Edition { id: self.id, generation: self.generation }
    }
}

/// Closed segments that are due, what was deleted first. Those without rows are left to be removed, unless what they say of deletions
/// keeps them.
pub(crate) fn due(c: &Connection, due: &Due) -> Result<Vec<u64>, Error> {
    let mut statement = c
        .prepare_cached(
            "SELECT id FROM segments AS s INDEXED BY segments_dirty WHERE closed = 1 AND (expired_since IS NOT NULL OR deleted_since IS NOT NULL)
             AND (rows > 0 OR deletions = 1 AND EXISTS (SELECT 1 FROM segments AS older WHERE older.id < s.id))
             AND (deleted_since <= ?1 OR expired_since <= ?2 OR ends > ?4 AND live_bytes * 100 <= ends * ?3)
             ORDER BY deleted_since IS NULL OR deleted_since > ?1, id",
        )
        .map_err(db)?;
    let rows = statement
        .query_map(params![due.deleted.0, due.expired.0, due.live_percent, SMALL], |r| r.get(0))
        .map_err(db)?;
    rows.collect::<Result<_, _>>().map_err(db)
}

/// A segment that is still open and of which something was deleted before this.
pub(crate) fn open_due(c: &Connection, deleted: UnixMillis) -> Result<Option<u64>, Error> {
    let sql = "SELECT max(id) FROM segments INDEXED BY segments_open WHERE closed = 0 AND deleted_since <= ?1";
    c.query_row(sql, [deleted.0], |r| r.get(0)).map_err(db)
}

/// When the first bytes that are still to go stopped counting.
pub(crate) fn oldest(c: &Connection) -> Result<Option<UnixMillis>, Error> {
    c.query_row(
        "SELECT min(coalesce(min(expired_since, deleted_since), expired_since, deleted_since))
         FROM segments INDEXED BY segments_dirty WHERE expired_since IS NOT NULL OR deleted_since IS NOT NULL",
        [],
        |r| Ok(r.get::<_, Option<i64>>(0)?.map(UnixMillis)),
    )
    .map_err(db)
}

/// A closed segment.
pub(crate) fn row(c: &Connection, id: u64) -> Result<Option<Row>, Error> {
    let row = |r: &rusqlite::Row<'_>| Ok(Row { id, generation: r.get(0)?, end: r.get(1)? });
    c.query_row("SELECT generation, ends FROM segments WHERE id = ?1 AND closed = 1", [id], row).optional().map_err(db)
}

/// Of which generation a segment is.
pub(crate) fn generation(c: &Connection, id: u64) -> Result<Option<u32>, Error> {
    let mut statement = c.prepare_cached("SELECT generation FROM segments WHERE id = ?1").map_err(db)?;
    statement.query_row([id], |r| r.get(0)).optional().map_err(db)
}

/// Says of which generation the file is.
pub(crate) fn set_generation(c: &Connection, id: u64, generation: u32) -> Result<(), Error> {
    c.execute("UPDATE segments SET generation = ?2 WHERE id = ?1", params![id, generation]).map_err(db)?;
    Ok(())
}

/// Whether no older segment is there.
pub(crate) fn is_oldest(c: &Connection, id: u64) -> Result<bool, Error> {
    c.query_row("SELECT NOT EXISTS (SELECT 1 FROM segments WHERE id < ?1)", [id], |r| r.get(0)).map_err(db)
}

/// The offsets of those of these fragments of a segment that have a row which points there.
pub(crate) fn live(c: &Connection, segment: u64, found: &[Found]) -> Result<Vec<u64>, Error> {
    let mut statement = c
        .prepare_cached("SELECT 1 FROM fragments WHERE stream = ?1 AND counter = ?2 AND segment = ?3 AND place = ?4")
        .map_err(db)?;
    let mut live = Vec::new();
    for of in found {
        if statement.exists(params![of.stream, of.counter, segment, of.offset]).map_err(db)? {
            live.push(of.offset);
        }
    }
    Ok(live)
}

/// A segment was written anew: its rows point into the new file. `Conflict` where it changed meanwhile.
/// `in_bucket`: the one that was written anew is another object, and the old one is left over.
pub(crate) fn moved(
    c: &mut Connection,
    row: &Row,
    copied: &Copied,
    generation: u32,
    count: u64,
    in_bucket: bool,
) -> Result<(), Error> {
    let tx = c.transaction().map_err(db)?;
    let (mut rows, mut bytes) = (0, 0);
    {
        let mut statement = tx
            .prepare_cached(
                "UPDATE fragments SET place = ?5 WHERE stream = ?1 AND counter = ?2 AND segment = ?3 AND place = ?4",
            )
            .map_err(db)?;
        for moved in &copied.moved {
            let of = &moved.of;
            if statement.execute(params![of.stream, of.counter, row.id, of.offset, moved.to]).map_err(db)? == 1 {
                rows += 1;
                bytes += moved.bytes;
            }
        }
    }
    // Rows that went meanwhile have left their bytes in the new file: it stays due.
    let clean = rows as usize == copied.moved.len();
    let changed = tx.execute(
        "UPDATE segments SET generation = ?7, ends = ?3, live_bytes = ?4,
             expired_since = CASE WHEN ?5 THEN NULL ELSE expired_since END, deleted_since = CASE WHEN ?5 THEN NULL ELSE deleted_since END
         WHERE id = ?1 AND generation = ?2 AND closed = 1 AND rows = ?6 AND live_bytes = ?4",
        params![row.id, row.generation, copied.end, bytes, clean, rows, generation],
    );
    if changed.map_err(db)? != 1 {
        return Err(Error::new(Kind::Conflict, format!("segment {:016x} changed while it was written anew", row.id)));
    }
    if in_bucket {
        replaced(&tx, row.edition(), generation)?;
    }
    set_count(&tx, count)?;
    tx.commit().map_err(db)
}

/// A segment whose bytes were mended lies in a new object; its rows stay where they are.
pub(crate) fn mended(c: &Connection, of: Edition, generation: u32, count: u64) -> Result<(), Error> {
    let tx = c.unchecked_transaction().map_err(db)?;
    set_generation(&tx, of.id, generation)?;
    replaced(&tx, of, generation)?;
    set_count(&tx, count)?;
    tx.commit().map_err(db)
}

fn replaced(tx: &Connection, old: Edition, generation: u32) -> Result<(), Error> {
    leftovers::forget(tx, Edition { generation, ..old })?;
    leftovers::note(tx, old)
}

/// How often segments were written anew.
pub(crate) fn count(c: &Connection) -> Result<u64, Error> {
    let count = c.query_row("SELECT value FROM store WHERE key = 'rewritten'", [], |r| r.get(0)).optional();
    Ok(count.map_err(db)?.unwrap_or(0))
}

/// Says so.
pub(crate) fn set_count(c: &Connection, count: u64) -> Result<(), Error> {
    c.execute("INSERT OR REPLACE INTO store (key, value) VALUES ('rewritten', ?1)", [count]).map_err(db)?;
    Ok(())
}

/// An earlier copy of the catalog was put back: where the records of a segment that was written anew since are now. Rows whose fragment
/// is not there any more go. One that this copy holds for open is left to be adopted from its start.
pub(crate) fn found(
    c: &mut Connection,
    id: u64,
    generation: u32,
    end: u64,
    records: &[(u64, Head)],
) -> Result<(), Error> {
    let tx = c.transaction().map_err(db)?;
    let closed: bool = tx.query_row("SELECT closed FROM segments WHERE id = ?1", [id], |r| r.get(0)).map_err(db)?;
    tx.execute_batch(
        "DROP TABLE IF EXISTS temp.found;
         CREATE TEMP TABLE found (stream INTEGER, counter INTEGER, place INTEGER, PRIMARY KEY (stream, counter)) WITHOUT ROWID;",
    )
    .map_err(db)?;
    if closed {
        let mut statement = tx.prepare("INSERT OR IGNORE INTO temp.found VALUES (?1, ?2, ?3)").map_err(db)?;
        for (offset, head) in records.iter().filter(|(_, head)| head.kind == RecordKind::Fragment) {
            statement.execute(params![head.stream, head.counter, offset]).map_err(db)?;
        }
    }
    tx.execute(
        "DELETE FROM fragments WHERE segment = ?1 AND NOT EXISTS
             (SELECT 1 FROM temp.found AS f WHERE f.stream = fragments.stream AND f.counter = fragments.counter)",
        [id],
    )
    .map_err(db)?;
    tx.execute(
        "UPDATE fragments SET place = f.place FROM temp.found AS f
         WHERE fragments.segment = ?1 AND f.stream = fragments.stream AND f.counter = fragments.counter",
        [id],
    )
    .map_err(db)?;
    let counted = format!(
        "UPDATE segments SET generation = ?2, ends = ?3, deletions = ?4, rows = (SELECT count(*) FROM fragments WHERE segment = ?1),
             live_bytes = (SELECT coalesce(sum({RECORD_BYTES}), 0) FROM fragments WHERE segment = ?1) WHERE id = ?1"
    );
    let end = if closed { end } else { FILE_HEADER_LEN as u64 };
    let deletions = records.iter().any(|(_, h)| matches!(h.kind, RecordKind::Deleted | RecordKind::DeletedRange));
    tx.execute(&counted, params![id, generation, end, deletions]).map_err(db)?;
    let counted = format!(
        "UPDATE streams SET bytes = (SELECT coalesce(sum({RECORD_BYTES}), 0) FROM fragments WHERE stream = streams.id)"
    );
    tx.execute(&counted, []).map_err(db)?;
    tx.commit().map_err(db)
}

/// Moves the journal into the file and cuts it, so that it holds nothing of what was deleted: pages of the file are overwritten when
/// their rows go. `Unavailable` while someone reads an older state.
pub(crate) fn truncate_journal(c: &Connection) -> Result<(), Error> {
    let busy: bool = c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0)).map_err(db)?;
    match busy {
        true => Err(Error::new(Kind::Unavailable, "the catalog's journal is in use and could not be cut")),
        false => Ok(()),
    }
}
