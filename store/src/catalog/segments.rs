//! Rows of segments.

use super::db;
use crate::Error;
use crate::segments::writer::SegmentState;
use media::UnixMillis;
use rusqlite::{Connection, Row, params};
use std::collections::BTreeMap;

/// A segment as the catalog knows it.
#[derive(Clone, Debug)]
pub(crate) struct SegmentRow {
    pub(crate) id: u64,
    pub(crate) state: SegmentState,
    /// Fragments that refer to it.
    pub(crate) rows: i64,
}

fn read(row: &Row<'_>) -> rusqlite::Result<SegmentRow> {
    let state = SegmentState {
        created_at: UnixMillis(row.get(1)?),
        end: row.get(2)?,
        closed: row.get(3)?,
        deletions: row.get(4)?,
    };
    Ok(SegmentRow { id: row.get(0)?, state, rows: row.get(5)? })
}

fn list(c: &Connection, condition: &str) -> Result<Vec<SegmentRow>, Error> {
    let sql = format!("SELECT id, created_at, ends, closed, deletions, rows FROM segments {condition} ORDER BY id");
    let mut statement = c.prepare(&sql).map_err(db)?;
    statement.query_map([], read).map_err(db)?.collect::<Result<_, _>>().map_err(db)
}

/// All segments.
pub(crate) fn all(c: &Connection) -> Result<Vec<SegmentRow>, Error> {
    list(c, "")
}

/// Segments that may still have grown when the process ended.
pub(crate) fn open(c: &Connection) -> Result<Vec<SegmentRow>, Error> {
    list(c, "WHERE closed = 0")
}

/// Closed segments that no fragment refers to. One that notes the deletion of a stream stays while an older segment does, so that
/// a rebuild from segments does not bring the stream back.
pub(crate) fn dead(c: &Connection) -> Result<Vec<SegmentRow>, Error> {
    list(
        c,
        "AS s WHERE closed = 1 AND rows = 0
         AND (deletions = 0 OR NOT EXISTS (SELECT 1 FROM segments AS older WHERE older.id < s.id))",
    )
}

/// How many there are.
pub(crate) fn count(c: &Connection) -> Result<u64, Error> {
    c.query_row("SELECT count(*) FROM segments", [], |r| r.get(0)).map_err(db)
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

/// Changes how many fragments refer to a segment.
pub(crate) fn add_rows(c: &Connection, id: u64, rows: i64) -> Result<(), Error> {
    let mut statement = c.prepare_cached("UPDATE segments SET rows = rows + ?2 WHERE id = ?1").map_err(db)?;
    statement.execute(params![id, rows]).map_err(db)?;
    Ok(())
}

/// Forgets a segment, after its file is gone.
pub(crate) fn remove(c: &Connection, id: u64) -> Result<(), Error> {
    c.execute("DELETE FROM segments WHERE id = ?1 AND rows = 0", [id]).map_err(db)?;
    Ok(())
}
