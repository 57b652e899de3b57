//! Objects of a bucket that may be there and do not count: they are to be removed, whatever a kill or an outage came between.
//!
//! One is noted before it is put, and forgotten in the transaction in which its segment comes to be of its generation; in the same
//! transaction the generation that it takes the place of is noted. So at each moment every object is either a segment's or noted.

use super::db;
use crate::Error;
use crate::segments::Edition;
use media::UnixMillis;
use rusqlite::{Connection, params};

/// A PUT that a kill or an outage cut off may arrive so long after it began, in ms: what was removed is removed again then.
const LATE_MS: i64 = 3_600_000;

/// Notes one.
pub(crate) fn note(c: &Connection, edition: Edition) -> Result<(), Error> {
    let sql = "INSERT OR REPLACE INTO leftovers (segment, generation) VALUES (?1, ?2)";
    c.prepare_cached(sql).map_err(db)?.execute(params![edition.id, edition.generation]).map_err(db)?;
    Ok(())
}

/// Notes the next generation of a segment, after all that it has or may have, and gives it.
pub(crate) fn begin(c: &Connection, segment: u64) -> Result<Edition, Error> {
    let sql = "SELECT max(coalesce((SELECT generation FROM segments WHERE id = ?1), 0),
                   coalesce((SELECT max(generation) FROM leftovers WHERE segment = ?1), 0)) + 1";
    let generation = c.query_row(sql, [segment], |r| r.get(0)).map_err(db)?;
    let edition = Edition { id: segment, generation };
    note(c, edition)?;
    Ok(edition)
}

/// Those that are to be removed now; never what a segment is.
pub(crate) fn due(c: &Connection, now: UnixMillis) -> Result<Vec<Edition>, Error> {
    // A clock that was set back must not keep one for ever.
    let sql = "SELECT segment, generation FROM leftovers AS l
         WHERE (removed IS NULL OR removed + ?2 <= ?1 OR removed > ?1)
         AND NOT EXISTS (SELECT 1 FROM segments AS s WHERE s.id = l.segment AND s.generation = l.generation) LIMIT 1000";
    let mut statement = c.prepare_cached(sql).map_err(db)?;
    let rows = statement.query_map([now.0, LATE_MS], |r| Ok(Edition { id: r.get(0)?, generation: r.get(1)? }));
    rows.map_err(db)?.collect::<Result<_, _>>().map_err(db)
}

/// It was removed: for the first time, or for good.
pub(crate) fn removed(c: &Connection, edition: Edition, now: UnixMillis) -> Result<(), Error> {
    let Edition { id, generation } = edition;
    let sql = "DELETE FROM leftovers WHERE segment = ?1 AND generation = ?2 AND removed IS NOT NULL";
    c.prepare_cached(sql).map_err(db)?.execute(params![id, generation]).map_err(db)?;
    let sql = "UPDATE leftovers SET removed = ?3 WHERE segment = ?1 AND generation = ?2";
    c.prepare_cached(sql).map_err(db)?.execute(params![id, generation, now.0]).map_err(db)?;
    Ok(())
}

/// Forgets one, which counts now.
pub(crate) fn forget(c: &Connection, edition: Edition) -> Result<(), Error> {
    let sql = "DELETE FROM leftovers WHERE segment = ?1 AND generation = ?2";
    c.execute(sql, params![edition.id, edition.generation]).map_err(db)?;
    Ok(())
}

/// Whether one is noted.
pub(crate) fn is_noted(c: &Connection, edition: Edition) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM leftovers WHERE segment = ?1 AND generation = ?2";
    c.prepare_cached(sql).map_err(db)?.exists(params![edition.id, edition.generation]).map_err(db)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::catalog::testing::catalog;

    #[test]
    fn one_is_removed_twice_with_an_hour_between_and_never_while_it_counts() {
        let (_dir, c) = catalog();
        c.execute_batch(
            "INSERT INTO segments (id, created_at, ends, closed, deletions, rows, generation) VALUES (7, 0, 640, 1, 0, 1, 2)",
        )
        .unwrap();
        let next = begin(&c, 7).unwrap();
        assert_eq!(next, Edition { id: 7, generation: 3 });
        assert_eq!(begin(&c, 7).unwrap().generation, 4, "one that may be there is never tried again");
        note(&c, Edition { id: 7, generation: 2 }).unwrap();
        let at = |ms| due(&c, UnixMillis(ms)).unwrap().iter().map(|e| e.generation).collect::<Vec<_>>();
        assert_eq!(at(1000), [3, 4]);
        removed(&c, next, UnixMillis(1000)).unwrap();
        assert_eq!((at(1000), at(999)), (vec![4], vec![3, 4]));
        assert_eq!(at(1000 + LATE_MS), [3, 4]);
        removed(&c, next, UnixMillis(1000 + LATE_MS)).unwrap();
        assert!(!is_noted(&c, next).unwrap());
        forget(&c, Edition { id: 7, generation: 4 }).unwrap();
        assert_eq!(at(i64::MAX - LATE_MS), Vec::<u32>::new(), "what counts stays");
    }
}
