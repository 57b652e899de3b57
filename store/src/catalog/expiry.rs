//! Taking rows of fragments away: by retention, and with their stream; in batches, so that a commit never waits long.

use super::fragments::BATCH;
use super::{db, notifications, segments};
use crate::Error;
use media::UnixMillis;
use rusqlite::{Connection, params};

/// What one look for expired fragments found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// All up to this counter are due.
    Upto(u64),
    /// Up to this counter all are stamped in the future: the look goes on behind it.
    Unclear(u64),
    /// None is due.
    None,
}

/// Looks at the next batch of fragments of a stream behind the counter `after` (0: from the oldest) for those that expired.
///
/// The order is that of the counters, because the server's clock may have stepped while it stamped: nothing goes from the first
/// fragment on whose stamp is plausible and not due (`cutoff` to `now`); one that is stamped in the future is as old as the
/// fragments around it, so it goes with an expired one behind it.
pub(crate) fn due(c: &Connection, stream: u64, after: u64, cutoff: UnixMillis, now: UnixMillis) -> Result<Due, Error> {
    let mut statement = c
        .prepare_cached(
            "SELECT counter, server_start FROM fragments WHERE stream = ?1 AND counter > ?2 ORDER BY counter LIMIT ?3",
        )
        .map_err(db)?;
    let mut rows = statement.query(params![stream, after, BATCH as i64]).map_err(db)?;
    let (mut found, mut last, mut seen) = (Due::None, after, 0);
    while let Some(row) = rows.next().map_err(db)? {
        let at: i64 = row.get(1).map_err(db)?;
        if (cutoff.0..=now.0).contains(&at) {
            return Ok(found);
        }
        last = row.get(0).map_err(db)?;
        seen += 1;
        if at < cutoff.0 {
            found = Due::Upto(last);
        }
    }
    Ok(if found == Due::None && seen == BATCH { Due::Unclear(last) } else { found })
}

/// Deletes a batch of the oldest fragments of a stream, none with a counter above `upto`. Gives the last counter that went.
pub(crate) fn expire(c: &mut Connection, stream: u64, upto: u64) -> Result<Option<u64>, Error> {
    let tx = c.transaction().map_err(db)?;
    let last: Option<u64> = tx
        .query_row(
            "SELECT max(counter) FROM (SELECT counter FROM fragments WHERE stream = ?1 AND counter <= ?2 ORDER BY counter LIMIT ?3)",
            params![stream, upto, BATCH as i64],
            |r| r.get(0),
        )
        .map_err(db)?;
    if let Some(last) = last {
        delete_upto(&tx, stream, last)?;
        tx.commit().map_err(db)?;
    }
    Ok(last)
}

fn delete_upto(tx: &Connection, stream: u64, upto: u64) -> Result<usize, Error> {
    {
        let mut statement = tx
            .prepare_cached(
                "SELECT segment, count(*) FROM fragments WHERE stream = ?1 AND counter <= ?2 GROUP BY segment",
            )
            .map_err(db)?;
        let mut rows = statement.query(params![stream, upto]).map_err(db)?;
        while let Some(row) = rows.next().map_err(db)? {
            let count: i64 = row.get(1).map_err(db)?;
            segments::add_rows(tx, row.get(0).map_err(db)?, -count)?;
        }
    }
    tx.execute("DELETE FROM fragments WHERE stream = ?1 AND counter <= ?2", params![stream, upto]).map_err(db)
}

/// Deletes up to a batch of rows of deleted streams. Gives whether more are left.
pub(crate) fn sweep_deleted(c: &mut Connection) -> Result<bool, Error> {
    let tx = c.transaction().map_err(db)?;
    let stream: Option<u64> = tx.query_row("SELECT min(id) FROM deleted_streams", [], |r| r.get(0)).map_err(db)?;
    let Some(stream) = stream else { return Ok(false) };
    let upto: Option<u64> = tx
        .query_row(
            "SELECT max(counter) FROM (SELECT counter FROM fragments WHERE stream = ?1 ORDER BY counter LIMIT ?2)",
            params![stream, BATCH as i64],
            |r| r.get(0),
        )
        .map_err(db)?;
    match upto {
        Some(upto) => {
            delete_upto(&tx, stream, upto)?;
        }
        None => {
            tx.execute("DELETE FROM headers WHERE stream = ?1", [stream]).map_err(db)?;
            tx.execute("DELETE FROM detections WHERE stream = ?1", [stream]).map_err(db)?;
            super::alerts::delete_of(&tx, stream)?;
            if notifications::delete_of(&tx, stream)? {
                // More than fits one transaction: the stream stays noted, and the next one goes on.
                tx.commit().map_err(db)?;
                return Ok(true);
            }
            tx.execute("DELETE FROM deleted_ranges WHERE stream = ?1", [stream]).map_err(db)?;
            tx.execute("DELETE FROM deleted_streams WHERE id = ?1", [stream]).map_err(db)?;
        }
    }
    tx.commit().map_err(db)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::catalog::schema;
    use uuid::Uuid;

    fn catalog() -> (tempfile::TempDir, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let c = schema::open(&dir.path().join("catalog.sqlite"), Uuid::now_v7()).unwrap();
        (dir, c)
    }

    fn add(c: &Connection, stamps: impl IntoIterator<Item = i64>) {
        c.execute_batch("BEGIN; INSERT INTO segments VALUES (1, 0, 0, 0, 0, 0)").unwrap();
        for (i, stamp) in stamps.into_iter().enumerate() {
            c.execute(
                "INSERT INTO fragments VALUES (1, ?1, ?1, ?2, 0, 1000, 1, 1, 0, 0, NULL, 1, ?1, 0)",
                params![i as i64 + 1, stamp],
            )
            .unwrap();
        }
        c.execute_batch("COMMIT").unwrap();
    }

    fn look(c: &Connection, after: u64) -> Due {
        due(c, 1, after, UnixMillis(100), UnixMillis(200)).unwrap()
    }

    #[test]
    fn nothing_behind_a_plausible_stamp_is_due() {
        let (_dir, c) = catalog();
        assert_eq!(look(&c, 0), Due::None);
        add(&c, [99, 1000, 98, 1000, 100, 0, 0, 150]);
        assert_eq!(look(&c, 0), Due::Upto(3), "a stamp ahead goes with what expired behind it, and only then");
        assert_eq!(look(&c, 3), Due::None);
    }

    #[test]
    fn a_long_run_of_stamps_ahead_holds_nothing_up_and_goes_in_batches() {
        let (_dir, mut c) = catalog();
        let ahead = std::iter::repeat_n(1000, BATCH + 500);
        add(&c, ahead.chain([50, 150, 50]));
        assert_eq!(look(&c, 0), Due::Unclear(BATCH as u64));
        let upto = BATCH as u64 + 501;
        assert_eq!(look(&c, BATCH as u64), Due::Upto(upto));
        assert_eq!(expire(&mut c, 1, upto).unwrap(), Some(BATCH as u64));
        assert_eq!(expire(&mut c, 1, upto).unwrap(), Some(upto));
        assert_eq!(expire(&mut c, 1, upto).unwrap(), None);
        assert_eq!(c.query_row("SELECT count(*) FROM fragments", [], |r| r.get::<_, i64>(0)).unwrap(), 2);
    }
}
