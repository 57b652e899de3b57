//! Rows of ranges of producer time that were deleted and whose fragments' rows are not all gone yet.
//!
//! A deletion is durable once its record stands in the log and its row here; the fragments' rows, and those of what was seen in
//! them, then go in batches, so that a commit never waits long. It takes what stands before its record in the log, and so is the same however often it is done.

use super::fragments::{BATCH, MAX_DURATION_MS};
use super::segments::Gone;
use super::{alerts, db, detections, expiry};
use crate::segments::reader::Place;
use crate::segments::record::record_len;
use crate::{Deleted, Error, Range, faults};
use media::UnixMillis;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;

/// A range that was deleted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeletedRange {
    pub(crate) stream: u64,
    pub(crate) range: Range,
    /// Where its record stands.
    pub(crate) place: Place,
}

/// The fragments that a deletion takes, as ?1 stream, ?2 and ?3 the range, ?4 and ?5 the place, ?6 the earliest start.
const TAKEN: &str =
    "FROM fragments INDEXED BY fragments_by_time WHERE stream = ?1 AND producer_start >= ?6 AND producer_start < ?3
     AND producer_start + duration_ms > ?2 AND (segment < ?4 OR segment = ?4 AND place < ?5)";

/// Notes a deletion under this id, or under the next one.
pub(crate) fn put(c: &Connection, id: Option<i64>, deleted: &DeletedRange) -> Result<(), Error> {
    let DeletedRange { stream, range, place } = deleted;
    c.execute(
        "INSERT INTO deleted_ranges (id, stream, from_ms, to_ms, segment, place) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (id) DO NOTHING",
        params![id, stream, range.from.0, range.to.0, place.segment, place.offset],
    )
    .map_err(db)?;
    Ok(())
}

/// The id after the largest that is in use.
pub(crate) fn next_id(c: &Connection) -> Result<i64, Error> {
    c.query_row("SELECT coalesce(max(id), 0) + 1 FROM deleted_ranges", [], |r| r.get(0)).map_err(db)
}

/// The deletions that are not finished.
pub(crate) fn pending(c: &Connection) -> Result<Vec<i64>, Error> {
    let mut statement = c.prepare_cached("SELECT id FROM deleted_ranges ORDER BY id").map_err(db)?;
    statement.query_map([], |r| r.get(0)).map_err(db)?.collect::<Result<_, _>>().map_err(db)
}

/// Finishes all of them: what a start does. The bytes of what goes are overdue, since nobody knows how long.
pub(crate) fn finish_all(c: &mut Connection) -> Result<(), Error> {
    for id in pending(c)? {
        while sweep(c, id, UnixMillis(0))?.more {}
    }
    Ok(())
}

/// What a batch of a deletion took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    pub(crate) deleted: Deleted,
    /// Of which stream, and the bytes of the records.
    pub(crate) freed: Option<(u64, u64)>,
    /// Whether more may be left.
    pub(crate) more: bool,
}

/// Takes a batch of the rows of one deletion.
pub(crate) fn sweep(c: &mut Connection, id: i64, now: UnixMillis) -> Result<Swept, Error> {
    let found: Option<DeletedRange> = c
        .query_row("SELECT stream, from_ms, to_ms, segment, place FROM deleted_ranges WHERE id = ?1", [id], |r| {
            let range = Range { from: UnixMillis(r.get(1)?), to: UnixMillis(r.get(2)?) };
            Ok(DeletedRange { stream: r.get(0)?, range, place: Place { segment: r.get(3)?, offset: r.get(4)? } })
        })
        .optional()
        .map_err(db)?;
    // Its stream was deleted meanwhile, which takes all.
    let Some(deleted) = found else { return Ok(Swept::default()) };
    // What was seen in the fragments goes before them, while they tell how far they reach.
    let reach = reach(c, &deleted)?;
    if detections::delete_in(c, deleted.stream, reach)? || alerts::delete_in(c, deleted.stream, reach)? {
        return Ok(Swept { more: true, ..Swept::default() });
    }
    sweep_fragments(c, id, &deleted, now)
}

/// The range, and what those of its fragments that are left have outside of it.
fn reach(c: &Connection, deleted: &DeletedRange) -> Result<Range, Error> {
    let DeletedRange { stream, range, place } = deleted;
    let find = |what: &str, to: UnixMillis, earliest: i64| -> Result<Option<i64>, Error> {
        let mut statement = c.prepare_cached(&format!("SELECT {what} {TAKEN}")).map_err(db)?;
        let params = params![stream, range.from.0, to.0, place.segment, place.offset, earliest];
        statement.query_row(params, |r| r.get(0)).map_err(db)
    };
    // Only those that can reach over an end are looked at.
    let first = find("min(producer_start)", range.from, earliest(range.from))?;
    let end = find("max(producer_start + duration_ms)", range.to, earliest(range.to))?;
    let from = first.map_or(range.from, |first| range.from.min(UnixMillis(first)));
    Ok(Range { from, to: end.map_or(range.to, |end| range.to.max(UnixMillis(end))) })
}

fn sweep_fragments(c: &mut Connection, id: i64, deleted: &DeletedRange, now: UnixMillis) -> Result<Swept, Error> {
    let DeletedRange { stream, range, place } = deleted;
    let tx = c.transaction().map_err(db)?;
    let mut gone = Deleted::default();
    let mut per_segment = BTreeMap::<u64, (i64, u64)>::new();
    let mut counters: Vec<u64> = Vec::new();
    {
        let sql = format!("SELECT counter, segment, bytes, encrypted {TAKEN} LIMIT {BATCH}");
        let mut statement = tx.prepare_cached(&sql).map_err(db)?;
        let mut rows = statement
            .query(params![stream, range.from.0, range.to.0, place.segment, place.offset, earliest(range.from)])
            .map_err(db)?;
        while let Some(row) = rows.next().map_err(db)? {
            counters.push(row.get(0).map_err(db)?);
            let bytes: u32 = row.get(2).map_err(db)?;
            let of_segment = per_segment.entry(row.get(1).map_err(db)?).or_default();
            *of_segment = (of_segment.0 + 1, of_segment.1 + record_len(bytes, row.get(3).map_err(db)?));
            gone.bytes += u64::from(bytes);
        }
        gone.fragments = counters.len() as u64;
        let mut delete = tx.prepare_cached("DELETE FROM fragments WHERE stream = ?1 AND counter = ?2").map_err(db)?;
        for counter in &counters {
            delete.execute(params![stream, counter]).map_err(db)?;
        }
    }
    let freed = expiry::account(&tx, *stream, per_segment, Gone::Deleted(now))?;
    let more = counters.len() == BATCH;
    if !more {
        super::quarantine::delete_in(&tx, *stream, *range)?;
        tx.execute("DELETE FROM deleted_ranges WHERE id = ?1", [id]).map_err(db)?;
        faults::step("range.rows");
    }
    tx.commit().map_err(db)?;
    Ok(Swept { deleted: gone, freed: Some((*stream, freed)), more })
}

/// How many rows there are that a deletion should have taken.
pub(crate) fn left(c: &Connection, deleted: &DeletedRange) -> Result<u64, Error> {
    let DeletedRange { stream, range, place } = deleted;
    let sql = format!("SELECT count(*) {TAKEN}");
    let mut statement = c.prepare_cached(&sql).map_err(db)?;
    statement
        .query_row(params![stream, range.from.0, range.to.0, place.segment, place.offset, earliest(range.from)], |r| {
            r.get(0)
        })
        .map_err(db)
}

/// The earliest that a fragment which reaches beyond an instant can start.
fn earliest(at: UnixMillis) -> i64 {
    at.0.saturating_sub(i64::from(MAX_DURATION_MS))
}
