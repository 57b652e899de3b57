//! A data folder is told where its segments lie, and keeps it.

use super::bucket::Objects;
use super::config::{Location, StorageConfig};
use super::identity;
use super::spool::Spool;
use crate::catalog::{schema, segments};
use crate::folder::{Folder, sync_dir};
use crate::segments::shelf::Shelf;
use crate::{Error, Kind};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

/// The file of the data folder that says where segments lie, if that is not the data folder. It holds no secrets.
const NOTE: &str = "storage.json";

/// The folder of segments that a bucket has not taken yet.
const SPOOL: &str = "spool";

/// Opens where segments lie and checks that it is this store's. `given` takes the place of the configured bucket. Blocks.
pub(crate) fn attach(
    folder: &mut Folder,
    config: &StorageConfig,
    given: Option<Arc<dyn ObjectStore>>,
) -> Result<(), Error> {
    let spool = || Spool::open(&folder.root().join(SPOOL), config.spool_bytes);
    let objects = match (given, config.location()?) {
        (Some(store), _) => Objects::open_on(store, config, spool()?)?,
        (None, Location::Default) => return Ok(()),
        (None, Location::Bucket { .. }) => Objects::open(config, spool()?)?,
        (None, Location::Folder(path)) => {
            let failed = |e: io::Error| {
                Error::of_configuration(format!("storage.url: {} cannot be used", path.display())).with_source(e)
            };
            if !path.is_dir() {
                // Never made: it may be where a disk was not mounted.
                return Err(failed(io::ErrorKind::NotFound.into()));
            }
            let local = LocalFileSystem::new_with_prefix(&path).map_err(|e| failed(e.into()))?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
            runtime.block_on(identity::claim(&local, config.shown(), folder.store, is_used(folder)))?;
            let segments = path.join("segments");
            DirBuilder::new().recursive(true).mode(0o700).create(&segments).map_err(failed)?;
            folder.set_shelf(Shelf::Folder(segments));
            return Ok(());
        }
    };
    objects.claim(folder.store, is_used(folder))?;
    folder.set_shelf(Shelf::Objects(Arc::new(objects)));
    Ok(())
}

/// Whether there are segments of this store already, somewhere.
fn is_used(folder: &Folder) -> bool {
    let path = folder.catalog();
    let exists = std::fs::metadata(&path).is_ok_and(|m| m.len() > 0);
    // A catalog that cannot be read has seen better days, and segments.
    exists && schema::open(&path, folder.store).and_then(|c| segments::next_id(&c)).map_or(true, |next| next > 1)
}

/// Notes where segments lie, so that a later start without the setting does not look elsewhere, and that tools find them.
pub(crate) fn remember(root: &Path, config: &StorageConfig) -> Result<(), Error> {
    let known = read(root)?;
    if config.url.is_none() {
        return match known {
            Some(known) => Err(Error::of_configuration(format!(
                "the recordings of this data folder lie at {}: say so in storage.url",
                known.shown()
            ))),
            None => Ok(()),
        };
    }
    if known.as_ref() == Some(config) {
        return Ok(());
    }
    let failed =
        |e: io::Error| Error::of_disk(e).context(format_args!("{} cannot be written", root.join(NOTE).display()));
    let text = serde_json::to_vec_pretty(config).expect("texts and numbers have a JSON form");
    let new = root.join(format!("{NOTE}.new"));
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&new, root.join(NOTE))?;
        sync_dir(root)
    };
    written().map_err(failed)
}

fn read(root: &Path) -> Result<Option<StorageConfig>, Error> {
    let path = root.join(NOTE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => {
            return Err(Error::new(Kind::Unavailable, format!("{} cannot be read", path.display())).with_source(e));
        }
    };
    let wrong =
        |e| Error::of_configuration(format!("{} is damaged, or of a newer version", path.display())).with_source(e);
    serde_json::from_str(&text).map(Some).map_err(wrong)
}

/// Where the segments of a data folder lie that a start has noted, for tools, which change nothing there. `None`: in the folder. Blocks.
/// `given` takes the place of the bucket.
pub(crate) fn noted(root: &Path, store: Uuid, given: Option<Arc<dyn ObjectStore>>) -> Result<Option<Shelf>, Error> {
    let Some(config) = read(root)? else { return Ok(None) };
    match config.location()? {
        Location::Default => Ok(None),
        Location::Folder(path) => Ok(Some(Shelf::Folder(path.join("segments")))),
        Location::Bucket { .. } => {
            let spool = Spool::look(&root.join(SPOOL))?;
            let objects = match given {
                Some(given) => Objects::open_on(given, &config, spool)?,
                None => Objects::open(&config, spool)?,
            };
            objects.compare(store)?;
            Ok(Some(Shelf::Objects(Arc::new(objects))))
        }
    }
}
