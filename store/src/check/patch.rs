//! Writing what a repair mends into segments: bytes that take the place of as many damaged ones.
//!
//! In a folder they are written into the file. An object is never overwritten: it is put anew, whole, as erasure does it
//! ([`crate::rewrite_objects`]), with the next generation.

use crate::catalog::{leftovers, rewrites};
use crate::folder::Folder;
use crate::rewrite::{Note, write_note};
use crate::segments::Edition;
use crate::segments::objects::bucket::Objects;
use crate::segments::record::FileHeader;
use crate::segments::shelf::Shelf;
use crate::{Error, Kind};
use media::UnixMillis;
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes, and where in their segment they belong.
type Patch = (u64, Vec<u8>);

/// What is to be written, by segment.
pub(super) struct Patches {
    shelf: Shelf,
    /// The data folder.
    data: PathBuf,
    now: UnixMillis,
    of: BTreeMap<u64, Vec<Patch>>,
}

impl Patches {
    pub(super) fn new(folder: &Folder, now: UnixMillis) -> Patches {
        Patches { shelf: folder.shelf().clone(), data: folder.root().to_owned(), now, of: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, segment: u64, offset: u64, bytes: Vec<u8>) {
        self.of.entry(segment).or_default().push((offset, bytes));
    }

    /// Writes all of them. Blocks.
    pub(super) fn apply(&mut self, c: &Connection) -> Result<(), Error> {
        for (id, patches) in std::mem::take(&mut self.of) {
            match &self.shelf {
                Shelf::Folder(folder) => mend_file(&crate::segments::path(folder, id), &patches)?,
                Shelf::Objects(objects) => self.mend_object(c, objects, id, &patches)?,
            }
        }
        Ok(())
    }

    fn mend_object(&self, c: &Connection, objects: &Arc<Objects>, id: u64, patches: &[Patch]) -> Result<(), Error> {
        let old = Edition { id, generation: rewrites::generation(c, id)?.unwrap_or(0) };
        if let Some(path) = objects.spool.path_of(id).filter(|_| old.generation == 0) {
            return mend_file(&path, patches);
        }
        let name = objects.name(old);
        let unread = |e: object_store::Error| {
            Error::new(Kind::Unavailable, format!("segment {name} cannot be read")).with_source(e)
        };
        let bytes = objects.handle().block_on(objects.whole(old)).map_err(unread)?;
        let mut bytes = bytes.ok_or_else(|| Error::new(Kind::NotFound, format!("segment {name} is gone")))?.to_vec();
        for (offset, patch) in patches {
            let at = *offset as usize;
            let short = || Error::new(Kind::Corrupt, format!("segment {name} ends before what is to be mended"));
            bytes.get_mut(at..at + patch.len()).ok_or_else(short)?.copy_from_slice(patch);
        }
        let header = FileHeader::decode(&bytes).ok().or_else(|| FileHeader::mend(&bytes));
        let header =
            header.ok_or_else(|| Error::new(Kind::Corrupt, format!("the start of segment {name} is damaged")))?;
        let new = leftovers::begin(c, id)?;
        let header = FileHeader { generation: new.generation, ..header }.renewed().encode();
        bytes[..header.len()].copy_from_slice(&header);
        objects.handle().block_on(objects.put_new(new, bytes.into()))?;
        let count = rewrites::count(c)? + 1;
        write_note(&self.data, &Note { count, last: Some(new) }).map_err(Error::of_disk)?;
        rewrites::mended(c, old, new.generation, count)?;
        // What cannot be removed now is noted: the server does it.
        for edition in objects.handle().block_on(objects.remove(&[old])) {
            leftovers::removed(c, edition, self.now)?;
        }
        Ok(())
    }
}

fn mend_file(path: &Path, patches: &[Patch]) -> Result<(), Error> {
    let written = || -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        patches.iter().try_for_each(|(offset, bytes)| file.write_all_at(bytes, *offset))?;
        file.sync_all()
    };
    written().map_err(|e| {
        Error::new(Kind::Unavailable, format!("segment {} cannot be written", path.display())).with_source(e)
    })
}
