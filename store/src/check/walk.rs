//! The walk of a check: segments in order of their ids, beside the rows that point into them.

use super::{CheckOptions, Report};
use crate::catalog::ranges::{self, DeletedRange};
use crate::catalog::segments::SegmentRow;
use crate::catalog::{db, fragments, segments, streams};
use crate::folder::Folder;
use crate::segments::reader::Place;
use crate::segments::record::{Head, RecordKind, StreamBody, record_len};
use crate::segments::scan::{End, Entry};
use crate::{Error, Kind, StreamInfo, rewrite};
use media::HeaderId;
use rusqlite::Connection;
use std::collections::{BTreeSet, HashMap, HashSet};

struct Walk<'a> {
    c: &'a Connection,
    streams: HashMap<u64, StreamInfo>,
    /// The last counter of each stream in the log.
    last: HashMap<u64, u64>,
    unreferenced: u64,
    /// Ranges that the log says were deleted.
    deleted: Vec<DeletedRange>,
    report: Report,
}

pub(super) fn check(c: &Connection, folder: &Folder, options: CheckOptions) -> Result<Report, Error> {
    let mut report = Report::new();
    let integrity: String = c.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).map_err(db)?;
    report.checked(6, 1);
    if integrity != "ok" {
        report.problem(6, format!("the catalog's own check says: {integrity}"));
    }
    let rows = streams::all(c)?;
    numbers(c, &rows, &mut report)?;
    let streams = rows.into_iter().map(|r| (r.info.id, r.info)).collect();
    let mut walk = Walk { c, streams, last: HashMap::new(), unreferenced: 0, deleted: Vec::new(), report };
    let known = segments::all(c)?;
    walk.files(folder, &known)?;

    // Rows in the order of the log, so that one pass over both is enough.
    let mut rows = fragments::Placed::query(c)?;
    let mut next = rows.next()?;
    for segment in &known {
        let (mut count, mut bytes) = (0, 0);
        let mut of_segment = Vec::new();
        while let Some(row) = next.take_if(|row| row.place.segment <= segment.id) {
            if row.place.segment < segment.id {
                walk.report.problem(
                    1,
                    format!("stream {} fragment {}: {} is not known", row.stream, row.meta.number, row.place),
                );
            } else {
                count += 1;
                bytes += record_len(row.meta.bytes) as i64;
                of_segment.push(row);
            }
            next = rows.next()?;
        }
        walk.report.checked(6, 1);
        if count != segment.rows {
            let message = format!("segment {:016x} has {count} rows, its count says {}", segment.id, segment.rows);
            walk.report.problem(6, message);
        }
        if bytes != segment.live_bytes {
            let counted = segment.live_bytes;
            let message = format!("segment {:016x} has {bytes} live bytes, its count says {counted}", segment.id);
            walk.report.problem(6, message);
        }
        walk.segment(folder, segment, of_segment, options)?;
    }
    while let Some(row) = next {
        walk.report
            .problem(1, format!("stream {} fragment {}: {} is not known", row.stream, row.meta.number, row.place));
        next = rows.next()?;
    }
    walk.deleted_ranges()?;
    if walk.unreferenced > 0 {
        let remark = format!("{} fragments in segments have no row: expired, or of deleted streams", walk.unreferenced);
        walk.report.remarks.push(remark);
    }
    Ok(walk.report)
}

/// What the catalog alone can show of numbers (3) and of re-sent fragments (7).
fn numbers(c: &Connection, rows: &[streams::StreamRow], report: &mut Report) -> Result<(), Error> {
    for row in rows {
        let name = &row.info.name;
        let (fragments, last): (u64, Option<u64>) = c
            .query_row("SELECT count(*), max(counter) FROM fragments WHERE stream = ?1", [row.info.id], |r| {
                Ok((r.get(0)?, r.get(1)?))
            })
            .map_err(db)?;
        report.checked(3, fragments);
        if last.is_some_and(|last| last > row.counter_limit) {
            let message = format!(
                "stream {name}: counter {} is above the limit {} that was set aside",
                last.unwrap_or(0),
                row.counter_limit
            );
            report.problem(3, message);
        }
        report.checked(6, 1);
        let bytes = fragments::record_bytes(c, row.info.id)?;
        if bytes != row.bytes {
            report.problem(6, format!("stream {name} has {bytes} bytes, its count says {}", row.bytes));
        }
        let times = fragments::distinct_starts(c, row.info.id)?;
        report.checked(7, fragments);
        let shown = fragments::shown(c, row.info.id)?;
        if shown != times {
            report.problem(7, format!("stream {name}: {shown} fragments are listed for {times} producer times"));
        }
        if fragments > times {
            report
                .remarks
                .push(format!("stream {name}: {} fragments were sent again and are hidden", fragments - times));
        }
    }
    Ok(())
}

impl Walk<'_> {
    /// Files against rows.
    fn files(&mut self, folder: &Folder, known: &[SegmentRow]) -> Result<(), Error> {
        let known: BTreeSet<u64> = known.iter().map(|s| s.id).collect();
        for id in folder.shelf().ids_after(0)? {
            if !known.contains(&id) {
                self.report.remarks.push(format!("segment {id:016x} is not known to the catalog; it is left alone"));
            }
        }
        Ok(())
    }

    fn segment(
        &mut self,
        folder: &Folder,
        segment: &SegmentRow,
        rows: Vec<fragments::Placed>,
        options: CheckOptions,
    ) -> Result<(), Error> {
        let id = segment.id;
        let lost = |report: &mut Report, rows: &[fragments::Placed], why: &str| {
            for row in rows {
                report.checked(1, 1);
                report.problem(1, format!("stream {} fragment {}: {}: {why}", row.stream, row.meta.number, row.place));
            }
        };
        let Some(scan) = rewrite::scan(self.c, folder, id, options.payloads)? else {
            if rows.is_empty() {
                self.report
                    .remarks
                    .push(format!("segment {id:016x} is gone, and no fragment is in it; the next sweep forgets it"));
            }
            lost(&mut self.report, &rows, "the segment is missing");
            return Ok(());
        };
        let mut scan = match scan {
            Ok(scan) if scan.header.store == folder.store && scan.header.segment == id => scan,
            Ok(_) => {
                lost(&mut self.report, &rows, "the segment is of another store or another id");
                return Ok(());
            }
            Err(why) => {
                lost(&mut self.report, &rows, &format!("the segment is damaged: {why}"));
                return Ok(());
            }
        };
        let io =
            |e| Error::new(Kind::Unavailable, format!("{} cannot be read", folder.shelf().name(id))).with_source(e);
        let mut rows = rows.into_iter().peekable();
        let mut described = Described::default();
        while scan.at < segment.state.end {
            let Some(entry) = scan.next().map_err(io)? else { break };
            while let Some(row) = rows.next_if(|row| row.place.offset < entry.offset) {
                self.report.checked(1, 1);
                self.report.problem(
                    1,
                    format!("stream {} fragment {}: no record starts at {}", row.stream, row.meta.number, row.place),
                );
            }
            // One row each, in a sound store.
            let of_entry: Vec<_> =
                std::iter::from_fn(|| rows.next_if(|row| row.place.offset == entry.offset)).collect();
            self.entry(id, &entry, &of_entry, &mut described)?;
        }
        let why = match scan.end() {
            End::Torn(why) => why.to_string(),
            End::Clean => "no record starts there".to_owned(),
        };
        lost(&mut self.report, &rows.collect::<Vec<_>>(), &why);
        if scan.at < segment.state.end {
            let message = format!("segment {id:016x} ends at {} of {} bytes: {why}", scan.at, segment.state.end);
            self.report.problem(6, message);
        } else if scan.len > segment.state.end && !segment.state.closed {
            let bytes = scan.len - segment.state.end;
            self.report.remarks.push(format!(
                "segment {id:016x}: {bytes} bytes behind the last commit; the next start adopts or cuts them"
            ));
        }
        Ok(())
    }

    fn entry(
        &mut self,
        segment: u64,
        entry: &Entry,
        rows: &[fragments::Placed],
        described: &mut Described,
    ) -> Result<(), Error> {
        let head = &entry.head;
        match head.kind {
            RecordKind::Stream => {
                if let Ok(body) = StreamBody::decode(&entry.payload) {
                    described.streams.insert(head.stream, body);
                }
            }
            RecordKind::Header => {
                described.headers.insert((head.stream, head.header));
                self.header(segment, entry)?;
            }
            RecordKind::Fragment => self.fragment(segment, head, entry.offset, rows, described),
            RecordKind::Deleted => {}
            RecordKind::DeletedRange => {
                let place = Place { segment, offset: entry.offset };
                self.deleted.push(DeletedRange { stream: head.stream, range: head.range(), place });
            }
        }
        if head.kind != RecordKind::Fragment {
            for row in rows {
                let what = format!(
                    "stream {} fragment {}: another record starts at {}",
                    row.stream, row.meta.number, row.place
                );
                self.report.checked(1, 1);
                self.report.problem(1, what);
            }
        }
        Ok(())
    }

    /// What the log says was deleted has no row, so that a rebuild from segments finds what the catalog has.
    fn deleted_ranges(&mut self) -> Result<(), Error> {
        if !ranges::pending(self.c)?.is_empty() {
            self.report.remarks.push("a time range is not deleted whole; the next start goes on with it".to_owned());
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
            }
        }
        Ok(())
    }

    /// The catalog's copy of a header is the segment's.
    fn header(&mut self, segment: u64, entry: &Entry) -> Result<(), Error> {
        let (stream, id) = (entry.head.stream, entry.head.header);
        self.report.checked(5, 1);
        if let Some(stored) = streams::header(self.c, stream, id)?
            && stored != entry.payload
        {
            self.report
                .problem(5, format!("stream {stream} header {id}: segment {segment:016x} and the catalog differ"));
        }
        Ok(())
    }

    fn fragment(&mut self, segment: u64, head: &Head, offset: u64, rows: &[fragments::Placed], described: &Described) {
        let report = &mut self.report;
        let number = head.meta().number;
        let at = format!("stream {} fragment {number} (segment {segment:016x} offset {offset})", head.stream);
        report.checked(2, 1);
        if let Some(last) = self.last.insert(head.stream, head.counter) {
            if last == head.counter {
                report.problem(3, format!("{at}: its counter {last} was used before"));
            } else if last > head.counter {
                report.problem(2, format!("{at}: it stands behind counter {last}"));
            }
        }
        if rows.is_empty() {
            self.unreferenced += 1;
            return;
        }
        for row in rows {
            report.checked(1, 1);
            report.checked(8, 1);
            if row.stream != head.stream {
                report.problem(8, format!("{at}: a row of stream {} points at it", row.stream));
            } else if row.meta != head.meta() {
                report.problem(1, format!("{at}: record and row differ"));
            }
        }
        report.checked(5, 1);
        if !described.headers.contains(&(head.stream, head.header)) {
            report.problem(5, format!("{at}: its header does not stand before it in its segment"));
        }
        let name = self.streams.get(&head.stream).map(|s| &s.name);
        match described.streams.get(&head.stream) {
            None => report.problem(5, format!("{at}: its stream is not described before it in its segment")),
            Some(body) if name.is_some_and(|name| *name != body.name) => {
                report.problem(5, format!("{at}: its segment calls the stream {}", body.name));
            }
            Some(_) => {}
        }
    }
}

/// What a segment has described up to a record.
#[derive(Default)]
struct Described {
    streams: HashMap<u64, StreamBody>,
    headers: HashSet<(u64, HeaderId)>,
}
