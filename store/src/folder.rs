//! The data folder: its format file, its lock, its paths and their permissions.

use crate::segments::objects::attach;
use crate::segments::shelf::Shelf;
use crate::{Error, Kind, faults};
use object_store::ObjectStore;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// Version of the data folder's layout that this program makes and the only one it opens.
const VERSION: u32 = 1;
/// What may stand in a folder in which making the store was cut short.
const OURS: [&str; 4] = ["lock", "format", "format.new", "segments"];

#[derive(Serialize, Deserialize)]
struct Format {
    format: String,
    version: u32,
    store: Uuid,
}

/// A data folder, locked unless it is only looked at. The lock goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    /// The id that the catalog and each segment carry too.
    pub(crate) store: Uuid,
    shelf: Shelf,
    lock: Option<File>,
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread is starting has a copy of the descriptor until it runs its program.
        if let Some(lock) = &self.lock
            && let Err(error) = lock.unlock()
        {
            tracing::debug!(%error, "the data folder's lock goes with its file");
        }
    }
}

impl Folder {
    /// Locks the folder, and makes the store in it if it is new or empty.
    pub(crate) fn open_or_create(root: &Path) -> Result<Folder, Error> {
        let failed = |what: &str, e: io::Error| unusable(root, what, e);
        let missing: Vec<&Path> = root.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).collect();
        DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(|e| failed("it cannot be made", e))?;
        // So that what stands in it is not taken for damaged, or for missing, where it only cannot be read.
        std::fs::read_dir(root).map_err(|e| failed("it cannot be read", e))?;
        for made in &missing {
            // Its name in the folder above must outlast a power cut as well.
            sync_above(made).map_err(|e| failed("the folder above it cannot be synced", e))?;
        }
        if !root.join("format").exists() {
            let entries = std::fs::read_dir(root).map_err(|e| failed("it cannot be read", e))?;
            let foreign = entries.flatten().map(|e| e.file_name()).find(|n| !OURS.iter().any(|ours| n == ours));
            if missing.is_empty() {
                // A start that was cut short may have made it. One that somebody else made may stand where this program cannot read.
                let _ = sync_above(root);
            }
            if let Some(name) = foreign {
                let message =
                    format!("{} is no data folder: it has no `format` file, but it holds {name:?}", root.display());
                return Err(Error::new(Kind::Invalid, message));
            }
        }
        let lock = lock(root)?;
        let store = match read_format(root)? {
            Some(store) => store,
            None => write_format(root).map_err(|e| failed("its format file cannot be written", e))?,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root.join("segments"))
            .map_err(|e| failed("segments cannot be made", e))?;
        sync_dir(root).map_err(|e| failed("it cannot be synced", e))?;
        Ok(Folder { root: root.to_owned(), store, shelf: Shelf::Folder(root.join("segments")), lock: Some(lock) })
    }

    /// Locks a folder that must already hold a store.
    /// `given` takes the place of the bucket that it notes.
    pub(crate) fn open(root: &Path, given: Option<Arc<dyn ObjectStore>>) -> Result<Folder, Error> {
        let mut folder = Folder::open_without_segments(root)?;
        if let Some(shelf) = attach::noted(root, folder.store, given)? {
            folder.shelf = shelf;
        }
        Ok(folder)
    }

    /// The same for what does not look at segments: where they lie in a bucket, that need not answer.
    pub(crate) fn open_without_segments(root: &Path) -> Result<Folder, Error> {
        if !root.join("format").exists() {
            return Err(Error::new(
                Kind::NotFound,
                format!("{} is no data folder: it has no `format` file", root.display()),
            ));
        }
        let lock = lock(root)?;
        let mut folder = Folder::look_without_segments(root)?;
        folder.lock = Some(lock);
        Ok(folder)
    }

    /// Looks at a folder without locking it, and without its segments.
    pub(crate) fn look_without_segments(root: &Path) -> Result<Folder, Error> {
        let store = read_format(root)?.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("{} is no data folder: it has no `format` file", root.display()))
        })?;
        Ok(Folder { root: root.to_owned(), store, shelf: Shelf::Folder(root.join("segments")), lock: None })
    }

    /// Looks at a folder without locking it: another process may have it open, so nothing in it is changed through this.
    pub(crate) fn look(root: &Path, given: Option<Arc<dyn ObjectStore>>) -> Result<Folder, Error> {
        let mut folder = Folder::look_without_segments(root)?;
        if let Some(shelf) = attach::noted(root, folder.store, given)? {
            folder.shelf = shelf;
        }
        Ok(folder)
    }

    /// Whether this process alone has it open.
    pub(crate) fn is_locked(&self) -> bool {
        self.lock.is_some()
    }
    /// Where segments lie.
    pub(crate) fn shelf(&self) -> &Shelf {
        &self.shelf
    }
    /// Says where segments lie; until then it is the data folder.
    pub(crate) fn set_shelf(&mut self, shelf: Shelf) {
        self.shelf = shelf;
    }
    /// The folder of segments that lie on this machine; where they do not, an empty one.
    pub(crate) fn segments(&self) -> PathBuf {
        match &self.shelf {
            Shelf::Folder(folder) => folder.clone(),
            Shelf::Objects(_) => self.root.join("segments"),
        }
    }
    /// The data folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
    /// Where the catalog lies.
    pub(crate) fn catalog(&self) -> PathBuf {
        self.root.join("catalog.sqlite")
    }
}

/// The folder cannot be used. Where that is how the machine is set up, and not an accident, it is for the operator to mend.
fn unusable(root: &Path, what: &str, e: io::Error) -> Error {
    use io::ErrorKind::{AlreadyExists, NotADirectory, PermissionDenied, ReadOnlyFilesystem};
    let why = match e.kind() {
        ReadOnlyFilesystem => {
            "its file system is read-only: mount it for writing, or choose another folder with --data"
        }
        PermissionDenied => "this user has no right to it: give it the folder (chown), or choose another with --data",
        AlreadyExists | NotADirectory => "a file stands in its way: choose another folder with --data",
        _ => return Error::new(Kind::Unavailable, format!("data folder {}: {what}", root.display())).with_source(e),
    };
    Error::of_configuration(format!("data folder {}: {what}: {why}", root.display())).with_source(e)
}

fn lock(root: &Path) -> Result<File, Error> {
    let path = root.join("lock");
    let failed = |e| unusable(root, "its lock cannot be opened", e);
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::new(Kind::Unavailable, format!("data folder {} is in use by another process", root.display())))
        }
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

fn read_format(root: &Path) -> Result<Option<Uuid>, Error> {
    let path = root.join("format");
    let mut text = String::new();
    // A format file is short; whatever is longer is not one.
    let read = File::open(&path).and_then(|f| f.take(4096).read_to_string(&mut text));
    match read {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => {
            return Err(unusable(root, "its format file cannot be read", e));
        }
        Ok(_) => {}
    }
    let format: Format = serde_json::from_str(&text)
        .map_err(|e| Error::new(Kind::Corrupt, format!("{} is damaged", path.display())).with_source(e))?;
    if format.format != "vidicon-store" {
        return Err(Error::new(
            Kind::Invalid,
            format!("{} is of another program: {:?}", path.display(), format.format),
        ));
    }
    if format.version != VERSION {
        let message =
            format!("{}: format version {}, this program opens version {VERSION}", path.display(), format.version);
        return Err(Error::new(Kind::Invalid, message));
    }
    Ok(Some(format.store))
}

fn write_format(root: &Path) -> io::Result<Uuid> {
    let store = Uuid::now_v7();
    let format = Format { format: "vidicon-store".to_owned(), version: VERSION, store };
    let text = serde_json::to_string(&format).expect("a name, a number and an id have a JSON form") + "\n";
    let new = root.join("format.new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    faults::step("folder.format");
    std::fs::rename(&new, root.join("format"))?;
    sync_dir(root)?;
    faults::step("folder.named");
    Ok(store)
}

fn sync_above(path: &Path) -> io::Result<()> {
    let above = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_dir(above)
}

pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn is_made_once_locked_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        let first = Folder::open_or_create(&root).unwrap();
        let store = first.store;
        let second = Folder::open_or_create(&root).unwrap_err();
        assert!(second.to_string().contains("in use"), "{second}");
        // As a child has it that is just being started.
        let copied = first.lock.as_ref().unwrap().try_clone().unwrap();
        drop(first);
        assert_eq!(Folder::open_or_create(&root).unwrap().store, store);
        drop(copied);
        assert_eq!(std::fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::metadata(root.join("format")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(root.join("segments")).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn says_what_the_operator_can_do() {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, StorageFull};
        let said = |kind: io::ErrorKind| {
            let error = unusable(Path::new("/data"), "its lock cannot be opened", kind.into());
            (error.is_configuration(), error.to_string())
        };
        let (configured, line) = said(ReadOnlyFilesystem);
        assert!(
            configured && line.starts_with("data folder /data: its lock cannot be opened: its file system"),
            "{line}"
        );
        assert!(said(PermissionDenied).0 && said(PermissionDenied).1.contains("chown"));
        assert!(!said(StorageFull).0, "that may pass");

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        for root in [file.clone(), file.join("below")] {
            let error = Folder::open_or_create(&root).unwrap_err();
            assert!(error.is_configuration() && error.to_string().contains("a file stands in its way"), "{error}");
        }
    }

    #[test]
    fn refuses_what_is_not_its_own() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("holiday.jpg"), "x").unwrap();
        let error = Folder::open_or_create(dir.path()).unwrap_err();
        assert!(error.kind() == Kind::Invalid && error.to_string().contains("holiday.jpg"), "{error}");

        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("format"),
            r#"{"format":"vidicon-store","version":9,"store":"01890000-0000-7000-8000-000000000000"}"#,
        )
        .unwrap();
        let error = Folder::open_or_create(dir.path()).unwrap_err();
        assert!(error.to_string().contains("version 9"), "{error}");
    }
}
