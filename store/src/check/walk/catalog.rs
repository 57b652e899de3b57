//! What the catalog alone shows of itself: numbers, counts, headers, quarantine.

use super::super::fix::Fix;
use super::super::is_whole;
use super::{MOST_ADOPTED, NAMED, Walk};
use crate::Error;
use crate::catalog::segments::{RECORD_BYTES, SegmentRow, Totals};
use crate::catalog::{db, fragments, quarantine, segments, streams};
use crate::crypt::keys;
use media::HeaderId;

impl Walk<'_> {
    pub(super) fn integrity(&mut self) -> Result<(), Error> {
        let pragma = if self.options.payloads { "integrity_check" } else { "quick_check" };
        self.report.checked(6, 1);
        let said: String = self.c.query_row(&format!("PRAGMA {pragma}(1)"), [], |r| r.get(0)).map_err(db)?;
        if said != "ok" {
            let text =
                format!("the catalog's own check says: {said}; where `--repair` does not mend that, `--rebuild` does");
            self.report.problem(6, text);
            self.fixes.push(Fix::Reindex);
        }
        Ok(())
    }

    /// What the catalog alone can show of numbers (3) and of re-sent fragments (7).
    pub(super) fn numbers(&mut self) -> Result<(), Error> {
        for row in streams::all(self.c)? {
            let (name, id) = (&row.info.name, row.info.id);
            let sql = "SELECT count(*), max(counter), min(counter) FROM fragments WHERE stream = ?1";
            let (fragments, last, first): (u64, Option<u64>, Option<u64>) =
                self.c.query_row(sql, [id], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).map_err(db)?;
            self.first.extend(first.map(|first| (id, first)));
            let report = &mut self.report;
            report.checked(3, fragments);
            if streams::ends_encrypted(self.c, id)? && !keys::exists(self.folder.root(), id) {
                let text = "its recordings are encrypted, and its key is not in the folder `keys`";
                report.problem(1, format!("stream {name}: {text}"));
            }
            if let Some(last) = last.filter(|last| *last > row.counter_limit) {
                let limit = row.counter_limit;
                report
                    .problem(3, format!("stream {name}: counter {last} is above the limit {limit} that was set aside"));
                self.fixes.push(Fix::Limit(id, streams::block_limit(last)));
            }
            report.checked(6, 1);
            let bytes = fragments::record_bytes(self.c, id)?;
            if bytes != row.bytes {
                report.problem(6, format!("stream {name} has {bytes} bytes, its count says {}", row.bytes));
                self.fixes.push(Fix::StreamBytes(id, bytes));
            }
            let times = fragments::distinct_starts(self.c, id)?;
            report.checked(7, fragments);
            let shown = fragments::shown(self.c, id)?;
            if shown != times {
                report.problem(7, format!("stream {name}: {shown} fragments are listed for {times} producer times"));
            }
            if fragments > times {
                let text = format!("stream {name}: {} fragments were sent again and are hidden", fragments - times);
                report.remarks.push(text);
            }
            self.streams.insert(id, row.info);
        }
        Ok(())
    }

    /// The counts of rows that segments have in the catalog.
    pub(super) fn counts(&mut self, known: &[SegmentRow]) -> Result<(), Error> {
        let sql = format!("SELECT count(*), coalesce(sum({RECORD_BYTES}), 0) FROM temp.placed WHERE segment = ?1");
        let mut statement = self.c.prepare(&sql).map_err(db)?;
        for segment in known {
            let (count, bytes): (i64, i64) =
                statement.query_row([segment.id], |r| Ok((r.get(0)?, r.get(1)?))).map_err(db)?;
            let (id, said, live) = (segment.id, segment.rows, segment.live_bytes);
            self.report.checked(6, 1);
            if count != said {
                self.report.problem(6, format!("segment {id:016x} has {count} rows, its count says {said}"));
            }
            if bytes != live {
                self.report.problem(6, format!("segment {id:016x} has {bytes} live bytes, its count says {live}"));
            }
            if (count, bytes) != (said, live) {
                self.fixes.push(Fix::Rows(id, count, bytes));
            }
        }
        self.report.checked(6, 1);
        let sum = |of: fn(&SegmentRow) -> u64| known.iter().map(of).fold(0, u64::wrapping_add);
        let (ends, live) = (sum(|s| s.state.end), sum(|s| s.live_bytes as u64));
        let said = segments::totals(self.c)?;
        if said != (Totals { count: known.len() as u64, bytes: ends, live_bytes: live }) {
            let count = known.len();
            self.report.problem(
                6,
                format!("{count} segments have {ends} bytes, {live} of them live; their count says {said:?}"),
            );
            self.fixes.push(Fix::Totals);
        }
        Ok(())
    }

    pub(super) fn find_missing_headers(&mut self) -> Result<(), Error> {
        let sql = "SELECT stream, header FROM (SELECT DISTINCT stream, header FROM fragments) AS f
             WHERE NOT EXISTS (SELECT 1 FROM headers AS h WHERE h.stream = f.stream AND h.id = f.header)";
        let mut statement = self.c.prepare(sql).map_err(db)?;
        let rows = statement.query_map([], |r| Ok((r.get(0)?, HeaderId(r.get::<_, i64>(1)? as u64)))).map_err(db)?;
        self.missing_headers = rows.collect::<Result<_, _>>().map_err(db)?;
        for (stream, header) in &self.missing_headers {
            self.report
                .problem(1, format!("stream {stream}: the catalog lacks header {header}, which its fragments need"));
        }
        Ok(())
    }

    /// What is in quarantine, and whether it still belongs there.
    pub(super) fn quarantined(&mut self) -> Result<(), Error> {
        let mends = self.repair.as_ref().is_some_and(|repair| repair.online.is_none());
        let (all, count) = quarantine::all(self.c, if mends { MOST_ADOPTED } else { NAMED })?;
        self.report.quarantined = count;
        for q in all.iter().take(NAMED) {
            let (stream, number) = (q.row.stream, q.row.meta.number);
            let text = format!("in quarantine since {}: stream {stream} fragment {number}: {}", q.at.0, q.reason);
            self.report.remarks.push(text);
        }
        if mends {
            for q in all {
                if is_whole(self.c, self.folder, &q.row)? {
                    self.released.insert((q.row.stream, q.row.meta.number.counter()));
                    self.fixes.push(Fix::Release(q.row));
                }
            }
        }
        Ok(())
    }
}
