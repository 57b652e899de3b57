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
    }
}
