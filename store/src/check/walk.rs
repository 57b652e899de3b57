//! The walk of a check: segments in order of their ids, beside the rows that point into them.
//!
//! What belongs here: where the walk goes, also behind damage, and what the catalog alone shows ([`catalog`]). What does not: what one record and its rows must be ([`super::rows`]), and
//! what is done about it ([`super::fix`]).

mod catalog;

use super::fix::{Fix, Repair};
use super::pace::Pace;
use super::rows::Described;
use super::{CheckOptions, Report, is_whole};
use crate::catalog::fragments::{NewRow, Placed, PlacedRows};
use crate::catalog::ranges::{self, DeletedRange};
use crate::catalog::segments::SegmentRow;
use crate::catalog::{db, fragments, leftovers, rewrites, segments};
use crate::folder::Folder;
use crate::segments::record::{FILE_HEADER_LEN, FileHeader, FormatError, HEAD_LEN, Head, record_len_of};
use crate::segments::scan::{End, Entry, Scan};
use crate::segments::shelf::Shelf;
use crate::{Error, Kind, StreamInfo, rewrite};
use bytes::Bytes;
use media::HeaderId;
use rusqlite::Connection;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::iter::Peekable;
use std::time::Duration;
use std::vec::IntoIter;

/// Complete records without rows that one repair looks at for adoption.
pub(super) const MOST_ADOPTED: usize = 100_000;
/// Damaged fragments whose names a report holds.
const NAMED: usize = 100;

pub(super) struct Walk<'a> {
    pub(super) c: &'a Connection,
    folder: &'a Folder,
    pub(super) options: CheckOptions,
    pace: Pace,
    pub(super) repair: Option<Repair<'a>>,
    pub(super) fixes: Vec<Fix>,
    pub(super) streams: HashMap<u64, StreamInfo>,
    /// The last counter of each stream in the log.
    pub(super) last: HashMap<u64, u64>,
    /// The first counter of each stream that has a row: what stands before it in the log was taken by retention.
    pub(super) first: HashMap<u64, u64>,
    /// Headers that rows name and the catalog lacks.
    pub(super) missing_headers: HashSet<(u64, HeaderId)>,
    pub(super) unreferenced: u64,
    /// Of those, the ones that a repair may adopt.
    pub(super) adoptable: Vec<NewRow>,
    /// Fragments that a repair puts back into the index.
    pub(super) released: HashSet<(u64, u64)>,
    /// Segments of which a row seemed broken, and that were given time.
    waited: HashSet<u64>,
    /// Headers that stand in the log, for those.
    pub(super) headers: HashMap<(u64, HeaderId), Bytes>,
    /// Ranges that the log says were deleted.
    pub(super) deleted: Vec<DeletedRange>,
    pub(super) report: Report,
}

/// A segment that was written anew takes its place in less.
const MOVING: Duration = Duration::from_millis(500);

type Rows = Peekable<IntoIter<Placed>>;

pub(super) fn check<'a>(
    c: &'a Connection,
    folder: &'a Folder,
    options: CheckOptions,
    repair: Option<Repair<'a>>,
) -> Result<Report, Error> {
    let mut walk = Walk {
        c,
        folder,
        options,
        pace: Pace::new(options.bytes_per_s),
        repair,
        fixes: Vec::new(),
        streams: HashMap::new(),
        last: HashMap::new(),
        first: HashMap::new(),
        missing_headers: HashSet::new(),
        unreferenced: 0,
        adoptable: Vec::new(),
        released: HashSet::new(),
        waited: HashSet::new(),
        headers: HashMap::new(),
        deleted: Vec::new(),
        report: Report::new(),
    };
    match walk.all() {
        // Said already, and the rest cannot be told.
        Err(e) if e.kind() == Kind::Corrupt && !walk.report.is_clean() => {
            walk.report.remarks.push(format!("the rest was not looked at: {e}; `--rebuild` makes the catalog anew"));
        }
        other => other?,
    }
    Ok(walk.report)
}

impl Walk<'_> {
    fn all(&mut self) -> Result<(), Error> {
        // One moment of the catalog for all that follows, as short as it can be: another process may be writing, and cannot shorten its
        // journal until this ends. Rows are looked up again later, so that what went meanwhile is no problem.
        self.c.execute_batch("BEGIN").map_err(db)?;
        self.integrity()?;
        self.numbers()?;
        let known = segments::all(self.c)?;
        let mut rows = Placed::query(self.c)?;
        self.counts(&known)?;
        self.find_missing_headers()?;
        self.c.execute_batch("COMMIT").map_err(db)?;
        self.quarantined()?;
        self.files(&known)?;
        self.mend()?;

        let mut next = rows.next()?;
        for segment in &known {
            let of_segment = self.rows_of(segment.id, &mut rows, &mut next)?;
            self.segment(segment, of_segment)?;
            self.mend()?;
        }
        while let Some(row) = next {
            self.row_problem(1, &row, "its segment is not known", true)?;
            next = rows.next()?;
        }
        self.deleted_ranges()?;
        self.adopt()?;
        self.mend()?;
        if self.unreferenced > 0 {
            let text = format!(
                "{} fragments in segments have no row: expired, damaged, or of deleted streams",
                self.unreferenced
            );
            self.report.remarks.push(text);
        }
        Ok(())
    }

    /// What a repair does about what was found since the last time.
    fn mend(&mut self) -> Result<(), Error> {
        let fixes = std::mem::take(&mut self.fixes);
        match &mut self.repair {
            Some(repair) => repair.apply(self.c, fixes, &mut self.report),
            None => Ok(()),
        }
    }

    /// Files against rows.
    fn files(&mut self, known: &[SegmentRow]) -> Result<(), Error> {
        let known: BTreeSet<u64> = known.iter().map(|s| s.id).collect();
        let last = known.last().copied().unwrap_or(0);
        for edition in self.folder.shelf().editions_after(0)? {
            let id = edition.id;
            // Of a bucket; a folder's names do not tell. What is noted goes with the next look for it.
            let generation = rewrites::generation(self.c, id)?;
            if self.is_alone()
                && matches!(self.folder.shelf(), Shelf::Objects(_))
                && generation.is_some_and(|of| of != edition.generation)
                && !leftovers::is_noted(self.c, edition)?
            {
                let name = self.folder.shelf().name(edition);
                self.report
                    .remarks
                    .push(format!("{name} is not what the catalog knows of its segment; it is left alone"));
            }
            // Beside a process that writes, newer ones are begun at any moment.
            if !known.contains(&id) && (self.is_alone() || id < last) && segments::end_of(self.c, id)?.is_none() {
                let text =
                    format!("segment {id:016x} is not known to the catalog; it is left alone (`--rebuild` reads it)");
                self.report.remarks.push(text);
            }
        }
        Ok(())
    }

    /// Whether no other process has the folder open.
    fn is_alone(&self) -> bool {
        self.folder.is_locked()
    }

    fn rows_of(
        &mut self,
        segment: u64,
        rows: &mut PlacedRows<'_>,
        next: &mut Option<Placed>,
    ) -> Result<Vec<Placed>, Error> {
        let mut of_segment = Vec::new();
        while let Some(row) = next.take_if(|row| row.place.segment <= segment) {
            if row.place.segment < segment {
                self.row_problem(1, &row, "its segment is not known", true)?;
            } else {
                of_segment.push(row);
            }
            *next = rows.next()?;
        }
        Ok(of_segment)
    }

    /// A row that breaks an invariant, unless it went while the check looked elsewhere.
    pub(super) fn row_problem(&mut self, invariant: u8, row: &Placed, why: &str, lost: bool) -> Result<(), Error> {
        if !self.is_alone() && self.is_moving(row)? {
            return Ok(());
        }
        self.report.checked(invariant, 1);
        let number = row.meta.number;
        self.report.problem(invariant, format!("stream {} fragment {number}: {}: {why}", row.stream, row.place));
        if lost {
            self.fixes.push(Fix::Quarantine(row.clone(), why.to_owned()));
        }
        Ok(())
    }

    /// Whether a row that seems broken went, or points into a file that takes its place just now, while another process is at work.
    fn is_moving(&mut self, row: &Placed) -> Result<bool, Error> {
        if fragments::is_there(self.c, row)? && self.waited.insert(row.place.segment) {
            std::thread::sleep(MOVING);
        }
        Ok(!fragments::is_there(self.c, row)? || is_whole(self.c, self.folder, row)?)
    }

    fn lost(&mut self, rows: impl IntoIterator<Item = Placed>, why: &str) -> Result<(), Error> {
        rows.into_iter().try_for_each(|row| self.row_problem(1, &row, why, true))
    }

    fn segment(&mut self, segment: &SegmentRow, rows: Vec<Placed>) -> Result<(), Error> {
        let id = segment.id;
        let mut opened = rewrite::scan(self.c, self.folder, id, self.options.payloads)?;
        if let Some(Err(why @ FormatError::Version(_))) = &opened {
            self.report.problem(6, format!("segment {id:016x} is of another version: {why}"));
            return Ok(());
        }
        if let Some(Err(why)) = &opened {
            let text =
                format!("the start of segment {id:016x} is damaged: {why}; its {} rows are not looked at", rows.len());
            self.report.problem(6, text);
            let generation = rewrites::generation(self.c, id)?.unwrap_or(0);
            let header = FileHeader { generation, ..FileHeader::new(self.folder.store, id, segment.state.created_at) };
            self.fixes.push(Fix::FileHeader(header));
            self.mend()?;
            opened = rewrite::scan(self.c, self.folder, id, self.options.payloads)?;
        }
        let mut scan = match opened {
            None => {
                // Ids that a start left out, for what may come too late, end at 0.
                if rows.is_empty() && segments::end_of(self.c, id)?.is_some_and(|end| end > 0) {
                    let text =
                        format!("segment {id:016x} is gone, and no fragment is in it; the next sweep forgets it");
                    self.report.remarks.push(text);
                }
                return self.lost(rows, "the segment is missing");
            }
            Some(Err(_)) => return Ok(()),
            Some(Ok(scan)) if scan.header.store == self.folder.store && scan.header.segment == id => scan,
            Some(Ok(_)) => return self.lost(rows, "the segment is of another store or another id"),
        };
        if scan.header_is_damaged {
            self.report.problem(6, format!("a byte at the start of segment {id:016x} is damaged"));
            self.fixes.push(Fix::FileHeader(scan.header));
        }
        let behind = rows.iter().map(|row| row.place.offset + record_len_of(&row.meta)).max().unwrap_or(0);
        let end = segment.state.end.max(behind);
        let io = |e| Error::new(Kind::Unavailable, format!("segment {id:016x} cannot be read")).with_source(e);
        let mut described = Described::default();
        let mut rows = rows.into_iter().peekable();
        let stopped = loop {
            while scan.at < end {
                let Some(entry) = scan.next().map_err(io)? else { break };
                self.entry(id, entry, true, &mut rows, &mut described)?;
            }
            if scan.at >= end {
                break None;
            }
            let why = match scan.end() {
                End::Torn(why) => why.to_string(),
                End::Clean => "the file ends".to_owned(),
            };
            if let Some(entry) = scan.pass_over().map_err(io)? {
                self.entry(id, entry, false, &mut rows, &mut described)?;
            } else if let Some(entry) = scan.mend().map_err(io)? {
                let text =
                    format!("segment {id:016x} offset {}: {why}; one byte of it, and the rest is whole", entry.offset);
                self.report.problem(5, text);
                let place = crate::segments::reader::Place { segment: id, offset: entry.offset };
                self.fixes.push(Fix::Head(place, entry.head));
                self.entry(id, entry, true, &mut rows, &mut described)?;
            } else if !self
                .behind_damage(&mut scan, &mut rows, &why)
                .map_err(|e| e.context(format_args!("segment {id:016x}")))?
            {
                break Some(why);
            }
        };
        self.end_of(segment, &scan, end, stopped)
    }

    /// Goes on behind a head that cannot be read: the catalog's rows say where records start, and what stands at one whose head is damaged.
    fn behind_damage(&mut self, scan: &mut Scan, rows: &mut Rows, why: &str) -> Result<bool, Error> {
        let io = |e| Error::new(Kind::Unavailable, "cannot be read").with_source(e);
        let at = scan.at;
        while let Some(row) = rows.next_if(|row| row.place.offset < at) {
            self.row_problem(1, &row, "no record starts there", true)?;
        }
        let mut next = None;
        while let Some(row) = rows.next_if(|row| row.place.offset == at) {
            let head = Head::fragment(row.stream, &row.meta);
            if scan.is_whole(at, &head).map_err(io)? {
                self.row_problem(5, &row, &format!("its head is damaged ({why}); its bytes are whole"), false)?;
                next = Some(at + head.record_len());
                self.fixes.push(Fix::Head(row.place, head));
            } else {
                self.row_problem(1, &row, &format!("its record is damaged: {why}"), true)?;
            }
        }
        let Some(next) = next.or_else(|| rows.peek().map(|row| row.place.offset)) else {
            scan.seek(at).map_err(io)?;
            return Ok(false);
        };
        scan.seek(next).map_err(io)?;
        Ok(true)
    }

    /// What the catalog says of a segment's end.
    fn end_of(&mut self, segment: &SegmentRow, scan: &Scan, end: u64, stopped: Option<String>) -> Result<(), Error> {
        let (id, said) = (segment.id, segment.state.end);
        let (len, at) = (scan.len, scan.at);
        // Written anew, or gone, since the check began.
        if !self.is_alone() && segments::end_of(self.c, id)? != Some(said) {
            return Ok(());
        }
        if stopped.is_none() && end > said {
            self.report.problem(6, format!("segment {id:016x} ends at {end}, its row says {said}"));
            self.fixes.push(Fix::End(id, end));
        } else if let Some(why) = stopped {
            if segments::end_of(self.c, id)?.is_some() {
                self.report.problem(6, format!("segment {id:016x} ends at {at} of {said} bytes: {why}"));
                self.fixes.push(Fix::End(id, at.clamp(FILE_HEADER_LEN as u64, said)));
            }
        } else if len > said && !segment.state.closed && self.is_alone() {
            let bytes = len - said;
            let text =
                format!("segment {id:016x}: {bytes} bytes behind the last commit; the next start adopts or cuts them");
            self.report.remarks.push(text);
        }
        Ok(())
    }

    fn entry(
        &mut self,
        segment: u64,
        entry: Entry,
        whole: bool,
        rows: &mut Rows,
        described: &mut Described,
    ) -> Result<(), Error> {
        let bytes = if self.options.payloads { entry.head.record_len() } else { HEAD_LEN as u64 };
        self.pace.read(bytes);
        while let Some(row) = rows.next_if(|row| row.place.offset < entry.offset) {
            self.row_problem(1, &row, "no record starts there", true)?;
        }
        // One row each, in a sound store.
        let of_entry: Vec<_> = std::iter::from_fn(|| rows.next_if(|row| row.place.offset == entry.offset)).collect();
        self.record(segment, &entry, whole, &of_entry, described)
    }

    /// What the log says was deleted has no row, so that a rebuild from segments finds what the catalog has.
    fn deleted_ranges(&mut self) -> Result<(), Error> {
        if !ranges::pending(self.c)?.is_empty() {
            let text =
                "a time range is not deleted whole; its caller, the next sweep or the next start goes on with it";
            self.report.remarks.push(text.to_owned());
            return Ok(());
        }
        for deleted in &self.deleted {
            self.report.checked(5, 1);
            let left = ranges::left(self.c, deleted)?;
            if left > 0 && self.streams.contains_key(&deleted.stream) {
                let DeletedRange { stream, range, place } = deleted;
                let message = format!(
                    "stream {stream}: {left} fragments from {} to {} are there, which {place} says were deleted",
                    range.from.0, range.to.0
                );
                self.report.problem(5, message);
                self.fixes.push(Fix::Delete(*deleted));
            }
        }
        Ok(())
    }
}
