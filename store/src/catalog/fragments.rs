//! Rows of fragments: one per durable fragment, pointing at its record.

use super::ranges::DeletedRange;
use super::segments::Gone;
use super::{db, expiry, notifications, ranges, segments, streams};
use crate::memory::{Key, RECENT, Recorded};
use crate::notifications::Notify;
use crate::segments::reader::Place;
use crate::segments::record::record_len_of;
use crate::segments::writer::SegmentState;
use crate::{Error, Kind, Position, Range, TimeBy, faults};
use bytes::Bytes;
use media::{Cause, FragmentMeta, FragmentNumber, HeaderId, UnixMillis};
use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest fragment in ms: how far before a range a fragment that reaches into it can start.
pub(crate) const MAX_DURATION_MS: u32 = 60_000;
/// Rows deleted in one transaction, so that a commit never waits long behind a sweep.
pub(crate) const BATCH: usize = 2000;

/// What one group commit puts into the catalog.
pub(crate) struct Group {
    pub(crate) segments: BTreeMap<u64, SegmentState>,
    pub(crate) rows: Vec<NewRow>,
    /// Ranges that were deleted, under these ids or the next ones.
    pub(crate) deleted: Vec<(Option<i64>, DeletedRange)>,
}

/// A fragment that is durable in a segment.
#[derive(Clone, Debug)]
pub(crate) struct NewRow {
    pub(crate) stream: u64,
    pub(crate) meta: FragmentMeta,
    pub(crate) place: Place,
    /// Bytes of its header.
    pub(crate) header: Bytes,
}

/// The columns of a fragment, in one order for all statements: their names and the places that [`read`] finds them at come from this
/// list alone.
macro_rules! columns {
    ($first:ident $first_name:literal, $($column:ident $name:literal),+ $(,)?) => {
        #[derive(Clone, Copy)]
        enum Column { $first, $($column),+ }
        /// What [`read`] reads.
        pub(crate) const COLUMNS: &str = concat!($first_name, $(", ", $name),+);
        /// How many these are, and so the place of what a statement selects behind them.
        pub(crate) const BEHIND: usize = [Column::$first, $(Column::$column),+].len();
    };
}

columns! {
    Counter "counter",
    ProducerStart "producer_start",
    ServerStart "server_start",
    Random "random",
    Duration "duration_ms",
    Bytes "bytes",
    Frames "frames",
    Crc "crc32c",
    Header "header",
    Cause "cause",
    Segment "segment",
    Place "place",
    Lead "lead_bytes",
    Encrypted "encrypted",
}

/// Those that a row holds as they are.
macro_rules! as_they_are {
    () => {
        "counter, producer_start, server_start, random, duration_ms, bytes, frames, crc32c, header, cause, segment, place"
    };
}
/// What a row is made of, but for its stream. The columns `lead_bytes` and `encrypted` follow from `form`.
pub(super) const STORED: &str = concat!(as_they_are!(), ", form");
/// The same out of a table that has those two instead of `form`.
pub(super) const TO_STORED: &str = concat!(as_they_are!(), ", 2 * lead_bytes + encrypted");

/// Whether no re-sent fragment of the same producer time came later (invariant 7).
pub(super) const NEWEST_OF_ITS_TIME: &str = "NOT EXISTS (SELECT 1 FROM fragments AS later WHERE later.stream = f.stream
     AND later.producer_start = f.producer_start AND later.counter > f.counter)";

pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<(FragmentMeta, Place)> {
    fn get<T: FromSql>(row: &Row<'_>, column: Column) -> rusqlite::Result<T> {
        row.get(column as usize)
    }
    let server_start: i64 = get(row, Column::ServerStart)?;
    let cause: Option<u8> = get(row, Column::Cause)?;
    let meta = FragmentMeta {
        number: FragmentNumber::new(get(row, Column::Counter)?, server_start as u64, get(row, Column::Random)?),
        producer_start: UnixMillis(get(row, Column::ProducerStart)?),
        server_start: UnixMillis(server_start),
        duration_ms: get(row, Column::Duration)?,
        bytes: get(row, Column::Bytes)?,
        lead_bytes: get(row, Column::Lead)?,
        frames: get(row, Column::Frames)?,
        // Of either sign.
        crc32c: get::<i64>(row, Column::Crc)? as u32,
        header: HeaderId(get::<i64>(row, Column::Header)? as u64),
        cause: cause.and_then(Cause::from_code),
        encrypted: get(row, Column::Encrypted)?,
    };
    Ok((meta, Place { segment: get(row, Column::Segment)?, offset: get(row, Column::Place)? }))
}

/// Commits a group in one transaction. Gives, per row, whether it counts or why not (its stream is gone, its header or its number clashes).
pub(crate) fn commit(c: &mut Connection, group: &Group) -> Result<Vec<Result<(), Error>>, Error> {
    commit_and_notify(c, group, &BTreeMap::new(), UnixMillis(0))
}

/// The same, with what is to be told of rows (by their place in the group) put into the outbox in that transaction, as of `now`.
pub(crate) fn commit_and_notify(
    c: &mut Connection,
    group: &Group,
    notify: &BTreeMap<usize, Arc<Notify>>,
    now: UnixMillis,
) -> Result<Vec<Result<(), Error>>, Error> {
    let tx = c.transaction().map_err(db)?;
    let outcomes = add_and_notify(&tx, group, notify, now)?;
    faults::step("catalog.committing");
    tx.commit().map_err(db)?;
    Ok(outcomes)
}

/// [`commit`] in a transaction of the caller's.
pub(crate) fn add(tx: &Connection, group: &Group) -> Result<Vec<Result<(), Error>>, Error> {
    add_and_notify(tx, group, &BTreeMap::new(), UnixMillis(0))
}

fn add_and_notify(
    tx: &Connection,
    group: &Group,
    notify: &BTreeMap<usize, Arc<Notify>>,
    now: UnixMillis,
) -> Result<Vec<Result<(), Error>>, Error> {
    segments::put(tx, &group.segments)?;
    let mut outcomes = Vec::with_capacity(group.rows.len());
    let mut per_segment = BTreeMap::<u64, (i64, u64)>::new();
    let mut per_stream = BTreeMap::<u64, u64>::new();
    for (i, row) in group.rows.iter().enumerate() {
        match insert(tx, row) {
            Ok(added) => {
                if let Some(notify) = notify.get(&i) {
                    notifications::raise(tx, row.stream, &row.meta, notify, now)?;
                }
                if added {
                    let bytes = record_len_of(&row.meta);
                    let of_segment = per_segment.entry(row.place.segment).or_default();
                    *of_segment = (of_segment.0 + 1, of_segment.1 + bytes);
                    *per_stream.entry(row.stream).or_default() += bytes;
                }
                outcomes.push(Ok(()));
            }
            // These concern this row alone; whatever else is wrong concerns the whole group.
            Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Invalid | Kind::Conflict) => {
                // Its bytes are in the segment all the same, and have to go.
                segments::gone(tx, row.place.segment, 0, 0, Gone::Deleted(now))?;
                outcomes.push(Err(e));
            }
            Err(e) => return Err(e),
        }
    }
    for (segment, (rows, bytes)) in per_segment {
        segments::added(tx, segment, rows, bytes)?;
    }
    for (stream, bytes) in per_stream {
        streams::added(tx, stream, bytes)?;
    }
    for (id, deleted) in &group.deleted {
        ranges::put(tx, *id, deleted)?;
    }
    Ok(outcomes)
}

/// Adds a row if its stream still exists. `false` if it is there already: a group that was written twice is adopted twice.
fn insert(c: &Connection, row: &NewRow) -> Result<bool, Error> {
    let exists: Option<i64> = c
        .prepare_cached("SELECT 1 FROM streams WHERE id = ?1")
        .map_err(db)?
        .query_row([row.stream], |r| r.get(0))
        .optional()
        .map_err(db)?;
    if exists.is_none() {
        return Err(Error::new(Kind::NotFound, "the stream was deleted"));
    }
    streams::put_header(c, row.stream, row.meta.header, &row.header)?;
    let m = &row.meta;
    let sql = format!(
        "INSERT OR IGNORE INTO fragments (stream, {STORED}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
    );
    let mut statement = c.prepare_cached(&sql).map_err(db)?;
    let added = statement
        .execute(params![
            row.stream,
            m.number.counter(),
            m.producer_start.0,
            m.server_start.0,
            m.number.random(),
            m.duration_ms,
            m.bytes,
            m.frames,
            m.crc32c as i32,
            m.header.0 as i64,
            m.cause.map(|c| c as u8),
            row.place.segment,
            row.place.offset,
            2 * i64::from(m.lead_bytes) + i64::from(m.encrypted),
        ])
        .map_err(db)?;
    // A row that was not added may be of another fragment with the same counter, and this one must not pass for recorded.
    if added == 0 {
        get(c, row.stream, m.number).map_err(|e| match e.kind() {
            Kind::NotFound => Error::new(Kind::Conflict, format!("another fragment has the counter of {}", m.number)),
            _ => e,
        })?;
    }
    Ok(added == 1)
}

/// One fragment and its place.
pub(crate) fn get(c: &Connection, stream: u64, number: FragmentNumber) -> Result<(FragmentMeta, Place), Error> {
    located(c, stream, number).map(|(meta, (place, _))| (meta, place))
}

/// A fragment, its place, and the generation of its segment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Located {
    pub(crate) meta: FragmentMeta,
    pub(crate) place: Place,
    pub(crate) generation: u32,
}

/// In SQL, the generation of the segment that a row points into.
const GENERATION: &str = "coalesce((SELECT generation FROM segments WHERE segments.id = segment), 0)";

/// Those after a counter, in the order of counters.
pub(crate) fn places_after(c: &Connection, stream: u64, after: u64, limit: usize) -> Result<Vec<Located>, Error> {
    let sql = format!(
        "SELECT {COLUMNS}, {GENERATION} FROM fragments WHERE stream = ?1 AND counter > ?2 ORDER BY counter LIMIT ?3"
    );
    let mut statement = c.prepare_cached(&sql).map_err(db)?;
    let rows = statement.query_map(params![stream, after, limit as i64], |r| {
        let (meta, place) = read(r)?;
        Ok(Located { meta, place, generation: r.get(BEHIND)? })
    });
    rows.map_err(db)?.collect::<Result<_, _>>().map_err(db)
}

/// One fragment, its place, and the generation of its segment.
pub(crate) fn located(
    c: &Connection,
    stream: u64,
    number: FragmentNumber,
) -> Result<(FragmentMeta, (Place, u32)), Error> {
    let sql = format!("SELECT {COLUMNS}, {GENERATION} FROM fragments WHERE stream = ?1 AND counter = ?2");
    let found = c
        .prepare_cached(&sql)
        .map_err(db)?
        .query_row(params![stream, number.counter()], |r| {
            read(r).and_then(|(meta, place)| Ok((meta, (place, r.get(BEHIND)?))))
        })
        .optional()
        .map_err(db)?;
    match found.filter(|(meta, _)| meta.number == number) {
        Some(found) => Ok(found),
        None => Err(match super::quarantine::reason(c, stream, number)? {
            Some(reason) => Error::new(Kind::NotFound, format!("fragment {number} is damaged and left out: {reason}")),
            None => Error::new(Kind::NotFound, format!("there is no fragment {number}")),
        }),
    }
}

/// Whether a row still stands, and points where it did.
pub(crate) fn is_there(c: &Connection, row: &Placed) -> Result<bool, Error> {
    let mut statement = c
        .prepare_cached("SELECT 1 FROM fragments WHERE stream = ?1 AND counter = ?2 AND segment = ?3 AND place = ?4")
        .map_err(db)?;
    let Place { segment, offset } = row.place;
    statement.exists(params![row.stream, row.meta.number.counter(), segment, offset]).map_err(db)
}

/// A fragment that is the same as one that was sent again; of several the newest.
pub(crate) fn find(c: &Connection, stream: u64, key: &Key) -> Result<Option<FragmentMeta>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM fragments INDEXED BY fragments_by_time WHERE stream = ?1 AND producer_start = ?2 ORDER BY counter DESC"
    );
    let mut statement = c.prepare_cached(&sql).map_err(db)?;
    let mut rows = statement.query_map(params![stream, key.producer_start.0], read).map_err(db)?;
    rows.find_map(|row| row.map(|(meta, _)| (Key::of(&meta) == *key).then_some(meta)).transpose())
        .transpose()
        .map_err(db)
}

/// What memory is told of a stream when it is opened.
pub(crate) fn recorded(c: &Connection, stream: u64) -> Result<Recorded, Error> {
    let sql = format!("SELECT {COLUMNS} FROM fragments WHERE stream = ?1 ORDER BY counter DESC LIMIT ?2");
    let mut statement = c.prepare_cached(&sql).map_err(db)?;
    let rows = statement.query_map(params![stream, RECENT as i64], read).map_err(db)?;
    let mut recent = rows.map(|r| r.map(|(meta, _)| meta)).collect::<Result<Vec<_>, _>>().map_err(db)?;
    recent.reverse();
    let newest_start: Option<i64> = c
        .prepare_cached("SELECT max(producer_start) FROM fragments INDEXED BY fragments_by_time WHERE stream = ?1")
        .map_err(db)?
        .query_row([stream], |r| r.get(0))
        .map_err(db)?;
    Ok(Recorded { recent, newest_start: newest_start.map(UnixMillis) })
}

/// The newest `limit` fragments, oldest first, one for each producer time.
pub(crate) fn newest(c: &Connection, stream: u64, limit: usize) -> Result<Vec<FragmentMeta>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM fragments AS f WHERE stream = ?1 AND {NEWEST_OF_ITS_TIME} ORDER BY counter DESC LIMIT ?2"
    );
    let mut statement = c.prepare_cached(&sql).map_err(db)?;
    let rows = statement.query_map(params![stream, limit as i64], read).map_err(db)?;
    let mut metas = rows.map(|r| r.map(|(meta, _)| meta)).collect::<Result<Vec<_>, _>>().map_err(db)?;
    metas.reverse();
    Ok(metas)
}

/// Fragments that overlap a range, by producer time and then number.
pub(crate) fn list(
    c: &Connection,
    stream: u64,
    range: Range,
    at: Position,
    limit: usize,
) -> Result<Vec<FragmentMeta>, Error> {
    let (mut from, mut after) = (range.from.0.saturating_sub(i64::from(MAX_DURATION_MS)), -1);
    if let Position::After(number) = at {
        // The fragment itself may be gone by now: then go on at the next one by number.
        let next: Option<(i64, i64)> = c
            .prepare_cached("SELECT producer_start, counter FROM fragments WHERE stream = ?1 AND counter >= ?2 ORDER BY counter LIMIT 1")
            .map_err(db)?
            .query_row(params![stream, number.counter()], |r| Ok((r.get(0)?, r.get(1)?)))
            .optional()
            .map_err(db)?;
        let Some((start, counter)) = next else { return Ok(Vec::new()) };
        if start >= from {
            (from, after) = (start, if counter as u64 == number.counter() { counter } else { counter - 1 });
        }
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM fragments AS f WHERE stream = ?1 AND producer_start >= ?2 AND (producer_start > ?2 OR counter > ?3)
         AND producer_start < ?4 AND producer_start + duration_ms > ?5 AND {NEWEST_OF_ITS_TIME}
         ORDER BY producer_start, counter LIMIT ?6"
    );
    let mut statement = c.prepare_cached(&sql).map_err(db)?;
    let rows =
        statement.query_map(params![stream, from, after, range.to.0, range.from.0, limit as i64], read).map_err(db)?;
    rows.map(|r| r.map(|(meta, _)| meta)).collect::<Result<_, _>>().map_err(db)
}

/// The headers of fragments that overlap a range, one of each.
pub(crate) fn headers_in(c: &Connection, stream: u64, range: Range) -> Result<Vec<HeaderId>, Error> {
    let mut statement = c
        .prepare_cached(
            "SELECT DISTINCT header FROM fragments WHERE stream = ?1 AND producer_start >= ?2 AND producer_start < ?3
             AND producer_start + duration_ms > ?4",
        )
        .map_err(db)?;
    let from = range.from.0.saturating_sub(i64::from(MAX_DURATION_MS));
    let rows = statement.query_map(params![stream, from, range.to.0, range.from.0], |r| r.get::<_, i64>(0));
    rows.map_err(db)?.map(|id| id.map(|id| HeaderId(id as u64))).collect::<Result<_, _>>().map_err(db)
}

/// What the timeline needs of a fragment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Covered {
    pub(crate) start: UnixMillis,
    pub(crate) duration_ms: u32,
    pub(crate) bytes: u64,
    pub(crate) cause: Option<Cause>,
}

/// Calls `each` with every fragment that overlaps a range, in order of that clock, until it gives `false`. By producer time the index
/// alone is read.
pub(crate) fn walk(
    c: &Connection,
    stream: u64,
    by: TimeBy,
    range: Range,
    mut each: impl FnMut(Covered) -> bool,
) -> Result<(), Error> {
    let sql = match by {
        TimeBy::Producer => {
            "SELECT producer_start, duration_ms, bytes, cause FROM fragments INDEXED BY fragments_by_time
             WHERE stream = ?1 AND producer_start >= ?2 AND producer_start < ?3 AND producer_start + duration_ms > ?4
             ORDER BY producer_start, counter"
        }
        TimeBy::Server => {
            "SELECT server_start, duration_ms, bytes, cause FROM fragments INDEXED BY fragments_by_server
             WHERE stream = ?1 AND server_start >= ?2 AND server_start < ?3 AND server_start + duration_ms > ?4
             ORDER BY server_start, counter"
        }
    };
    let mut statement = c.prepare_cached(sql).map_err(db)?;
    let from = range.from.0.saturating_sub(i64::from(MAX_DURATION_MS));
    let mut rows = statement.query(params![stream, from, range.to.0, range.from.0]).map_err(db)?;
    let mut held: Option<Covered> = None;
    while let Some(row) = rows.next().map_err(db)? {
        let cause: Option<u8> = row.get(3).map_err(db)?;
        let next = Covered {
            start: UnixMillis(row.get(0).map_err(db)?),
            duration_ms: row.get(1).map_err(db)?,
            bytes: row.get(2).map_err(db)?,
            cause: cause.and_then(Cause::from_code),
        };
        // Of several with the same producer time the last has the largest number: only it counts (invariant 7). Those that came in
        // the same millisecond all count.
        if let Some(previous) = held.replace(next)
            && (previous.start != next.start || by == TimeBy::Server)
            && !each(previous)
        {
            return Ok(());
        }
    }
    if let Some(last) = held {
        each(last);
    }
    Ok(())
}

/// A row with its stream and place.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) stream: u64,
    pub(crate) meta: FragmentMeta,
    pub(crate) place: Place,
}

impl Placed {
    /// All rows in the order of the log, in batches, so that memory does not grow with the archive.
    pub(crate) fn query(c: &Connection) -> Result<PlacedRows<'_>, Error> {
        // Sorted once into a table of this connection; SQLite spills it to disk.
        c.execute_batch(
            "DROP TABLE IF EXISTS temp.placed;
             CREATE TEMP TABLE placed (segment INTEGER, place INTEGER, stream INTEGER, counter INTEGER, bytes INTEGER, encrypted INTEGER, PRIMARY KEY (segment, place, stream, counter)) WITHOUT ROWID;
             INSERT INTO temp.placed SELECT segment, place, stream, counter, bytes, encrypted FROM fragments;",
        )
        .map_err(db)?;
        Ok(PlacedRows { c, after: None, batch: Vec::new().into_iter() })
    }
}

/// See [`Placed::query`].
pub(crate) struct PlacedRows<'a> {
    c: &'a Connection,
    after: Option<(Place, u64, u64)>,
    batch: std::vec::IntoIter<Placed>,
}

impl PlacedRows<'_> {
    /// The next row.
    pub(crate) fn next(&mut self) -> Result<Option<Placed>, Error> {
        if let Some(row) = self.batch.next() {
            return Ok(Some(row));
        }
        let after = self.after.map_or((-1, -1, -1, -1), |(p, stream, counter)| {
            (p.segment as i64, p.offset as i64, stream as i64, counter as i64)
        });
        let sql = format!(
            "SELECT {COLUMNS}, f.stream FROM (SELECT segment, place, stream, counter FROM temp.placed WHERE (segment, place, stream, counter) > (?1, ?2, ?3, ?4)
                 ORDER BY segment, place, stream, counter LIMIT ?5) AS p
             JOIN fragments AS f USING (stream, counter, segment, place) ORDER BY segment, place, stream, counter"
        );
        let mut statement = self.c.prepare_cached(&sql).map_err(db)?;
        let rows = statement
            .query_map(params![after.0, after.1, after.2, after.3, BATCH as i64], |row| {
                let (meta, place) = read(row)?;
                Ok(Placed { stream: row.get(BEHIND)?, meta, place })
            })
            .map_err(db)?;
        let batch = rows.collect::<Result<Vec<_>, _>>().map_err(db)?;
        self.after = batch.last().map(|row| (row.place, row.stream, row.meta.number.counter())).or(self.after);
        self.batch = batch.into_iter();
        Ok(self.batch.next())
    }
}

/// How many producer times the fragments of a stream have.
pub(crate) fn distinct_starts(c: &Connection, stream: u64) -> Result<u64, Error> {
    c.query_row("SELECT count(DISTINCT producer_start) FROM fragments WHERE stream = ?1", [stream], |r| r.get(0))
        .map_err(db)
}

/// The producer time of the fragment with the smallest number that nothing holds.
pub(crate) fn oldest_start(c: &Connection, stream: u64) -> Result<Option<UnixMillis>, Error> {
    let sql = format!(
        "SELECT producer_start FROM fragments WHERE stream = ?1 AND NOT {} ORDER BY counter LIMIT 1",
        expiry::HELD
    );
    let mut statement = c.prepare_cached(&sql).map_err(db)?;
    statement.query_row([stream], |r| r.get(0).map(UnixMillis)).optional().map_err(db)
}

/// Bytes of the records of a stream's fragments, counted anew.
pub(crate) fn record_bytes(c: &Connection, stream: u64) -> Result<u64, Error> {
    let sql = format!("SELECT coalesce(sum({}), 0) FROM fragments WHERE stream = ?1", segments::RECORD_BYTES);
    c.query_row(&sql, [stream], |r| r.get(0)).map_err(db)
}

/// How many fragments of a stream are listed.
pub(crate) fn shown(c: &Connection, stream: u64) -> Result<u64, Error> {
    let sql = format!("SELECT count(*) FROM fragments AS f WHERE stream = ?1 AND {NEWEST_OF_ITS_TIME}");
    c.query_row(&sql, [stream], |r| r.get(0)).map_err(db)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::catalog::quarantine;
    use crate::catalog::testing::{self, catalog};

    #[test]
    fn each_column_is_read_as_it_was_written() {
        let (_dir, mut c) = catalog();
        let stream = streams::insert(&c, &"gate".parse().unwrap(), None, UnixMillis(0)).unwrap().info.id;
        let rows: Vec<_> = [(0, false), (0, true), (1, false), (65_535, true)]
            .into_iter()
            .zip([0, 0x7fff_ffff, 0x8000_0000, u32::MAX])
            .zip(1..)
            .map(|(((lead_bytes, encrypted), crc32c), i)| {
                let meta = FragmentMeta {
                    number: FragmentNumber::new(100 + i, 200 + i, 300 + i as u32),
                    producer_start: UnixMillis(-400 - i as i64),
                    server_start: UnixMillis(200 + i as i64),
                    duration_ms: 500 + i as u32,
                    bytes: 600 + i as u32,
                    lead_bytes,
                    frames: 700 + i as u32,
                    crc32c,
                    header: HeaderId(u64::MAX - i),
                    cause: Cause::from_code(i as u8),
                    encrypted,
                };
                let place = Place { segment: 800 + i, offset: 900 + i };
                NewRow { stream, meta, place, header: Bytes::from(i.to_string()) }
            })
            .collect();
        let group = Group { segments: BTreeMap::new(), rows: rows.clone(), deleted: Vec::new() };
        assert!(commit(&mut c, &group).unwrap().iter().all(Result::is_ok));
        for row in &rows {
            assert_eq!(get(&c, stream, row.meta.number).unwrap(), (row.meta.clone(), row.place));
            // Into quarantine and back.
            let number = row.meta.number;
            assert!(quarantine::put(&c, stream, number, row.place, "flipped", UnixMillis(1)).unwrap());
            let (found, count) = quarantine::all(&c, 9).unwrap();
            assert_eq!((&found[0].row.meta, found[0].row.place, count), (&row.meta, row.place, 1));
            assert_eq!((found[0].reason.as_str(), found[0].at), ("flipped", UnixMillis(1)));
            assert!(quarantine::release(&c, &found[0].row).unwrap());
            assert_eq!(get(&c, stream, number).unwrap(), (row.meta.clone(), row.place));
        }
        let mut walked = Placed::query(&c).unwrap();
        for row in &rows {
            let found = walked.next().unwrap().unwrap();
            assert_eq!((found.stream, &found.meta, found.place), (stream, &row.meta, row.place));
        }
    }

    #[test]
    fn a_counter_that_another_fragment_has_is_refused_and_the_same_fragment_is_not() {
        let (_dir, mut c) = catalog();
        let stream = streams::insert(&c, &"gate".parse().unwrap(), None, UnixMillis(0)).unwrap().info.id;
        let row = |random, offset| {
            let mut row = testing::row(stream, 7, 5, Place { segment: 1, offset });
            row.meta.number = FragmentNumber::new(7, 5, random);
            row
        };
        let mut put = |rows| commit(&mut c, &Group { segments: BTreeMap::new(), rows, deleted: Vec::new() }).unwrap();
        assert!(put(vec![row(1, 64)])[0].is_ok());
        let outcomes = put(vec![row(1, 640), row(2, 6400)]);
        assert!(outcomes[0].is_ok());
        assert_eq!(outcomes[1].as_ref().unwrap_err().kind(), Kind::Conflict);
        assert_eq!(newest(&c, stream, 9).unwrap(), [row(1, 64).meta]);
    }
}
