//! Reading rows of fragments in pages: by either clock, and by number.
//!
//! Each statement names its index. Left to itself, SQLite without statistics may take the primary key for any of them and sort,
//! which costs more the longer the stream is.

use super::db;
use super::fragments::{COLUMNS, MAX_DURATION_MS, NEWEST_OF_ITS_TIME, read};
use crate::{Error, ListQuery, Start, TimeBy};
use media::{FragmentMeta, FragmentNumber, UnixMillis};
use rusqlite::{Connection, OptionalExtension, Params, params};

fn metas(c: &Connection, sql: &str, params: impl Params) -> Result<Vec<FragmentMeta>, Error> {
    let mut statement = c.prepare_cached(sql).map_err(db)?;
    let rows = statement.query_map(params, read).map_err(db)?;
    rows.map(|r| r.map(|(meta, _)| meta)).collect::<Result<_, _>>().map_err(db)
}

fn meta(c: &Connection, sql: &str, params: impl Params) -> Result<Option<FragmentMeta>, Error> {
    let mut statement = c.prepare_cached(sql).map_err(db)?;
    let row = statement.query_row(params, read).optional().map_err(db)?;
    Ok(row.map(|(meta, _)| meta))
}

/// A page of a listing by one of the clocks.
pub(crate) fn page(c: &Connection, stream: u64, query: &ListQuery) -> Result<Vec<FragmentMeta>, Error> {
    let (from, to) = query.range.unwrap_or((UnixMillis(i64::MIN), UnixMillis(i64::MAX)));
    let limit = query.limit as i64;
    match query.by {
        TimeBy::Producer => {
            // One fragment of each producer time is listed, so a page goes on behind that time, whichever of them it was.
            let from = query.after.map_or(from, |after| from.max(after.at.plus(1)));
            let sql = format!(
                "SELECT {COLUMNS} FROM fragments AS f INDEXED BY fragments_by_time
                 WHERE stream = ?1 AND producer_start >= ?2 AND producer_start <= ?3 AND {NEWEST_OF_ITS_TIME}
                 ORDER BY producer_start, counter LIMIT ?4"
            );
            metas(c, &sql, params![stream, from.0, to.0, limit])
        }
        TimeBy::Server => {
            let (from, counter) = match query.after {
                Some(after) if after.at >= from => (after.at, after.number.counter() as i64),
                _ => (from, -1),
            };
            let sql = format!(
                "SELECT {COLUMNS} FROM fragments INDEXED BY fragments_by_server
                 WHERE stream = ?1 AND server_start >= ?2 AND (server_start > ?2 OR counter > ?3) AND server_start <= ?4
                 ORDER BY server_start, counter LIMIT ?5"
            );
            metas(c, &sql, params![stream, from.0, counter, to.0, limit])
        }
    }
}

/// The fragment that a reader begins at.
pub(crate) fn first(c: &Connection, stream: u64, start: Start) -> Result<Option<FragmentMeta>, Error> {
    let by_number = |order| {
        let sql = format!("SELECT {COLUMNS} FROM fragments WHERE stream = ?1 ORDER BY counter {order} LIMIT 1");
        meta(c, &sql, [stream])
    };
    match start {
        Start::After(number) => Ok(after(c, stream, number, 1)?.pop()),
        Start::Earliest => by_number("ASC"),
        Start::Newest => by_number("DESC"),
        Start::ContainingProducer(at) => containing(c, stream, "producer_start", "fragments_by_time", at),
        Start::ContainingServer(at) => containing(c, stream, "server_start", "fragments_by_server", at),
    }
}

/// Of those that contain the instant the one that starts last, and of several that start then the last; else the next later one.
fn containing(
    c: &Connection,
    stream: u64,
    column: &str,
    index: &str,
    at: UnixMillis,
) -> Result<Option<FragmentMeta>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM fragments INDEXED BY {index}
         WHERE stream = ?1 AND {column} <= ?2 AND {column} > ?3 AND {column} + duration_ms > ?2
         ORDER BY {column} DESC, counter DESC LIMIT 1"
    );
    let earliest = at.plus(-i64::from(MAX_DURATION_MS)).0;
    if let Some(found) = meta(c, &sql, params![stream, at.0, earliest])? {
        return Ok(Some(found));
    }
    let newest = if column == "producer_start" { NEWEST_OF_ITS_TIME } else { "1" };
    let sql = format!(
        "SELECT {COLUMNS} FROM fragments AS f INDEXED BY {index}
         WHERE stream = ?1 AND {column} > ?2 AND {newest} ORDER BY {column}, counter LIMIT 1"
    );
    meta(c, &sql, params![stream, at.0])
}

/// The fragments after a number, in the order of numbers.
pub(crate) fn after(
    c: &Connection,
    stream: u64,
    number: FragmentNumber,
    limit: usize,
) -> Result<Vec<FragmentMeta>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM fragments WHERE stream = ?1 AND counter > ?2 ORDER BY counter LIMIT ?3");
    metas(c, &sql, params![stream, number.counter(), limit as i64])
}
