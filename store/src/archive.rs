//! A data folder that is only read: without its lock, so beside a server that has it open or where none has, and without a start's
//! mending, a sweep, or any other change. What was recorded can be taken out of it, also where a server would expire it at once.

use crate::catalog::{fragments, schema, streams};
use crate::crypt::config::Encryption;
use crate::crypt::keys::Keys;
use crate::export::Source;
use crate::folder::Folder;
use crate::segments::reader::Reader;
use crate::{Error, Kind, Position, Range};
use media::{Chunks, Fragment, FragmentMeta, FragmentNumber, Header, HeaderId, StreamName};
use rusqlite::Connection;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often a fragment that cannot be read is looked up again, and how long that waits.
const TRIES: u32 = 5;
const WAIT: Duration = Duration::from_millis(100);

/// A data folder that is read. Cheap to clone.
#[derive(Clone)]
pub struct Archive {
    catalog: Arc<Mutex<Connection>>,
    reader: Reader,
    keys: Arc<Keys>,
}

/// One stream of it. Cheap to clone.
#[derive(Clone)]
pub struct ArchivedStream {
    archive: Archive,
    id: u64,
    name: StreamName,
}

impl Archive {
    /// Opens a folder that holds a store whose catalog is of this program's version. What is encrypted needs the master key. Blocks.
    pub fn open(data: &Path, encryption: &Encryption) -> Result<Archive, Error> {
        let folder = Folder::look(data, None)?;
        let catalog = schema::look(&folder.catalog(), folder.store)?;
        let keys = Arc::new(Keys::look(folder.root(), folder.store, encryption)?);
        let reader = Reader::new(folder.shelf(), keys.clone())?;
        Ok(Archive { catalog: Arc::new(Mutex::new(catalog)), reader, keys })
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let catalog = self.catalog.clone();
        let done = tokio::task::spawn_blocking(move || work(&catalog.lock().unwrap_or_else(|e| e.into_inner())));
        done.await.map_err(|e| Error::new(Kind::Internal, "a query of the catalog failed").with_source(e))?
    }

    /// The stream of this name.
    pub async fn stream(&self, name: &StreamName) -> Result<ArchivedStream, Error> {
        let of = name.clone();
        let found = self.read(move |c| Ok(streams::all(c)?.into_iter().find(|row| row.info.name == of))).await?;
        let row = found.ok_or_else(|| Error::new(Kind::NotFound, format!("there is no stream {name}")))?;
        Ok(ArchivedStream { archive: self.clone(), id: row.info.id, name: name.clone() })
    }
}

impl Source for ArchivedStream {
    async fn headers_in(&self, range: Range) -> Result<Vec<HeaderId>, Error> {
        let id = self.id;
        self.archive.read(move |c| fragments::headers_in(c, id, range)).await
    }

    async fn page(&self, range: Range, at: Position, limit: usize) -> Result<Vec<FragmentMeta>, Error> {
        let id = self.id;
        self.archive.read(move |c| fragments::list(c, id, range, at, limit)).await
    }

    async fn header(&self, header: HeaderId) -> Result<Arc<Header>, Error> {
        let id = self.id;
        let stored = self.archive.read(move |c| streams::header(c, id, header)).await?;
        let damaged =
            || Error::new(Kind::Corrupt, format!("stream {}: header {header} is missing or damaged", self.name));
        let bytes = self.archive.keys.header(id, header, stored.ok_or_else(damaged)?.into());
        let parsed = media::mkv::parse_header(&bytes.map_err(|e| e.context(format_args!("stream {}", self.name)))?);
        parsed.map(Arc::new).map_err(|e| damaged().with_source(e))
    }

    async fn fragment(&self, number: FragmentNumber, header: Arc<Header>) -> Result<Arc<Fragment>, Error> {
        let id = self.id;
        let mut left = TRIES;
        let (meta, mut cluster) = loop {
            let (meta, place) = self.archive.read(move |c| fragments::located(c, id, number)).await?;
            match self.archive.reader.payload(self.name.as_str(), id, &meta, place, None).await {
                Ok(cluster) => break (meta, cluster),
                // A server may be putting a segment that it wrote anew in its place.
                Err(e) if left > 0 && matches!(e.kind(), Kind::Corrupt | Kind::NotFound | Kind::Unavailable) => {
                    left -= 1
                }
                Err(e) => return Err(e),
            }
            tokio::time::sleep(WAIT).await;
        };
        let lead = cluster.split_to((meta.lead_bytes as usize).min(cluster.len()));
        Ok(Arc::new(Fragment { meta, header, lead, cluster: Chunks::from(cluster) }))
    }
}
