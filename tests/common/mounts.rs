//! Small file systems of their own, where this user may mount.
#![allow(dead_code, missing_docs, clippy::unwrap_used, unreachable_pub)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Unmounted when dropped.
pub struct Mount {
    at: PathBuf,
    image: Option<PathBuf>,
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|out| out.status.success())
}

impl Mount {
    /// A file system in memory, below this folder; `None`, with a line, where that cannot be.
    pub fn tmpfs(folder: &Path, size: &str) -> Option<Mount> {
        Self::made(folder.join("tmpfs"), None, &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
    }

    /// One in a file of so many MiB.
    pub fn ext4(folder: &Path, mib: u64) -> Option<Mount> {
        let image = folder.join("image");
        std::fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        let name = image.to_str().unwrap().to_owned();
        if !run("mkfs.ext4", &["-q", "-F", &name]) {
            eprintln!("skipped: there is no mkfs.ext4");
            return None;
        }
        Self::made(folder.join("ext4"), Some(image), &["-o", "loop", &name])
    }

    fn made(at: PathBuf, image: Option<PathBuf>, what: &[&str]) -> Option<Mount> {
        std::fs::create_dir(&at).unwrap();
        if !run("mount", &[what, &[at.to_str().unwrap()]].concat()) {
            eprintln!("skipped: this user cannot mount anything");
            return None;
        }
        Some(Mount { at, image })
    }

    pub fn path(&self) -> &Path {
        &self.at
    }

    pub fn remount(&self, option: &str) {
        assert!(run("mount", &["-o", &format!("remount,{option}"), self.at.to_str().unwrap()]), "remount,{option}");
    }

    /// Unmounts it, looks it through, and mounts it again.
    pub fn again(&mut self) {
        let (at, image) = (self.at.to_str().unwrap(), self.image.as_ref().unwrap().to_str().unwrap());
        assert!(run("umount", &[at]), "nothing of it is in use");
        // Exit code 1: something was mended.
        let looked = Command::new("e2fsck").args(["-p", image]).output().unwrap();
        assert!(looked.status.code().unwrap() <= 1, "{looked:?}");
        assert!(run("mount", &["-o", "loop", image, at]));
    }

    /// Takes all the room that there is but so many bytes, and gives the file that does.
    pub fn fill(&self, but: u64) -> PathBuf {
        let path = self.at.join("others");
        let free = || {
            let out = Command::new("stat").args(["-f", "-c", "%a %S"]).arg(&self.at).output().unwrap();
            let text = String::from_utf8(out.stdout).unwrap();
            text.split_whitespace().map(|n| n.parse::<u64>().unwrap()).product::<u64>()
        };
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        while free() > but {
            let take = (free() - but).min(1 << 20) as usize;
            if std::io::Write::write_all(&mut file, &vec![1; take]).is_err() {
                break;
            }
        }
        path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if !run("umount", &[self.at.to_str().unwrap()]) {
            run("umount", &["-l", self.at.to_str().unwrap()]);
        }
    }
}
