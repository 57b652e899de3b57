//! Reading one fragment out of a segment, through `object_store` range reads, so that a bucket can stand in for the folder.

use super::objects::bucket::Objects;
use super::record::{HEAD_LEN, Head};
use super::shelf::Shelf;
use super::{Edition, file_name};
use crate::crypt::envelope::{self, OpenError};
use crate::crypt::keys::Keys;
use crate::{Error, Kind};
use bytes::Bytes;
use media::FragmentMeta;
use object_store::{ObjectStore, ObjectStoreExt, local::LocalFileSystem, path::Path as ObjectPath};
use std::sync::Arc;

/// Where a fragment's record starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "segment {:016x} offset {}", self.segment, self.offset)
    }
}

/// Reads fragments. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reader {
    from: From,
    keys: Arc<Keys>,
}

#[derive(Clone)]
enum From {
    Folder(Arc<dyn ObjectStore>),
    Objects(Arc<Objects>),
}

impl Reader {
    /// Reads from where segments lie, with these keys.
    pub(crate) fn new(shelf: &Shelf, keys: Arc<Keys>) -> Result<Reader, Error> {
        let folder = match shelf {
            Shelf::Folder(folder) => folder,
            Shelf::Objects(objects) => return Ok(Reader { from: From::Objects(objects.clone()), keys }),
        };
        let objects = LocalFileSystem::new_with_prefix(folder).map_err(|e| {
            Error::new(Kind::Unavailable, format!("folder {} cannot be read", folder.display())).with_source(e)
        })?;
        Ok(Reader { from: From::Folder(Arc::new(objects)), keys })
    }

    /// The bucket, if that is where segments lie.
    pub(crate) fn objects(&self) -> Option<&Arc<Objects>> {
        match &self.from {
            From::Folder(_) => None,
            From::Objects(objects) => Some(objects),
        }
    }

    /// Bytes of a segment, fewer where it ends before.
    pub(crate) async fn range(&self, edition: Edition, range: std::ops::Range<u64>) -> object_store::Result<Bytes> {
        match &self.from {
            From::Folder(folder) => folder.get_range(&ObjectPath::from(file_name(edition.id)), range).await,
            From::Objects(objects) => objects.range(edition, range).await,
        }
    }

    /// The payload at `place`: lead and cluster. The record there must be the fragment that the catalog says, of that stream (invariant 8), and its
    /// bytes must have the checksum, and where they are encrypted be what was encrypted there. `what` names the stream in the error; `generation` is that of the segment; `read` is the record where that
    /// was read ahead.
    pub(crate) async fn payload(
        &self,
        what: &str,
        stream: u64,
        meta: &FragmentMeta,
        (place, generation): (Place, u32),
        read: Option<Bytes>,
    ) -> Result<Bytes, Error> {
        let corrupt = |why: String| {
            Error::new(Kind::Corrupt, format!("stream {what} fragment {} in {place}: {why}", meta.number))
        };
        let written = Head::fragment(stream, meta);
        let end = place.offset + HEAD_LEN as u64 + written.stored_len();
        let edition = Edition { id: place.segment, generation };
        let bytes = match read {
            Some(read) => Ok(read),
            None => self.range(edition, place.offset..end).await,
        };
        let bytes = bytes.map_err(|e| match e {
            // Gone between the catalog's answer and now: the retention sweeper took the segment, or someone else did.
            object_store::Error::NotFound { .. } => {
                Error::new(Kind::NotFound, format!("stream {what} fragment {}: {place} is gone", meta.number))
            }
            e => {
                Error::new(Kind::Unavailable, format!("stream {what} fragment {}: {place} cannot be read", meta.number))
                    .with_source(e)
            }
        })?;
        if (bytes.len() as u64) < end - place.offset {
            return Err(corrupt(format!("the segment ends after {} of {} bytes", bytes.len(), end - place.offset)));
        }
        let damaged = match Head::decode(&bytes) {
            Ok(head) if head == written => None,
            Ok(_) => return Err(corrupt("another record stands there".to_owned())),
            // The catalog knows its length and checksum too: what stands behind a damaged head is told by those.
            Err(e) => Some(e),
        };
        let payload = bytes.slice(HEAD_LEN..);
        if !written.is_whole(&payload) {
            let head = damaged.map_or_else(String::new, |e| format!("{e}; "));
            let crc = crc32c::crc32c(&payload);
            return Err(corrupt(match meta.encrypted {
                true => format!("{head}the checksum of its encrypted bytes is wrong"),
                false => format!("{head}checksum {crc:08x} where {:08x} was written", meta.crc32c),
            }));
        }
        if let Some(error) = damaged {
            metrics::counter!("vidicon_damaged_heads_total").increment(1);
            tracing::warn!(stream = what, number = %meta.number, %place, %error, "the head of a record is damaged; its fragment is whole");
        }
        drop(bytes);
        if !meta.encrypted {
            return Ok(payload);
        }
        let of = |e: Error| e.context(format_args!("stream {what} fragment {}", meta.number));
        let key = self.keys.of(stream).map_err(of)?;
        envelope::decrypt(&key, &written.place(), payload).map_err(|e| match e {
            OpenError::Form | OpenError::Forged => corrupt(e.to_string()),
            // Another key file was put in place: the bytes are not what is wrong.
            OpenError::Key => of(Error::new(Kind::Unavailable, e.to_string())),
        })
    }
}
