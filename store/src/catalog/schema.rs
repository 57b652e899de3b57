//! The catalog's tables and their version.

use super::db;
use crate::{Error, Kind};
use rusqlite::{Connection, OptionalExtension, params};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

/// Version of the tables below. An upgrade is a step from each earlier one.
pub(crate) const VERSION: i64 = 1;

/// Plain SQL, so that PostgreSQL can take it over with few changes. 64-bit ids that fill their range (header ids) are stored as
/// the signed integer of the same bits.
const TABLES: &str = "
CREATE TABLE store (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- counter_limit: no counter above it was ever given out (invariant 3).
CREATE TABLE streams (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    retention_hours INTEGER,
    created_at INTEGER NOT NULL,
    counter_limit INTEGER NOT NULL
);
-- Streams whose rows are still being swept away.
CREATE TABLE deleted_streams (id INTEGER PRIMARY KEY);

CREATE TABLE headers (
    stream INTEGER NOT NULL,
    id INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (stream, id)
) WITHOUT ROWID;

-- ends: just after the last record that counts. rows: fragments that refer to it. deletions: it notes deleted streams.
CREATE TABLE segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    created_at INTEGER NOT NULL,
    ends INTEGER NOT NULL,
    closed INTEGER NOT NULL,
    deletions INTEGER NOT NULL,
    rows INTEGER NOT NULL
);

-- A fragment's number is (counter, server_start, random).
CREATE TABLE fragments (
    stream INTEGER NOT NULL,
    counter INTEGER NOT NULL,
    producer_start INTEGER NOT NULL,
    server_start INTEGER NOT NULL,
    random INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    frames INTEGER NOT NULL,
    crc32c INTEGER NOT NULL,
    header INTEGER NOT NULL,
    cause INTEGER,
    segment INTEGER NOT NULL,
    place INTEGER NOT NULL,
    PRIMARY KEY (stream, counter)
) WITHOUT ROWID;
-- Covers the timeline: coverage never touches the table.
CREATE INDEX fragments_by_time ON fragments (stream, producer_start, counter, duration_ms, bytes, cause);

CREATE TABLE cameras (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE rules (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE targets (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE detections (
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    time INTEGER NOT NULL,
    number TEXT NOT NULL,
    offset_ms INTEGER NOT NULL,
    class TEXT NOT NULL,
    score REAL NOT NULL,
    x0 REAL NOT NULL, y0 REAL NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL
);
CREATE INDEX detections_by_time ON detections (stream, time);

CREATE TABLE alerts (
    id TEXT PRIMARY KEY,
    stream INTEGER NOT NULL,
    time INTEGER NOT NULL,
    body TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX alerts_by_time ON alerts (stream, time);
CREATE INDEX alerts_by_stream ON alerts (stream, id);
CREATE TABLE snapshots (alert TEXT PRIMARY KEY, jpeg BLOB NOT NULL);

CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    alert TEXT NOT NULL,
    target TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    last_error TEXT
);
CREATE INDEX deliveries_by_alert ON deliveries (alert);
CREATE INDEX deliveries_due ON deliveries (state, next_at);
";

/// Opens the writing connection; makes the tables in an empty file; refuses a newer version, and the catalog of another store.
pub(crate) fn open(path: &Path, store: Uuid) -> Result<Connection, Error> {
    // Made here first, because SQLite would make it readable for others; its journal takes over the permissions.
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| Error::new(Kind::Unavailable, format!("{} cannot be opened", path.display())).with_source(e))?;
    let mut connection = Connection::open(path).map_err(db)?;
    prepare(&connection).map_err(db)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(db)?;
    match version {
        0 => create(&mut connection, store).map_err(|e| e.context(format!("{} cannot be made", path.display())))?,
        VERSION => {}
        newer => {
            let message = format!(
                "{} has schema version {newer}; this program knows up to {VERSION}: use a newer one",
                path.display()
            );
            return Err(Error::new(Kind::Invalid, message));
        }
    }
    let of: Option<Vec<u8>> =
        connection.query_row("SELECT value FROM store WHERE key = 'uuid'", [], |r| r.get(0)).optional().map_err(db)?;
    if of.as_deref() != Some(store.as_bytes()) {
        return Err(Error::new(Kind::Invalid, format!("{} belongs to another data folder", path.display())));
    }
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    tune(connection)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // FULL: a commit is on the disk when it returns; `Durable` rests on it.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// What reading connections get too.
pub(super) fn tune(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    // KiB of pages in memory: the inner pages of both trees at tens of millions of rows.
    connection.pragma_update(None, "cache_size", -16_384)
}

fn create(connection: &mut Connection, store: Uuid) -> Result<(), Error> {
    let mut secret = [0u8; 32];
    getrandom::fill(&mut secret)
        .map_err(|e| Error::new(Kind::Unavailable, format!("the system gave no random bytes: {e}")))?;
    let tx = connection.transaction().map_err(db)?;
    tx.execute_batch(TABLES).map_err(db)?;
    tx.execute("INSERT INTO store (key, value) VALUES ('uuid', ?1), ('secret', ?2)", params![store.as_bytes(), secret])
        .map_err(db)?;
    tx.pragma_update(None, "user_version", VERSION).map_err(db)?;
    tx.commit().map_err(db)
}

/// The secret that was made with the catalog.
pub(crate) fn secret(connection: &Connection) -> Result<[u8; 32], Error> {
    let value: Vec<u8> =
        connection.query_row("SELECT value FROM store WHERE key = 'secret'", [], |r| r.get(0)).map_err(db)?;
    value.try_into().map_err(|_| Error::new(Kind::Corrupt, "the secret in the catalog has not 32 bytes"))
}
