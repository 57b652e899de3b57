//! Rows of streams, their headers, and the settings.

use super::db;
use crate::crypt::envelope;
use crate::documents::{Change, Expect, STREAM};
use crate::quota::{AtQuota, StreamQuota};
use crate::segments::record::StreamBody;
use crate::{Error, Kind, StreamInfo, faults};
use media::{HeaderId, StreamName, UnixMillis};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeSet;

/// Counters are set aside in blocks of so many.
pub(crate) const BLOCK: u64 = 1000;

/// A stream as the catalog knows it.
#[derive(Debug)]
pub(crate) struct StreamRow {
    pub(crate) info: StreamInfo,
    /// No counter above it was ever given out.
    pub(crate) counter_limit: u64,
    /// Of the records of its fragments.
    pub(crate) bytes: u64,
    pub(crate) quota: StreamQuota,
}

fn read(row: &Row<'_>) -> rusqlite::Result<StreamRow> {
    let name: String = row.get("name")?;
    let name = name
        .parse()
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(e)))?;
    Ok(StreamRow {
        info: StreamInfo {
            id: row.get("id")?,
            name,
            retention_hours: row.get("retention_hours")?,
            created_at: UnixMillis(row.get("created_at")?),
        },
        counter_limit: row.get("counter_limit")?,
        bytes: row.get("bytes")?,
        quota: StreamQuota {
            quota_bytes: row.get("quota_bytes")?,
            at_quota: row.get::<_, Option<String>>("at_quota")?.and_then(|name| AtQuota::of_name(&name)),
            guaranteed_bytes: row.get("guaranteed_bytes")?,
        },
    })
}

/// All streams.
pub(crate) fn all(c: &Connection) -> Result<Vec<StreamRow>, Error> {
    let mut statement = c
        .prepare(
            "SELECT id, name, retention_hours, created_at, counter_limit, bytes, quota_bytes, at_quota, guaranteed_bytes FROM streams ORDER BY name",
        )
        .map_err(db)?;
    statement.query_map([], read).map_err(db)?.collect::<Result<_, _>>().map_err(db)
}

/// Adds a stream, with its document if it has one, in one transaction.
pub(crate) fn create(
    c: &mut Connection,
    name: &StreamName,
    retention_hours: Option<u32>,
    now: UnixMillis,
    body: Option<serde_json::Value>,
) -> Result<StreamRow, Error> {
    let tx = c.transaction().map_err(db)?;
    let row = insert(&tx, name, retention_hours, now)?;
    if let Some(body) = body {
        let name = row.info.id.to_string();
        super::documents::change(&tx, &[Change::Put { collection: STREAM, name, expect: Expect::Absent, body }])?;
    }
    tx.commit().map_err(db)?;
    Ok(row)
}

/// Adds a stream; its id is new.
pub(crate) fn insert(
    c: &Connection,
    name: &StreamName,
    retention_hours: Option<u32>,
    now: UnixMillis,
) -> Result<StreamRow, Error> {
    let added = c.execute(
        "INSERT INTO streams (name, retention_hours, created_at, counter_limit) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO NOTHING",
        params![name.as_str(), retention_hours, now.0, BLOCK],
    );
    if added.map_err(db)? == 0 {
        return Err(Error::new(Kind::AlreadyExists, format!("there is a stream {name} already")));
    }
    let id = c.last_insert_rowid() as u64;
    let info = StreamInfo { id, name: name.clone(), retention_hours, created_at: now };
    Ok(StreamRow { info, counter_limit: BLOCK, bytes: 0, quota: StreamQuota::default() })
}

/// Removes a stream's row and document, cameras excepted; its other rows go in batches later ([`super::expiry::sweep_deleted`]).
pub(crate) fn delete(c: &mut Connection, id: u64) -> Result<(), Error> {
    let tx = c.transaction().map_err(db)?;
    if tx.execute("DELETE FROM streams WHERE id = ?1", [id]).map_err(db)? == 0 {
        return Err(Error::new(Kind::NotFound, "the stream is deleted already"));
    }
    super::documents::remove(&tx, STREAM, &id.to_string())?;
    note_deleted(&tx, id)?;
    tx.commit().map_err(db)
}

/// Something of this stream, which was deleted, still has to go.
pub(crate) fn note_deleted(c: &Connection, id: u64) -> Result<(), Error> {
    c.execute("INSERT OR IGNORE INTO deleted_streams (id) VALUES (?1)", [id]).map_err(db)?;
    Ok(())
}

/// No later stream gets this id or a smaller one: the log may say of them that they were deleted.
pub(crate) fn never_again(c: &Connection, id: u64) -> Result<(), Error> {
    let first = "INSERT INTO sqlite_sequence (name, seq) SELECT 'streams', 0
         WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'streams')";
    c.execute(first, []).map_err(db)?;
    c.execute("UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'streams'", [id]).map_err(db)?;
    Ok(())
}

/// Streams that were deleted and whose rows are not all gone yet.
pub(crate) fn deleted(c: &Connection) -> Result<BTreeSet<u64>, Error> {
    let mut statement = c.prepare("SELECT id FROM deleted_streams").map_err(db)?;
    statement.query_map([], |r| r.get(0)).map_err(db)?.collect::<Result<_, _>>().map_err(db)
}

/// Sets a stream's retention.
pub(crate) fn set_retention(c: &Connection, id: u64, hours: Option<u32>) -> Result<(), Error> {
    match c.execute("UPDATE streams SET retention_hours = ?2 WHERE id = ?1", params![id, hours]).map_err(db)? {
        0 => Err(Error::new(Kind::NotFound, "the stream was deleted")),
        _ => Ok(()),
    }
}

/// Fragments were added, whose records have so many bytes.
pub(crate) fn added(c: &Connection, id: u64, bytes: u64) -> Result<(), Error> {
    let mut statement = c.prepare_cached("UPDATE streams SET bytes = bytes + ?2 WHERE id = ?1").map_err(db)?;
    statement.execute(params![id, bytes]).map_err(db)?;
    Ok(())
}

/// Fragments went, whose records had so many bytes. A stream that is deleted has no row to say so.
pub(crate) fn gone(c: &Connection, id: u64, bytes: u64) -> Result<(), Error> {
    let mut statement = c.prepare_cached("UPDATE streams SET bytes = bytes - ?2 WHERE id = ?1").map_err(db)?;
    statement.execute(params![id, bytes]).map_err(db)?;
    Ok(())
}

/// What a stream may keep.
pub(crate) fn set_quota(c: &Connection, id: u64, quota: &StreamQuota) -> Result<(), Error> {
    let StreamQuota { quota_bytes, at_quota, guaranteed_bytes } = quota;
    let set = c.execute(
        "UPDATE streams SET quota_bytes = ?2, at_quota = ?3, guaranteed_bytes = ?4 WHERE id = ?1",
        params![id, quota_bytes, at_quota.map(AtQuota::name), guaranteed_bytes],
    );
    match set.map_err(db)? {
        0 => Err(Error::new(Kind::NotFound, "the stream was deleted")),
        _ => Ok(()),
    }
}

/// Raises the limit of counters, never lowers it.
pub(crate) fn reserve(c: &Connection, id: u64, counter_limit: u64) -> Result<(), Error> {
    faults::step("numbers.reserve");
    let mut statement =
        c.prepare_cached("UPDATE streams SET counter_limit = max(counter_limit, ?2) WHERE id = ?1").map_err(db)?;
    statement.execute(params![id, counter_limit]).map_err(db)?;
    Ok(())
}

/// The limit of the block that a counter is in: a process that gave it out may have given out all of them.
pub(crate) fn block_limit(counter: u64) -> u64 {
    counter.div_ceil(BLOCK) * BLOCK
}

/// Takes a stream over as a segment describes it. The newest description counts; the limit of counters only grows.
pub(crate) fn adopt(c: &Connection, id: u64, counter_limit: u64, body: &StreamBody) -> Result<(), Error> {
    // A name that was given to a later stream belongs to that one.
    c.execute(
        "UPDATE streams SET name = name || '.' || id WHERE name = ?1 AND id <> ?2",
        params![body.name.as_str(), id],
    )
    .map_err(db)?;
    c.execute(
        "INSERT INTO streams (id, name, retention_hours, created_at, counter_limit) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, retention_hours = excluded.retention_hours,
             counter_limit = max(counter_limit, excluded.counter_limit)",
        params![id, body.name.as_str(), body.retention_hours, body.created_at.0, counter_limit],
    )
    .map_err(db)?;
    Ok(())
}

/// Whether no stream of this catalog ever had this id or a larger one.
pub(crate) fn is_newer(c: &Connection, id: u64) -> Result<bool, Error> {
    c.query_row("SELECT ?1 > coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'streams'), 0)", [id], |r| r.get(0))
        .map_err(db)
}

/// Whether the newest fragment of a stream is encrypted.
pub(crate) fn ends_encrypted(c: &Connection, id: u64) -> Result<bool, Error> {
    let sql = "SELECT encrypted FROM fragments WHERE stream = ?1 ORDER BY counter DESC LIMIT 1";
    Ok(c.query_row(sql, [id], |r| r.get(0)).optional().map_err(db)?.unwrap_or(false))
}

/// Sets the next block of counters aside for every stream: what a start of the process does.
pub(crate) fn reserve_all(c: &Connection) -> Result<(), Error> {
    c.execute("UPDATE streams SET counter_limit = counter_limit + ?1", [BLOCK]).map_err(db)?;
    Ok(())
}

/// A header's bytes.
pub(crate) fn header(c: &Connection, stream: u64, id: HeaderId) -> Result<Option<Vec<u8>>, Error> {
    let mut statement = c.prepare_cached("SELECT bytes FROM headers WHERE stream = ?1 AND id = ?2").map_err(db)?;
    statement.query_row(params![stream, id.0 as i64], |r| r.get(0)).optional().map_err(db)
}

/// Stores a header, or checks the one that stands under its id.
pub(crate) fn put_header(c: &Connection, stream: u64, id: HeaderId, bytes: &[u8]) -> Result<(), Error> {
    match header(c, stream, id)? {
        Some(there) if there == bytes => Ok(()),
        // Encrypted from now on, or no longer: what is recorded now is readable as it says.
        Some(there) if envelope::is_one(&there) != envelope::is_one(bytes) => {
            c.execute(
                "UPDATE headers SET bytes = ?3 WHERE stream = ?1 AND id = ?2",
                params![stream, id.0 as i64, bytes],
            )
            .map_err(db)?;
            Ok(())
        }
        Some(_) => Err(Error::new(Kind::Invalid, format!("two different headers have the id {id}"))),
        None => {
            let mut statement =
                c.prepare_cached("INSERT INTO headers (stream, id, bytes) VALUES (?1, ?2, ?3)").map_err(db)?;
            statement.execute(params![stream, id.0 as i64, bytes]).map_err(db)?;
            Ok(())
        }
    }
}

/// A setting's value.
pub(crate) fn setting(c: &Connection, key: &str) -> Result<Option<String>, Error> {
    c.query_row("SELECT value FROM settings WHERE key = ?1", [key], |r| r.get(0)).optional().map_err(db)
}

/// Sets a setting.
pub(crate) fn set_setting(c: &Connection, key: &str, value: &str) -> Result<(), Error> {
    c.execute(
        "INSERT INTO settings (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        [key, value],
    )
    .map_err(db)?;
    Ok(())
}
