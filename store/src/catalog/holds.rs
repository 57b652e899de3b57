//! Rows of legal holds.

use super::db;
use super::fragments::MAX_DURATION_MS;
use crate::holds::Hold;
use crate::{Error, Range};
use media::UnixMillis;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;

fn read(row: &Row<'_>) -> rusqlite::Result<Hold> {
    Ok(Hold {
        name: row.get("name")?,
        from: UnixMillis(row.get("from_ms")?),
        to: UnixMillis(row.get("to_ms")?),
        reason: row.get("reason")?,
        placed_by: row.get("placed_by")?,
        placed_at: UnixMillis(row.get("placed_at")?),
    })
}

const COLUMNS: &str = "name, from_ms, to_ms, reason, placed_by, placed_at";

/// Those of a stream.
pub(crate) fn of(c: &Connection, stream: u64) -> Result<Vec<Hold>, Error> {
    let mut statement =
        c.prepare(&format!("SELECT {COLUMNS} FROM holds WHERE stream = ?1 ORDER BY name")).map_err(db)?;
    statement.query_map([stream], read).map_err(db)?.collect::<Result<_, _>>().map_err(db)
}

/// All, by stream.
pub(crate) fn all(c: &Connection) -> Result<BTreeMap<u64, Vec<Hold>>, Error> {
    let mut statement = c.prepare(&format!("SELECT {COLUMNS}, stream FROM holds ORDER BY stream, name")).map_err(db)?;
    let mut all = BTreeMap::<u64, Vec<Hold>>::new();
    for row in statement.query_map([], |r| Ok((r.get("stream")?, read(r)?))).map_err(db)? {
        let (stream, hold) = row.map_err(db)?;
        all.entry(stream).or_default().push(hold);
    }
    Ok(all)
}

/// Adds one. `AlreadyExists`.
pub(crate) fn put(c: &Connection, stream: u64, hold: &Hold) -> Result<(), Error> {
    let Hold { name, from, to, reason, placed_by, placed_at } = hold;
    c.execute(
        &format!("INSERT INTO holds (stream, {COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"),
        params![stream, name, from.0, to.0, reason, placed_by, placed_at.0],
    )
    .map_err(db)?;
    Ok(())
}

/// Removes one; whether it was there.
pub(crate) fn remove(c: &Connection, stream: u64, name: &str) -> Result<bool, Error> {
    Ok(c.execute("DELETE FROM holds WHERE stream = ?1 AND name = ?2", params![stream, name]).map_err(db)? == 1)
}

/// A hold of which the deletion of a range would take something: the range reaches into it, or a fragment into both.
pub(crate) fn against(c: &Connection, stream: u64, range: Range) -> Result<Option<Hold>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM holds WHERE stream = ?1 AND (from_ms < ?3 AND to_ms > ?2 OR EXISTS
             (SELECT 1 FROM fragments AS f INDEXED BY fragments_by_time WHERE f.stream = ?1 AND f.producer_start >= ?4
              AND f.producer_start < ?3 AND f.producer_start + f.duration_ms > ?2
              AND f.producer_start < holds.to_ms AND f.producer_start + f.duration_ms > holds.from_ms)) ORDER BY name LIMIT 1"
    );
    let earliest = range.from.0.saturating_sub(i64::from(MAX_DURATION_MS));
    c.query_row(&sql, params![stream, range.from.0, range.to.0, earliest], read).optional().map_err(db)
}

/// The ranges of a stream that are still being deleted.
pub(crate) fn deletions(c: &Connection, stream: u64) -> Result<Vec<Range>, Error> {
    let mut statement = c.prepare_cached("SELECT from_ms, to_ms FROM deleted_ranges WHERE stream = ?1").map_err(db)?;
    let range = |r: &Row<'_>| Ok(Range { from: UnixMillis(r.get(0)?), to: UnixMillis(r.get(1)?) });
    statement.query_map([stream], range).map_err(db)?.collect::<Result<_, _>>().map_err(db)
}
