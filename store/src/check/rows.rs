//! What one record of the log, and the rows that point at it, must be; and which records without rows may have one again.

use super::fix::Fix;
use super::walk::{MOST_ADOPTED, Walk};
use crate::catalog::fragments::{NewRow, Placed};
use crate::catalog::ranges::DeletedRange;
use crate::catalog::{quarantine, streams};
use crate::crypt::envelope;
use crate::segments::reader::Place;
use crate::segments::record::{Head, RecordKind, StreamBody, may_be_header};
use crate::segments::scan::Entry;
use crate::{Error, StreamInfo};
use bytes::Bytes;
use media::HeaderId;
use std::collections::{HashMap, HashSet};

/// What a segment has described up to a record.
#[derive(Default)]
pub(super) struct Described {
    /// The names of streams; of one whose description is damaged, none.
    streams: HashMap<u64, Option<media::StreamName>>,
    headers: HashSet<(u64, HeaderId)>,
}

impl Walk<'_> {
    /// One record, whose payload may be damaged, and its rows.
    pub(super) fn record(
        &mut self,
        segment: u64,
        entry: &Entry,
        whole: bool,
        rows: &[Placed],
        described: &mut Described,
    ) -> Result<(), Error> {
        let (head, place) = (&entry.head, Place { segment, offset: entry.offset });
        match head.kind {
            RecordKind::Stream => {
                let body = StreamBody::decode(&entry.payload).ok().filter(|_| whole);
                if body.is_none() {
                    let mended = (!entry.payload.is_empty()).then(|| entry.payload.clone());
                    self.damaged(place, "the description of a stream", head, mended.or_else(|| self.description(head)));
                }
                described.streams.insert(head.stream, body.map(|body| body.name));
            }
            RecordKind::Header => {
                described.headers.insert((head.stream, head.header));
                self.header(place, entry, whole)?;
            }
            RecordKind::Fragment => self.fragment(place, head, whole, rows, described)?,
            RecordKind::Deleted => {}
            RecordKind::DeletedRange => {
                self.deleted.push(DeletedRange { stream: head.stream, range: head.range(), place });
            }
        }
        if head.kind != RecordKind::Fragment {
            for row in rows {
                self.row_problem(1, row, "another record starts there", true)?;
            }
        }
        Ok(())
    }

    /// A record other than a fragment whose payload is damaged, and what can be written there instead.
    fn damaged(&mut self, place: Place, what: &str, head: &Head, again: Option<Vec<u8>>) {
        self.report.problem(5, format!("{place}: {what} (stream {}) is damaged", head.stream));
        if let Some(payload) = again {
            let head = Head { payload_crc: crc32c::crc32c(&payload), ..*head };
            self.fixes.push(Fix::Record(place, head, payload));
        }
    }

    /// The description of a stream as the catalog knows it, if it has room where the damaged one stands. White space at its end means
    /// nothing in JSON.
    fn description(&self, head: &Head) -> Option<Vec<u8>> {
        let StreamInfo { name, retention_hours, created_at, .. } = self.streams.get(&head.stream)?.clone();
        let mut payload = StreamBody { name, retention_hours, created_at }.encode();
        let len = head.payload_len as usize;
        (payload.len() <= len).then(|| {
            payload.resize(len, b' ');
            payload
        })
    }

    /// The catalog's copy of a header is the segment's.
    fn header(&mut self, place: Place, entry: &Entry, whole: bool) -> Result<(), Error> {
        let (stream, id) = (entry.head.stream, entry.head.header);
        self.report.checked(5, 1);
        let stored = streams::header(self.c, stream, id)?;
        if !whole {
            let mended = (!entry.payload.is_empty()).then(|| entry.payload.clone());
            let again = mended.or(stored.filter(|bytes| crc32c::crc32c(bytes) == entry.head.payload_crc));
            self.damaged(place, "a header", &entry.head, again);
            return Ok(());
        }
        let right = may_be_header(&entry.payload, id);
        // One of the two may be encrypted, and the other from before that, or after.
        let comparable = |stored: &[u8]| envelope::is_one(stored) == envelope::is_one(&entry.payload);
        if stored.as_ref().is_some_and(|stored| *stored != entry.payload && comparable(stored)) {
            self.report.problem(5, format!("stream {stream} header {id}: {place} and the catalog differ"));
            if right {
                self.fixes.push(Fix::Header(stream, id, entry.payload.clone()));
            }
        } else if stored.is_none() && right && self.missing_headers.remove(&(stream, id)) {
            self.fixes.push(Fix::Header(stream, id, entry.payload.clone()));
        }
        if self.repair.is_some() {
            self.headers.entry((stream, id)).or_insert_with(|| Bytes::copy_from_slice(&entry.payload));
        }
        Ok(())
    }

    fn fragment(
        &mut self,
        place: Place,
        head: &Head,
        whole: bool,
        rows: &[Placed],
        described: &Described,
    ) -> Result<(), Error> {
        let number = head.meta().number;
        let at = format!("stream {} fragment {number} ({place})", head.stream);
        self.report.checked(2, 1);
        if let Some(last) = self.last.insert(head.stream, head.counter) {
            if last == head.counter {
                self.report.problem(3, format!("{at}: its counter {last} was used before"));
            } else if last > head.counter {
                self.report.problem(2, format!("{at}: it stands behind counter {last}"));
            }
        }
        if rows.is_empty() {
            self.unreferenced += 1;
            return if whole { self.without_row(place, head) } else { Ok(()) };
        }
        for row in rows {
            self.report.checked(8, 1);
            if row.stream != head.stream {
                self.row_problem(8, row, &format!("the record there is of stream {}", head.stream), true)?;
            } else if row.meta != head.meta() {
                self.row_problem(1, row, "record and row differ", true)?;
            } else if !whole {
                self.row_problem(1, row, "the checksum of its payload is wrong", true)?;
            } else {
                self.report.checked(1, 1);
            }
        }
        self.report.checked(5, 1);
        if !described.headers.contains(&(head.stream, head.header)) {
            self.report.problem(5, format!("{at}: its header does not stand before it in its segment"));
        }
        let known = self.streams.get(&head.stream).map(|s| &s.name);
        match described.streams.get(&head.stream) {
            None => self.report.problem(5, format!("{at}: its stream is not described before it in its segment")),
            Some(Some(name)) if known.is_some_and(|known| known != name) => {
                self.report.problem(5, format!("{at}: its segment calls the stream {name}"));
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// A complete fragment that no row points at. Retention takes the oldest of a stream, so one that is younger than the oldest row, and
    /// that nothing deleted, lost its row to damage.
    fn without_row(&mut self, place: Place, head: &Head) -> Result<(), Error> {
        let Some(repair) = self.repair.as_ref().filter(|repair| repair.online.is_none()) else { return Ok(()) };
        let Some(stream) = self.streams.get(&head.stream) else { return Ok(()) };
        let kept_from = stream.retention_hours.map_or(i64::MIN, |h| repair.now.0 - i64::from(h) * 3_600_000);
        let behind_the_oldest = self.first.get(&head.stream).is_some_and(|first| head.counter > *first);
        if !behind_the_oldest
            || self.released.contains(&(head.stream, head.counter))
            || head.server_start.0 < kept_from
            // What was set aside comes back only where its bytes were read just now, and are whole.
            || (!self.options.payloads && quarantine::reason(self.c, head.stream, head.meta().number)?.is_some())
        {
            return Ok(());
        }
        if self.adoptable.len() < MOST_ADOPTED {
            let header = Bytes::new();
            self.adoptable.push(NewRow { stream: head.stream, meta: head.meta(), place, header });
        }
        Ok(())
    }

    /// Gives rows to those that lost theirs, now that the whole log was read for what deletes them.
    pub(super) fn adopt(&mut self) -> Result<(), Error> {
        for mut row in std::mem::take(&mut self.adoptable) {
            let log = |place: Place| (place.segment, place.offset);
            let gone = self.deleted.iter().any(|deleted| {
                deleted.stream == row.stream && log(deleted.place) > log(row.place) && deleted.range.overlaps(&row.meta)
            });
            let key = (row.stream, row.meta.header);
            let header = match self.headers.get(&key) {
                Some(header) => Some(header.clone()),
                None => streams::header(self.c, row.stream, row.meta.header)?.map(Bytes::from),
            };
            let (false, Some(header)) = (gone, header) else { continue };
            row.header = header;
            self.fixes.push(Fix::Adopt(row));
        }
        Ok(())
    }
}
