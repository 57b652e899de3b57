//! What the operator does about keys of a data folder that no process has open: looking at them, wrapping them by another master key,
//! and giving a stream up with its key.

use super::key::MasterKey;
use super::keys;
use crate::catalog::configs::{self, Table};
use crate::catalog::{holds, schema, streams};
use crate::folder::Folder;
use crate::{Error, Kind};
use media::StreamName;
use std::collections::BTreeMap;
use std::path::Path;

/// The keys of a data folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// How many streams' keys each master key wraps, by its id.
    pub wrapped_by: BTreeMap<String, u64>,
    /// Streams that have a key.
    pub with_key: Vec<StreamName>,
    /// Streams that have none: nothing of them is encrypted.
    pub without_key: Vec<StreamName>,
    /// Keys of streams that are not in the catalog, by their ids.
    pub orphans: Vec<u64>,
}

/// Says which streams have keys, and which master keys wrap them. A server may have the folder open. Blocks.
pub fn status(data: &Path) -> Result<Status, Error> {
    let folder = Folder::look_without_segments(data)?;
    let catalog = schema::look(&folder.catalog(), folder.store)?;
    let mut all = keys::read_all(folder.root())?;
    let mut status = Status::default();
    for wrapped in all.values() {
        *status.wrapped_by.entry(wrapped.master.clone()).or_default() += 1;
    }
    for row in streams::all(&catalog)? {
        match all.remove(&row.info.id) {
            Some(_) => status.with_key.push(row.info.name),
            None => status.without_key.push(row.info.name),
        }
    }
    status.orphans = all.into_keys().collect();
    Ok(status)
}

/// Wraps the keys of all streams by another master key, and gives how many; media is not touched. Each is one file that is replaced at
/// once, so one that was cut short goes on when it is done again. `current` is not needed where `new` wraps all. Blocks.
pub fn rotate(data: &Path, current: Option<&MasterKey>, new: &MasterKey) -> Result<u64, Error> {
    let folder = Folder::open_without_segments(data)?;
    let all = keys::read_all(folder.root())?;
    let (id, mut to_wrap) = (new.id(), Vec::new());
    // All of them are unwrapped before the first is changed.
    for wrapped in all.values().filter(|wrapped| wrapped.master != id) {
        let master = current.filter(|current| current.id() == wrapped.master).ok_or_else(|| {
            let message =
                format!("the key of stream {} is wrapped by the master key {}", wrapped.stream, wrapped.master);
            Error::of_configuration(message + ", which is not the one that is given")
        })?;
        to_wrap.push((wrapped.stream, keys::unwrap(folder.root(), folder.store, master, wrapped)?));
    }
    for (stream, key) in &to_wrap {
        keys::put(folder.root(), folder.store, new, *stream, key)?;
    }
    Ok(to_wrap.len() as u64)
}

/// Deletes a stream and destroys its key, without a server and without the master key: `NotFound`, or `Conflict` while a camera records to
/// it or a legal hold keeps some of it. Blocks.
pub fn destroy(data: &Path, name: &StreamName) -> Result<(), Error> {
    let folder = Folder::open_without_segments(data)?;
    let mut catalog = schema::open(&folder.catalog(), folder.store)?;
    let found = streams::all(&catalog)?.into_iter().find(|row| row.info.name == *name);
    let id = found.ok_or_else(|| Error::new(Kind::NotFound, format!("there is no stream {name}")))?.info.id;
    if configs::exists(&catalog, Table::Cameras, name)? {
        let message = format!("camera {name} records to this stream: remove it first");
        return Err(Error::new(Kind::Conflict, message));
    }
    if let Some(hold) = holds::of(&catalog, id)?.first() {
        let message = format!("stream {name}: the legal hold {:?} keeps some of it: lift it first", hold.name);
        return Err(Error::new(Kind::Conflict, message));
    }
    streams::delete(&mut catalog, id)?;
    keys::destroy(folder.root(), id)
}
