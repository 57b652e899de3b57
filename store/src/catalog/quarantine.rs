//! Rows of fragments whose record is damaged: taken out of the index, so that nothing lists or reads them, and kept to be named.

use super::db;
use super::fragments::{BEHIND, COLUMNS, MAX_DURATION_MS, Placed, STORED, TO_STORED, read};
use crate::segments::reader::Place;
use crate::segments::record::{record_len, record_len_of};
use crate::{Error, Range};
use media::{FragmentNumber, UnixMillis};
use rusqlite::{Connection, OptionalExtension, params};

/// Most gaps that one timeline shows for damage.
const MOST_STARTS: i64 = 10_000;

/// A fragment in quarantine.
#[derive(Clone, Debug)]
pub(crate) struct Quarantined {
    pub(crate) row: Placed,
    /// What is wrong with it.
    pub(crate) reason: String,
    /// When that was found, server time.
    pub(crate) at: UnixMillis,
}

/// Moves a row into quarantine, if it still points there. `false` if it does not.
pub(crate) fn put(
    c: &Connection,
    stream: u64,
    number: FragmentNumber,
    place: Place,
    reason: &str,
    at: UnixMillis,
) -> Result<bool, Error> {
    let tx = c.unchecked_transaction().map_err(db)?;
    let moved = tx
        .execute(
            &format!(
                "INSERT OR REPLACE INTO quarantined (stream, {COLUMNS}, reason, at) SELECT stream, {COLUMNS}, ?5, ?6 FROM fragments
                 WHERE stream = ?1 AND counter = ?2 AND segment = ?3 AND place = ?4"
            ),
            params![stream, number.counter(), place.segment, place.offset, reason, at.0],
        )
        .map_err(db)?;
    if moved > 0 {
        tx.execute("DELETE FROM fragments WHERE stream = ?1 AND counter = ?2", params![stream, number.counter()])
            .map_err(db)?;
        let (bytes, encrypted) = tx
            .query_row(
                "SELECT bytes, encrypted FROM quarantined WHERE stream = ?1 AND counter = ?2",
                params![stream, number.counter()],
                |r| Ok((r.get(0)?, r.get(1)?)),
            )
            .map_err(db)?;
        count(&tx, stream, place.segment, -1, record_len(bytes, encrypted))?;
    }
    tx.commit().map_err(db)?;
    Ok(moved > 0)
}

/// Counts a row in or out, whose record has so many bytes. Its bytes are not noted as gone: no segment is written anew for them.
pub(crate) fn count(c: &Connection, stream: u64, segment: u64, sign: i64, bytes: u64) -> Result<(), Error> {
    let bytes = sign * bytes as i64;
    c.execute(
        "UPDATE segments SET rows = rows + ?2, live_bytes = live_bytes + ?3 WHERE id = ?1",
        params![segment, sign, bytes],
    )
    .map_err(db)?;
    c.execute("UPDATE streams SET bytes = bytes + ?2 WHERE id = ?1", params![stream, bytes]).map_err(db)?;
    Ok(())
}

/// Why a fragment is in quarantine, if it is.
pub(crate) fn reason(c: &Connection, stream: u64, number: FragmentNumber) -> Result<Option<String>, Error> {
    let mut statement =
        c.prepare_cached("SELECT reason FROM quarantined WHERE stream = ?1 AND counter = ?2").map_err(db)?;
    statement.query_row(params![stream, number.counter()], |r| r.get(0)).optional().map_err(db)
}

/// Producer times at which damaged fragments start that reach into a range, in order.
pub(crate) fn starts(c: &Connection, stream: u64, range: Range) -> Result<Vec<UnixMillis>, Error> {
    let mut statement = c
        .prepare_cached(
            "SELECT producer_start FROM quarantined WHERE stream = ?1 AND producer_start >= ?2 AND producer_start < ?3
             ORDER BY producer_start LIMIT ?4",
        )
        .map_err(db)?;
    let from = range.from.0.saturating_sub(i64::from(MAX_DURATION_MS));
    let rows = statement.query_map(params![stream, from, range.to.0, MOST_STARTS], |r| Ok(UnixMillis(r.get(0)?)));
    rows.map_err(db)?.collect::<Result<_, _>>().map_err(db)
}

/// The first `limit` of all, and how many there are.
pub(crate) fn all(c: &Connection, limit: usize) -> Result<(Vec<Quarantined>, u64), Error> {
    let sql = format!(
        "SELECT {COLUMNS}, stream, reason, at FROM quarantined ORDER BY stream, counter LIMIT {}",
        limit as i64
    );
    let mut statement = c.prepare(&sql).map_err(db)?;
    let rows = statement.query_map([], |r| {
        let (meta, place) = read(r)?;
        let row = Placed { stream: r.get(BEHIND)?, meta, place };
        Ok(Quarantined { row, reason: r.get(BEHIND + 1)?, at: UnixMillis(r.get(BEHIND + 2)?) })
    });
    let rows = rows.map_err(db)?.collect::<Result<_, _>>().map_err(db)?;
    let count = c.query_row("SELECT count(*) FROM quarantined", [], |r| r.get(0)).map_err(db)?;
    Ok((rows, count))
}

/// Puts a fragment that is whole after all back into the index. `false` if its number is there.
pub(crate) fn release(c: &Connection, row: &Placed) -> Result<bool, Error> {
    let tx = c.unchecked_transaction().map_err(db)?;
    let key = params![row.stream, row.meta.number.counter()];
    let sql = format!(
        "INSERT OR IGNORE INTO fragments (stream, {STORED}) SELECT stream, {TO_STORED} FROM quarantined WHERE stream = ?1 AND counter = ?2"
    );
    let added = tx.execute(&sql, key).map_err(db)?;
    tx.execute("DELETE FROM quarantined WHERE stream = ?1 AND counter = ?2", key).map_err(db)?;
    if added > 0 {
        count(&tx, row.stream, row.place.segment, 1, record_len_of(&row.meta))?;
    }
    tx.commit().map_err(db)?;
    Ok(added > 0)
}

/// Forgets one.
pub(crate) fn forget(c: &Connection, stream: u64, number: FragmentNumber) -> Result<(), Error> {
    c.execute("DELETE FROM quarantined WHERE stream = ?1 AND counter = ?2", params![stream, number.counter()])
        .map_err(db)?;
    Ok(())
}

/// Forgets those of a stream up to a counter: retention took the fragments around them.
pub(crate) fn expire(c: &Connection, stream: u64, upto: u64) -> Result<(), Error> {
    let mut statement = c.prepare_cached("DELETE FROM quarantined WHERE stream = ?1 AND counter <= ?2").map_err(db)?;
    statement.execute(params![stream, upto]).map_err(db)?;
    Ok(())
}

/// Forgets those of a range that was deleted.
pub(crate) fn delete_in(c: &Connection, stream: u64, range: Range) -> Result<(), Error> {
    c.execute(
        "DELETE FROM quarantined WHERE stream = ?1 AND producer_start < ?3 AND producer_start + duration_ms > ?2",
        params![stream, range.from.0, range.to.0],
    )
    .map_err(db)?;
    Ok(())
}
