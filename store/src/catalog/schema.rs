//! The catalog's tables and their version.

use super::db;
use crate::quota::Disk;
use crate::{Error, Kind, faults, reserve};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

/// The steps, each from the version before it; the first makes version 1 in an empty file. A new catalog takes them all, so that it
/// is what an upgraded one is. A step that was released never changes.
///
/// Plain SQL, so that PostgreSQL can take it over with few changes. 64-bit ids that fill their range (header ids) are stored as
/// the signed integer of the same bits.
const STEPS: [&str; 8] = [VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6, VERSION_7, VERSION_8];
/// The version that they lead to.
pub(crate) const VERSION: i64 = STEPS.len() as i64;

const VERSION_1: &str = "
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

const VERSION_2: &str = "
CREATE TABLE documents (
    collection TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (collection, name)
) WITHOUT ROWID;
-- One row: the last version that a document was given.
CREATE TABLE document_versions (last INTEGER NOT NULL);
INSERT INTO document_versions (last) VALUES (0);

-- A fragment has at most one; body is JSON.
CREATE TABLE notifications (
    id TEXT PRIMARY KEY,
    stream INTEGER NOT NULL,
    counter INTEGER NOT NULL,
    time INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (stream, counter)
) WITHOUT ROWID;
CREATE INDEX notifications_by_time ON notifications (stream, time);
-- kind: what `alert` is the id of, an 'alert' or a 'notification'. target: the name of one, or a URL.
ALTER TABLE deliveries ADD COLUMN kind TEXT NOT NULL DEFAULT 'alert';
";

const VERSION_3: &str = "
-- Of bytes, those of what the producer sent between header and cluster.
ALTER TABLE fragments ADD COLUMN lead_bytes INTEGER NOT NULL DEFAULT 0;
-- For listings and look-ups by the server's clock.
CREATE INDEX fragments_by_server ON fragments (stream, server_start, counter, duration_ms);
-- Ranges of producer time that were deleted: of what stands before (segment, place) in the log, rows are still being taken away.
CREATE TABLE deleted_ranges (
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    place INTEGER NOT NULL
);
";

const VERSION_4: &str = "
-- bytes: of the records of its fragments, each with its head and padding. quota_bytes: NULL takes the configured one, 0 is none.
-- at_quota: 'evict' or 'refuse'; NULL takes the configured one. guaranteed_bytes: of those, the quota of the store takes none.
ALTER TABLE streams ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE streams ADD COLUMN quota_bytes INTEGER;
ALTER TABLE streams ADD COLUMN at_quota TEXT;
ALTER TABLE streams ADD COLUMN guaranteed_bytes INTEGER NOT NULL DEFAULT 0;
-- live_bytes: of the records that rows refer to. generation: how often its file was written anew. expired_since, deleted_since: when
-- the first row that its file still has the bytes of went, by retention or a quota, or because someone deleted it; ms.
ALTER TABLE segments ADD COLUMN live_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE segments ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE segments ADD COLUMN expired_since INTEGER;
ALTER TABLE segments ADD COLUMN deleted_since INTEGER;
UPDATE streams SET bytes = s.bytes
    FROM (SELECT stream, sum((bytes + 79) / 8 * 8) AS bytes FROM fragments GROUP BY stream) AS s WHERE s.stream = streams.id;
UPDATE segments SET live_bytes = s.bytes
    FROM (SELECT segment, sum((bytes + 79) / 8 * 8) AS bytes FROM fragments GROUP BY segment) AS s WHERE s.segment = segments.id;
-- When rows went before is not known. Descriptions of streams are far less than a part in fifty.
UPDATE segments SET expired_since = unixepoch() * 1000 WHERE ends - live_bytes > ends / 50;
-- Ranges of producer time that nothing takes anything from.
CREATE TABLE holds (
    stream INTEGER NOT NULL,
    name TEXT NOT NULL,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    reason TEXT NOT NULL,
    placed_by TEXT NOT NULL,
    placed_at INTEGER NOT NULL,
    PRIMARY KEY (stream, name)
) WITHOUT ROWID;
";

const VERSION_5: &str = "
-- Fragments whose record was found damaged: their rows stand here and no longer in fragments. at: server time of the find.
CREATE TABLE quarantined (
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
    lead_bytes INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (stream, counter)
) WITHOUT ROWID;
";

const VERSION_6: &str = "
-- What a start, the sweep and erasure look for is a few of many segments.
CREATE INDEX segments_open ON segments (id) WHERE closed = 0;
CREATE INDEX segments_dead ON segments (id) WHERE closed = 1 AND rows = 0;
CREATE INDEX segments_dirty ON segments (id) WHERE expired_since IS NOT NULL OR deleted_since IS NOT NULL;
-- One row: what all segments are together, kept by the triggers.
CREATE TABLE segment_totals (count INTEGER NOT NULL, ends INTEGER NOT NULL, live_bytes INTEGER NOT NULL);
INSERT INTO segment_totals SELECT count(*), coalesce(sum(ends), 0), coalesce(sum(live_bytes), 0) FROM segments;
CREATE TRIGGER segments_added AFTER INSERT ON segments BEGIN
    UPDATE segment_totals SET count = count + 1, ends = ends + NEW.ends, live_bytes = live_bytes + NEW.live_bytes;
END;
CREATE TRIGGER segments_changed AFTER UPDATE OF ends, live_bytes ON segments BEGIN
    UPDATE segment_totals SET ends = ends + NEW.ends - OLD.ends, live_bytes = live_bytes + NEW.live_bytes - OLD.live_bytes;
END;
CREATE TRIGGER segments_removed AFTER DELETE ON segments BEGIN
    UPDATE segment_totals SET count = count - 1, ends = ends - OLD.ends, live_bytes = live_bytes - OLD.live_bytes;
END;
-- Objects of a bucket that may be there and do not count: generations of a segment that another took the place of, or that never
-- came to count. removed: when that was done for the first time, ms; it is done again later.
CREATE TABLE leftovers (
    segment INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    removed INTEGER,
    PRIMARY KEY (segment, generation)
) WITHOUT ROWID;
";

const VERSION_7: &str = "
-- Whether the record's payload lies in an envelope, which takes more bytes than it.
ALTER TABLE fragments ADD COLUMN encrypted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE quarantined ADD COLUMN encrypted INTEGER NOT NULL DEFAULT 0;
";

const VERSION_8: &str = "
-- form: twice the bytes of the lead, and one more where the record's payload lies in an envelope. Most have no lead, and 0 and 1 take no
-- byte of a row. Both are still columns to read. crc32c: the signed integer of the same 32 bits; of earlier rows the unsigned one.
UPDATE fragments SET lead_bytes = 2 * lead_bytes + encrypted WHERE lead_bytes <> 0 OR encrypted <> 0;
ALTER TABLE fragments RENAME COLUMN lead_bytes TO form;
ALTER TABLE fragments DROP COLUMN encrypted;
ALTER TABLE fragments ADD COLUMN lead_bytes INTEGER GENERATED ALWAYS AS (form / 2) VIRTUAL;
ALTER TABLE fragments ADD COLUMN encrypted INTEGER GENERATED ALWAYS AS (form % 2) VIRTUAL;
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
    connection.pragma_update(None, "wal_autocheckpoint", journal_pages(path)).map_err(db)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(db)?;
    match version {
        0 => create(&mut connection, store).map_err(|e| e.context(format!("{} cannot be made", path.display())))?,
        VERSION => {}
        older @ 1..VERSION => {
            // Of another store it is refused below, untouched.
            if belongs(&connection, store)? {
                upgrade(&mut connection, older)
                    .map_err(|e| e.context(format!("{} cannot be upgraded from version {older}", path.display())))?;
                tracing::info!(from = older, to = VERSION, "the catalog is upgraded");
            }
        }
        newer => {
            let message = format!(
                "{} has schema version {newer}; this program knows up to {VERSION}: use a newer one",
                path.display()
            );
            return Err(Error::of_configuration(message));
        }
    }
    if !belongs(&connection, store)? {
        return Err(Error::of_configuration(format!("{} belongs to another data folder", path.display())));
    }
    Ok(connection)
}

/// Opens the catalog to read it, beside a process that has it open. It must have this program's version.
pub(crate) fn look(path: &Path, store: Uuid) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(db)?;
    tune(&connection).map_err(db)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(db)?;
    if version != VERSION {
        let message = format!(
            "{} has schema version {version}, not {VERSION}: the server that runs there is of another version",
            path.display()
        );
        return Err(Error::new(Kind::Invalid, message));
    }
    if !belongs(&connection, store)? {
        return Err(Error::new(Kind::Invalid, format!("{} belongs to another data folder", path.display())));
    }
    Ok(connection)
}

fn belongs(connection: &Connection, store: Uuid) -> Result<bool, Error> {
    let of: Option<Vec<u8>> =
        connection.query_row("SELECT value FROM store WHERE key = 'uuid'", [], |r| r.get(0)).optional().map_err(db)?;
    Ok(of.as_deref() == Some(store.as_bytes()))
}

/// Takes the steps behind `from`, all in one transaction: a catalog has one version or the other, never something between.
fn upgrade(connection: &mut Connection, from: i64) -> Result<(), Error> {
    let tx = connection.transaction().map_err(db)?;
    steps(&tx, from)?;
    tx.commit().map_err(db)
}

fn steps(tx: &Connection, from: i64) -> Result<(), Error> {
    for (step, to) in STEPS.iter().zip(1..).filter(|(_, to)| *to > from) {
        tx.execute_batch(step).map_err(db)?;
        tx.pragma_update(None, "user_version", to).map_err(db)?;
    }
    Ok(())
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    tune(connection)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // FULL: a commit is on the disk when it returns; `Durable` rests on it.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // What is deleted is overwritten, not only forgotten.
    connection.pragma_update_and_check(None, "secure_delete", "ON", |_| Ok(()))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// How many pages the journal takes before they are moved into the file: a page that changes with each fragment of its stream is then
/// written there once for several times here. No more than [`crate::reserve`] keeps room for, which a start reads in no time, and few
/// on a small disk.
fn journal_pages(path: &Path) -> u64 {
    let disk = path.parent().and_then(Disk::of).map_or(0, |disk| disk.size);
    (reserve::most(disk) / 4096).max(1000)
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
    steps(&tx, 0)?;
    tx.execute("INSERT INTO store (key, value) VALUES ('uuid', ?1), ('secret', ?2)", params![store.as_bytes(), secret])
        .map_err(db)?;
    faults::step("catalog.create");
    tx.commit().map_err(db)?;
    faults::step("catalog.created");
    Ok(())
}

/// The secret that was made with the catalog.
pub(crate) fn secret(connection: &Connection) -> Result<[u8; 32], Error> {
    let value: Vec<u8> =
        connection.query_row("SELECT value FROM store WHERE key = 'secret'", [], |r| r.get(0)).map_err(db)?;
    value.try_into().map_err(|_| Error::new(Kind::Corrupt, "the secret in the catalog has not 32 bytes"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// All that a schema is: names and definitions.
    fn definitions(c: &Connection) -> Vec<(String, Option<String>)> {
        let mut statement = c.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").unwrap();
        statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap().collect::<Result<_, _>>().unwrap()
    }

    fn of_version(path: &Path, store: Uuid, version: usize) -> Connection {
        let c = Connection::open(path).unwrap();
        STEPS[..version].iter().for_each(|step| c.execute_batch(step).unwrap());
        c.execute(
            "INSERT INTO store (key, value) VALUES ('uuid', ?1), ('secret', ?2)",
            params![store.as_bytes(), [7u8; 32]],
        )
        .unwrap();
        c.pragma_update(None, "user_version", version as i64).unwrap();
        c
    }

    #[test]
    fn an_older_catalog_is_upgraded_to_what_a_new_one_is_and_keeps_its_rows() {
        let dir = tempfile::tempdir().unwrap();
        let store = Uuid::now_v7();
        let new = open(&dir.path().join("new.sqlite"), store).unwrap();
        for version in 1..STEPS.len() {
            let path = dir.path().join(format!("{version}.sqlite"));
            let old = of_version(&path, store, version);
            old.execute_batch(
                "INSERT INTO streams (name, retention_hours, created_at, counter_limit) VALUES ('gate', 24, 5, 3000);
                 INSERT INTO segments (id, created_at, ends, closed, deletions, rows) VALUES (1, 0, 640, 1, 0, 1);
                 INSERT INTO fragments (stream, counter, producer_start, server_start, random, duration_ms, bytes, frames, crc32c, header,
                     segment, place) VALUES (1, 2001, 10, 11, 12, 1000, 99, 25, 7, 3, 1, 64);
                 INSERT INTO deliveries (alert, target, state, attempts, created_at, next_at) VALUES ('a', 'hook', 'pending', 3, 1, 2);",
            )
            .unwrap();
            drop(old);
            for _ in 0..2 {
                let c = open(&path, store).unwrap();
                assert_eq!(c.pragma_query_value(None, "user_version", |r| r.get::<_, i64>(0)).unwrap(), VERSION);
                assert_eq!(definitions(&c), definitions(&new));
                assert_eq!(secret(&c).unwrap(), [7; 32]);
                let meta = &super::super::fragments::newest(&c, 1, 9).unwrap()[0];
                assert_eq!((meta.number.counter(), meta.producer_start.0, meta.bytes), (2001, 10, 99));
                assert_eq!(super::super::alerts::deliveries(&c, Some("a"), 9).unwrap()[0].attempts, 3);
            }
        }
    }

    #[test]
    fn a_newer_catalog_and_one_of_another_store_are_refused_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.sqlite");
        let store = Uuid::now_v7();
        let old = of_version(&path, store, 1);
        let error = open(&path, Uuid::now_v7()).unwrap_err();
        assert!(error.to_string().contains("another data folder"), "{error}");
        assert_eq!(old.pragma_query_value(None, "user_version", |r| r.get::<_, i64>(0)).unwrap(), 1);
        old.pragma_update(None, "user_version", VERSION + 1).unwrap();
        let error = open(&path, store).unwrap_err();
        assert!(
            error.is_configuration() && error.kind() == Kind::Invalid && error.to_string().contains("newer"),
            "{error}"
        );
    }
}
