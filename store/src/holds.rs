//! Legal holds: ranges of a stream's producer time from which neither retention nor a quota nor a deletion takes anything.
//!
//! A fragment is held if it reaches into the range. The catalog holds the truth; each statement that takes rows leaves out what is
//! held. Holds and deletions are both let in on the catalog's one writing thread, so that neither overlooks the other.
//!
//! A copy of all holds lies in the file `holds.json` of the data folder, for a catalog that has to be rebuilt.

use crate::catalog::{holds, streams};
use crate::folder::{Folder, sync_dir};
use crate::state::StreamState;
use crate::{Error, Kind, Range, Stream};
use media::UnixMillis;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// Longest name of a hold, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Longest reason, in bytes.
pub const MAX_REASON_BYTES: usize = 1024;
/// Most holds of a stream.
pub const MAX_HOLDS: usize = 1000;

/// A legal hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// What it is called; one of a name a stream.
    pub name: String,
    /// First instant of producer time that it keeps.
    pub from: UnixMillis,
    /// Just after the last one.
    pub to: UnixMillis,
    /// Why.
    pub reason: String,
    /// By whom.
    pub placed_by: String,
    /// When, server time.
    pub placed_at: UnixMillis,
}

impl Hold {
    pub(crate) fn range(&self) -> Range {
        Range { from: self.from, to: self.to }
    }
}

/// What a stream knows of its holds, and of the deletions that are under way.
#[derive(Default)]
pub(crate) struct Holds {
    pub(crate) held: Vec<Hold>,
    deleting: Vec<(i64, Range)>,
}

impl Holds {
    pub(crate) fn new(held: Vec<Hold>) -> Holds {
        Holds { held, deleting: Vec::new() }
    }

    /// What is left of a range without what is held.
    pub(crate) fn outside(&self, range: Range) -> Vec<Range> {
        let mut held: Vec<_> = self.held.iter().map(Hold::range).collect();
        held.sort_by_key(|held| held.from);
        let mut left = Vec::new();
        let mut from = range.from;
        for held in held {
            if held.from > from && from < range.to {
                left.push(Range { from, to: held.from.min(range.to) });
            }
            from = from.max(held.to);
        }
        if from < range.to {
            left.push(Range { from, to: range.to });
        }
        left
    }
}

/// Whether two ranges have an instant in common.
pub(crate) fn overlap(a: Range, b: Range) -> bool {
    a.from < b.to && a.to > b.from
}

fn conflict(stream: &StreamState, hold: &Hold, what: &str) -> Error {
    let Hold { name, from, to, .. } = hold;
    let (from, to) = (from.to_rfc3339(), to.to_rfc3339());
    let message = format!("stream {}: the legal hold {name:?} keeps {from} to {to}: {what}", stream.name());
    Error::new(Kind::Conflict, message)
}

/// Before the record of a deletion is written: `Conflict` where a hold keeps some of what it would take. Runs on the writing thread.
pub(crate) fn begin_deletion(c: &Connection, stream: &StreamState, id: i64, range: Range) -> Result<(), Error> {
    if let Some(hold) = holds::against(c, stream.id(), range)? {
        return Err(conflict(stream, &hold, "the range reaches a fragment of it"));
    }
    stream.holds().deleting.push((id, range));
    Ok(())
}

/// The deletion is done, or failed.
pub(crate) fn end_deletion(stream: &StreamState, id: i64) {
    stream.holds().deleting.retain(|(of, _)| *of != id);
}

/// `Conflict` where a stream that is to be deleted has a hold. Runs on the writing thread.
pub(crate) fn none_of(c: &Connection, stream: &StreamState) -> Result<(), Error> {
    match holds::of(c, stream.id())?.first() {
        Some(hold) => Err(conflict(stream, hold, "lift it before the stream is deleted")),
        None => Ok(()),
    }
}

fn place(c: &Connection, stream: &StreamState, hold: Hold) -> Result<(), Error> {
    let under_way = |range: Range| overlap(range, hold.range());
    if stream.holds().deleting.iter().any(|(_, range)| under_way(*range))
        || holds::deletions(c, stream.id())?.into_iter().any(under_way)
    {
        let message = format!("stream {}: a deletion in this range is under way", stream.name());
        return Err(Error::new(Kind::Conflict, message));
    }
    if stream.holds().held.len() >= MAX_HOLDS {
        let message = format!("stream {} has {MAX_HOLDS} legal holds, and takes no more", stream.name());
        return Err(Error::new(Kind::LimitExceeded, message));
    }
    holds::put(c, stream.id(), &hold).map_err(|e| match e.kind() {
        Kind::AlreadyExists => {
            let message = format!("stream {} has a legal hold {:?} already", stream.name(), hold.name);
            Error::new(Kind::AlreadyExists, message)
        }
        _ => e,
    })?;
    stream.holds().held.push(hold);
    Ok(())
}

fn lift(c: &Connection, stream: &StreamState, name: &str) -> Result<(), Error> {
    if !holds::remove(c, stream.id(), name)? {
        return Err(Error::new(Kind::NotFound, format!("stream {} has no legal hold {name:?}", stream.name())));
    }
    stream.holds().held.retain(|hold| hold.name != name);
    // The sweep looks again at all that it left.
    stream.swept.store(0, std::sync::atomic::Ordering::SeqCst);
    Ok(())
}

impl Stream {
    /// Keeps what reaches into a range of producer time, also what comes yet, until the hold is lifted. `Invalid` for a name or reason that is
    /// empty or too long, or a range that is empty; `AlreadyExists`; `Conflict` while some of it is being deleted.
    pub async fn place_hold(&self, hold: Hold) -> Result<(), Error> {
        let invalid = |why: String| Err(Error::new(Kind::Invalid, format!("stream {}: {why}", self.info().name)));
        let Hold { name, reason, .. } = &hold;
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(|c| c.is_control() || c == '/') {
            return invalid(format!("name: 1 to {MAX_NAME_BYTES} bytes without control characters and slashes"));
        }
        if reason.is_empty() || reason.len() > MAX_REASON_BYTES {
            return invalid(format!("reason: 1 to {MAX_REASON_BYTES} bytes"));
        }
        if hold.from >= hold.to {
            return invalid("to: it must be after from".to_owned());
        }
        self.change(move |c, stream| place(c, stream, hold.clone())).await
    }
    /// Ends a hold: what it kept goes as everything else does. `NotFound`.
    pub async fn lift_hold(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.change(move |c, stream| lift(c, stream, &name)).await
    }
    /// The holds of this stream, by name.
    pub fn holds(&self) -> Vec<Hold> {
        let mut held = self.state.holds().held.clone();
        held.sort_by(|a, b| a.name.cmp(&b.name));
        held
    }

    async fn change(
        &self,
        change: impl FnOnce(&Connection, &StreamState) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        self.state.check_open()?;
        let stream: Arc<StreamState> = self.state.clone();
        let data = stream.shared.config.data.clone();
        let catalog = stream.shared.catalog.clone();
        // To its end even if the caller is cancelled, so that the copy follows.
        let work = catalog.write(move |c| {
            change(c, &stream)?;
            keep_copy(c, &data)
        });
        work.await
    }
}

/// All holds, by the id of their stream.
type All = BTreeMap<u64, Vec<Hold>>;

fn keep_copy(c: &Connection, data: &Path) -> Result<(), Error> {
    let text = serde_json::to_vec_pretty(&holds::all(c)?).expect("names, texts and times have a JSON form");
    let write = || -> io::Result<()> {
        let new = data.join("holds.json.new");
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&new, data.join("holds.json"))?;
        sync_dir(data)
    };
    write().map_err(|e| Error::of_disk(e).context("the copy of the legal holds (holds.json)"))
}

/// Puts the holds of the copy into a catalog that was rebuilt, of those streams that came back.
pub(crate) fn restore(c: &Connection, folder: &Folder) -> Result<(), Error> {
    let path = folder.root().join("holds.json");
    let text = match std::fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read
            .map_err(|e| Error::new(Kind::Unavailable, format!("{} cannot be read", path.display())).with_source(e))?,
    };
    let all: All = serde_json::from_slice(&text)
        .map_err(|e| Error::new(Kind::Corrupt, format!("{} is damaged", path.display())).with_source(e))?;
    let there: Vec<u64> = streams::all(c)?.into_iter().map(|row| row.info.id).collect();
    for (stream, held) in all.into_iter().filter(|(stream, _)| there.contains(stream)) {
        held.iter().try_for_each(|hold| holds::put(c, stream, hold))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_range() {
        let hold = |from, to| Hold {
            name: String::new(),
            from: UnixMillis(from),
            to: UnixMillis(to),
            reason: String::new(),
            placed_by: String::new(),
            placed_at: UnixMillis(0),
        };
        let held = vec![hold(50, 60), hold(10, 20), hold(15, 30), hold(12, 13)];
        let holds = Holds { held, deleting: Vec::new() };
        let left = |from, to| {
            let range = Range { from: UnixMillis(from), to: UnixMillis(to) };
            holds.outside(range).into_iter().map(|range| (range.from.0, range.to.0)).collect::<Vec<_>>()
        };
        assert_eq!(left(i64::MIN, 100), [(i64::MIN, 10), (30, 50), (60, 100)]);
        assert_eq!(left(12, 40), [(30, 40)]);
        assert_eq!(left(50, 60), []);
        assert_eq!(left(0, 5), [(0, 5)]);
        assert_eq!(left(70, 80), [(70, 80)]);
        assert_eq!(left(5, 15), [(5, 10)]);
    }
}
