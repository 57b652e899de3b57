//! Rows of detections.

use super::db;
use crate::records::Detection;
use crate::{Error, Range};
use media::{FragmentNumber, UnixMillis};
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};

/// Rows deleted in one transaction.
const BATCH: i64 = 2000;

/// Adds the detections of one picture.
pub(crate) fn insert(c: &mut Connection, stream: u64, detections: &[Detection]) -> Result<(), Error> {
    let tx = c.transaction().map_err(db)?;
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
    let number: String = row.get(1)?;
    let fragment: FragmentNumber =
        number.parse().map_err(|e| rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(e)))?;
    Ok(Detection {
        time: UnixMillis(row.get(0)?),
        fragment,
        offset_ms: row.get(2)?,
        class: row.get(3)?,
        score: row.get(4)?,
        bounds: [row.get(5)?, row.get(6)?, row.get(7)?, row.get(8)?],
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
pub(crate) fn expire(c: &Connection, stream: u64, cutoff: UnixMillis) -> Result<bool, Error> {
    let gone = c
        .execute(
            "DELETE FROM detections WHERE id IN (SELECT id FROM detections WHERE stream = ?1 AND time < ?2 ORDER BY time LIMIT ?3)",
            params![stream, cutoff.0, BATCH],
        )
        .map_err(db)?;
    Ok(gone as i64 == BATCH)
}
