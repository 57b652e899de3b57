//! A file layer between this process and the kernel: the functions of libc that change files, defined here, so that the linker takes
//! these for the standard library's and SQLite's calls alike. They see each change below one folder, in one total order, with its data.
//!
//! What belongs here: seeing ([`record`]) and, where a test asks for it, slowing down or refusing ([`Trouble`]). What does not: what
//! of it a power cut leaves; that is `power_cut/replay.rs`. What is mapped into memory (`-shm` of SQLite) goes past it and is no
//! durable state.
#![allow(unsafe_code, dead_code)]

use libc::{c_char, c_int, c_uint, c_void, iovec, mode_t, off64_t, size_t, ssize_t};
use std::collections::HashMap;
use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, RwLock};

/// One change. Files are told apart by ids, for names move.
#[derive(Clone, Debug)]
pub enum Op {
    Create {
        path: PathBuf,
        file: u64,
    },
    Mkdir {
        path: PathBuf,
    },
    Write {
        file: u64,
        at: u64,
        data: Vec<u8>,
    },
    Truncate {
        file: u64,
        len: u64,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    Sync {
        file: u64,
    },
    SyncDir {
        path: PathBuf,
    },
    /// What the test noted, in the same order.
    Mark(String),
}

struct Recorder {
    ops: Vec<Op>,
    files: HashMap<PathBuf, u64>,
    open: HashMap<c_int, Open>,
    next: u64,
    /// Whether the data of writes is kept.
    keeps: bool,
}

enum Open {
    File(u64),
    Folder(PathBuf),
}

static ROOT: RwLock<Option<PathBuf>> = RwLock::new(None);
static RECORDER: Mutex<Option<Recorder>> = Mutex::new(None);
const FDS: usize = 4096;
/// Whether a descriptor is of a file or folder below the root.
static WATCHED: [AtomicU8; FDS] = [const { AtomicU8::new(0) }; FDS];

/// What is wrong with the disk below the root.
pub struct Trouble {
    /// A sync takes this long, in ms.
    pub sync_ms: AtomicU64,
    /// Bytes that can still be written; negative for no bound.
    pub room: AtomicI64,
    /// Syncs so far.
    pub syncs: AtomicU64,
}

pub static TROUBLE: Trouble =
    Trouble { sync_ms: AtomicU64::new(0), room: AtomicI64::new(-1), syncs: AtomicU64::new(0) };

fn recorder() -> MutexGuard<'static, Option<Recorder>> {
    RECORDER.lock().unwrap_or_else(|e| e.into_inner())
}

/// Watches what happens below a folder, in which these files are, by id.
pub fn record(root: &Path, files: HashMap<PathBuf, u64>) {
    let next = files.values().max().map_or(1, |last| last + 1);
    *recorder() = Some(Recorder { ops: Vec::new(), files, open: HashMap::new(), next, keeps: true });
    *ROOT.write().unwrap() = Some(root.to_owned());
}

/// Watches a folder without keeping what is written, for [`TROUBLE`].
pub fn watch(root: &Path) {
    record(root, HashMap::new());
    if let Some(recorder) = recorder().as_mut() {
        recorder.keeps = false;
    }
}

/// Ends that; what happened.
pub fn recorded() -> Vec<Op> {
    *ROOT.write().unwrap() = None;
    WATCHED.iter().for_each(|fd| fd.store(0, SeqCst));
    recorder().take().map(|r| r.ops).unwrap_or_default()
}

/// Notes something among the changes.
pub fn mark(what: String) {
    if let Some(recorder) = recorder().as_mut() {
        recorder.ops.push(Op::Mark(what));
    }
}

fn below(path: *const c_char) -> Option<PathBuf> {
    // SAFETY: callers of libc's functions give a C string.
    let path = Path::new(std::ffi::OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()));
    let root = ROOT.read().ok()?;
    let is_below =
        root.as_ref().is_some_and(|root| path.starts_with(root)) && !path.to_string_lossy().ends_with("-shm");
    is_below.then(|| path.to_owned())
}

fn watched(fd: c_int) -> bool {
    usize::try_from(fd).ok().and_then(|fd| WATCHED.get(fd)).is_some_and(|w| w.load(SeqCst) != 0)
}

fn fail(errno: c_int) -> ssize_t {
    // SAFETY: the address of this thread's errno.
    unsafe { *libc::__errno_location() = errno };
    -1
}

impl Recorder {
    fn file(&self, fd: c_int) -> Option<u64> {
        match self.open.get(&fd) {
            Some(Open::File(file)) => Some(*file),
            _ => None,
        }
    }
}

unsafe fn raw_open(at: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: as the caller's.
    unsafe { libc::syscall(libc::SYS_openat, at, path, flags, mode as c_uint) as c_int }
}

unsafe fn do_open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let Some(name) = below(path) else {
        // SAFETY: as the caller's.
        return unsafe { raw_open(libc::AT_FDCWD, path, flags, mode) };
    };
    let mut guard = recorder();
    let existed = name.symlink_metadata().is_ok();
    // SAFETY: as the caller's.
    let fd = unsafe { raw_open(libc::AT_FDCWD, path, flags, mode) };
    let (Some(recorder), true) = (guard.as_mut(), fd >= 0) else { return fd };
    let open = if name.is_dir() {
        Open::Folder(name)
    } else {
        let file = match recorder.files.get(&name) {
            Some(file) if existed => *file,
            _ => {
                let file = recorder.next;
                recorder.next += 1;
                recorder.files.insert(name.clone(), file);
                recorder.ops.push(Op::Create { path: name, file });
                file
            }
        };
        if existed && flags & libc::O_TRUNC != 0 {
            recorder.ops.push(Op::Truncate { file, len: 0 });
        }
        Open::File(file)
    };
    recorder.open.insert(fd, open);
    WATCHED[fd as usize].store(1, SeqCst);
    fd
}

/// Writes at `at`, or where the descriptor stands, and notes what was written.
unsafe fn do_write(fd: c_int, parts: &[iovec], at: Option<off64_t>) -> ssize_t {
    let mut guard = recorder();
    // SAFETY: the caller's slices are readable, as they are for the kernel.
    let slices = parts.iter().filter(|p| p.iov_len > 0);
    let mut data: Vec<u8> = Vec::new();
    slices.for_each(|p| data.extend(unsafe { std::slice::from_raw_parts(p.iov_base.cast::<u8>(), p.iov_len) }));
    let room = TROUBLE.room.load(SeqCst);
    if room >= 0 {
        if room == 0 && !data.is_empty() {
            return fail(libc::ENOSPC);
        }
        data.truncate(room as usize);
        TROUBLE.room.fetch_sub(data.len() as i64, SeqCst);
    }
    // As much of the caller's own memory as there is room for: direct writes want it aligned.
    let mut left = data.len();
    let mut parts = parts.to_vec();
    for part in &mut parts {
        part.iov_len = part.iov_len.min(left);
        left -= part.iov_len;
    }
    // SAFETY: plain system calls on the caller's descriptor and memory.
    let (start, n) = unsafe {
        let (first, count) = (parts.as_ptr(), parts.len());
        match at {
            Some(at) => (at, libc::syscall(libc::SYS_pwritev, fd, first, count, at, 0) as ssize_t),
            None => {
                let start = libc::syscall(libc::SYS_lseek, fd, 0, libc::SEEK_CUR) as off64_t;
                (start, libc::syscall(libc::SYS_writev, fd, first, count) as ssize_t)
            }
        }
    };
    if let Some(recorder) = guard.as_mut()
        && let (Some(file), true) = (recorder.file(fd), n > 0 && recorder.keeps)
    {
        data.truncate(n as usize);
        recorder.ops.push(Op::Write { file, at: start as u64, data });
    }
    n
}

unsafe fn do_sync(fd: c_int, call: libc::c_long) -> c_int {
    if !watched(fd) {
        // SAFETY: as the caller's.
        return unsafe { libc::syscall(call, fd) as c_int };
    }
    TROUBLE.syncs.fetch_add(1, SeqCst);
    let ms = TROUBLE.sync_ms.load(SeqCst);
    if ms > 0 {
        std::thread::sleep(std::time::Duration::from_millis(ms));
    }
    let mut guard = recorder();
    // SAFETY: as the caller's.
    let done = unsafe { libc::syscall(call, fd) as c_int };
    if let (Some(recorder), 0) = (guard.as_mut(), done) {
        let op = match recorder.open.get(&fd) {
            Some(Open::File(file)) => Some(Op::Sync { file: *file }),
            Some(Open::Folder(path)) => Some(Op::SyncDir { path: path.clone() }),
            None => None,
        };
        recorder.ops.extend(op);
    }
    done
}

unsafe fn do_truncate(fd: c_int, len: off64_t) -> c_int {
    let mut guard =
        if watched(fd) { recorder() } else { return unsafe { libc::syscall(libc::SYS_ftruncate, fd, len) as c_int } };
    // SAFETY: as the caller's.
    let done = unsafe { libc::syscall(libc::SYS_ftruncate, fd, len) as c_int };
    if let (Some(recorder), 0) = (guard.as_mut(), done)
        && let Some(file) = recorder.file(fd)
    {
        recorder.ops.push(Op::Truncate { file, len: len as u64 });
    }
    done
}

unsafe fn do_fallocate(fd: c_int, mode: c_int, at: off64_t, len: off64_t) -> c_int {
    let mut guard = recorder();
    // SAFETY: as the caller's.
    let (done, stat) = unsafe {
        let done = libc::syscall(libc::SYS_fallocate, fd, mode, at, len) as c_int;
        let mut stat: libc::stat64 = std::mem::zeroed();
        libc::fstat64(fd, &mut stat);
        (done, stat)
    };
    if let (Some(recorder), 0) = (guard.as_mut(), done)
        && let Some(file) = recorder.file(fd)
    {
        recorder.ops.push(Op::Truncate { file, len: stat.st_size as u64 });
    }
    done
}

/// A change of names: made, and noted where it was.
fn named(
    paths: &[*const c_char],
    call: impl FnOnce() -> c_int,
    note: impl FnOnce(&mut Recorder, Vec<PathBuf>),
) -> c_int {
    let names: Vec<PathBuf> = paths.iter().filter_map(|path| below(*path)).collect();
    if names.len() < paths.len() {
        return call();
    }
    let mut guard = recorder();
    let done = call();
    if let (Some(recorder), 0) = (guard.as_mut(), done) {
        note(recorder, names);
    }
    done
}

macro_rules! libc_functions {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),*) -> $out:ty $body:block)*) => {
        $(
            /// libc's function of this name.
            ///
            /// # Safety
            /// As libc's.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($arg: $type),*) -> $out {
                // SAFETY: the caller keeps to libc's contract, which is passed on.
                #[allow(unused_unsafe)]
                unsafe { $body }
            }
        )*
    };
}

libc_functions! {
    fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int { do_open(path, flags, mode) }
    fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int { do_open(path, flags, mode) }
    fn openat(at: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        if at == libc::AT_FDCWD { do_open(path, flags, mode) } else { raw_open(at, path, flags, mode) }
    }
    fn openat64(at: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        if at == libc::AT_FDCWD { do_open(path, flags, mode) } else { raw_open(at, path, flags, mode) }
    }
    fn close(fd: c_int) -> c_int {
        if watched(fd) {
            let mut guard = recorder();
            WATCHED[fd as usize].store(0, SeqCst);
            if let Some(recorder) = guard.as_mut() {
                recorder.open.remove(&fd);
            }
        }
        libc::syscall(libc::SYS_close, fd) as c_int
    }
    fn write(fd: c_int, data: *const c_void, len: size_t) -> ssize_t {
        if !watched(fd) {
            return libc::syscall(libc::SYS_write, fd, data, len) as ssize_t;
        }
        do_write(fd, &[iovec { iov_base: data.cast_mut(), iov_len: len }], None)
    }
    fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
        if !watched(fd) {
            return libc::syscall(libc::SYS_writev, fd, parts, count) as ssize_t;
        }
        do_write(fd, std::slice::from_raw_parts(parts, count as usize), None)
    }
    fn pwrite(fd: c_int, data: *const c_void, len: size_t, at: off64_t) -> ssize_t { pwrite64(fd, data, len, at) }
    fn pwrite64(fd: c_int, data: *const c_void, len: size_t, at: off64_t) -> ssize_t {
        if !watched(fd) {
            return libc::syscall(libc::SYS_pwrite64, fd, data, len, at) as ssize_t;
        }
        do_write(fd, &[iovec { iov_base: data.cast_mut(), iov_len: len }], Some(at))
    }
    fn pwritev(fd: c_int, parts: *const iovec, count: c_int, at: off64_t) -> ssize_t { pwritev64(fd, parts, count, at) }
    fn pwritev64(fd: c_int, parts: *const iovec, count: c_int, at: off64_t) -> ssize_t {
        if !watched(fd) {
            // The offset in two halves, of which this takes the lower.
            return libc::syscall(libc::SYS_pwritev, fd, parts, count, at, 0) as ssize_t;
        }
        do_write(fd, std::slice::from_raw_parts(parts, count as usize), Some(at))
    }
    fn pwritev2(fd: c_int, parts: *const iovec, count: c_int, at: off64_t, flags: c_int) -> ssize_t {
        pwritev64v2(fd, parts, count, at, flags)
    }
    fn pwritev64v2(fd: c_int, parts: *const iovec, count: c_int, at: off64_t, flags: c_int) -> ssize_t {
        if !watched(fd) {
            return libc::syscall(libc::SYS_pwritev2, fd, parts, count, at, 0, flags) as ssize_t;
        }
        let n = do_write(fd, std::slice::from_raw_parts(parts, count as usize), Some(at).filter(|at| *at >= 0));
        if n >= 0 && flags & (libc::RWF_DSYNC | libc::RWF_SYNC) != 0 {
            do_sync(fd, libc::SYS_fdatasync);
        }
        n
    }
    fn ftruncate(fd: c_int, len: off64_t) -> c_int { do_truncate(fd, len) }
    fn ftruncate64(fd: c_int, len: off64_t) -> c_int { do_truncate(fd, len) }
    fn fallocate(fd: c_int, mode: c_int, at: off64_t, len: off64_t) -> c_int { do_fallocate(fd, mode, at, len) }
    fn fallocate64(fd: c_int, mode: c_int, at: off64_t, len: off64_t) -> c_int { do_fallocate(fd, mode, at, len) }
    fn fsync(fd: c_int) -> c_int { do_sync(fd, libc::SYS_fsync) }
    fn fdatasync(fd: c_int) -> c_int { do_sync(fd, libc::SYS_fdatasync) }
    fn unlink(path: *const c_char) -> c_int {
        named(&[path], || libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) as c_int, |recorder, mut names| {
            let path = names.remove(0);
            recorder.files.remove(&path);
            recorder.ops.push(Op::Unlink { path });
        })
    }
    fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
        let call = || libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode as c_uint) as c_int;
        named(&[path], call, |recorder, mut names| recorder.ops.push(Op::Mkdir { path: names.remove(0) }))
    }
    fn rename(from: *const c_char, to: *const c_char) -> c_int {
        let call = || libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) as c_int;
        named(&[from, to], call, |recorder, names| {
            if let Some(file) = recorder.files.remove(&names[0]) {
                recorder.files.insert(names[1].clone(), file);
            }
            recorder.ops.push(Op::Rename { from: names[0].clone(), to: names[1].clone() });
        })
    }
}
