//! Where the keys of streams lie: one file each in the folder `keys` of the data folder, wrapped by the master key, and nowhere else.
//! So one file is all that has to go for the bytes of a stream to be gone.
//!
//! A file is one line of JSON: `{"format":"vidicon-key","version":1,"stream":7,"master":"<id>","wrapped":"<Base64>"}`, the last being a
//! nonce of 12 bytes, the encrypted key and the tag. One of zeros is of a key that was destroyed.

use super::config::Encryption;
use super::envelope;
use super::key::{MasterKey, StreamKey, WRAPPED_LEN};
use crate::folder::sync_dir;
use crate::{Error, Kind, faults};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use media::HeaderId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use uuid::Uuid;

/// The folder in the data folder.
const FOLDER: &str = "keys";
/// Longest file that is read as a key.
const MOST_BYTES: u64 = 4096;

/// What a key file says.
#[derive(Serialize, Deserialize)]
struct KeyFile {
    format: String,
    version: u32,
    stream: u64,
    /// [`MasterKey::id`] of the key that it is wrapped by.
    master: String,
    wrapped: String,
}

/// A wrapped key.
pub(super) struct Wrapped {
    pub(super) stream: u64,
    pub(super) master: String,
    bytes: [u8; WRAPPED_LEN],
}

/// The keys of a store's streams, unwrapped.
pub(crate) struct Keys {
    root: PathBuf,
    store: Uuid,
    encryption: Encryption,
    held: RwLock<HashMap<u64, Arc<StreamKey>>>,
}

impl Keys {
    /// Unwraps the keys of a data folder; those that the previous master key wraps are wrapped anew. Where the master key is missing or
    /// another one, an error for the operator, and nothing is changed. Blocks.
    pub(crate) fn open(root: &Path, store: Uuid, encryption: &Encryption) -> Result<Keys, Error> {
        finish_destroying(root).map_err(|e| failed(root, "cannot be mended", e))?;
        let all = read_all(root)?;
        let held = unwrap_all(root, store, encryption, &all)?;
        let keys = Keys { root: root.to_owned(), store, encryption: encryption.clone(), held: RwLock::new(held) };
        if let Some(key) = &encryption.key {
            let id = key.id();
            let old: Vec<u64> = all.values().filter(|wrapped| wrapped.master != id).map(|w| w.stream).collect();
            for stream in &old {
                keys.put(key, *stream, &*keys.of(*stream)?)?;
            }
            if !old.is_empty() {
                tracing::info!(streams = old.len(), master = id, "keys of streams are wrapped by the new master key");
            }
        }
        Ok(keys)
    }

    /// The same of a folder that is only read. Without a master key there are none.
    pub(crate) fn look(root: &Path, store: Uuid, encryption: &Encryption) -> Result<Keys, Error> {
        let held = match encryption.key {
            Some(_) => unwrap_all(root, store, encryption, &read_all(root)?)?,
            None => HashMap::new(),
        };
        Ok(Keys { root: root.to_owned(), store, encryption: encryption.clone(), held: RwLock::new(held) })
    }

    /// The key of a stream. `NotFound` where it was destroyed.
    pub(crate) fn of(&self, stream: u64) -> Result<Arc<StreamKey>, Error> {
        let held = self.held.read().unwrap_or_else(|e| e.into_inner()).get(&stream).cloned();
        held.ok_or_else(|| match self.encryption.key {
            Some(_) => Error::new(Kind::NotFound, "it is encrypted, and the key of its stream is destroyed"),
            None => Error::of_configuration("it is encrypted, and no master key is given"),
        })
    }

    /// A header as it was before it was encrypted, if it was. `Corrupt` where it is not what was encrypted.
    pub(crate) fn header(&self, stream: u64, id: HeaderId, stored: Bytes) -> Result<Bytes, Error> {
        if !envelope::is_one(&stored) {
            return Ok(stored);
        }
        let opened = self.of(stream)?.decrypt_header(stream, id, stored);
        opened.map_err(|e| Error::new(Kind::Corrupt, format!("header {id}: {e}")))
    }

    /// The picture of an alert, likewise.
    pub(crate) fn snapshot(&self, stream: u64, alert: &str, stored: Vec<u8>) -> Result<Vec<u8>, Error> {
        if !envelope::is_one(&stored) {
            return Ok(stored);
        }
        let opened = self.of(stream)?.decrypt_snapshot(stream, alert, stored.into());
        opened.map(Vec::from).map_err(|e| Error::new(Kind::Corrupt, format!("the snapshot of alert {alert}: {e}")))
    }

    /// The key to encrypt what is recorded of a stream from now on, if that is wanted.
    pub(crate) fn to_encrypt(&self, stream: u64) -> Option<Arc<StreamKey>> {
        self.of(stream).ok().filter(|_| self.encryption.new_recordings)
    }

    /// Makes a key for a stream that has none, if what is recorded is to be encrypted. It is durable when this returns. Blocks.
    pub(crate) fn make(&self, stream: u64) -> Result<(), Error> {
        let Some(master) = self.encryption.key.as_ref().filter(|_| self.encryption.new_recordings) else {
            return Ok(());
        };
        if self.of(stream).is_ok() {
            return Ok(());
        }
        let key = StreamKey::generate()?;
        self.put(master, stream, &key)?;
        self.held.write().unwrap_or_else(|e| e.into_inner()).insert(stream, Arc::new(key));
        Ok(())
    }

    /// Destroys the key of a stream, if it has one: what is encrypted with it cannot be read from now on, by anybody. Blocks.
    pub(crate) fn destroy(&self, stream: u64) -> Result<(), Error> {
        self.held.write().unwrap_or_else(|e| e.into_inner()).remove(&stream);
        destroy(&self.root, stream)
    }

    fn put(&self, master: &MasterKey, stream: u64, key: &StreamKey) -> Result<(), Error> {
        put(&self.root, self.store, master, stream, key)
    }
}

/// Whether the key of a stream is there, unwrapped or not.
pub(crate) fn exists(root: &Path, stream: u64) -> bool {
    path(root, stream).exists()
}

/// Wraps a key and writes its file, in full and synced, in place of the one that is there. Blocks.
pub(super) fn put(root: &Path, store: Uuid, master: &MasterKey, stream: u64, key: &StreamKey) -> Result<(), Error> {
    let wrapped = BASE64_STANDARD.encode(master.wrap(store, stream, key)?);
    let file = KeyFile { format: "vidicon-key".to_owned(), version: 1, stream, master: master.id(), wrapped };
    let text = serde_json::to_string(&file).expect("texts and numbers have a JSON form") + "\n";
    write(root, stream, text.as_bytes()).map_err(|e| match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::of_disk(e).context("the key of a stream cannot be written")
        }
        _ => failed(&path(root, stream), "cannot be written", e),
    })
}

fn write(root: &Path, stream: u64, text: &[u8]) -> io::Result<()> {
    let (folder, path) = (root.join(FOLDER), path(root, stream));
    if !folder.exists() {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        sync_dir(root)?;
    }
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    faults::step("key.written");
    let before = OpenOptions::new().write(true).open(&path).ok();
    std::fs::rename(&new, &path)?;
    sync_dir(&folder)?;
    faults::step("key.named");
    // Wrapped by a master key that may have become known.
    before.map_or(Ok(()), |before| zero(&before))
}

fn zero(mut file: &File) -> io::Result<()> {
    let len = file.metadata()?.len().min(MOST_BYTES);
    file.write_all(&vec![0; len as usize])?;
    file.sync_all()
}

/// Overwrites the file of a stream's key with zeros, removes it, and syncs both. Nothing to do where there is none. Blocks.
pub(super) fn destroy(root: &Path, stream: u64) -> Result<(), Error> {
    let path = path(root, stream);
    let destroyed = || -> io::Result<()> {
        for name in [path.with_extension("new"), path.clone()] {
            match OpenOptions::new().write(true).open(&name) {
                Ok(file) => zero(&file)?,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            }
            faults::step("key.zeroed");
            std::fs::remove_file(&name)?;
            sync_dir(&root.join(FOLDER))?;
            faults::step("key.destroyed");
        }
        Ok(())
    };
    destroyed().map_err(|e| failed(&path, "cannot be destroyed", e))
}

/// Goes on with what a stop cut short: files that never had their name, and keys that were destroyed.
fn finish_destroying(root: &Path) -> io::Result<()> {
    let folder = root.join(FOLDER);
    let mut removed = false;
    for entry in entries(&folder)? {
        let cut_short = entry.extension().is_some_and(|e| e == "new");
        if cut_short || (stream_of(&entry).is_some() && read(&entry)?.iter().all(|byte| *byte == 0)) {
            std::fs::remove_file(&entry)?;
            removed = true;
        }
    }
    if removed { sync_dir(&folder) } else { Ok(()) }
}

/// All wrapped keys of a data folder, by stream.
pub(super) fn read_all(root: &Path) -> Result<BTreeMap<u64, Wrapped>, Error> {
    let mut all = BTreeMap::new();
    for entry in entries(&root.join(FOLDER)).map_err(|e| failed(&root.join(FOLDER), "cannot be read", e))? {
        let Some(stream) = stream_of(&entry) else { continue };
        let bytes = match read(&entry) {
            Ok(bytes) => bytes,
            // Destroyed meanwhile.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(failed(&entry, "cannot be read", e)),
        };
        if bytes.iter().all(|byte| *byte == 0) {
            continue;
        }
        let wrapped = parse(&bytes).filter(|wrapped| wrapped.stream == stream).ok_or_else(|| damaged(&entry))?;
        all.insert(stream, wrapped);
    }
    Ok(all)
}

fn unwrap_all(
    root: &Path,
    store: Uuid,
    encryption: &Encryption,
    all: &BTreeMap<u64, Wrapped>,
) -> Result<HashMap<u64, Arc<StreamKey>>, Error> {
    let given: Vec<_> = [&encryption.key, &encryption.previous].into_iter().flatten().map(|k| (k.id(), k)).collect();
    let mut held = HashMap::with_capacity(all.len());
    for wrapped in all.values() {
        let Some((_, master)) = given.iter().find(|(id, _)| *id == wrapped.master) else {
            let there = given.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(" and ");
            let there = if there.is_empty() { "none is configured".to_owned() } else { format!("it is {there} here") };
            return Err(Error::of_configuration(format!(
                "recordings in {} are encrypted under the master key {}, and {there}: name that one in encryption.key_file, or in {}",
                root.display(),
                wrapped.master,
                super::config::KEY_VARIABLE
            )));
        };
        let key = master.unwrap(store, wrapped.stream, &wrapped.bytes);
        held.insert(wrapped.stream, Arc::new(key.ok_or_else(|| damaged(&path(root, wrapped.stream)))?));
    }
    Ok(held)
}

pub(super) fn unwrap(root: &Path, store: Uuid, master: &MasterKey, wrapped: &Wrapped) -> Result<StreamKey, Error> {
    master.unwrap(store, wrapped.stream, &wrapped.bytes).ok_or_else(|| damaged(&path(root, wrapped.stream)))
}

fn parse(bytes: &[u8]) -> Option<Wrapped> {
    let KeyFile { format, version, stream, master, wrapped } = serde_json::from_slice(bytes).ok()?;
    let bytes = BASE64_STANDARD.decode(wrapped).ok()?.try_into().ok()?;
    (format == "vidicon-key" && version == 1).then_some(Wrapped { stream, master, bytes })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

fn path(root: &Path, stream: u64) -> PathBuf {
    root.join(FOLDER).join(format!("{stream:016x}.key"))
}

fn stream_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".key")?;
    u64::from_str_radix(name, 16).ok().filter(|stream| format!("{stream:016x}") == name)
}

fn failed(path: &Path, what: &str, error: io::Error) -> Error {
    Error::new(Kind::Unavailable, format!("{} {what}", path.display())).with_source(error)
}

fn damaged(path: &Path) -> Error {
    let message = format!(
        "{} is damaged: put a copy of it back, or give its stream up with `vidicon encryption destroy`",
        path.display()
    );
    Error::of_configuration(message)
}
