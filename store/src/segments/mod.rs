//! The segment log: append-only files that hold the fragments of all streams.
//!
//! What belongs here: the on-disk record ([`record`]), appending groups ([`writer`], [`append`]), reading one fragment ([`reader`]),
//! walking a whole segment ([`scan`]), and where segments lie ([`shelf`]). What does not: which fragments exist; the catalog says that.

mod append;
pub(crate) mod copy;
pub(crate) mod objects;
pub(crate) mod reader;
pub(crate) mod record;
pub(crate) mod scan;
pub(crate) mod shelf;
pub(crate) mod writer;

use std::path::{Path, PathBuf};

/// The name of a segment's file. Made from its id alone, never from a stream's name.
pub(crate) fn file_name(segment: u64) -> String {
    format!("{segment:016x}.seg")
}

/// One of the generations of a segment. In a folder they follow one another under one name; in a bucket each is an object of its own,
/// which is never overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edition {
    /// The segment's id.
    pub(crate) id: u64,
    /// How often it had been written anew, as the catalog and its header say.
    pub(crate) generation: u32,
}

impl Edition {
    /// As it was recorded.
    pub(crate) fn first(id: u64) -> Edition {
        Edition { id, generation: 0 }
    }

    /// The name of its object.
    pub(crate) fn name(self) -> String {
        match self.generation {
            0 => file_name(self.id),
            generation => format!("{:016x}.{generation}.seg", self.id),
        }
    }

    /// What bears this name.
    pub(crate) fn of_name(name: &str) -> Option<Edition> {
        let id = u64::from_str_radix(name.get(..16)?, 16).ok()?;
        let generation = match name.get(16..)?.strip_suffix(".seg")?.strip_prefix('.') {
            None => 0,
            Some(digits) => digits.parse().ok()?,
        };
        Some(Edition { id, generation }).filter(|edition| edition.name() == name)
    }
}

/// The path of a segment in the folder `segments`.
pub(crate) fn path(folder: &Path, segment: u64) -> PathBuf {
    folder.join(file_name(segment))
}

/// The id in a file name that [`file_name`] made.
pub(crate) fn id_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let id = u64::from_str_radix(digits, 16).ok()?;
    (file_name(id) == name).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_segments() {
        assert_eq!(file_name(255), "00000000000000ff.seg");
        assert_eq!(id_of("00000000000000ff.seg"), Some(255));
        assert_eq!(id_of("00000000000000FF.seg"), None);
        assert_eq!(id_of("ff.seg"), None);
        assert_eq!(id_of("notes.txt"), None);
        for edition in [Edition::first(255), Edition { id: u64::MAX, generation: 12 }] {
            assert_eq!(Edition::of_name(&edition.name()), Some(edition));
        }
        assert_eq!(Edition { id: 255, generation: 2 }.name(), "00000000000000ff.2.seg");
        for name in [
            "00000000000000ff.02.seg",
            "00000000000000ff.0.seg",
            "00000000000000ff..seg",
            "00000000000000ffx.seg",
            "notes.txt",
            "",
        ] {
            assert_eq!(Edition::of_name(name), None, "{name}");
        }
    }
}
