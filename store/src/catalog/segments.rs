//! Rows of segments.

use super::db;
use crate::Error;
use crate::segments::Edition;
use crate::segments::writer::SegmentState;
use media::UnixMillis;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;

/// A segment as the catalog knows it.
#[derive(Clone, Debug)]
pub(crate) struct SegmentRow {
    pub(crate) id: u64,
    /// How often it was written anew.
    pub(crate) generation: u32,
    pub(crate) state: SegmentState,
    /// Fragments that refer to it.
    pub(crate) rows: i64,
    /// Bytes of their records.
    pub(crate) live_bytes: i64,
}

/// Why rows went, and so how soon their bytes have to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// By retention or a quota.
    Expired(UnixMillis),
    /// Someone deleted them.
    Deleted(UnixMillis),
}

/// In SQL, the bytes that the record of a fragment takes ([`crate::segments::record::record_len`]).
pub(crate) const RECORD_BYTES: &str =
    "((bytes + 79) / 8 * 8 + encrypted * (32 + 16 * max(1, (bytes + 65535) / 65536)))";

fn read(row: &Row<'_>) -> rusqlite::Result<SegmentRow> {
    let state = SegmentState {
        created_at: UnixMillis(row.get("created_at")?),
        end: row.get("ends")?,
        closed: row.get("closed")?,
        deletions: row.get("deletions")?,
    };
    Ok(SegmentRow {
        id: row.get("id")?,
        generation: row.get("generation")?,
        state,
        rows: row.get("rows")?,
        live_bytes: row.get("live_bytes")?,
    })
}

impl SegmentRow {
    /// Its file or object.
    pub(crate) fn edition(&self) -> Edition {
        Edition { id: self.id, generation: self.generation }
    }
}

fn list(c: &Connection, condition: &str) -> Result<Vec<SegmentRow>, Error> {
    let sql = format!(
        "SELECT id, created_at, ends, closed, deletions, rows, live_bytes, generation FROM segments {condition} ORDER BY id"
    );
    let mut statement = c.prepare(&sql).map_err(db)?;
    statement.query_map([], read).map_err(db)?.collect::<Result<_, _>>().map_err(db)
}

/// All segments. For the check: their number grows with the archive.
pub(crate) fn all(c: &Connection) -> Result<Vec<SegmentRow>, Error> {
    list(c, "")
}

/// Where a segment ends, if the catalog knows it.
pub(crate) fn end_of(c: &Connection, id: u64) -> Result<Option<u64>, Error> {
    let mut statement = c.prepare_cached("SELECT ends FROM segments WHERE id = ?1").map_err(db)?;
    statement.query_row([id], |r| r.get(0)).optional().map_err(db)
}

/// Segments that may still have grown when the process ended.
pub(crate) fn open(c: &Connection) -> Result<Vec<SegmentRow>, Error> {
    list(c, "INDEXED BY segments_open WHERE closed = 0")
}

/// Closed segments that no fragment refers to. One that notes the deletion of a stream stays while an older segment does, so that
/// a rebuild from segments does not bring the stream back.
pub(crate) fn dead(c: &Connection) -> Result<Vec<SegmentRow>, Error> {
    list(
        c,
        "AS s INDEXED BY segments_dead WHERE closed = 1 AND rows = 0
         AND (deletions = 0 OR NOT EXISTS (SELECT 1 FROM segments AS older WHERE older.id < s.id))",
    )
}

/// The id after the largest that was ever used.
pub(crate) fn next_id(c: &Connection) -> Result<u64, Error> {
    let last: u64 = c
        .query_row("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'segments'), 0)", [], |r| r.get(0))
        .map_err(db)?;
    Ok(last + 1)
}

/// Writes the states of segments; counts of rows stay.
pub(crate) fn put(c: &Connection, states: &BTreeMap<u64, SegmentState>) -> Result<(), Error> {
    let mut statement = c
        .prepare_cached(
            "INSERT INTO segments (id, created_at, ends, closed, deletions, rows) VALUES (?1, ?2, ?3, ?4, ?5, 0)
             ON CONFLICT (id) DO UPDATE SET ends = excluded.ends, closed = excluded.closed, deletions = excluded.deletions",
        )
        .map_err(db)?;
    for (id, state) in states {
        statement.execute(params![id, state.created_at.0, state.end, state.closed, state.deletions]).map_err(db)?;
    }
    Ok(())
}

/// Rows that refer to a segment were added: how many, and the bytes of their records.
pub(crate) fn added(c: &Connection, id: u64, rows: i64, bytes: u64) -> Result<(), Error> {
    let mut statement = c
        .prepare_cached("UPDATE segments SET rows = rows + ?2, live_bytes = live_bytes + ?3 WHERE id = ?1")
        .map_err(db)?;
    statement.execute(params![id, rows, bytes]).map_err(db)?;
    Ok(())
}

/// Rows that referred to a segment went. With none it notes that there are bytes which no row ever referred to.
pub(crate) fn gone(c: &Connection, id: u64, rows: i64, bytes: u64, gone: Gone) -> Result<(), Error> {
    let (expired, deleted) = match gone {
        Gone::Expired(at) => (Some(at.0), None),
        Gone::Deleted(at) => (None, Some(at.0)),
    };
    let mut statement = c
        .prepare_cached(
            "UPDATE segments SET rows = rows - ?2, live_bytes = live_bytes - ?3, expired_since = coalesce(expired_since, ?4),
                 deleted_since = coalesce(deleted_since, ?5) WHERE id = ?1",
        )
        .map_err(db)?;
    statement.execute(params![id, rows, bytes, expired, deleted]).map_err(db)?;
    Ok(())
}

/// Up to which time fragments have to go to free `bytes` of the oldest closed segments that were made after `after`: the latest time at
/// which one of those, or the one behind them, was made. Just before a segment was made all that stands in older ones had begun. `None`
/// where there are none.
pub(crate) fn cutoff(c: &Connection, after: UnixMillis, bytes: u64) -> Result<Option<UnixMillis>, Error> {
    let mut statement = c.prepare_cached("SELECT created_at, ends, closed FROM segments ORDER BY id").map_err(db)?;
    let mut rows = statement.query([]).map_err(db)?;
    let (mut cutoff, mut freed): (Option<i64>, u64) = (None, 0);
    while let Some(row) = rows.next().map_err(db)? {
        let created: i64 = row.get(0).map_err(db)?;
        if created > after.0 {
            cutoff = cutoff.max(Some(created));
        }
        if freed >= bytes && cutoff.is_some() {
            break;
        }
        if row.get(2).map_err(db)? && created >= after.0 {
            freed += row.get::<_, u64>(1).map_err(db)?;
        }
    }
    Ok(cutoff.map(UnixMillis))
}

/// What all segments are together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    /// How many there are.
    pub(crate) count: u64,
    /// Bytes up to their ends.
    pub(crate) bytes: u64,
    /// Bytes of the records in them that rows refer to.
    pub(crate) live_bytes: u64,
}

/// What the catalog counts, so that nobody has to sum it up.
pub(crate) fn totals(c: &Connection) -> Result<Totals, Error> {
    let mut statement = c.prepare_cached("SELECT count, ends, live_bytes FROM segment_totals").map_err(db)?;
    let read = |r: &Row<'_>| Ok(Totals { count: r.get(0)?, bytes: r.get(1)?, live_bytes: r.get(2)? });
    statement.query_row([], read).map_err(db)
}

/// Counts them anew: what a repair does where the count is wrong.
pub(crate) fn count_anew(c: &Connection) -> Result<(), Error> {
    c.execute_batch(
        "DELETE FROM segment_totals;
         INSERT INTO segment_totals SELECT count(*), coalesce(sum(ends), 0), coalesce(sum(live_bytes), 0) FROM segments",
    )
    .map_err(db)
}

/// Forgets a segment, after its file is gone; not one that was put anew meanwhile, in a bucket.
pub(crate) fn remove(c: &Connection, edition: Edition) -> Result<(), Error> {
    let sql = "DELETE FROM segments WHERE id = ?1 AND generation = ?2 AND rows = 0";
    c.execute(sql, params![edition.id, edition.generation]).map_err(db)?;
    Ok(())
}
