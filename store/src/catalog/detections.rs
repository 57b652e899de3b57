//! Rows of detections.

use super::db;
use crate::records::Detection;
use crate::{Error, Range};
use media::{FragmentNumber, UnixMillis};
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};

/// Rows deleted in one transaction.
const BATCH: i64 = 2000;

/// Commits on this connection without a sync of their own while it lives: the next commit of fragments syncs the whole journal,
/// and them with it. A crash of the machine in between takes them back, whole and in order; nothing else was promised for them.
struct Unsynced<'a>(&'a mut Connection);

impl Unsynced<'_> {
    fn new(c: &mut Connection) -> Result<Unsynced<'_>, Error> {
        c.pragma_update(None, "synchronous", "NORMAL").map_err(db)?;
        Ok(Unsynced(c))
    }
}

impl Drop for Unsynced<'_> {
    fn drop(&mut self) {
        // Runs after an error and a panic too; a transaction has ended by then, because it borrows from here.
        if let Err(error) = self.0.pragma_update(None, "synchronous", "FULL") {
            // `Durable` rests on it: rather no process than one that promises what it does not keep.
            tracing::error!(%error, "commits of the catalog could not be made durable again; the process is aborted");
            std::process::abort();
        }
    }
}

/// Adds the detections of one picture. They come with every picture of every stream that is watched, on the one thread that
/// writes: a sync for each would make the commits of fragments wait.
pub(crate) fn insert(c: &mut Connection, stream: u64, detections: &[Detection]) -> Result<(), Error> {
    let unsynced = Unsynced::new(c)?;
    let tx = unsynced.0.transaction().map_err(db)?;
    {
        let mut statement = tx
            .prepare_cached(
                "INSERT INTO detections (stream, time, number, offset_ms, class, score, x0, y0, x1, y1)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )
            .map_err(db)?;
        for d in detections {
            let [x0, y0, x1, y1] = d.bounds;
            statement
                .execute(params![
                    stream,
                    d.time.0,
                    d.fragment.to_string(),
                    d.offset_ms,
                    d.class,
                    d.score,
                    x0,
                    y0,
                    x1,
                    y1
                ])
                .map_err(db)?;
        }
    }
    tx.commit().map_err(db)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Detection> {
    let number: String = row.get("number")?;
    let fragment: FragmentNumber =
        number.parse().map_err(|e| rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(e)))?;
    Ok(Detection {
        time: UnixMillis(row.get("time")?),
        fragment,
        offset_ms: row.get("offset_ms")?,
        class: row.get("class")?,
        score: row.get("score")?,
        bounds: [row.get("x0")?, row.get("y0")?, row.get("x1")?, row.get("y1")?],
    })
}

/// Detections in a range, oldest first.
pub(crate) fn list(c: &Connection, stream: u64, range: Range, limit: usize) -> Result<Vec<Detection>, Error> {
    let mut statement = c
        .prepare_cached(
            "SELECT time, number, offset_ms, class, score, x0, y0, x1, y1 FROM detections
             WHERE stream = ?1 AND time >= ?2 AND time < ?3 ORDER BY time, id LIMIT ?4",
        )
        .map_err(db)?;
    let rows = statement.query_map(params![stream, range.from.0, range.to.0, limit as i64], read).map_err(db)?;
    rows.collect::<Result<_, _>>().map_err(db)
}

/// Deletes up to a batch of detections before `cutoff`. Gives whether more may be due.
pub(crate) fn delete_in(c: &Connection, stream: u64, range: Range) -> Result<bool, Error> {
    let gone = c
        .execute(
            "DELETE FROM detections WHERE id IN (SELECT id FROM detections WHERE stream = ?1 AND time >= ?2 AND time < ?3 ORDER BY time LIMIT ?4)",
            params![stream, range.from.0, range.to.0, BATCH],
        )
        .map_err(db)?;
    Ok(gone as i64 == BATCH)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::catalog::schema;
    use uuid::Uuid;

    fn synchronous(c: &Connection) -> i64 {
        c.pragma_query_value(None, "synchronous", |r| r.get(0)).unwrap()
    }

    #[test]
    fn are_added_without_a_sync_of_their_own_and_what_follows_is_synced_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut c = schema::open(&dir.path().join("catalog.sqlite"), Uuid::now_v7()).unwrap();
        let found = [Detection {
            time: UnixMillis(1),
            fragment: FragmentNumber::new(1, 1, 1),
            offset_ms: 0,
            class: "cat".to_owned(),
            score: 0.5,
            bounds: [0.0, 0.0, 1.0, 1.0],
        }];
        assert_eq!(synchronous(&c), 2);
        // 1 is NORMAL: no sync at a commit.
        c.execute_batch(
            "CREATE TEMP TABLE modes (mode INTEGER);
             CREATE TEMP TRIGGER look AFTER INSERT ON main.detections
             BEGIN INSERT INTO modes SELECT synchronous FROM pragma_synchronous; END;",
        )
        .unwrap();
        insert(&mut c, 1, &found).unwrap();
        let mode: i64 = c.query_row("SELECT mode FROM modes", [], |r| r.get(0)).unwrap();
        assert_eq!((mode, synchronous(&c)), (1, 2));
        // After an error.
        c.execute_batch(
            "CREATE TEMP TRIGGER refuse BEFORE INSERT ON main.detections BEGIN SELECT RAISE(ABORT, 'no'); END;",
        )
        .unwrap();
        insert(&mut c, 1, &found).unwrap_err();
        assert_eq!(synchronous(&c), 2);
        // After a panic.
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let unsynced = Unsynced::new(&mut c).unwrap();
            let _tx = unsynced.0.transaction().unwrap();
            panic!("in the middle");
        }));
        assert!(panicked.is_err());
        assert_eq!(synchronous(&c), 2);
    }
}
