//! Loading ONNX Runtime, once per process.
//!
//! What belongs here: finding the shared library and turning every way in which it can be missing or wrong into one line.
//! What does not: models (see `detector`).

use crate::StartError;
use ort::{environment::Environment, logging::LogLevel};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// The library's file name, beside the binary or known to the linker.
pub const LIBRARY: &str = "libonnxruntime.so";

/// The loaded ONNX Runtime. Cheap to clone; stays loaded until the process ends.
#[derive(Clone)]
pub struct Runtime {
    environment: Environment,
}

/// The one environment that a process may have. Kept here so that it is never released: sessions of stopped servers (tests
/// start many) may still be winding down.
static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// Loads the library at `path`, or by default the one beside the binary, then one that the linker finds. The first
    /// call decides; later calls in the same process return what is loaded.
    pub fn load(path: Option<&Path>) -> Result<Runtime, StartError> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*loaded {
            return Ok(runtime.clone());
        }
        let path = match path {
            // An absolute path, so that the linker does not look for the name elsewhere.
            Some(path) => std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()),
            None => beside_the_binary().unwrap_or_else(|| PathBuf::from(LIBRARY)),
        };
        // The binding asserts where a library answers nonsense; that must be a line, not the end of the process.
        let runtime = catch_unwind(AssertUnwindSafe(|| start(&path)))
            .unwrap_or_else(|_| Err(format!("{} is not a usable ONNX Runtime", path.display())))
            .map_err(|why| StartError(format!("ONNX Runtime cannot be loaded: {why}")))?;
        *loaded = Some(runtime.clone());
        Ok(runtime)
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }
}

fn start(path: &Path) -> Result<Runtime, String> {
    let builder = ort::init_from(path).map_err(|e| one_line(&e.to_string()))?;
    let environment =
        builder.with_name("vidicon").with_telemetry(false).build().map_err(|e| one_line(&e.to_string()))?;
    environment.set_log_level(LogLevel::Warning);
    Ok(Runtime { environment })
}

fn beside_the_binary() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.parent()?.join(LIBRARY);
    path.is_file().then_some(path)
}

/// Libraries like to answer in paragraphs; a start error is one line.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_wrong_library_is_one_line_that_names_it() {
        // Only while no other test of this process has loaded the real one.
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = folder.path().join("libonnxruntime.so");
        std::fs::write(&text, "not a library").expect("written");
        for path in [folder.path().join("absent.so"), text, folder.path().to_path_buf()] {
            if LOADED.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                return;
            }
            let Err(error) = Runtime::load(Some(&path)) else { continue };
            let line = error.to_string();
            assert!(line.contains(&path.display().to_string()), "{line}");
            assert!(!line.contains('\n'), "{line}");
        }
    }
}
