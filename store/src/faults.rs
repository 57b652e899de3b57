//! Fail points: places before and after each durable step, at which a test makes the step fail or the process end.
//!
//! A unit test arms them in its own store ([`Faults::arm`]); a process that a test starts is told one by the variable
//! [`VARIABLE`]. In a release build nothing is stored, no variable is read, and nothing can fail here.

use std::io;

/// Every fail point, in the order in which a store comes to them. `store/tests/torture.rs` ends a process at each.
pub const POINTS: &[&str] = &[
    "folder.format",
    "folder.named",
    "catalog.create",
    "catalog.created",
    "recovery.found",
    "recovery.cut",
    "recovery.synced",
    "recovery.adopted",
    "stream.create",
    "key.written",
    "key.named",
    "stream.created",
    "segment.create",
    "segment.created",
    "segment.header",
    "segment.named",
    "segment.write",
    "segment.torn",
    "segment.direct",
    "segment.sync",
    "catalog.commit",
    "catalog.committing",
    "catalog.committed",
    "commit.told",
    "segment.retire",
    "numbers.reserve",
    "range.noted",
    "range.rows",
    "stream.deleted",
    "stream.noted",
    "key.zeroed",
    "key.destroyed",
    "expiry.rows",
    "expiry.gone",
    "rewrite.write",
    "rewrite.sync",
    "rewrite.note",
    "rewrite.commit",
    "rewrite.rename",
    "rewrite.dir",
    "segment.unlink",
    "segment.unlinked",
    "segment.forget",
    "store.stopping",
];

/// Those that only segments in a bucket come to. `store/tests/bucket_torture.rs` ends a process at each.
pub const BUCKET_POINTS: &[&str] =
    &["object.put", "object.kept", "spool.write", "spool.synced", "spool.named", "spool.put", "spool.removed"];

/// The environment variable that arms one point of a process: `point,pass,action`. At that pass (from 1 on) of the point, `die` ends
/// the process by SIGABRT, `fail` makes the step fail with an I/O error, `full` as on a full disk, `stall:MS` keeps it waiting so long.
#[cfg(debug_assertions)]
const VARIABLE: &str = "VIDICON_FAIL_POINT";

/// The armed fail points of one store.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    #[cfg(test)]
    armed: std::sync::Mutex<std::collections::HashMap<&'static str, (u32, io::ErrorKind)>>,
    #[cfg(test)]
    watched: std::sync::Mutex<Option<Watch>>,
}

/// Called at each point that is passed.
#[cfg(test)]
pub(crate) struct Watch(pub(crate) Box<dyn FnMut(&'static str) + Send>);

#[cfg(test)]
impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

impl Faults {
    /// A step that is about to be taken fails if a test armed this point.
    #[inline]
    pub(crate) fn check(&self, point: &'static str) -> io::Result<()> {
        #[cfg(test)]
        if let Some(Watch(watch)) = &mut *self.watched.lock().expect("no watch panics") {
            watch(point);
        }
        #[cfg(test)]
        if let Some((times, kind)) =
            self.armed.lock().expect("no test panics while it holds this").get_mut(point).filter(|armed| armed.0 > 0)
        {
            *times -= 1;
            return Err(io::Error::new(*kind, format!("injected at {point}")));
        }
        pass(point)
    }

    /// Calls this at each point that is passed.
    #[cfg(test)]
    pub(crate) fn watch(&self, watch: impl FnMut(&'static str) + Send + 'static) {
        *self.watched.lock().expect("no watch panics") = Some(Watch(Box::new(watch)));
    }

    /// Makes the next `times` passes of a point fail.
    #[cfg(test)]
    pub(crate) fn arm(&self, point: &'static str, times: u32, kind: io::ErrorKind) {
        self.armed.lock().expect("no test panics while it holds this").insert(point, (times, kind));
    }
}

/// A place between two durable steps: the process ends here if it was told to.
#[inline]
pub(crate) fn step(point: &'static str) {
    // A step that has no failure of its own cannot be made to fail.
    let _ = pass(point);
}

/// A step that is done in part, by `part`, before it fails or the process ends, if that was told so.
#[inline]
pub(crate) fn torn(point: &'static str, part: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    #[cfg(debug_assertions)]
    if armed::is_next(point) {
        part()?;
    }
    #[cfg(not(debug_assertions))]
    let _ = part;
    pass(point)
}

/// A step that is about to be taken fails if this process was told so.
#[cfg(not(debug_assertions))]
#[inline]
pub(crate) fn pass(_point: &'static str) -> io::Result<()> {
    Ok(())
}

/// A step that is about to be taken fails if this process was told so.
#[cfg(debug_assertions)]
pub(crate) fn pass(point: &'static str) -> io::Result<()> {
    debug_assert!(POINTS.contains(&point) || BUCKET_POINTS.contains(&point), "fail point {point} is not in the list");
    armed::pass(point)
}

#[cfg(debug_assertions)]
mod armed {
    use std::io;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Armed {
        point: String,
        /// Passes until then, this one included.
        left: AtomicU32,
        action: String,
    }

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
        let text = std::env::var(super::VARIABLE).ok()?;
        let [point, pass, action] = text.split(',').collect::<Vec<_>>()[..] else { return None };
        Some(Armed { point: point.to_owned(), left: AtomicU32::new(pass.parse().ok()?), action: action.to_owned() })
    });

    fn at(point: &str) -> Option<&'static Armed> {
        ARMED.as_ref().filter(|armed| armed.point == point)
    }

    pub(super) fn is_next(point: &str) -> bool {
        at(point).is_some_and(|armed| armed.left.load(Ordering::SeqCst) == 1)
    }

    pub(super) fn pass(point: &str) -> io::Result<()> {
        let Some(armed) = at(point) else { return Ok(()) };
        let before = armed.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match (before, armed.action.as_str()) {
            (Ok(1), "die") => std::process::abort(),
            (Ok(1), action) if action.starts_with("stall:") => {
                let ms = action["stall:".len()..].parse().unwrap_or(0);
                std::thread::sleep(std::time::Duration::from_millis(ms));
                Ok(())
            }
            (Ok(1), "full") => Err(io::Error::new(io::ErrorKind::StorageFull, format!("injected at {point}"))),
            (Ok(1), _) => Err(io::Error::other(format!("injected at {point}"))),
            _ => Ok(()),
        }
    }
}
