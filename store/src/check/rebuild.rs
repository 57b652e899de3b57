//! The fragment index made anew from segments alone (invariant 5).

use super::At;
use super::keep::{self, Old};
use crate::catalog::db;
use crate::catalog::fragments::{self, Group, NewRow, Placed};
use crate::catalog::ranges::{self, DeletedRange};
use crate::catalog::{expiry, rewrites, schema, streams};
use crate::crypt::keys;
use crate::folder::Folder;
use crate::segments::Edition;
use crate::segments::reader::Place;
use crate::segments::record::{Head, RecordKind, StreamBody, may_be_header, record_len_of};
use crate::segments::scan::{End, Entry, Scan};
use crate::segments::writer::SegmentState;
use crate::{Error, Kind, holds, recovery};
use bytes::Bytes;
use media::{HeaderId, UnixMillis};
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// What a rebuild found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Segments that were read.
    pub segments: u64,
    /// Streams.
    pub streams: u64,
    /// Fragments.
    pub fragments: u64,
    /// What could not be read, in words.
    pub problems: Vec<String>,
}

/// Makes a fresh catalog at `catalog` (a path where nothing is) out of the segments of a data folder that no process has open.
/// Streams, headers and fragments come back, those too that retention had removed from the catalog but not yet from the disk.
/// Cameras, rules, targets, detections and alerts are not in segments.
pub fn rebuild(data: impl Into<At>, catalog: &Path) -> Result<Rebuilt, Error> {
    let folder = data.into().open()?;
    if catalog.exists() {
        return Err(Error::new(Kind::AlreadyExists, format!("{} exists", catalog.display())));
    }
    into(catalog, &folder)
}

/// What [`rebuild_in_place`] did.
#[derive(Clone, Debug)]
pub struct InPlace {
    /// What the segments gave.
    pub rebuilt: Rebuilt,
    /// Where the old catalog lies now, if there was one.
    pub kept_aside: Option<PathBuf>,
}

/// Makes the catalog of a data folder that no process has open anew: streams, headers and fragments from its segments; cameras, rules,
/// documents, settings and all else that is not in segments from the catalog that is there, as far as that can be read. That one is
/// kept aside under another name. With `payloads`, fragments whose bytes are damaged get no row. Blocks.
pub fn rebuild_in_place(data: impl Into<At>, payloads: bool) -> Result<InPlace, Error> {
    let folder = data.into().open()?;
    let path = folder.catalog();
    let mut early = Vec::new();
    let old = Old::open(&path, &folder, &mut early);
    let part = path.with_extension("rebuild");
    let mut rebuilt = fresh(&part, &folder, payloads, old.as_ref())?;
    early.append(&mut rebuilt.problems);
    rebuilt.problems = early;
    let kept_aside = match old {
        Some(old) => Some(old.set_aside(&path)?),
        None if path.exists() => Some(keep::set_aside(&path)?),
        None => None,
    };
    put_in_place(&part, &path)?;
    Ok(InPlace { rebuilt, kept_aside })
}

pub(crate) fn into(catalog: &Path, folder: &Folder) -> Result<Rebuilt, Error> {
    // Under another name until it is whole: a rebuild that is cut short starts again.
    let part = catalog.with_extension("rebuild");
    let rebuilt = fresh(&part, folder, false, None)?;
    put_in_place(&part, catalog)?;
    Ok(rebuilt)
}

fn put_in_place(part: &Path, catalog: &Path) -> Result<(), Error> {
    let moved = std::fs::rename(part, catalog)
        .and_then(|()| crate::folder::sync_dir(catalog.parent().unwrap_or(Path::new("."))));
    moved.map_err(|e| {
        Error::new(Kind::Unavailable, format!("{} could not be put in place", catalog.display())).with_source(e)
    })
}

/// Makes a catalog at `part` out of the segments and, where there is one that can be read, of the old catalog.
fn fresh(part: &Path, folder: &Folder, payloads: bool, old: Option<&Old>) -> Result<Rebuilt, Error> {
    let remove = |path: &Path| match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(Kind::Unavailable, format!("{} is in the way", path.display())).with_source(e))
        }
        _ => Ok(()),
    };
    for suffix in ["rebuild", "rebuild-wal", "rebuild-shm"] {
        remove(&part.with_extension(suffix))?;
    }
    let mut connection = schema::open(part, folder.store)?;
    let all = recovery::newest(&connection, folder, 0)?;
    let is_ours = |edition: Edition| {
        let scan = folder.shelf().scan(edition, false);
        matches!(scan, Ok(Some(Ok(scan))) if scan.header.store == folder.store && scan.header.segment == edition.id)
    };
    let newest = all.iter().copied().rfind(|edition| is_ours(*edition));
    let mut reading = Reading {
        c: &mut connection,
        folder,
        old,
        headers: HashMap::new(),
        deleted: HashSet::new(),
        rebuilt: Rebuilt::default(),
    };
    for edition in all {
        reading.segment(edition, payloads || Some(edition) == newest)?;
    }
    let Reading { deleted, mut rebuilt, .. } = reading;
    finish(&mut connection, folder, &deleted)?;
    if let Some(old) = old {
        old.keep(&mut connection, folder, &mut rebuilt.problems)?;
    }
    let count = |sql: &str| connection.query_row(sql, [], |r| r.get(0)).map_err(db);
    rebuilt.streams = count("SELECT count(*) FROM streams")?;
    rebuilt.fragments = count("SELECT count(*) FROM fragments")?;
    // Out of WAL mode for the move, so that the file is all there is.
    connection.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).map_err(db)?;
    connection.close().map_err(|(_, e)| db(e))?;
    Ok(rebuilt)
}

/// A rebuild under way.
struct Reading<'a> {
    c: &'a mut Connection,
    folder: &'a Folder,
    old: Option<&'a Old>,
    /// All that stood in the log so far: one that is damaged in a segment may be whole in another.
    headers: HashMap<(u64, u64), Bytes>,
    deleted: HashSet<u64>,
    rebuilt: Rebuilt,
}

/// What a segment gives to the catalog.
#[derive(Default)]
struct Given {
    rows: Vec<NewRow>,
    ranges: Vec<(Option<i64>, DeletedRange)>,
    deletions: bool,
}

impl Reading<'_> {
    /// Reads one segment. Only the newest can end in bytes that were never synced, so there alone, unless more is asked for (`payloads`),
    /// payloads of fragments are read and checked: heads can be whole where payloads are not.
    fn segment(&mut self, edition: Edition, payloads: bool) -> Result<(), Error> {
        let (id, name) = (edition.id, self.folder.shelf().name(edition));
        let Some(opened) = self.folder.shelf().scan(edition, payloads)? else { return Ok(()) };
        let mut scan = match opened {
            Ok(scan) if scan.header.store == self.folder.store && scan.header.segment == id => scan,
            Ok(_) => {
                self.rebuilt.problems.push(format!("{name} is of another store or another id"));
                return Ok(());
            }
            Err(why) => {
                self.rebuilt.problems.push(format!("{name} is no segment: {why}"));
                return Ok(());
            }
        };
        self.rebuilt.segments += 1;
        let io = |e| Error::new(Kind::Unavailable, format!("{name} cannot be read")).with_source(e);
        let mut given = Given::default();
        loop {
            if let Some(entry) = scan.next().map_err(io)? {
                self.record(id, entry, &mut given)?;
                continue;
            }
            let End::Torn(why) = scan.end() else { break };
            let at = scan.at;
            if let Some(passed) = scan.pass_over().map_err(io)? {
                self.rebuilt.problems.push(format!("{name} offset {}: {why}", passed.offset));
                if !passed.payload.is_empty() {
                    self.record(id, passed, &mut given)?;
                }
            } else if let Some(entry) = scan.mend().map_err(io)? {
                let text = format!("{name} offset {}: {why}; one byte of it, and it is taken as it was", entry.offset);
                self.rebuilt.problems.push(text);
                self.record(id, entry, &mut given)?;
            } else if let Some((next, row)) = self.behind(id, at, &mut scan).map_err(io)? {
                let what = if row.is_some() {
                    "the old catalog knows what stands there"
                } else {
                    "it goes on where the old catalog says"
                };
                self.rebuilt.problems.push(format!("{name} offset {at}: {why}; {what}"));
                given.rows.extend(row);
                scan.seek(next).map_err(io)?;
            } else {
                self.rebuilt.problems.push(format!("{name} ends at {at} of {} bytes: {why}", scan.len));
                break;
            }
        }
        let state =
            SegmentState { created_at: scan.header.created_at, end: scan.at, closed: true, deletions: given.deletions };
        let group = Group { segments: BTreeMap::from([(id, state)]), rows: given.rows, deleted: given.ranges };
        let outcomes = fragments::commit(self.c, &group)?;
        rewrites::set_generation(self.c, id, scan.header.generation)?;
        for (row, outcome) in group.rows.iter().zip(outcomes) {
            if let Err(e) = outcome {
                let text = format!("stream {} fragment {} in {}: {e}", row.stream, row.meta.number, row.place);
                self.rebuilt.problems.push(text);
            }
        }
        ranges::finish_all(self.c)
    }

    fn record(&mut self, segment: u64, entry: Entry, given: &mut Given) -> Result<(), Error> {
        let (head, place) = (entry.head, Place { segment, offset: entry.offset });
        match head.kind {
            RecordKind::Stream => match StreamBody::decode(&entry.payload) {
                Ok(body) => streams::adopt(self.c, head.stream, head.counter, &body)?,
                Err(e) => self.rebuilt.problems.push(format!("{place}: {e}")),
            },
            RecordKind::Header => {
                self.headers.insert((head.stream, head.header.0), entry.payload.into());
            }
            RecordKind::Fragment => match self.header(head.stream, head.header) {
                Some(header) => given.rows.push(NewRow { stream: head.stream, meta: head.meta(), place, header }),
                None => self.rebuilt.problems.push(format!("{place}: its header is not in the segments before it")),
            },
            RecordKind::Deleted => {
                self.deleted.insert(head.stream);
                given.deletions = true;
            }
            RecordKind::DeletedRange => {
                given.ranges.push((None, DeletedRange { stream: head.stream, range: head.range(), place }));
                given.deletions = true;
            }
        }
        Ok(())
    }

    fn header(&self, stream: u64, id: HeaderId) -> Option<Bytes> {
        let known = self.headers.get(&(stream, id.0)).cloned();
        known.or_else(|| self.old?.header(stream, id).filter(|bytes| may_be_header(bytes, id)))
    }

    /// Where to go on behind a head that cannot be read, as the old catalog knows it, and the fragment that stands there if it is whole.
    fn behind(&self, segment: u64, at: u64, scan: &mut Scan) -> std::io::Result<Option<(u64, Option<NewRow>)>> {
        let Some(row) = self.old.and_then(|old| old.first_from(segment, at)) else { return Ok(None) };
        if row.place.offset > at {
            return Ok(Some((row.place.offset, None)));
        }
        let whole = scan.is_whole(at, &Head::fragment(row.stream, &row.meta))?;
        if let (true, Some(header)) = (whole, self.header(row.stream, row.meta.header)) {
            let next = at + record_len_of(&row.meta);
            let Placed { stream, meta, place } = row;
            return Ok(Some((next, Some(NewRow { stream, meta, place, header }))));
        }
        let next = self.old.and_then(|old| old.first_from(segment, at + 1));
        Ok(next.map(|row| (row.place.offset, None)))
    }
}

fn finish(c: &mut Connection, folder: &Folder, deleted: &HashSet<u64>) -> Result<(), Error> {
    for id in deleted {
        match streams::delete(c, *id) {
            Err(e) if e.kind() != Kind::NotFound => return Err(e),
            _ => {}
        }
        streams::never_again(c, *id)?;
    }
    holds::restore(c, folder)?;
    while expiry::sweep_deleted(c, &BTreeSet::new(), UnixMillis(0))? {}
    // Their deletion was noted, and then cut short: the next start destroys the keys.
    for id in deleted.iter().filter(|id| keys::exists(folder.root(), **id)) {
        streams::note_deleted(c, *id)?;
    }
    // No counter of a block that was in use is given out again.
    c.execute(
        "UPDATE streams SET counter_limit = max(counter_limit, ((SELECT coalesce(max(counter), 0) FROM fragments WHERE stream = streams.id)
             + ?1 - 1) / ?1 * ?1)",
        [streams::BLOCK],
    )
    .map_err(db)?;
    Ok(())
}
