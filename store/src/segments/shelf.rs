//! Where the segments of a store lie: in a folder of this machine, or as objects in a bucket.
//!
//! What belongs here: the one seam through which recovery, retention, check and rebuild list, walk and remove segments. What does
//! not: appending (the folder's [`super::writer`]), and reading single fragments ([`super::reader`]).

use super::Edition;
use super::objects::bucket::Objects;
use super::record::{FILE_HEADER_LEN, FileHeader, FormatError};
use super::scan::Scan;
use crate::folder::sync_dir;
use crate::{Error, Kind};
use std::io::ErrorKind::NotFound;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where segments lie. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Shelf {
    /// Append-only files of this folder.
    Folder(PathBuf),
    /// Objects of a bucket, one a group.
    Objects(Arc<Objects>),
}

impl Shelf {
    /// The ids of all segments after this one, ascending: of all that bear the name of one, whether the catalog knows it or not.
    /// Blocks.
    pub(crate) fn ids_after(&self, after: u64) -> Result<Vec<u64>, Error> {
        match self {
            Shelf::Folder(folder) => {
                let failed =
                    |e| Error::new(Kind::Unavailable, format!("{} cannot be read", folder.display())).with_source(e);
                let mut ids = Vec::new();
                for entry in std::fs::read_dir(folder).map_err(failed)? {
                    ids.extend(entry.map_err(failed)?.file_name().to_str().and_then(super::id_of));
                }
                ids.retain(|id| *id > after);
                ids.sort_unstable();
                Ok(ids)
            }
            Shelf::Objects(objects) => {
                let mut ids: Vec<u64> = objects.editions_after(after)?.into_iter().map(|edition| edition.id).collect();
                ids.dedup();
                Ok(ids)
            }
        }
    }

    /// The same with what of each is there: in a bucket there may be several for a while, ascending. A folder's names do not tell. Blocks.
    pub(crate) fn editions_after(&self, after: u64) -> Result<Vec<Edition>, Error> {
        match self {
            Shelf::Folder(_) => Ok(self.ids_after(after)?.into_iter().map(Edition::first).collect()),
            Shelf::Objects(objects) => objects.editions_after(after),
        }
    }

    /// A walk over a segment, in a folder over the one that is there; `None` if there is none of this id, `Some(Err(_))` if what bears its name is no segment. Blocks, as
    /// does the walk.
    pub(crate) fn scan(
        &self,
        edition: Edition,
        read_fragments: bool,
    ) -> Result<Option<Result<Scan, FormatError>>, Error> {
        match self {
            Shelf::Folder(folder) => {
                let path = super::path(folder, edition.id);
                if !path.exists() {
                    return Ok(None);
                }
                Scan::open(&path, read_fragments).map(Some)
            }
            Shelf::Objects(objects) => objects.scan(edition, read_fragments),
        }
    }

    /// Removes what bears the name of a segment and is only the beginning of one, no longer than a file header and without a sound
    /// one: the process, or the machine, ended while it was made. `false` if it is anything else. Blocks.
    pub(crate) fn remove_cut_short(&self, id: u64) -> std::io::Result<bool> {
        match self {
            Shelf::Folder(folder) => {
                let path = super::path(folder, id);
                let mut bytes = Vec::new();
                std::fs::File::open(&path)?.take(FILE_HEADER_LEN as u64 + 1).read_to_end(&mut bytes)?;
                let cut_short = bytes.len() <= FILE_HEADER_LEN && FileHeader::decode(&bytes).is_err();
                if cut_short {
                    std::fs::remove_file(&path)?;
                    sync_dir(folder)?;
                }
                Ok(cut_short)
            }
            // An object comes whole, or not at all.
            Shelf::Objects(_) => Ok(false),
        }
    }

    /// Removes segments, and gives those that are gone for good now, those included that were gone before. What cannot be removed is
    /// logged.
    pub(crate) async fn remove(&self, editions: &[Edition]) -> Vec<Edition> {
        match self {
            Shelf::Folder(folder) => {
                let mut gone = Vec::with_capacity(editions.len());
                for &edition in editions {
                    let path = super::path(folder, edition.id);
                    match tokio::fs::remove_file(&path).await {
                        Ok(()) => gone.push(edition),
                        Err(e) if e.kind() == NotFound => gone.push(edition),
                        Err(error) => {
                            tracing::warn!(path = %path.display(), %error, "a segment without live fragments could not be removed")
                        }
                    }
                }
                // Their rows go next, and no power cut may bring a file back that no row knows any more.
                let synced = match tokio::fs::File::open(folder).await {
                    Ok(folder) => folder.sync_all().await,
                    Err(error) => Err(error),
                };
                match synced {
                    Ok(()) => gone,
                    Err(error) => {
                        tracing::warn!(path = %folder.display(), %error, "removed segments are not known to be gone");
                        Vec::new()
                    }
                }
            }
            Shelf::Objects(objects) => objects.remove(editions).await,
        }
    }

    /// The folder, where segments are files of one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Shelf::Folder(folder) => Some(folder),
            Shelf::Objects(_) => None,
        }
    }

    /// What a segment is called in messages.
    pub(crate) fn name(&self, edition: Edition) -> String {
        match self {
            Shelf::Folder(folder) => super::path(folder, edition.id).display().to_string(),
            Shelf::Objects(objects) => objects.name(edition),
        }
    }
}
