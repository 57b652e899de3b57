//! A wall clock that a test sets, for a process of its own.
#![allow(missing_docs, clippy::unwrap_used, unreachable_pub)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Clock {
    shim: PathBuf,
    path: PathBuf,
    shift: File,
}

impl Clock {
    /// Made in this folder; `None` with a line where no compiler makes it.
    pub fn new(folder: &Path) -> Option<Clock> {
        let shim = folder.join("clock.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/clock.c");
        let out =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&shim, &source]).arg("-ldl").output();
        if !out.as_ref().is_ok_and(|out| out.status.success()) {
            eprintln!("skipped: no C compiler makes the clock: {out:?}");
            return None;
        }
        let path = folder.join("shift");
        let shift = File::options().create_new(true).write(true).open(&path).unwrap();
        let clock = Clock { shim, path, shift };
        clock.set(0);
        Some(clock)
    }

    /// How many seconds it is wrong from now on.
    pub fn set(&self, seconds: i64) {
        self.shift.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// A process that has this clock.
    pub fn of(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.shim).env("CLOCK_SHIFT_FILE", &self.path);
    }
}
