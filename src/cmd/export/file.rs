//! Where an export goes: standard output, or a file that has its name only once it is whole.

use crate::running::Failure;
use media::Chunks;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

pub(super) struct Target {
    out: File,
    bytes: u64,
    /// The file's name, and the one that it has until then.
    names: Option<(PathBuf, PathBuf)>,
}

impl Target {
    pub(super) fn create(path: &Path) -> Result<Target, Failure> {
        if path.as_os_str() == "-" {
            let stdout = std::io::stdout().as_fd().try_clone_to_owned().map_err(|e| failed(path, &e))?;
            return Ok(Target { out: File::from_std(stdout.into()), bytes: 0, names: None });
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = std::fs::File::create(&part).map_err(|e| failed(&part, &e))?;
        Ok(Target { out: File::from_std(file), bytes: 0, names: Some((path.to_owned(), part)) })
    }

    pub(super) async fn write(&mut self, chunks: &Chunks) -> Result<(), Failure> {
        for part in chunks.parts() {
            let written = self.out.write_all(part).await;
            written.map_err(|e| failed(self.names.as_ref().map_or(Path::new("-"), |names| &names.1), &e))?;
        }
        self.bytes += chunks.len() as u64;
        Ok(())
    }

    /// Gives the file its name, synced. Gives how many bytes it has.
    pub(super) async fn finish(mut self) -> Result<u64, Failure> {
        self.out.flush().await.map_err(|e| failed(Path::new("-"), &e))?;
        if let Some((path, part)) = &self.names {
            self.out.sync_all().await.map_err(|e| failed(part, &e))?;
            std::fs::rename(part, path).map_err(|e| failed(path, &e))?;
            self.names = None;
        }
        Ok(self.bytes)
    }
}

impl Drop for Target {
    /// What is not whole is not left lying.
    fn drop(&mut self) {
        if let Some((_, part)) = &self.names {
            let _ = std::fs::remove_file(part);
        }
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::other(format!("{} cannot be written: {error}", path.display()))
}
