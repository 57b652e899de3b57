//! What a repair does about what a check found.

use super::Report;
use super::patch::Patches;
use crate::Error;
use crate::catalog::fragments::{Group, NewRow, Placed};
use crate::catalog::ranges::{self, DeletedRange};
use crate::catalog::{db, fragments, quarantine, segments, streams};
use crate::folder::Folder;
use crate::segments::reader::Place;
use crate::segments::record::{FileHeader, Head};
use crate::segments::writer::SegmentState;
use media::{HeaderId, UnixMillis};
use rusqlite::{Connection, params};
use std::collections::BTreeMap;

/// One thing to mend.
pub(super) enum Fix {
    /// The row points at nothing that is its fragment: it leaves the index.
    Quarantine(Placed, String),
    /// The fragment is whole after all.
    Release(Placed),
    /// A complete record has no row.
    Adopt(NewRow),
    /// A record's head is damaged, and what it said is known.
    Head(Place, Head),
    /// A record's head and payload are damaged, and what they said is known.
    Record(Place, Head, Vec<u8>),
    /// The start of a segment is damaged.
    FileHeader(FileHeader),
    /// The catalog's end of a segment is wrong; the right one.
    End(u64, u64),
    /// The catalog's counts of rows in a segment and of their bytes are wrong; the right ones.
    Rows(u64, i64, i64),
    /// The catalog's count of all segments together is.
    Totals,
    /// The catalog's count of a stream's bytes is; the right one.
    StreamBytes(u64, u64),
    /// The catalog's copy of a header is missing or wrong.
    Header(u64, HeaderId, Vec<u8>),
    /// The limit of a stream's counters is below one that was given out.
    Limit(u64, u64),
    /// What the log says was deleted is there.
    Delete(DeletedRange),
    /// The catalog's indexes do not fit its tables.
    Reindex,
}

/// A repair under way.
pub(super) struct Repair<'a> {
    patches: Patches,
    dry_run: bool,
    pub(super) now: UnixMillis,
    /// Where another process has the folder open: the connection to mark damaged fragments with, and nothing else is changed.
    pub(super) online: Option<Connection>,
    said: &'a mut dyn FnMut(&str),
}

impl<'a> Repair<'a> {
    pub(super) fn new(
        folder: &Folder,
        online: Option<Connection>,
        dry_run: bool,
        now: UnixMillis,
        said: &'a mut dyn FnMut(&str),
    ) -> Repair<'a> {
        Repair { patches: Patches::new(folder, now), dry_run, now, online, said }
    }

    /// Does all of `fixes`, in their order, and says each.
    pub(super) fn apply(&mut self, c: &Connection, fixes: Vec<Fix>, report: &mut Report) -> Result<(), Error> {
        for fix in fixes {
            if self.online.is_some() && !matches!(fix, Fix::Quarantine(..)) {
                continue;
            }
            if self.dry_run {
                self.say(report, format!("would {}", fix.what()));
                continue;
            }
            let what = fix.what();
            if self.fix(c, fix).map_err(|e| e.context(format_args!("to {what}")))? {
                self.say(report, what);
            }
        }
        self.patches.apply(c)
    }

    fn say(&mut self, report: &mut Report, what: String) {
        (self.said)(&what);
        report.action(what);
    }

    /// `false` if there was nothing to do after all.
    fn fix(&mut self, c: &Connection, fix: Fix) -> Result<bool, Error> {
        match fix {
            Fix::Quarantine(row, why) => {
                let c = self.online.as_ref().unwrap_or(c);
                return quarantine::put(c, row.stream, row.meta.number, row.place, &why, self.now);
            }
            Fix::Release(row) => return quarantine::release(c, &row),
            Fix::Adopt(row) => return adopt(c, row),
            Fix::Head(place, head) => self.patches.add(place.segment, place.offset, head.encode().to_vec()),
            Fix::Record(place, head, payload) => {
                self.patches.add(place.segment, place.offset, [&head.encode()[..], &payload].concat())
            }
            Fix::FileHeader(header) => self.patches.add(header.segment, 0, header.encode().to_vec()),
            Fix::End(segment, end) => {
                c.execute("UPDATE segments SET ends = ?2 WHERE id = ?1", params![segment, end]).map_err(db)?;
            }
            Fix::Rows(segment, rows, bytes) => {
                c.execute(
                    "UPDATE segments SET rows = ?2, live_bytes = ?3 WHERE id = ?1",
                    params![segment, rows, bytes],
                )
                .map_err(db)?;
            }
            Fix::Totals => segments::count_anew(c)?,
            Fix::StreamBytes(stream, bytes) => {
                c.execute("UPDATE streams SET bytes = ?2 WHERE id = ?1", params![stream, bytes]).map_err(db)?;
            }
            Fix::Header(stream, id, bytes) => {
                c.execute(
                    "INSERT OR REPLACE INTO headers (stream, id, bytes) VALUES (?1, ?2, ?3)",
                    params![stream, id.0 as i64, bytes],
                )
                .map_err(db)?;
            }
            Fix::Limit(stream, limit) => streams::reserve(c, stream, limit)?,
            Fix::Delete(deleted) => ranges::put(c, None, &deleted)?,
            Fix::Reindex => c.execute_batch("REINDEX").map_err(db)?,
        }
        Ok(true)
    }
}

fn adopt(c: &Connection, row: NewRow) -> Result<bool, Error> {
    let group = Group { segments: BTreeMap::<u64, SegmentState>::new(), rows: vec![row], deleted: Vec::new() };
    let tx = c.unchecked_transaction().map_err(db)?;
    let (stream, number) = (group.rows[0].stream, group.rows[0].meta.number);
    let outcome = fragments::add(&tx, &group)?.pop();
    quarantine::forget(&tx, stream, number)?;
    tx.commit().map_err(db)?;
    // Its number may have been taken meanwhile: then it stays where it is.
    Ok(matches!(outcome, Some(Ok(()))))
}

impl Fix {
    fn what(&self) -> String {
        let of = |row: &Placed| format!("stream {} fragment {} ({})", row.stream, row.meta.number, row.place);
        match self {
            Fix::Quarantine(row, why) => format!("take {} out of the index, into quarantine: {why}", of(row)),
            Fix::Release(row) => format!("put {} back into the index: it is whole", of(row)),
            Fix::Adopt(row) => {
                format!(
                    "give stream {} fragment {} ({}) a row: its record is whole",
                    row.stream, row.meta.number, row.place
                )
            }
            Fix::Head(place, _) => format!("write the damaged head of the record in {place} again"),
            Fix::Record(place, ..) => format!("write the damaged record in {place} again, out of the catalog"),
            Fix::FileHeader(header) => format!("write the damaged start of segment {:016x} again", header.segment),
            Fix::End(segment, end) => format!("set the end of segment {segment:016x} to {end}"),
            Fix::Rows(segment, rows, bytes) => {
                format!("set the counts of segment {segment:016x} to {rows} rows and {bytes} bytes")
            }
            Fix::Totals => "count all segments together anew".to_owned(),
            Fix::StreamBytes(stream, bytes) => format!("set the count of stream {stream} to {bytes} bytes"),
            Fix::Header(stream, id, _) => {
                format!("take header {id} of stream {stream} out of a segment into the catalog")
            }
            Fix::Limit(stream, limit) => format!("raise the limit of counters of stream {stream} to {limit}"),
            Fix::Delete(DeletedRange { stream, range, .. }) => {
                format!("delete stream {stream} from {} to {} again, as the log says", range.from.0, range.to.0)
            }
            Fix::Reindex => "make the catalog's indexes anew".to_owned(),
        }
    }
}
