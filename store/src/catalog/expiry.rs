//! Taking rows of fragments away: by retention, and with their stream; in batches, so that a commit never waits long.

use super::fragments::BATCH;
use super::segments::{Gone, RECORD_BYTES};
use super::{db, notifications, segments, streams};
use crate::{Error, faults};
use media::UnixMillis;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{BTreeMap, BTreeSet};

/// A server's clock that says less than this (2020-01-01) is not set yet: a board without a battery starts in 1970.
const UNSET: i64 = 1_577_836_800_000;

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
/// One that is stamped before any of this program ran, by a clock that was not set yet, was recorded before the next segment whose time is
/// plausible was made, and is taken for as old as that; where there is none, it waits for what comes behind it.
///
/// The order is that of the counters, because the server's clock may have stepped while it stamped: nothing goes from the first
/// fragment on whose stamp is plausible and not due (`cutoff` to `now`); one that is stamped in the future is as old as the
/// fragments around it, so it goes with an expired one behind it.
pub(crate) fn due(c: &Connection, stream: u64, after: u64, cutoff: UnixMillis, now: UnixMillis) -> Result<Due, Error> {
    let mut statement = c
        .prepare_cached(
            "SELECT counter, server_start, segment FROM fragments WHERE stream = ?1 AND counter > ?2 ORDER BY counter LIMIT ?3",
        )
        .map_err(db)?;
    let mut rows = statement.query(params![stream, after, BATCH as i64]).map_err(db)?;
    let (mut found, mut last, mut seen) = (Due::None, after, 0);
    let mut behind: Option<(u64, (u64, i64))> = None;
    while let Some(row) = rows.next().map_err(db)? {
        let mut at: i64 = row.get(1).map_err(db)?;
        if at < UNSET && now.0 >= UNSET {
            let segment: u64 = row.get(2).map_err(db)?;
            let next = match behind {
                // The one behind an earlier segment is the one behind this, too.
                Some((from, next)) if from <= segment && segment < next.0 => next,
                _ => made_after(c, segment)?,
            };
            behind = Some((segment, next));
            at = next.1;
        }
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

/// The first segment behind this one that was made by a clock that was set, and when. The end of time where there is none.
fn made_after(c: &Connection, segment: u64) -> Result<(u64, i64), Error> {
    let mut statement = c
        .prepare_cached("SELECT id, created_at FROM segments WHERE id > ?1 AND created_at >= ?2 ORDER BY id LIMIT 1")
        .map_err(db)?;
    let found = statement.query_row(params![segment, UNSET], |r| Ok((r.get(0)?, r.get(1)?)));
    Ok(found.optional().map_err(db)?.unwrap_or((u64::MAX, i64::MAX)))
}

/// How far a batch goes within what is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upto {
    /// As far as it can.
    All,
    /// Until so many bytes went.
    Freed(u64),
    /// As long as no more than so many bytes go.
    AtMost(u64),
}

/// Rows that went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Up to this counter nothing is left but what is held.
    pub(crate) last: u64,
    /// How many went.
    pub(crate) fragments: u64,
    /// Bytes of their records.
    pub(crate) bytes: u64,
    /// Whether it is enough, by [`Upto`].
    pub(crate) enough: bool,
}

/// In SQL, whether a legal hold keeps a fragment.
pub(crate) const HELD: &str =
    "EXISTS (SELECT 1 FROM holds WHERE holds.stream = fragments.stream AND holds.from_ms < producer_start + duration_ms
     AND holds.to_ms > producer_start)";

/// Deletes a batch of the oldest fragments of a stream behind the counter `after`, none with a counter above `upto`, and none that is
/// held. `None` where there is none to look at.
pub(crate) fn take(
    c: &mut Connection,
    stream: u64,
    (after, upto): (u64, u64),
    far: Upto,
    now: UnixMillis,
) -> Result<Option<Taken>, Error> {
    let tx = c.transaction().map_err(db)?;
    let mut taken = Taken { last: after, ..Taken::default() };
    let mut per_segment = BTreeMap::<u64, (i64, u64)>::new();
    let mut seen = false;
    {
        let sql = format!(
            "SELECT counter, segment, {RECORD_BYTES}, {HELD} FROM fragments WHERE stream = ?1 AND counter > ?2 AND counter <= ?3
             ORDER BY counter LIMIT ?4"
        );
        let mut statement = tx.prepare_cached(&sql).map_err(db)?;
        let mut rows = statement.query(params![stream, after, upto, BATCH as i64]).map_err(db)?;
        while let Some(row) = rows.next().map_err(db)? {
            seen = true;
            let (counter, bytes, held): (u64, u64, bool) =
                (row.get(0).map_err(db)?, row.get(2).map_err(db)?, row.get(3).map_err(db)?);
            if !held {
                taken.enough = match far {
                    Upto::All => false,
                    Upto::Freed(most) => taken.bytes >= most,
                    Upto::AtMost(most) => taken.bytes + bytes > most,
                };
                if taken.enough {
                    break;
                }
                taken.fragments += 1;
                taken.bytes += bytes;
                let of_segment = per_segment.entry(row.get(1).map_err(db)?).or_default();
                *of_segment = (of_segment.0 + 1, of_segment.1 + bytes);
            }
            taken.last = counter;
        }
    }
    if !seen {
        return Ok(None);
    }
    super::quarantine::expire(&tx, stream, taken.last)?;
    if taken.fragments > 0 {
        let sql = format!("DELETE FROM fragments WHERE stream = ?1 AND counter > ?2 AND counter <= ?3 AND NOT {HELD}");
        tx.prepare_cached(&sql).map_err(db)?.execute(params![stream, after, taken.last]).map_err(db)?;
        account(&tx, stream, per_segment, Gone::Expired(now))?;
        faults::step("expiry.rows");
        tx.commit().map_err(db)?;
        faults::step("expiry.gone");
    }
    Ok(Some(taken))
}

/// Tells segments and their stream what went: rows and bytes of each segment.
pub(super) fn account(
    tx: &Connection,
    stream: u64,
    per_segment: BTreeMap<u64, (i64, u64)>,
    why: Gone,
) -> Result<u64, Error> {
    let mut all = 0;
    for (segment, (rows, bytes)) in per_segment {
        segments::gone(tx, segment, rows, bytes, why)?;
        all += bytes;
    }
    streams::gone(tx, stream, all)?;
    Ok(all)
}

/// Rows and bytes of the fragments of a stream up to a counter, by segment.
fn per_segment(tx: &Connection, stream: u64, upto: u64) -> Result<BTreeMap<u64, (i64, u64)>, Error> {
    let sql = format!(
        "SELECT segment, count(*), sum({RECORD_BYTES}) FROM fragments WHERE stream = ?1 AND counter <= ?2 GROUP BY segment"
    );
    let mut statement = tx.prepare_cached(&sql).map_err(db)?;
    let rows = statement.query_map(params![stream, upto], |r| Ok((r.get(0)?, (r.get(1)?, r.get(2)?)))).map_err(db)?;
    rows.collect::<Result<_, _>>().map_err(db)
}

/// Deletes up to a batch of rows of deleted streams, but of those of which nothing may go yet. Gives whether more may be left.
pub(crate) fn sweep_deleted(c: &mut Connection, not_yet: &BTreeSet<u64>, now: UnixMillis) -> Result<bool, Error> {
    let tx = c.transaction().map_err(db)?;
    let Some(stream) = streams::deleted(&tx)?.difference(not_yet).next().copied() else { return Ok(false) };
    let upto: Option<u64> = tx
        .query_row(
            "SELECT max(counter) FROM (SELECT counter FROM fragments WHERE stream = ?1 ORDER BY counter LIMIT ?2)",
            params![stream, BATCH as i64],
            |r| r.get(0),
        )
        .map_err(db)?;
    match upto {
        Some(upto) => {
            account(&tx, stream, per_segment(&tx, stream, upto)?, Gone::Deleted(now))?;
            tx.execute("DELETE FROM fragments WHERE stream = ?1 AND counter <= ?2", params![stream, upto])
                .map_err(db)?;
        }
        None => {
            tx.execute("DELETE FROM headers WHERE stream = ?1", [stream]).map_err(db)?;
            super::quarantine::expire(&tx, stream, u64::MAX >> 1)?;
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
    use crate::catalog::testing::catalog;

    fn add(c: &Connection, stamps: impl IntoIterator<Item = i64>) {
        c.execute_batch(
            "BEGIN; INSERT INTO segments (id, created_at, ends, closed, deletions, rows) VALUES (1, 0, 0, 0, 0, 0)",
        )
        .unwrap();
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
    fn what_was_stamped_by_a_clock_that_was_not_set_is_as_old_as_the_next_segment() {
        let (_dir, c) = catalog();
        let (day, now) = (86_400_000, UNSET + 100 * 86_400_000);
        // Segment 1, like its fragments, is of 1970.
        add(&c, [5, 1005, 2005, now - 1000]);
        let due = |hours: i64| due(&c, 1, 0, UnixMillis(now - hours * 3_600_000), UnixMillis(now)).unwrap();
        assert_eq!(due(24), Due::None, "nothing tells how old they are, but that the fourth is of now");
        let made = |id: u64, at: i64| {
            let sql =
                "INSERT INTO segments (id, created_at, ends, closed, deletions, rows) VALUES (?1, ?2, 0, 0, 0, 0)";
            c.execute(sql, params![id, at]).unwrap();
        };
        made(2, 77);
        made(3, now - 2 * day);
        made(4, now - day / 2);
        assert_eq!(due(24), Due::Upto(3), "they were recorded two days ago, or earlier");
        assert_eq!(due(72), Due::None);
    }

    #[test]
    fn a_long_run_of_stamps_ahead_holds_nothing_up_and_goes_in_batches() {
        let (_dir, mut c) = catalog();
        let ahead = std::iter::repeat_n(1000, BATCH + 500);
        add(&c, ahead.chain([50, 150, 50]));
        assert_eq!(look(&c, 0), Due::Unclear(BATCH as u64));
        let upto = BATCH as u64 + 501;
        assert_eq!(look(&c, BATCH as u64), Due::Upto(upto));
        let mut expire = |after| take(&mut c, 1, (after, upto), Upto::All, UnixMillis(200)).unwrap();
        assert_eq!(expire(0).map(|taken| taken.last), Some(BATCH as u64));
        assert_eq!(
            expire(BATCH as u64).map(|taken| (taken.last, taken.fragments, taken.bytes)),
            Some((upto, 501, 501 * 80))
        );
        assert_eq!(expire(upto), None);
        assert_eq!(c.query_row("SELECT count(*) FROM fragments", [], |r| r.get::<_, i64>(0)).unwrap(), 2);
    }

    #[test]
    fn a_batch_ends_where_enough_went_and_leaves_what_is_held() {
        let (_dir, mut c) = catalog();
        add(&c, [1; 9]);
        // Of fragment n, producer time n to n + 1000; each record has 80 bytes.
        c.execute_batch("INSERT INTO holds VALUES (1, 'case', 1002, 1003, '', '', 0)").unwrap();
        let mut go = |after, far| {
            let taken = take(&mut c, 1, (after, 99), far, UnixMillis(7)).unwrap().unwrap();
            (taken.last, taken.fragments, taken.bytes, taken.enough)
        };
        assert_eq!(go(0, Upto::AtMost(79)), (0, 0, 0, true));
        assert_eq!(go(0, Upto::AtMost(160)), (9, 2, 160, false), "all but what is held");
        assert_eq!(go(0, Upto::All), (9, 0, 0, false), "nothing is left to take");
        c.execute_batch("UPDATE holds SET from_ms = 5, to_ms = 6").unwrap();
        let mut go = |after, far| {
            let taken = take(&mut c, 1, (after, 99), far, UnixMillis(8)).unwrap().unwrap();
            (taken.last, taken.fragments, taken.bytes, taken.enough)
        };
        assert_eq!(go(0, Upto::Freed(81)), (7, 2, 160, true), "3 to 5 reach into it");
        let row = "SELECT rows + 4, live_bytes + 320, expired_since, deleted_since FROM segments";
        let row = c.query_row(row, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))).unwrap();
        assert_eq!(row, (0, 0, Some(7), None::<i64>), "counted, and noted since the first");
    }
}
