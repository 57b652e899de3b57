//! Helps for tests: what lies beside the repository, where it does.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;

/// The path of a file of the shared material; `None`, with a line saying so, where that is not.
pub(crate) fn shared_path(name: &str) -> Option<PathBuf> {
    let beside = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared").into();
    let root: PathBuf = std::env::var_os("VIDICON_SHARED").map_or_else(beside, PathBuf::from);
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: ../shared is not here ({name})");
    None
}

/// The bytes of a file of the shared material.
pub(crate) fn shared(name: &str) -> Option<Vec<u8>> {
    Some(std::fs::read(shared_path(name)?).expect("a file that exists can be read"))
}
