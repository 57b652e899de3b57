//! The fragment index made anew from segments alone (invariant 5).

use crate::catalog::db;
use crate::catalog::fragments::{self, Group, NewRow};
use crate::catalog::ranges::{self, DeletedRange};
use crate::catalog::{expiry, rewrites, schema, streams};
use crate::folder::Folder;
use crate::segments::reader::Place;
use crate::segments::record::{FormatError, RecordKind, StreamBody};
use crate::segments::scan::End;
use crate::segments::writer::SegmentState;
use crate::{Error, Kind};
use bytes::Bytes;
use media::UnixMillis;
use rusqlite::Connection;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

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
pub fn rebuild(data: &Path, catalog: &Path) -> Result<Rebuilt, Error> {
    let folder = Folder::open(data)?;
    if catalog.exists() {
        return Err(Error::new(Kind::AlreadyExists, format!("{} exists", catalog.display())));
    }
    into(catalog, &folder)
}

pub(crate) fn into(catalog: &Path, folder: &Folder) -> Result<Rebuilt, Error> {
    // Under another name until it is whole: a rebuild that is cut short starts again.
    let part = catalog.with_extension("rebuild");
    let remove = |path: &Path| match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(Kind::Unavailable, format!("{} is in the way", path.display())).with_source(e))
        }
        _ => Ok(()),
    };
    for suffix in ["rebuild", "rebuild-wal", "rebuild-shm"] {
        remove(&catalog.with_extension(suffix))?;
    }
    let mut connection = schema::open(&part, folder.store)?;
    let mut rebuilt = Rebuilt::default();
    let mut deleted = HashSet::new();
    let ids = folder.shelf().ids_after(0)?;
    let newest = ids.iter().copied().rfind(|id| {
        let scan = folder.shelf().scan(*id, false);
        matches!(scan, Ok(Some(Ok(scan))) if scan.header.store == folder.store && scan.header.segment == *id)
    });
    for id in ids {
        segment(&mut connection, folder, id, Some(id) == newest, &mut deleted, &mut rebuilt)?;
    }
    finish(&mut connection, &deleted)?;
    let count = |sql: &str| connection.query_row(sql, [], |r| r.get(0)).map_err(db);
    rebuilt.streams = count("SELECT count(*) FROM streams")?;
    rebuilt.fragments = count("SELECT count(*) FROM fragments")?;
    // Out of WAL mode for the move, so that the file is all there is.
    connection.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).map_err(db)?;
    connection.close().map_err(|(_, e)| db(e))?;
    let moved = std::fs::rename(&part, catalog)
        .and_then(|()| crate::folder::sync_dir(catalog.parent().unwrap_or(Path::new("."))));
    moved.map_err(|e| {
        Error::new(Kind::Unavailable, format!("{} could not be put in place", catalog.display())).with_source(e)
    })?;
    Ok(rebuilt)
}

/// Reads one segment. Only the newest can end in bytes that were never synced, so there alone (`payloads`) payloads of fragments
/// are read and checked: heads can be whole where payloads are not.
fn segment(
    c: &mut Connection,
    folder: &Folder,
    id: u64,
    payloads: bool,
    deleted: &mut HashSet<u64>,
    rebuilt: &mut Rebuilt,
) -> Result<(), Error> {
    let name = folder.shelf().name(id);
    let Some(scan) = folder.shelf().scan(id, payloads)? else { return Ok(()) };
    let mut scan = match scan {
        Ok(scan) if scan.header.store == folder.store && scan.header.segment == id => scan,
        Ok(_) => {
            rebuilt.problems.push(format!("{} is of another store or another id", name));
            return Ok(());
        }
        Err(why) => {
            rebuilt.problems.push(format!("{} is no segment: {why}", name));
            return Ok(());
        }
    };
    rebuilt.segments += 1;
    let io = |e| Error::new(Kind::Unavailable, format!("{} cannot be read", name)).with_source(e);
    let mut headers: HashMap<(u64, u64), Bytes> = HashMap::new();
    let (mut rows, mut ranges, mut deletions) = (Vec::new(), Vec::new(), false);
    loop {
        let Some(entry) = scan.next().map_err(io)? else {
            let Some(passed) = scan.pass_over().map_err(io)? else { break };
            rebuilt.problems.push(format!("{} offset {}: {}", name, passed.offset, FormatError::PayloadChecksum));
            continue;
        };
        let head = entry.head;
        match head.kind {
            RecordKind::Stream => match StreamBody::decode(&entry.payload) {
                Ok(body) => streams::adopt(c, head.stream, head.counter, &body)?,
                Err(e) => rebuilt.problems.push(format!("{} offset {}: {e}", name, entry.offset)),
            },
            RecordKind::Header => {
                headers.insert((head.stream, head.header.0), entry.payload.into());
            }
            RecordKind::Fragment => match headers.get(&(head.stream, head.header.0)) {
                Some(header) => {
                    let place = Place { segment: id, offset: entry.offset };
                    rows.push(NewRow { stream: head.stream, meta: head.meta(), place, header: header.clone() });
                }
                None => {
                    rebuilt.problems.push(format!("{} offset {}: its header is not in the segment", name, entry.offset))
                }
            },
            RecordKind::Deleted => {
                deleted.insert(head.stream);
                deletions = true;
            }
            RecordKind::DeletedRange => {
                let place = Place { segment: id, offset: entry.offset };
                ranges.push((None, DeletedRange { stream: head.stream, range: head.range(), place }));
                deletions = true;
            }
        }
    }
    if let End::Torn(why) = scan.end() {
        rebuilt.problems.push(format!("{} ends at {} of {} bytes: {why}", name, scan.at, scan.len));
    }
    let state = SegmentState { created_at: scan.header.created_at, end: scan.at, closed: true, deletions };
    let group = Group { segments: BTreeMap::from([(id, state)]), rows, deleted: ranges };
    let outcomes = fragments::commit(c, &group)?;
    rewrites::set_generation(c, id, scan.header.generation)?;
    for (row, outcome) in group.rows.iter().zip(outcomes) {
        if let Err(e) = outcome {
            rebuilt.problems.push(format!("stream {} fragment {} in {}: {e}", row.stream, row.meta.number, row.place));
        }
    }
    ranges::finish_all(c)?;
    Ok(())
}

fn finish(c: &mut Connection, deleted: &HashSet<u64>) -> Result<(), Error> {
    for id in deleted {
        match streams::delete(c, *id) {
            Err(e) if e.kind() != Kind::NotFound => return Err(e),
            _ => {}
        }
    }
    while expiry::sweep_deleted(c, UnixMillis(0))? {}
    // No counter of a block that was in use is given out again.
    c.execute(
        "UPDATE streams SET counter_limit = max(counter_limit, ((SELECT coalesce(max(counter), 0) FROM fragments WHERE stream = streams.id)
             + ?1 - 1) / ?1 * ?1)",
        [streams::BLOCK],
    )
    .map_err(db)?;
    Ok(())
}
