//! Points at which a test makes a durable step fail. Outside tests nothing is stored and nothing can fail here.

use std::io;

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
    /// Fails if a test armed this point.
    #[cfg(not(test))]
    #[inline]
    pub(crate) fn check(&self, _point: &'static str) -> io::Result<()> {
        Ok(())
    }

    /// Fails if a test armed this point.
    #[cfg(test)]
    pub(crate) fn check(&self, point: &'static str) -> io::Result<()> {
        if let Some(Watch(watch)) = &mut *self.watched.lock().expect("no watch panics") {
            watch(point);
        }
        let mut armed = self.armed.lock().expect("no test panics while it holds this");
        match armed.get_mut(point) {
            Some((times, kind)) if *times > 0 => {
                *times -= 1;
                Err(io::Error::new(*kind, format!("injected at {point}")))
            }
            _ => Ok(()),
        }
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
