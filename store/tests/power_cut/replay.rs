//! What a power cut leaves of a folder: all that was synced, and of the rest what chance decides.
//!
//! The model is what POSIX promises and no more. Data of a file is durable from a sync of that file on, a name from a sync of its
//! folder on. Of a write that was not synced each sector of 512 bytes is there or not, whatever stands before or behind it; so is the
//! change of the file's length; a sector that a longer file has and that never came holds zeros or rubbish. Names that were made, moved
//! or removed since their folder was synced are there or not, each for itself. Those states that journals of file systems
//! allow (names and lengths in the order in which they changed) are among them, and are drawn on purpose too ([`Cut::Ordered`]).

use crate::disk::Op;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

const SECTOR: usize = 512;

/// What is left of that which was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing.
    Nothing,
    /// All, as after a kill.
    All,
    /// Names and lengths up to some instant, with the data of what had grown until then; of what was written over, any sectors.
    Ordered,
    /// Anything.
    Anything,
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, data: Vec<u8> },
    Truncate { len: usize },
}

#[derive(Clone, Debug, Default)]
struct File {
    durable: Vec<u8>,
    /// Since the last sync, each with its place among all changes.
    pending: Vec<(usize, Change)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(u64),
    Folder,
}

#[derive(Clone, Debug)]
enum Naming {
    Put(PathBuf, Node),
    Remove(PathBuf),
    Move(PathBuf, PathBuf),
}

impl Naming {
    fn folder(&self) -> &Path {
        let (Naming::Put(path, _) | Naming::Remove(path) | Naming::Move(path, _)) = self;
        path.parent().unwrap()
    }
    fn names(&self) -> Vec<&PathBuf> {
        match self {
            Naming::Put(path, _) | Naming::Remove(path) => vec![path],
            Naming::Move(from, to) => vec![from, to],
        }
    }
    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Naming::Put(path, node) => drop(names.insert(path.clone(), *node)),
            Naming::Remove(path) => drop(names.remove(path)),
            Naming::Move(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

/// A folder as far as its changes have come.
#[derive(Clone, Default)]
pub struct Disk {
    files: HashMap<u64, File>,
    names: BTreeMap<PathBuf, Node>,
    namings: Vec<(usize, Naming)>,
    at: usize,
}

fn put(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
}

impl Disk {
    /// What lies in a folder, all of it synced; and the ids of its files. The folder itself is durable.
    pub fn of(root: &Path) -> (Disk, HashMap<PathBuf, u64>) {
        let (mut disk, mut ids) = (Disk::default(), HashMap::new());
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            disk.names.insert(folder.clone(), Node::Folder);
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.to_string_lossy().ends_with("-shm") {
                    let id = ids.len() as u64 + 1;
                    disk.files.insert(id, File { durable: std::fs::read(&path).unwrap(), pending: Vec::new() });
                    disk.names.insert(path.clone(), Node::File(id));
                    ids.insert(path, id);
                }
            }
        }
        (disk, ids)
    }

    pub fn apply(&mut self, op: &Op) {
        self.at += 1;
        let at = self.at;
        let mut name = |naming| self.namings.push((at, naming));
        match op {
            Op::Create { path, file } => name(Naming::Put(path.clone(), Node::File(*file))),
            Op::Mkdir { path } => name(Naming::Put(path.clone(), Node::Folder)),
            Op::Rename { from, to } => name(Naming::Move(from.clone(), to.clone())),
            Op::Unlink { path } => name(Naming::Remove(path.clone())),
            Op::Write { file, at: offset, data } => {
                let change = Change::Write { at: *offset as usize, data: data.clone() };
                self.files.entry(*file).or_default().pending.push((at, change));
            }
            Op::Truncate { file, len } => {
                self.files.entry(*file).or_default().pending.push((at, Change::Truncate { len: *len as usize }));
            }
            Op::Sync { file } => {
                let file = self.files.entry(*file).or_default();
                for (_, change) in std::mem::take(&mut file.pending) {
                    match change {
                        Change::Write { at, data } => put(&mut file.durable, at, &data),
                        Change::Truncate { len } => file.durable.resize(len, 0),
                    }
                }
            }
            Op::SyncDir { path } => {
                for (_, naming) in self.namings.extract_if(.., |(_, naming)| naming.folder() == path) {
                    naming.apply(&mut self.names);
                }
            }
            Op::Mark(_) => {}
        }
    }

    /// The files and folders that a cut now leaves.
    pub fn cut(&self, cut: Cut, random: &mut dyn FnMut() -> u64) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        // How likely it is that anything survives, for all of this cut.
        let odds = [10, 50, 90][(random() % 3) as usize];
        // Up to where the journal came.
        let journal = match cut {
            Cut::Nothing => 0,
            Cut::All => usize::MAX,
            Cut::Ordered => {
                let pending: Vec<usize> = self.namings.iter().map(|n| n.0).collect();
                let files = self.files.values().flat_map(|f| f.pending.iter().map(|p| p.0));
                let mut all: Vec<usize> = pending.into_iter().chain(files).collect();
                all.sort_unstable();
                all.get((random() % (all.len() as u64 + 1)) as usize).copied().unwrap_or(usize::MAX)
            }
            Cut::Anything => 0,
        };
        let mut chance = |at: usize| match cut {
            Cut::Anything => random() % 100 < odds,
            _ => at < journal,
        };
        let mut names = self.names.clone();
        let mut dropped = BTreeSet::new();
        for (at, naming) in &self.namings {
            // What builds on a change of the same name that did not survive did not either.
            if naming.names().iter().any(|n| dropped.contains(*n)) || !chance(*at) {
                dropped.extend(naming.names().into_iter().cloned());
            } else {
                naming.apply(&mut names);
            }
        }
        let reachable = |path: &Path| {
            path.ancestors().skip(1).all(|above| !self.is_made_folder(above) || names.contains_key(above))
        };
        let mut left = BTreeMap::new();
        for (path, node) in names.iter().filter(|(path, _)| reachable(path)) {
            let content = match node {
                Node::Folder => None,
                Node::File(file) => {
                    Some(self.files.get(file).map_or_else(Vec::new, |f| f.cut(cut, odds, journal, random)))
                }
            };
            left.insert(path.clone(), content);
        }
        left
    }

    /// Whether a folder was made since the recording began.
    fn is_made_folder(&self, path: &Path) -> bool {
        let made = |(_, naming): &(usize, Naming)| matches!(naming, Naming::Put(p, Node::Folder) if p == path);
        self.namings.iter().any(made)
    }
}

impl File {
    fn cut(&self, cut: Cut, odds: u64, journal: usize, random: &mut dyn FnMut() -> u64) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        if cut == Cut::Nothing {
            return bytes;
        }
        // First the length, which is metadata, then the sectors that lie within it.
        let mut len = bytes.len();
        let mut sectors: Vec<(usize, &[u8])> = Vec::new();
        for (at, change) in &self.pending {
            let survives = match cut {
                Cut::Anything => random() % 100 < odds,
                _ => *at < journal,
            };
            match change {
                Change::Truncate { len: to } if survives => {
                    len = *to;
                    // What was cut off is not there when the file grows again.
                    sectors.retain(|(at, _)| at < to);
                    bytes.truncate(*to);
                }
                Change::Truncate { .. } => {}
                Change::Write { at: offset, data } => {
                    let grows = offset + data.len() > len;
                    if survives {
                        len = len.max(offset + data.len());
                    }
                    let mut from = 0;
                    while from < data.len() {
                        let to = (from + SECTOR - (offset + from) % SECTOR).min(data.len());
                        let there = match cut {
                            Cut::All => true,
                            // Data comes before the length that makes it visible; what is written over comes any time.
                            Cut::Ordered => survives && grows || random() % 100 < odds,
                            _ => random() % 100 < odds,
                        };
                        if there {
                            sectors.push((offset + from, &data[from..to]));
                        }
                        from = to;
                    }
                }
            }
        }
        let grown_from = bytes.len().min(len);
        bytes.resize(len, 0);
        if cut == Cut::Anything && random().is_multiple_of(4) {
            // What these blocks held before.
            for byte in &mut bytes[grown_from..] {
                *byte = random() as u8;
            }
        }
        for (at, data) in sectors {
            let to = (at + data.len()).min(len);
            if at < to {
                bytes[at..to].copy_from_slice(&data[..to - at]);
            }
        }
        bytes
    }
}

/// Puts what a cut left into `to`, for what was below `from`.
pub fn lay_out(left: &BTreeMap<PathBuf, Option<Vec<u8>>>, from: &Path, to: &Path) {
    // Folders come before what is in them.
    for (path, content) in left {
        let path = to.join(path.strip_prefix(from).unwrap());
        match content {
            None => std::fs::create_dir_all(&path).unwrap(),
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
        }
    }
}
