//! Points at which a test makes a durable step fail. Outside tests nothing is stored and nothing can fail here.

use std::io;

/// The armed fail points of one store.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    #[cfg(test)]
    armed: std::sync::Mutex<std::collections::HashMap<&'static str, (u32, io::ErrorKind)>>,
}

impl Faults {
    /// Fails if a test armed this point.
    #[cfg(not(test))]
    #[inline]
    pub(crate) fn check(&self, _point: &'static str) -> io::Result<()> {
        Ok(())
    }

    /// Fails if a test armed this point.
    #[cfg(test)]
    pub(crate) fn check(&self, point: &'static str) -> io::Result<()> {
        let mut armed = self.armed.lock().expect("no test panics while it holds this");
        match armed.get_mut(point) {
            Some((times, kind)) if *times > 0 => {
                *times -= 1;
                Err(io::Error::new(*kind, format!("injected at {point}")))
            }
            _ => Ok(()),
        }
    }

    /// Makes the next `times` passes of a point fail.
    #[cfg(test)]
    pub(crate) fn arm(&self, point: &'static str, times: u32, kind: io::ErrorKind) {
        self.armed.lock().expect("no test panics while it holds this").insert(point, (times, kind));
    }
}
