//! What a start does about segments that may have grown after the catalog's last word.
//!
//! Records behind the catalog's end were written but never acknowledged. Complete ones are adopted (synced, then given their
//! rows); the first incomplete one and all after it are cut off. Only segments that the catalog holds for open, and files that
//! have ids behind its last, are looked at: the work does not grow with the archive, but for the list of names.

use crate::catalog::fragments::{self, Group, NewRow};
use crate::catalog::ranges::{self, DeletedRange};
use crate::catalog::{db, leftovers, rewrites, segments, streams};
use crate::folder::{Folder, sync_dir};
use crate::segments::Edition;
use crate::segments::objects::config::MOST_PUTS;
use crate::segments::reader::Place;
use crate::segments::record::{FILE_HEADER_LEN, RecordKind, StreamBody, VERSION};
use crate::segments::scan::{End, Scan};
use crate::segments::shelf::Shelf;
use crate::segments::writer::SegmentState;
use crate::{Error, Kind, faults};
use bytes::Bytes;
use media::UnixMillis;
use rusqlite::Connection;
use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;

/// Where the appender goes on.
#[derive(Debug)]
pub(crate) struct Resume {
    /// The newest segment, if it has room.
    pub(crate) segment: Option<(u64, SegmentState)>,
    /// The id of the next new one.
    pub(crate) next_id: u64,
}

/// Mends the ends of segments and adopts what was complete.
pub(crate) fn recover(c: &mut Connection, folder: &Folder, segment_bytes: u64) -> Result<Resume, Error> {
    let mut candidates: Vec<(Edition, Option<SegmentState>)> = Vec::new();
    // Those that an earlier start set aside: the next sweep removes what came there too late.
    let mut aside = BTreeMap::new();
    for row in segments::open(c)? {
        match row.state.end {
            0 => drop(aside.insert(row.id, SegmentState { closed: true, ..row.state })),
            _ => candidates.push((row.edition(), Some(row.state))),
        }
    }
    put(c, &aside)?;
    let mut next_id = segments::next_id(c)?;
    // More than one, and with holes that retention left, where an older catalog was put back.
    candidates.extend(newest(c, folder, next_id - 1)?.into_iter().map(|edition| (edition, None)));
    let close =
        |c: &Connection, id, state| segments::put(c, &BTreeMap::from([(id, SegmentState { closed: true, ..state })]));
    let mut resume = None;
    for (edition, known) in candidates {
        let id = edition.id;
        let Some((state, usable)) = mend(c, folder, edition, known)? else { continue };
        next_id = next_id.max(id + 1);
        // Only the newest of ours is written on.
        if let Some((older, state)) = resume.take() {
            close(c, older, state)?;
        }
        if usable && state.end < segment_bytes {
            resume = Some((id, state));
        } else {
            close(c, id, state)?;
        }
    }
    ranges::finish_all(c)?;
    if let Shelf::Objects(_) = folder.shelf() {
        next_id = set_aside(c, next_id)?;
    }
    Ok(Resume { segment: resume, next_id })
}

/// The segments behind `after`, each as it was written last. What else there is of them is noted to be removed.
pub(crate) fn newest(c: &Connection, folder: &Folder, after: u64) -> Result<Vec<Edition>, Error> {
    let mut newest: Vec<Edition> = Vec::new();
    for edition in folder.shelf().editions_after(after)? {
        if let Some(older) = newest.pop_if(|older| older.id == edition.id) {
            leftovers::note(c, older)?;
        }
        newest.push(edition);
    }
    Ok(newest)
}

/// A PUT of the process before may still reach the bucket, after it was killed. Nobody was told that it did, so its object counts for
/// nothing; the ids that such ones can have are left out, and noted, so that the start after this one has them removed. Gives the id after them.
fn set_aside(c: &mut Connection, first: u64) -> Result<u64, Error> {
    let next = first + MOST_PUTS as u64;
    let late = SegmentState { created_at: UnixMillis(0), end: 0, closed: false, deletions: false };
    put(c, &(first..next).map(|id| (id, late.clone())).collect())?;
    Ok(next)
}

/// All in one transaction.
fn put(c: &mut Connection, states: &BTreeMap<u64, SegmentState>) -> Result<(), Error> {
    let tx = c.transaction().map_err(db)?;
    segments::put(&tx, states)?;
    tx.commit().map_err(db)
}

/// Mends one segment; says whether it can be appended to. `None` if the file is none of ours and so is left alone.
fn mend(
    c: &mut Connection,
    folder: &Folder,
    edition: Edition,
    known: Option<SegmentState>,
) -> Result<Option<(SegmentState, bool)>, Error> {
    let (shelf, id) = (folder.shelf(), edition.id);
    let io = |e: std::io::Error| {
        Error::new(Kind::Unavailable, format!("segment {} cannot be mended", shelf.name(edition))).with_source(e)
    };
    let Some(scan) = shelf.scan(edition, true)? else {
        tracing::error!(segment = id, "an open segment is missing; its fragments cannot be read");
        return Ok(known.map(|state| (state, false)));
    };
    let mut scan = match scan {
        Ok(scan) if scan.header.store == folder.store && scan.header.segment == id => scan,
        other => {
            let why = other.err().map_or_else(|| "it is of another store or another id".to_owned(), |e| e.to_string());
            match known {
                Some(_) => {
                    tracing::error!(segment = id, %why, "an open segment is damaged at its head; nothing is appended to it")
                }
                None if shelf.remove_cut_short(id).map_err(io)? => {
                    tracing::warn!(
                        segment = id,
                        "a segment whose making was cut short is removed; nothing was in it yet"
                    );
                }
                None => {
                    tracing::warn!(file = %shelf.name(edition), %why, "a file that is no segment of this store is left alone")
                }
            }
            return Ok(known.map(|state| (state, false)));
        }
    };
    let start = known.as_ref().map_or(FILE_HEADER_LEN as u64, |state| state.end);
    if scan.len < start {
        tracing::error!(
            segment = id,
            ends = scan.len,
            expected = start,
            "an open segment is shorter than the catalog says: fragments are lost"
        );
        return Ok(known.map(|state| (state, false)));
    }
    scan.seek(start).map_err(io)?;
    let Found { rows, described, deleted, ranges } = adoptable(c, &mut scan, id).map_err(io)?;
    let deletions = !deleted.is_empty() || !ranges.is_empty() || known.is_some_and(|state| state.deletions);
    let end = scan.at;
    faults::step("recovery.found");
    match shelf {
        Shelf::Folder(segments) => {
            let file = OpenOptions::new().write(true).open(crate::segments::path(segments, id)).map_err(io)?;
            if scan.len > end {
                let End::Torn(why) = scan.end() else { unreachable!("a walk that ends before the file does is torn") };
                tracing::warn!(segment = id, at = end, bytes = scan.len - end, %why, "an incomplete end of a segment is cut off");
                file.set_len(end).map_err(io)?;
                faults::step("recovery.cut");
            }
            // Adopted bytes may not have been synced when the process ended.
            file.sync_all().and_then(|()| sync_dir(segments)).map_err(io)?;
        }
        // An object came whole, or not at all.
        Shelf::Objects(_) => {
            if let End::Torn(why) = scan.end() {
                tracing::error!(segment = id, at = end, bytes = scan.len - end, %why, "the end of an object is damaged");
            }
        }
    }
    faults::step("recovery.synced");
    let state = SegmentState { created_at: scan.header.created_at, end, closed: false, deletions };
    let count = rows.len();
    adopt_streams(c, &rows, &described)?;
    let deleted_ranges = ranges.into_iter().map(|range| (None, range)).collect();
    let group = Group { segments: BTreeMap::from([(id, state.clone())]), rows, deleted: deleted_ranges };
    let outcomes = fragments::commit(c, &group)?;
    faults::step("recovery.adopted");
    rewrites::set_generation(c, id, scan.header.generation)?;
    for (row, outcome) in group.rows.iter().zip(outcomes) {
        if let Err(error) = outcome {
            tracing::warn!(stream = row.stream, number = %row.meta.number, %error, "a complete fragment could not be adopted");
        }
    }
    for stream in deleted {
        match streams::delete(c, stream) {
            Err(e) if e.kind() != Kind::NotFound => return Err(e),
            _ => {}
        }
        streams::never_again(c, stream)?;
    }
    if count > 0 {
        tracing::info!(segment = id, fragments = count, "complete fragments behind the last commit are adopted");
    }
    // What is written now has no place in a file of an earlier version.
    Ok(Some((state, scan.header.version == VERSION && matches!(shelf, Shelf::Folder(_)))))
}

/// Where the catalog is older than the segments (an earlier copy was put back), it knows neither the streams that were made since
/// nor how far the numbers went. Both come before the rows, so that no number is ever given out again (invariant 3).
fn adopt_streams(
    c: &mut Connection,
    rows: &[NewRow],
    described: &BTreeMap<u64, (u64, Option<StreamBody>)>,
) -> Result<(), Error> {
    let tx = c.transaction().map_err(db)?;
    for (stream, (counter_limit, body)) in described {
        match body {
            Some(body) if streams::is_newer(&tx, *stream)? => streams::adopt(&tx, *stream, *counter_limit, body)?,
            _ => streams::reserve(&tx, *stream, *counter_limit)?,
        }
    }
    let mut last = BTreeMap::<u64, u64>::new();
    for row in rows {
        let counter = last.entry(row.stream).or_default();
        *counter = (*counter).max(row.meta.number.counter());
    }
    for (stream, counter) in last {
        streams::reserve(&tx, stream, streams::block_limit(counter))?;
    }
    tx.commit().map_err(db)
}

/// What stands behind the catalog's end.
#[derive(Default)]
struct Found {
    /// The complete fragments.
    rows: Vec<NewRow>,
    /// The streams that are described there: the limit of their counters, and what is said of them.
    described: BTreeMap<u64, (u64, Option<StreamBody>)>,
    /// The streams whose deletion is noted there.
    deleted: Vec<u64>,
    /// The ranges whose deletion is.
    ranges: Vec<DeletedRange>,
}

/// Reads on from where the walk stands.
fn adoptable(c: &Connection, scan: &mut Scan, id: u64) -> std::io::Result<Found> {
    let mut headers: HashMap<(u64, u64), Bytes> = HashMap::new();
    let mut found = Found::default();
    while let Some(entry) = scan.next()? {
        let head = entry.head;
        match head.kind {
            RecordKind::Stream => {
                let of = found.described.entry(head.stream).or_default();
                of.0 = of.0.max(head.counter);
                of.1 = StreamBody::decode(&entry.payload).ok().or(of.1.take());
            }
            RecordKind::Header => {
                headers.insert((head.stream, head.header.0), entry.payload.into());
            }
            RecordKind::Fragment => {
                // Described in this segment before the catalog's end, if not behind it.
                let key = (head.stream, head.header.0);
                let stored = || streams::header(c, head.stream, head.header).ok().flatten().map(Bytes::from);
                let Some(header) = headers.get(&key).cloned().or_else(stored) else { continue };
                headers.insert(key, header.clone());
                found.rows.push(NewRow {
                    stream: head.stream,
                    meta: head.meta(),
                    place: Place { segment: id, offset: entry.offset },
                    header,
                });
            }
            RecordKind::Deleted => found.deleted.push(head.stream),
            RecordKind::DeletedRange => found.ranges.push(DeletedRange {
                stream: head.stream,
                range: head.range(),
                place: Place { segment: id, offset: entry.offset },
            }),
        }
    }
    Ok(found)
}
