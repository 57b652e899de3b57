//! Catalog transactions of which it is not known whether they were taken: they are run again until it is.
//!
//! What a transaction of a group does can be done again without a difference: rows that are there stay. So while the catalog does not
//! answer, nothing else is recorded and nobody is told anything, as while a bucket does not answer; a fragment that is sent again
//! meanwhile finds the first in memory and waits for the same commit.

use crate::{Error, Kind};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// The pause before the second try, which doubles from there on.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Why a group is not recorded.
#[derive(Debug)]
pub(crate) enum Unrecorded {
    /// The catalog took nothing, for certain.
    Refused(Error),
    /// It may have taken all of it; the store stops, and the next start finds out.
    Unknown(Error),
}

/// Whether the catalog answers, and whether it is still asked.
#[derive(Debug, Default)]
pub(crate) struct Doubt {
    state: Mutex<State>,
    stopped: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopping: bool,
    problem: Option<String>,
}

impl Doubt {
    /// No transaction is run again from here on.
    pub(crate) fn stop(&self) {
        self.state().stopping = true;
        self.stopped.notify_all();
    }

    /// Why nothing is recorded now, if the catalog does not answer.
    pub(crate) fn problem(&self) -> Option<String> {
        self.state().problem.clone()
    }

    /// Runs a transaction until the catalog says what became of it. Blocks.
    pub(crate) fn resolve<T>(&self, mut transaction: impl FnMut() -> Result<T, Error>) -> Result<T, Unrecorded> {
        let mut pause = FIRST_PAUSE;
        let mut in_doubt = false;
        let result = loop {
            let error = match transaction() {
                Ok(done) => break Ok(done),
                // Once one try is in doubt, a refusal of the next says nothing of it.
                Err(error) if error.kind() != Kind::Unavailable && !in_doubt => break Err(Unrecorded::Refused(error)),
                Err(error) => error,
            };
            let mut state = self.state();
            if state.stopping {
                break Err(Unrecorded::Unknown(error));
            }
            if !std::mem::replace(&mut in_doubt, true) {
                tracing::error!(%error, "the catalog does not say whether it took a group; nothing is recorded until it does");
            }
            state.problem = Some(format!("the catalog does not answer: {error}"));
            metrics::counter!("vidicon_commit_retries_total").increment(1);
            let waited = self.stopped.wait_timeout_while(state, pause, |state| !state.stopping);
            drop(waited.unwrap_or_else(|e| e.into_inner()));
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        if in_doubt {
            self.state().problem = None;
            if result.is_ok() {
                tracing::info!("the catalog answers again");
            }
        }
        result
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn answers(kinds: &[Option<Kind>]) -> impl FnMut() -> Result<u32, Error> {
        let mut kinds = kinds.iter().copied();
        move || match kinds.next() {
            Some(Some(kind)) => Err(Error::new(kind, "no")),
            _ => Ok(7),
        }
    }

    #[test]
    fn it_ends_with_what_is_certain() {
        let doubt = Doubt::default();
        let unknown = Some(Kind::Unavailable);
        assert!(matches!(doubt.resolve(answers(&[unknown, Some(Kind::LimitExceeded), unknown, None])), Ok(7)));
        let refused = doubt.resolve(answers(&[Some(Kind::LimitExceeded)]));
        assert!(matches!(refused, Err(Unrecorded::Refused(error)) if error.kind() == Kind::LimitExceeded));
        assert_eq!(doubt.problem(), None);
    }

    #[test]
    fn a_stop_ends_the_wait_and_the_doubt_stays() {
        let doubt = Arc::new(Doubt::default());
        let waiting = std::thread::spawn({
            let doubt = doubt.clone();
            move || doubt.resolve(|| Err::<(), _>(Error::new(Kind::Unavailable, "gone")))
        });
        while doubt.problem().is_none() {
            std::thread::yield_now();
        }
        assert!(doubt.problem().is_some_and(|problem| problem.contains("gone")));
        doubt.stop();
        assert!(matches!(waiting.join(), Ok(Err(Unrecorded::Unknown(_)))));
        assert!(matches!(doubt.resolve(answers(&[None])), Ok(7)), "what is left is still tried once");
    }
}
